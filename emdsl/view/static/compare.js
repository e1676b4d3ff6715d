// One coordinate side by side: levels of an axis, or two versions of the study, and the words that differ.

import { html, useEffect, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";
import { go, href } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, shown } from "/static/ui.js";
import { wordDiff } from "/static/diff.js";
import { opened } from "/static/differences.js";
import { Sides, Version, isReady, sidesOf, useSame, useVersion } from "/static/sides.js";
import { Strip, besideSample } from "/static/strip.js";
import { verdictOf } from "/static/transcript.js";

const BLOCK = 20; // rows that are fetched at once
const WALK = { row: "", other: "", d: "" };

// The rows of all sides: each a story, or why there is none.
function useStories(sides, ready, row, other, position, generation) {
  const [held, setHeld] = useState({ key: "", to: "", rows: [] });
  const exp = sides.experiment.name;
  const place = row.split(",");
  const wanted = sides.to
    ? [{ level: "this", name: sides.names[0], row, ask: row ? ["row", [["exp", exp], ["row", row]]] : null },
      { level: "other", name: sides.names[1], row: "", ask: ["version_row", [["exp", exp], ["to", sides.to], ["row", row], ["other", other]]] }]
    : sides.levels.map((level, i) => {
      const there = place.map((id, i) => (i === position ? level : id)).join(",");
      return { level, name: sides.names[i], row: there, ask: ["row", [["exp", exp], ["row", there]]] };
    });
  const key = JSON.stringify([wanted, generation, ready]);
  useEffect(() => {
    if (!ready) return undefined;
    const stop = new AbortController();
    Promise.all(wanted.map((side) => (side.ask ? get(...side.ask, stop.signal) : Promise.reject(new Error("this version has no such row")))
      .then((story) => ({ ...side, story }), (error) => ({ ...side, error: error.message, gone: error.name === "AbortError" }))))
      .then((rows) => { if (!rows.some((r) => r.gone)) setHeld({ key, to: sides.to, rows }); });
    return () => stop.abort();
  }, [key]);
  const rows = held.to === sides.to ? held.rows : [];
  return { rows, busy: held.key !== key }; // the rows before stay for the moment that the next ones take, under their own names
}

// The rows that differ, if this one is one of them: the walk goes from one to the next.
function useWalk(route, sides, ready, generation) {
  const at = route.get("d") === "" ? -1 : Number(route.get("d"));
  const states = route.get("was") ? [["was", route.get("was")], ["now", route.get("now")]] : [];
  const query = [...sides.query, ["of", route.get("of")], ...states];
  const on = at >= 0 && ready;
  const first = Math.max(0, Math.floor(at / BLOCK) * BLOCK - 1); // with a neighbor at both ends
  const { data } = useSame(on ? "differences" : "", query, [["offset", first], ["limit", BLOCK + 2]], generation);
  if (!on || !data) return { at, n: null, step: () => {} };
  const step = (by) => {
    const row = data.rows[at + by - data.offset];
    if (row) go("compare", opened(route, sides, row, at + by), { replace: true });
  };
  return { at, n: data.n, step };
}

function Step({ step, base, diff }) {
  if (step.kind !== "ask") return html`<p class="verdicts"><b>${step.step}</b> <span class=${step.missing ? "gone" : "value"}>${verdictOf(step)}</span></p>`;
  const marked = base && base.value !== undefined && !base.missing && diff;
  return html`<div class="message answer"><h4>${step.step}</h4>${step.missing ? html`<p class="gone">missing: ${step.missing}</p>`
    : html`<pre class="text">${marked ? wordDiff(base.value, step.value).map(([part, only]) => (only ? html`<ins>${part}</ins>` : part)) : step.value}</pre>`}</div>`;
}

