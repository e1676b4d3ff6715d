"""Why a request is pending: the change since the program that ran last.

Two programs are compared cell by cell, by the names of axes and levels. Changes are looked for in the order in which
people think of them: a new level, more samples, another model, another parameter, another text.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emdsl.frame import EvalFault, MissingInput
from emdsl.prompt import common
from emdsl.run.rows import Rows, Selection, holds, settle, variant_of
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Axis, Cell, Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.run.data_edits import DataEdit
    from emdsl.source import Source
    from emdsl.value import Level

MAX_OLD_CELLS = 300_000  # of a previous grid whose cells are kept; a larger one is taken to have had all cells
CONTEXT = 12  # characters beside a change, by which its place in the source is found
MAX_NAMED = 4  # ingredients named beside the first


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request is pending; reasons that differ in `item` alone are shown together."""

    what: str  # `new value k =`, `temperature`
    item: str = ""
    place: str = ""  # `file:line`

    @property
    def group(self) -> tuple[str, str]:
        """What reasons that are shown together have in common."""
        return self.what, self.place


BAD_REPLY = Reason("requested again: the last reply could not be read")
UNANSWERED = Reason("requested before without an answer, or dropped since")
LEFT_OUT = Reason("left out by --samples, --only or --pilot in the last run")
STOPPED = Reason("the last run was stopped first")


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient in which two keys differ; `name` is `model`, a parameter, `messages[2].user`, `sample`."""

    name: str
    old: Any
    new: Any
    place: str = ""

    @property
    def text(self) -> str:
        """The difference in words, without its place."""
        if self.name == "messages":
            n = self.new - self.old
            return f"prompt changed: {abs(n)} message{'' if abs(n) == 1 else 's'} {'more' if n > 0 else 'fewer'}"
        if self.name.startswith("messages["):
            old, new = middle(self.old, self.new)
            n = max(len(old), len(new))
            return f"prompt text changed ({n:,} character{'' if n == 1 else 's'})"
        return f"{self.name} {shown(self.old)} -> {shown(self.new)}"


@dataclass(frozen=True)
class PreviousProgram:
    """The program of a run before, beside the program of now; `selections` are those of that run, by experiment."""

    new: Program
    old: Program
    selections: Mapping[str, Selection] = field(default_factory=dict)
    interrupted: bool = False

    @cached_property
    def data_edits(self) -> list[DataEdit]:
        """The edits of data files since."""
        new, old = ({n: x for n, x in p.files.items() if n not in p.sources} for p in (self.new, self.old))
        if new == old:
            return []
        from emdsl.run.data_edits import data_edits  # noqa: PLC0415 - few plans have edited data

        return data_edits(self.new, self.old)

    def of(self, experiment: Experiment) -> Comparison:
        """Return an experiment beside the one of its name, or beside the only one that was renamed."""
        olds, news = ({e.name: e for e in p.experiments} for p in (self.old, self.new))
        removed, added = ([e for n, e in a.items() if n not in b] for a, b in ((olds, news), (news, olds)))
        old = olds.get(experiment.name)
        if old is None and len(removed) == len(added) == 1:
            old = removed[0]
        selection = self.selections.get(old.name) if old is not None else None
        places = _Places(self.new.sources, self.old.sources, _data_changed(self.new, self.old))
        return Comparison(experiment, old, places, selection or Selection(), interrupted=self.interrupted)


class Comparison:
    """One experiment beside the same experiment of the previous program."""

    def __init__(
        self, new: Experiment, old: Experiment | None, places: _Places, selection: Selection, *, interrupted: bool
    ) -> None:
        self.new, self.old = new, old
        self._places = places
        self._interrupted = interrupted
        self._rows = Rows(old, selection) if old is not None else None
        self._reasons: dict[Any, Reason] = {}
        self._old_cells: dict[Cell, Cell] | None = None  # by the first position of each of its names
        self._names: dict[str, str] = {}  # of axes, by their previous name
        self._old_axes: dict[str, _OldAxis] = {}  # by their name now
        self._last_cell: tuple[Cell | None, Cell | None] = (None, None)  # now, and before
        if old is not None:
            self._names = _names(old.axes, new.axes)
            self._old_axes = {self._names[a.name]: _OldAxis(a) for a in old.axes if a.name in self._names}
            if old.n_cells <= MAX_OLD_CELLS:
                self._old_cells = _by_names(old)

    def reason(self, row: Outcome, step: Step, query: Query) -> Reason:
        """Return why a request of a row is not stored; the answers that it reads are settled in the row."""
        if self.old is None or self._rows is None:
            return self._new_experiment
        if row.sample >= self.old.samples:
            return self._more_samples
        memo: tuple[Any, ...] = variant_of(step, row)
        if step.condition_needs:
            memo = (*memo, row.cell, row.sample)
        elif step.needs or len(self._names) != len(self.old.axes) or len(self._names) != len(self.new.axes):
            memo = (*memo, row.cell)
        if memo not in self._reasons:
            self._reasons[memo] = self._changed(row, step, query)
        reason = self._reasons[memo]
        if reason is not UNANSWERED:
            return reason
        old_cell = self._old_cell(row.cell)
        if old_cell is not None and row.sample >= self.old.samples_of(old_cell):
            return self._more_samples
        if old_cell is not None and not self._rows.takes_at(old_cell, row.sample):
            return LEFT_OUT
        return STOPPED if self._interrupted else UNANSWERED

    @cached_property
    def _new_experiment(self) -> Reason:
        return Reason("new experiment", self.new.name, self.new.span.line_place)

    @cached_property
    def _more_samples(self) -> Reason:
        assert self.old is not None
        place = self._places.setting("samples") or self.new.span.line_place
        by_cell = self.old.cell_samples or self.new.cell_samples
        return Reason("more samples", "" if by_cell else f"{self.old.samples} -> {self.new.samples}", place)

    def _changed(self, row: Outcome, step: Step, query: Query) -> Reason:
        """Return the change that makes a request another one; UNANSWERED for none."""
        assert self.old is not None
        old_step = self._old_step(step.name)
        if old_step is None:
            return Reason(f"new {step.kind}", step.name, step.span.line_place)
        new_level = self._new_level(row)
        if new_level is not None:
            return new_level
        old_row = self.old_row(row)
        if old_row is None:
            return Reason("new cells", "", self._places.word("skip"))
        if not holds(old_step, old_row):
            return Reason(f"the condition of `{step.name}` holds now", "", self._places.word("when"))
        was = self.query(old_row, step.name)
        if was is None:
            return Reason(f"`{step.name}` had no request before", "", step.span.line_place)
        differences = self.compared(was, query)
        if not differences:
            return UNANSWERED
        first, more = differences[0], [d.name for d in differences[1:]]
        added = next((a for a in self.new.axes if a.name not in self._names.values()), None)
        if added is not None and all(d.name.startswith("messages") for d in differences):
            return Reason("new axis", added.name, added.span.line_place)
        beside = f" (and {', '.join(more[:MAX_NAMED])}{' ...' if len(more) > MAX_NAMED else ''})" if more else ""
        return Reason(first.text + beside, "", first.place)

    def _new_level(self, row: Outcome) -> Reason | None:
        """Return the first level of a row's cell that its axis did not have before."""
        for axis, position in zip(self.new.axes, row.cell, strict=True):
            level = axis.levels[position]
            if axis.name in self._old_axes and self._old_axes[axis.name].position(level) is None:
                kind = "model" if getattr(level.value, "use", None) else "value"
                return Reason(f"new {kind} {axis.name} =", level.shown, axis.span.line_place)
        return None

    def old_row(self, row: Outcome) -> Outcome | None:
        """Return the previous program's row of the same cell, with the answers of now; None if it had none."""
        assert self.old is not None
        assert self._rows is not None
        cell = self._old_cell(row.cell)
        if cell is None:
            return None
        old_row = self._rows.row(cell, row.sample)
        for step in self.old.steps:
            if step.name in row.results:
                settle(old_row, step, row.results[step.name])
        return old_row

    def _old_cell(self, cell: Cell) -> Cell | None:
        """Return the previous program's cell of the same levels; None if it had none."""
        if cell is not self._last_cell[0]:
            self._last_cell = cell, self._found_cell(cell)
        return self._last_cell[1]

    def _found_cell(self, cell: Cell) -> Cell | None:
        assert self.old is not None
        levels = {a.name: a.levels[i] for a, i in zip(self.new.axes, cell, strict=True)}
        found = []
        for axis in self.old.axes:
            name = self._names.get(axis.name)
            position = self._old_axes[name].position(levels[name]) if name is not None else 0
            if position is None:
                return None
            found.append(position)
        return tuple(found) if self._old_cells is None else self._old_cells.get(tuple(found))

    def query(self, old_row: Outcome, name: str) -> Query | None:
        """Return the request of a step of the previous program; None if it made none."""
        assert self._rows is not None
        step = self._old_step(name)
        if step is None or not holds(step, old_row):
            return None
        try:
            return self._rows.query(step, old_row)
        except (MissingInput, EvalFault, KeyError):
            return None

    def compared(self, old: Query, new: Query) -> list[Difference]:
        """Return how two requests differ, each with the place of the change in the source."""
        return [Difference(d.name, d.old, d.new, self._places.of(d)) for d in compare(old, new)]

    def _old_step(self, name: str) -> Step | None:
        assert self.old is not None
        return next((s for s in self.old.steps if s.name == name), None)


