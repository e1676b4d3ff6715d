"""Report: the viewer of a study with its data in one HTML page, to read, print and share."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.files import write_whole
from emdsl.highlight import spans
from emdsl.outcomes.report_data import score_bins
from emdsl.redact import mask
from emdsl.report import charts
from emdsl.report.packing import encoded
from emdsl.report.page import html
from emdsl.study.browsed import experiment_of, overview_of
from emdsl.study.coordinates import Coordinates
from emdsl.study.counts import count_parts
from emdsl.study.deviations import marked
from emdsl.study.drift import drift_notices
from emdsl.study.figures import page_charts
from emdsl.study.refresh import each_row
from emdsl.study.report_rows import Rows
from emdsl.study.screen import plain_json, text_of
from emdsl.study.tables import measure_results
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.experiment import Experiment, Measure
    from emdsl.outcomes import database
    from emdsl.outcomes.report_data import Bins
    from emdsl.study.compiled import Compiled

CAN = ("figures",)  # what pages offer only where their source has it: see `view/endpoints.py`
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
    rows = Rows(study.program)
    counts, notices = each_row(study, rows.see)
    marks, deviating = marked(study, registered)
    answers = _answers(study, [*notices, *deviating, *drift_notices(study)])
    answers["figures"] = _figures(study, text_of(count_parts(counts)), marks)
    with study.tables() as (connection, _):
        experiments = [(e, Coordinates(e)) for e in study.program.experiments]
        columns, texts = rows.finish(connection, study.name, experiments)
    first = mask(json.dumps(plain_json(answers), ensure_ascii=False, separators=(",", ":")))
    page = html(study.name, encoded(first.encode("utf-8", "replace")), columns, texts)
    try:
        write_whole(output, page.encode(), public=True)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", parameter="output") from error
    return any(part["simulated"] for part in answers["overview"]["experiments"])


def _answers(study: Compiled, notices: list[str]) -> dict[str, Any]:
    """Return the answers of the viewer's server to what does not depend on a choice: see `view/endpoints.py`."""
    experiments = study.program.experiments
    with study.tables() as (connection, _):
        parts = [overview_of(e, study.name, connection) for e in experiments]
    return {
        "state": {"generation": 0, "loaded_at": time.time() // 60 * 60, "problem": "", "runs": [], "marks": 0},
        "study": {
            "study": study.name, "file": study.project.relative(study.file), "version": __version__, "generation": 0,
            "person": "", "can": list(CAN), "experiments": [experiment_of(e, Coordinates(e)) for e in experiments],
        },
        "overview": {"generation": 0, "notices": notices, "experiments": parts, "part": None},
    }  # fmt: skip


def _figures(study: Compiled, plan: str, marks: Mapping[str, str]) -> dict[str, Any]:
    """Return what a report shows beside the figures of the viewer: charts, marks, the plan and the study."""
    program = study.program
    results = measure_results(study)
    of = {m.name: e for e in program.experiments for m in e.measures}
    with study.tables() as (connection, _):
        bins = [b for e in program.experiments for b in score_bins(connection, e, study.name)]
    return {
        "digest": program.digest.hex()[:16],
        "programs": [(_file_name(study, p), spans(s.text)) for p, s in program.sources.items()],
        "plan": plan,
        "measures": {
            m.name: {"mark": marks.get(m.name, ""), "pictures": _pictures(of[m.name], m, r)} for m, r in results
        },
        "scores": [_scores(b) for b in bins],
        "dropped": _dropped(results),
    }


def _file_name(study: Compiled, path: str) -> str:
    """Return the path of a source in the project, or the name of a file of the standard library."""
    return path if path.startswith("std:") else study.project.relative(Path(path))


def _picture(svg: str, caption: str) -> dict[str, str]:
    return {"svg": svg, "caption": caption}


def _pictures(experiment: Experiment, measure: Measure, result: database.SqlResult | None) -> list[dict[str, str]]:
    if result is None:
        return []
    by = f" by {', '.join('.'.join(path) for path in measure.by)}" if measure.by else ""
    return [
        _picture(
            charts.inline_svg(
                chart, f"{measure.name}: {measure.function}{by}, as {kind}; the table below has the numbers"
            ),
            f"{measure.function}, as {kind}",
        )
        for kind, chart in page_charts(experiment, measure, result)
    ]


def _scores(bins: Bins) -> dict[str, str]:
    lines = [f"{n} {', '.join(f'{t:g}' for t in ts)}" for n, ts in zip(bins.names, bins.thresholds, strict=True) if ts]
    caption = " x ".join(bins.names)
    if len(bins.names) > 1 and lines:  # the figure of one judge has them in a note
        caption += "; dashed: thresholds of the study, " + "; ".join(lines)
    return _picture(charts.inline_svg(charts.scores_chart(bins), f"How often scores lie where: {caption}"), caption)


def _dropped(tables: list[tuple[Measure, database.SqlResult | None]]) -> list[dict[str, str]]:
    rows = list(_reasons(tables))
    if not rows:
        return []
    caption = "Of each measure, the share of its draws that are kept, and the reasons why others are not"
    return [_picture(charts.inline_svg(charts.dropped_chart(rows), caption), caption)]


def _reasons(tables: list[tuple[Measure, database.SqlResult | None]]) -> Iterator[tuple[str, str, int]]:
    for measure, result in tables:
        totals = {KEPT: 0}
        for values in result.rows if result is not None else []:
            row = dict(zip(result.columns, values, strict=True)) if result is not None else {}
            totals[KEPT] += row["n"]
            for reason, n in (row["dropped"] or {}).items():
                totals[reason] = totals.get(reason, 0) + n
        yield from ((measure.name, reason, n) for reason, n in totals.items() if n)
