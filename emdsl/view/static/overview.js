// The overview: measures with intervals, rows by what is missing, cost.

import { html, useState } from "/static/vendor/preact-htm.js";
import { href } from "/static/route.js";
import { Made, More, Pictures, useFigures } from "/static/figures.js";
import { Bar, Runs } from "/static/runs.js";
import { Busy, count, figure, number, plural, shown, usd } from "/static/ui.js";

const W = matchMedia("(max-width: 699px)").matches ? 84 : 160;

function Interval({ row, value, ends }) {
  const x = (v) => ((v - ends[0]) / (ends[1] - ends[0] || 1)) * (W - 12) + 6;
  if (value === null || value === undefined) return html`<svg width=${W} height="16" aria-hidden="true"></svg>`;
  const low = row.low ?? ends[0];
  const high = row.high ?? ends[1];
  const known = row.low !== undefined && (row.low !== null || row.high !== null);
  return html`<svg class="interval" width=${W} height="16" aria-hidden="true">
    <line class="axis" x1="6" x2=${W - 6} y1="8" y2="8" />
    ${known ? html`<line class="range" x1=${x(low)} x2=${x(high)} y1="8" y2="8" />` : null}
    <circle cx=${x(value)} cy="8" r="4" /></svg>`;
}

function ends(measure) {
  const values = measure.rows.flatMap((r) => [r[measure.function], r.low, r.high]).filter((v) => typeof v === "number");
  if (!values.length) return [0, 1];
  const least = Math.min(...values);
  const most = Math.max(...values);
  if (least >= 0 && most <= 1) return [0, least > 0.5 ? 1 : upTo(most)];
  if (least <= 0) return [least < 0 ? -upTo(-least) : 0, most > 0 ? upTo(most) : 0];
  const step = upTo(most - least || most) / 2; // of scores, which need no 0: their own range
  return [Math.floor(least / step) * step, Math.ceil(most / step) * step];
}

// The next round number: 1, 2 or 5 times a power of 10.
function upTo(value) {
  if (!value) return 1;
  const unit = 10 ** Math.floor(Math.log10(value) + 1e-9);
  return Number((unit * [1, 2, 5, 10].find((x) => x * unit >= value * (1 - 1e-9))).toPrecision(3));
}

// The filter of a group's rows: levels of axes that a measure's group names.
export function groupPairs(experiment, measure, row) {
  const pairs = [["exp", experiment.name]];
  measure.axes.forEach((path, i) => {
    const axis = experiment.axes.find((a) => a.name === path);
    const level = axis && axis.levels.find((l) => l.shown === String(row[measure.by[i]]));
    if (level) pairs.push([`a.${axis.name}`, level.id]);
  });
  return pairs;
}

const MAX_REASONS = 6; // with a color of their own

// The draws of a measure by reason: how many count, and why the others do not.
function reasonsOf(measure) {
  const reasons = new Map();
  for (const row of measure.rows) {
    for (const [reason, n] of Object.entries(row.dropped || {})) reasons.set(reason, (reasons.get(reason) || 0) + n);
  }
  return [...reasons].sort((a, b) => b[1] - a[1]);
}

const PENDING = "not_asked";
const kind = (reasons, reason) => (reason === PENDING ? "pending" : `reason${Math.min(MAX_REASONS, reasons.findIndex(([r]) => r === reason) + 1)}`);

function Dropped({ measure, reasons }) {
  if (!reasons.length) return null;
  const kept = measure.rows.reduce((sum, row) => sum + (row.n || 0), 0);
  const planned = kept + reasons.reduce((sum, [, n]) => sum + n, 0);
  const share = (n) => `${((100 * n) / planned).toFixed(1)} %`;
  return html`<div class="dropped"><${Bar} parts=${[["kept", kept, "kept"], ...reasons.map(([r, n]) => [kind(reasons, r), n, r])]} total=${planned} />
    <ul>${[["kept", kept], ...reasons].map(([reason, n], i) => html`<li key=${reason}><span class=${`swatch ${i ? kind(reasons, reason) : "kept"}`}></span>${reason} <strong>${count(n)}</strong> <span class="faint">${share(n)}</span></li>`)}</ul></div>`;
}

const FOLD_FROM = 25; // rows of a table: a longer one is folded by its first group that has several values

