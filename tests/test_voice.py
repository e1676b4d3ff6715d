"""How emdsl speaks: what users read is free of the tics of its early texts, each of which made a reader stop.

A pattern here marks a way of writing, not a topic. If a good sentence matches one, narrow the pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest
from support import ROOT

from emdsl.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICS = {  # a pattern, and how to say it
    r"\bwhat (?:is|was|are|were) (?:asked|stored|left|sent|known|said|declared|dropped|kept|shared|spent)\b": (
        "name the noun: pending requests, cached answers"
    ),
    r"\bwho (?:is|was) asked\b|\bwho (?:judges|serves)\b": "the model, the judge, the provider",
    r"\b(?:is|are|was|were|be) asked\b|\basks? (?:nothing|what|of|again)\b": "requests are sent",
    r"\b(?:is|are|was|were|be) told\b(?! to\b)": "reported, shown, an error",
    r"\bsays? (?:of|what|who)\b|\bsaid of\b|, say\b": "reports, shows, defines",
    r"\bways? out\b": "a fix, or nothing",
    r"\blets? go\b|\baside\b|\bput(?:s|ting)? (?:right|back)\b": "trash, restore, delete permanently, fix",
    r"\blook(?:s|ed)? after\b": "inspect, manage",
    r"\bcan stand\b|\bstands? (?:alone|behind|beside|here|inside|outside|there|under|where)\b": (
        "expected a name, is inside"
    ),
    r"\bis known to be\b|\bwhere (?:none|that|it) is known\b|\bby now\b": "known, if the price is unknown",
    r"\bof what\b|\b(?:as|for|from|by) what\b": "name the noun",
    r"\bso (?:many|often|much) (?:of|draws|tokens|samples)\b|\bgoes by\b": "n of m, uses",
    r"(?<![Tt]here )\bis (?:no|none)\b(?! (?:longer|such))": "is not a label, expected a label",
    r"\bone's own\b|\bof one's\b": "your own, self-hosted",
    r"\bwithout a word\b|\banew\b|\bin earnest\b|\bonce more\b|\bby the name\b": "silently, again",
    r"\bwhere there (?:is|are) (?:one|none|any)\b": "optional, if any",
    r"\b[Mm]ost (?:requests|tokens)\b|\bthe most that\b|\bthe longest answer\b": "maximum",
    r"(?<!injected )\b[Ff]aults?\b": "error, warning",
    r"\b[Rr]ehearses?\b": "use the simulator",
    r"\bwhich (?:is|are|was|were)\b": "a second sentence",
    r"(?:^|[.:] )What\b(?![^.]*\?)": "start with the subject",
    r";[^;.:|\n]*;": "two sentences",
    r"\s[\u2013\u2014]\s|\w\u2014\w": "a comma, a colon or a full stop",
}
PAGES = [
    *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md"), ROOT / "CHANGELOG.md", ROOT / "README.md",
    ROOT / "emdsl" / "explain.md", ROOT / "emdsl" / "glossary.md", ROOT / "grammar" / "REFERENCE.md",
]  # fmt: skip
PROGRAMS = [*(ROOT / "experiments").rglob("*.em"), *(ROOT / "emdsl" / "std").glob("*.em")]


def named(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def tics(text: str) -> list[str]:
    """Return each match with its line and what to write instead."""
    return [
        f"{found[0].strip()!r}, better: {better} | {line.strip()[:120]}"
        for line in text.splitlines()
        for pattern, better in TICS.items()
        for found in re.finditer(pattern, line)
    ]


def prose(markdown: str) -> str:
    """Return Markdown without code blocks, each paragraph on one line."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<=[^\n|])\n(?=[A-Za-z`(*])", " ", text)


def commands(group: click.Group, context: click.Context, path: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the help text of each command."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=context, max_content_width=10_000) as inner:
            inner.terminal_width = 10_000
            yield f"{path} {name}", command.get_help(inner)
            if isinstance(command, click.Group):
                yield from commands(command, inner, f"{path} {name}")


HELP = dict(commands(cli, click.Context(cli, info_name="emdsl", **cli.context_settings), "emdsl"))
HELP["emdsl"] = cli.get_help(click.Context(cli, info_name="emdsl", terminal_width=10_000, **cli.context_settings))


@pytest.mark.parametrize("path", PAGES, ids=named(PAGES))
def test_pages(path: Path) -> None:
    """What is read in a browser or with `emdsl explain`."""
    assert not tics(prose(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PROGRAMS, ids=named(PROGRAMS))
def test_comments_of_shipped_programs(path: Path) -> None:
    """Comments alone: the texts of prompts are those of their authors."""
    text = path.read_text(encoding="utf-8")
    assert not tics("\n".join(re.findall(r"(?:^|  )# (.*)", text, re.MULTILINE)))


@pytest.mark.parametrize("name", HELP)
def test_help(name: str) -> None:
    """Each command's `--help`."""
    assert not tics(HELP[name])


def test_messages() -> None:
    """The golden messages of the compiler, without the programs that they show."""
    text = (ROOT / "tests" / "golden" / "messages.txt").read_text(encoding="utf-8")
    assert not tics("\n".join(line for line in text.splitlines() if not re.match(r"\s*\d* +\||\s+-->|====", line)))
