// All samples of a row's cell as small symbols, told apart by shape, color and words; a click or a key opens one.

import { html, useLayoutEffect, useMemo, useRef } from "/static/vendor/preact-htm.js";
import { count, shown } from "/static/ui.js";
import { Condition, useConditions, useSame } from "/static/sides.js";

const SHAPES = ["■", "▲", "◆", "●", "★", "▼"];
const MOST = 2000; // samples at once
const BARS = ["▁", "▃", "▅", "▆", "█"]; // of numbers, from the lowest fifth of their range
const YES = "●";
const NO = "○";
const MISSING = "×";

// Of each sample its symbol, the class of its color, and its verdict in words.
export function symbolsOf(strip) {
  const values = strip.samples.map((s) => s.value).filter((v) => v !== null);
  const numbers = values.length && values.every((v) => typeof v === "number");
  const low = numbers ? Math.min(...values) : 0;
  const high = numbers ? Math.max(...values) : 0;
  const labels = numbers || strip.yes_no ? [] : [...new Set(values.map(String))].sort();
  return strip.samples.map(({ sample, value, missing }) => {
    if (value === null) return { sample, symbol: MISSING, kind: "missing", text: `missing: ${missing || "unknown"}` };
    if (strip.yes_no) return { sample, symbol: value === "true" ? YES : NO, kind: value === "true" ? "yes" : "no", text: value === "true" ? "yes" : "no" };
    if (numbers) {
      const level = high > low ? Math.min(4, Math.floor((5 * (value - low)) / (high - low))) : 2;
      return { sample, symbol: BARS[level], kind: `level${level}`, text: String(Number(value.toPrecision(4))) };
    }
    const i = labels.indexOf(String(value));
    return { sample, symbol: strip.of === "text" ? "■" : SHAPES[i % SHAPES.length], kind: strip.of === "text" ? "no" : `label${i % SHAPES.length}`, text: String(value) };
  });
}

export function Strip({ study, experiment, row, of, generation, go, set }) {
  const place = row.split(",");
  const cell = place.slice(0, -1).join(",");
  const current = Number(place[place.length - 1]);
  const list = useConditions(study, experiment, generation);
  const offered = study.can.includes("pairs") && experiment.samples > 1 && row;
  const { data } = useSame(offered ? "strip" : "", [["exp", experiment.name], ["row", [...place.slice(0, -1), current - (current % MOST)].join(",")], ["of", of]], [], generation);
  const box = useRef(null);
  const symbols = useMemo(() => (data ? symbolsOf(data) : []), [data]);
  const counts = useMemo(() => {
    const words = new Map();
    for (const m of symbols) words.set(m.text, (words.get(m.text) || 0) + 1);
    const numbers = data && data.samples.map((s) => s.value).filter((v) => typeof v === "number");
    if (numbers && numbers.length) return `${shown(Math.min(...numbers))} to ${shown(Math.max(...numbers))}`;
    return words.size <= 6 ? [...words].map(([text, n]) => `${text} ${n}`).join(", ") : "";
  }, [symbols]);
  useLayoutEffect(() => { // the chosen symbol stays in sight, without moving the page
    const symbol = box.current && box.current.querySelector("[aria-current]");
    if (!symbol) return;
    const top = symbol.offsetTop - box.current.offsetTop;
    if (top < box.current.scrollTop || top + symbol.offsetHeight > box.current.scrollTop + box.current.clientHeight) box.current.scrollTop = top - box.current.clientHeight / 2;
  }, [current, symbols]);
  if (!offered || (data && !symbols.length)) return null;
  if (!data) return html`<section class="strip" aria-label="Samples of this cell" aria-busy="true"></section>`;
  const open = (sample) => go([...place.slice(0, -1), sample].join(","));
  const step = (by) => {
    const i = symbols.findIndex((m) => m.sample === current);
    const next = symbols[Math.max(0, Math.min(symbols.length - 1, i + by))];
    open(next.sample);
    requestAnimationFrame(() => { const symbol = box.current && box.current.querySelector("[aria-current]"); if (symbol) symbol.focus(); });
  };
  const keys = { ArrowRight: 1, ArrowLeft: -1, Home: -symbols.length, End: symbols.length };
  const press = (e) => {
    if (!(e.key in keys)) return;
    e.preventDefault();
    e.stopPropagation();
    step(keys[e.key]);
  };
  const here = symbols.some((m) => m.sample === current);
  return html`<section class="strip" aria-label="Samples of this cell">
    <div class="bar"><span class="faint">${experiment.samples > MOST ? `samples ${count(data.first)} to ${count(data.first + symbols.length - 1)}` : `${count(symbols.length)} samples`}${counts ? `: ${counts}` : ""}</span><${Condition} list=${list} of=${data.of} set=${set} /></div>
    <div class="samples" ref=${box} role="toolbar" aria-label="samples" onKeyDown=${press}>${symbols.map((m, i) => html`<button key=${m.sample} class=${m.kind} tabindex=${m.sample === current || (!here && !i) ? 0 : -1}
      aria-current=${m.sample === current ? "true" : null} aria-label=${`sample ${m.sample}: ${m.text}`} title=${`sample ${m.sample}: ${m.text}`} onClick=${() => open(m.sample)}>${m.symbol}</button>`)}</div></section>`;
}

// The sample before or after one, for keys of a screen: within the numbers of the experiment.
export function besideSample(row, by, experiment) {
  const place = row.split(",");
  const sample = Number(place[place.length - 1]) + by;
  return sample < 0 || sample >= experiment.samples ? "" : [...place.slice(0, -1), sample].join(",");
}
