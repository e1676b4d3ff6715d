"""Study: an `.em` file as an object, for notebooks and scripts.

Plans and runs are `emdsl plan` and `emdsl run` in processes of their own: a notebook has an event loop already, and a
kernel that dies loses nothing.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.cli import session
from emdsl.cli.results import chosen_measure, loaded, relations
from emdsl.compiler.compile import compile_file
from emdsl.errors import EmdslError, OutcomesError, UsageError
from emdsl.outcomes import database
from emdsl.outcomes.sql import name as quoted
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import altair as alt
    import pyarrow as pa

    from emdsl.experiment import Program

    Only = Mapping[str, Any | Sequence[Any]]

EXIT_INCOMPLETE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would ask: distinct requests that are left, and what they cost.

    Costs are in US dollars, None where a price is not known. `steps` holds for each experiment and step the counts
    `needed`, `cached` and `to_run`, as `emdsl plan --json` names them.
    """

    requests: int
    expected_usd: float | None
    steps: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run came to: how many requests were answered, failed, or were in the store; whether nothing is left."""

    answered: int
    cached: int
    failed: int
    complete: bool
    notes: tuple[str, ...]


class Study:
    """An `.em` file; made by `emdsl.open`."""

    def __init__(
        self, file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False
    ) -> None:
        self.file = Path(fspath(file))
        self._sim = sim
        self._cache = Path(fspath(cache)) if cache is not None else None
        self._here = session.open_session(self.file, self._cache, None, simulate=sim)

    def __repr__(self) -> str:
        return f"emdsl.open({str(self.file)!r}{', sim=True' if self._sim else ''})"

    def plan(self, *, samples: int | None = None, only: Only | None = None) -> Plan:
        """Return what a run would ask, and what it would cost; asks nothing.

        `samples` takes the first so many draws of each cell, `only` some levels of some axes: `{"k": [0, 16]}`.
        Raises SourceError's message as EmdslError where the program has faults.
        """
        _, found = self._called("plan", [*_restricted(samples, only)])
        steps = tuple({"experiment": e["name"], **s} for e in found["experiments"] for s in e["steps"])
        costs = [s.get("est_usd") for s in steps if s["to_run"]]
        expected = None if None in costs else float(sum(c or 0 for c in costs))
        return Plan(requests=found["requests"], expected_usd=expected, steps=steps, notes=_notes(found))

    def run(
        self, *, samples: int | None = None, only: Only | None = None, budget: Decimal | float | None = None,
        offline: bool = False,
    ) -> Run:  # fmt: skip
        """Ask what is not stored, load the outcomes, and return what it came to; progress goes to standard error.

        `budget` is a hard cap in US dollars. An interrupt finishes what is in flight and keeps it; a second one stops.
        Raises EmdslError where nothing could be asked. A run that is not complete is returned, not raised.
        """
        options = [*_restricted(samples, only), "-y", "--display", "plain"]
        options += ["--budget", f"{Decimal(str(budget)):f}"] if budget is not None else []
        options += ["--offline"] if offline else []
        code, found = self._called("run", options)
        steps = [s for e in found["experiments"] for s in e["steps"]]
        return Run(
            answered=sum(s["ran"] for s in steps) + found.get("probes", 0), cached=sum(s["cached"] for s in steps),
            failed=sum(s.get("failed", 0) for s in steps), complete=code != EXIT_INCOMPLETE, notes=_notes(found),
        )  # fmt: skip

    def outcomes(self, experiment: str | None = None) -> pa.Table:
        """Return the outcomes of an experiment, the first unless named: a row for each cell and sample.

        An Arrow table: `.to_pandas()`, or `polars.from_arrow(...)`. Its columns are what `emdsl query --schema` lists.
        """
        program = self._program()
        known = [e.name for e in program.experiments]
        if experiment is not None and experiment not in known:
            hint = near(experiment, known) or f"they are {one_of(known)}"
            raise UsageError(f"no experiment is called `{experiment}`; {hint}")
        return self._table(program, f"FROM {quoted(experiment or known[0])}")

    def measure(self, name: str | None = None) -> pa.Table:
        """Return a measure, the first unless named: a row for each group, with its value, interval and counts.

        `n` draws were kept of `n_planned`; `dropped` says why others were not; `complete` whether any is still to come.
        """
        program = self._program()
        return self._table(program, f"FROM {quoted(chosen_measure(program, name)[1].name)}")

    def query(self, sql: str) -> pa.Table:
        """Return what SQL gives over the outcomes, as an Arrow table; raises OutcomesError with DuckDB's own words."""
        return self._table(self._program(), sql)

    def figure(self, name: str | None = None, *, kind: str | None = None) -> alt.TopLevelMixin:
        """Return a measure as an Altair chart: shown in a notebook, or `.save("figure.svg")`.

        `kind` is `curve`, `dots` or `heat`; by default a curve over an axis of numbers, else dots. Needs
        `pip install 'emdsl[report]'`.
        """
        from emdsl.cli.charted import table_of  # noqa: PLC0415 - Altair waits for who draws
        from emdsl.report import charts  # noqa: PLC0415 - as above

        program = self._program()
        _, measure = chosen_measure(program, name)
        loaded(self._here, self.file, program)
        result = {m.name: r for m, r in relations(self._here, self.file, program.experiments)}[measure.name]
        table = table_of(measure, result) if result is not None else None
        kinds = charts.kinds_of(table) if table is not None else []
        if table is None or (kind or charts.DOTS) not in (*kinds, charts.DOTS) or not kinds:
            raise UsageError(f"measure `{measure.name}` cannot be drawn{f' as a {kind}' if kind else ''}")
        return charts.chart_of(table, kind or kinds[0])

    def _table(self, program: Program, sql: str) -> pa.Table:
        """Return what a query gives, over what is stored by now."""
        loaded(self._here, self.file, program)
        with database.opened(self._here.cache, self._here.study(self.file)) as (connection, _):
            return database.arrow(connection, sql)

    def _program(self) -> Program:
        return compile_file(self.file, self._here.environment, simulate=self._sim)

    def _called(self, verb: str, options: Sequence[str]) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the JSON of a verb; raises EmdslError with what it says is wrong."""
        options = [*options, *(["--sim"] if self._sim else [])]
        options += ["--cache", str(self._cache)] if self._cache is not None else []
        call = [sys.executable, "-m", "emdsl", verb, str(self.file), "--json", *options]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            done = subprocess.Popen(  # noqa: S603 - ourselves
                call, stdout=out, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, encoding="utf-8",
                start_new_session=True,  # an interrupt of the notebook comes once, from us
            )  # fmt: skip
            with done:
                _told(done)
            out.seek(0)
            text = out.read()
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:
            raise EmdslError(f"`emdsl {verb}` ended with {done.returncode}, and said nothing") from None
        if "error" in found:
            raise EmdslError("\n".join(map(_said, found["error"])))
        return done.returncode, found


def _told(done: subprocess.Popen[str]) -> None:
    """Pass on what a process says of its progress; an interrupt goes to it, and it is waited for."""
    assert done.stderr is not None
    while True:
        try:
            for line in done.stderr:
                sys.stderr.write(line)
            done.wait()
        except KeyboardInterrupt:
            done.send_signal(signal.SIGINT)
        else:
            return


def _restricted(samples: int | None, only: Only | None) -> list[str]:
    options = ["--samples", str(samples)] if samples is not None else []
    for axis, levels in (only or {}).items():
        some = levels if isinstance(levels, list | tuple | set | range) else [levels]
        options += ["--only", f"{axis}={','.join(map(str, some))}"]
    return options


def _notes(found: dict[str, Any]) -> tuple[str, ...]:
    return tuple(found.get("notices", ()))


def _said(fault: dict[str, Any]) -> str:
    at = f"{fault['file']}:{fault['line']}: " if fault.get("file") and fault.get("line") else ""
    help_ = f"; {fault['help']}" if fault.get("help") else ""
    return f"{at}{fault['message']}{help_}"


def open_study(file: str | PathLike[str], *, cache: str | PathLike[str] | None = None, sim: bool = False) -> Study:
    """Return the study of an `.em` file.

    `cache` is the cache folder, by default the project's. With `sim` the simulator stands in every model's place, in a
    store of its own. Raises OutcomesError where there is no such file.
    """
    if not Path(fspath(file)).is_file():
        raise OutcomesError(f"there is no file {fspath(file)}")
    return Study(file, cache=cache, sim=sim)
