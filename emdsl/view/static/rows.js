// The rows of an experiment: filters, and a list that fetches the pages that are seen.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "/static/vendor/preact-htm.js";
import { get, post } from "/static/api.js";
import { Route, go, href } from "/static/route.js";
import { useKeys } from "/static/keys.js";
import { Signs, TagFilter } from "/static/marks.js";
import { Problem, count, plural, shown, useData } from "/static/ui.js";

const PAGE = 100;
const HEIGHT = 30; // pixels of a row
const TALLEST = 8_000_000; // pixels: browsers limit the height of an element
const MAX_SEEN = 200; // rows at once, however tall the window
const MAX_CHECKS = 12; // levels of an axis that are shown as boxes

// The rows of a filter by their number, and how many there are; pages are fetched when they are seen.
// With a new load, and with new marks, those that are shown stay until the new ones are there.
function usePages(filter, version) {
  const [held, setHeld] = useState({ n: null, error: "" });
  const pages = useRef(new Map());
  const old = useRef({ chosen: "", pages: new Map() });
  const under = useRef(new Set());
  const [, redraw] = useState(0);
  const chosen = JSON.stringify(filter);
  const key = `${version} ${chosen}`;
  const now = useRef(key);
  const stop = useRef(null);
  useEffect(() => {
    now.current = key;
    stop.current = new AbortController();
    const { signal } = stop.current;
    old.current = { chosen, pages: old.current.chosen === chosen ? new Map([...old.current.pages, ...pages.current]) : new Map() };
    pages.current = new Map();
    under.current = new Set();
    setHeld((old) => ({ ...old, error: "", searched: 1 }));
    const failed = (error) => {
      if (error.name !== "AbortError" && now.current === key) setHeld({ n: 0, error: error.message });
    };
    fetchPage(0);
    const tally = () => get("count", filter, signal).then(({ n, searched = 1 }) => {
      if (now.current !== key) return;
      setHeld((old) => ({ ...old, n, searched }));
      if (searched < 1) tally(); // a search goes on: the number so far
    }, failed);
    tally();
    const current = stop.current;
    return () => current.abort();
  }, [key]);
  function fetchPage(page, have = 0) {
    if (page < 0 || under.current.has(page) || !stop.current) return;
    under.current.add(page);
    const asked = key;
    get("rows", [...filter, ["offset", page * PAGE], ["limit", PAGE], ["have", have || ""]], stop.current.signal).then(({ rows, whole = true }) => {
      if (now.current !== asked) return;
      pages.current.set(page, rows);
      redraw((x) => x + 1);
      if (!whole) { // a search goes on
        under.current.delete(page);
        fetchPage(page, rows.length);
      }
    }, (error) => {
      if (error.name !== "AbortError" && now.current === asked) setHeld({ n: 0, error: error.message });
    });
  }
  const row = (i) => {
    const number = Math.floor(i / PAGE);
    const page = pages.current.get(number) || old.current.pages.get(number);
    return page ? page[i % PAGE] : null;
  };
  const first = pages.current.get(0);
  const n = held.n ?? (first ? first.length : null);
  return { n, exact: held.n !== null, searched: held.n === null ? 0 : held.searched ?? 1, error: held.error, row, see: fetchPage, chosen };
}

// A field whose text is the page's until it is committed: the page is drawn again while a person types.
function Field({ tag = "input", value, field, ...rest }) {
  const own = useRef(null);
  const ref = field || own;
  useLayoutEffect(() => {
    if (document.activeElement !== ref.current) ref.current.value = value;
  }, [value]);
  return html`<${tag} ref=${ref} ...${rest} />`;
}

function Level({ axis, route, set }) {
  const key = `a.${axis.name}`;
  const chosen = route.all(key);
  if (axis.levels.length > MAX_CHECKS || axis.n > axis.levels.length) {
    return html`<label>${axis.name}<select onChange=${(e) => set({ [key]: e.target.value })} value=${chosen[0] || ""}>
      <option value="">any of ${count(axis.n)}</option>
      ${axis.levels.map((l) => html`<option key=${l.id} value=${l.id}>${l.text.slice(0, 80)}</option>`)}</select></label>`;
  }
  const flip = (id) => set({ [key]: chosen.includes(id) ? chosen.filter((x) => x !== id) : [...chosen, id] });
  return html`<fieldset><legend>${axis.name}</legend>${axis.levels.map((l) => html`<label class="check" key=${l.id}>
    <input type="checkbox" checked=${chosen.includes(l.id)} onChange=${() => flip(l.id)} /><span>${l.text.slice(0, 80)}</span></label>`)}</fieldset>`;
}

