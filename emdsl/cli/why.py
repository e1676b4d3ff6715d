"""`emdsl why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.why import explain_cell

if TYPE_CHECKING:
    from pathlib import Path


@click.command("why")
@options.with_options(options.FILE, options.CACHE, options.ENV_FILE, options.ONLY, options.SIM, options.AS_JSON)
@options.option("--step", metavar="NAME", help="Only this ask or judge.  [default: all]")
@options.option("--sample", type=click.IntRange(0), default=0, show_default=True, help="Which sample of the cell.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, only: tuple[str, ...], simulate: bool, as_json: bool,
    step: str | None, sample: int,
) -> int:  # fmt: skip
    """Explain for one cell of FILE why each request is cached or pending.

    Without --only it is the first cell. For a pending request it shows the nearest cached one and the difference.

    \b
    Example:
      emdsl why study.em --only k=16 --step answer
    """
    console.expect_json(wanted=as_json)
    project = open_project(file, cache, env_file, simulate=simulate)
    why = explain_cell(compile_study(project, file), only=only, step=step, sample=sample)
    if as_json:
        console.show_json(why.as_json())
    else:
        console.show(why.parts())
    return 0
