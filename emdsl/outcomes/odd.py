"""Odd: answers that were paid for and are not whole, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """Answers of one ask that are not what they seem: distinct requests, in all and of each kind."""

    step: str
    n: int
    cut: int = 0  # ended by `max_tokens`, or by the model's context
    empty: int = 0  # without a text, though not blocked
    blocked: int = 0

    @property
    def said(self) -> str:
        """What is to be said of them; nothing where all are whole."""
        kinds = ((self.cut, "cut (finish `length`)"), (self.empty, "empty"), (self.blocked, "blocked"))
        parts = [f"{n:,} {kind}" for n, kind in kinds if n]
        if not parts:
            return ""
        hint = f'; `given {self.step}.finish == "stop"` leaves cut ones out' if self.cut else ""
        return f"of {self.n:,} answers of `{self.step}`: {', '.join(parts)}{hint}"
