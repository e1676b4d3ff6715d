"""Experiment, Axis, Cell, Step, Measure: a program whose names have become values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.frame import Frame, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from emdsl.frame import Fn
    from emdsl.judge import Reading
    from emdsl.lang import ast
    from emdsl.prompt import Prompt
    from emdsl.query import Head
    from emdsl.source import Diagnostic, Source, Span
    from emdsl.value import Level, Number

Cell = tuple[int, ...]  # for each axis, the position of its level in `Axis.levels`

ASK, JUDGE = "ask", "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A named dimension; `levels` are all that any cell takes, in the order in which they were met."""

    name: str
    levels: tuple[Level, ...]
    span: Span = field(compare=False, repr=False)

    def position(self, shown: str) -> int | None:
        """Return the position of the level that people call `shown`, or None."""
        for i, level in enumerate(self.levels):
            if level.shown == shown:
                return i
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """An ask or a judge. It is known what it reads, so that its requests are made once for all cells alike.

    `needs` are the steps whose outcome its request reads; `condition_needs` those that its `when` reads.
    Axes are positions. `judge` alone has a `reading`; `prompt` raises MissingInput.
    """

    name: str
    kind: str
    needs: tuple[str, ...]
    head: Callable[[Frame], Head]
    head_axes: tuple[int, ...]
    prompt: Callable[[Frame], Prompt]
    prompt_axes: tuple[int, ...]
    prompt_sample: bool
    condition: Fn | None = None
    condition_needs: tuple[str, ...] = ()
    reading: Reading | None = None
    draw: int = 0  # of a judge: which of its draws, a field of the query; an ask's is the row's sample
    again: int = 0  # how often a judge is asked once more where its reply cannot be read
    rubric: str = ""
    set_at: Mapping[str, Span] = field(default_factory=dict, repr=False)  # parameters of the statement, or a `set`
    set_by_rubric: Mapping[str, Span] = field(default_factory=dict, repr=False)
    span: Span = field(repr=False)

    @property
    def weighs(self) -> bool:
        """Whether its verdict is weighed from the candidates of a token, so that their mass is known."""
        return self.reading is not None and self.reading.weighs


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A `let` that outcomes show: a number, a text, or true and false; `kind` is double, text or bool."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """How wide: the method, and the level in (0, 1); of a bootstrap what is drawn anew, how often, from which seed."""

    method: str
    level: float
    cluster: tuple[str, ...] = ()  # axes, `sample` among them; none: each draw by itself
    resamples: int = 1_000
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """`measure name = function(value given condition) by axes`; `value` is None for `count()`.

    An `at_least` is the share of cells of whose `among` draws `least` hold. A `contrast` is of the function `of`,
    between the two `sides`, paired by the axes `pair` and the sample. A
    `slope` is of the function `of` over the axis `slope`, a number. An `agreement` is of `value` and `other`,
    `nominal` for labels. A `quantile` is at `at`, in [0, 1].
    """

    name: str
    function: str
    value: ast.Expr | None
    condition: ast.Expr | None
    interval: Interval | None
    of: str = ""
    sides: tuple[ast.Expr, ast.Expr] | None = None
    pair: tuple[str, ...] = ()
    other: ast.Expr | None = None
    nominal: bool = True
    at: float = 0.5
    effect: float | None = None  # the difference that it is meant to show; None: not said
    holm: bool = False  # of a contrast: probabilities, corrected for all groups of the measure
    slope: str = ""  # of a `slope`: the axis
    least: int = 1  # of an `at_least`: how many draws of a cell
    among: int | None = None  # of how many; None: of all that are kept
    by: tuple[tuple[str, ...], ...]
    asks: tuple[str, ...]  # the asks that its draws come from
    steps: tuple[str, ...]  # all that it reads, those asks and the judgements in between
    reads: tuple[str, ...]  # the steps and lets that it names
    span: Span = field(repr=False)
    whole: Span = field(repr=False)  # from its first word to its last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    """One grid with its steps, in an order in which each comes after what it reads."""

    name: str
    axes: tuple[Axis, ...]
    samples: int
    seed: Any
    parallel: int | None
    budget: Number | None  # USD that one run may spend
    cells: Callable[[], Iterator[Cell]] = field(repr=False)
    projected: Callable[[tuple[int, ...]], Iterator[tuple[int, ...]]] = field(repr=False)  # of cells on some axes
    n_cells: int
    n_skipped: int
    reads_absent: bool  # whether its grid reads rows that are not here
    steps: tuple[Step, ...]
    lets: Mapping[str, Fn] = field(repr=False)
    columns: tuple[Column, ...]
    measures: tuple[Measure, ...]
    words: frozenset[str]
    thresholds: Mapping[str, tuple[float, ...]]  # numbers that the scores of a step are compared with
    span: Span = field(repr=False)
    whole: Span = field(repr=False)  # from its first word to its last brace

    @property
    def constants(self) -> dict[str, Any]:
        """Settings that expressions can read."""
        return {"seed": self.seed} if self.seed is not None else {}

    def frame(self, axes: tuple[int, ...], levels: tuple[int, ...], sample: int = 0) -> Frame:
        """Return a frame in which some axes, given by position, have levels."""
        frame = Frame(self.constants, self.lets)
        frame["sample"] = sample
        for axis, position in zip(axes, levels, strict=True):
            level = self.axes[axis].levels[position]
            frame[self.axes[axis].name] = level.value
            frame.levels[self.axes[axis].name] = level
        return frame


def heads(experiment: Experiment) -> Iterator[tuple[Step, Head]]:
    """Yield every head by which the steps of an experiment ask, as far as it is known."""
    for step in experiment.steps:
        for levels in experiment.projected(step.head_axes):
            with suppress(MissingInput):
                yield step, step.head(experiment.frame(step.head_axes, levels))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """All experiments of one `.em` file with its imports; `digest` changes with anything that they hold."""

    name: str
    experiments: tuple[Experiment, ...]
    warnings: tuple[Diagnostic, ...]
    digest: bytes
    files: Mapping[
        str, str
    ]  # every file that was read, by resolved path, with its SHA-256 in hex; "" where it is absent
    links: Mapping[str, str] = field(repr=False)  # of these, by the path as written, where a link led there
    sources: Mapping[str, Source] = field(repr=False)  # of these, the programs
    variables: Mapping[str, str | None] = field(repr=False)  # of the environment, that addresses were read from
    absent: tuple[Diagnostic, ...] = ()  # datasets that are not here, and how to get them
