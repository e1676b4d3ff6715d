"""`emdsl why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.why import explain_cell, explain_key

if TYPE_CHECKING:
    from pathlib import Path


@click.command("why")
@options.with_options(options.FILE, options.CACHE, options.ENV_FILE, options.ONLY, options.SIM, options.AS_JSON)
@options.option("--step", metavar="NAME", help="Only this ask or judge.  [default: all]")
@options.option("--key", metavar="KEY", envvar=None, help="The row with this request, by its key or its first digits.")
@options.option("--sample", type=click.IntRange(0), default=0, show_default=True, help="Which sample of the cell.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, only: tuple[str, ...], simulate: bool, as_json: bool,
    step: str | None, key: str | None, sample: int,
) -> int:  # fmt: skip
    """Explain for one cell of FILE why each request is cached or pending.

    Without --only it is the first cell; --key finds the row of a cached request. For a pending request it shows the
    nearest cached one and the difference.

    \b
    Examples:
      emdsl why study.em --only k=16 --step answer
      emdsl why study.em --key 901b74e771113386
    """
    if key is not None and (only or step is not None or sample):
        raise UsageError("--key names one row: use it without --only, --step and --sample", parameter="key")
    console.expect_json(wanted=as_json)
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    why = explain_key(study, key) if key is not None else explain_cell(study, only=only, step=step, sample=sample)
    if as_json:
        console.show_json(why.as_json())
    else:
        console.show(why.parts())
    return 0
