// The words of a text that another one does not have in the same order.

const MAX_WORDS = 1500; // of each text; the table has that many squared entries

export const words = (text) => text.match(/\s+|[^\s]+/g) || [];

// Returns a list of [part, whether it is only in the second text].
export function wordDiff(first, second) {
  const a = words(first);
  const b = words(second);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const x = a.slice(start, a.length - end);
  const y = b.slice(start, b.length - end);
  const parts = [[b.slice(0, start).join(""), false]];
  if (x.length > MAX_WORDS || y.length > MAX_WORDS) {
    parts.push([y.join(""), true]);
  } else {
    const width = y.length + 1;
    const table = new Uint16Array((x.length + 1) * width);
    for (let i = x.length - 1; i >= 0; i -= 1) {
      for (let j = y.length - 1; j >= 0; j -= 1) {
        table[i * width + j] = x[i] === y[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; j < y.length;) {
      if (i < x.length && x[i] === y[j]) {
        parts.push([y[j], false]);
        i += 1;
        j += 1;
      } else if (i < x.length && table[(i + 1) * width + j] >= table[i * width + j + 1]) {
        i += 1;
      } else {
        parts.push([y[j], true]);
        j += 1;
      }
    }
  }
  parts.push([b.slice(b.length - end).join(""), false]);
  const joined = [];
  for (const [text, only] of parts) {
    if (!text) continue;
    if (joined.length && joined[joined.length - 1][1] === only) joined[joined.length - 1][0] += text;
    else joined.push([text, only]);
  }
  return joined;
}
