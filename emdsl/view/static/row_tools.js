// What a transcript offers beside its texts: copies for a paper and for another study, and why each request is cached.

import { html, useEffect, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";
import { Busy, Problem, useData } from "/static/ui.js";

export function Copies({ exp, row, copy }) {
  const fetchAs = async (form, what) => {
    try {
      const { text, program } = await get("copies", [["exp", exp], ["row", row], ["form", form]]);
      await copy(text, form === "em" && !program ? "the command that runs this cell: no program of this row alone has its keys" : what);
    } catch (error) {
      await copy(error.message, "an error");
    }
  };
  return html`<button onClick=${() => fetchAs("tex", "as LaTeX")}>LaTeX</button>
    <button onClick=${() => fetchAs("em", "a program of this row")} title="a program that sends the requests of this row alone">.em</button>`;
}

// Why each request is cached or pending, as `emdsl why` tells it; read when it is opened.
export function Why({ exp, row, generation, open, setOpen }) {
  const { data, error, fresh } = useData(open ? "why" : "", [["exp", exp], ["row", row]], [generation]);
  return html`<details class="step why" open=${open} onToggle=${(e) => setOpen(e.target.open)}><summary>why</summary>
    ${!open ? null : error ? html`<${Problem} text=${error} />` : !data || !fresh ? html`<${Busy} what="Comparing with cached requests" />`
      : data.steps.map((s) => html`<div key=${s.name}><pre class="text">${s.text}</pre></div>`)}</details>`;
}

// The passages that a reply quotes, in straight or curly marks: those of a few words or more.
const QUOTED = /"([^"\n]{8,600})"|“([^”]{8,600})”|«([^»]{8,600})»/g;

export function quotedIn(text) {
  return [...(text || "").matchAll(QUOTED)].map((found) => (found[1] || found[2] || found[3]).trim().replace(/^\.\.\.|\.\.\.$/g, "").trim());
}

// The state of what is opened by a key, closed again for the next row.
export function useOpen(row) {
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(false), [row]);
  return [open, setOpen];
}
