"""`emdsl plot`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.figures import FORMATS, draw, write_figure
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale
from emdsl.study.tables import chosen_measure


@click.command("plot")
@options.STUDY
@options.MEASURE
@options.option(
    "--kind", type=click.Choice(("curve", "dots", "heat")), help="[default: a curve over numbers, else dots]"
)
@options.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="A file that ends in .svg, .png, .pdf, or .json (Vega-Lite).",
)  # fmt: skip
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, measure: str | None, kind: str | None,
    output: Path,
) -> int:  # fmt: skip
    """Draw a measure of FILE with its intervals, from the cached answers. Nothing is sent.

    \b
    Example:
      emdsl plot study.em --measure misaligned -o figure.svg
    """
    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"expected a file name that ends in {', '.join(FORMATS)}", parameter="output")
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    chosen_measure(study.program, measure)
    for notice in load_if_stale(study):
        console.note(notice)
    chart, simulated = draw(study, measure, kind)
    write_figure(chart, output)
    console.say(f"Written: {output}" + ("   (SIMULATED)" if simulated else ""))
    return 0
