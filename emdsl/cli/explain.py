"""`emdsl explain`."""

from __future__ import annotations

import textwrap

import click

from emdsl.cli import console
from emdsl.cli.options import completed
from emdsl.errors import UsageError
from emdsl.lang.explain import entry, page, pages, suggestion, title, words

WIDTH = 100  # columns of the list of words


@click.command("explain")
@click.argument("term", metavar="[CODE|WORD]", required=False, shell_complete=lambda *call: completed("terms", *call))
def command(term: str | None) -> int:
    """Explain an error or warning CODE, or a WORD of the language and of the results. Without either, list all.

    \b
    Examples:
      emdsl explain E201
      emdsl explain wilson
    """
    if term is None:
        for code in pages():
            console.say(f"{code}  {title(code)}")
        console.say("\n" + textwrap.fill("Words: " + ", ".join(words()), WIDTH))
        return 0
    text = page(term) or entry(term)
    if text is None:
        hint = suggestion(term) or "`emdsl explain` lists all"
        raise UsageError(f"there is no code or word `{term}`; {hint}")
    console.say(text.replace("```em wrong", "```em   (wrong)").replace("```em right", "```em   (right)"), nl=False)
    return 0
