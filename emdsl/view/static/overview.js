// The overview: measures with intervals, rows by what is missing, cost.

import { html } from "/static/vendor/preact-htm.js";
import { href } from "/static/route.js";
import { Busy, count, figure, plural, shown, usd } from "/static/ui.js";

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
  return least >= 0 && most <= 1 ? [0, 1] : [Math.min(0, least), Math.max(0, most)];
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

function Measure({ experiment, measure }) {
  if (measure.rows === null) return html`<article><h3>${measure.name}</h3><p class="faint">left out, see the notes</p></article>`;
  const range = ends(measure);
  const more = ["raw", "sensitivity", "specificity", "annotated"].filter((c) => measure.rows.some((r) => r[c] !== null && r[c] !== undefined));
  const tests = ["p", "p_holm", "p_bh", "p_equivalent"].filter((c) => measure.rows.some((r) => r[c] !== null && r[c] !== undefined));
  const extra = [...tests, ...more];
  return html`<article>
    <h3>${measure.name}</h3>
    <p class="written"><code>${measure.written}</code></p>
    <div class="scroll" tabindex="0" role="region" aria-label=${`figures of ${measure.name}`}><table>
      <thead><tr>${measure.by.map((b) => html`<th scope="col">${b}</th>`)}
        <th scope="col" class="num">${measure.heading}</th>${measure.interval ? html`<th scope="col"><span class="sr">interval</span></th><th scope="col">${measure.interval}</th>` : null}${extra.map((c) => html`<th scope="col" class="num">${c}</th>`)}
        <th scope="col" class="num">n</th><th scope="col">dropped</th></tr></thead>
      <tbody>${measure.rows.map((row, i) => {
        const value = row[measure.function];
        const dropped = Object.entries(row.dropped || {}).sort((a, b) => b[1] - a[1]);
        const group = measure.by.map((b, j) => {
          const axis = experiment.axes.find((a) => a.name === measure.axes[j]);
          const level = axis && axis.levels.find((l) => l.shown === String(row[b]));
          return level ? level.text : shown(row[b]);
        });
        return html`<tr key=${i}>
          ${group.map((g, j) => html`<td class="group">${j === 0 ? html`<a href=${href("rows", groupPairs(experiment, measure, row))}>${g}</a>` : g}</td>`)}
          <td class="num"><strong>${value === null || value === undefined ? row.reason || (row.n ? "unknown" : "none kept") : figure(value)}</strong></td>
          ${measure.interval ? html`<td><${Interval} row=${row} value=${value} ends=${range} /></td><td class="nowrap">${row.low === null || row.low === undefined ? (row.high ?? null) === null ? "" : `up to ${figure(row.high)}` : row.high === null ? `from ${figure(row.low)}` : `${figure(row.low)} - ${figure(row.high)}`}</td>` : null}
          ${extra.map((c) => html`<td class="num">${row[c] === null || row[c] === undefined ? "" : typeof row[c] === "number" && !Number.isInteger(row[c]) ? row[c].toPrecision(3) : row[c]}</td>`)}
          <td class="num">${count(row.n)}${row.complete ? "" : html` <span class="mark" title="some answers are missing">of ${count(row.n_planned)}</span>`}</td>
          <td class="faint">${dropped.map(([reason, n]) => `${count(n)} ${reason}`).join(", ")}</td></tr>`;
      })}</tbody></table></div>
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
    threshold === null ? [`v.${against.judge}`, verdict] : ["where", `"${against.judge.replaceAll('"', '""')}" ${title(verdict)}`]];
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

export function Overview({ study, overview, state }) {
  if (!overview) return html`<${Busy} what="Computing the figures" />`;
  const notices = [...overview.notices, ...overview.experiments.flatMap((e) => e.notices)];
  const loaded = state ? new Date(state.loaded_at * 1000).toLocaleTimeString() : "";
  return html`<div class="overview">
    ${notices.map((n) => html`<p class="notice" key=${n}>${n}</p>`)}
    ${overview.experiments.map((part) => {
      const experiment = study.experiments.find((e) => e.name === part.name);
      if (!experiment) return null;
      return html`<section key=${part.name} aria-label=${part.name}>
        <h2>${part.name} ${part.simulated ? html`<span class="badge">SIMULATED</span>` : null}</h2>
        <p>${plural(experiment.cells, "cell")} x ${plural(experiment.samples, "sample")}, <a href=${href("rows", [["exp", part.name]])}>${plural(part.rows, "row")}</a>${part.incomplete ? html`, <span class="bad">${count(part.incomplete)} incomplete</span>` : ", complete"}
          <span class="faint"> loaded ${loaded}</span></p>
        <p class="axes">${experiment.axes.map((a) => html`<span class="chip" key=${a.name}>${a.name} <b>${count(a.n)}</b></span>`)}</p>
        ${part.measures.map((m) => html`<${Measure} key=${m.name} experiment=${experiment} measure=${m} />`)}
        <div class="pair">${part.against.map((a) => html`<${Against} key=${`${a.annotation} ${a.judge}`} experiment=${experiment} against=${a} />`)}</div>
        <div class="pair"><${Missing} experiment=${experiment} facets=${part.facets} rows=${part.rows} /><${Costs} costs=${part.costs} /></div>
      </section>`;
    })}</div>`;
}
