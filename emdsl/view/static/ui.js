// Small parts that screens share: data with loading and errors, numbers, chips, copying.

import { html, useEffect, useRef, useState } from "/static/vendor/preact-htm.js";
import { get } from "/static/api.js";

// The answer to a request; the one before it stays while the next is under way.
export function useData(path, pairs, marks = []) {
  const [held, setHeld] = useState({ data: null, error: "", busy: true, key: "" });
  const key = JSON.stringify([path, pairs, marks]);
  useEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    setHeld((old) => ({ ...old, busy: true }));
    get(path, pairs, stop.signal)
      .then((data) => setHeld({ data, error: "", busy: false, key }))
      .catch((error) => {
        if (error.name !== "AbortError") setHeld({ data: null, error: error.message, busy: false, key });
      });
    return () => stop.abort();
  }, [key]);
  return { ...held, fresh: held.key === key };
}

export function Problem({ text }) {
  return html`<p class="problem" role="alert">${text}</p>`;
}

export function Busy({ what = "Loading" }) {
  return html`<p class="busy" role="status">${what} ...</p>`;
}

export const count = (n) => (n === null || n === undefined ? "?" : Number(n).toLocaleString("en-US"));
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
export const usd = (n) => (n === null || n === undefined ? "unknown" : `$${n && n < 0.01 ? n.toPrecision(2) : n.toFixed(2)}`);

export function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return count(value);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(4)));
}

export function figure(value) {
  if (value === null || value === undefined) return "";
  return Number.isInteger(value) ? count(value) : Math.abs(value) < 100 ? value.toFixed(3) : number(value);
}

export function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "object" && "missing" in value) return value.missing;
  return typeof value === "number" ? number(value) : String(value);
}

export function useCopy() {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid(`Copied ${what}`);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      setSaid(document.execCommand("copy") ? `Copied ${what}` : "The browser allows no copying");
      area.remove();
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(""), 2500);
  };
  return [copy, html`<span class="said" role="status">${said}</span>`];
}
