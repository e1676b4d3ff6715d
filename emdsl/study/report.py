"""Report: a study as one HTML page to read, print and share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.experiment import ASK
from emdsl.files import write_whole
from emdsl.highlight import html as coloured
from emdsl.outcomes import database
from emdsl.outcomes.report_data import costs, readable, score_bins
from emdsl.redact import mask
from emdsl.report import charts
from emdsl.report.page import Page, Picture, Sheet, html
from emdsl.report.transcripts import packed
from emdsl.study.counts import count_parts
from emdsl.study.deviations import marked
from emdsl.study.drift import drift_notices
from emdsl.study.figures import curves_of, table_of
from emdsl.study.refresh import each_row
from emdsl.study.screen import text_of
from emdsl.study.tables import heading_of, measure_results, measure_table, odd_notices, tests_of
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.experiment import Experiment, Measure, Program
    from emdsl.outcome import Outcome
    from emdsl.outcomes.report_data import Bins
    from emdsl.prompt import Message
    from emdsl.study.compiled import Compiled

KEPT = "kept"


def write_report(study: Compiled, output: Path, registered: Path | None = None) -> bool:
    """Write the report of a study, whole or not at all; return whether any answer in it is simulated.

    Measures are marked by the registration `registered`, by default the one beside the study.

    Raises:
        UsageError: The file name does not end in `.html`, or the file cannot be written.
        OutcomesError: The tables cannot be loaded.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError("expected a file name that ends in .html", parameter="output")
    page = _page(study, *marked(study, registered))
    try:
        write_whole(output, mask(html(page)).encode("utf-8", "replace"), public=True)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", parameter="output") from error
    return page.simulated


def _page(study: Compiled, marks: Mapping[str, str], deviating: list[str]) -> Page:
    program = study.program
    sent = _Sent(program)
    counts, notices = each_row(study, sent.see)
    results = measure_results(study)
    with study.tables() as (connection, _):
        totals = [database.completeness(connection, study.name, e) for e in program.experiments]
        bins = [b for e in program.experiments for b in score_bins(connection, e, study.name)]
        paid = [r for e in program.experiments for r in costs(connection, e, study.name)]
        parts = [(e, readable(connection, e, study.name), sent.prompts[e.name]) for e in program.experiments]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    n_rows, n_incomplete = (sum(t[i] for t in totals) for i in (0, 1))
    state = f"{n_incomplete:,} of them incomplete" if n_incomplete else "complete"
    return Page(
        title=study.name,
        made=f"{n_rows:,} rows, {state}; made {now} by emdsl {__version__}, study digest {program.digest.hex()[:16]}",
        simulated=any(t[2] for t in totals),
        notices=[*notices, *deviating, *drift_notices(study), *odd_notices(study)],
        programs=[(study.project.relative(Path(p)), coloured(s.text)) for p, s in program.sources.items()],
        plan=text_of(count_parts(counts)),
        measures=[_sheet(m, r, marks.get(m.name, "")) for m, r in results],
        scores=[_scores(b) for b in bins],
        dropped=_dropped(results),
        costs=_costs(paid),
        transcripts=packed(parts, mask),
    )


class _Sent:
    """The messages of each ask of each row."""

    def __init__(self, program: Program) -> None:
        self.prompts: dict[str, dict[str, list[tuple[Message, ...] | None]]] = {
            e.name: {s.name: [] for s in e.steps if s.kind == ASK} for e in program.experiments
        }

    def see(self, experiment: Experiment, rows: list[Outcome]) -> None:
        for name, sent in self.prompts[experiment.name].items():
            for row in rows:
                query = row.results[name].query
                sent.append(query.prompt.messages if query is not None else None)


def _sheet(measure: Measure, result: database.SqlResult | None, mark: str) -> Sheet:
    if result is None:
        return Sheet(name=measure.name, mark=mark, caption="left out: see the notes above", columns=(), rows=())
    columns, rows, _ = measure_table(measure, result)
    table = curves_of(measure, result) or table_of(measure, result)
    level = table.interval
    written = " ".join(measure.whole.text.split())
    pictures = [
        Picture(
            svg=charts.inline_svg(
                charts.chart_of(table, kind),
                f"{measure.name}: {measure.function} by {', '.join(g.name for g in table.groups)}, as a {kind}; "
                "the table below holds the numbers",
            ),
            caption=f"{measure.function}{f' with {level}' if level else ''}"
            if kind != charts.HEAT
            else measure.function,
        )
        for kind in charts.kinds_of(table)
    ]
    return Sheet(
        name=measure.name, mark=mark, caption=written, columns=columns, rows=rows,
        numeric=frozenset((heading_of(measure), "n", "planned", *tests_of(measure))), pictures=pictures,
    )  # fmt: skip


def _scores(bins: Bins) -> Picture:
    lines = [f"{n} {', '.join(f'{t:g}' for t in ts)}" for n, ts in zip(bins.names, bins.thresholds, strict=True) if ts]
    caption = " x ".join(bins.names) + ("; dashed: thresholds of the program, " + "; ".join(lines) if lines else "")
    return Picture(
        svg=charts.inline_svg(charts.scores_chart(bins), f"How often scores lie where: {caption}"), caption=caption
    )


def _dropped(tables: list[tuple[Measure, database.SqlResult | None]]) -> list[Picture]:
    rows = list(_reasons(tables))
    if not rows:
        return []
    caption = "Of each measure, the share of its draws that are kept, and the reasons why others are not"
    return [Picture(svg=charts.inline_svg(charts.dropped_chart(rows), caption), caption=caption)]


def _reasons(tables: list[tuple[Measure, database.SqlResult | None]]) -> Iterator[tuple[str, str, int]]:
    for measure, result in tables:
        totals = {KEPT: 0}
        for values in result.rows if result is not None else []:
            row = dict(zip(result.columns, values, strict=True)) if result is not None else {}
            totals[KEPT] += row["n"]
            for reason, n in (row["dropped"] or {}).items():
                totals[reason] = totals.get(reason, 0) + n
        yield from ((measure.name, reason, n) for reason, n in totals.items() if n)


def _costs(paid: list[tuple[Any, ...]]) -> Sheet:
    numeric = ("answers", "tokens in", "tokens out", "of these reasoning", "US dollars")
    rows = []
    for step, model, n, into, out, thought, usd, priced in paid:
        cost = f"{usd or 0:,.4f}" if priced == n else "unknown" if not priced else f"{usd:,.4f} for {priced:,} of them"
        rows.append((step, model, f"{n:,}", *("?" if x is None else f"{int(x):,}" for x in (into, out)),
                     "" if thought is None else f"{int(thought):,}", cost))  # fmt: skip
    return Sheet(
        name="Cost", caption="Answers that this study uses, each once; what they cost when they were given",
        columns=("step", "model", *numeric), rows=rows, numeric=frozenset(numeric),
    )  # fmt: skip