// The rows of a measure as bodies of its table: one of all, or one for each value of its outer group.
function bodiesOf(measure) {
  const outer = measure.rows.length < FOLD_FROM || measure.by.length < 2 ? undefined : measure.by.find((b) => new Set(measure.rows.map((r) => r[b])).size > 1);
  if (!outer) return { outer, bodies: [["", measure.rows]] };
  const bodies = new Map();
  for (const row of measure.rows) bodies.set(row[outer], [...(bodies.get(row[outer]) || []), row]);
  return { outer, bodies: bodies.size < measure.rows.length ? [...bodies] : [["", measure.rows]] };
}

function Fold({ name, n, open, turn, columns }) {
  return html`<tr class="fold"><th scope="rowgroup" colspan=${columns}><button class="small" aria-expanded=${open} onClick=${turn}>${open ? "▾" : "▸"} ${name}</button> <span class="faint">${plural(n, "row")}</span></th></tr>`;
}

function Measure({ experiment, measure, figures }) {
  const [turned, setTurned] = useState({});
  if (measure.rows === null) return html`<article><h3>${measure.name}</h3><p class="faint">left out, see the notes</p></article>`;
  const range = ends(measure);
  const more = ["raw", "sensitivity", "specificity", "annotated"].filter((c) => measure.rows.some((r) => r[c] !== null && r[c] !== undefined));
  const tests = ["p", "p_holm", "p_bh", "p_equivalent"].filter((c) => measure.rows.some((r) => r[c] !== null && r[c] !== undefined));
  const extra = [...tests, ...more];
  const reasons = reasonsOf(measure);
  const { outer, bodies } = bodiesOf(measure);
  const columns = measure.by.length + 2 + (measure.interval ? 2 : 0) + extra.length + (reasons.length ? 1 : 0);
  const textOf = (row, b) => {
    const axis = experiment.axes.find((a) => a.name === measure.axes[measure.by.indexOf(b)]);
    const level = axis && axis.levels.find((l) => l.shown === String(row[b]));
    return level ? level.text : shown(row[b]);
  };
  return html`<article>
    <h3>${measure.name}${figures && figures.mark ? html` <span class="faint">${figures.mark}</span>` : null}</h3>
    <p class="written"><code>${measure.written}</code></p>
    ${figures ? html`<${Pictures} list=${figures.pictures} />` : null}
    <div class="scroll" tabindex="0" role="region" aria-label=${`figures of ${measure.name}`}><table>
      <thead><tr>${measure.by.map((b) => html`<th scope="col">${b}</th>`)}
        <th scope="col" class="num">${measure.heading}</th>${measure.interval ? html`<th scope="col" class="scale"><span>${number(range[0])}</span><span class="sr"> to </span><span>${number(range[1])}</span></th><th scope="col">${measure.interval}</th>` : null}${extra.map((c) => html`<th scope="col" class="num">${c}</th>`)}
        <th scope="col" class="num">n</th>${reasons.length ? html`<th scope="col">dropped</th>` : null}</tr></thead>
      ${bodies.map(([, rows], at) => {
        const open = bodies.length === 1 || (turned[at] ?? at === 0);
        return html`<tbody key=${at} class=${open ? "" : "folded"}>${bodies.length > 1 ? html`<${Fold} name=${`${outer} ${textOf(rows[0], outer)}`} n=${rows.length} open=${open} columns=${columns} turn=${() => setTurned({ ...turned, [at]: !open })} />` : null}${rows.map((row, i) => {
        const value = row[measure.function];
        const dropped = Object.entries(row.dropped || {}).sort((a, b) => b[1] - a[1]);
        const group = measure.by.map((b) => textOf(row, b));
        return html`<tr key=${i}>
          ${group.map((g, j) => html`<td class="group">${j === 0 ? html`<a href=${href("rows", groupPairs(experiment, measure, row))}>${g}</a>` : g}</td>`)}
          <td class="num"><strong>${value === null || value === undefined ? row.reason || (row.n ? "unknown" : Object.keys(row.dropped || {}).join() === PENDING ? "pending" : "none kept") : figure(value)}</strong></td>
          ${measure.interval ? html`<td><${Interval} row=${row} value=${value} ends=${range} /></td><td class="nowrap">${row.low === null || row.low === undefined ? (row.high ?? null) === null ? "" : `up to ${figure(row.high)}` : row.high === null ? `from ${figure(row.low)}` : `${figure(row.low)} - ${figure(row.high)}`}</td>` : null}
          ${extra.map((c) => html`<td class="num">${row[c] === null || row[c] === undefined ? "" : typeof row[c] === "number" && !Number.isInteger(row[c]) ? row[c].toPrecision(3) : row[c]}</td>`)}
          <td class="num">${count(row.n)}${row.complete ? "" : html` <span class="mark" title="some answers are missing">of ${count(row.n_planned)}</span>`}</td>
          ${reasons.length ? html`<td class="faint drops"><${Bar} parts=${[["kept", row.n || 0, "kept"], ...dropped.map(([r, n]) => [kind(reasons, r), n, r])]}
            total=${(row.n || 0) + dropped.reduce((sum, [, n]) => sum + n, 0)} /> ${dropped.map(([reason, n]) => `${count(n)} ${reason}`).join(", ")}</td>` : null}</tr>`;
      })}</tbody>`;
      })}</table></div>
    <${Dropped} measure=${measure} reasons=${reasons} />
  </article>`;
}

