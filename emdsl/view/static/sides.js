// What is compared: levels of an axis, or another version of the study. The URL holds the choice.

import { html, useEffect, useRef, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";
import { Busy, Problem, plural, useData } from "/static/ui.js";

export const MAX_SIDES = 4;
const KINDS = [["run", "Earlier runs"], ["git", "Git revisions"], ["file", "Other studies"]];
const conditions = new Map(); // of an experiment in one load

// A version as its side is called: the first digits of a revision or run, or the path of a study.
const versionName = (to) => to.replace(/^git:([0-9a-f]{10})[0-9a-f]{30}$/, "git $1").replace(/^run:(.{8}).*$/, "run $1").replace(/^(?:git|file):/, "");

// The comparison of a URL: its experiment, axis with levels, or version, and the pairs that requests need.
export function sidesOf(route, study, own = "") {
  const experiment = study.experiments.find((e) => e.name === route.get("exp")) || study.experiments[0];
  const axes = experiment.axes.filter((a) => a.n > 1);
  const to = study.can.includes("versions") ? route.get("to") : "";
  const axis = to ? null : axes.find((a) => a.name === route.get("by")) || axes[0] || null;
  const chosen = axis ? route.all("l").filter((id) => axis.levels.some((l) => l.id === id)) : [];
  const others = axis ? axis.levels.map((l) => l.id).filter((id) => id !== own) : [];
  const levels = chosen.length ? chosen.slice(0, MAX_SIDES) : [...(own ? [own] : []), ...others].slice(0, 2);
  const text = (id) => (axis && axis.levels.find((l) => l.id === id) || { text: id }).text;
  const names = to ? ["this version", versionName(to)] : levels.map((id) => `${axis ? axis.name : ""} ${text(id)}`);
  const pairs = to ? [["to", to]] : axis ? [["by", axis.name], ...levels.map((id) => ["l", id])] : [];
  return { experiment, axes, axis, levels, to, names, text, enough: Boolean(to) || levels.length > 1, query: [...route.filter.filter(([k]) => k !== "exp" && k !== "sort"), ["exp", experiment.name], ...pairs] };
}

// The answer to a comparison: that of another one is never shown in its place, that of another page of it is.
export function useSame(path, query, page, generation) {
  const key = JSON.stringify([path, query, generation]);
  const answer = useData(path, [...query, ...page], [generation]);
  const held = useRef({ key: "", data: null });
  if (answer.fresh && answer.data) held.current = { key, data: answer.data };
  return { data: held.current.key === key ? held.current.data : null, error: answer.fresh ? answer.error : "", busy: answer.busy || !answer.fresh };
}

// The ways to compare rows of an experiment; fetched once for each load.
export function useConditions(study, experiment, generation) {
  const key = `${generation} ${experiment.name}`;
  const [, redraw] = useState(0);
  useEffect(() => {
    if (conditions.has(key) || !study.can.includes("pairs")) return undefined;
    const stop = new AbortController();
    get("conditions", [["exp", experiment.name]], stop.signal).then((answer) => {
      conditions.set(key, answer.conditions);
      redraw((n) => n + 1);
    }, () => {});
    return () => stop.abort();
  }, [key]);
  return conditions.get(key) || [];
}

export function Condition({ list, of, set }) {
  const chosen = list.find((c) => c.id === of);
  return html`<label class="inline">compared by <select value=${of || (list[0] || { id: "" }).id} onChange=${(e) => set({ of: e.target.value })}>
    <optgroup label="yes or no">${list.filter((c) => c.yes_no).map((c) => html`<option key=${c.id} value=${c.id}>${c.text}</option>`)}
      ${of && !chosen ? html`<option value=${of}>${of.replace(/^t\.(.*)\.(\d.*)$/, "$1 < $2")}</option>` : null}</optgroup>
    <optgroup label="value">${list.filter((c) => !c.yes_no).map((c) => html`<option key=${c.id} value=${c.id}>${c.text}</option>`)}</optgroup></select></label>`;
}

// Another threshold of a score than those of the program.
export function Threshold({ experiment, of, set }) {
  const found = /^t\.(.*)\.(-?\d.*)$/.exec(of);
  if (!found || !experiment.steps.some((s) => s.name === found[1] && s.scale)) return null;
  return html`<label class="inline">below <input type="number" step="any" class="short" value=${found[2]} onChange=${(e) => e.target.value && set({ of: `t.${found[1]}.${e.target.value}` })} /></label>`;
}

// Which sides: an axis with its levels, or another version.
export function Sides({ sides, study, set, of = "" }) {
  const { axes, axis, levels, to, text } = sides;
  const flip = (id) => set({ l: levels.includes(id) ? levels.filter((l) => l !== id) : [...levels, id].slice(-MAX_SIDES) });
  const versions = study.can.includes("versions");
  return html`<label class="inline">compare <select value=${to ? "version" : axis ? `by ${axis.name}` : ""}
      onChange=${(e) => (e.target.value === "version" ? set({ to: "?", by: "", l: "" }) : set({ to: "", by: e.target.value.slice(3), l: "" }))}>
      ${axes.map((a) => html`<option key=${a.name} value=${`by ${a.name}`}>levels of ${a.name}</option>`)}
      ${versions ? html`<option value="version">another version</option>` : null}</select></label>
    ${to ? html`<${Versions} to=${to} set=${set} />` : axis ? html`<details class="levels" open=${axis.levels.length <= 8}><summary>levels of ${axis.name}, at most ${MAX_SIDES}</summary>
      ${axis.levels.map((l) => html`<label class="check" key=${l.id}><input type="checkbox" checked=${levels.includes(l.id)} onChange=${() => flip(l.id)} /><span>${text(l.id).slice(0, 80)}</span></label>`)}</details>` : null}`;
}

function Versions({ to, set }) {
  const { data, error } = useData("versions");
  const revision = useRef(null);
  if (error) return html`<${Problem} text=${error} />`;
  if (!data) return html`<${Busy} what="Reading the versions" />`;
  const known = data.versions.some((v) => v.id === to);
  const day = (v) => (v.at && v.kind === "git" ? `${new Date(v.at * 1000).toISOString().slice(0, 10)} ` : "");
  return html`<label class="inline">version <select value=${known ? to : to === "?" ? "?" : "typed"} onChange=${(e) => set({ to: e.target.value })}>
      ${to === "?" ? html`<option value="?">choose one</option>` : null}${!known && to !== "?" ? html`<option value="typed">${to}</option>` : null}
      ${KINDS.map(([kind, name]) => {
        const list = data.versions.filter((v) => v.kind === kind);
        return list.length ? html`<optgroup key=${kind} label=${name}>${list.map((v) => html`<option key=${v.id} value=${v.id}>${day(v)}${v.shown.slice(0, 90)}</option>`)}</optgroup>` : null;
      })}</select></label>
    <form class="inline" onSubmit=${(e) => { e.preventDefault(); if (revision.current.value.trim()) set({ to: `git:${revision.current.value.trim()}` }); }}>
      <label class="inline">git revision <input class="short" placeholder="HEAD~1" spellcheck="false" ref=${revision} /></label></form>`;
}

// The other version, once its answers are loaded.
export function useVersion(sides, generation) {
  const chosen = sides.to && sides.to !== "?";
  const { data, error } = useSame(chosen ? "version" : "", [["exp", sides.experiment.name], ["to", sides.to]], [], generation);
  return { chosen, data, error };
}

// What a version has that the other lacks.
export function Version({ sides, version }) {
  const { chosen, data, error } = version;
  if (!sides.to) return null;
  if (!chosen) return html`<p class="faint">Choose a version: an earlier run, a git revision, or another study of the project.</p>`;
  if (error) return html`<${Problem} text=${error} />`;
  if (!data) return html`<${Busy} what="Loading the answers of the other version from the store" />`;
  const listed = (texts, n) => `${texts.slice(0, 6).map((t) => t.slice(0, 60)).join(", ")}${n > 6 ? ` and ${n - 6} more` : ""}`;
  return html`${data.notices.map((n) => html`<p class="notice" key=${n}>${n}</p>`)}
    ${data.alone.map((a) => html`<p class="notice" key=${a.axis}>${a.n_this ? `Only this version has ${plural(a.n_this, "level")} of ${a.axis}: ${listed(a.this, a.n_this)}. ` : ""}
      ${a.n_other ? `Only the other has ${plural(a.n_other, "level")} of ${a.axis}: ${listed(a.other, a.n_other)}.` : ""}</p>`)}`;
}

// Whether the rows of both sides can be fetched.
export const isReady = (sides, version) => sides.enough && (!sides.to || Boolean(version.data));
