"use strict";
(() => {
  const MORE = 20;
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, cls) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };

  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  addEventListener("beforeprint", () => document.querySelectorAll("#list details.item").forEach((d) => { d.open = true; }));

  const unpack = async () => {
    const packed = $("packed").textContent;
    const text = atob(packed);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  let data, experiment, chosen = [], shown = 0, lowered = null;

  const low = () => {
    if (!lowered) lowered = data.texts.map((t) => t.toLowerCase());
    return lowered;
  };

  // The filters of an experiment: name, column, and kind of each.
  const fields = (x) => {
    const filters = [];
    for (const axis of x.axes) filters.push({ name: axis.name, column: axis, kind: "label" });
    for (const part of [...x.steps, ...x.lets]) {
      if (part.labels) filters.push({ name: part.name, column: part.labels, kind: "label" });
      if (part.numbers) filters.push({ name: part.name, column: part.numbers, kind: "number" });
      if (part.missing.labels.length) filters.push({ name: part.name + " missing", column: part.missing, kind: "missing" });
    }
    return filters.filter((f) => f.kind !== "label" || f.column.labels.length > 1 || f.column.at.includes(-1));
  };

  const labelled = (name, control) => {
    const label = make("label", name);
    label.append(control);
    return label;
  };
  const select = (name, options) => {
    const node = make("select");
    node.name = name;
    for (const [value, text] of options) {
      const option = make("option", text);
      option.value = value;
      node.append(option);
    }
    return node;
  };

  const build = () => {
    const form = $("filters");
    form.replaceChildren();
    if (data.experiments.length > 1) {
      const which = select("experiment", data.experiments.map((x, i) => [i, x.name]));
      which.value = data.experiments.indexOf(experiment);
      which.addEventListener("change", () => { experiment = data.experiments[which.value]; build(); });
      form.append(labelled("experiment", which));
    }
    const search = make("input");
    search.type = "search";
    search.name = "text";
    form.append(labelled("text", search));
    const numbers = [];
    const controls = [];
    for (const field of fields(experiment)) {
      if (field.kind === "number") {
        const pair = ["from", "to"].map((end) => {
          const input = make("input");
          input.type = "number";
          input.step = "any";
          input.name = field.name + " " + end;
          form.append(labelled(field.name + " " + end, input));
          return input;
        });
        numbers.push(field);
        controls.push({ field, pair });
      } else {
        const options = [["", "any"], ...field.column.labels.map((l, i) => [i, l])];
        if (field.column.at.includes(-1)) options.push([-1, field.kind === "missing" ? "not missing" : "missing"]);
        const node = select(field.name, options);
        form.append(labelled(field.name, node));
        controls.push({ field, node });
      }
    }
    const orders = [["", "as stored"]];
    numbers.forEach((f, i) => orders.push(["+" + i, "lowest " + f.name + " first"], ["-" + i, "highest " + f.name + " first"]));
    const order = select("order", orders);
    if (numbers.length) order.value = "+0";
    form.append(labelled("order", order));
    form.oninput = () => filter(search, controls, order, numbers);
    filter(search, controls, order, numbers);
  };

  const filter = (search, controls, order, numbers) => {
    const start = performance.now();
    const tests = [];
    for (const { field, node, pair } of controls) {
      if (node && node.value !== "") {
        const at = field.column.at, wanted = Number(node.value);
        tests.push((i) => at[i] === wanted);
      }
      if (pair && (pair[0].value !== "" || pair[1].value !== "")) {
        const from = pair[0].value === "" ? -Infinity : Number(pair[0].value);
        const to = pair[1].value === "" ? Infinity : Number(pair[1].value);
        const column = field.column;
        tests.push((i) => column[i] !== null && column[i] >= from && column[i] <= to);
      }
    }
    const wanted = search.value.trim().toLowerCase();
    if (wanted) {
      const has = low().map((t) => t.includes(wanted));
      const columns = experiment.steps.flatMap((s) => [s.texts, s.reasoning].filter(Boolean));
      tests.push((i) => columns.some((c) => c[i] >= 0 && has[c[i]]));
    }
    chosen = [];
    for (let i = 0; i < experiment.n; i++) if (tests.every((t) => t(i))) chosen.push(i);
    if (order.value) {
      const column = numbers[Number(order.value.slice(1))].column, sign = order.value[0] === "+" ? 1 : -1;
      const key = (i) => (column[i] === null ? Infinity : sign * column[i]);
      const keys = new Map(chosen.map((i) => [i, key(i)]));
      chosen.sort((a, b) => { const x = keys.get(a), y = keys.get(b); return x < y ? -1 : x > y ? 1 : a - b; });
    }
    shown = 0;
    $("list").replaceChildren();
    more();
    document.body.dataset.filterMs = (performance.now() - start).toFixed(1);
  };

  const more = () => {
    const until = Math.min(shown + MORE, chosen.length);
    for (; shown < until; shown++) $("list").append(item(chosen[shown]));
    $("count").textContent = chosen.length.toLocaleString("en") + " of " + experiment.n.toLocaleString("en") + " rows";
    $("more").hidden = shown >= chosen.length;
  };

  const shownValue = (part, i) => {
    if (part.numbers && part.numbers[i] !== null) return String(part.numbers[i]);
    if (part.labels && part.labels.at[i] >= 0) return part.labels.labels[part.labels.at[i]];
    return part.missing.at[i] >= 0 ? "missing: " + part.missing.labels[part.missing.at[i]] : "missing";
  };
  const text = (place) => (place >= 0 ? data.texts[place] : null);

  const item = (i) => {
    const node = make("details", null, "item");
    const summary = make("summary");
    const where = experiment.axes.map((a) => a.name + " " + a.labels[a.at[i]]).join(", ");
    summary.append(make("span", (where ? where + ", " : "") + "sample " + experiment.sample[i], "where"));
    for (const part of [...experiment.steps.filter((s) => s.kind !== "ask"), ...experiment.lets]) {
      if (part.missing.at[i] >= 0 && part.missing.labels[part.missing.at[i]] === "not_needed") continue;
      summary.append(make("span", part.name + " " + shownValue(part, i), "score"));
    }
    const first = experiment.steps.find((s) => s.kind === "ask");
    const start = first ? text(first.texts[i]) : null;
    if (start) summary.append(make("span", start.slice(0, 240), "start"));
    node.append(summary);
    node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) open(node, i); });
    return node;
  };

  const block = (title, body) => {
    const part = make("div", null, "part");
    part.append(make("h4", title), make("pre", body));
    return part;
  };

  const open = (node, i) => {
    for (const step of experiment.steps) {
      if (step.kind === "ask") {
        prompt(node, step, i);
        const reasoning = text(step.reasoning[i]);
        if (reasoning) node.append(block("reasoning of " + step.name, reasoning));
        const answer = text(step.texts[i]);
        const why = step.missing.at[i] >= 0 ? step.missing.labels[step.missing.at[i]] : "";
        const finish = step.finish.at[i] >= 0 ? step.finish.labels[step.finish.at[i]] : "";
        node.append(block(step.name + (finish && finish !== "stop" ? " (" + finish + ")" : ""), answer ?? "missing: " + why));
      } else {
        const reply = text(step.reply[i]);
        const read = shownValue(step, i);
        node.append(block("judge " + step.name + ": " + read, reply ?? read));
      }
    }
  };

  // All but the end of a prompt is folded: demonstrations come before the question.
  const prompt = (node, step, i) => {
    if (step.prompt[i] < 0) return;
    const messages = experiment.prompts[step.prompt[i]].map(([role, places]) => [role, places.map((p) => data.texts[p])]);
    const [role, last] = messages[messages.length - 1];
    const cut = last.length > 3 ? last.length - 2 : 0;
    const before = messages.slice(0, -1).map(([r, t]) => [r, t.join("\n\n")]);
    if (cut) before.push([role, last.slice(0, cut).join("\n\n")]);
    if (before.length) {
      const folded = make("details", null, "part");
      folded.append(make("summary", "earlier: " + before.length + (cut ? " messages or parts" : before.length === 1 ? " message" : " messages")));
      for (const [r, t] of before) folded.append(block(r, t));
      node.append(folded);
    }
    node.append(block(role, last.slice(cut).join("\n\n")));
  };

  $("more").addEventListener("click", more);
  setTimeout(() => {
    unpack().then((unpacked) => {
      data = unpacked;
      experiment = data.experiments[0];
      if (experiment) build();
      document.body.dataset.ready = "yes";
    }).catch((error) => { $("count").textContent = "The transcripts cannot be read: " + error; });
  }, 0);
})();
