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
def command(file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path) -> int:
    """Write the results of FILE to a folder that needs no emdsl: Parquet, the study, a manifest, a citation file.

    It holds what is cached now; the manifest tells how complete that is.

    \b
    Example:
      emdsl export study.em -o results/
    """
    console.show(export_study(compile_study(open_project(file, cache, env_file, simulate=simulate), file), output))
    return 0
