// A person's verdicts, blind: question and answer alone, by keys.

import { html, useEffect, useRef, useState } from "/static/vendor/preact-htm.js";
import { get, post } from "/static/api.js";
import { go } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, plural } from "/static/ui.js";
import { Markdown, Raw } from "/static/markdown.js";

export function Annotate({ route, study }) {
  const names = study.experiments.flatMap((e) => e.annotations.map((a) => a.name));
  const name = names.includes(route.get("name")) ? route.get("name") : names[0];
  const [task, setTask] = useState(null);
  const [error, setError] = useState("");
  const [done, setDone] = useState([]); // of this visit, to be undone
  const [skipped, setSkipped] = useState([]);
  const [busy, setBusy] = useState(false);
  const [note, setNote] = useState("");
  const field = useRef(null);
  const raw = route.get("raw") === "1";
  useEffect(() => {
    setTask(null);
    setDone([]);
    setSkipped([]);
    if (name) get("annotate", [["name", name]]).then(setTask, (e) => setError(e.message));
  }, [name]);
  const queue = task ? [...task.next.filter((t) => !skipped.includes(t.shown)), ...task.next.filter((t) => skipped.includes(t.shown))] : [];
  const text = queue[0];
  const write = async (shown, label) => {
    if (busy) return;
    setBusy(true);
    try {
      const next = await post("judge", { name, shown, label, note: label === null ? "" : note });
      setTask({ ...next, next: [...next.next] });
      setDone((old) => (label === null ? old.slice(0, -1) : [...old, shown]));
      setNote("");
      setError("");
      window.scrollTo(0, 0);
    } catch (e) {
      setError(e.message);
    } finally {
      setBusy(false);
    }
  };
  const undo = () => done.length && write(done[done.length - 1], null);
  const skip = () => text && setSkipped((old) => [...old.filter((s) => s !== text.shown), text.shown]);
  const keys = { u: undo, s: skip, n: () => field.current && field.current.focus(), m: () => go("annotate", route.with({ raw: raw ? "" : "1" }), { replace: true }), Escape: () => go("overview") };
  (task ? task.choices : []).slice(0, 9).forEach((choice, i) => { keys[String(i + 1)] = () => text && write(text.shown, choice.label); });
  useKeys(keys);
  if (!name) return html`<p>The study has no <code>annotate</code>: see <code>emdsl annotate --help</code>.</p>`;
  if (error && !task) return html`<${Problem} text=${error} />`;
  if (!task) return html`<${Busy} what="Drawing the rows" />`;
  return html`<section class="annotate" aria-label="Annotate">
    <div class="bar">${names.length > 1 ? html`<label class="inline">annotation <select value=${name} onChange=${(e) => go("annotate", [["name", e.target.value]])}>${names.map((n) => html`<option key=${n} value=${n}>${n}</option>`)}</select></label>` : html`<h2>${task.name}</h2>`}
      <progress max=${task.judged + task.left || 1} value=${task.judged} aria-label="judged texts"></progress>
      <span role="status">${count(task.judged)} judged by ${task.person}, ${count(task.left)} left</span>
      ${task.unanswered ? html`<span class="faint">${plural(task.unanswered, "row")} without an answer yet</span>` : null}
      <span class="grow"></span><button onClick=${keys.m} title="m" aria-pressed=${raw}>${raw ? "Markdown" : "Raw"}</button></div>
    ${error ? html`<${Problem} text=${error} />` : null}
    ${text ? html`<article key=${text.shown} data-shown=${text.shown}>
      ${text.question ? html`<div class="message user"><h3>question</h3>${raw ? html`<${Raw} text=${text.question} />` : html`<${Markdown} text=${text.question} />`}</div>` : null}
      <div class="message answer"><h3>answer</h3>${raw ? html`<${Raw} text=${text.answer} />` : html`<${Markdown} text=${text.answer} />`}</div></article>
      <div class="choices" role="group" aria-label="labels">${task.choices.map((choice, i) => html`<button key=${choice.label} aria-disabled=${busy} onClick=${() => write(text.shown, choice.label)}>
        ${i < 9 ? html`<kbd>${i + 1}</kbd>` : null} <b>${choice.label}</b> <span>${choice.text}</span></button>`)}</div>`
      : html`<p class="finished">All drawn texts are judged. The figures in the overview take them in after a moment.</p>`}
    <div class="bar low"><label class="inline note">note <input ref=${field} value=${note} onInput=${(e) => setNote(e.target.value)} placeholder="n; Esc leaves the field" /></label>
      <button onClick=${undo} disabled=${!done.length || busy}><kbd>u</kbd> undo</button>${text ? html`<button onClick=${skip}><kbd>s</kbd> skip</button>` : null}</div>
  </section>`;
}
