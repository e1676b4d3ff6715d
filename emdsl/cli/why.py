"""`emdsl why`: one step of one cell: its key, whether it is stored, and if not, what differs from what is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.counts import grouped
from emdsl.cli.earlier import earlier, programs_before
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError, UsageError
from emdsl.frame import EvalFault
from emdsl.run import history
from emdsl.run.planner import plan, start
from emdsl.run.reasons import middle, shown
from emdsl.run.walk import Walk, resolve
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.reasons import Comparison, Difference
    from emdsl.run.walk import Selection
    from emdsl.store.disk import DiskStore

CONTEXT = 24  # characters shown on either side of a changed text
WORDS = {
    "not_needed": "not needed: its condition is false here",
    "not_obtained": "unknown: a dataset is not here yet",
    "no_answer": "not asked: what it reads came without a value",
    "undecided": "not asked: its condition has no value here",
    "invalid": "cannot be asked: its prompt has no value here",
}
MOST_SHOWN = 160  # characters of it


@click.command("why")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.ONLY, session.SIM, session.AS_JSON)
@session.option("--step", "step_name", metavar="NAME", help="One ask or judge.  [default: all of the cell]")
@session.option("--sample", type=click.IntRange(0), default=0, show_default=True, help="Which draw of the cell.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, only: tuple[str, ...], simulate: bool, as_json: bool,
    step_name: str | None, sample: int,
) -> int:  # fmt: skip
    """Say of one cell of FILE which requests it makes, whether each is stored, and if not, why not.

    Without --only it is the first cell; name levels to choose another.
    """
    console.expect_json(wanted=as_json)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    experiment, selection = _experiment(program, only, step_name, sample)
    walk = Walk(experiment, selection)
    cell = next((c for c in experiment.cells() if selection.takes(c)), None)
    if cell is None:
        raise UsageError(f"no cell of `{experiment.name}` has these levels: they are skipped, or never meet")
    store = here.store(create=False)
    try:
        row = walk.row(cell, sample)
        resolve(walk, [row], store)
        steps = [s for s in experiment.steps if step_name in (None, s.name)]
        looked = [_Look(here, file, program, experiment, store, row, s) for s in steps]
        found = [x.found() for x in looked]
        effect = _effect(here, file, program, experiment, store) if any(f["stored"] is False for f in found) else []
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()
    levels = {a.name: a.levels[i].shown for a, i in zip(experiment.axes, cell, strict=True)}
    if as_json:
        console.show_json(
            {"experiment": experiment.name, "cell": levels, "sample": sample, "steps": found, "effect": effect}
        )
        return 0
    n_alike = sum(1 for c in experiment.cells() if selection.takes(c))
    console.say(f"{experiment.name}  " + "  ".join(f"{k} {v}" for k, v in levels.items()) + f"  sample {sample}")
    if n_alike > 1:
        console.say(f"(the first of {n_alike:,} cells with these levels; name more of them with --only)")
    for entry in found:
        console.say()
        _show(entry)
    if effect:
        console.say("\nin all:")
        for text, place, n in effect:
            console.say(f"  {n:,} requests: {text}" + (f"  ({place})" if place else ""))
    return 0


def _experiment(
    program: Program, only: tuple[str, ...], step_name: str | None, sample: int
) -> tuple[Experiment, Selection]:
    """Return the first experiment that has the axes, levels and the step that are named; raises UsageError."""
    names = {part.partition("=")[0] for part in only}
    chosen = dict(zip(program.experiments, session.selections(program, None, only), strict=True))
    fits = [e for e in program.experiments if names <= {a.name for a in e.axes}]
    if not fits:
        raise UsageError("--only: no experiment has all these axes")
    if step_name is not None:
        known = [s.name for e in fits for s in e.steps]
        if step_name not in known:
            hint = near(step_name, known) or f"the steps are {one_of(known)}"
            raise UsageError(f"--step: no step is called `{step_name}`; {hint}")
        fits = [e for e in fits if step_name in [s.name for s in e.steps]]
    if sample >= fits[0].samples:
        raise UsageError(f"--sample: `{fits[0].name}` draws {fits[0].samples:,}, numbered from 0")
    return fits[0], chosen[fits[0]]


class _Look:
    """A look at one step of a row."""

    def __init__(
        self, here: Session, file: Path, program: Program, experiment: Experiment, store: DiskStore, row: Outcome,
        step: Step,
    ) -> None:  # fmt: skip
        self._here, self._file, self._program, self._experiment = here, file, program, experiment
        self._store, self._row, self._step = store, row, step

    def found(self) -> dict[str, Any]:
        """Return what is to be said of the step."""
        step, row = self._step, self._row
        entry: dict[str, Any] = {"kind": step.kind, "name": step.name, "key": None, "stored": None}
        result = row.results.get(step.name)
        query = result.query if result is not None else row.open.get(step.name)
        if query is None:
            reads = ", ".join(f"`{n}`" for n in (*step.needs, *step.condition_needs))
            entry["said"] = WORDS.get(result.value.reason, result.value.reason) if result else f"known after {reads}"
            return entry
        entry |= {"key": query.key.hex(), "of": query.ingredients()}
        if result is not None and result.response is not None:
            response = result.response
            record = history.by_run(self._here.cache).get(response.run)
            entry |= {
                "stored": True, "answered_at": response.answered_at, "run": response.run,
                "file": record.file if record else None, "model": response.model,
            }  # fmt: skip
            return entry
        return entry | {"stored": False} | self._nearest(query)

    def _nearest(self, query: Query) -> dict[str, Any]:
        """Return the stored step of the same cell, of any program that ran before, that differs in least."""
        reason, best = "", dict[str, Any]()
        for record, before in programs_before(self._here, self._file, self._program):
            comparison = before.of(self._experiment)
            if not reason:
                reason = _said(comparison, self._row, self._step, query)
            old_row = comparison.old_row(self._row) if comparison.old is not None else None
            was = comparison.query(old_row, self._step.name) if old_row is not None else None
            known = self._store.get_many([was.key]) if was is not None and was.key != query.key else {}
            if was is None or was.key not in known:
                continue
            differences = comparison.compared(was, query)
            if best and len(best["differences"]) <= len(differences):
                continue
            best = {
                "nearest": {"key": was.key.hex(), "run": record.run, "answered_at": known[was.key].answered_at},
                "differences": [_as_json(d) for d in differences],
            }
        return {"reason": reason or "this study has not run here before"} | best


def _said(comparison: Comparison, row: Outcome, step: Step, query: Query) -> str:
    """Return the reason of one request as text."""
    reason = comparison.reason(row, step, query)
    return "  ".join(filter(None, (f"{reason.what} {reason.item}".strip(), reason.place)))


def _effect(
    here: Session, file: Path, program: Program, experiment: Experiment, store: DiskStore
) -> list[tuple[str, str, int]]:
    before, _ = earlier(here, file, program)
    if before is None:
        return []
    walk = Walk(experiment)
    count = start(walk)
    count.comparison = before.of(experiment)
    plan(walk, store, count)
    return grouped(count.reasons)


def _as_json(difference: Difference) -> dict[str, Any]:
    text = difference.name.startswith("messages[")
    return {
        "name": difference.name,
        "old": difference.old if text else shown(difference.old),
        "new": difference.new if text else shown(difference.new),
        "place": difference.place,
    }


def _show(entry: dict[str, Any]) -> None:
    key = f"  key {entry['key'][:16]}..." if entry["key"] else ""
    head = f"{entry['kind']} {entry['name']}{key}"
    if entry["stored"] is None:
        console.say(f"{head}  {entry['said']}")
        return
    if entry["stored"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["answered_at"]))
        by = f"by run {entry['run'][:8]}" + (f" of {entry['file']}" if entry["file"] else "")
        console.say(f"{head}  stored: answered {when} {by}; not asked again while all of its key is the same")
        for name, value in (entry["of"] | {"params": None} | entry["of"]["params"]).items():
            if value is not None:
                console.say(f"    {name}: {shown(value)}")
        return
    console.say(f"{head}  not stored: {entry['reason']}")
    nearest = entry.get("nearest")
    if nearest is None:
        return
    when = time.strftime("%Y-%m-%d", time.localtime(nearest["answered_at"]))
    console.say(f"nearest stored step: {nearest['key'][:16]}... (run {nearest['run'][:8]}, {when}, same cell)")
    names = [d["name"] for d in entry["differences"]]
    for d in entry["differences"]:
        if d["name"].startswith("messages["):
            _show_text(d)
        else:
            console.say(f"    {d['name']}   {d['old']} -> {d['new']}   {d['place']}".rstrip())
    texts = any(n.startswith("messages") for n in names)
    equal = [n for n in ("model", "revision", "stream", "sample") if n not in names]
    equal += [n for n in entry["of"]["params"] if n not in names] + ([] if texts else ["messages"])
    console.say("    equal: " + ", ".join(equal))


def _show_text(difference: dict[str, Any]) -> None:
    old, new = difference["old"], difference["new"]
    was, now = middle(old, new)
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    n = max(len(was), len(now))
    plural = "" if n == 1 else "s"
    console.say(f"    {difference['name']}   changed by {n:,} character{plural}   {difference['place']}".rstrip())
    for mark, text, middle_ in (("-", old, was), ("+", new, now)):
        before = text[max(0, start - CONTEXT) : start]
        after = text[start + len(middle_) : start + len(middle_) + CONTEXT]
        inner = middle_ if len(middle_) <= MOST_SHOWN else middle_[:MOST_SHOWN] + f" ... ({len(middle_):,} characters)"
        console.say(f"      {mark} " + " ".join(f"...{before}{inner}{after}...".split("\n")))
