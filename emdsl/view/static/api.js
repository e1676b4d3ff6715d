// Requests to the server of this page: JSON both ways, errors as messages.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
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

export async function post(path, body) {
  let response;
  try {
    response = await fetch(`/api/${path}`, {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refused("the viewer has ended: start `emdsl view` again", 0);
  }
  return answer(response);
}
