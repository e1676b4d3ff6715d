"""Experiment, Axis, Cell, Step, Measure: a study with all names resolved to values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from emdsl.frame import Frame, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from emdsl.annotation import Annotation
    from emdsl.frame import Fn
    from emdsl.lang import ast
    from emdsl.prompt import Prompt
    from emdsl.query import RequestSettings
    from emdsl.reply_format import ReplyFormat
    from emdsl.source import Diagnostic, Source, Span
    from emdsl.value import Level, Number, Row

Cell = tuple[int, ...]  # for each axis, the position of its level in `Axis.levels`

ASK, JUDGE = "ask", "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A named dimension; `levels` are those of all cells, in the order of their first use."""

    name: str
    levels: tuple[Level, ...]
    span: Span = field(compare=False, repr=False)

    @property
    def places(self) -> dict[str, list[int]]:
        """The positions of the levels of each label, in order: on a dependent axis a label can have several values."""
        places: dict[str, list[int]] = {}
        for i, level in enumerate(self.levels):
            places.setdefault(level.shown, []).append(i)
        return places


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """An ask or a judge, with all that it reads, so that equal requests of many cells are made once.

    `needs` are the steps whose results its request reads; `condition_needs` those that its `when` reads. Axes are
    positions. A judge has a `reply_format`, and an ask whose answer is also read; `prompt` raises MissingInput.
    """

    name: str
    kind: str
    needs: tuple[str, ...]
    settings: Callable[[Frame], RequestSettings]
    settings_axes: tuple[int, ...]
    prompt: Callable[[Frame], Prompt]
    prompt_axes: tuple[int, ...]
    prompt_sample: bool
    condition: Fn | None = None
    condition_needs: tuple[str, ...] = ()
    reply_format: ReplyFormat | None = None
    format_by_cell: Callable[[Frame], ReplyFormat] | None = None  # of an ask whose labels differ by cell
    choices: ast.Expr | None = None  # the expression of labels that differ by cell
    draw: int = 0  # of a judge: the number of the draw, its sample in the query; an ask uses the row's sample
    again: int = 0  # maximum repetitions of a judge whose reply cannot be read
    rubric: str = ""
    set_at: Mapping[str, Span] = field(
        default_factory=dict, repr=False
    )  # parameters set by the statement, or by a `set`
    set_by_rubric: Mapping[str, Span] = field(default_factory=dict, repr=False)
    span: Span = field(repr=False)
    settings_levels: Callable[[Cell], tuple[int, ...]] = field(init=False, repr=False)  # of a cell: at `settings_axes`
    prompt_levels: Callable[[Cell], tuple[int, ...]] = field(init=False, repr=False)  # of a cell: at `prompt_axes`

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings_levels", levels_at(self.settings_axes))
        object.__setattr__(self, "prompt_levels", levels_at(self.prompt_axes))

    @property
    def weighs(self) -> bool:
        """Whether its verdict is read from a token's candidates, so that their mass is known."""
        return self.reply_format is not None and self.reply_format.weighs

    @property
    def readings(self) -> tuple[Column, ...]:
        """What an answer is read as, each with a column `NAME_FIELD` and one for its reason; none of a judge."""
        if self.kind != ASK or self.reply_format is None:
            return ()
        kinds = {"number": "double", "bool": "bool"}
        return tuple(Column(name=p.name, kind=kinds.get(p.kind, "text")) for p in self.reply_format.parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its verdict; empty for a score, a JSON reply and labels that differ by cell."""
        return self.reply_format.labels if self.reply_format is not None else ()


def levels_at(axes: tuple[int, ...]) -> Callable[[Cell], tuple[int, ...]]:
    """Return the function that takes the levels of some axes out of a cell."""
    if len(axes) > 1:
        return itemgetter(*axes)
    return (lambda cell: (cell[axes[0]],)) if axes else (lambda _: ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A `let`, or a field of an answer, with a column in the results; `kind` is double, text or bool.

    `written` is the expression of a measure that the column was made for; the program names no such `let`. `path` is
    the field of an axis of records that a measure has after `by`.
    """

    name: str
    kind: str
    written: str = ""
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The names whose values draws share: one, or two that cross; none: each draw is its own cluster.

    `detected` clusters were chosen by `emdsl.compiler.clusters`, so that a group with few of them goes without.
    `items_only`: an interval without clusters speaks about these items only, not about others like them. `few` are the
    axes over items with too few levels to be detected.
    """

    names: tuple[str, ...] = ()
    detected: bool = False
    items_only: bool = False
    few: tuple[str, ...] = ()
    written: bool = False  # at the interval itself
    crossed: str = ""  # the axis whose levels share each sample's set of demonstrations, if there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSamples:
    """The number of samples of each cell, by its levels on some axes, both as positions."""

    axes: tuple[int, ...]
    numbers: Mapping[tuple[int, ...], int]
    levels: Callable[[Cell], tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", levels_at(self.axes))


NO_CLUSTERS = Clusters()
MIN_DETECTED = 5  # levels of an axis that is a cluster unless the experiment says otherwise
MIN_CROSSED = 3  # sets of demonstrations that cross with it, so that intervals are clustered by both


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval: method and level in (0, 1), the clusters; for a bootstrap the resamples and the seed."""

    method: str
    level: float
    clusters: Clusters = NO_CLUSTERS
    resamples: int = 1_000
    seed: int = 0

    @property
    def cluster(self) -> tuple[str, ...]:
        """The names of the clusters."""
        return self.clusters.names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupLet:
    """A `let` with `over`: a function in Python gets a list for each argument, and returns one value for each row.

    The rows of a group differ in `axes` (positions) and, with `samples`, in their sample. An argument is a function of
    a frame, and whether it is the same in all rows: then it is passed once. `steps` are those that the arguments read,
    directly or not. `call` takes the arguments and the number of rows, and returns None for a row without a value.
    """

    axes: tuple[int, ...]
    samples: bool
    args: tuple[tuple[Fn, bool], ...]
    steps: tuple[str, ...]
    call: Callable[[list[Any], int], tuple[Any, ...]]


CORRECTED_COLUMNS = (  # of a rate with `via`, beside the corrected rate and its interval
    "raw", "sensitivity", "specificity", "annotated", "positive", "reason",
)  # fmt: skip
DOSE_COLUMNS = (  # of a `dose`, beside k50 and its interval
    *(f"{part}{end}" for part in ("floor", "ceiling", "slope") for end in ("", "_low", "_high")),
    "trend", "p_trend", "p_fit", "curve",
)  # fmt: skip


def plain_difference(scale: str, of: str) -> bool:
    """Whether a contrast is the difference of rates or means, for which sample sizes can be computed."""
    return scale in ("", "difference") and of in ("rate", "mean")


WEIGHTS = {1: (1,), 2: (1, -1), 4: (1, -1, -1, 1)}  # of the sides of a measure, by their number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """`measure name = function(value given condition) by axes`; `value` is None for `count()`.

    An `at_least` is the share of cells in which `least` of `among` draws hold. A `contrast` of the function `of`
    compares its `sides`, paired by the axes `pair` and the sample; of four, the difference of the first two with that
    of the others. With `versus`, the last group is each level of that axis, compared with the `baseline`. A `slope` of
    the function `of` is over the numeric axis `slope`. An `agreement` is between `value` and `other`, `nominal` for
    labels. A `quantile` is at `at`, in [0, 1].
    """

    name: str
    function: str
    value: ast.Expr | None
    condition: ast.Expr | None
    interval: Interval | None
    of: str = ""
    sides: tuple[ast.Expr, ...] = ()  # none, two or four
    versus: str = ""
    baseline: ast.Expr | None = None
    scale: str = "difference"  # or `ratio`, `odds`
    equivalent: float | None = None  # the margin of an equivalence test
    pair: tuple[str, ...] = ()
    other: ast.Expr | None = None
    nominal: bool = True
    others: tuple[ast.Expr, ...] = ()  # of an `agreement` of more than two
    metric: str = ""  # of an `agreement`: that of Krippendorff's alpha, if it is given
    at: float = 0.5
    effect: float | None = None  # the difference that the study should detect, or None
    correct: str = ""  # of a contrast: how its p-values are corrected, `holm` or `bh`
    family: str = ""  # the contrasts that are corrected together; "" is the measure's own groups
    slope: str = ""  # of a `slope` or a `dose`: the axis
    steepness: float | None = None  # of a `dose`: the slope of its law, if it is given
    equal: str = ""  # of a rate or mean: the axis whose levels weigh the same
    via: Literal["", "ppi", "rogan_gladen"] = ""  # of a rate: how people's verdicts correct it
    person: ast.Expr | None = None  # then the condition on their verdict
    strata: tuple[str, ...] = ()  # then the axes within which rows were drawn for people
    labels: tuple[str, ...] = ()  # of `shares`: the labels, each a group
    factors: tuple[str, ...] = ()  # of `components`: the axes, `sample` and `let`s
    least: int = 1  # of an `at_least`: minimum number of draws of a cell
    among: int | None = None  # out of this number; None: out of all kept draws
    by: tuple[tuple[str, ...], ...]
    levels: tuple[Axis | tuple[str, ...] | None, ...] = ()  # of each group: its axis, or its labels in their order
    asks: tuple[str, ...]  # the asks that its draws come from
    steps: tuple[str, ...]  # all steps that it reads: those asks and their judges
    reads: tuple[str, ...]  # the steps and lets that it names
    span: Span = field(repr=False)
    whole: Span = field(repr=False)  # from its first word to its last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    """One grid with its steps, in topological order."""

    name: str
    axes: tuple[Axis, ...]
    samples: int  # of each cell, or the largest number if they differ
    seed: Any
    parallel: int | None
    budget: Number | None  # maximum USD of one run
    clusters: Clusters  # that every measure inherits
    cells: Callable[[], Iterator[Cell]] = field(repr=False)
    projected: Callable[[tuple[int, ...]], Iterator[tuple[int, ...]]] = field(repr=False)  # of cells to some axes
    n_cells: int
    n_skipped: int
    reads_absent: bool  # whether its grid reads rows of a missing dataset
    steps: tuple[Step, ...]
    lets: Mapping[str, Fn] = field(repr=False)
    groups: Mapping[str, GroupLet] = field(repr=False)  # the `let`s with `over`
    columns: tuple[Column, ...]
    annotations: tuple[Annotation, ...]
    measures: tuple[Measure, ...]
    drawn: tuple[str, ...]  # `let`s with rows of datasets that differ from row to row, as those of `draw`
    words: frozenset[str]
    thresholds: Mapping[str, tuple[float, ...]]  # of scores, by step
    conditions: Mapping[str, tuple[ast.Expr, ...]] = field(repr=False)  # as written, of the steps under a `when`
    cell_samples: CellSamples | None = None  # if cells have different numbers of samples
    inlined: Callable[[ast.Expr], ast.Expr] = field(repr=False)  # an expression over axes, steps and samples alone
    span: Span = field(repr=False)
    whole: Span = field(repr=False)  # from its first word to its last brace

    @property
    def constants(self) -> dict[str, Any]:
        """The settings that expressions can read."""
        return {"seed": self.seed} if self.seed is not None else {}

    def samples_of(self, cell: Cell) -> int:
        """Return the number of samples of a cell."""
        by_cell = self.cell_samples
        return self.samples if by_cell is None else by_cell.numbers[by_cell.levels(cell)]

    def frame(self, axes: tuple[int, ...], levels: tuple[int, ...], sample: int = 0) -> Frame:
        """Return a frame with levels for some axes, both given by position."""
        frame = Frame(self.constants, self.lets)
        frame["sample"] = sample
        for axis, position in zip(axes, levels, strict=True):
            level = self.axes[axis].levels[position]
            frame[self.axes[axis].name] = level.value
            frame.levels[self.axes[axis].name] = level
        return frame


def request_settings(experiment: Experiment) -> Iterator[tuple[Step, RequestSettings]]:
    """Yield the request settings of all steps of an experiment, as far as they are known."""
    for step in experiment.steps:
        for levels in experiment.projected(step.settings_axes):
            with suppress(MissingInput):
                yield step, step.settings(experiment.frame(step.settings_axes, levels))


class DataTable(Protocol):
    """The rows of a dataset, file after file."""

    @property
    def name(self) -> str:
        """Its name in the study."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of each column in the file."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of each column in the study."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows."""

    @property
    def files(self) -> Mapping[Path, str]:
        """Its files, with the SHA-256 of each."""

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of rows of each file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """All experiments of a study; `digest` changes with any of their content."""

    name: str
    experiments: tuple[Experiment, ...]
    warnings: tuple[Diagnostic, ...]
    digest: bytes
    files: Mapping[str, str]  # every file read, by resolved path, with its SHA-256 in hex; "" if it is missing
    links: Mapping[str, str] = field(repr=False)  # of these, by the path as written, if it is a link
    sources: Mapping[str, Source] = field(repr=False)  # of these, the `.em` files
    variables: Mapping[str, str | None] = field(repr=False)  # of the environment, read for URLs
    patterns: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict, repr=False)  # by folder: files
    absent: tuple[Diagnostic, ...] = ()  # missing datasets, and how to get them
    annotations: Mapping[str, str] = field(default_factory=dict)  # files of people's verdicts, as `files`
    datasets: tuple[DataTable, ...] = field(default=(), repr=False)  # that were read
