"""Outcome: one cell and sample, and how each of its steps ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.price_list import cost_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.experiment import Cell, Step
    from emdsl.frame import Frame
    from emdsl.logprobs import LabelWeights, Weights
    from emdsl.query import Query, Response
    from emdsl.value import Value

Try = tuple["Query", "Response"]  # a request and its reply


@dataclass(slots=True)
class Result:
    """How a step of a row ended: with a response, or with a reason why there is none."""

    value: Value
    query: Query | None = None
    response: Response | None = None
    error: str = ""
    reasoning: str | None = None  # split off the response's text, once
    reading: Value = None  # of an answer with a reply format: what it was read as, or why it could not be
    weights: Weights | LabelWeights | None = None  # of a weighted verdict
    bad_replies: tuple[Try, ...] = ()  # a judge's replies before this one, that could not be read

    @property
    def cost_usd(self) -> float | None:
        """The cost of its replies in US dollars, unreadable ones included; None if any of them is unknown."""
        if self.response is None or self.query is None:
            return None
        tries = (*self.bad_replies, (self.query, self.response))
        costs = [cost_usd(query.settings.model, response) for query, response in tries]
        return sum(float(c) for c in costs if c is not None) if None not in costs else None


class Outcome:
    """One cell and sample."""

    __slots__ = ("_frame", "_make_frame", "bad_replies", "blocked", "cell", "ready", "results", "sample")

    def __init__(
        self, cell: Cell, sample: int, steps: tuple[Step, ...], make_frame: Callable[[Outcome], Frame]
    ) -> None:
        self.cell = cell
        self.sample = sample
        self._make_frame = make_frame
        self._frame: Frame | None = None
        self.blocked: list[Step] = list(steps)  # steps that wait for answers of other steps
        self.ready: dict[str, Query] = {}  # requests without an answer, by step
        self.results: dict[str, Result] = {}
        self.bad_replies: dict[str, tuple[Try, ...]] | None = None  # by judge, of those in `ready`

    @property
    def frame(self) -> Frame:
        """Its names; made when the first is read, as most rows of a plan need none."""
        if self._frame is None:
            self._frame = self._make_frame(self)
        return self._frame

    @property
    def has_frame(self) -> bool:
        """Whether its frame was made."""
        return self._frame is not None

    def has(self, steps: Iterable[str]) -> bool:
        """Whether some steps are settled."""
        return all(map(self.results.__contains__, steps))
