// The messages and the keys of a report's requests, from what `report/prompts.py` has packed.

import { sha256 } from "/static/sha256.js";

const utf8 = new TextEncoder();
const HOLE = 1; // an answer of the same row

function u64(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

// The key of a request, by the formula of ARCHITECTURE.md, "Digests".
function keyOf(head, messages, replicate, tries, sample) {
  const parts = [Uint8Array.from(head.match(/../g), (x) => parseInt(x, 16))];
  for (const { role, content } of messages) {
    const [text, name] = [utf8.encode(content), utf8.encode(role)];
    parts.push(text, name, u64(text.length), u64(name.length));
  }
  parts.push(u64(messages.length));
  if (replicate) parts.push(utf8.encode("stream"), u64(replicate));
  if (tries) parts.push(utf8.encode("try"), u64(tries));
  parts.push(u64(sample));
  const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return sha256(whole);
}

// Returns the function that adds requests to the steps of a row.
export function prompts(data) {
  const { roles, asks, messages, parents, last } = data.tables.prompts;
  const [flat, before, ending] = [messages, parents, last].map((x) => data.integers(x));
  const starts = [];
  for (let at = 0; at < flat.length; at += 2 + flat[at + 1]) starts.push(at);

  const message = (number, answers) => {
    const at = starts[number];
    const pieces = Array.from(flat.subarray(at + 2, at + 2 + flat[at + 1]));
    const content = pieces.map((p) => (p & HOLE ? answers[asks[p >>> 1]] : data.texts.get(p >>> 1))).join("");
    return { role: roles[flat[at]], content };
  };

  const sent = (node, answers) => {
    const list = [];
    for (let at = node; at > 0; at = before[at - 1]) list.push(message(ending[at - 1], answers));
    return list.reverse();
  };

  return (story) => {
    const answers = Object.fromEntries(story.steps.map((s) => [s.step, s.value]));
    const steps = story.steps.map((step) => {
      if (!step.request) return step;
      const { request: [number, node, tries, sample], ...rest } = step;
      const { head, replicate, ...settings } = data.tables.settings[number];
      const list = sent(node, answers);
      const key = step.key ?? keyOf(head, list, replicate, tries, sample);
      return { ...rest, ...settings, messages: list, key };
    });
    return { ...story, steps };
  };
}
