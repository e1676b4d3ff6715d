"""Why a request is to be asked: what has changed since a program that was run before.

Two programs are compared cell by cell, by the names of axes and levels. What differs is looked for in the order in
which people think of it: a new level, more samples, another model, another parameter, another text.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.frame import EvalFault, MissingInput
from emdsl.run.walk import Walk, settle
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Cell, Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.source import Source, Span

MAX_KNOWN_CELLS = 300_000  # of an earlier grid: of a larger one it is not asked which cells it skipped
AROUND = 12  # characters beside a change, by which its place in the source is found


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is to be asked; reasons that differ in `item` alone are told together."""

    what: str  # `new value`, `temperature`
    item: str = ""
    span: Span | None = None

    @property
    def group(self) -> tuple[str, str]:
        """Return what is told together."""
        return self.what, self.span.line_place if self.span is not None else ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient of two keys that is unlike; `name` is `model`, a parameter, `messages[2].user`, `sample`."""

    name: str
    old: Any
    new: Any
    span: Span | None = None

    @property
    def n_changed(self) -> int:
        """How many characters of a text changed."""
        old, new = middle(str(self.old), str(self.new))
        return max(len(old), len(new))


class Earlier:
    """A program as it was run before, to compare the program of now with."""

    def __init__(self, new: Program, old: Program) -> None:
        self._experiments = {e.name: e for e in old.experiments}
        self._hunks = list(_hunks(new.sources, old.sources))

    def of(self, experiment: Experiment) -> Comparison:
        """Return how an experiment compares with the one of its name; with the only one, where it was renamed."""
        old = self._experiments.get(experiment.name)
        if old is None and len(self._experiments) == 1:
            (old,) = self._experiments.values()
        return Comparison(experiment, old, self._hunks)


class Comparison:
    """One experiment beside itself as it was."""

    def __init__(self, new: Experiment, old: Experiment | None, hunks: list[tuple[str, Span]]) -> None:
        self.new, self.old = new, old
        self._hunks = hunks
        self._walk = Walk(old) if old is not None else None
        self._known: dict[Any, Reason] = {}
        self._old_cells: set[Cell] | None = None
        if old is not None:
            self._positions = {a.name: {x.shown: i for i, x in enumerate(a.levels)} for a in old.axes}
            if old.n_cells <= MAX_KNOWN_CELLS:
                self._old_cells = set(old.cells())

    def reason(self, row: Outcome, step: Step, query: Query) -> Reason:
        """Return why a request of a row is not stored. What its step reads is settled in the row."""
        if self.old is None or self._walk is None:
            return Reason("new experiment", self.new.name, self.new.span)
        if row.sample >= self.old.samples:
            return Reason("more samples", f"{self.old.samples} -> {self.new.samples}", self.new.span)
        memo = (
            step.name, tuple(row.cell[i] for i in step.head_axes), tuple(row.cell[i] for i in step.prompt_axes),
            row.sample if step.prompt_sample else -1,
        )  # fmt: skip
        if step.condition_needs or any(len(a.levels) > 1 for a in self.new.axes if a.name not in self._positions):
            memo = (*memo, row.cell)  # type: ignore[assignment]  # one kind of key beside the other
        if memo not in self._known:
            self._known[memo] = self._found(row, step, query)
        return self._known[memo]

    def _found(self, row: Outcome, step: Step, query: Query) -> Reason:
        assert self.old is not None
        old_step = next((s for s in self.old.steps if s.name == step.name), None)
        if old_step is None:
            return Reason(f"new {step.kind}", step.name, step.span)
        for axis, position in zip(self.new.axes, row.cell, strict=True):
            level = axis.levels[position]
            if axis.name in self._positions and level.shown not in self._positions[axis.name]:
                model = getattr(level.value, "use", None)
                return Reason(f"new {'model' if model else 'value'} {axis.name} =", level.shown, axis.span)
        added = next((a for a in self.new.axes if a.name not in self._positions), None)
        old_row = self.old_row(row)
        if old_row is None:
            return Reason("cells that were skipped before", "", self.new.span)
        found = self.differences(row, old_step, query, old_row)
        if found is None:
            return Reason(f"`{step.name}` could not be asked before", "", step.span)
        if not found:
            return Reason("asked before and not answered, or dropped since")
        first = found[0]
        if added is not None and first.name.startswith("messages"):
            return Reason("new axis", added.name, added.span)
        if not first.name.startswith("messages"):
            return Reason(first.name, f"{shown(first.old)} -> {shown(first.new)}", self._place(str(first.new)))
        if "." not in first.name:
            return Reason("prompt changed", f"{first.old} -> {first.new} messages", self._place(""))
        n = first.n_changed
        said = f"prompt text changed ({n:,} character{'' if n == 1 else 's'})"
        return Reason(said, "", first.span)

    def old_row(self, row: Outcome) -> Outcome | None:
        """Return the row of the earlier program at the same place, with what was answered; None where it had none."""
        assert self.old is not None
        assert self._walk is not None
        levels = {a.name: a.levels[i].shown for a, i in zip(self.new.axes, row.cell, strict=True)}
        cell = tuple(self._positions[a.name].get(levels.get(a.name, ""), 0) for a in self.old.axes)
        if self._old_cells is not None and cell not in self._old_cells:
            return None
        old_row = self._walk.row(cell, row.sample)
        for step in self.old.steps:
            if step.name in row.results:
                settle(old_row, step, row.results[step.name])
        return old_row

    def differences(
        self, row: Outcome, old_step: Step, query: Query, old_row: Outcome | None = None
    ) -> list[Difference] | None:
        """Return how a request of a row differs from that of the earlier program; None where that had none."""
        old_row = old_row or self.old_row(row)
        was = self.query(old_row, old_step.name) if old_row is not None else None
        return self.compared(was, query) if was is not None else None

    def query(self, old_row: Outcome, name: str) -> Query | None:
        """Return the request that a step of the earlier program made; None where it made none."""
        assert self.old is not None
        assert self._walk is not None
        step = next((s for s in self.old.steps if s.name == name), None)
        if step is None:
            return None
        try:
            if step.condition is not None and step.condition(old_row.frame) is not True:
                return None
            return self._walk.query(step, old_row)
        except (MissingInput, EvalFault, KeyError):
            return None

    def compared(self, old: Query, new: Query) -> list[Difference]:
        """Return how two requests differ, and where in the source the change stands."""
        found = compare(old, new)
        return [
            Difference(d.name, d.old, d.new, self._place(_around(d.old, d.new)))
            if d.name.startswith("messages[") else d
            for d in found
        ]  # fmt: skip

    def _place(self, text: str) -> Span | None:
        """Return where a change stands in the source: the changed line that holds its text, or the only one."""
        text = text.strip()
        for line, span in self._hunks:
            if text and text.splitlines()[0] in line:
                return span
        return self._hunks[0][1] if len(self._hunks) == 1 else None


def compare(old: Query, new: Query) -> list[Difference]:
    """Return the ingredients that differ between two requests, in the order of the key."""
    if old.key == new.key:
        return []
    found = []
    a, b = old.head.model, new.head.model
    for name, was, now in (
        ("model", a.use, b.use), ("revision", a.revision, b.revision), ("server", a.origin, b.origin),
        ("wire meaning", a.service.meaning, b.service.meaning),
    ):  # fmt: skip
        found += [Difference(name, was, now)] if was != now else []
    was_params, now_params = dict(old.head.params), dict(new.head.params)
    for name in sorted({*was_params, *now_params}):
        if was_params.get(name) != now_params.get(name):
            found.append(Difference(name, was_params.get(name), now_params.get(name)))
    before, after = old.prompt.messages, new.prompt.messages
    if len(before) != len(after):
        found.append(Difference("messages", len(before), len(after)))
    for i, (was_said, now_said) in enumerate(zip(before, after, strict=False)):
        if was_said.role != now_said.role:
            found.append(Difference(f"role of messages[{i}]", was_said.role, now_said.role))
        if was_said.text != now_said.text:
            found.append(Difference(f"messages[{i}].{now_said.role}", was_said.text, now_said.text))
    if old.head.stream != new.head.stream:
        found.append(Difference("stream", old.head.stream, new.head.stream))
    if old.sample != new.sample:
        found.append(Difference("sample", old.sample, new.sample))
    return found


def middle(old: str, new: str) -> tuple[str, str]:
    """Return what is left of two texts without their common beginning and end.

    >>> middle("step by step", "step-by-step")
    (' by ', '-by-')
    """
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    return old[start : len(old) - end], new[start : len(new) - end]


def shown(value: Any) -> str:
    """Return a parameter as the language writes it; `unset` for none."""
    if value is None:
        return "unset"
    return render(value) or str(value)


def _common(a: str, b: str) -> int:
    """Return the length of the common beginning of two texts."""
    most = min(len(a), len(b))
    if a[:most] == b[:most]:
        return most
    low, high = 0, most
    while low < high:
        half = (low + high + 1) // 2
        if a[:half] == b[:half]:
            low = half
        else:
            high = half - 1
    return low


def _around(old: str, new: str) -> str:
    """Return the changed words of a text: what a changed line of the source must hold."""
    _, now = middle(old, new)
    start = _common(old, new)
    if len(now) >= AROUND:
        return now
    line_start = new.rfind("\n", 0, start) + 1
    line_end = new.find("\n", start + len(now))
    line_end = len(new) if line_end < 0 else line_end
    return new[max(line_start, start - AROUND) : min(line_end, start + len(now) + AROUND)]


def _hunks(new: Mapping[str, Source], old: Mapping[str, Source]) -> Iterable[tuple[str, Span]]:
    """Yield the lines of sources that were not there before, or stand where others were taken out."""
    from emdsl.source import Span  # noqa: PLC0415 - made here, never read

    for name, source in new.items():
        before = old[name].text.splitlines() if name in old else []
        lines = source.text.splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        matcher = difflib.SequenceMatcher(None, before, [x.rstrip("\r\n") for x in lines], autojunk=False)
        for kind, _, _, first, end in matcher.get_opcodes():
            if kind == "equal":
                continue
            for i in range(first, max(end, first + 1)):
                if i < len(lines):
                    yield lines[i], Span(source, starts[i], starts[i] + len(lines[i].rstrip("\r\n")))
