"""Axes to cells: product, zip, union, skip, and axes that depend on axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler.operations import elements
from emdsl.compiler.same_rows import ways
from emdsl.compiler.written import called, describe
from emdsl.digest import digest
from emdsl.frame import Fn, Frame, MissingInput, fail
from emdsl.source import Diagnostic, Label, Span
from emdsl.value import NULL, LabelledMap, Level, Missing, Row, Value, name_of, plain, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from emdsl.compiler.faults import Faults
    from emdsl.experiment import Cell

MAX_CELLS = 100_000_000  # of a grid, without what `skip` leaves out
MAX_ROWS = 1_000_000_000  # of them with their samples
KEPT_CELLS = 200_000  # cells remembered as tuples; more are made again each time they are gone through
MAX_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`for names in levels`: an axis, or several zipped; `reads` are the axes that its list depends on."""

    names: tuple[str, ...]
    levels: Fn
    reads: tuple[str, ...]
    span: Span
    list_span: Span
    written: tuple[tuple[str | None, ...], ...]  # the names by which declared things stand in the list
    item_spans: tuple[Span, ...] = ()  # of the items of a list that is written out


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipRule:
    """`skip when condition` with the axes that it reads."""

    condition: Fn
    reads: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One product: its sources in an order in which each comes after what it reads, and its skips."""

    sources: tuple[Source, ...]
    skips: tuple[SkipRule, ...]


@dataclass(slots=True)
class Levels:
    """All levels of an axis that were met, each once, in the order in which they were met."""

    met: list[Level] = field(default_factory=list)
    positions: dict[Any, int] = field(default_factory=dict)

    def position(self, level: Level) -> int:
        """Return the position of a level, which is taken in when it is new."""
        key = (level.label, _content(level.value))
        if key not in self.positions:
            self.positions[key] = len(self.met)
            self.met.append(level)
        return self.positions[key]


class Grid:
    """The cells of an experiment: the union of its blocks, each cell once."""

    def __init__(
        self, names: tuple[str, ...], blocks: tuple[Block, ...], constants: Mapping[str, Value],
        lets: Mapping[str, Fn], faults: Faults, span: Span,
    ) -> None:  # fmt: skip
        self.names = names
        self.levels = {name: Levels() for name in names}
        self._constants = constants
        self._lets = lets
        self._faults = faults
        self._lists: dict[tuple[int, tuple[int, ...]], list[tuple[int, ...]]] = {}
        self._walks = [_Walk(self, block) for block in blocks]
        self._cells: list[Cell] | None = None
        self.reads_absent = False  # whether a `skip` reads rows that are not here: which cells there are is not known
        n_whole = sum(walk.count(skipping=False) for walk in self._walks)
        if n_whole > MAX_CELLS:  # counted, not gone through: nothing that follows would end
            raise fail(
                "E422", f"this grid has {n_whole:,} cells, more than the maximum of {MAX_CELLS:,}", span,
                help="remove levels from its axes, or draw a subset: `draw(list, 100, seed: 1)`",
            )  # fmt: skip
        counts = [walk.count(skipping=True) for walk in self._walks]
        self.n_skipped = n_whole - sum(counts)
        self._overlap = len(blocks) > 1 and self._may_overlap()
        self.n_cells = sum(1 for _ in self._all()) if self._overlap else sum(counts)

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, always in the same order."""
        if self._cells is None and self.n_cells <= KEPT_CELLS:
            self._cells = list(self._all())
        return iter(self._cells) if self._cells is not None else self._all()

    def _all(self) -> Iterator[Cell]:
        seen: set[Cell] = set()
        for walk in self._walks:
            for cell in walk.cells():
                if not self._overlap:
                    yield cell
                elif cell not in seen:
                    seen.add(cell)
                    yield cell

    def projected(self, axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Yield the combinations of levels that some axes take in any cell, each once."""
        seen: set[tuple[int, ...]] = set()
        for walk in self._walks:
            for levels in walk.projected(tuple(self.names[i] for i in axes)):
                if levels not in seen:
                    seen.add(levels)
                    yield levels

    def _may_overlap(self) -> bool:
        """Whether two blocks can hold one cell; they cannot where an axis has other levels in each."""
        taken: list[dict[str, set[int]]] = []
        for walk in self._walks:
            taken.append({name: set() for name in self.names})
            for source in walk.block.sources:
                for key, groups in self._lists.items():
                    if key[0] == id(source):
                        for name, *levels in zip(source.names, *groups, strict=True):
                            taken[-1][name].update(levels)
        return any(all(a[name] & b[name] for name in self.names) for i, a in enumerate(taken) for b in taken[i + 1 :])

    def warn_of_idle_skips(self) -> None:
        """Say which skips leave no cell out."""
        if self.reads_absent:
            return
        matched = {span for walk in self._walks for span in walk.matched}
        for rule in dict.fromkeys(rule.span for walk in self._walks for rule in walk.block.skips):
            if rule not in matched:
                self._faults.warning(
                    "W402", "this `skip` skips no cell", rule,
                    note="its condition holds in no cell, or only in cells that are already skipped",
                    help="correct its condition, or delete it",
                )  # fmt: skip

    def frame(self) -> Frame:
        """Return a frame without any axis bound."""
        return Frame(self._constants, self._lets)

    def list_of(self, source: Source, bound: dict[str, int]) -> list[tuple[int, ...]]:
        """Return the level positions that a source takes, given the axes it reads; one for each name."""
        key = (id(source), tuple([bound[r] for r in source.reads]))
        if key not in self._lists:
            self._lists[key] = self._read_list(source, self.bind(bound, source.reads))
        return self._lists[key]

    def bind(self, bound: dict[str, int], names: tuple[str, ...]) -> Frame:
        """Return a frame with some axes bound to levels."""
        frame = self.frame()
        for name in names:
            level = self.levels[name].met[bound[name]]
            frame[name] = level.value
            frame.levels[name] = level
        return frame

    def _read_list(self, source: Source, frame: Frame) -> list[tuple[int, ...]]:
        try:
            levels = self._levels(source, source.levels(frame))
        except MissingInput as missing:  # rows that are not here: one level stands for them
            self._there((missing.missing,), source)
            levels = [tuple(Level(missing.missing.reason, missing.missing) for _ in source.names)]
        if not levels:
            raise fail("E406", "this axis has no levels", source.list_span, help="give it at least one value")
        if len(source.written) == len(levels):
            levels = [
                tuple(_as_written(x, n) for x, n in zip(group, names, strict=True))
                for group, names in zip(levels, source.written, strict=True)
            ]
        levels = _told_apart(levels)
        self._unlike(source, levels)
        return [tuple(self.levels[n].position(x) for n, x in zip(source.names, group, strict=True)) for group in levels]

    def _levels(self, source: Source, value: Value) -> list[tuple[Level, ...]]:
        if isinstance(value, Missing):
            raise MissingInput(value)
        if len(source.names) == 1:
            if isinstance(value, LabelledMap):
                return [(Level(label, v),) for label, v in value.entries]
            return [(level_of(v),) for v in self._there(elements(value, source.list_span), source)]
        if isinstance(value, LabelledMap):
            raise fail(
                "E403", "expected a list of groups for several axes, got a map of labels", source.list_span,
                help=f"write a list of groups: `[({', '.join(source.names)}), ...]`",
            )  # fmt: skip
        return [self._zipped(source, v) for v in elements(value, source.list_span)]

    def _zipped(self, source: Source, value: Value) -> tuple[Level, ...]:
        if not isinstance(value, tuple):
            raise fail(
                "E403",
                f"expected {len(source.names)} values in each group, but one of the groups is {describe(value)}",
                source.list_span,
                help=f"write {len(source.names)} values in each: `[({', '.join(source.names)}), ...]`",
            )
        if len(value) != len(source.names):
            raise fail(
                "E403",
                f"expected {len(source.names)} values in each group, but one of the groups has {len(value)}",
                source.list_span,
                help=f"give each group one value for {' and '.join(f'`{n}`' for n in source.names)}",
            )
        return tuple(level_of(v) for v in self._there(value, source))

    def _there(self, values: Sequence[Value], source: Source) -> Sequence[Value]:
        """Return values that are all there; raises EvalFault for a place of the data with nothing in it."""
        if any(v is None or v == NULL for v in values):
            raise fail(
                "E406", "a level of this axis is `null` in the data", source.list_span,
                help="exclude it: `[x for x in LIST if not (x is missing)]`",
            )  # fmt: skip
        return values

    def _unlike(self, source: Source, levels: list[tuple[Level, ...]]) -> None:
        """Equal levels are an error; equal values under two labels are a warning."""
        seen: dict[Any, str] = {}
        values: dict[bytes, str] = {}
        spans = source.item_spans if len(source.item_spans) == len(levels) else [source.list_span] * len(levels)
        for group, span in zip(levels, spans, strict=True):
            shown = tuple(x.shown for x in group)
            text = ", ".join(called(x) for x in group)[:MAX_SHOWN]
            if shown in seen:
                note, help_ = "", "remove one of them; for repeated draws set `samples`"
                if isinstance(group[0].value, Row):
                    note, help_ = ways([g[0] for g in levels], shown[0], source.list_span.text)
                what = f"duplicate level `{text}` of `{', '.join(source.names)}`"
                raise fail("E405", what, span, note=note, help=help_)
            seen[shown] = text
            content = digest("levels", *(_content(x.value) for x in group))
            if content in values:
                self._faults.warning(
                    "W401",
                    f"the levels `{values[content]}` and `{text}` have the same value",
                    span,
                    note="equal requests are sent once, so these cells share their answers",
                    help="remove one of the levels",
                )
            values[content] = text


class _Walk:
    """Goes through the product of one block, and leaves a branch as soon as a skip matches.

    Counting and projecting visit each combination of the levels that still matter once: a list or a skip is
    evaluated on the product of the axes that it reads, not for each cell.
    """

    def __init__(self, grid: Grid, block: Block) -> None:
        self._grid = grid
        self.block = block
        bound: list[str] = []
        self._skips: list[list[SkipRule]] = []  # for each source, the skips that can be read from then on
        left = list(block.skips)
        self._before: list[tuple[str, ...]] = []  # for each source, the names bound before
        for source in block.sources:
            self._before.append(tuple(bound))
            bound += source.names
            self._skips.append([s for s in left if set(s.reads) <= set(bound)])
            left = [s for s in left if not set(s.reads) <= set(bound)]
        self._relevant: list[tuple[str, ...]] = []  # of these, what something reads
        for depth, before in enumerate(self._before):
            read = {n for s in block.sources[depth:] for n in s.reads}
            read |= {n for rules in self._skips[depth:] for rule in rules for n in rule.reads}
            self._relevant.append(tuple(n for n in before if n in read))
        self._skip_memo: dict[tuple[int, tuple[int, ...]], bool] = {}
        self._counted: dict[tuple[Any, ...], int] = {}
        self.matched: set[Span] = set()  # skips that leave something out

    def cells(self) -> Iterator[Cell]:
        """Yield the cells of the block."""
        return self._from(0, {})

    def _from(self, depth: int, bound: dict[str, int]) -> Iterator[Cell]:
        if depth == len(self.block.sources):
            yield tuple(bound[name] for name in self._grid.names)
            return
        source = self.block.sources[depth]
        for group in self._grid.list_of(source, bound):
            bound.update(zip(source.names, group, strict=True))
            if not self._skipped(depth, bound):
                yield from self._from(depth + 1, bound)

    def count(self, *, skipping: bool) -> int:
        """Return how many cells there are, or would be without any skip."""
        return self._count(0, {}, skipping)

    def _count(self, depth: int, bound: dict[str, int], skipping: bool) -> int:
        if depth == len(self.block.sources):
            return 1
        source = self.block.sources[depth]
        key = (depth, skipping, *[bound[n] for n in self._relevant[depth]])
        if key not in self._counted:
            groups = self._grid.list_of(source, bound)
            matters = bool(skipping and self._skips[depth])
            if depth + 1 < len(self.block.sources):
                matters |= not {*source.names}.isdisjoint(self._relevant[depth + 1])
            total = 0
            for group in groups if matters else groups[:1]:
                bound.update(zip(source.names, group, strict=True))
                if not (skipping and self._skipped(depth, bound)):
                    total += self._count(depth + 1, bound, skipping)
            self._counted[key] = total if matters else total * len(groups)
        return self._counted[key]

    def projected(self, names: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
        """Yield the combinations that the levels of some axes take in any cell, each once."""
        pairs = zip(self._before, self._relevant, strict=True)
        keys = [tuple(n for n in before if n in relevant or n in names) for before, relevant in pairs]
        return self._project(0, {}, [*keys, names], set())

    def _project(
        self, depth: int, bound: dict[str, int], keys: list[tuple[str, ...]], seen: set[tuple[int, ...]]
    ) -> Iterator[tuple[int, ...]]:
        levels = tuple([bound[n] for n in keys[depth]])
        if depth == len(self.block.sources):
            yield levels
            return
        if (depth, *levels) in seen:
            return
        seen.add((depth, *levels))
        source = self.block.sources[depth]
        for group in self._grid.list_of(source, bound):
            bound.update(zip(source.names, group, strict=True))
            if not self._skipped(depth, bound):
                yield from self._project(depth + 1, bound, keys, seen)

    def _skipped(self, depth: int, bound: dict[str, int]) -> bool:
        skipped = False
        for rule in self._skips[depth]:  # each is asked, so that one which leaves nothing out is known
            key = (id(rule), tuple([bound[r] for r in rule.reads]))
            skips = self._skip_memo.get(key)
            if skips is None:
                skips = self._skip_memo[key] = self._holds(rule, bound)
            skipped |= skips
        return skipped

    def _holds(self, rule: SkipRule, bound: dict[str, int]) -> bool:
        try:
            value = rule.condition(self._grid.bind(bound, rule.reads))
        except MissingInput as missing:
            value = missing.missing
        if isinstance(value, Missing):
            self._grid.reads_absent |= value != NULL
            return False  # it reads rows that are not here, or a place with nothing in it
        if not isinstance(value, bool):
            raise fail("E511", f"expected a condition (true or false), got {describe(value)}", rule.span)
        if value:
            self.matched.add(rule.span)
        return value


def _told_apart(groups: list[tuple[Level, ...]]) -> list[tuple[Level, ...]]:
    """Return levels in which rows that hold the same values have names of their own, whatever their order in the file.

    Rows with other columns are named after their columns; rows that are wholly equal are numbered. The same row twice
    stays one level twice, which is a fault.
    """
    renamed = [list(group) for group in groups]
    for i in range(len(groups[0]) if groups else 0):
        alike: dict[str, list[int]] = {}
        for at, group in enumerate(groups):
            if isinstance(group[i].value, Row) and "id" not in group[i].value.columns:
                alike.setdefault(group[i].shown, []).append(at)
        for shown, places in alike.items():
            if len(places) > 1:
                names = _names(shown, [groups[at][i].value for at in places])
                for at, name in zip(places, names, strict=True):
                    renamed[at][i] = Level(name, groups[at][i].value)
    return [tuple(group) for group in renamed]


def _names(shown: str, rows: list[Row]) -> list[str]:
    """Return what rows are called that would all be called `shown`."""
    by_column = [digest("row by column", {c: plain(v) for c, v in row.columns.items()}).hex()[:12] for row in rows]
    names = [shown] * len(rows) if len(set(by_column)) == 1 else by_column
    places: dict[str, list[tuple[str, int]]] = {}
    for name, row in zip(names, rows, strict=True):
        rows_called = places.setdefault(name, [])
        if (row.dataset, row.position) not in rows_called:
            rows_called.append((row.dataset, row.position))
    numbers = [places[n].index((r.dataset, r.position)) + 1 for n, r in zip(names, rows, strict=True)]
    return [name if number == 1 else f"{name} #{number}" for name, number in zip(names, numbers, strict=True)]


def level_of(value: Value) -> Level:
    """Return the level that a value is: a declared thing by its name, a row by its `id`."""
    if isinstance(value, Row):
        columns = value.columns
        shown = render(columns["id"]) if "id" in columns else None
        if shown is None and len(columns) == 1:
            shown = render(next(iter(columns.values())))
        return Level(shown if shown is not None else value.content.hex()[:12], value)
    return Level(name_of(value), value)


def _as_written(level: Level, name: str | None) -> Level:
    """Return the level of a declared thing by the name that it has in this file."""
    declared = name_of(level.value)
    return Level(name, level.value) if name is not None and declared is not None and level.label == declared else level


def _content(value: Value) -> bytes:
    """Return a digest that differs if values do; one without content (a prompt, a function) is only equal to itself.

    A row is known by its place: two equal rows are two levels, if their ids differ.
    """
    try:
        at = (value.dataset, value.position) if isinstance(value, Row) else ()
        return digest("level", type(value).__name__, at, plain(value))
    except TypeError:
        return digest("level", type(value).__name__, id(value))


def in_order(sources: list[Source], faults: Faults) -> tuple[Source, ...] | None:
    """Return sources so that each comes after those it reads; None where they go in a circle."""
    ordered: list[Source] = []
    left = list(sources)
    while left:
        bound = {n for s in ordered for n in s.names}
        ready = [s for s in left if set(s.reads) <= bound]
        if not ready:
            faults.add(
                Diagnostic(
                    code="E402",
                    message="these axes depend on each other",
                    span=left[0].span,
                    labels=tuple(Label(span=s.span, text="and this one") for s in left[1:]),
                    help="give one of them levels that do not use the other",
                )
            )
            return None
        ordered.append(ready[0])
        left.remove(ready[0])
    return tuple(ordered)
