"""`emdsl report`: a study as one page to read, print and send on."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.charted import table_of
from emdsl.cli.counts import show_counts
from emdsl.cli.results import drift_of, each_row, interval_of, measure_table, odd_of, relations
from emdsl.compiler.compile import compile_file
from emdsl.errors import UsageError
from emdsl.experiment import ASK
from emdsl.highlight import html as coloured
from emdsl.outcomes import database
from emdsl.outcomes.summaries import costs, readable, score_bins
from emdsl.report import charts
from emdsl.report.page import Page, Picture, Sheet, html
from emdsl.report.transcripts import packed
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Measure, Program
    from emdsl.outcome import Outcome
    from emdsl.outcomes.summaries import Bins
    from emdsl.prompt import Message

KEPT = "kept"


@click.command("report")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM)
@session.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A file that ends in .html."
)
def command(file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path) -> int:
    """Write FILE's outcomes as one page: measures with charts, scores, what was dropped, cost, transcripts to filter.

    It needs no network and no emdsl to be read, and holds every answer. It shows what is stored by now.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError("-o takes a file that ends in .html")
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    page = _page(here, file, program)
    fresh = output.with_name(f"{output.name}.{os.getpid()}.new")
    try:
        fresh.write_text(console.mask(html(page)), encoding="utf-8", errors="replace")
        fresh.replace(output)  # whole or not at all
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
    marked = "   (SIMULATED)" if page.simulated else ""
    console.say(f"Written: {output}, {output.stat().st_size / 1e6:,.1f} MB{marked}")
    return 0


def _page(here: Session, file: Path, program: Program) -> Page:
    sent = _Sent(program)
    counts, notices = each_row(here, file, program, sent.see)
    with console.recorded(silent=True) as plan:
        show_counts(counts)
    study = here.study(file)
    tables = relations(here, file, program.experiments)
    with database.opened(here.cache, study) as (connection, _):
        found = [database.completeness(connection, study, e) for e in program.experiments]
        bins = [b for e in program.experiments for b in score_bins(connection, e, study)]
        paid = [r for e in program.experiments for r in costs(connection, e, study)]
        parts = [(e, readable(connection, e, study), sent.prompts[e.name]) for e in program.experiments]
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    whole = "complete" if not any(f[1] for f in found) else f"{sum(f[1] for f in found):,} of them incomplete"
    return Page(
        title=study,
        made=f"{sum(f[0] for f in found):,} outcomes, {whole}; made {now} by emdsl {__version__}, "
        f"program {program.digest.hex()[:16]}",
        simulated=any(f[2] for f in found),
        notices=[*notices, *drift_of(here, file, program.experiments), *odd_of(here, file, program.experiments)],
        programs=[(here.relative(Path(p)), coloured(s.text)) for p, s in program.sources.items()],
        plan="".join(text for text, err in plan if not err),
        measures=[_sheet(m, r) for m, r in tables],
        scores=[_scores(b) for b in bins],
        dropped=_dropped(tables),
        costs=_costs(paid),
        transcripts=packed(parts, console.mask),
    )


class _Sent:
    """What each ask of each row sent."""

    def __init__(self, program: Program) -> None:
        self.prompts: dict[str, dict[str, list[tuple[Message, ...] | None]]] = {
            e.name: {s.name: [] for s in e.steps if s.kind == ASK} for e in program.experiments
        }

    def see(self, experiment: Experiment, rows: list[Outcome]) -> None:
        for name, sent in self.prompts[experiment.name].items():
            for row in rows:
                query = row.results[name].query
                sent.append(query.prompt.messages if query is not None else None)


def _sheet(measure: Measure, result: database.Result | None) -> Sheet:
    if result is None:
        return Sheet(name=measure.name, said="left out: see the note above", columns=(), rows=())
    columns, rows, _ = measure_table(measure, result)
    table = table_of(measure, result)
    level = interval_of(measure)
    written = " ".join(measure.whole.text.split())
    pictures = [
        Picture(
            svg=charts.inline_svg(
                charts.chart_of(table, kind),
                f"{measure.name}: {measure.function} by {', '.join(g.name for g in table.groups)}, as a {kind}; "
                "the table below holds the numbers",
            ),
            said=f"{measure.function}{f' with {level}' if level else ''}" if kind != charts.HEAT else measure.function,
        )
        for kind in charts.kinds_of(table)
    ]
    return Sheet(
        name=measure.name, said=written, columns=columns, rows=rows,
        numeric=frozenset((measure.function, "n", "planned", "p", "p_holm")), pictures=pictures,
    )  # fmt: skip


def _scores(bins: Bins) -> Picture:
    lines = [f"{n} {', '.join(f'{t:g}' for t in ts)}" for n, ts in zip(bins.names, bins.thresholds, strict=True) if ts]
    said = " x ".join(bins.names) + ("; dashed: thresholds of the program, " + "; ".join(lines) if lines else "")
    return Picture(svg=charts.inline_svg(charts.scores_chart(bins), f"How often scores lie where: {said}"), said=said)


def _dropped(tables: list[tuple[Measure, database.Result | None]]) -> list[Picture]:
    rows = list(_reasons(tables))
    if not rows:
        return []
    said = "Of each measure, the share of its draws that are kept, and the reasons why others are not"
    return [Picture(svg=charts.inline_svg(charts.dropped_chart(rows), said), said=said)]


def _reasons(tables: list[tuple[Measure, database.Result | None]]) -> Iterator[tuple[str, str, int]]:
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
        known = f"{usd or 0:,.4f}" if priced == n else "unknown" if not priced else f"{usd:,.4f} for {priced:,} of them"
        rows.append((step, model, f"{n:,}", *("?" if x is None else f"{int(x):,}" for x in (into, out)),
                     "" if thought is None else f"{int(thought):,}", known))  # fmt: skip
    return Sheet(
        name="Cost", said="Answers that this study uses, each once; what they cost when they were given",
        columns=("step", "model", *numeric), rows=rows, numeric=frozenset(numeric),
    )  # fmt: skip
