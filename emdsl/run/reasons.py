"""Why a request is to be asked: what has changed since a program that was run before.

Two programs are compared cell by cell, by the names of axes and levels. What differs is looked for in the order in
which people think of it: a new level, more samples, another model, another parameter, another text.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.frame import EvalFault, MissingInput
from emdsl.prompt import common
from emdsl.run.walk import Selection, Walk, settle
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Axis, Cell, Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.source import Source
    from emdsl.value import Level

MAX_KNOWN_CELLS = 300_000  # of an earlier grid: of a larger one it is not asked which cells it had
AROUND = 12  # characters beside a change, by which its place in the source is found
MOST_NAMED = 4  # ingredients named beside the first


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is to be asked; reasons that differ in `item` alone are told together."""

    what: str  # `new value k =`, `temperature`
    item: str = ""
    place: str = ""  # `file:line`

    @property
    def group(self) -> tuple[str, str]:
        """Return what is told together."""
        return self.what, self.place


UNREAD = Reason("asked once more: the reply before could not be read")
UNANSWERED = Reason("asked before and not answered, or dropped since")
LEFT_OUT = Reason("left out by --samples or --only of the last run")
STOPPED = Reason("the last run was stopped before")


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient of two keys that is unlike; `name` is `model`, a parameter, `messages[2].user`, `sample`."""

    name: str
    old: Any
    new: Any
    place: str = ""

    @property
    def said(self) -> str:
        """Return it in words, without its place."""
        if self.name == "messages":
            n = self.new - self.old
            return f"prompt changed: {abs(n)} message{'' if abs(n) == 1 else 's'} {'more' if n > 0 else 'fewer'}"
        if self.name.startswith("messages["):
            old, new = middle(self.old, self.new)
            n = max(len(old), len(new))
            return f"prompt text changed ({n:,} character{'' if n == 1 else 's'})"
        return f"{self.name} {shown(self.old)} -> {shown(self.new)}"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A program as it was run before, to compare the program of now with; `selections` are what was taken of it."""

    new: Program
    old: Program
    selections: Mapping[str, Selection] = field(default_factory=dict)
    interrupted: bool = False

    def of(self, experiment: Experiment) -> Comparison:
        """Return how an experiment compares with the one of its name, or with the only one that has gone, renamed."""
        olds, news = ({e.name: e for e in p.experiments} for p in (self.old, self.new))
        gone, come = ([e for n, e in a.items() if n not in b] for a, b in ((olds, news), (news, olds)))
        old = olds.get(experiment.name)
        if old is None and len(gone) == len(come) == 1:
            old = gone[0]
        selection = self.selections.get(old.name) if old is not None else None
        places = _Places(self.new.sources, self.old.sources, _data_changed(self.new, self.old))
        return Comparison(experiment, old, places, selection or Selection(), interrupted=self.interrupted)


