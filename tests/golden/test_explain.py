"""Every diagnostic has a page, and every page is true: its wrong program gives it, its right one does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support import ROOT

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.lang.explain import page, pages
from emdsl.lang.words import DECLARATIONS
from emdsl.source import Diagnostic, Source

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_EXAMPLE = {"E103", "E206", "E516", "E605", "W621", "E850"}  # they need a second file, a run or a machine
DEFAULT = 'experiment e { ask answer from "sim/subject" with "x" }'
FILES = {
    "three.csv": "x,y\n1,2\n3,4\n5,6\n",
    "questions.csv": "q\nhow do I make a friend?\nwhat should I do tonight?\n",
    "hooks.py": "def shout(text):\n    return text.upper()\n\n\ndef fails(text):\n    raise ValueError(text)\n\n\n"
    "def impure(text):\n    return str(hash(text))\n",
}


def whole(snippet: str) -> str:
    """Return a program of an example: declarations get an experiment, statements are put into one."""
    if snippet.startswith("em "):
        return snippet
    if re.search(r"^experiment e\b", snippet, re.MULTILINE):
        return f"em 1\n{snippet}"
    words = {*DECLARATIONS, "modle"} - ({"let"} if re.search(r"\b(?:answer|aligned|shown)\b", snippet) else set())
    if snippet.split(maxsplit=1)[0] in words:
        return f"em 1\n{snippet}{DEFAULT}\n"
    use = (
        " {" + "} {".join(re.findall(r"^for (\w+)", snippet, re.MULTILINE)) + "}" if "\nfor " in "\n" + snippet else ""
    )
    return (
        'em 1\nimport alignment from "std:judges@1"\nexperiment e {\n'
        f'  ask answer from "sim/subject" with "x{use}"\n'
        f'  judge aligned with alignment("x", answer) from "sim/judge"\n{snippet}}}\n'
    )


def found_in(text: str, folder: Path) -> tuple[Diagnostic, ...]:
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "pyproject.toml").touch()
    try:
        return compile_source(Source("page.em", text, folder / "page.em"), {}).warnings
    except SourceError as error:
        return error.diagnostics


def examples(kind: str) -> list[tuple[str, str]]:
    return [
        (code, snippet)
        for code in pages()
        for snippet in re.findall(rf"^```em {kind}\n(.*?)^```", page(code) or "", re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize(("code", "snippet"), examples("wrong"), ids=[c for c, _ in examples("wrong")])
def test_the_wrong_program_gives_the_diagnostic(code: str, snippet: str, tmp_path: Path) -> None:
    """And no other: one fault is told once."""
    text = snippet if code in ("E101", "E102") else whole(snippet)
    shown = found_in(text, tmp_path)
    assert {d.code for d in shown} == {code}, "\n\n".join(d.render() for d in shown) + "\n\n" + text


@pytest.mark.parametrize(("code", "snippet"), examples("right"), ids=[c for c, _ in examples("right")])
def test_the_right_program_has_no_fault(code: str, snippet: str, tmp_path: Path) -> None:
    """What a page recommends compiles without an error, and without the diagnostic."""
    shown = found_in(whole(snippet), tmp_path)
    assert not [d for d in shown if d.code == code or d.code[0] == "E"], "\n\n".join(d.render() for d in shown)


def test_every_code_has_a_page() -> None:
    """None is missing, none is left over, and each has an example."""
    used = set()
    for file in (ROOT / "emdsl").rglob("*.py"):
        used |= set(re.findall(r'"([EW]\d{3})"', file.read_text(encoding="utf-8")))
    assert set(pages()) == used
    assert {c for c, _ in examples("wrong")} == used - WITHOUT_EXAMPLE
    assert {c for c, _ in examples("right")} == used - WITHOUT_EXAMPLE
