// Levels of an axis side by side: the same coordinates otherwise, and the words that differ.

import { html, useEffect, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";
import { go } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem } from "/static/ui.js";
import { wordDiff } from "/static/diff.js";
import { verdictOf } from "/static/transcript.js";

const MAX = 4;

export function Compare({ route, study, generation }) {
  const experiment = study.experiments.find((e) => e.name === route.get("exp")) || study.experiments[0];
  const place = route.get("row").split(",");
  const axes = experiment.axes.filter((a) => a.n > 1);
  const axis = axes.find((a) => a.name === route.get("by")) || axes[0];
  const position = axis ? experiment.axes.indexOf(axis) : -1;
  const own = place[position];
  const asked = route.all("l").filter((id) => axis && axis.levels.some((l) => l.id === id));
  const levels = asked.length ? asked.slice(0, MAX) : axis ? [own, ...axis.levels.map((l) => l.id).filter((id) => id !== own)].slice(0, 2) : [];
  const [held, setHeld] = useState([]);
  const diff = route.get("diff", "1") === "1";
  const sample = Number(place[place.length - 1]);
  const key = JSON.stringify([experiment.name, place, position, levels, generation]);
  useEffect(() => {
    const stop = new AbortController();
    Promise.all(levels.map((level) => {
      const row = place.map((id, i) => (i === position ? level : id)).join(",");
      return get("row", [["exp", experiment.name], ["row", row]], stop.signal).then((story) => ({ level, row, story }), (error) => ({ level, row, error: error.message, gone: error.name === "AbortError" }));
    })).then((rows) => { if (!rows.some((r) => r.gone)) setHeld(rows); });
    return () => stop.abort();
  }, [key]);
  const set = (changes) => go("compare", route.with(changes), { replace: true });
  const move = (by) => { if (sample + by >= 0 && sample + by < experiment.samples) set({ row: [...place.slice(0, -1), sample + by].join(",") }); };
  useKeys({ Escape: () => go("row", route.with({ by: "", l: "", diff: "" })), j: () => move(1), k: () => move(-1), d: () => set({ diff: diff ? "0" : "" }) });
  if (!axis) return html`<p>The experiment has no axis with several levels.</p>`;
  if (!held.length) return html`<${Busy} />`;
  const text = (id) => (axis.levels.find((l) => l.id === id) || { text: id }).text;
  const flip = (id) => set({ l: levels.includes(id) ? levels.filter((l) => l !== id) : [...levels, id].slice(-MAX) });
  const base = held[0].story;
  return html`<section class="compare" aria-label="Compare">
    <div class="bar"><button onClick=${() => go("row", route.with({ by: "", l: "", diff: "" }))} title="Esc">Back</button>
      <label class="inline">by <select value=${axis.name} onChange=${(e) => set({ by: e.target.value, l: "" })}>${axes.map((a) => html`<option key=${a.name} value=${a.name}>${a.name}</option>`)}</select></label>
      <span class="inline">sample <button onClick=${() => move(-1)} aria-label="previous sample" title="k">↑</button> <b>${sample}</b> <button onClick=${() => move(1)} aria-label="next sample" title="j">↓</button></span>
      <label class="check inline"><input type="checkbox" checked=${diff} onChange=${() => set({ diff: diff ? "0" : "" })} /><span>mark words that the first does not have</span></label></div>
    <details class="levels" open=${axis.levels.length <= 8}><summary>levels of ${axis.name}, at most ${MAX}</summary>${axis.levels.map((l) => html`<label class="check" key=${l.id}><input type="checkbox" checked=${levels.includes(l.id)} onChange=${() => flip(l.id)} /><span>${l.text.slice(0, 80)}</span></label>`)}</details>
    <div class="sides" style=${{ "--sides": held.length }}>${held.map(({ level, story, error, row }, i) => html`<article key=${level} aria-label=${text(level)}>
      <h3><a href=${`#/row?exp=${encodeURIComponent(experiment.name)}&row=${encodeURIComponent(row)}`}>${axis.name} ${text(level)}</a></h3>
      ${error ? html`<${Problem} text=${error} />` : story.steps.map((step, s) => step.kind !== "ask"
        ? html`<p class="verdicts"><b>${step.step}</b> <span class=${step.missing ? "gone" : "value"}>${verdictOf(step)}</span></p>`
        : html`<div class="message answer"><h4>${step.step}</h4>${step.missing ? html`<p class="gone">missing: ${step.missing}</p>`
          : html`<pre class="text">${i && diff && base && !base.steps[s].missing ? wordDiff(base.steps[s].value, step.value).map(([part, only]) => (only ? html`<ins>${part}</ins>` : part)) : step.value}</pre>`}</div>`)}
    </article>`)}</div></section>`;
}