function Value({ column, facet, route, set }) {
  const { name } = column;
  const reasons = facet ? Object.entries(facet.reasons) : [];
  const values = facet ? Object.entries(facet.values) : [];
  const reason = reasons.length ? html`<label>${name} missing<select value=${route.get(`m.${name}`)} onChange=${(e) => set({ [`m.${name}`]: e.target.value })}>
    <option value="">any</option>${reasons.length > 1 ? html`<option value="*">for any reason</option>` : null}
    ${reasons.map(([r, n]) => html`<option key=${r} value=${r}>${r} (${count(n)})</option>`)}</select></label>` : null;
  if (column.kind === "label" && values.length) {
    return html`<label>${name}<select value=${route.get(`v.${name}`)} onChange=${(e) => set({ [`v.${name}`]: e.target.value })}>
      <option value="">any</option>${values.map(([v, n]) => html`<option key=${v} value=${v}>${v.slice(0, 60)} (${count(n)})</option>`)}</select></label>${reason}`;
  }
  if (column.kind === "number" && column.reason) {
    const bound = (end, called) => html`<${Field} type="number" step="any" aria-label=${`${name} ${called}`} placeholder=${called}
      value=${route.get(`${end}.${name}`)} onChange=${(e) => set({ [`${end}.${name}`]: e.target.value })} />`;
    return html`<fieldset class="bounds"><legend>${name}</legend>${bound("min", "from")}${bound("max", "to")}</fieldset>${reason}`;
  }
  return reason;
}

function Filters({ experiment, experiments, facets, route, set, search, tags, can }) {
  const of = (name) => facets.find((f) => f.column === name);
  const later = useRef(0);
  const type = (e) => {
    const { value } = e.target;
    clearTimeout(later.current);
    later.current = setTimeout(() => set({ q: value }), 250);
  };
  return html`<form class="filters" aria-label="Filters" onSubmit=${(e) => e.preventDefault()}>
    ${experiments.length > 1 ? html`<label>experiment<select value=${experiment.name} onChange=${(e) => go("rows", [["exp", e.target.value]])}>
      ${experiments.map((e) => html`<option key=${e.name} value=${e.name}>${e.name}</option>`)}</select></label>` : null}
    <label>text<${Field} type="search" field=${search} placeholder="in questions, answers, replies" value=${route.get("q")} onInput=${type} /></label>
    ${route.get("q") ? html`<label>in<select value=${route.get("in")} onChange=${(e) => set({ in: e.target.value })}>
      <option value="">everything</option>${["question", "answer", "reasoning", "reply"].map((p) => html`<option key=${p} value=${p}>${p}</option>`)}</select></label>` : null}
    ${experiment.axes.filter((a) => a.n > 1).map((a) => html`<${Level} key=${a.name} axis=${a} route=${route} set=${set} />`)}
    ${experiment.columns.filter((c) => c.kind !== "axis").map((c) => html`<${Value} key=${c.name} column=${c} facet=${of(c.name)} route=${route} set=${set} />`)}
    ${can.includes("marks") ? html`<${TagFilter} tags=${tags} value=${route.get("tag")} set=${set} />` : null}
    ${can.includes("sql") ? html`<label>SQL condition<${Field} tag="textarea" rows="2" spellcheck="false" placeholder="aligned < 30 AND sample = 2" value=${route.get("where")}
      onChange=${(e) => set({ where: e.target.value })} onKeyDown=${(e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); set({ where: e.target.value }); } }} /></label>` : null}
  </form>`;
}

// The conditions in words, each with a button that removes it.
function Chips({ route, set, experiment }) {
  const level = (axis, id) => {
    const found = (experiment.axes.find((a) => a.name === axis) || { levels: [] }).levels.find((l) => l.id === id);
    return found ? found.text.slice(0, 40) : id;
  };
  const chips = route.filter.filter(([k]) => !["exp", "sort", "in"].includes(k)).map(([key, value]) => {
    const [kind, column] = key.split(/\.(.*)/s);
    const text = { a: () => `${column} ${level(column, value)}`, v: () => `${column} is ${value}`, m: () => `${column} missing: ${value === "*" ? "any" : value}`,
      min: () => `${column} >= ${value}`, below: () => `${column} < ${value}`, max: () => `${column} <= ${value}`, q: () => `text "${value}"`, where: () => value, tag: () => (value === "*" ? "with any mark" : `tag ${value}`) }[kind]();
    return html`<button class="chip" key=${`${key} ${value}`} aria-label=${`remove ${text}`}
      onClick=${() => set({ [key]: route.all(key).filter((v) => v !== value) })}>${text} <span aria-hidden="true">x</span></button>`;
  });
  return chips.length ? html`<div class="chips">${chips}</div>` : null;
}

