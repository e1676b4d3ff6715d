"""`emdsl export`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.export import export_study
from emdsl.study.project import open_project


@click.command("export")
@options.STUDY
@options.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new folder.")
@options.option(
    "--analysis", type=click.Choice(("python", "r")), envvar=None,
    help="Add long data and the script of a mixed model for each measure: statsmodels, or lme4.",
)  # fmt: skip
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path, analysis: str | None
) -> int:
    """Write the results of FILE to a folder that needs no emdsl: Parquet, the study, a manifest, a citation file.

    It holds what is cached now; the manifest tells how complete that is.

    \b
    Examples:
      emdsl export study.em -o results/
      emdsl export study.em -o results/ --analysis python
    """
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    console.show(export_study(study, output, analysis))
    return 0
