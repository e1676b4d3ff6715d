// How many rows turn from yes to no and back between two sides, with the paired difference. Each number opens its rows.

import { html } from "/static/vendor/preact-htm.js";
import { href } from "/static/route.js";
import { Busy, Problem, count, figure, plural } from "/static/ui.js";
import { useSame } from "/static/sides.js";

const WORDS = { true: "yes", false: "no" };
const share = (n, all) => (all ? `${((100 * n) / all).toFixed(1)} %` : "");
const points = (x) => (x === null || x === undefined ? "?" : `${x > 0 ? "+" : x < 0 ? "−" : ""}${Math.abs(100 * x).toFixed(1)}`);

function Difference({ query, generation, names, all }) {
  const { data, error } = useSame("difference", query, [], generation);
  if (error) return html`<${Problem} text=${error} />`;
  if (!data) return html`<${Busy} what="Computing the interval" />`;
  const d = data.difference;
  if (!d) return html`<p class="faint">No row has a verdict on both sides.</p>`;
  const level = `${Math.round(d.level * 1000) / 10} %`;
  const interval = d.low === null ? (d.difference ? "no interval: too few units" : "no interval: no row turns") : `${level} ${points(d.low)} to ${points(d.high)}`;
  const rests = d.clustered_by ? `${plural(d.clusters, "cluster")} of ${d.clustered_by}` : `${plural(d.clusters, "independent pair")}`;
  return html`<p class="difference" role="status"><strong>${points(d.difference)} points</strong> (${interval}), paired; ${d.p === null ? "" : `p ${d.p < 0.001 ? "< 0.001" : figure(d.p)}, `}${rests}${d.simulated ? html` <span class="badge">simulated</span>` : null}<br />
    <span class="faint">${names[0]} ${figure(d.first)}, ${names[1]} ${figure(d.second)}${d.n_first === all && d.n_second === all ? "" : `, of ${count(d.n_first)} and ${count(d.n_second)} answers: one that several rows share counts once`}</span></p>`;
}

export function Flips({ sides, of, route, generation }) {
  const query = [...sides.query, ["of", of]];
  const { data, error } = useSame("flips", query, [], generation);
  if (error) return html`<${Problem} text=${error} />`;
  if (!data) return html`<${Busy} what="Counting flips" />`;
  const n = (was, now) => (data.table.find((x) => x.was === was && x.now === now) || { n: 0 }).n;
  const all = data.table.reduce((sum, x) => sum + x.n, 0);
  const [first, second] = sides.names;
  const open = (was, now) => href("differences", route.with({ was, now, d: "", of }));
  const cell = (was, now) => html`<td class=${was === now ? "num" : "num turned"}><a href=${open(was, now)} aria-label=${`${count(n(was, now))} rows: ${WORDS[was]} in ${first}, ${WORDS[now]} in ${second}`}>${count(n(was, now))}</a> <span class="faint">${share(n(was, now), all)}</span></td>`;
  const lost = data.missing.reduce((sum, x) => sum + x.n, 0);
  const word = (state) => WORDS[state] || state;
  return html`<section class="flips" aria-label="Flips">
    <h2>${data.texts[0]}${data.texts[1] !== data.texts[0] ? html` <span class="faint">in ${second}</span> ${data.texts[1]}` : null}</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="table of flips"><table>
      <thead><tr><td></td>${["true", "false"].map((x) => html`<th scope="col" class="num" key=${x}>${second}: ${WORDS[x]}</th>`)}</tr></thead>
      <tbody>${["true", "false"].map((x) => html`<tr key=${x}><th scope="row">${first}: ${WORDS[x]}</th>${cell(x, "true")}${cell(x, "false")}</tr>`)}</tbody></table></div>
    <p>${plural(all, "row")} with a verdict on both sides: <b>${share(n("false", "true"), all) || "0 %"}</b> turn to yes, <b>${share(n("true", "false"), all) || "0 %"}</b> turn to no.</p>
    <${Difference} query=${query} generation=${generation} names=${sides.names} all=${all} />
    ${data.ignored ? html`<p class="faint">The filter counts by its levels alone here: its other conditions would select rows by their outcome.</p>` : null}
    ${lost ? html`<details class="lost"><summary>${plural(lost, "row")} without a verdict on one side: not counted above</summary><table>
      <thead><tr><th scope="col">${first}</th><th scope="col">${second}</th><th scope="col" class="num">rows</th></tr></thead>
      <tbody>${data.missing.map((x) => html`<tr key=${`${x.was} ${x.now}`}><td>${word(x.was)}</td><td>${word(x.now)}</td><td class="num"><a href=${open(x.was, x.now)}>${count(x.n)}</a></td></tr>`)}</tbody></table></details>` : null}
  </section>`;
}
