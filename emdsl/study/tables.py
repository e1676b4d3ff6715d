"""Measures of a study as tables: for people, as JSON and as LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import UnknownMeasure
from emdsl.experiment import CORRECTED_COLUMNS
from emdsl.outcomes import database
from emdsl.outcomes.draws import by_columns
from emdsl.outcomes.report_data import odd_answers
from emdsl.source import one_of
from emdsl.study.bars import bar, scale
from emdsl.study.compiled import unknown
from emdsl.study.latex import latex
from emdsl.study.screen import Part, Table
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from emdsl.experiment import Experiment, Measure, Program
    from emdsl.study.compiled import Compiled

MORE = {
    "components": ("levels", "se", "se_twice", "se_nested"),
    "dose": ("floor", "ceiling", "slope", "p_trend", "reason"),
}  # columns that people read, by function
HEADINGS = {"components": "share"}  # of a figure, where it is not the name of its function
NOT_GIVEN = "not_given"  # a draw for which a measure's `given` does not hold: it is not dropped
SIMULATED = "SIMULATED: the embedded simulator made these answers, not a model.\n"


def measure_results(study: Compiled) -> list[tuple[Measure, database.SqlResult | None]]:
    """Return every measure of a study with its rows; None for one that was left out of the load."""
    with study.tables() as (connection, _):
        return [
            (m, database.measure_rows(connection, study.name, m.name))
            for e in study.program.experiments
            for m in e.measures
        ]


def measures_json(study: Compiled, experiment: Experiment) -> dict[str, Any]:
    """Return an experiment's measures as lists of objects; None for one that was left out."""
    with study.tables() as (connection, _):
        results = {m.name: database.measure_rows(connection, study.name, m.name) for m in experiment.measures}
    return {
        name: [dict(zip(r.columns, row, strict=True)) for row in r.rows] if r is not None else None
        for name, r in results.items()
    }


def measure_parts(
    study: Compiled, *, bars: bool, only: Mapping[str, frozenset[str]] | None = None,
    marks: Mapping[str, str] | None = None,
) -> Iterator[Part]:  # fmt: skip
    """Yield every measure as a table; incomplete and simulated rows are marked.

    `bars` draws values and intervals too. `only` are the levels of axes whose groups are shown. `marks` are those of
    measures, by their registration.
    """
    simulated = False
    for measure, whole in measure_results(study):
        if whole is None:
            yield f"{measure.name}: left out\n"
            continue
        columns, rows, marked = measure_table(measure, _selected(measure, whole, only or {}), bars=bars)
        yield measure.name + (f"  [{mark}]" if (mark := (marks or {}).get(measure.name)) else "")
        hides = "use a wider terminal, or --json" if measure.factors else ""
        numeric = (heading_of(measure), "n", "planned")
        yield Table(columns, rows, numeric=numeric, hides=hides, optional=optional_columns(columns, rows))
        yield from design_effect(whole)
        yield ""
        simulated = simulated or marked
    yield from (f"{notice}\n" for notice in odd_notices(study))
    if simulated:
        yield SIMULATED


