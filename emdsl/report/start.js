// Starts the page: each module becomes a blob that the next ones import, so that nothing is loaded from elsewhere.
(() => {
  const urls = {};
  for (const [name, text] of JSON.parse(document.getElementById("modules").textContent)) {
    const linked = text.replace(/"\/static\/([\w./-]+\.js)"/g, (all, path) => (path in urls ? `"${urls[path]}"` : all));
    urls[name] = URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
  }
  import(urls["report.js"]);
})();
