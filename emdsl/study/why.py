"""Why a request is cached or pending: its key, and what differs from the nearest cached request."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import NoCell, UnknownAxis, UnknownStep, UsageError
from emdsl.run import history
from emdsl.run.passes import settle_from_store
from emdsl.run.planner import Planner
from emdsl.run.reasons import middle, shown
from emdsl.run.rows import Rows
from emdsl.store.journal import Journal
from emdsl.study.compiled import unknown
from emdsl.study.counts import grouped
from emdsl.study.previous import FIRST_RUN, last_run, previous_runs
from emdsl.study.selection import selections, whole
from emdsl.study.self_shown import SelfShown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Cell, Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.reasons import Comparison, Difference
    from emdsl.run.rows import Selection
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part

CONTEXT = 24  # characters shown on either side of a changed text
MAX_TEXT = 160  # characters of it
NO_REQUEST = {
    "not_needed": "not needed: its condition is false",
    "not_obtained": "unknown: a dataset is missing",
    "no_answer": "no request: it reads an answer that is missing",
    "undecided": "no request: its condition has no value",
    "invalid": "no request: its prompt has no value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Why(SelfShown):
    """The requests of one cell and sample, with the reason why each is cached or pending."""

    experiment: str
    cell: dict[str, str]
    sample: int
    n_cells: int  # that have the selected levels; this is the first
    steps: tuple[dict[str, Any], ...]
    effect: tuple[tuple[str, str, int], ...]  # pending requests of the whole experiment: reason, place, number

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl why --json` prints it."""
        return {
            "experiment": self.experiment, "cell": self.cell, "sample": self.sample, "steps": list(self.steps),
            "effect": [list(line) for line in self.effect],
        }  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl why`."""
        yield f"{self.experiment}  " + "  ".join(f"{k} {v}" for k, v in self.cell.items()) + f"  sample {self.sample}"
        if self.n_cells > 1:
            yield f"(the first of {self.n_cells:,} matching cells; select another one with --only)"
        for step in self.steps:
            yield ""
            yield from step_parts(step)
        if self.effect:
            yield "\npending in the whole experiment:"
            for text, place, n in self.effect:
                yield f"  {n:,} requests: {text}" + (f"  ({place})" if place else "")


def explain_cell(study: Compiled, *, only: tuple[str, ...] = (), step: str | None = None, sample: int = 0) -> Why:
    """Return why the requests of one cell are cached or pending.

    Args:
        study: The compiled study.
        only: Select the cell by levels, each text `AXIS=VALUE`; the first matching cell is taken.
        step: Only this ask or judge.
        sample: Which sample of the cell, from 0.

    Raises:
        UsageError: The axis, level, step or sample does not exist.
        NoCell: No cell has these levels.
    """
    sample = whole(sample, 0, "sample")
    experiment, selection = _experiment(study.program, only, step, sample)
    walk = Rows(experiment, selection)
    cell = next((c for c in experiment.cells() if selection.takes(c) and sample < experiment.samples_of(c)), None)
    if cell is None:
        raise NoCell(f"no cell of `{experiment.name}` has these levels: they are skipped, or never meet")
    n_cells = sum(1 for c in experiment.cells() if selection.takes(c) and sample < experiment.samples_of(c))
    return _explained_row(study, walk, cell, sample, step, n_cells=n_cells, whole_effect=True)


def explain_row(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> Why:
    """Return why the requests of one row are cached or pending, without the pending requests of other rows."""
    return _explained_row(study, Rows(experiment), cell, sample)


def explain_key(study: Compiled, key: str) -> Why:
    """Return why the requests of the row are cached that has a request with a key.

    Raises:
        UsageError: The text is not a key, or no loaded row has it.
    """
    from emdsl.study.places import place_of_key  # noqa: PLC0415 - DuckDB, for a key alone
    from emdsl.study.refresh import load_if_stale  # noqa: PLC0415 - the results, which keys are looked up in

    load_if_stale(study)
    return explain_row(study, *place_of_key(study, key))


def _explained_row(
    study: Compiled, walk: Rows, cell: Cell, sample: int, step: str | None = None, *, n_cells: int = 1,
    whole_effect: bool = False,
) -> Why:  # fmt: skip
    experiment = walk.experiment
    with study.store() as store:
        row = walk.row(cell, sample)
        settle_from_store(walk, [row], store)
        steps = [s for s in experiment.steps if step in (None, s.name)]
        explained = tuple(_explained(study, experiment, store, row, s) for s in steps)
        pending = any(x["cached"] is False for x in explained)
        effect = _effect(study, experiment, store) if pending and whole_effect else []
    levels = {a.name: a.levels[i].shown for a, i in zip(experiment.axes, cell, strict=True)}
    return Why(
        experiment=experiment.name, cell=levels, sample=sample, steps=explained, effect=tuple(effect), n_cells=n_cells
    )


def _experiment(program: Program, only: tuple[str, ...], step: str | None, sample: int) -> tuple[Experiment, Selection]:
    """Return the first experiment with the named axes, levels and step."""
    names = {text.partition("=")[0] for text in only}
    chosen = dict(zip(program.experiments, selections(program, None, only), strict=True))
    fits = [e for e in program.experiments if names <= {a.name for a in e.axes}]
    if not fits:
        raise UnknownAxis("no experiment has all of these axes", parameter="only")
    if step is not None:
        steps = [s.name for e in fits for s in e.steps]
        if step not in steps:
            raise UnknownStep(unknown("step", step, steps), parameter="step")
        fits = [e for e in fits if step in [s.name for s in e.steps]]
    if sample >= fits[0].samples:
        raise UsageError(f"`{fits[0].name}` has {fits[0].samples:,} samples, numbered from 0", parameter="sample")
    return fits[0], chosen[fits[0]]


def _explained(study: Compiled, experiment: Experiment, store: AnswerStore, row: Outcome, step: Step) -> dict[str, Any]:
    """Return the key of a step's request, whether it is cached, and if not, why."""
    entry: dict[str, Any] = {"kind": step.kind, "name": step.name, "key": None, "cached": None}
    result = row.results.get(step.name)
    query = result.query if result is not None else row.ready.get(step.name)
    if query is None:
        reads = ", ".join(f"`{n}`" for n in (*step.needs, *step.condition_needs))
        no_request = NO_REQUEST.get(result.value.reason, result.value.reason) if result else f"depends on {reads}"
        return entry | {"no_request": no_request}
    entry |= {"key": query.key.hex(), "of": query.ingredients()}
    if result is not None and result.response is not None:
        response = result.response
        record = history.by_run(study.project.cache).get(response.run)
        return entry | {
            "cached": True, "answered_at": response.answered_at, "run": response.run,
            "file": record.file if record else None, "model": response.model,
        } | ({"batch": response.batch} if response.batch is not None else {})  # fmt: skip
    with closing(Journal(study.project.answers)) as journal:
        holders = list(journal.holders([query.key]))
    held = {"in_batch": holders[0]} if holders else {}
    return entry | {"cached": False} | held | _nearest(study, experiment, store, row, step, query)


def _nearest(
    study: Compiled, experiment: Experiment, store: AnswerStore, row: Outcome, step: Step, query: Query
) -> dict[str, Any]:
    """Return the cached request of the same cell, of any previous version of the study, that differs least."""
    reason, nearest = "", dict[str, Any]()
    for record, previous in previous_runs(study):
        comparison = previous.of(experiment)
        reason = reason or _reason_text(comparison, row, step, query)
        old_row = comparison.old_row(row) if comparison.old is not None else None
        old_query = comparison.query(old_row, step.name) if old_row is not None else None
        cached = store.get_many([old_query.key]) if old_query is not None and old_query.key != query.key else {}
        if old_query is None or old_query.key not in cached:
            continue
        differences = comparison.compared(old_query, query)
        if nearest and len(nearest["differences"]) <= len(differences):
            continue
        answered_at = cached[old_query.key].answered_at
        nearest = {
            "nearest": {"key": old_query.key.hex(), "run": record.run, "answered_at": answered_at},
            "differences": [_difference_json(d) for d in differences],
        }
    return {"reason": reason or FIRST_RUN} | nearest


def _reason_text(comparison: Comparison, row: Outcome, step: Step, query: Query) -> str:
    reason = comparison.reason(row, step, query)
    return "  ".join(filter(None, (f"{reason.what} {reason.item}".strip(), reason.place)))


def _effect(study: Compiled, experiment: Experiment, store: AnswerStore) -> list[tuple[str, str, int]]:
    previous, _ = last_run(study)
    if previous is None:
        return []
    walk = Rows(experiment)
    count = Planner(walk, comparison=previous.of(experiment)).plan(store)
    return grouped(count.reasons)


def _difference_json(difference: Difference) -> dict[str, Any]:
    text = difference.name.startswith("messages[")
    return {
        "name": difference.name,
        "old": difference.old if text else shown(difference.old),
        "new": difference.new if text else shown(difference.new),
        "place": difference.place,
    }


def step_parts(step: dict[str, Any]) -> Iterator[Part]:
    """Yield the lines of one step of a `Why`."""
    key = f"  key {step['key'][:16]}..." if step["key"] else ""
    head = f"{step['kind']} {step['name']}{key}"
    if step["cached"] is None:
        yield f"{head}  {step['no_request']}"
    elif step["cached"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(step["answered_at"]))
        by = f"by run {step['run'][:8]}" + (f" of {step['file']}" if step["file"] else "")
        by += f", by a batch ({step['batch']})" if "batch" in step else ""
        yield f"{head}  cached: answered {when} {by}. It is not sent again while its key stays the same:"
        for name, value in (step["of"] | {"params": None} | step["of"]["params"]).items():
            if value is not None:
                yield f"    {'replicate' if name == 'stream' else name}: {shown(value)}"
    else:
        yield f"{head}  pending: {step['reason']}"
        if "in_batch" in step:
            yield f"    it is in the open batch {step['in_batch']}, and not sent again while that is open"
        if "nearest" in step:
            yield from _nearest_parts(step)


def _nearest_parts(step: dict[str, Any]) -> Iterator[Part]:
    nearest = step["nearest"]
    when = time.strftime("%Y-%m-%d", time.localtime(nearest["answered_at"]))
    yield f"nearest cached request: {nearest['key'][:16]}... (run {nearest['run'][:8]}, {when}, same cell)"
    names = [d["name"] for d in step["differences"]]
    for d in step["differences"]:
        if d["name"].startswith("messages["):
            yield from _text_parts(d)
        else:
            yield f"    {d['name']}   {d['old']} -> {d['new']}   {d['place']}".rstrip()
    texts = any(n.startswith("messages") for n in names)
    equal = [n for n in ("model", "revision", "replicate", "sample") if n not in names]
    equal += [n for n in step["of"]["params"] if n not in names] + ([] if texts else ["messages"])
    yield "    equal: " + ", ".join(equal)


def _text_parts(difference: dict[str, Any]) -> Iterator[Part]:
    """Yield the changed part of a text, with its surroundings."""
    old, new = difference["old"], difference["new"]
    was, now = middle(old, new)
    start_at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    n = max(len(was), len(now))
    plural = "" if n == 1 else "s"
    yield f"    {difference['name']}   {n:,} character{plural} changed   {difference['place']}".rstrip()
    for mark, text, part in (("-", old, was), ("+", new, now)):
        before = text[max(0, start_at - CONTEXT) : start_at]
        after = text[start_at + len(part) : start_at + len(part) + CONTEXT]
        inner = part if len(part) <= MAX_TEXT else part[:MAX_TEXT] + f" ... ({len(part):,} characters)"
        yield f"      {mark} " + " ".join(f"...{before}{inner}{after}...".split("\n"))
