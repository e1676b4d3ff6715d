// One row: its requests, the answers, how they were read, and where they count.

import { html, useEffect, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";
import { go, href, isAt } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, count, figure, plural, shown, useCopy, useData, usd } from "/static/ui.js";
import { Markdown, Raw, placeOf } from "/static/markdown.js";
import { Strip, besideSample } from "/static/strip.js";
import { Marks, useMarks } from "/static/marks.js";
import { Copies, Why, quotedIn, useOpen } from "/static/row_tools.js";

// A text with a marked passage is shown raw: marks within Markdown could hide its words.
function Text({ text, raw, quotes = [] }) {
  if (text === "") return html`<p class="faint">(empty)</p>`;
  const held = quotes.filter((q) => placeOf(text, q) >= 0);
  return raw || held.length ? html`<${Raw} text=${text} quotes=${held} />` : html`<${Markdown} text=${text} />`;
}

function Message({ message, raw }) {
  return html`<div class=${`message ${message.role}`}><h4>${message.role}</h4><${Text} text=${message.content} raw=${raw} /></div>`;
}

// The messages of a request: what comes before the last question is folded, as it may be hundreds of demonstrations.
export function Messages({ messages, raw, folded = false }) {
  const [search, setSearch] = useState("");
  const [open, setOpen] = useState(false);
  const last = messages.map((m) => m.role).lastIndexOf("user");
  const system = messages.filter((m, i) => m.role === "system" && i < last);
  const before = messages.filter((m, i) => m.role !== "system" && i < last);
  const shots = before.filter((m) => m.role === "assistant").length;
  const rest = messages.slice(Math.max(last, 0));
  const found = search ? before.filter((m) => m.content.toLowerCase().includes(search.toLowerCase())) : before;
  const body = html`
    ${system.map((m) => html`<${Message} message=${m} raw=${raw} />`)}
    ${before.length ? html`<details class="shots" open=${open} onToggle=${(e) => setOpen(e.target.open)}><summary>${shots ? plural(shots, "shot") : plural(before.length, "message")}</summary>
      ${open ? html`<label class="inline">search them <input type="search" value=${search} onInput=${(e) => setSearch(e.target.value)} /></label>
        ${search ? html`<p class="faint" role="status">${plural(found.length, "message")}</p>` : null}
        ${found.map((m, i) => html`<${Message} key=${i} message=${m} raw=${raw} />`)}` : null}</details>` : null}
    ${rest.map((m) => html`<${Message} message=${m} raw=${raw} />`)}`;
  return folded ? html`<details class="shots"><summary>${plural(messages.length, "message")} sent</summary>${body}</details>` : body;
}

function Meta({ step }) {
  if (!("finish" in step)) return null;
  const { usage } = step;
  const parts = [
    step.model, step.reported && step.reported !== step.model ? `reported ${step.reported}` : "", step.finish,
    usage ? `${count(usage.input)} + ${count(usage.output)} tokens${usage.reasoning ? ` (${count(usage.reasoning)} of reasoning)` : ""}` : "",
    usd(step.cost_usd), step.answered_at, `run ${step.run.slice(0, 8)}`, step.batch ? `batch ${step.batch}` : "",
  ].filter(Boolean);
  const settings = Object.entries(step.parameters).map(([k, v]) => `${k} ${typeof v === "string" ? v : JSON.stringify(v)}`).join(", ");
  return html`<p class="meta">${parts.join(" · ")}${settings ? html`<br />${settings}` : null}<br /><code class="key">${step.key}</code></p>`;
}

// A verdict as people read it: a weighted score has more digits than it is worth.
export function verdictOf(step) {
  if (step.missing) return step.missing;
  return /^-?\d+\.\d{3,}$/.test(step.value) ? String(Number(Number(step.value).toFixed(2))) : step.value;
}

function Ask({ step, raw, quotes, curl }) {
  return html`<section class="step" aria-label=${`ask ${step.step}`}>
    <h3>ask ${step.step} ${curl && step.key ? html`<button class="small" onClick=${() => curl(step.step)}>curl</button>` : null}</h3>
    ${step.messages ? html`<${Messages} messages=${step.messages} raw=${raw} />` : html`<p class="faint">${step.unknown}</p>`}
    ${step.reasoning !== undefined ? html`<details class="reasoning" open=${step.reasoning.length < 1500}><summary>reasoning, ${plural(step.reasoning.length, "character")}</summary><${Text} text=${step.reasoning} raw=${raw} quotes=${quotes} /></details>` : null}
    <div class="message answer"><h4>answer</h4>${step.missing ? html`<p class="gone">missing: ${step.missing}</p>` : html`<${Text} text=${step.value} raw=${raw} quotes=${quotes} />`}
      ${step.error ? html`<p class="bad">${step.error}</p>` : null}
      ${step.read !== undefined ? html`<p class="read">read as <strong>${step.read}</strong></p>` : null}</div>
    <${Meta} step=${step} /></section>`;
}

