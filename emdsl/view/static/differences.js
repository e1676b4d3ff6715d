// The coordinates at which levels or versions differ, to walk through, and the flips of a condition.

import { html, useEffect, useRef } from "/static/vendor/preact-htm.js";
import { go, href } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, plural, shown } from "/static/ui.js";
import { Condition, Sides, Threshold, Version, isReady, sidesOf, useConditions, useSame, useVersion } from "/static/sides.js";
import { Flips } from "/static/flips.js";

export const PAGE = 50;
const CUT = 60;

// The pairs of a URL for the side-by-side view of one coordinate.
export function opened(route, sides, row, at) {
  const [first, second] = row;
  const own = first ? { row: first.row, other: "" } : { row: "", other: second.row };
  if (!sides.to && !first) own.row = row.find(Boolean).row;
  const levels = sides.to ? {} : { by: sides.axis.name, l: sides.levels };
  return route.with({ exp: sides.experiment.name, ...levels, ...own, d: at });
}

function verdict(side) {
  if (!side) return html`<span class="gone">not in the grid</span>`;
  if (side.missing) return html`<span class="gone">${side.missing}</span>`;
  const text = shown(side.value);
  return text === "true" ? "yes" : text === "false" ? "no" : text.slice(0, CUT);
}

export function Differences({ route, study, generation }) {
  const sides = sidesOf(route, study);
  const { experiment } = sides;
  const list = useConditions(study, experiment, generation);
  const of = route.get("of") || (list[0] || { id: "" }).id;
  const version = useVersion(sides, generation);
  const ready = isReady(sides, version) && Boolean(of);
  const states = route.get("was") ? [["was", route.get("was")], ["now", route.get("now")]] : [];
  const at = Math.max(0, Number(route.get("d", "0")) || 0);
  const offset = Math.floor(at / PAGE) * PAGE;
  const { data, error, busy } = useSame(ready ? "differences" : "", [...sides.query, ["of", of], ...states], [["offset", offset], ["limit", PAGE]], generation);
  const chosen = useRef(null);
  const set = (changes) => go("differences", route.with({ was: "", now: "", d: "", ...changes }), { replace: true });
  const n = data ? data.n : 0;
  const move = (to) => n && go("differences", route.with({ d: Math.max(0, Math.min(n - 1, to)) || "" }), { replace: true });
  const open = (row, i) => row && go("compare", opened(route, sides, row, i));
  useEffect(() => { if (chosen.current) chosen.current.scrollIntoView({ block: "nearest" }); }, [at, data]);
  useKeys({
    j: () => move(at + 1), k: () => move(at - 1), ArrowDown: () => move(at + 1), ArrowUp: () => move(at - 1), PageDown: () => move(at + PAGE), PageUp: () => move(at - PAGE),
    Home: () => move(0), End: () => move(n - 1), Enter: () => data && data.rows[at - data.offset] && open(data.rows[at - data.offset], at),
    Escape: () => (states.length ? set({}) : go("rows", route.filter)),
  });
  const condition = list.find((c) => c.id === of);
  const yesNo = condition ? condition.yes_no : of.startsWith("t.");
  const shownAxes = experiment.axes.filter((a) => a.n > 1 && (!sides.axis || a.name !== sides.axis.name));
  const filtered = route.filter.filter(([k]) => !["exp", "sort"].includes(k)).length;
  return html`<section class="differences" aria-label="Differences">
    <div class="bar">${study.experiments.length > 1 ? html`<label class="inline">experiment <select value=${experiment.name} onChange=${(e) => go("differences", [["exp", e.target.value]])}>${study.experiments.map((e) => html`<option key=${e.name} value=${e.name}>${e.name}</option>`)}</select></label>` : null}
      <${Sides} sides=${sides} study=${study} set=${set} /><${Condition} list=${list} of=${of} set=${set} /><${Threshold} experiment=${experiment} of=${of} set=${set} /></div>
    ${filtered ? html`<p class="faint">Rows of a filter. <a href=${href("differences", route.with(Object.fromEntries(route.filter.filter(([k]) => k !== "exp").map(([k]) => [k, ""]))))}>Compare all rows</a></p>` : null}
    <${Version} sides=${sides} version=${version} />
    ${!sides.to && !sides.axis ? html`<p>The experiment has no axis with several levels.</p>` : !sides.enough ? html`<p>Choose two levels.</p>` : null}
    ${ready && yesNo ? html`<${Flips} sides=${sides} of=${of} route=${route} generation=${generation} />` : null}
    ${error ? html`<${Problem} text=${error} />` : null}
    ${ready && busy && !data && !error ? html`<${Busy} what="Comparing" />` : null}
    ${ready && data ? html`<div class="bar"><h2><span id="n-different" role="status">${states.length ? `${plural(n, "row")}: ${states.map(([, s]) => (s === "true" ? "yes" : s === "false" ? "no" : s)).join(" and ")}` : n ? `${plural(n, "row")} ${n === 1 ? "differs" : "differ"}` : "No row differs"}</span></h2>
        ${states.length ? html`<button onClick=${() => set({})} title="Esc">All that differ</button>` : null}<span class="grow"></span>
        ${n > PAGE ? html`<span>${count(offset + 1)} to ${count(Math.min(n, offset + PAGE))}</span><button onClick=${() => move(offset - PAGE)} disabled=${!offset} title="PageUp">Previous</button><button onClick=${() => move(offset + PAGE)} disabled=${offset + PAGE >= n} title="PageDown">Next</button>` : null}</div>
      ${n ? html`<div class="scroll" tabindex="0" role="region" aria-label="rows that differ"><table class="walk" aria-busy=${busy}><thead><tr><td></td>${shownAxes.map((a) => html`<th scope="col" key=${a.name}>${a.name}</th>`)}<th scope="col">sample</th>${sides.names.map((s) => html`<th scope="col" key=${s}>${s.slice(0, CUT)}</th>`)}</tr></thead>
        <tbody>${data.rows.map((row, j) => {
          const i = data.offset + j;
          const one = row.find(Boolean);
          return html`<tr key=${i} class=${i === at ? "at" : ""} aria-current=${i === at ? "true" : null} ref=${i === at ? chosen : null}>
            <td><a href=${href("compare", opened(route, sides, row, i))} aria-label=${`open row ${i + 1} of ${n}`}>${count(i + 1)}</a></td>
            ${shownAxes.map((a) => html`<td class="group" key=${a.name}>${shown(one.cell[a.name]).slice(0, CUT)}</td>`)}<td>${one.sample}</td>
            ${row.map((side, s) => html`<td key=${s}>${verdict(side)}</td>`)}</tr>`;
        })}</tbody></table></div>` : null}` : null}
  </section>`;
}