def optional_columns(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the columns that tell least: marks that the last line tells too, and which draws are not counted."""
    dropped, marks = (list(columns).index(c) for c in ("dropped", ""))
    same = [""] if all(row[marks] in ("", "simulated") for row in rows) else []
    return [*same, "planned", "dropped"] if any(row[dropped] for row in rows) else [*same, "dropped", "planned"]


def design_effect(result: database.SqlResult) -> Iterator[str]:
    """Yield a line with the design effects of a measure's groups: how much its clusters add to the variance."""
    at = result.columns.index("design_effect")
    found = [row[at] for row in result.rows if row[at] is not None]
    if found:
        low, high = min(found), max(found)
        yield f"design effect {low:.2f}" + (f" - {high:.2f}" if f"{low:.2f}" != f"{high:.2f}" else "")


def _selected(measure: Measure, result: database.SqlResult, only: Mapping[str, frozenset[str]]) -> database.SqlResult:
    """Return the rows of a measure whose groups are among some levels."""
    chosen = {i: only[path[0]] for i, path in enumerate(measure.by) if len(path) == 1 and path[0] in only}
    rows = [r for r in result.rows if all(_level(r[i]) in levels for i, levels in chosen.items())]
    return database.SqlResult(result.columns, rows)


def _level(value: Any) -> str:
    return (render(value) if not isinstance(value, float) or not value.is_integer() else str(int(value))) or str(value)


def odd_notices(study: Compiled) -> list[str]:
    """Return notices about answers that are cut, empty or blocked."""
    with study.tables() as (connection, _):
        return [odd.notice for e in study.program.experiments for odd in odd_answers(connection, e, study.name)]


def measures_latex(study: Compiled, marks: Mapping[str, str] | None = None) -> str:
    """Return every measure of a study as a tabular in LaTeX, each below its name in a comment.

    `marks` are those of measures, by their registration: each is the last line of its table.
    """
    tabulars = []
    for measure, result in measure_results(study):
        if result is None:
            continue
        columns, rows, marked = measure_table(measure, result)
        comment = "% SIMULATED: made by the embedded simulator, not by a model\n" if marked else ""
        kept = [i for i, c in enumerate(columns) if c or any(r[i] for r in rows)]
        table = latex(
            [columns[i] for i in kept], [[r[i] for i in kept] for r in rows], numeric=(heading_of(measure),),
            note=(marks or {}).get(measure.name, ""),
        )  # fmt: skip
        tabulars.append(f"% {measure.name}\n{comment}{table}")
    return "\n".join(tabulars)


def measure_table(
    measure: Measure, result: database.SqlResult, *, bars: bool = False
) -> tuple[list[str], list[list[Any]], bool]:
    """Return the columns and rows of a measure as people read them, and whether any row is simulated."""
    by = by_columns(measure)
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    level = interval_of(measure, rows)
    more = [c for c in more_of(measure) if any(r[c] is not None for r in rows)]
    tested = [*tests_of(measure), *more]
    limited = measure.condition is not None and any((r["dropped"] or {}).get(NOT_GIVEN) for r in rows)
    given = ["not given"] if limited else []
    columns = [*by, heading_of(measure), *([level] if level else []), *tested, "n", "planned", *given, "dropped", ""]
    figures = [(r[measure.function], r.get("low"), r.get("high")) for r in rows]
    ends = scale(figures)
    if bars:
        columns.insert(len(by), " ")
    lines = []
    for row, figure in zip(rows, figures, strict=True):
        marks = ["incomplete"] if not row["complete"] else []
        marks += ["simulated"] if row["simulated"] else []
        dropped = row["dropped"] or {}
        lines.append(
            [
                *(row[b] for b in by),
                *([bar(*figure, ends)] if bars else []),
                _figure(row[measure.function], _why_none(measure, row)),
                *([_interval(row)] if level else []),
                *(_short(row[p]) for p in tested),
                row["n"],
                row["n_planned"],
                *([dropped.get(NOT_GIVEN, 0)] if limited else []),
                ", ".join(f"{n} {r}" for r, n in sorted(dropped.items()) if r != NOT_GIVEN),
                " ".join(marks),
            ]
        )
    return columns, lines, any(r["simulated"] for r in rows)


def _why_none(measure: Measure, row: dict[str, Any]) -> str:
    """Return what stands for a figure that is missing."""
    if measure.factors and row["levels"] == row["n"]:
        return "in draw"  # each combination is one draw
    return "unknown" if row["n"] else "none kept"


def heading_of(measure: Measure) -> str:
    """Return the heading of a measure's figures."""
    return HEADINGS.get(measure.function, measure.function)


def more_of(measure: Measure) -> tuple[str, ...]:
    """Return further columns of a measure that people read."""
    if measure.via:
        return CORRECTED_COLUMNS
    return ("reason",) if measure.function == "contrast" and measure.of == "dose" else MORE.get(measure.function, ())


def _short(value: Any) -> Any:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else value


def _figure(value: float | None, missing: str) -> Any:
    return value if isinstance(value, int) else f"{value:.3f}" if value is not None else missing


def chosen_measure(
    program: Program, name: str | None, functions: Sequence[str] | None = None
) -> tuple[Experiment, Measure]:
    """Return a measure by its name, else the first, with its experiment.

    Args:
        program: The compiled study.
        name: The measure, or None.
        functions: Accept only measures by these functions.

    Raises:
        UnknownMeasure: There is no such measure, or none by these functions.
    """
    measures = {m.name: (e, m) for e in program.experiments for m in e.measures}
    fits = [n for n, (_, m) in measures.items() if functions is None or m.function in functions]
    if name is not None and name not in measures:
        raise UnknownMeasure(unknown("measure", name, list(measures)), parameter="measure")
    if not measures:
        raise UnknownMeasure(f"`{program.name}` has no measure")
    if not fits or (name is not None and name not in fits):
        function = f"`{name}` is a {measures[name][1].function}" if name is not None else "the study has none"
        raise UnknownMeasure(f"expected a measure by {one_of(functions or ())}; {function}", parameter="measure")
    return measures[name or fits[0]]


def interval_of(measure: Measure, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the interval of a measure's rows in words: `95 % wilson, clustered by q`; nothing if it has none."""
    interval = measure.interval
    if interval is None:
        return ""
    rows = [r for r in rows if r["low"] is not None or r["high"] is not None]
    if not rows:
        return ""
    joint = " jointly" if measure.labels else ""
    called = "profile" if "dose" in (measure.function, measure.of) else measure.via or interval.method
    method = f"{interval.level * 100:g} % {called}{joint}"
    clustered = list(dict.fromkeys(r.get("clustered_by") for r in rows))
    named = [c for c in clustered if c]
    if named:
        few = len(interval.cluster) > 1 and interval.cluster[1:] == ("sample",) and named == [interval.cluster[0]]
        sets = ", these samples only" if few and measure.function != "dose" and not measure.metric else ""
        return f"{method}, clustered by {' or by '.join(named)}{' or not' if None in clustered else ''}{sets}"
    return f"{method}, these items only" if interval.clusters.items_only or interval.cluster else method


def tests_of(measure: Measure) -> list[str]:
    """Return the columns of a contrast's p-values that people read: of those that it asks for."""
    if measure.function != "contrast":
        return []
    corrected = [f"p_{measure.correct}"] if measure.correct else []
    return ["p", *corrected, *(["p_equivalent"] if measure.equivalent is not None else [])]


def _interval(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return f"from {low:.3f}" if low is not None else f"up to {high:.3f}" if high is not None else ""
    return f"{low:.3f} - {high:.3f}"
