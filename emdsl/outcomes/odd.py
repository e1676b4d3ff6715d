"""Odd: truncated, empty and blocked answers, and the notice about them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """Numbers of distinct answers of one ask: in all, and of each kind that is not whole."""

    step: str
    n: int
    cut: int = 0  # truncated by `max_tokens` or the model's context
    empty: int = 0  # without text, but not blocked
    blocked: int = 0

    @property
    def notice(self) -> str:
        """The notice about them; "" if all answers are whole."""
        kinds = ((self.cut, "truncated (finish `length`)"), (self.empty, "empty"), (self.blocked, "blocked"))
        parts = [f"{n:,} {kind}" for n, kind in kinds if n]
        if not parts:
            return ""
        hint = f'; exclude truncated ones with `given {self.step}.finish == "stop"`' if self.cut else ""
        return f"{self.n:,} answers of `{self.step}`: {', '.join(parts)}{hint}"
