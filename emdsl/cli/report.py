"""`emdsl report`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.report import write_report


@click.command("report")
@options.STUDY
@options.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A file that ends in .html."
)
@options.REGISTERED
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path, registered: Path | None
) -> int:
    """Write FILE as one HTML page: measures with charts, scores, missing values, cost, transcripts with filters.

    The page needs no network and no emdsl, and holds every cached answer.

    \b
    Example:
      emdsl report study.em -o report.html
    """
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    simulated = write_report(study, output, registered)
    size = output.stat().st_size / 1e6
    console.say(f"Written: {output}, {size:,.1f} MB" + ("   (SIMULATED)" if simulated else ""))
    return 0
