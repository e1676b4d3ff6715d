"""`emdsl freeze`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.registration import freeze
from emdsl.study.screen import counted


@click.command("freeze")
@options.STUDY
@options.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="A file that ends in .json.  [default: STUDY.prereg.json beside the study]",
)  # fmt: skip
@options.option("--replace", is_flag=True, envvar=None, help="Replace an older registration.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path | None, replace: bool
) -> int:
    """Write a registration of FILE: its requests, its measures, and which answers are stored now. Nothing is sent.

    Commit it before the first run. `show` and `report` then mark each measure: registered, changed, added after the
    data, or frozen after data. `emdsl diff REGISTRATION FILE` lists all deviations.

    \b
    Examples:
      emdsl freeze study.em
      emdsl freeze study.em -o registrations/first.json
    """
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    registration = freeze(study, output, replace=replace)
    for name, design in registration.experiments.items():
        measures = counted(len(design["measures"]), "measure")
        console.say(f"{name}: {measures}, {counted(design['stored'], 'answer')} stored")
    console.say(f"Written: {registration.path}")
    return 0