def _by_names(old: Experiment) -> dict[Cell, Cell]:
    """Return the cells of an experiment by the names of their levels: by the first position of each name.

    On a dependent axis a name can have several positions, one for each of its values.
    """
    firsts = [_OldAxis(a).firsts for a in old.axes]
    if all(first == i for axis in firsts for i, first in enumerate(axis)):
        return {cell: cell for cell in old.cells()}
    return {tuple(axis[i] for axis, i in zip(firsts, cell, strict=True)): cell for cell in old.cells()}


class _OldAxis:
    """An axis of the previous program."""

    def __init__(self, axis: Axis) -> None:
        self._levels = axis.levels

    @cached_property
    def _positions(self) -> dict[str, int]:
        """The first position of each name."""
        return {level.shown: i for i, level in reversed(list(enumerate(self._levels)))}

    @property
    def firsts(self) -> list[int]:
        """The first position of the name of each level."""
        return [self._positions[level.shown] for level in self._levels]

    def position(self, level: Level) -> int | None:
        """Return the position that a level of now had: by its name, or if that is new, by its value."""
        position = self._positions.get(level.shown)
        if position is None and level.label is not None:
            same = (i for i, x in enumerate(self._levels) if x.label is not None and x.value == level.value)
            position = next(same, None)
        return position


