// Two axes as a heat map of a measure or of a column; a click filters the rows.

import { html, useMemo } from "/static/vendor/preact-htm.js";
import { go, href } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, figure, useData } from "/static/ui.js";

const MAX_MAPS = 24;

function choices(experiment, part) {
  const list = [];
  for (const measure of part.measures) {
    if (measure.rows && measure.axes.some((p) => experiment.axes.some((a) => a.name === p))) list.push([`measure:${measure.name}`, `measure ${measure.name}`]);
  }
  for (const column of experiment.columns) {
    if (column.kind === "number" && column.reason) list.push([`mean:${column.name}`, `mean of ${column.name}`]);
    const facet = part.facets.find((f) => f.column === column.name);
    if (column.kind === "label" && facet) {
      for (const value of Object.keys(facet.values).slice(0, 12)) list.push([`share:${column.name}=${value}`, `share of ${column.name} ${value}`]);
    }
  }
  return list;
}

// The cells of a measure: its groups by two axes, a map for each combination of its other groups.
function ofMeasure(experiment, measure, x, y) {
  const id = (axis, value) => {
    const found = experiment.axes.find((a) => a.name === axis).levels.find((l) => l.shown === String(value));
    return found ? found.id : null;
  };
  const column = (axis) => measure.by[measure.axes.indexOf(axis)];
  const others = measure.by.filter((b) => b !== column(x) && b !== (y ? column(y) : null));
  const maps = new Map();
  for (const row of measure.rows) {
    const title = others.map((b) => `${b} ${row[b]}`).join(", ");
    const pairs = others.flatMap((b) => {
      const axis = measure.axes[measure.by.indexOf(b)];
      const level = experiment.axes.some((a) => a.name === axis) ? id(axis, row[b]) : null;
      return level === null ? [] : [[`a.${axis}`, level]];
    });
    if (!maps.has(title)) maps.set(title, { title, pairs, cells: [] });
    maps.get(title).cells.push({ at: [id(x, row[column(x)]), ...(y ? [id(y, row[column(y)])] : [])], value: row[measure.function], n: row.n, low: row.low, high: row.high });
  }
  return [...maps.values()];
}

function HeatMap({ experiment, map, x, y, range, filter }) {
  const xs = experiment.axes.find((a) => a.name === x).levels;
  const ys = y ? experiment.axes.find((a) => a.name === y).levels : [{ id: "", text: "" }];
  const held = new Map(map.cells.map((c) => [c.at.join("\n"), c]));
  const usedX = xs.filter((l) => map.cells.some((c) => c.at[0] === l.id));
  const usedY = y ? ys.filter((l) => map.cells.some((c) => c.at[1] === l.id)) : ys;
  const share = (v) => (range[1] > range[0] ? (v - range[0]) / (range[1] - range[0]) : 0.5);
  return html`<figure>${map.title ? html`<figcaption>${map.title}</figcaption>` : null}<div class="scroll" tabindex="0" role="region" aria-label=${`heat map ${map.title}`}><table class="heat">
    <thead><tr><th scope="col">${y ? `${y} \\ ${x}` : x}</th>${usedX.map((l) => html`<th scope="col" key=${l.id} title=${l.text}>${l.text.slice(0, 40)}</th>`)}</tr></thead>
    <tbody>${usedY.map((row) => html`<tr key=${row.id}><th scope="row" title=${row.text}>${row.text.slice(0, 60)}</th>${usedX.map((column) => {
      const cell = held.get(y ? `${column.id}\n${row.id}` : column.id);
      if (!cell || cell.value === null || cell.value === undefined) return html`<td key=${column.id} class="none">${cell ? "-" : ""}</td>`;
      const p = share(cell.value);
      const to = href("rows", [...filter, ...map.pairs, [`a.${x}`, column.id], ...(y ? [[`a.${y}`, row.id]] : [])]);
      const interval = cell.low !== undefined && cell.low !== null && cell.high !== null ? `, ${figure(cell.low)} - ${figure(cell.high)}` : "";
      return html`<td key=${column.id} style=${{ "--p": `${Math.round(8 + 84 * p)}%` }}><a href=${to} title=${`n ${count(cell.n)}${interval}`}>${figure(cell.value)}</a></td>`;
    })}</tr>`)}</tbody></table></div></figure>`;
}

