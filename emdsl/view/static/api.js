// Requests to the server of this page: JSON both ways, errors as messages. A report answers them itself.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let stored = null;

// Lets another function answer in place of a server.
export function answerFrom(other) {
  stored = other;
}

export function queryText(pairs) {
  const query = new URLSearchParams();
  for (const [key, value] of pairs) {
    if (value !== "" && value !== null && value !== undefined) query.append(key, value);
  }
  return query.toString();
}

async function answer(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    throw new Refused("the server did not answer with JSON", response.status);
  }
  if (!response.ok) throw new Refused(body.error || `HTTP ${response.status}`, response.status);
  return body;
}

export async function get(path, pairs = [], signal = undefined) {
  if (stored) return stored(path, pairs, signal);
  const query = queryText(pairs);
  let response;
  try {
    response = await fetch(`/api/${path}${query ? `?${query}` : ""}`, { signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the viewer has ended: start `emdsl view` again", 0);
  }
  return answer(response);
}

// `keepalive` lets a request end that is sent while the page is closed; browsers allow 64 KiB of these.
export async function post(path, body, keepalive = false) {
  if (stored) return stored(path, Object.entries(body));
  let response;
  try {
    response = await fetch(`/api/${path}`, {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body), keepalive,
    });
  } catch {
    throw new Refused("the viewer has ended: start `emdsl view` again", 0);
  }
  return answer(response);
}

const POLL_MS = 2000;
const SILENCE_MS = 25000; // the server sends something every 10 s
const AGAIN_MS = 30000;

// What moves: `take` gets each new state, `fail` an error; it is streamed, else asked for. Returns a function that ends it.
export function follow({ take, fail }) {
  let source = null;
  let timer = 0;
  let ended = false;
  let misses = 0;
  let streamAt = 0;
  const ask = async () => {
    try {
      const state = await get("state");
      if (!ended) take(state);
    } catch (error) {
      if (!ended) fail(error);
    }
  };
  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const poll = async () => {
    await ask();
    if (!ended) timer = setTimeout(() => (Date.now() >= streamAt ? stream() : poll()), POLL_MS);
  };
  const lost = async () => {
    close();
    misses += 1;
    const held = misses > 2; // a proxy may hold streams back
    if (held) streamAt = Date.now() + AGAIN_MS;
    await ask();
    if (!ended) timer = setTimeout(held ? poll : stream, POLL_MS);
  };
  const heard = () => {
    misses = 0;
    clearTimeout(timer);
    timer = setTimeout(lost, SILENCE_MS);
  };
  const stream = () => {
    close();
    if (ended) return;
    if (!window.EventSource) {
      streamAt = Infinity;
      poll();
      return;
    }
    source = new EventSource("/api/events");
    timer = setTimeout(lost, POLL_MS * 2);
    source.addEventListener("state", (event) => { heard(); take(JSON.parse(event.data)); });
    source.addEventListener("beat", heard);
    source.onerror = lost;
  };
  if (stored) ask(); // nothing moves
  else stream();
  return () => {
    ended = true;
    close();
  };
}
