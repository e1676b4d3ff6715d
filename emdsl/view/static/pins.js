// Pinned rows in their order, and the file of examples that is made of them.

import { html, useEffect, useState } from "/static/vendor/preact-htm.js";
import { get, post } from "/static/api.js";
import { go, href, isAt } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, plural, useCopy } from "/static/ui.js";

const FORMS = [["md", "Markdown"], ["tex", "LaTeX"], ["html", "HTML"]];
const TYPES = { md: "text/markdown", tex: "application/x-tex", html: "text/html" };

function save({ name, text }, form) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${TYPES[form]};charset=utf-8` }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Where a pin moves by one, as an index and a place: past all that share a place, as those of two people may.
export function movedTo(places, at, by) {
  let to = at + by;
  while (to + by in places && places[to + by] === places[to]) to += by;
  if (!(to in places)) return null;
  return { to, place: to + by in places ? (places[to] + places[to + by]) / 2 : places[to] + by };
}

function Pin({ pin, at, select, chosen, remove }) {
  if (pin.gone) return html`<li class=${at ? "at" : ""}><p class="bad">${pin.gone}</p><button class="small" onClick=${remove}>unpin</button></li>`;
  return html`<li class=${at ? "at" : ""} aria-current=${at ? "true" : null} onClick=${select}>
    <div class="bar"><a href=${href("row", [["exp", pin.exp], ["row", pin.row]])}>${pin.at}</a>
      ${pin.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
      ${pin.others ? html`<span class="faint">${plural(pin.others, "more row")} with the same answer</span>` : null}
      <span class="grow"></span><button class="small" onClick=${remove} title="p">unpin</button></div>
    ${pin.answers.map((a) => html`<div key=${a.step}><p class="faint cut">${a.question}</p><p class="cut">${a.answer}</p><code class="key">${a.step} ${a.key}</code></div>`)}
    ${pin.verdicts.length && chosen ? html`<p class="meta">${pin.verdicts.map((v) => `${v.step} ${v.verdict}`).join(", ")}</p>` : null}</li>`;
}

export function Pins({ route, generation, state }) {
  const [held, setHeld] = useState({ data: null, error: "" });
  const [busy, setBusy] = useState(false);
  const [copy, said] = useCopy();
  const form = FORMS.some(([f]) => f === route.get("form")) ? route.get("form") : "md";
  const with_ = (name) => route.get(name) === "1";
  const set = (changes) => go("pins", route.with(changes), { replace: true });
  const load = () => get("pins").then((data) => setHeld({ data, error: "" }), (error) => setHeld((old) => ({ ...old, error: error.message })));
  useEffect(() => { load(); }, [generation, (state && state.marks) || 0]);
  const pins = held.data ? held.data.pins : [];
  const at = Math.max(0, Math.min(pins.length - 1, Number(route.get("at", "0")) || 0));
  const write = async (path, body, then = at) => {
    if (busy) return;
    setBusy(true);
    try {
      await post(path, body);
      await load();
      if (isAt("pins")) set({ at: then || "" });
    } catch (error) {
      setHeld((old) => ({ ...old, error: error.message }));
    } finally {
      setBusy(false);
    }
  };
  const move = (by) => {
    const pin = pins[at];
    const target = movedTo(pins.map((p) => p.place), at, by);
    if (pin && !pin.gone && target) write("mark", { exp: pin.exp, row: pin.row, pin: target.place }, target.to);
  };
  const remove = (pin) => write("unpin", { keys: pin.keys }, Math.min(at, pins.length - 2));
  const examples = async (act) => {
    try {
      act(await get("examples", [["form", form], ["reasoning", with_("reasoning") ? "1" : ""], ["verdicts", with_("verdicts") ? "1" : ""]]));
    } catch (error) {
      setHeld((old) => ({ ...old, error: error.message }));
    }
  };
  const step = (by) => set({ at: Math.max(0, Math.min(pins.length - 1, at + by)) || "" });
  useKeys({
    j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), J: () => move(1), K: () => move(-1),
    Enter: () => pins[at] && !pins[at].gone && go("row", [["exp", pins[at].exp], ["row", pins[at].row]]),
    p: () => pins[at] && remove(pins[at]), y: () => examples(({ text }) => copy(text, "the examples")), Escape: () => go("overview"),
  });
  useEffect(() => {
    const shown = document.querySelector(".pins li.at");
    if (shown) shown.scrollIntoView({ block: "nearest" });
  }, [at, held.data]);
  if (!held.data) return held.error ? html`<${Problem} text=${held.error} />` : html`<${Busy} />`;
  const check = (name) => html`<label class="inline"><input type="checkbox" checked=${with_(name)} onChange=${(e) => set({ [name]: e.target.checked ? "1" : "" })} /> ${name}</label>`;
  return html`<section class="pins" aria-label="Pins">
    <div class="bar"><strong role="status">${plural(pins.length, "pinned row")}</strong>
      ${pins.length ? html`<label class="inline">as <select value=${form} onChange=${(e) => set({ form: e.target.value })}>${FORMS.map(([f, name]) => html`<option key=${f} value=${f}>${name}</option>`)}</select></label>
        ${check("reasoning")}${check("verdicts")}
        <button onClick=${() => examples((file) => save(file, form))}>Download</button>
        <button onClick=${() => examples(({ text }) => copy(text, "the examples"))} title="y">Copy</button>${said}
        <span class="grow"></span><button onClick=${() => move(-1)} disabled=${busy || at === 0} title="K" aria-label="move up">↑</button>
        <button onClick=${() => move(1)} disabled=${busy || at >= pins.length - 1} title="J" aria-label="move down">↓</button>` : null}</div>
    ${held.error ? html`<${Problem} text=${held.error} />` : null}
    ${held.data.notices.map((text) => html`<p class="bad" key=${text}>${text}</p>`)}
    ${pins.length ? html`<ol>${pins.map((pin, i) => html`<${Pin} key=${pin.keys.join()} pin=${pin} at=${i === at} chosen=${with_("verdicts")} select=${() => set({ at: i || "" })} remove=${(e) => { if (e) e.stopPropagation(); remove(pin); }} />`)}</ol>`
      : html`<p>Press <kbd>p</kbd> in a transcript or on a row to pin it. Pinned rows become a figure of examples: Markdown, LaTeX or HTML.</p>`}
  </section>`;
}
