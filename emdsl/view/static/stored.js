// The endpoints of a report: they answer as the viewer's server does, from the data in the page.

import { Refused, answerFrom } from "/static/api.js";
import { prompts } from "/static/prompts.js";
import { Unpacked, decoded, json } from "/static/unpacked.js";

const PAGE = 100;
const MOST = 500; // rows at once
const CUT = 240; // characters of a text in the list
const REASONING = "reasoning";
const PLACES = ["question", "answer", REASONING, "reply"];

const held = (id) => decoded(document.getElementById(id).textContent);
const first = json(held("first"));
let opening = null;

// All rows, once the whole page is there.
async function open() {
  if (document.readyState === "loading") {
    await new Promise((done) => { document.addEventListener("DOMContentLoaded", done, { once: true }); });
  }
  const data = new Unpacked(held("columns"), (i) => held(`texts-${i}`));
  const expand = prompts(data);
  const shown = first.study.experiments;
  return new Map(shown.map((experiment) => [experiment.name, new Rows(experiment, data, expand)]));
}

class Rows {
  constructor(experiment, data, expand) {
    const table = data.tables.experiments[experiment.name];
    this.experiment = experiment;
    this.expand = expand;
    this.texts = data.texts;
    this.n = table.n;
    this.orders = table.orders;
    this.story = data.column(table.story);
    this.counted = data.column(table.counted);
    this.listed = data.column(table.listed);
    this.last = { key: null, rows: null };
  }

  // The column of a name, with its values.
  column(name, kind = "") {
    const at = this.experiment.columns.findIndex((c) => c.name === name && (!kind || c.kind === kind));
    if (at < 0) throw new Refused(`unknown ${kind || "column"} \`${name}\``, 400);
    return { ...this.experiment.columns[at], values: this.listed.parts.cells.parts[at] };
  }

  // The names of the levels of an axis, by row.
  levels(name) {
    const at = this.experiment.axes.findIndex((a) => a.name === name);
    if (at < 0) throw new Refused(`\`${this.experiment.name}\` has no axis \`${name}\``, 400);
    return this.listed.parts.place.parts[at];
  }

  id(i) {
    return this.listed.parts.place.get(i).join(",");
  }

  place(id) {
    this.places ??= new Map(Array.from({ length: this.n }, (_, i) => [this.id(i), i]));
    const i = this.places.get(id);
    if (i === undefined) throw new Refused(`\`${id}\` is not a row of this report`, 400);
    return i;
  }

  // The numbers of the rows that a query chooses, in its order.
  chosen(query) {
    const key = JSON.stringify(query.filter(([k]) => /^(q|in|where|sort|.+\..+)$/.test(k)));
    if (this.last.key !== key) this.last = { key, rows: this.sorted(this.filtered(query), query) };
    return this.last.rows;
  }

  filtered(query) {
    const chosen = new Uint8Array(this.n).fill(1);
    const levels = new Map();
    const plain = {};
    for (const [key, value] of query) {
      const [kind, name] = key.split(/\.(.*)/s);
      if (name === undefined) {
        plain[key] = value;
      } else if (kind === "a") {
        levels.set(name, [...(levels.get(name) || []), value]);
      } else if (Object.hasOwn(TESTS, kind)) {
        const wanted = NUMBERS.includes(kind) ? number(name, value) : value;
        this.column(name).values.keep(chosen, (x) => TESTS[kind](x, wanted));
      }
    }
    for (const [name, wanted] of levels) {
      const column = this.levels(name);
      const known = new Set([...this.orders[name], ...this.experiment.axes.find((a) => a.name === name).levels.map((l) => l.id)]);
      const unknown = wanted.find((level) => !known.has(level));
      if (unknown !== undefined) throw new Refused(`\`${name}\` has no level \`${unknown}\``, 400);
      column.keep(chosen, (x) => wanted.includes(x));
    }
    if (plain.where) throw new Refused("a report cannot run SQL: open the study with `emdsl view`", 400);
    const left = () => Array.from(chosen.keys()).filter((i) => chosen[i]);
    if (!plain.q) return left();
    const places = plain.in ? plain.in.split(",") : PLACES;
    const before = places.filter((p) => p !== REASONING); // rows whose reasoning alone has the text come last
    const all = chosen.slice();
    this.search(chosen, plain.q, before);
    if (before.length === places.length) return left();
    const found = left();
    const known = chosen.slice();
    chosen.set(all);
    this.search(chosen, plain.q, [REASONING]);
    return [...found, ...left().filter((i) => !known[i])];
  }

  search(chosen, text, places) {
    if (places.some((p) => !PLACES.includes(p))) throw new Refused(`a text is looked for in ${PLACES.join(", ")}`, 400);
    const columns = places.flatMap((p) => Object.values(this.listed.parts.texts.parts[p].parts));
    const holding = this.texts.holding(text);
    const part = text.toLowerCase();
    const known = columns.map(() => new Map());
    const holds = (column, i, short) => {
      const number = column.textAt(i);
      if (number >= 0) return holding[number];
      const value = column.get(i);
      if (!short.has(value)) short.set(value, value !== null && String(value).toLowerCase().includes(part));
      return short.get(value);
    };
    for (let i = 0; i < this.n; i += 1) {
      if (chosen[i] && !columns.some((column, j) => holds(column, i, known[j]))) chosen[i] = 0;
    }
  }