class Comparison:
    """One experiment beside itself as it was."""

    def __init__(
        self, new: Experiment, old: Experiment | None, places: _Places, selection: Selection, *, interrupted: bool
    ) -> None:
        self.new, self.old = new, old
        self._places = places
        self._interrupted = interrupted
        self._walk = Walk(old, selection) if old is not None else None
        self._known: dict[Any, Reason] = {}
        self._old_cells: set[Cell] | None = None
        self._names: dict[str, str] = {}  # of axes now, by what they were called
        if old is not None:
            self._names = _names(old.axes, new.axes)
            if old.n_cells <= MAX_KNOWN_CELLS:
                self._old_cells = set(old.cells())

    def reason(self, row: Outcome, step: Step, query: Query) -> Reason:
        """Return why a request of a row is not stored. What its step reads is settled in the row."""
        if self.old is None or self._walk is None:
            return Reason("new experiment", self.new.name, self.new.span.line_place)
        if row.sample >= self.old.samples:
            place = self._places.setting("samples") or self.new.span.line_place
            return Reason("more samples", f"{self.old.samples} -> {self.new.samples}", place)
        memo: tuple[Any, ...] = (
            step.name, tuple(row.cell[i] for i in step.head_axes), tuple(row.cell[i] for i in step.prompt_axes),
            row.sample if step.prompt_sample else -1,
        )  # fmt: skip
        if step.condition_needs:
            memo = (*memo, row.cell, row.sample)
        elif step.needs or len(self._names) != len(self.old.axes) or len(self._names) != len(self.new.axes):
            memo = (*memo, row.cell)
        if memo not in self._known:
            self._known[memo] = self._found(row, step, query)
        found = self._known[memo]
        if found is not UNANSWERED:
            return found
        old_row = self.old_row(row)
        if old_row is not None and not self._walk.takes(old_row):
            return LEFT_OUT
        return STOPPED if self._interrupted else UNANSWERED

    def _found(self, row: Outcome, step: Step, query: Query) -> Reason:
        assert self.old is not None
        old_step = self._old_step(step.name)
        if old_step is None:
            return Reason(f"new {step.kind}", step.name, step.span.line_place)
        for axis, position in zip(self.new.axes, row.cell, strict=True):
            level = axis.levels[position]
            if axis.name in self._names.values() and self._old_position(axis.name, level) is None:
                model = getattr(level.value, "use", None)
                kind = "model" if model else "value"
                return Reason(f"new {kind} {axis.name} =", level.shown, axis.span.line_place)
        added = next((a for a in self.new.axes if a.name not in self._names.values()), None)
        old_row = self.old_row(row)
        if old_row is None:
            return Reason("cells that were not in the grid before", "", self._places.word("skip"))
        held = self._held(old_step, old_row)
        if not held:
            return Reason(f"the condition of `{step.name}` holds now", "", self._places.word("when"))
        was = self.query(old_row, step.name)
        if was is None:
            return Reason(f"`{step.name}` could not be asked before", "", step.span.line_place)
        found = self.compared(was, query)
        if not found:
            return UNANSWERED
        first, more = found[0], [d.name for d in found[1:]]
        if added is not None and all(d.name.startswith("messages") for d in found):
            return Reason("new axis", added.name, added.span.line_place)
        beside = f" (and {', '.join(more[:MOST_NAMED])}{' ...' if len(more) > MOST_NAMED else ''})" if more else ""
        return Reason(first.said + beside, "", first.place)

    def old_row(self, row: Outcome) -> Outcome | None:
        """Return the row of the earlier program at the same place, with what was answered; None where it had none."""
        assert self.old is not None
        assert self._walk is not None
        levels = {a.name: a.levels[i] for a, i in zip(self.new.axes, row.cell, strict=True)}
        cell = []
        for axis in self.old.axes:
            name = self._names.get(axis.name)
            position = self._old_position(name, levels[name]) if name is not None else 0
            if position is None:
                return None
            cell.append(position)
        if self._old_cells is not None and tuple(cell) not in self._old_cells:
            return None
        old_row = self._walk.row(tuple(cell), row.sample)
        for step in self.old.steps:
            if step.name in row.results:
                settle(old_row, step, row.results[step.name])
        return old_row

    def query(self, old_row: Outcome, name: str) -> Query | None:
        """Return the request that a step of the earlier program made; None where it made none."""
        assert self._walk is not None
        step = self._old_step(name)
        if step is None or not self._held(step, old_row):
            return None
        try:
            return self._walk.query(step, old_row)
        except (MissingInput, EvalFault, KeyError):
            return None

    def compared(self, old: Query, new: Query) -> list[Difference]:
        """Return how two requests differ, and where in the source the change stands."""
        return [Difference(d.name, d.old, d.new, self._places.of(d)) for d in compare(old, new)]

    def _old_step(self, name: str) -> Step | None:
        assert self.old is not None
        return next((s for s in self.old.steps if s.name == name), None)

    def _held(self, step: Step, old_row: Outcome) -> bool:
        try:
            return step.condition is None or step.condition(old_row.frame) is True
        except (MissingInput, EvalFault, KeyError):
            return False

    def _old_position(self, name: str, level: Level) -> int | None:
        """Return which level of an earlier axis is one of now: by its name, or where that is new, by its value."""
        assert self.old is not None
        axis = next(a for a in self.old.axes if self._names.get(a.name) == name)
        found = axis.position(level.shown)
        if found is None and level.label is not None:
            found = next((i for i, x in enumerate(axis.levels) if x.label is not None and x.value == level.value), None)
        return found