function Missing({ experiment, facets, rows }) {
  const held = facets.filter((f) => Object.keys(f.reasons).length);
  if (!held.length) return null;
  return html`<article><h3>Missing values</h3><div class="scroll" tabindex="0" role="region" aria-label="missing values"><table>
    <thead><tr><th scope="col">column</th><th scope="col">reason</th><th scope="col" class="num">rows</th><th scope="col" class="num">share</th></tr></thead>
    <tbody>${held.flatMap((f) => Object.entries(f.reasons).map(([reason, n]) => html`<tr key=${`${f.column} ${reason}`}>
      <td>${f.column}</td><td><a href=${href("rows", [["exp", experiment.name], [`m.${f.column}`, reason]])}>${reason}</a></td>
      <td class="num">${count(n)}</td><td class="num">${((100 * n) / rows).toFixed(1)} %</td></tr>`))}</tbody></table></div></article>`;
}

// People down, the judge across; each number leads to its rows.
function Against({ experiment, against }) {
  const labels = Object.keys((experiment.annotations.find((a) => a.name === against.annotation) || { choices: {} }).choices);
  const step = experiment.steps.find((s) => s.name === against.judge);
  const { threshold } = against;
  const verdicts = threshold === null ? step.labels : ["true", "false"];
  const title = (v) => (threshold === null ? v : `${v === "true" ? "<" : ">="} ${threshold}`);
  const n = (label, verdict) => (against.cells.find((c) => c[0] === label && c[1] === verdict) || [0, 0, 0])[2];
  const pairs = (label, verdict) => [["exp", experiment.name], [`v.${against.annotation}`, label],
    threshold === null ? [`v.${against.judge}`, verdict] : [`${verdict === "true" ? "below" : "min"}.${against.judge}`, threshold]];
  if (!against.cells.length) return null;
  return html`<article><h3>${against.annotation} by people, ${against.judge} by the judge</h3>
    <div class="scroll" tabindex="0" role="region" aria-label=${`${against.judge} against ${against.annotation}`}><table>
    <thead><tr><th scope="col">people</th>${verdicts.map((v) => html`<th scope="col" class="num" key=${v}>${against.judge} ${title(v)}</th>`)}</tr></thead>
    <tbody>${labels.map((label) => html`<tr key=${label}><th scope="row">${label}</th>${verdicts.map((v) => html`<td class="num" key=${v}>${n(label, v)
      ? html`<a href=${href("rows", pairs(label, v))}>${count(n(label, v))}</a>` : 0}</td>`)}</tr>`)}</tbody></table></div></article>`;
}

function Costs({ costs }) {
  if (!costs.length) return null;
  return html`<article><h3>Cost</h3><div class="scroll" tabindex="0" role="region" aria-label="cost"><table>
    <thead><tr><th scope="col">step</th><th scope="col">model</th><th scope="col" class="num">answers</th><th scope="col" class="num">tokens in</th>
      <th scope="col" class="num">tokens out</th><th scope="col" class="num">cost</th></tr></thead>
    <tbody>${costs.map((c) => html`<tr key=${`${c.step} ${c.model}`}><td>${c.step}</td><td>${c.model}</td><td class="num">${count(c.answers)}</td>
      <td class="num">${count(c.input)}</td><td class="num">${count(c.output)}</td>
      <td class="num">${c.priced ? usd(c.usd) : "unknown"}${c.priced && c.priced < c.answers ? " + ?" : ""}</td></tr>`)}</tbody></table></div></article>`;
}

const NO_INPUT = ["no_answer", "undecided", "incomplete", "not_obtained", "null"]; // of a step that reads something missing

