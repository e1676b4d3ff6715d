// The state of the page is its URL: #/SCREEN?key=value&...

import { useEffect, useState } from "/static/vendor/preact-htm.js";
import { queryText } from "/static/api.js";

const FILTER = /^(?:exp|q|in|where|sort|tag|(?:a|v|m|min|max|below)\..+)$/;

export class Route {
  constructor(hash) {
    const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    this.screen = path || "overview";
    this.pairs = [...new URLSearchParams(query)];
  }

  get(key, otherwise = "") {
    const found = this.pairs.find(([k]) => k === key);
    return found ? found[1] : otherwise;
  }

  all(key) {
    return this.pairs.filter(([k]) => k === key).map(([, v]) => v);
  }

  // The pairs that choose rows.
  get filter() {
    return this.pairs.filter(([k]) => FILTER.test(k));
  }

  // The pairs with those of some keys replaced: a value, a list of values, or "" to remove.
  with(changes) {
    const kept = this.pairs.filter(([k]) => !(k in changes));
    for (const [key, value] of Object.entries(changes)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== "" && one !== null && one !== undefined) kept.push([key, String(one)]);
      }
    }
    return kept;
  }
}

export function href(screen, pairs = []) {
  const query = queryText(pairs);
  return `#/${screen}${query ? `?${query}` : ""}`;
}

export function go(screen, pairs = [], { replace = false } = {}) {
  const to = href(screen, pairs);
  if (to === location.hash) return;
  if (replace) {
    history.replaceState(null, "", to);
    window.dispatchEvent(new Event("hashchange"));
  } else {
    location.hash = to;
  }
}

// Whether a screen is shown: what was begun on it may end after another one was opened.
export const isAt = (screen) => new Route(location.hash).screen === screen;

export function useRoute() {
  const [route, setRoute] = useState(() => new Route(location.hash));
  useEffect(() => {
    const follow = () => setRoute(new Route(location.hash));
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return route;
}
