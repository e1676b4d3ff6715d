// Charts, the plan and the study, which a report has beside its measures.

import { html, useLayoutEffect, useRef } from "/static/vendor/preact-htm.js";
import { count, plural, useData } from "/static/ui.js";

// What a report shows beside the figures of the viewer; null elsewhere.
export function useFigures(study) {
  return useData(study.can.includes("figures") ? "figures" : "", []).data;
}

const LEAST = 0.92; // of its width: type of 12 px stays at 11

// The letters of a browser may be wider than those that the chart was made with: its texts get the room that they need.
function widen(svg) {
  const all = svg.getBoundingClientRect();
  let [left, right] = [0, 0];
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    left = Math.max(left, Math.ceil(all.left - box.left));
    right = Math.max(right, Math.ceil(box.right - all.right));
  }
  const [x, y, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  svg.setAttribute("width", width + left + right);
  svg.setAttribute("viewBox", [x - left, y, width + left + right, height].join(" "));
  svg.style.minWidth = `${LEAST * (width + left + right)}px`; // a narrower window scrolls it
}

// A chart, parsed as XML: nothing of it is taken for HTML, and none of its scripts would run.
function Chart({ svg, name }) {
  const box = useRef(null);
  useLayoutEffect(() => {
    const drawn = document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
    box.current.replaceChildren(drawn);
    widen(drawn);
  }, [svg]);
  return html`<div class="chart" tabindex="0" role="group" aria-label=${name} ref=${box}></div>`;
}

export function Pictures({ list }) {
  return list.length ? html`<div class="pictures">${list.map((p) => html`<figure key=${p.caption}>
    <${Chart} svg=${p.svg} name=${p.caption} /><figcaption>${p.caption}</figcaption></figure>`)}</div>` : null;
}

// How complete the report is, and what made it.
export function Made({ study, overview, state, figures }) {
  const sum = (key) => overview.experiments.reduce((n, part) => n + part[key], 0);
  const made = state ? new Date(state.loaded_at * 1000).toISOString().slice(0, 16).replace("T", " ") : "";
  const simulated = overview.experiments.some((part) => part.simulated);
  return html`<div class="made"><p class="faint">${plural(sum("rows"), "row")}, ${sum("incomplete") ? `${count(sum("incomplete"))} of them incomplete` : "complete"};
    made ${made} UTC by emdsl ${study.version}, study digest <code>${figures.digest}</code></p>
    ${simulated ? html`<p class="notice"><strong>SIMULATED</strong>: these answers come from the embedded simulator, not from a model.</p>` : null}</div>`;
}

export function More({ figures }) {
  const part = (title, list) => (list.length ? html`<section aria-label=${title}><h2>${title}</h2><article><${Pictures} list=${list} /></article></section>` : null);
  return html`${part("Scores", figures.scores)}${part("Dropped draws", figures.dropped)}
    <section aria-label="Plan"><h2>Plan</h2><article><pre class="scroll" tabindex="0" role="region" aria-label="plan">${figures.plan}</pre></article></section>
    <section aria-label="Study"><h2>Study</h2>${figures.programs.map(([name, words], i) => html`<article key=${name}><details open=${i === 0}><summary>${name}</summary>
      <pre class="code scroll" tabindex="0" role="region" aria-label=${name}>${words.map(([kind, text]) => (kind ? html`<span class=${kind}>${text}</span>` : text))}</pre></details></article>`)}</section>`;
}
