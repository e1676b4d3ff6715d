"""`emdsl render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.rendering import Rendered, curl, render_cells

if TYPE_CHECKING:
    from pathlib import Path


@click.command("render")
@options.with_options(options.FILE, options.CACHE, options.ENV_FILE, options.ONLY, options.SIM, options.AS_JSON)
@options.option("--step", metavar="NAME", envvar=None, help="Only this ask or judge.")
@options.option("--sample", type=click.IntRange(0), default=0, envvar=None, help="Which sample.  [default: 0]")
@options.option("--limit", type=click.IntRange(1), default=1, envvar=None, help="Maximum cells.  [default: 1]")
@options.option(
    "--with", "answer", metavar="TEXT", envvar=None, help="Use this text for each answer that is not cached."
)
@options.option("--curl", "as_curl", is_flag=True, envvar=None, help="Show a curl call, with the API key's variable.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, only: tuple[str, ...], simulate: bool, as_json: bool,
    step: str | None, sample: int, limit: int, answer: str | None, as_curl: bool,
) -> int:  # fmt: skip
    """Show the requests of a cell of FILE exactly as they are sent. Nothing is sent.

    A request that depends on an answer is shown if that answer is cached. Otherwise --step shows it with a placeholder
    for the answer, and --with with your text.

    \b
    Examples:
      emdsl render study.em --only k=2 --step answer
      emdsl render study.em --step aligned --with "I would sell the bike."
      emdsl render study.em --curl
    """
    console.expect_json(wanted=as_json)
    project = open_project(file, cache, env_file, simulate=simulate)
    cells = render_cells(compile_study(project, file), only=only, step=step, sample=sample, limit=limit, answer=answer)
    if as_json:
        console.show_json({"requests": [{k: v for k, v in r.items() if k != "query"} for r in cells.requests]})
        return 0
    for request in cells.requests:
        query = request["query"]
        console.say(curl(query, project) + "\n" if as_curl and query is not None else str(Rendered((request,))))
    return 0
