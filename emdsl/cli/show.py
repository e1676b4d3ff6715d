"""`emdsl show`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.counts import warning_parts, warnings_json
from emdsl.study.deviations import marked
from emdsl.study.drift import drift_notices
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale
from emdsl.study.screen import Aside, counted
from emdsl.study.story import Stories, tell_key, tell_rows
from emdsl.study.tables import measure_parts, measures_json, measures_latex

if TYPE_CHECKING:
    from pathlib import Path


@click.command("show")
@options.with_options(options.STUDY, options.AS_JSON)
@options.option(
    "--row", "where", metavar="SQL", envvar=None, help="Show everything about a row, by a condition in SQL."
)
@options.option("--key", metavar="KEY", envvar=None, help="Show the row with this request, by the key of an example.")
@options.option(
    "--limit", type=click.IntRange(1), default=1, envvar=None, help="With --row, --key: maximum rows. [default: 1]"
)
@options.option("--format", "form", type=click.Choice(("table", "latex")), default="table", help="[default: table]")
@options.REGISTERED
@options.option("--bars/--no-bars", default=None, help="Draw values and intervals.  [default: on a terminal]")
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, where: str | None,
    key: str | None, limit: int, form: str, registered: Path | None, bars: bool | None,
) -> int:  # fmt: skip
    """Show the measures of FILE as tables, computed from the cached answers. Nothing is sent.

    With --row it shows the first matching row instead: each request as it was sent, the response, how it was read, and
    in which measures it counts. --key chooses it by a key, or the first digits of one.

    \b
    Examples:
      emdsl show study.em
      emdsl show study.em --row "aligned < 30 AND k = 16"
      emdsl show study.em --key 901b74e771113386
    """
    if where is not None and key is not None:
        raise UsageError("--row and --key both choose rows: use one of them", parameter="key")
    console.expect_json(wanted=as_json)
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    notices = load_if_stale(study)
    if where is not None:
        _show_rows(tell_rows(study, where, limit), notices, as_json=as_json)
        return 0
    if key is not None:
        _show_rows(tell_key(study, key, limit), notices, as_json=as_json)
        return 0
    marks, deviating = marked(study, registered)
    notices += [*deviating, *drift_notices(study)]
    if as_json:
        measures = [{"name": e.name, "measures": measures_json(study, e)} for e in study.program.experiments]
        registration = {"registration": marks} if marks else {}
        console.show_json({"experiments": measures} | registration | warnings_json(study.program, notices))
        return 0
    console.show(warning_parts(study.program))
    console.show(Aside(f"note: {notice}\n") for notice in notices)
    if form == "latex":
        console.say(measures_latex(study, marks), nl=False)
    else:
        console.show(measure_parts(study, bars=sys.stdout.isatty() if bars is None else bars, marks=marks))
    return 0


def _show_rows(rows: Stories, notices: list[str], *, as_json: bool) -> None:
    if as_json:
        console.show_json({"rows": rows.n_rows, "stories": list(rows.stories)})
        return
    console.show(Aside(f"note: {notice}\n") for notice in notices)
    console.say(str(rows))
    shown = len(rows.stories)
    more = f"showing {shown:,} of {counted(rows.n_rows, 'matching row')} (use --limit N)"
    if rows.n_rows > shown:
        console.say(more, err=True)
    else:
        console.say(counted(rows.n_rows, "matching row"), err=True)
