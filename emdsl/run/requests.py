"""A request of a run, with the rows that wait for its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from emdsl.run.metering import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.prompt import Prompt
    from emdsl.query import Query
    from emdsl.run.rows import Rows

Blocks = tuple[tuple[int, ...], tuple[int, ...]]  # of a prompt: the name of each beginning, and its characters
ROWS_AHEAD = 128  # rows made and looked up at once while requests are in flight


class State(Enum):
    """Where a request is."""

    WAITING = auto()  # for its turn, for money, for another process, or for its next attempt
    IN_FLIGHT = auto()
    STORED = auto()


@dataclass(slots=True, eq=False)
class Group:
    """The rows of one experiment whose first asks go to one model, made as they are needed."""

    rows: Rows
    left: Iterator[Outcome]
    size: int = ROWS_AHEAD  # rows made at once: fewer where prompts are long
    waiting: set[int] = field(default_factory=set)  # rows that wait for answers, by identity


Target = tuple[Group, "Outcome", "Step"]


@dataclass(slots=True, eq=False)
class Request:
    """One distinct request, from the first row that needs it until it is answered, failed or dropped."""

    query: Query
    experiment: str
    targets: dict[tuple[int, str], Target]  # by row and step
    chars: int
    kind: Kind = field(default_factory=Kind)  # counts it by step and model
    high_priority: bool = False  # it continues a row, or is sent again; all others start a row
    store_checked: bool = False
    state: State = State.WAITING
    attempt: int = 0
    n_sent: int = 0  # attempts
    bad_replies: int = 0  # replies with status 200 that were no answers
    maybe_billed: int = 0  # attempts without an answer that the provider may charge
    refused_at: float | None = None  # when it was first throttled, or failed
    switched_key: bool = False  # to another API key, because the first did not work
    lost: int = 0  # servers of this run that died under it
    doubts: int = 0  # refusals that would hold for all requests, by an account that has answered others
    moved: int = 0  # attempts that replicas did not answer, after which another took it at once
    prefix: Prefix | None = None
    blocks: Blocks | None = None  # of its prompt, and the replicas that have it in their caches: see Affinity
    homes: list[int] | None = None

    @property
    def payers(self) -> tuple[str, ...]:
        """Experiments that wait for it, the first one first."""
        return (self.experiment, *(group.rows.experiment.name for group, _, _ in self.targets.values()))


@dataclass(slots=True, eq=False)
class Prefix:
    """Requests with one prefix, in the order of their rows."""

    first: Request
    prompt: Prompt  # of the last one
    messages: int  # whole messages that all have in common
    n: int = 1
    filled: bool = False
    waiting: list[Request] = field(default_factory=list)