class _Places:
    """The edited lines of the sources of now, without blank lines and comments."""

    def __init__(self, new: Mapping[str, Source], old: Mapping[str, Source], data: str) -> None:
        self._hunks = [(line, place) for line, place in _hunks(new, old) if line.partition("#")[0].strip()]
        self._data = data

    def of(self, difference: Difference) -> str:
        """Return the place of a difference; empty if it is not certain."""
        if difference.name == "messages" or difference.name.startswith("role"):
            return self._only()
        if not difference.name.startswith("messages["):
            named = self.setting("use" if difference.name == "model" else difference.name)
            return named or self._holding([shown(difference.new)]) or self._only()
        return self._holding(_around(difference.old, difference.new)) or self._data or self._only()

    def setting(self, name: str) -> str:
        """Return the edited line that sets a parameter, or nothing."""
        pattern = re.compile(rf"\b{re.escape(name)}\s*[=:]")
        return next((place for line, place in self._hunks if pattern.search(line)), "")

    def word(self, word: str) -> str:
        """Return the edited line that starts with a word, or the only one."""
        return next((place for line, place in self._hunks if line.lstrip().startswith(word)), "") or self._only()

    def _holding(self, texts: list[str]) -> str:
        for text in texts:
            first = text.strip().partition("\n")[0]
            places = {place for line, place in self._hunks if first and first in line}
            if len(places) == 1:
                return places.pop()
        return ""

    def _only(self) -> str:
        return self._hunks[0][1] if len(self._hunks) == 1 and not self._data else ""


