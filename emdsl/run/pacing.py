"""How long to wait before a request is sent again, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

FIRST_S = 0.5
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Bounds of retrying: by the total of waiting, in seconds, and where wanted by count."""

    max_wait_s: float = 600.0
    max_retries: int | None = None

    def wait(self, attempt: int, waited_s: float, least_s: float, rng: random.Random) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 0), or None to give up.

        `least_s` is what the server asked for: never less is waited. Otherwise the wait doubles from
        0.5 s to 60 s, with jitter, so that clients that failed together do not come back together.
        """
        if self.max_retries is not None and attempt >= self.max_retries:
            return None
        backoff = min(LONGEST_S, FIRST_S * 2 ** min(attempt, 20)) * rng.uniform(0.5, 1.0)
        wait = least_s + backoff * 0.1 if least_s > backoff else backoff
        return wait if waited_s + wait <= self.max_wait_s else None
