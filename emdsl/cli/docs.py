"""`emdsl docs`."""

from __future__ import annotations

import click

from emdsl.cli import options


@click.command("docs")
@options.option("--path", "only_path", is_flag=True, envvar=None, help="Print where the documentation is.")
def command(only_path: bool) -> int:
    """Open the installed documentation in a browser. It needs no network."""
    raise NotImplementedError
