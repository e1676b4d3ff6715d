// Keys: single ones and pairs such as `g o`. The screen that was shown last has precedence.

import { useLayoutEffect } from "/static/vendor/preact-htm.js";

const layers = [];
let before = "";
let timer = 0;

export function useKeys(table) {
  useLayoutEffect(() => { // with the screen, so that a fast key acts on what is shown
    layers.push(table);
    return () => layers.splice(layers.indexOf(table), 1);
  });
}

function typing(target) {
  return target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]") !== null;
}

function find(key) {
  for (let i = layers.length - 1; i >= 0; i -= 1) {
    if (layers[i][key]) return layers[i][key];
  }
  return null;
}

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const writing = typing(event.target);
  if (writing && event.key !== "Escape") return;
  if (writing) {
    event.target.blur();
    event.preventDefault();
    return;
  }
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  // a link or a button that has the focus keeps its own keys
  if ((event.key === "Enter" || event.key === " ") && event.target.closest("a, button, summary, input")) return;
  const pair = before ? `${before} ${event.key}` : "";
  const act = (pair && find(pair)) || find(event.key);
  clearTimeout(timer);
  before = "";
  if (act) {
    event.preventDefault();
    act(event);
  } else if (event.key === "g") {
    before = "g";
    timer = setTimeout(() => { before = ""; }, 1500);
  }
});
