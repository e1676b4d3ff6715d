// Records that `report/packing.py` has packed by column: decoded when they are first read.

import { decompress } from "/static/vendor/fzstd.js";

const UNSAFE = [0, 10, 13, 60]; // what HTML would change is written as the letters from U+00C0 on
const TEXT = 0;
const NUMBER = 1;
const NUMBER_TEXT = 2;
const utf8 = new TextDecoder();

// The bytes of a compressed text: 7 bits of each character.
export function decoded(text) {
  const n = Math.floor((text.length * 7) / 8);
  const bytes = new Uint8Array(n + 7);
  const at = (i) => {
    const code = text.charCodeAt(i);
    return code < 128 ? code : UNSAFE[code - 192];
  };
  for (let i = 0, end = 0; i < text.length; i += 8, end += 7) {
    let held = at(i);
    for (let j = 1; j < 8; j += 1) {
      const next = i + j < text.length ? at(i + j) : 0;
      bytes[end + j - 1] = (held << j) | (next >> (7 - j));
      held = next;
    }
  }
  return decompress(bytes.subarray(0, n));
}

export function json(bytes) {
  return JSON.parse(utf8.decode(bytes));
}

// Texts by their numbers, in blocks that are decoded when one of their texts is read.
class Texts {
  constructor(lengths, block) {
    this.block = block;
    this.ends = lengths.map((list) => {
      const ends = new Float64Array(list.length);
      let end = 0;
      list.forEach((length, i) => { end += length; ends[i] = end; });
      return ends;
    });
    this.whole = [];
    this.lowered = [];
  }

  read(i) {
    if (this.whole[i] === undefined) this.whole[i] = utf8.decode(this.block(i));
    return this.whole[i];
  }

  get(number) {
    let at = number;
    let i = 0;
    while (at >= this.ends[i].length) {
      at -= this.ends[i].length;
      i += 1;
    }
    return this.read(i).slice(at ? this.ends[i][at - 1] : 0, this.ends[i][at]);
  }

  // For each text, whether it holds another one, in upper or lower case.
  holding(wanted) {
    const part = wanted.toLowerCase();
    const held = new Uint8Array(this.ends.reduce((n, ends) => n + ends.length, 0));
    let first = 0;
    this.ends.forEach((ends, i) => {
      const whole = this.read(i);
      this.lowered[i] ??= whole.toLowerCase();
      const low = this.lowered[i];
      if (low.length !== whole.length) { // some letters become two
        ends.forEach((_, at) => { held[first + at] = this.get(first + at).toLowerCase().includes(part); });
      } else {
        let text = 0;
        for (let at = low.indexOf(part); at >= 0;) {
          let last = ends.length - 1;
          while (text < last) { // the text that ends after this place
            const half = (text + last) >> 1;
            if (ends[half] > at) last = half;
            else text = half + 1;
          }
          const within = at + part.length <= ends[text];
          if (within) held[first + text] = 1;
          at = low.indexOf(part, within ? ends[text] : at + 1);
        }
      }
      first += ends.length;
    });
    return held;
  }
}

class Column {
  constructor(data, shown) {
    this.data = data;
    this.codes = shown.codes ? data.integers(shown.codes) : null;
    this.refs = shown.refs ? data.integers(shown.refs) : null;
    this.entries = shown.entries || [];
    this.parts = {};
    for (const [name, part] of Object.entries(shown.parts || {})) this.parts[name] = new Column(data, part);
  }

  // The number of a record's text, or -1.
  textAt(i) {
    if (!this.refs) return -1;
    const ref = this.refs[this.codes ? this.codes[i] : 0];
    return (ref & 3) === TEXT ? ref >>> 2 : -1;
  }

  get(i) {
    const code = this.codes ? this.codes[i] : 0;
    let entry;
    if (this.refs) {
      const ref = this.refs[code];
      const number = ref >>> 2;
      if ((ref & 3) === TEXT) return this.data.texts.get(number);
      if ((ref & 3) === NUMBER) return this.data.numbers[number];
      if ((ref & 3) === NUMBER_TEXT) return String(this.data.numbers[number]);
      entry = this.entries[number];
    } else {
      entry = this.entries[code];
    }
    if (!Array.isArray(entry)) return entry;
    const [shape] = entry;
    if (typeof shape === "boolean") return shape;
    if (typeof shape === "number") return Array.from({ length: shape }, (_, part) => this.parts[part].get(i));
    return Object.fromEntries(shape.map((name) => [name, this.parts[name].get(i)]));
  }

  // Removes the records for which a condition does not hold; it is tested once for each scalar.
  keep(chosen, holds) {
    const known = new Map();
    for (let i = 0; i < chosen.length; i += 1) {
      if (!chosen[i]) continue;
      const code = this.codes ? this.codes[i] : 0;
      let held = known.get(code);
      if (held === undefined) {
        const value = this.get(i);
        held = holds(value);
        if (value === null || typeof value !== "object") known.set(code, held);
      }
      if (!held) chosen[i] = 0;
    }
  }
}

export class Unpacked {
  // `block` returns the bytes of a block of texts.
  constructor(bytes, block) {
    const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const head = json(bytes.subarray(4, 4 + size));
    this.bytes = bytes.subarray(4 + size);
    this.numbers = this.floats(head.numbers);
    this.texts = new Texts(head.texts.map((t) => this.integers(t)), block);
    this.tables = head.tables;
  }

  column(shown) {
    return new Column(this, shown);
  }

  integers([at, n, width, steps]) {
    const numbers = new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[width](n);
    for (let p = 0; p < width; p += 1) {
      const plane = this.bytes.subarray(at + p * n, at + (p + 1) * n);
      for (let i = 0; i < n; i += 1) numbers[i] |= plane[i] << (8 * p);
    }
    if (steps) for (let i = 1; i < n; i += 1) numbers[i] += numbers[i - 1];
    return numbers;
  }

  floats([at, n]) {
    const bytes = new Uint8Array(8 * n);
    for (let p = 0; p < 8; p += 1) for (let i = 0; i < n; i += 1) bytes[8 * i + p] = this.bytes[at + p * n + i];
    return new Float64Array(bytes.buffer);
  }
}
