// A small part of Markdown, made of elements: nothing of a text is ever taken for HTML.

import { h, html } from "/static/vendor/preact-htm.js";

const INLINE = /(`+)([\s\S]+?)\1|\*\*([^*\n]+?)\*\*|__([^_\n]+?)__|\*([^*\s][^*\n]*?)\*/g;

function inline(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > end) parts.push(text.slice(end, found.index));
    if (found[2] !== undefined) parts.push(html`<code>${found[2]}</code>`);
    else if (found[5] !== undefined) parts.push(html`<em>${found[5]}</em>`);
    else parts.push(html`<strong>${found[3] ?? found[4]}</strong>`);
    end = found.index + found[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function paragraph(lines) {
  return html`<p>${lines.map((line, i) => [i ? html`<br />` : null, inline(line)])}</p>`;
}

export function Markdown({ text }) {
  const blocks = [];
  const lines = text.split("\n");
  let open = [];
  const close = () => {
    if (open.length) blocks.push(paragraph(open));
    open = [];
  };
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i];
    const fence = line.match(/^\s*(```+|~~~+)/);
    const heading = line.match(/^(#{1,6})\s+(.*)$/);
    const item = line.match(/^\s*(?:[-*+]|\d+[.)])\s+/);
    if (fence) {
      close();
      const held = [];
      for (i += 1; i < lines.length && !lines[i].trim().startsWith(fence[1]); i += 1) held.push(lines[i]);
      blocks.push(html`<pre><code>${held.join("\n")}</code></pre>`);
    } else if (heading) {
      close();
      blocks.push(html`<p class=${`heading h${heading[1].length}`}>${inline(heading[2])}</p>`);
    } else if (item) {
      close();
      const ordered = /\d/.test(item[0]);
      const first = ordered ? Number(item[0].match(/\d+/)[0]) : undefined;
      const items = [];
      for (; i < lines.length; i += 1) {
        const next = lines[i].match(/^\s*(?:[-*+]|\d+[.)])\s+/);
        if (!next || /\d/.test(next[0]) !== ordered) break;
        items.push(html`<li>${inline(lines[i].slice(next[0].length))}</li>`);
      }
      i -= 1;
      blocks.push(ordered ? h("ol", { start: first }, items) : html`<ul>${items}</ul>`);
    } else if (/^\s*>\s?/.test(line)) {
      close();
      const held = [];
      for (; i < lines.length && /^\s*>\s?/.test(lines[i]); i += 1) held.push(lines[i].replace(/^\s*>\s?/, ""));
      i -= 1;
      blocks.push(html`<blockquote>${paragraph(held)}</blockquote>`);
    } else if (!line.trim()) {
      close();
    } else {
      open.push(line);
    }
  }
  close();
  return html`<div class="markdown">${blocks}</div>`;
}

// Where a text holds a passage, upper or lower case; -1 if it does not.
export function placeOf(text, passage) {
  return passage.length > 1 ? text.toLowerCase().indexOf(passage.toLowerCase()) : -1;
}

// A text as it is, with some passages marked.
export function Raw({ text, quotes = [] }) {
  const spans = [];
  for (const quote of quotes) {
    const at = placeOf(text, quote);
    if (at >= 0) spans.push([at, at + quote.length]);
  }
  spans.sort((a, b) => a[0] - b[0]);
  const parts = [];
  let end = 0;
  for (const [from, to] of spans) {
    if (from < end) continue;
    parts.push(text.slice(end, from), html`<mark>${text.slice(from, to)}</mark>`);
    end = to;
  }
  parts.push(text.slice(end));
  return html`<pre class="text">${parts}</pre>`;
}