  sorted(rows, query) {
    const sort = (query.find(([k]) => k === "sort") || ["", ""])[1];
    if (!sort) return rows;
    const sign = sort.startsWith("-") ? -1 : 1;
    const { name, kind, values } = this.column(sort.replace(/^-/, ""));
    const order = Object.hasOwn(this.orders, name) && new Map(this.orders[name].map((v, i) => [v === null ? v : cut(v), i]));
    const of = kind === "axis" ? this.levels(name) : values;
    const keys = new Array(this.n);
    for (const i of rows) {
      const value = of.get(i);
      keys[i] = value === null || typeof value === "object" ? null : order ? order.get(String(value)) ?? null : value;
    }
    const known = rows.filter((i) => keys[i] !== null);
    known.sort((i, j) => (keys[i] < keys[j] ? -sign : keys[i] > keys[j] ? sign : i - j));
    return [...known, ...rows.filter((i) => keys[i] === null)];
  }

  cells(i) {
    const { columns } = this.experiment;
    return this.listed.parts.cells.get(i).map((v, j) => (columns[j].kind === "text" && typeof v === "string" ? cut(v) : v));
  }
}

const missing = (x) => x !== null && typeof x === "object";
const NUMBERS = ["min", "max", "below"];
const TESTS = {
  v: (x, wanted) => x !== null && !missing(x) && String(x) === wanted,
  m: (x, wanted) => missing(x) && (wanted === "*" || x.missing === wanted),
  min: (x, wanted) => typeof x === "number" && x >= wanted,
  max: (x, wanted) => typeof x === "number" && x <= wanted,
  below: (x, wanted) => typeof x === "number" && x < wanted,
};

function cut(text) {
  return text.length <= CUT ? text : [...text.slice(0, 2 * CUT)].slice(0, CUT).join("");
}

function number(name, text) {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!Number.isFinite(value)) throw new Refused(`\`${name}\`: \`${text}\` is not a number`, 400);
  return value;
}

// A value in a mean: booleans are 0 and 1, other labels are no numbers.
function numeric(x) {
  if (x === "true" || x === "false") return Number(x === "true");
  return x === "" ? NaN : Number(x);
}

function whole(query, key, otherwise, most) {
  const text = (query.find(([k]) => k === key) || ["", String(otherwise)])[1];
  if (!/^\d{1,9}$/.test(text) || Number(text) > most) throw new Refused(`\`${key}\` is a number from 0 to ${most}`, 400);
  return Number(text);
}

const ENDPOINTS = {
  rows(rows, query) {
    const offset = whole(query, "offset", 0, 1e9);
    const page = rows.chosen(query).slice(offset, offset + whole(query, "limit", PAGE, MOST));
    return { generation: 0, offset, whole: true, rows: page.map((i) => ({ id: rows.id(i), cells: rows.cells(i) })) };
  },

  count(rows, query) {
    return { generation: 0, n: rows.chosen(query).length, searched: 1 };
  },

  grid(rows, query) {
    const of = (key) => (query.find(([k]) => k === key) || ["", ""])[1];
    const by = query.filter(([k]) => k === "by").map(([, axis]) => axis);
    const axes = [...new Set([of("x"), of("y"), ...by].filter(Boolean))];
    if (!axes.length) throw new Refused("a grid needs an axis `x`", 400);
    for (const axis of axes) rows.column(axis, "axis");
    const levels = axes.map((a) => rows.levels(a));
    const { values } = rows.column(of("of"));
    const label = of("label");
    const cells = new Map();
    for (const i of rows.chosen(query)) {
      const at = levels.map((l) => l.get(i));
      const key = at.join("\n");
      if (!cells.has(key)) cells.set(key, { at, sum: 0, n: 0, rows: 0 });
      const cell = cells.get(key);
      const x = values.get(i);
      const value = x === null || missing(x) ? NaN : label ? Number(String(x) === label) : numeric(x);
      cell.rows += 1;
      if (Number.isNaN(value)) continue;
      cell.sum += value;
      cell.n += 1;
    }
    const ranks = axes.map((a) => new Map(rows.orders[a].map((level, i) => [level, i])));
    const ordered = [...cells.values()].sort((a, b) => a.at.reduce((d, level, k) => d || ranks[k].get(level) - ranks[k].get(b.at[k]), 0));
    return { generation: 0, axes, cells: ordered.map(({ at, sum, n, rows: all }) => ({ at, value: n ? sum / n : null, n, rows: all })) };
  },

  row(rows, query) {
    const i = rows.place((query.find(([k]) => k === "row") || ["", ""])[1]);
    return { ...rows.expand(rows.story.get(i)), people: rows.listed.parts.people.get(i) };
  },

  counted(rows, query) {
    return { counted: rows.counted.get(rows.place((query.find(([k]) => k === "row") || ["", ""])[1])) };
  },
};

async function answer(name, pairs, signal) {
  if (Object.hasOwn(first, name)) return first[name];
  if (!Object.hasOwn(ENDPOINTS, name)) throw new Refused(`a report does not have \`${name}\`: open the study with \`emdsl view\``, 404);
  opening ??= open();
  const experiments = await opening;
  if (signal && signal.aborted) throw new DOMException("aborted", "AbortError");
  const query = pairs.filter(([, v]) => v !== "" && v !== null && v !== undefined).map(([k, v]) => [k, String(v)]);
  const wanted = (query.find(([k]) => k === "exp") || ["", first.study.experiments[0]?.name])[1];
  const rows = experiments.get(wanted);
  if (!rows) throw new Refused(`unknown experiment \`${wanted}\``, 400);
  return ENDPOINTS[name](rows, query.filter(([k]) => k !== "exp"));
}

answerFrom(answer);
