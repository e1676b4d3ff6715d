// Tags, notes and pins of people on a row: shown as chips, and changed by keys.

import { html, useEffect, useLayoutEffect, useRef, useState } from "/static/vendor/preact-htm.js";
import { get, post } from "/static/api.js";
import { Problem } from "/static/ui.js";

// The marks of a row in a list: tags as chips, a note and a pin as one sign each.
export function Signs({ marks }) {
  if (!marks) return null;
  return html`${marks.pin ? html`<span class="sign" role="img" title="pinned" aria-label="pinned">●</span>` : null}
    ${marks.note ? html`<span class="sign" role="img" title="has a note" aria-label="has a note">✎</span>` : null}
    ${marks.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}`;
}

const flipped = (now) => ({ pin: now.pin === null ? true : null });

// The marks of the shown row, with a function that changes them and one for each key.
export function useMarks(exp, row, generation, offered) {
  const [held, setHeld] = useState({ marks: null, error: "", row: "" });
  const [adding, setAdding] = useState(false);
  const note = useRef(null);
  const place = useRef("");
  place.current = row;
  useEffect(() => {
    if (!offered) return undefined;
    const stop = new AbortController();
    get("marks", [["exp", exp], ["row", row]], stop.signal).then((marks) => setHeld({ marks, error: "", row }), (error) => {
      if (error.name !== "AbortError") setHeld((old) => ({ ...old, error: error.message, row }));
    });
    return () => stop.abort();
  }, [exp, row, generation, offered]);
  // Changes follow one another: each is made of the marks that the one before has left.
  const known = useRef(new Map()); // marks by row
  const before = useRef(Promise.resolve());
  if (held.row && held.marks) known.current.set(held.row, held.marks);
  const change = (what, leaving = false) => {
    before.current = before.current.then(async () => {
      try {
        const marks = await post("mark", { exp, row, ...(typeof what === "function" ? what(known.current.get(row).row) : what) }, leaving);
        known.current.set(row, marks);
        if (place.current === row) setHeld({ marks, error: "", row });
        return true;
      } catch (error) {
        if (place.current === row) setHeld((old) => ({ ...old, error: error.message }));
        return false;
      }
    });
    return before.current;
  };
  const own = held.row === row ? held.marks : null;
  const pinned = own !== null && own.row.pin !== null;
  const keys = offered ? {
    p: () => own && change(flipped),
    "#": () => setAdding(true),
    n: () => note.current && note.current.focus(),
  } : {};
  return { marks: own, error: held.row === row ? held.error : "", change, keys, pinned, adding, setAdding, note, offered };
}

function TagField({ tags, add, close }) {
  const field = useRef(null);
  useLayoutEffect(() => field.current.focus(), []); // with the field, so that a fast key is written into it
  const type = (e) => {
    if (e.key !== "Enter") return;
    e.preventDefault();
    const tag = e.target.value.trim();
    if (tag) add(tag);
    e.target.value = "";
  };
  return html`<span class="inline"><input ref=${field} aria-label="tag" list="tags" maxlength="64" placeholder="a tag; Enter adds or removes it"
    onKeyDown=${type} onBlur=${close} />
    <datalist id="tags">${tags.map((tag) => html`<option key=${tag} value=${tag}></option>`)}</datalist></span>`;
}

// A note is written when its field or the page is left, also by a closed tab; the text is the page's until then.
function Note({ text, field, write }) {
  const written = useRef(text);
  const save = useRef(null);
  save.current = async (leaving) => {
    if (!field.current || field.current.value === written.current) return;
    const { value } = field.current;
    written.current = value;
    if (!(await write(value, leaving))) written.current = null; // the next time tries again
  };
  useEffect(() => {
    written.current = text;
    if (field.current && document.activeElement !== field.current) field.current.value = text;
  }, [text]);
  useLayoutEffect(() => {
    const leave = () => { if (document.visibilityState === "hidden") save.current(true); };
    const end = () => save.current(true);
    document.addEventListener("visibilitychange", leave);
    window.addEventListener("pagehide", end);
    return () => { // also when a row takes the place of this one
      save.current(true);
      document.removeEventListener("visibilitychange", leave);
      window.removeEventListener("pagehide", end);
    };
  }, []);
  return html`<textarea ref=${field} class="own-note" aria-label="your note" rows=${Math.min(6, 1 + text.split("\n").length)} maxlength="10000" placeholder="a note; n, Esc leaves the field"
    onBlur=${() => save.current(false)}></textarea>`;
}

export function Marks({ held }) {
  const { marks, error, change, pinned, adding, setAdding, note, offered } = held;
  if (!marks) return offered ? html`<section class="marks" aria-label="Marks" aria-busy="true">${error ? html`<${Problem} text=${error} />` : null}</section>` : null;
  const { row, tags, person, notices } = marks;
  const own = row.notes.find((n) => n.by === person);
  return html`<section class="marks" aria-label="Marks">
    ${error ? html`<${Problem} text=${error} />` : null}
    ${notices.map((text) => html`<p class="bad" key=${text}>${text}</p>`)}
    ${row.answered ? html`<div class="bar">
      <button onClick=${() => change(flipped)} aria-pressed=${pinned} title="p">${pinned ? "Pinned" : "Pin"}</button>
      ${row.tags.map(({ tag, by }) => html`<button class="chip" key=${tag} title=${`by ${by}`} aria-label=${`remove the tag ${tag}`} onClick=${() => change({ tag, on: false })}>${tag} <span aria-hidden="true">x</span></button>`)}
      ${adding ? html`<${TagField} tags=${tags} add=${(tag) => change((now) => ({ tag, on: !now.tags.some((t) => t.tag === tag) }))} close=${() => setAdding(false)} />`
        : html`<button onClick=${() => setAdding(true)} title="#">Tag</button>`}
      <${Note} text=${own ? own.text : ""} field=${note} write=${(text, leaving) => change({ note: text }, leaving)} /></div>
      ${row.notes.filter((n) => n.by !== person).map((n) => html`<p class="faint" key=${n.by}>${n.by}: ${n.text}</p>`)}`
      : html`<p class="faint">The row has no answer yet, so it can have no marks.</p>`}
  </section>`;
}

// A choice of tags, for the filter of rows.
export function TagFilter({ tags, value, set }) {
  if (!tags.length && !value) return null;
  const known = tags.includes(value) || value === "*" || !value;
  return html`<label>tag<select value=${value} onChange=${(e) => set({ tag: e.target.value })}>
    <option value="">any</option><option value="*">with any mark</option>
    ${known ? null : html`<option value=${value}>${value}</option>`}
    ${tags.map((tag) => html`<option key=${tag} value=${tag}>${tag}</option>`)}</select></label>`;
}
