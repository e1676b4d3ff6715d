"""Outcome: one cell and sample, and how each of its steps ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.experiment import Cell, Step
    from emdsl.frame import Frame
    from emdsl.logprobs import Weights
    from emdsl.query import Query, Response
    from emdsl.value import Value


@dataclass(slots=True)
class Result:
    """How a step of a row ended: with a response, or with a reason why there is none."""

    value: Value
    query: Query | None = None
    response: Response | None = None
    error: str = ""
    reasoning: str | None = None  # split off the response's text, once
    weights: Weights | None = None  # of a weighted verdict
    earlier: tuple[tuple[Query, Response], ...] = ()  # a judge's replies that could not be read, before this one


class Outcome:
    """One cell and sample."""

    __slots__ = ("cell", "frame", "open", "pending", "results", "sample", "unread")

    def __init__(self, cell: Cell, sample: int, frame: Frame, steps: tuple[Step, ...]) -> None:
        self.cell = cell
        self.sample = sample
        self.frame = frame
        self.pending: list[Step] = list(steps)
        self.open: dict[str, Query] = {}  # ready to be asked, and not answered yet
        self.results: dict[str, Result] = {}
        self.unread: dict[str, tuple[tuple[Query, Response], ...]] | None = None  # tries of judges, where there are any