// The width of each column, in pixels: an axis is as wide as its levels, within bounds.
function widths(columns, axes) {
  const most = matchMedia("(max-width: 899px)").matches ? 96 : 170;
  const letters = (texts) => Math.max(...texts.map((t) => t.length)) * 7 + 12;
  return columns.map((c) => {
    if (c.kind === "text") return "minmax(260px, 1fr)";
    if (c.kind === "marks") return "130px";
    const axis = axes.find((a) => a.name === c.name);
    const wanted = letters([`${c.name} ↑`, ...(axis ? axis.levels.map((l) => l.text) : c.kind === "label" ? ["not_annotated"] : ["1,000"])]);
    return `${Math.max(40, Math.min(c.kind === "axis" ? most : 120, wanted))}px`;
  }).join(" ");
}

// Verdicts come before texts, so that they are seen on a narrow screen too.
const ORDER = { axis: 0, number: 1, label: 2, marks: 3, text: 4 };
const MARKS = { name: "marks", kind: "marks", reason: "" };

function List({ pages, columns: all, axes, at, setAt, open, sort, setSort }) {
  const box = useRef(null);
  const order = useMemo(() => all.map((c, i) => i).sort((a, b) => ORDER[all[a].kind] - ORDER[all[b].kind] || a - b), [all]);
  const columns = order.map((i) => all[i]);
  const [view, setView] = useState({ top: 0, height: 600 });
  const n = pages.n ?? 0;
  const whole = n * HEIGHT;
  const tall = Math.min(whole, TALLEST);
  const seen = Math.min(MAX_SEEN, Math.ceil(view.height / HEIGHT));
  const most = Math.max(1, tall - view.height);
  const first = whole <= TALLEST ? Math.floor(view.top / HEIGHT) : Math.floor((view.top / most) * Math.max(0, n - seen + 1));
  const from = Math.max(0, Math.min(first, n - 1) - 4);
  const to = Math.min(n, first + seen + 4);
  const place = (i) => (whole <= TALLEST ? i * HEIGHT : view.top + (i - first) * HEIGHT);
  useLayoutEffect(() => {
    const element = box.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    measure();
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    for (let page = Math.floor(from / PAGE); page <= Math.floor(Math.max(from, to - 1) / PAGE); page += 1) pages.see(page);
  });
  useLayoutEffect(() => { box.current.scrollTop = 0; }, [pages.chosen]);
  // the chosen row stays in sight
  useLayoutEffect(() => {
    if (pages.n === null || !n) return;
    const i = Math.min(at, n - 1);
    const fits = Math.floor((view.height - HEIGHT) / HEIGHT);
    if (i < first || i >= first + fits) {
      const aim = i < first ? i : i - fits + 1;
      box.current.scrollTop = whole <= TALLEST ? aim * HEIGHT : (aim / Math.max(1, n - seen + 1)) * most;
    }
  }, [at, pages.chosen, pages.n === null, view.height]);
  const lines = [];
  for (let i = from; i < to; i += 1) {
    const row = pages.row(i);
    lines.push(html`<div key=${i} id=${`row-${i}`} role="row" aria-rowindex=${i + 2} aria-selected=${i === at} class=${i === at ? "row at" : "row"}
      style=${{ top: `${place(i) + HEIGHT}px` }} onClick=${() => { setAt(i); open(i); }}>
      ${row ? order.map((i) => (all[i] === MARKS ? html`<${Signs} marks=${row.marks} />` : row.cells[i])).map((cell, j) => columns[j] === MARKS ? html`<div role="gridcell" key=${j} class="marks" title=${row.marks ? row.marks.tags.join(", ") : ""}>${cell}</div>` : html`<div role="gridcell" key=${j} class=${`${columns[j].kind}${cell !== null && typeof cell === "object" ? " gone" : ""}`}>${shown(cell)}</div>`)
        : html`<div role="gridcell" class="faint">...</div>`}</div>`);
  }
  const template = useMemo(() => widths(columns, axes), [all, axes]);
  return html`<div class="list" ref=${box} tabindex="0" role="grid" aria-label="rows" aria-rowcount=${n + 1} aria-colcount=${columns.length}
      aria-activedescendant=${`row-${at}`} onScroll=${(e) => setView({ top: e.target.scrollTop, height: e.target.clientHeight })}>
    <div class="inner" style=${{ height: `${tall + HEIGHT}px`, "--columns": template }}>
      <div class="row head" role="row" aria-rowindex="1">${columns.map((c) => {
        if (c === MARKS) return html`<div role="columnheader" key=" marks" class="marks">marks</div>`;
        const way = sort === c.name ? "ascending" : sort === `-${c.name}` ? "descending" : "none";
        return html`<div role="columnheader" key=${c.name} aria-sort=${way} class=${c.kind}><button
          onClick=${() => setSort(way === "none" ? c.name : way === "ascending" ? `-${c.name}` : "")}>${c.name}${{ ascending: " ↑", descending: " ↓", none: "" }[way]}</button></div>`;
      })}</div>
      ${lines}</div></div>`;
}

