"""`emdsl explain`: what a diagnostic means."""

from __future__ import annotations

import click

from emdsl.cli import console
from emdsl.errors import UsageError
from emdsl.lang.explain import page, pages, title
from emdsl.source import near


@click.command("explain")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Say what the diagnostic CODE means, with a program that has it and one that does not; without CODE, list all."""
    if code is None:
        for known in pages():
            console.say(f"{known}  {title(known)}")
        return 0
    found = page(code)
    if found is None:
        hint = near(code.upper(), pages()) or "`emdsl explain` lists all"
        raise UsageError(f"no diagnostic is called `{code}`: {hint}")
    console.say(found.replace("```em wrong", "```em   (wrong)").replace("```em right", "```em   (right)"), nl=False)
    return 0