def compare(old: Query, new: Query) -> list[Difference]:
    """Return the ingredients that differ between two requests, in the order of the key."""
    if old.key == new.key:
        return []
    differences = []
    a, b = old.settings.model, new.settings.model
    for name, was, now in (
        ("model", a.use, b.use), ("revision", a.revision, b.revision), ("server", a.server_id, b.server_id),
        ("wire meaning", a.service.key_version, b.service.key_version),
    ):  # fmt: skip
        differences += [Difference(name, was, now)] if was != now else []
    was_params, now_params = dict(old.settings.params), dict(new.settings.params)
    for name in sorted({*was_params, *now_params}):
        if was_params.get(name) != now_params.get(name):
            differences.append(_parameter(name, was_params.get(name), now_params.get(name)))
    before, after = old.prompt.messages, new.prompt.messages
    if len(before) != len(after):
        differences.append(Difference("messages", len(before), len(after)))
    else:
        for i, (was_message, now_message) in enumerate(zip(before, after, strict=True)):
            if was_message.role != now_message.role:
                differences.append(Difference(f"role of messages[{i}]", was_message.role, now_message.role))
            if was_message.text != now_message.text:
                differences.append(Difference(f"messages[{i}].{now_message.role}", was_message.text, now_message.text))
    if old.settings.replicate != new.settings.replicate:
        differences.append(Difference("replicate", old.settings.replicate, new.settings.replicate))
    if old.sample != new.sample:
        differences.append(Difference("sample", old.sample, new.sample))
    return differences


def _parameter(name: str, old: Any, new: Any) -> Difference:
    """Return the difference of a parameter, by the name of the setting that a study has for it."""
    if name != "json_schema":
        return Difference(name, old, new)
    if old is None or new is None:
        return Difference("strict", None if old is None else True, None if new is None else True)
    return Difference("shape", old["properties"], new["properties"])


def middle(old: str, new: str) -> tuple[str, str]:
    """Return two texts without their common beginning and end.

    >>> middle("step by step", "step-by-step")
    (' by ', '-by-')
    """
    start = common(old, new)
    end = common(old[start:][::-1], new[start:][::-1])
    return old[start : len(old) - end], new[start : len(new) - end]


def shown(value: Any) -> str:
    """Return a parameter as the language writes it; `unset` if it is not set."""
    if value is None:
        return "unset"
    if isinstance(value, tuple | list):
        if value[:1] == ["in order"] and all(
            isinstance(v, list) and len(v) == len(("name", "value")) for v in value[1:]
        ):
            return shown(dict(value[1:]))  # as a key has it
        return "[" + ", ".join(shown(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + " }"
    return render(value) or str(value)


def _names(old: tuple[Axis, ...], new: tuple[Axis, ...]) -> dict[str, str]:
    """Return the name of each previous axis now: an axis that was renamed shares a level with the only new one."""
    olds, news = {a.name: a for a in old}, {a.name: a for a in new}
    names = {n: n for n in olds if n in news}
    removed, added = [a for a in old if a.name not in news], [a for a in new if a.name not in olds]
    if len(removed) == len(added) == 1 and {x.shown for x in removed[0].levels} & {x.shown for x in added[0].levels}:
        names[removed[0].name] = added[0].name
    return names


def _around(old: str, new: str) -> list[str]:
    """Return the changed words of a text, with and without their context: one of these is in the changed line."""
    _, now = middle(old, new)
    start = common(old, new)
    end = start + len(now)
    first = new.rfind("\n", 0, start) + 1
    last = new.find("\n", end)
    left = new[max(first, start - CONTEXT) : start]
    right = new[end : min(len(new) if last < 0 else last, end + CONTEXT)]
    wide = [left + now + right, left + now, now + right]
    return [now, *wide] if len(now) >= CONTEXT else [*wide, now]


def _data_changed(new: Program, old: Program) -> str:
    """Return the data file whose content changed; empty if none did, or several."""
    changed = [
        name for name, sha256 in new.files.items()
        if name not in new.sources and old.files.get(name) not in (None, sha256)
    ]  # fmt: skip
    return changed[0].rpartition("/")[2] if len(changed) == 1 else ""


def _hunks(new: Mapping[str, Source], old: Mapping[str, Source]) -> Iterable[tuple[str, str]]:
    """Yield the lines of sources that are new, or that follow removed ones, each with its place."""
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
