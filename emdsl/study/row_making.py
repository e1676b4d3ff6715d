"""The products of a window of rows: the record of its counts, and its part of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.run.passes import chunks, settle_from_store, settle_missing
from emdsl.run.recording import Record, Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.digest import Digest
    from emdsl.run.reasons import Comparison
    from emdsl.run.rows import Rows
    from emdsl.run.windows import Window
    from emdsl.store.store import Store


SIZE = 4_096  # rows of a window


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """The products to make from the rows of a study."""

    run: str = ""  # the run that has just sent requests
    budget: bool = False  # whether the least cost of pending requests is counted
    by: tuple[tuple[int, ...], ...] = ()  # of each experiment: positions of axes by which requests are counted too
    compared: bool = False  # with the last run: each pending request has its reason
    table: bool = False  # all rows, selected or not, are part of a table
    size: int = field(default_factory=lambda: SIZE)  # rows of a window
    failures: Mapping[Digest, str] = field(default_factory=dict)  # of the run

    def as_json(self) -> dict[str, Any]:
        """Return it for another process."""
        failures = {key.hex(): error for key, error in self.failures.items()}
        return {
            "run": self.run, "budget": self.budget, "by": [list(axes) for axes in self.by], "compared": self.compared,
            "table": self.table, "size": self.size, "failures": failures,
        }  # fmt: skip

    @classmethod
    def of_json(cls, task: Mapping[str, Any]) -> Making:
        """Return it from `as_json`."""
        return cls(
            run=task["run"], budget=task["budget"], by=tuple(tuple(axes) for axes in task["by"]),
            compared=task["compared"], table=task["table"], size=task["size"],
            failures={bytes.fromhex(key): error for key, error in task["failures"].items()},
        )  # fmt: skip


class Made(NamedTuple):
    """The products of a window."""

    record: Record
    table: Any  # an Arrow table; None if none is wanted


class Maker:
    """Makes the windows of one experiment, in any process.

    Args:
        rows: The rows of the experiment.
        store: The store.
        making: The products to make.
        at: The number of the experiment.
        comparison: With the last run, if there is one to compare with.
    """

    def __init__(self, rows: Rows, store: Store, making: Making, at: int, comparison: Comparison | None = None) -> None:
        self._rows, self._store, self._making = rows, store, making
        self._recorder = Recorder(
            rows, budget=Decimal(0) if making.budget else None, run=making.run, comparison=comparison,
            by=making.by[at] if making.by else (),
        )  # fmt: skip
        self._fields: list[Any] | None = None

    def made(self, window: Window, *, wants_events: bool) -> Made:
        """Make a window; raises EvalFault. Windows come in their order: a request is recorded once.

        `wants_events`: the sums of records were not enough so far.
        """
        self._recorder.wants_events = wants_events
        tables = []
        for chunk in chunks(window.rows()):
            settle_from_store(self._rows, chunk, self._store)
            for row in chunk:
                if not self._making.table:
                    self._recorder.add(row)
                    continue
                if self._rows.takes(row):
                    self._recorder.add(row)
                else:
                    self._recorder.skip()
                settle_missing(self._rows, row, self._making.failures)
            if self._making.table:
                tables.append(self._batch(chunk))
        return Made(self._recorder.record(), self._joined(tables) if tables else None)

    def _batch(self, chunk: list[Any]) -> Any:
        from emdsl.outcomes import table  # noqa: PLC0415 - a plan does without Arrow

        experiment = self._rows.experiment
        self._fields = self._fields or table.fields_of(experiment, self._making.run)
        return table.batch(self._fields, experiment, chunk)

    @staticmethod
    def _joined(tables: list[Any]) -> Any:
        from emdsl.outcomes.table import concatenated  # noqa: PLC0415 - a plan does without Arrow

        return concatenated(tables)