export function Grid({ route, study, overview, generation }) {
  const experiment = study.experiments.find((e) => e.name === route.get("exp")) || study.experiments[0];
  const part = overview && overview.experiments.find((e) => e.name === experiment.name);
  const list = useMemo(() => (part ? choices(experiment, part) : []), [part]);
  const of = list.some(([k]) => k === route.get("of")) ? route.get("of") : (list[0] || [""])[0];
  const [kind, what] = of.split(/:(.*)/s);
  const measure = kind === "measure" && part ? part.measures.find((m) => m.name === what) : null;
  const axes = experiment.axes.filter((a) => (measure ? measure.axes.includes(a.name) : a.n > 1 || experiment.axes.length === 1)).map((a) => a.name);
  const x = axes.includes(route.get("x")) ? route.get("x") : axes[0];
  const others = axes.filter((a) => a !== x);
  const y = others.includes(route.get("y")) ? route.get("y") : others[0];
  const [column, label = ""] = (what || "").split(/=(.*)/s);
  const filter = route.filter.filter(([k]) => k !== "exp" && k !== `a.${x}` && k !== `a.${y}`);
  const pairs = [["exp", experiment.name], ["x", x], ["y", y], ["of", column], ["label", label], ...filter];
  const { data, error } = useData(measure || !of ? "" : "grid", pairs, [generation]);
  useKeys({ Escape: () => go("overview", [["exp", experiment.name]]) });
  if (!part) return html`<${Busy} />`;
  if (!of || !x) return html`<p>The experiment has no measure by an axis, and no score or label.</p>`;
  const set = (changes) => go("grid", route.with({ exp: experiment.name, ...changes }), { replace: true });
  const all = measure ? ofMeasure(experiment, measure, x, y) : data ? [{ title: "", pairs: [], cells: data.cells }] : [];
  const values = all.flatMap((m) => m.cells.map((c) => c.value)).filter((v) => typeof v === "number");
  const range = [Math.min(...values), Math.max(...values)];
  const pick = (name, value, options, change) => html`<label class="inline">${name} <select value=${value} onChange=${(e) => change(e.target.value)}>${options.map(([k, text]) => html`<option key=${k} value=${k}>${text}</option>`)}</select></label>`;
  return html`<section class="grid" aria-label="Grid">
    <div class="bar">${study.experiments.length > 1 ? pick("experiment", experiment.name, study.experiments.map((e) => [e.name, e.name]), (exp) => go("grid", [["exp", exp]])) : null}
      ${pick("show", of, list, (v) => set({ of: v }))}${pick("across", x, axes.map((a) => [a, a]), (v) => set({ x: v, y: v === y ? x : y }))}
      ${others.length ? pick("down", y, others.map((a) => [a, a]), (v) => set({ y: v })) : null}
      ${values.length ? html`<span class="legend" aria-label=${`from ${figure(range[0])} to ${figure(range[1])}`}>${figure(range[0])}<span class="ramp"></span>${figure(range[1])}</span>` : null}</div>
    ${error ? html`<${Problem} text=${error} />` : null}
    <div class="maps">${all.slice(0, MAX_MAPS).map((m) => html`<${HeatMap} key=${m.title} experiment=${experiment} map=${m} x=${x} y=${y} range=${range}
      filter=${[["exp", experiment.name], ...(measure ? [] : filter)]} />`)}</div>
    ${all.length > MAX_MAPS ? html`<p class="faint">the first ${MAX_MAPS} of ${count(all.length)} maps</p>` : null}
  </section>`;
}
