"""`emdsl diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.diff import GIT, RUN, diff_studies
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from emdsl.study.deviations import Deviations
    from emdsl.study.diff import Diff
    from emdsl.study.project import Project
    from emdsl.study.results_diff import ResultsDiff


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@options.with_options(options.CACHE, options.ENV_FILE, options.SIM, options.AS_JSON)
@options.option("--results", is_flag=True, envvar=None, help="Compare the results of cached answers, row by row.")
@options.option(
    "--limit", type=click.IntRange(0), default=5, envvar=None,
    help="With --results: maximum examples of each flip.  [default: 5]",
)  # fmt: skip
@options.option("--format", "form", type=click.Choice(("table", "markdown")), default="table", help="[default: table]")
def command(
    old: str, new: str, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, results: bool,
    limit: int, form: str,
) -> int:  # fmt: skip
    """Compare two studies by cells, requests and cost.

    OLD and NEW are files. One of them can be git:REV or run:ID: the other file at a git revision, or in an earlier run.
    With --results it compares their results instead: measures that moved, worst first, each with the interval of its
    change, and verdicts that flipped. Nothing is sent. If OLD is a registration of `emdsl freeze`, it lists how NEW
    deviates from it.

    \b
    Examples:
      emdsl diff git:HEAD~1 study.em
      emdsl diff a.em b.em --results --format markdown
      emdsl diff run:3f2a study.em --results
      emdsl diff study.prereg.json study.em
    """
    console.expect_json(wanted=as_json)
    if form == "markdown" and not results:
        raise UsageError("--format markdown needs --results")
    near = Path(old if new.startswith((GIT, RUN)) else new)
    project = open_project(near, cache, env_file, simulate=simulate)
    found: Diff | Deviations | ResultsDiff
    if results:
        from emdsl.study.results_diff import diff_results  # noqa: PLC0415 - only results need DuckDB

        found = diff_results(project, old, new, limit=limit)
        if form == "markdown" and not as_json:
            console.say(found.markdown(), nl=False)
            return 0
    else:
        found = _designs(project, old, new)
    if as_json:
        console.show_json(found.as_json())
    else:
        console.show(found.parts())
    return 0


def _designs(project: Project, old: str, new: str) -> Diff | Deviations:
    from emdsl.study.compiled import compile_study  # noqa: PLC0415 - `--results` compiles both studies itself
    from emdsl.study.deviations import deviations  # noqa: PLC0415 - only a registration has deviations
    from emdsl.study.registration import SUFFIX, read_registration  # noqa: PLC0415 - two `.em` files have none

    if Path(old).suffix == SUFFIX:
        return deviations(compile_study(project, Path(new)), read_registration(Path(old)))
    return diff_studies(project, old, new)