function Judge({ step, raw, curl }) {
  const how = [];
  if (step.reply !== undefined) how.push(html`<dt>reply</dt><dd><${Raw} text=${step.reply} quotes=${step.missing || step.reply.trim() === step.value ? [] : [step.value]} /></dd>`);
  if (step.reply !== undefined && !step.missing) how.push(html`<dt>read as</dt><dd>${verdictOf(step)}${step.mass !== undefined && !step.p ? ", weighted by probability" : ""}</dd>`);
  if (step.mass !== undefined) how.push(html`<dt>probability of ${step.p ? "labels" : "numbers"}</dt><dd>${step.mass.toFixed(3)}, of declared words ${step.word_mass.toFixed(3)}</dd>`);
  for (const [label, p] of Object.entries(step.p || {})) how.push(html`<dt>${label}</dt><dd><meter min="0" max="1" value=${p} aria-label=${label}></meter> ${p.toFixed(3)}</dd>`);
  if (step.reasoning) how.push(html`<dt>reasoning</dt><dd><${Raw} text=${step.reasoning} /></dd>`);
  for (const text of step.unread || []) how.push(html`<dt>earlier reply, not readable</dt><dd><${Raw} text=${text} /></dd>`);
  return html`<section class="step verdict" aria-label=${`judge ${step.step}`}>
    <h3>${step.step} <span class=${step.missing ? "gone" : "value"}>${verdictOf(step)}</span> ${curl && step.key ? html`<button class="small" onClick=${() => curl(step.step)}>curl</button>` : null}</h3>
    ${step.unknown ? html`<p class="faint">${step.unknown}</p>` : null}
    ${step.error ? html`<p class="bad">${step.error}</p>` : null}
    <dl class="how">${how}</dl>
    ${step.messages ? html`<${Messages} messages=${step.messages} raw=${raw} folded=${true} />` : null}
    <${Meta} step=${step} /></section>`;
}

function asText(story) {
  const lines = [`${story.experiment}   ${Object.entries(story.cell).map(([k, v]) => `${k}=${v}`).join("  ")}   sample ${story.sample}`, ""];
  for (const step of story.steps) {
    lines.push(`${step.kind} ${step.step}   ${step.model || step.unknown || ""}`);
    if (step.key) lines.push(`key ${step.key}`);
    for (const m of step.messages || []) lines.push(`--- ${m.role}`, m.content);
    if (step.reasoning !== undefined) lines.push("--- reasoning", step.reasoning);
    lines.push("--- response", step.reply ?? step.value ?? "");
    if (step.reply !== undefined) lines.push(`--- read as: ${verdictOf(step)}`);
    lines.push("---", "");
  }
  for (const [name, value] of Object.entries(story.lets)) lines.push(`let ${name} = ${value}`);
  return lines.join("\n");
}

function Counted({ exp, row, generation }) {
  const { data } = useData("counted", [["exp", exp], ["row", row]], [generation]);
  if (!data) return null;
  return html`<section class="step" aria-label="measures"><h3>counts in</h3><div class="scroll"><table><tbody>${data.counted.map((c) => html`<tr key=${c.measure}>
    <th scope="row">${c.measure}</th><td>${Object.entries(c.group).map(([k, v]) => `${k} ${shown(v)}`).join(", ")}</td>
    <td>${c.dropped ? html`<span class="gone">dropped: ${c.dropped}</span>` : typeof c.value === "boolean" ? String(c.value) : figure(c.value)}</td></tr>`)}</tbody></table></div></section>`;
}

