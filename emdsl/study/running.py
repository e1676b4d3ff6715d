"""The runs of a project that are under way, seen and changed by their control sockets."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import SetupError, UsageError
from emdsl.run import history
from emdsl.store.claims import live_runs
from emdsl.study import control_socket
from emdsl.study.cost import usd
from emdsl.study.progress_lines import duration
from emdsl.study.screen import Aside, Table, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.study.project import Project
    from emdsl.study.screen import Part

N_SHOWN = 8  # characters of a run's id
MAX_CAUSES = 3  # of failures of one run
MAX_ENDED = 20  # runs that have ended, unless all are wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """A run under way: its record, and its state by its own reply; None if there is no record or no reply."""

    run: str
    pid: int
    record: history.Record | None = None
    state: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The beginning of its id, to be typed."""
        return self.run[:N_SHOWN]

    @property
    def file(self) -> str:
        """Its study's file, as in the project."""
        return self.record.file if self.record is not None else "?"

    def started_at(self) -> float:
        """Return when it was started, in seconds since 1970; 0 without a record."""
        return self.record.started_at if self.record is not None else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the run as `emdsl runs --json` prints it; after a change, `changes` are those just made."""
        record = self.record
        shown = {
            "run": self.run, "pid": self.pid, "file": record.file if record is not None else None,
            "started_at": record.started_at if record is not None else None, "reachable": self.state is not None,
        }  # fmt: skip
        changes = [asdict(c) for c in record.changes] if record is not None else []
        return shown | {"changes": changes} | (self.state or {})


def active_runs(project: Project) -> list[ActiveRun]:
    """Return the runs that send requests right now, oldest first; sockets of killed runs are removed.

    Raises:
        SetupError: This system has no Unix sockets.
    """
    runs = [replace(r, state=_state(project, r.run)) for r in _under_way(project)]
    # the records are read after the states: each change that a state shows is in its record
    records = _records(project, [r.run for r in runs])
    return sorted((replace(r, record=records.get(r.run)) for r in runs), key=ActiveRun.started_at)


def ended_runs(project: Project, active: Iterable[ActiveRun], limit: int | None = MAX_ENDED) -> list[history.Record]:
    """Return the records of the last runs that are not `active`, last first; `limit` None returns all."""
    under_way = {r.run for r in active}
    return [r for r in history.records(project.cache) if r.run not in under_way][:limit]


def set_run(project: Project, which: str | None, *, connections: int | None, budget: str | None) -> ActiveRun:
    """Change a run under way, and return it with its reply: the `changes`, and whether they were `recorded`.

    Args:
        project: The project.
        which: The beginning of a run's id, or an `.em` file; None if only one run is under way.
        connections: Maximum concurrent requests.
        budget: Of the whole run in US dollars: `50`, or `+20` and `-5` to change it by that.

    Raises:
        UsageError: There is no such run, or it refuses the change.
    """
    return _sent(project, which, {"do": "set", "connections": connections, "budget": budget})


def stop_run(project: Project, which: str | None, *, now: bool) -> ActiveRun:
    """Stop a run as Ctrl-C does, `now` as its second press does; arguments and errors as of `set_run`."""
    return _sent(project, which, {"do": "stop", "now": now})


def active_parts(active: list[ActiveRun]) -> Iterator[Part]:
    """Yield the runs under way as a table, with the changes of each."""
    if not active:
        yield "no run is under way"
        return
    columns = ("run", "file", "started", "answered", "left", "in flight", "connections", "spent", "budget", "pid")
    optional = ("pid", "connections", "in flight", "started")
    yield Table(columns, [_row(r) for r in active], numeric=(columns[3], *columns[5:]), optional=optional)
    yield from _step_parts(active)
    for run in active:
        yield from _change_parts(run.name, run.record)
        if run.state is not None and run.state.get("workers", 1) > 1:
            yield f"{run.name}: {run.state['workers']} workers"
        if run.state is None:
            yield Aside(f"{run.name} does not reply: it has just started, or its cache has no place for a socket")
        elif run.state["over_budget"]:
            yield f"{run.name}: the budget was spent: requests that it could not pay stay pending"
        if run.state is not None and run.state["stopping"]:
            yield f"{run.name}: stopping"


def changed_parts(run: ActiveRun) -> Iterator[Part]:
    """Yield what `set_run` or `stop_run` has changed."""
    assert run.state is not None  # it has replied
    changes = [history.Change(**c) for c in run.state["changes"]]
    for change in changes:
        yield f"{run.name} of {run.file}: {change.text}"
    if not changes:
        yield f"{run.name} of {run.file}: nothing to change"
    if any(c.what == "stop" for c in changes):
        yield f"{counted(run.state['in_flight'], 'request')} in flight will be finished and stored"
    if run.state["over_budget"] and any(c.what == "budget" for c in changes):
        yield Aside("note: the old budget was spent. Requests that it could not pay stay pending: run again")
    if not run.state["recorded"]:
        yield Aside("note: the record of the run could not be written, and lacks this change")


def ended_parts(records: list[history.Record]) -> Iterator[Part]:
    """Yield runs that have ended as a table, with the changes of each."""
    if not records:
        yield "no run has ended"
        return
    rows = [
        (r.run[:N_SHOWN], r.file, _when(r.started_at), _when(r.ended_at), f"{r.sent:,}", f"{r.failed:,}", _end(r))
        for r in records
    ]
    columns = ("run", "file", "started", "ended", "sent", "failed", "end")
    yield Table(columns, rows, numeric=("sent", "failed"))
    for record in records:
        yield from _change_parts(record.run[:N_SHOWN], record)


def ended_json(record: history.Record) -> dict[str, Any]:
    """Return a run that has ended as `emdsl runs --all --json` prints it."""
    fields = ("run", "file", "started_at", "ended_at", "sent", "failed", "samples", "only", "workers")
    return {f: getattr(record, f) for f in fields} | {
        "end": _end(record), "changes": [asdict(c) for c in record.changes]
    }  # fmt: skip


def _under_way(project: Project) -> list[ActiveRun]:
    """Return the runs that hold claims; sockets of others are removed."""
    if not control_socket.has_sockets():
        raise SetupError("runs under way can be seen and changed by Unix sockets only, and this system has none")
    sockets = control_socket.runs_with_socket(project.cache)
    live = live_runs(project.answers)  # after the sockets: a run has its claims before it, and after it
    for run in sockets - set(live):
        with suppress(OSError):  # a cache that cannot be written
            control_socket.remove(project.cache, run)
    return [ActiveRun(run=run, pid=pid) for run, pid in live.items()]


def _records(project: Project, runs: Iterable[str]) -> dict[str, history.Record]:
    """Return the records of some runs; old ones are not read, if these are newer."""
    missing, records = set(runs), dict[str, history.Record]()
    for record in history.records(project.cache) if missing else ():
        if record.run in missing:
            missing.remove(record.run)
            records[record.run] = record
        if not missing:
            break
    return records


def _state(project: Project, run: str) -> dict[str, Any] | None:
    try:
        state = control_socket.send(project.cache, run, {"do": "status"})
    except (OSError, ValueError):
        return None
    return state if "error" not in state else None


def _sent(project: Project, which: str | None, message: dict[str, Any]) -> ActiveRun:
    runs = _under_way(project)
    records = _records(project, [r.run for r in runs])
    run = _chosen(project, [replace(r, record=records.get(r.run)) for r in runs], which)
    try:
        reply = control_socket.send(project.cache, run.run, message)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"run {run.name} does not reply: it has just started or ended, or its cache has no place for a socket"
        ) from error
    if "error" in reply:
        raise UsageError(f"run {run.name}: {reply['error']}")
    return replace(run, state=reply)


def _chosen(project: Project, active: list[ActiveRun], which: str | None) -> ActiveRun:
    """Return the run that is meant; raises UsageError."""
    if which is None:
        fits, those = active, "run"
    elif which.endswith(".em"):
        study = project.study(Path(which))
        fits, those = [r for r in active if r.record is not None and r.record.study == study], f"run of {which}"
    else:
        fits, those = [r for r in active if r.run.startswith(which)], f"run {which}"
    if not fits:
        raise UsageError(f"no {those} is under way: `emdsl runs` lists those that are")
    if len(fits) > 1:
        raise UsageError(f"{len(fits)} runs are under way, name one: {', '.join(r.name for r in fits)}")
    return fits[0]


def _row(run: ActiveRun) -> tuple[str, ...]:
    started = _when(run.record.started_at if run.record is not None else None)
    state = run.state
    if state is None:
        return (run.name, run.file, started, "?", "?", "?", "?", "?", "?", str(run.pid))
    spent = usd(Decimal(repr(state["spent_usd"]))) + (" + ?" if state["of_unknown_cost"] else "")
    left = duration(state["eta_s"]) if state.get("eta_s") is not None else "?"
    budget = usd(Decimal(repr(state["budget_usd"]))) if state["budget_usd"] is not None else ""
    return (
        run.name, run.file, started, f"{state['answered']:,}/{state['total']:,}", left,
        f"{state['in_flight']:,}", f"{state['connections']:,}", spent, budget, str(run.pid),
    )  # fmt: skip


def _step_parts(active: list[ActiveRun]) -> Iterator[Part]:
    """Yield how far each step of each run is, and why requests failed."""
    states = [(r.name, r.state) for r in active if r.state is not None]
    rows = [
        (name, s["step"], f"{s['answered']:,}/{s['total']:,}", f"{s['failed']:,}" if s["failed"] else "")
        for name, state in states
        for s in state.get("steps", ())
    ]
    if rows:
        yield ""
        yield Table(("run", "step", "answered", "failed"), rows, numeric=("answered", "failed"))
    for name, state in states:
        if state.get("more_steps"):
            yield f"{name}: {counted(state['more_steps'], 'more step')}"
        if state.get("retried"):
            yield f"{name}: {state['retried']:,} retried"
        yield from (f"{name}: {f['n']:,} x {f['cause']}" for f in state.get("failures", ())[:MAX_CAUSES])


def _change_parts(name: str, record: history.Record | None) -> Iterator[Part]:
    for change in record.changes if record is not None else ():
        yield f"{name}: {change.text} at {_when(change.at)}"


def _end(record: history.Record) -> str:
    """Return how a run ended."""
    return "killed" if record.ended_at is None else "interrupted" if record.interrupted else "done"


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds is not None else ""
