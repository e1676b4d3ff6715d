"""The program of a process that makes windows of rows for another process of ours: see `row_processes`.

It reads one line of JSON, the study and the products to make from its rows, and then lines of numbers: of an
experiment, of a window, and whether events are wanted. For each it writes the record of the window and its rows as an
Arrow table, each behind its length in 8 bytes. If it cannot make a window, it ends: the other process makes it, and
meets the reason.
"""

from __future__ import annotations

import gc
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError
from emdsl.frame import EvalFault
from emdsl.run.windows import windows
from emdsl.study.child import rows_of, study_of
from emdsl.study.row_making import Maker, Making

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.run.reasons import PreviousProgram
    from emdsl.run.windows import Window
    from emdsl.study.compiled import Compiled

GC_THRESHOLD = 100_000  # objects: rows are many, and few are in a cycle


def main() -> None:
    """Make windows until standard input ends."""
    gc.set_threshold(GC_THRESHOLD)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    study = study_of(task)
    if study is None:
        return
    making = Making.of_json(task["making"])
    previous = _last_run(study) if making.compared else None
    walks = rows_of(study, task)
    left: dict[int, tuple[Maker, Iterator[tuple[int, Window]]]] = {}
    with study.store() as store:
        for line in sys.stdin:
            at, number, wants_events = map(int, line.split())
            if at not in left:
                walk = walks[at]
                comparison = previous.of(walk.experiment) if previous is not None else None
                maker = Maker(walk, store, making, at, comparison)
                left[at] = maker, enumerate(windows(walk, everything=making.table, size=making.size))
            maker, numbered = left[at]
            window = next(window for n, window in numbered if n == number)
            made = maker.made(window, wants_events=bool(wants_events))
            _say(made.record.packed(), b"" if made.table is None else _arrow(made.table))


def _last_run(study: Compiled) -> PreviousProgram | None:
    from emdsl.study.previous import last_run  # noqa: PLC0415 - a run does not compare

    return last_run(study)[0]


def _arrow(table: Any) -> bytes:
    from emdsl.outcomes.table import table_bytes  # noqa: PLC0415 - a plan does without Arrow

    return table_bytes(table)


def _say(*parts: bytes) -> None:
    for part in parts:
        sys.stdout.buffer.write(len(part).to_bytes(8, "big") + part)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with suppress(EmdslError, EvalFault, OSError):  # the other process meets the same error, or has ended
        main()