export function Compare({ route, study, generation }) {
  const row = route.get("row");
  const place = row.split(",");
  const first = study.experiments.find((e) => e.name === route.get("exp")) || study.experiments[0];
  const byAxis = first.axes.filter((a) => a.n > 1).find((a) => a.name === route.get("by")) || first.axes.find((a) => a.n > 1);
  const sides = sidesOf(route, study, byAxis && row ? place[first.axes.indexOf(byAxis)] : "");
  const { experiment, axis, to } = sides;
  const position = axis ? experiment.axes.indexOf(axis) : -1;
  const version = useVersion(sides, generation);
  const ready = isReady(sides, version);
  const { rows, busy } = useStories(sides, ready, row, route.get("other"), position, generation);
  const walk = useWalk(route, sides, ready, generation);
  const diff = route.get("diff", "1") === "1";
  const set = (changes) => go("compare", route.with(changes), { replace: true });
  const choose = (changes) => set({ ...changes, d: "", was: "", now: "" });
  const move = (by) => { const next = besideSample(row, by, experiment); if (row && next) set({ row: next, other: "", d: "" }); };
  const differences = () => go("differences", route.with({ ...WALK, diff: "", d: route.get("d"), ...(to ? {} : { by: axis && axis.name, l: sides.levels }) }));
  const back = () => (walk.at >= 0 ? differences() : go("row", route.with({ by: "", l: "", diff: "", to: "", other: "", was: "", now: "" })));
  const offered = study.can.includes("pairs");
  useKeys({
    Escape: back, j: () => (walk.at >= 0 ? walk.step(1) : move(1)), k: () => (walk.at >= 0 ? walk.step(-1) : move(-1)), h: () => move(-1), l: () => move(1),
    d: () => set({ diff: diff ? "0" : "" }), f: () => offered && differences(),
  });
  if (!axis && !to) return html`<p>The experiment has no axis with several levels.</p>`;
  const base = rows.length ? rows[0].story : null;
  const cell = base || (rows.find((r) => r.story) || {}).story;
  return html`<section class="compare" aria-label="Compare">
    <div class="bar"><button onClick=${back} title="Esc">Back</button>
      ${walk.at >= 0 ? html`<span class="inline">row that differs <button onClick=${() => walk.step(-1)} aria-label="previous row that differs" title="k" disabled=${walk.at <= 0}>↑</button> <b id="walk">${count(walk.at + 1)}${walk.n === null ? "" : ` of ${count(walk.n)}`}</b> <button onClick=${() => walk.step(1)} aria-label="next row that differs" title="j">↓</button></span>`
        : row ? html`<span class="inline">sample <button onClick=${() => move(-1)} aria-label="previous sample" title="k">↑</button> <b>${place[place.length - 1]}</b> <button onClick=${() => move(1)} aria-label="next sample" title="j">↓</button></span>` : null}
      <label class="check inline"><input type="checkbox" checked=${diff} onChange=${() => set({ diff: diff ? "0" : "" })} /><span>mark words that the first does not have</span></label>
      ${offered ? html`<button onClick=${differences} title="f">What differs</button>` : null}<${Sides} sides=${sides} study=${study} set=${choose} /></div>
    ${cell ? html`<p class="coordinates">${Object.entries(cell.cell).filter(([k]) => !axis || k !== axis.name).map(([k, v]) => html`<span class="chip" key=${k}>${k} <b>${shown(v).slice(0, 60)}</b></span> `)}<span class="chip">sample <b>${cell.sample}</b></span></p>` : null}
    <${Version} sides=${sides} version=${version} />
    <${Strip} study=${study} experiment=${experiment} row=${row} of=${route.get("of")} generation=${generation} go=${(next) => set({ row: next, other: "", d: "" })} set=${choose} />
    ${ready && !rows.length ? html`<${Busy} />` : null}
    ${ready && rows.length ? html`<div class="sides" aria-busy=${busy} style=${{ "--sides": rows.length }}>${rows.map(({ level, name, story, error, row: own }, i) => html`<article key=${level} aria-label=${name}>
      <h3>${own ? html`<a href=${href("row", [["exp", experiment.name], ["row", own]])}>${name}</a>` : name}</h3>
      ${error ? html`<${Problem} text=${error} />` : story.steps.map((step) => html`<${Step} key=${step.step} step=${step} diff=${diff && i > 0} base=${base && base.steps.find((s) => s.step === step.step && s.kind === step.kind)} />`)}
    </article>`)}</div>` : null}</section>`;
}