// The rows of each step by how it ended.
function StepsOfRows({ experiment, part }) {
  const steps = experiment.steps.map((step) => {
    const facet = part.facets.find((f) => f.column === step.name);
    const reasons = facet ? facet.reasons : {};
    const [failed, pending, skipped] = ["failed", PENDING, "not_needed"].map((r) => reasons[r] || 0);
    const without = NO_INPUT.reduce((sum, r) => sum + (reasons[r] || 0), 0);
    return { step: step.name, failed, pending, skipped, without, answered: part.rows - failed - pending - skipped - without };
  });
  if (!steps.some((s) => s.failed || s.pending || s.skipped || s.without)) return null;
  const without = steps.some((s) => s.without);
  const link = (step, reason, n) => (n ? html`<a href=${href("rows", [["exp", experiment.name], [`m.${step}`, reason]])}>${count(n)}</a>` : 0);
  return html`<article><h3>Rows by step</h3><div class="scroll" tabindex="0" role="region" aria-label="rows by step"><table>
    <thead><tr><th scope="col">step</th><th scope="col"><span class="sr">progress</span></th><th scope="col" class="num">answered</th><th scope="col" class="num">not needed</th>${without ? html`<th scope="col" class="num" title=${NO_INPUT.join(", ")}>no input</th>` : null}
      <th scope="col" class="num">failed</th><th scope="col" class="num">pending</th></tr></thead>
    <tbody>${steps.map((s) => html`<tr key=${s.step}><th scope="row">${s.step}</th>
      <td><${Bar} parts=${[["done", s.answered, "answered"], ["skipped", s.skipped + s.without, "not needed or without input"], ["failed", s.failed, "failed"]]} total=${part.rows} /></td>
      <td class="num">${count(s.answered)}</td><td class="num">${link(s.step, "not_needed", s.skipped)}</td>${without ? html`<td class="num">${count(s.without)}</td>` : null}
      <td class="num">${link(s.step, "failed", s.failed)}</td><td class="num">${link(s.step, "not_asked", s.pending)}</td></tr>`)}</tbody></table></div></article>`;
}

export function Overview({ study, overview, state, generation }) {
  const figures = useFigures(study);
  if (!overview) return html`<${Busy} what="Computing the figures" />`;
  const notices = [...overview.notices, ...overview.experiments.flatMap((e) => e.notices)];
  const loaded = state ? new Date(state.loaded_at * 1000).toLocaleTimeString() : "";
  return html`<div class="overview">
    ${figures ? html`<${Made} study=${study} overview=${overview} state=${state} figures=${figures} />` : null}
    ${overview.part ? html`<p class="notice">Figures and rows are those that the run sends first, ${plural(overview.part.reduce((a, b) => a + b, 0), "row")} so far. All are loaded when it ends, or by Reload.</p>` : null}
    ${notices.map((n) => html`<p class="notice" key=${n}>${n}</p>`)}
    ${overview.experiments.every((e) => e.rows && e.costs.length === 0 && e.incomplete === e.rows) && !(state && state.runs.length) ? html`<p class="notice">No answers yet. <code>emdsl run ${study.file}</code> sends the requests, and this page follows it.</p>` : null}
    <${Runs} study=${study} state=${state} generation=${generation} />
    ${overview.experiments.map((part) => {
      const experiment = study.experiments.find((e) => e.name === part.name);
      if (!experiment) return null;
      return html`<section key=${part.name} aria-label=${part.name}>
        <h2>${part.name} ${part.simulated ? html`<span class="badge">SIMULATED</span>` : null}</h2>
        <p>${plural(experiment.cells, "cell")} x ${plural(experiment.samples, "sample")}, <a href=${href("rows", [["exp", part.name]])}>${plural(part.rows, "row")}</a>${overview.part ? html` <strong>so far, of ${count(experiment.cells * experiment.samples)}</strong>` : null}${part.incomplete ? html`, <span class="bad">${count(part.incomplete)} incomplete</span>` : overview.part ? "" : ", complete"}
          ${figures ? null : html`<span class="faint"> loaded ${loaded}</span>`}</p>
        <p class="axes">${experiment.axes.map((a) => html`<span class="chip" key=${a.name}>${a.name} <b>${count(a.n)}</b></span>`)}</p>
        ${part.measures.map((m) => html`<${Measure} key=${m.name} experiment=${experiment} measure=${m} figures=${figures && figures.measures[m.name]} />`)}
        <${StepsOfRows} experiment=${experiment} part=${part} />
        <div class="pair">${part.against.map((a) => html`<${Against} key=${`${a.annotation} ${a.judge}`} experiment=${experiment} against=${a} />`)}</div>
        <div class="pair"><${Missing} experiment=${experiment} facets=${part.facets} rows=${part.rows} /><${Costs} costs=${part.costs} /></div>
      </section>`;
    })}
    ${figures ? html`<${More} figures=${figures} />` : null}</div>`;
}
