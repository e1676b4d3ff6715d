"""`emdsl export`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.examples import export_pins
from emdsl.study.export import export_study
from emdsl.study.project import open_project


@click.command("export")
@options.STUDY
@options.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="A new folder.")
@options.option(
    "--analysis", type=click.Choice(("python", "r")), envvar=None,
    help="Add long data and the script of a mixed model for each measure: statsmodels, or lme4.",
)  # fmt: skip
@options.option(
    "--pins", type=click.Path(path_type=Path, dir_okay=False), envvar=None,
    help="Write the rows pinned in `emdsl view` as examples: a file in .md, .tex or .html.",
)  # fmt: skip
@options.option("--reasoning", is_flag=True, envvar=None, help="With --pins: add the reasoning.")
@options.option("--verdicts", is_flag=True, envvar=None, help="With --pins: add the judges' verdicts.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path | None, analysis: str | None,
    pins: Path | None, reasoning: bool, verdicts: bool,
) -> int:  # fmt: skip
    """Write the results of FILE to a folder that needs no emdsl: Parquet, the study, a manifest, a citation file.

    It holds what is cached now; the manifest tells how complete that is. With --pins it writes the pinned rows as a
    figure of examples for a paper.

    \b
    Examples:
      emdsl export study.em -o results/
      emdsl export study.em -o results/ --analysis python
      emdsl export study.em --pins examples.tex --verdicts
    """
    if output is None and pins is None:
        raise UsageError("name what to write: a folder with -o, or a file of pinned rows with --pins")
    if output is None and analysis is not None:
        raise UsageError("--analysis needs a folder: add -o", parameter="analysis")
    if pins is None and (reasoning or verdicts):
        raise UsageError("--reasoning and --verdicts need --pins")
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    if output is not None:
        console.show(export_study(study, output, analysis))
    if pins is not None:
        console.show(export_pins(study, pins, reasoning=reasoning, verdicts=verdicts))
    return 0