export function Transcript({ route, study, generation, state }) {
  const exp = route.get("exp") || study.experiments[0].name;
  const row = route.get("row");
  const experiment = study.experiments.find((e) => e.name === exp) || study.experiments[0];
  const at = Number(route.get("at", "-1"));
  const here = route.pairs.some(([k]) => k === "at") ? at : 0;
  const { data, error, fresh } = useData("row", [["exp", exp], ["row", row]], [generation]);
  const [copy, said] = useCopy();
  const raw = route.get("raw") === "1";
  const setRaw = () => go("row", route.with({ raw: raw ? "" : "1" }), { replace: true });
  const back = () => go("rows", route.with({ row: "", raw: "" }));
  const step = async (by) => {
    if (here + by < 0) return;
    try {
      const { rows } = await get("rows", [...route.filter, ["offset", here + by], ["limit", 1]]);
      if (rows.length && isAt("row")) go("row", route.with({ row: rows[0].id, at: here + by || "" }), { replace: true });
    } catch { /* the rows of this filter cannot be read: this one stays */ }
  };
  const curl = !study.can.includes("curl") ? null : async (name) => {
    try {
      copy((await get("curl", [["exp", exp], ["row", row], ["step", name]])).curl || "", "the curl call");
    } catch (failed) {
      copy(failed.message, "an error");
    }
  };
  const compare = () => go("compare", route.with({ raw: "" }));
  const goTo = (to) => to && go("row", route.with({ row: to }), { replace: true });
  const marks = useMarks(exp, row, `${generation} ${(state && state.marks) || 0}`, study.can.includes("marks"));
  const [whyOpen, setWhyOpen] = useOpen(row);
  const asksWhy = study.can.includes("why");
  useKeys({
    h: () => goTo(besideSample(row, -1, experiment)), l: () => goTo(besideSample(row, 1, experiment)),
    j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1), Escape: back, m: setRaw, c: compare, "/": back,
    ...marks.keys, ...(asksWhy ? { w: () => setWhyOpen(!whyOpen) } : {}),
  });
  useEffect(() => { if (data) window.scrollTo(0, 0); }, [row]);
  if (error) return html`<${Problem} text=${error} /><p><a href=${href("rows", route.filter)}>Back to the rows</a></p>`;
  if (!data) return html`<${Busy} />`;
  const quotes = data.steps.flatMap((s) => Object.values(s.fields || {}).filter((f) => f && f.length > 3));
  for (const s of data.steps) quotes.push(...quotedIn(s.kind === "ask" ? "" : s.reply), ...quotedIn(s.kind === "ask" ? "" : s.reasoning));
  if (route.get("q")) quotes.push(route.get("q")); // the text that was searched
  const lets = Object.entries(data.lets);
  const cell = Object.entries(data.cell).map(([k, v]) => {
    const level = experiment.axes.find((a) => a.name === k).levels.find((l) => l.shown === v);
    return [k, level ? level.text : v];
  });
  return html`<article class="transcript" aria-busy=${!fresh} data-row=${fresh ? row : ""}>
    <div class="bar">
      <button onClick=${back} title="Esc">Rows</button>
      <button onClick=${() => step(-1)} aria-label="previous row" title="k" disabled=${here <= 0}>↑</button><button onClick=${() => step(1)} aria-label="next row" title="j">↓</button>
      <h2 class="coordinates">${cell.map(([k, v]) => html`<span class="chip" key=${k}>${k} <b>${v.length > 60 ? `${v.slice(0, 60)}...` : v}</b></span>`)}<span class="chip">sample <b>${data.sample}</b></span></h2>
      <span class="grow"></span>
      <button onClick=${setRaw} aria-pressed=${raw} title="m">${raw ? "Markdown" : "Raw"}</button>
      ${experiment.axes.some((a) => a.n > 1) ? html`<button onClick=${compare} title="c">Compare</button>` : null}
      <button onClick=${() => copy(asText(data), "as text")}>Copy</button><button onClick=${() => copy(JSON.stringify(data, null, 2), "as JSON")}>JSON</button>${study.can.includes("copies") ? html`<${Copies} exp=${exp} row=${row} copy=${copy} />` : null}${said}
    </div>
    <${Marks} held=${marks} />
    <${Strip} study=${study} experiment=${experiment} row=${row} of=${route.get("of")} generation=${generation} go=${goTo} set=${(changes) => go("row", route.with(changes), { replace: true })} />
    <div class="columns"><div>${data.steps.filter((s) => s.kind === "ask").map((s) => html`<${Ask} key=${s.step} step=${s} raw=${raw} quotes=${quotes} curl=${curl} />`)}</div>
      <div>${data.steps.filter((s) => s.kind !== "ask").map((s) => html`<${Judge} key=${s.step} step=${s} raw=${raw} curl=${curl} />`)}
        ${data.people.filter((p) => p.raters).map((p) => html`<section class="step" key=${p.name} aria-label=${p.name}><h3>${p.name} <span class="value">${p.verdict ?? "disagreement"}</span></h3><p class="meta">by ${plural(p.raters, "person").replace("persons", "people")}</p></section>`)}
        ${lets.length ? html`<section class="step" aria-label="lets"><h3>let</h3><dl class="how">${lets.map(([k, v]) => html`<dt>${k}</dt><dd>${v.length > 400 ? `${v.slice(0, 400)}...` : v}</dd>`)}</dl></section>` : null}
        <${Counted} exp=${exp} row=${row} generation=${generation} />
        ${asksWhy ? html`<${Why} exp=${exp} row=${row} generation=${generation} open=${whyOpen} setOpen=${setWhyOpen} />` : null}</div></div>
  </article>`;
}