class _Places:
    """Where in the sources of now something was edited: lines that say something, and were not there before."""

    def __init__(self, new: Mapping[str, Source], old: Mapping[str, Source], data: str) -> None:
        self._hunks = [(line, place) for line, place in _hunks(new, old) if line.partition("#")[0].strip()]
        self._data = data

    def of(self, difference: Difference) -> str:
        """Return the place of a difference; nothing where it is not certain."""
        if difference.name == "messages" or difference.name.startswith("role"):
            return self._only()
        if not difference.name.startswith("messages["):
            named = self.setting("use" if difference.name == "model" else difference.name)
            return named or self._holding([shown(difference.new)]) or self._only()
        return self._holding(_around(difference.old, difference.new)) or self._data or self._only()

    def setting(self, name: str) -> str:
        """Return the edited line that sets something; nothing where there is none."""
        pattern = re.compile(rf"\b{re.escape(name)}\s*[=:]")
        return next((place for line, place in self._hunks if pattern.search(line)), "")

    def word(self, word: str) -> str:
        """Return the edited line that starts with a word, or the only one."""
        return next((place for line, place in self._hunks if line.lstrip().startswith(word)), "") or self._only()

    def _holding(self, texts: list[str]) -> str:
        for text in texts:
            first = text.strip().partition("\n")[0]
            found = {place for line, place in self._hunks if first and first in line}
            if len(found) == 1:
                return found.pop()
        return ""

    def _only(self) -> str:
        return self._hunks[0][1] if len(self._hunks) == 1 and not self._data else ""


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
    else:
        for i, (was_said, now_said) in enumerate(zip(before, after, strict=True)):
            if was_said.role != now_said.role:
                found.append(Difference(f"role of messages[{i}]", was_said.role, now_said.role))
            if was_said.text != now_said.text:
                found.append(Difference(f"messages[{i}].{now_said.role}", was_said.text, now_said.text))
    if old.head.replicate != new.head.replicate:
        found.append(Difference("replicate", old.head.replicate, new.head.replicate))
    if old.sample != new.sample:
        found.append(Difference("sample", old.sample, new.sample))
    return found


def middle(old: str, new: str) -> tuple[str, str]:
    """Return what is left of two texts without their common beginning and end.

    >>> middle("step by step", "step-by-step")
    (' by ', '-by-')
    """
    start = common(old, new)
    end = common(old[start:][::-1], new[start:][::-1])
    return old[start : len(old) - end], new[start : len(new) - end]


def shown(value: Any) -> str:
    """Return a parameter as the language writes it; `unset` for none."""
    if value is None:
        return "unset"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + " }"
    return render(value) or str(value)


def _names(old: tuple[Axis, ...], new: tuple[Axis, ...]) -> dict[str, str]:
    """Return what the axes of before are called now: one that went, and one that came with a level of it, are one."""
    olds, news = {a.name: a for a in old}, {a.name: a for a in new}
    found = {n: n for n in olds if n in news}
    gone, come = [a for a in old if a.name not in news], [a for a in new if a.name not in olds]
    if len(gone) == len(come) == 1 and {x.shown for x in gone[0].levels} & {x.shown for x in come[0].levels}:
        found[gone[0].name] = come[0].name
    return found


def _around(old: str, new: str) -> list[str]:
    """Return the changed words of a text, with what stands beside them: one of these stands in the changed line."""
    _, now = middle(old, new)
    start = common(old, new)
    end = start + len(now)
    first = new.rfind("\n", 0, start) + 1
    last = new.find("\n", end)
    left = new[max(first, start - AROUND) : start]
    right = new[end : min(len(new) if last < 0 else last, end + AROUND)]
    wide = [left + now + right, left + now, now + right]
    return [now, *wide] if len(now) >= AROUND else [*wide, now]


def _data_changed(new: Program, old: Program) -> str:
    """Return the data file whose content changed; nothing where none did, or several."""
    changed = [
        name for name, sha256 in new.files.items()
        if name not in new.sources and old.files.get(name) not in (None, sha256)
    ]  # fmt: skip
    return changed[0].rpartition("/")[2] if len(changed) == 1 else ""


def _hunks(new: Mapping[str, Source], old: Mapping[str, Source]) -> Iterable[tuple[str, str]]:
    """Yield the lines of sources that were not there before, or stand where others were taken out, and their places."""
    for name, source in new.items():
        before = old[name].text.splitlines() if name in old else []
        lines = source.text.splitlines()
        matcher = difflib.SequenceMatcher(None, before, lines, autojunk=False)
        for kind, _, _, first, end in matcher.get_opcodes():
            if kind == "equal":
                continue
            for i in range(first, max(end, first + 1)):
                if i < len(lines):
                    yield lines[i], f"{source.name}:{i + 1}"
