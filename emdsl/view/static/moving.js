// What moves while a run goes on: followed while the page is visible.

import { useEffect, useState } from "/static/vendor/preact-htm.js";
import { follow } from "/static/api.js";

export function useMoving() {
  const [held, setHeld] = useState({ state: null, error: "" });
  useEffect(() => {
    let end = null;
    const take = (state) => setHeld({ state, error: "" });
    const fail = (error) => setHeld((old) => ({ ...old, error: error.message }));
    const look = () => {
      if (document.hidden && end) {
        end();
        end = null;
      } else if (!document.hidden && !end) {
        end = follow({ take, fail });
      }
    };
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      document.removeEventListener("visibilitychange", look);
      if (end) end();
    };
  }, []);
  return held;
}
