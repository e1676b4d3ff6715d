"""`emdsl diff`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.study.diff import GIT, diff_studies
from emdsl.study.project import open_project


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@options.with_options(options.CACHE, options.ENV_FILE, options.SIM, options.AS_JSON)
def command(
    old: str, new: str, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool
) -> int:  # fmt: skip
    """Compare two studies by cells, requests and cost. OLD and NEW are files, or git:REV for the other file then.

    If OLD is a registration of `emdsl freeze`, it lists how NEW deviates from it.

    \b
    Examples:
      emdsl diff git:HEAD~1 study.em
      emdsl diff a.em b.em
      emdsl diff study.prereg.json study.em
    """
    console.expect_json(wanted=as_json)
    near = Path(old if new.startswith(GIT) else new)
    diff = diff_studies(open_project(near, cache, env_file, simulate=simulate), old, new)
    if as_json:
        console.show_json(diff.as_json())
    else:
        console.show(diff.parts())
    return 0