export function Rows({ route, study, overview, generation, state }) {
  const experiment = study.experiments.find((e) => e.name === route.get("exp")) || study.experiments[0];
  const part = overview && overview.experiments.find((e) => e.name === experiment.name);
  const filter = useMemo(() => route.filter, [JSON.stringify(route.filter)]);
  const [version, setVersion] = useState(0); // of the marks
  const marksSeen = (state && state.marks) || 0;
  const pages = usePages(filter, `${generation} ${marksSeen}`);
  const marks = useData(study.can.includes("marks") ? "marks" : "", [], [generation, version, marksSeen]).data;
  const marked = marks !== null && (marks.any || version > 0);
  const columns = useMemo(() => (marked ? [...experiment.columns, MARKS] : experiment.columns), [experiment, marked]);
  const asked = Math.max(0, Number(route.get("at", "0")) || 0);
  const at = pages.exact && pages.searched === 1 && pages.n ? Math.min(asked, pages.n - 1) : asked; // rows may have become fewer
  const search = useRef(null);
  const [problem, setProblem] = useState("");
  const set = (changes) => {
    const now = new Route(location.hash); // a search that is typed comes later than other changes
    if (now.screen === "rows") go("rows", now.with({ ...changes, at: "" }));
  };
  const setAt = (i) => go("rows", route.with({ at: i || "" }), { replace: true });
  const open = (i) => {
    const row = pages.row(i);
    if (row) go("row", route.with({ exp: experiment.name, row: row.id, at: i || "" }));
  };
  const move = (by) => setAt(Math.max(0, Math.min((pages.n || 1) - 1, at + by)));
  useKeys({
    j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1), PageDown: () => move(20), PageUp: () => move(-20),
    Home: () => setAt(0), End: () => setAt(Math.max(0, (pages.n || 1) - 1)), Enter: () => open(at),
    "/": () => { document.querySelector("details.panel").open = true; search.current.focus(); search.current.select(); }, Escape: () => go("overview", [["exp", experiment.name]]),
  });
  const pin = async () => {
    const row = pages.row(at);
    if (!row || !study.can.includes("marks")) return;
    try {
      const after = (await post("mark", { exp: experiment.name, row: row.id, pin: row.marks && row.marks.pin ? null : true })).row;
      row.marks = { tags: after.tags.map((t) => t.tag), note: after.notes.length > 0, pin: after.pin !== null };
      setProblem("");
      setVersion((v) => v + 1);
    } catch (error) {
      setProblem(error.message);
    }
  };
  const compare = () => pages.row(at) && experiment.axes.some((a) => a.n > 1) && go("compare", route.with({ exp: experiment.name, row: pages.row(at).id, at: at || "" }));
  useKeys({ p: pin, c: compare });
  const wide = useMemo(() => matchMedia("(min-width: 900px)").matches, []);
  return html`<div class="rows">
    <details class="panel" open=${wide}><summary>Filters</summary>
      <${Filters} experiment=${experiment} experiments=${study.experiments} facets=${part ? part.facets : []} route=${route} set=${set} search=${search} tags=${marks ? marks.tags : []} can=${study.can} /></details>
    <section class="results" aria-label="Rows">
      <div class="bar"><strong id="count" role="status">${pages.n === null ? "..." : `${pages.exact ? "" : "at least "}${plural(pages.n, "row")}`}${pages.searched < 1 && route.get("q") ? ` so far, ${Math.floor(100 * pages.searched)} % searched` : ""}</strong>
        <${Chips} route=${route} set=${set} experiment=${experiment} />
        ${filter.some(([k]) => k !== "exp" && k !== "sort") ? html`<a href=${href("rows", [["exp", experiment.name]])}>clear all</a>` : null}</div>
      ${pages.error || problem ? html`<${Problem} text=${pages.error || problem} />` : null}
      ${marks ? marks.notices.map((text) => html`<p class="bad" key=${text}>${text}</p>`) : null}
      <${List} pages=${pages} columns=${columns} axes=${experiment.axes} at=${at} setAt=${setAt} open=${open} sort=${route.get("sort")} setSort=${(sort) => set({ sort })} />
    </section></div>`;
}
