// Axes as heat maps of a measure or of a column: one across, one down, a map for each level of others; a click filters rows.

import { html, useMemo, useState } from "/static/vendor/preact-htm.js";
import { go, href } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, figure, plural, useData } from "/static/ui.js";

const MAX_MAPS = 48;
const MAX_LEVELS = 200; // across or down

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

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 3)}...` : text);
const axisOf = (experiment, name) => experiment.axes.find((a) => a.name === name);

// The cells of a measure by the levels of some axes, a map for each combination of the last of them.
function ofMeasure(experiment, measure, axes) {
  const ids = axes.map((name) => {
    const axis = axisOf(experiment, name);
    const levels = axis ? new Map(axis.levels.map((l) => [l.shown, l.id])) : null;
    const column = measure.by[measure.axes.indexOf(name)] ?? name;
    return (row) => (levels ? levels.get(String(row[column])) : String(row[column]));
  });
  return measure.rows.map((row) => ({
    at: ids.map((id) => id(row)), value: row[measure.function], n: row.n, rows: row.n_planned ?? row.n, low: row.low, high: row.high, why: row.reason || "none kept",
  })).filter((cell) => !cell.at.includes(undefined));
}

// Cells to maps, in the order of the levels; of axes with chosen levels, those alone.
function toMaps(experiment, cells, axes, n, chosen) {
  const orders = axes.map((name) => new Map((axisOf(experiment, name) || { levels: [] }).levels.map((l, i) => [l.id, i])));
  const within = cells.filter((cell) => cell.at.every((id, i) => !chosen(axes[i]).length || chosen(axes[i]).includes(id)));
  const maps = new Map();
  for (const cell of within) {
    const rest = cell.at.slice(n);
    const key = rest.join("\n");
    if (!maps.has(key)) maps.set(key, { key, rest, cells: new Map() });
    maps.get(key).cells.set(cell.at.slice(0, n).join("\n"), cell);
  }
  const place = (map) => map.rest.map((id, i) => orders[n + i].get(id) ?? 0);
  return [...maps.values()].sort((a, b) => {
    const [left, right] = [place(a), place(b)];
    const i = left.findIndex((x, j) => x !== right[j]);
    return i < 0 ? 0 : left[i] - right[i];
  });
}

// Arrow keys move between the cells that have rows.
function move(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td");
  if (!step || !cell || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  const rows = [...event.currentTarget.querySelectorAll("tbody tr")];
  let y = rows.indexOf(cell.parentElement) + step[0];
  let x = [...cell.parentElement.querySelectorAll("td")].indexOf(cell) + step[1];
  for (; y >= 0 && y < rows.length; y += step[0], x += step[1]) {
    const next = rows[y].querySelectorAll("td")[x];
    if (!next) return;
    const link = next.querySelector("a");
    if (link) {
      cell.querySelector("a").tabIndex = -1;
      link.tabIndex = 0;
      link.focus();
      return;
    }
  }
}

function HeatMap({ experiment, map, title, axes, levels, range, pairs, tell, interval }) {
  const [x, y] = axes;
  const share = (v) => (range[1] > range[0] ? (v - range[0]) / (range[1] - range[0]) : 0.5);
  let first = true;
  const cellOf = (column, row) => {
    const cell = map.cells.get(y ? `${column.id}\n${row.id}` : column.id);
    if (!cell || !cell.rows) return html`<td key=${column.id} class="none">no rows</td>`;
    const known = cell.value !== null && cell.value !== undefined;
    const ends = interval && cell.low !== undefined && cell.low !== null && cell.high !== null ? `${figure(cell.low)} - ${figure(cell.high)} (${interval})` : "";
    const n = cell.n === cell.rows ? `n ${count(cell.n)}` : `n ${count(cell.n)} of ${count(cell.rows)}`;
    const where = `${x} ${column.text}${y ? `, ${y} ${row.text}` : ""}${title ? `, ${title}` : ""}`;
    const told = `${where}: ${[known ? figure(cell.value) : cell.why || "no value", ends, n].filter(Boolean).join(", ")}`;
    const tab = first ? 0 : -1;
    first = false;
    return html`<td key=${column.id} class=${known ? "" : "none"} style=${known ? { "--p": `${Math.round(8 + 84 * share(cell.value))}%` } : null}>
      <a href=${href("rows", pairs(map, column, row))} tabindex=${tab} title=${told} aria-label=${told} onFocus=${() => tell(told)} onMouseEnter=${() => tell(told)}>
        ${known ? figure(cell.value) : "-"}<small>${count(cell.n)}</small></a></td>`;
  };
  const columns = levels[0].filter((l) => !y || levels[1].some((r) => map.cells.has(`${l.id}\n${r.id}`)) || levels[0].length <= 24);
  const rows = y ? levels[1].filter((r) => levels[1].length <= 24 || levels[0].some((l) => map.cells.has(`${l.id}\n${r.id}`))) : [{ id: "", text: "" }];
  return html`<figure>${title ? html`<figcaption>${title}</figcaption>` : null}<div class="scroll" role="region" aria-label=${`heat map ${title}`} onKeyDown=${move}><table class="heat">
    <thead><tr><th scope="col">${y ? html`${y} <span aria-hidden="true">↓</span> ${x} <span aria-hidden="true">→</span>` : x}</th>${columns.map((l) => html`<th scope="col" key=${l.id} title=${l.text}>${cut(l.text, 40)}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.id}><th scope="row" title=${row.text}>${cut(row.text, 60)}</th>${columns.map((column) => cellOf(column, row))}</tr>`)}</tbody></table></div></figure>`;
}

const Pick = ({ name, value, options, change, title }) => html`<label class="inline" title=${title}>${name} <select value=${value} onChange=${(e) => change(e.target.value)}>
  ${options.map(([k, text]) => html`<option key=${k} value=${k}>${text}</option>`)}</select></label>`;

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
  const y = route.get("y") === "-" ? "" : others.includes(route.get("y")) ? route.get("y") : others[0] || "";
  const rest = others.filter((a) => a !== y);
  const chosen = (axis) => route.all(`a.${axis}`);
  // of a measure, the axes that it is by cannot be pooled: its intervals are those of its groups
  const by = rest.filter((a) => (measure ? chosen(a).length !== 1 : route.all("by").includes(a)));
  const parts = measure ? measure.by.map((b, i) => measure.axes[i] ?? b).filter((a) => !axisOf(experiment, a)) : []; // such as a column of a dataset
  const names = [...by, ...parts]; // of maps
  const shown = [x, ...(y ? [y] : []), ...names];
  const [column, label = ""] = (what || "").split(/=(.*)/s);
  const filter = route.filter.filter(([k]) => k !== "exp" && k !== "sort");
  const pairs = [["exp", experiment.name], ["x", x], ["y", y], ...by.map((a) => ["by", a]), ["of", column], ["label", label], ...filter];
  const { data, error, busy } = useData(measure || !of || !x ? "" : "grid", pairs, [generation]);
  const [told, tell] = useState("");
  useKeys({ Escape: () => go("overview", [["exp", experiment.name]]) });
  if (!part) return html`<${Busy} />`;
  if (!of || !x) return html`<p>The experiment has no measure by an axis, and no score or label.</p>`;
  const set = (changes) => go("grid", route.with({ exp: experiment.name, ...changes }), { replace: true });
  // an answer for other axes than those shown is not drawn
  const fresh = data && (!data.axes || data.axes.join("\n") === shown.join("\n"));
  const fixed = measure ? rest.filter((a) => !by.includes(a)) : [];
  const cells = measure ? ofMeasure(experiment, measure, [...shown, ...fixed]).filter((c) => fixed.every((a, i) => c.at[shown.length + i] === chosen(a)[0]))
    .map((c) => ({ ...c, at: c.at.slice(0, shown.length) })) : fresh ? data.cells : [];
  const maps = toMaps(experiment, cells, shown, y ? 2 : 1, chosen);
  const values = cells.map((c) => c.value).filter((v) => typeof v === "number");
  const range = [Math.min(...values), Math.max(...values)];
  const levels = shown.slice(0, y ? 2 : 1).map((name) => axisOf(experiment, name).levels.filter((l) => !chosen(name).length || chosen(name).includes(l.id)).slice(0, MAX_LEVELS));
  const text = (axis, id) => ((axisOf(experiment, axis) || { levels: [] }).levels.find((l) => l.id === id) || { text: id }).text;
  const titleOf = (map) => map.rest.map((id, i) => `${names[i]} ${cut(text(names[i], id), 60)}`).join(", ");
  // the rows of a cell: a measure has its own conditions, so that other filters of this page do not act on it
  const kept = measure ? filter.filter(([k]) => fixed.some((a) => k === `a.${a}`)) : filter.filter(([k]) => !shown.some((a) => k === `a.${a}`));
  const rowsOf = (map, columnLevel, row) => [["exp", experiment.name], ...kept, [`a.${x}`, columnLevel.id], ...(y ? [[`a.${y}`, row.id]] : []), ...by.map((a, i) => [`a.${a}`, map.rest[i]])];
  const role = (axis) => (by.includes(axis) ? "*" : chosen(axis).length === 1 ? chosen(axis)[0] : chosen(axis).length ? "some" : "");
  const setRole = (axis, value) => {
    const multiples = route.all("by").filter((a) => a !== axis);
    set({ by: value === "*" ? [...multiples, axis] : multiples, [`a.${axis}`]: value === "*" || value === "some" ? "" : value });
  };
  const roles = (axis) => [...(measure ? [] : [["", "pooled"]]), ["*", "a map each"], ...(role(axis) === "some" ? [["some", `${chosen(axis).length} levels pooled`]] : []),
    ...axisOf(experiment, axis).levels.slice(0, MAX_LEVELS).map((l) => [l.id, `= ${cut(l.text, 50)}`])];
  const pooled = measure ? experiment.axes.filter((a) => a.n > 1 && !measure.axes.includes(a.name)).map((a) => a.name) : [];
  const unused = measure ? filter.filter(([k]) => !k.startsWith("a.") || !axes.includes(k.slice(2))) : [];
  return html`<section class="grid" aria-label="Grid">
    <div class="bar">${study.experiments.length > 1 ? html`<${Pick} name="experiment" value=${experiment.name} options=${study.experiments.map((e) => [e.name, e.name])} change=${(exp) => go("grid", [["exp", exp]])} />` : null}
      <${Pick} name="show" value=${of} options=${list} change=${(v) => set({ of: v })} />
      <${Pick} name="across" value=${x} options=${axes.map((a) => [a, a])} change=${(v) => set({ x: v, y: v === y ? x : y || "-" })} />
      ${others.length ? html`<${Pick} name="down" value=${y || "-"} options=${[...others.map((a) => [a, a]), ["-", "nothing"]]} change=${(v) => set({ y: v })} />` : null}
      ${rest.map((a) => html`<${Pick} key=${a} name=${a} value=${role(a)} options=${roles(a)} change=${(v) => setRole(a, v)} />`)}</div>
    <p class="bar">${values.length ? html`<span class="legend" role="img" aria-label=${`colors from ${figure(range[0])} to ${figure(range[1])}`}>${figure(range[0])}<span class="ramp"></span>${figure(range[1])}</span>` : null}
      <span class="faint">${[`small numbers: n`, pooled.length ? `pooled by the measure: ${pooled.join(", ")}` : "", unused.length ? `${plural(unused.length, "filter")} not applied to a measure` : "", busy && !measure ? "computing" : ""].filter(Boolean).join("; ")}</span></p>
    ${error ? html`<${Problem} text=${error} />` : null}
    ${!cells.length && !error && (measure || fresh) ? html`<p>No rows fit.</p>` : null}
    <div class="maps">${maps.slice(0, MAX_MAPS).map((m) => html`<${HeatMap} key=${m.key} experiment=${experiment} map=${m} title=${titleOf(m)} axes=${shown.slice(0, y ? 2 : 1)} levels=${levels} range=${range}
      pairs=${rowsOf} tell=${tell} interval=${measure ? measure.interval : ""} />`)}</div>
    ${maps.length > MAX_MAPS ? html`<p class="faint">the first ${MAX_MAPS} of ${count(maps.length)} maps</p>` : null}
    <p class="told">${told}</p>
  </section>`;
}
