// The frame of the page: navigation, runs under way, keys, themes.

import { html, render, useEffect, useRef, useState } from "/static/vendor/preact-htm.js";
import { get, post } from "/static/api.js";
import { go, href, useRoute } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Busy, Problem, useData } from "/static/ui.js";
import { useMoving } from "/static/moving.js";
import { Strip } from "/static/runs.js";
import { Overview } from "/static/overview.js";
import { Rows } from "/static/rows.js";
import { Transcript } from "/static/transcript.js";
import { Grid } from "/static/grid.js";
import { Compare } from "/static/compare.js";
import { Differences } from "/static/differences.js";
import { Annotate } from "/static/annotate.js";
import { Pins } from "/static/pins.js";

const TABS = [["overview", "Overview", "o"], ["rows", "Rows", "r"], ["grid", "Grid", "m"], ["differences", "Compare", "c"], ["annotate", "Annotate", "a"], ["pins", "Pins", "p"]];
const SCREENS = { overview: Overview, rows: Rows, row: Transcript, grid: Grid, compare: Compare, differences: Differences, annotate: Annotate, pins: Pins };
const SHEET = [ // keys, what they do, and what the source of the page has to offer for them
  ["g o", "Overview; o too"], ["g r", "Rows"], ["g m", "Grid"], ["g c", "Compare: what differs", "pairs"], ["g a", "Annotate; a too", "annotate"],
  ["g p", "Pins", "marks"], ["j  k", "Next, previous row"], ["Enter", "Open the row"], ["Esc", "Back; leave a field"], ["/", "Rows: search"],
  ["c", "Compare a row side by side"], ["f", "From there: what differs", "pairs"], ["h  l", "Previous, next sample of the cell"],
  ["p", "Pin or unpin the row", "marks"], ["#  n", "Transcript: a tag, a note", "marks"], ["w", "Transcript: why", "why"],
  ["J  K", "Pins: move down, up", "marks"], ["y", "Pins: copy the examples", "marks"], ["m", "Markdown or raw text"],
  ["1-9", "Annotate: a label", "annotate"], ["u  n  s", "Annotate: undo, note, skip", "annotate"], ["t", "Light or dark"], ["?", "This sheet"],
];

// What the browser keeps of the theme; some pages may keep nothing.
function kept(theme = undefined) {
  try {
    if (theme !== undefined) localStorage.setItem("emdsl-theme", theme);
    return localStorage.getItem("emdsl-theme") || "";
  } catch {
    return theme || "";
  }
}

function useTheme() {
  const [theme, setTheme] = useState(() => kept());
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    kept(theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return [dark, () => setTheme(dark ? "light" : "dark")];
}

function Sheet({ open, close, can }) {
  const dialog = useRef(null);
  useEffect(() => {
    if (open && !dialog.current.open) dialog.current.showModal();
    if (!open && dialog.current.open) dialog.current.close();
  }, [open]);
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="sheet-title">
    <h2 id="sheet-title">Keys</h2>
    <dl>${SHEET.filter(([, , needed]) => !needed || can.includes(needed)).map(([keys, what]) => html`<div key=${keys}><dt>${keys.split(/ +/).map((k) => html`<kbd>${k}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <button onClick=${close} autofocus>Close</button>
  </dialog>`;
}

function App() {
  const route = useRoute();
  const [dark, turn] = useTheme();
  const [sheet, setSheet] = useState(false);
  const { state, error } = useMoving();
  const generation = state ? state.generation : 0;
  const study = useData("study", [], [generation]);
  const overview = useData("overview", [], [generation]);
  const [loading, setLoading] = useState(false);
  const refresh = async () => {
    setLoading(true);
    try {
      await post("refresh", {});
    } finally {
      setLoading(false);
    }
  };
  const exp = route.get("exp");
  const to = (screen) => go(screen, exp ? [["exp", exp]] : []);
  const pairs = Boolean(study.data && study.data.can.includes("pairs"));
  const marks = Boolean(study.data && study.data.can.includes("marks"));
  const annotated = Boolean(study.data && study.data.can.includes("annotate") && study.data.experiments.some((e) => e.annotations.length));
  useKeys({
    o: () => to("overview"), a: () => annotated && to("annotate"), "g p": () => marks && go("pins"),
    "g o": () => to("overview"), "g r": () => go("rows", route.filter), "g a": () => to("annotate"), "g m": () => to("grid"), "g c": () => pairs && go("differences", route.filter),
    "?": () => setSheet(!sheet), t: turn,
  });
  useEffect(() => {
    const title = study.data ? `${study.data.study} - ${route.screen}` : "emdsl view";
    document.title = title;
  }, [study.data, route.screen]);
  useEffect(() => {
    if (study.data && overview.data) document.body.dataset.ready = "";
  }, [study.data, overview.data]);
  const Screen = SCREENS[route.screen] || Overview;
  const can = study.data ? study.data.can : [];
  const here = route.screen === "compare" && pairs ? "differences" : ["row", "compare"].includes(route.screen) ? "rows" : route.screen;
  const tabs = TABS.filter(([screen]) => !study.data || { annotate: annotated, differences: pairs, pins: marks }[screen] !== false);
  const problem = error || study.error || overview.error;
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <header>
      <h1>${study.data ? study.data.study : "emdsl"}</h1>
      <nav aria-label="Screens">${tabs.map(([screen, name, key]) => html`
        <a key=${screen} href=${href(screen, ["rows", "differences"].includes(screen) ? route.filter : exp ? [["exp", exp]] : [])}
          aria-current=${here === screen ? "page" : null} title=${`g ${key}`}>${name}</a>`)}</nav>
      <span class="grow"></span>
      ${can.includes("refresh") ? html`<button onClick=${refresh} disabled=${loading} title="Load the newest answers">${loading ? "Loading" : "Reload"}</button>` : null}
      <button onClick=${turn} aria-label=${dark ? "Light theme" : "Dark theme"} title="t">${dark ? "Light" : "Dark"}</button>
      <button onClick=${() => setSheet(true)} aria-label="Keys" title="?">?</button>
    </header>
    <${Strip} runs=${state ? state.runs : []} />
    ${problem ? html`<${Problem} text=${problem} />` : null}
    ${state && state.problem ? html`<${Problem} text=${`Not up to date: ${state.problem}`} />` : null}
    <main id="main" tabindex="-1">${study.data
      ? html`<${Screen} key=${route.screen} route=${route} study=${study.data} overview=${overview.data} generation=${generation} state=${state} />`
      : problem ? null : html`<${Busy} />`}</main>
    <${Sheet} open=${sheet} close=${() => setSheet(false)} can=${can} />`;
}

if (location.search) history.replaceState(null, "", location.pathname + location.hash); // the token is in a cookie now
render(html`<${App} />`, document.getElementById("app"));
