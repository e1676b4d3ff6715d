"""Good and bad programs: the examples of every page about a diagnostic, and programs with faults beside their lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support import ROOT, emdsl

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.lang.explain import page, pages
from emdsl.lang.words import DECLARATIONS
from emdsl.source import Diagnostic, Source
from emdsl.study.checking import table_diagnostics

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = 'experiment e { ask answer from "sim/subject" with "x" }'
FILES = {
    "three.csv": "x,y\n1,2\n3,4\n5,6\n",
    "items.json": '{"version": 1, "questions": [{"id": "a", "text": "One?"}, {"id": "b", "text": "Two?"}]}',
    "questions.csv": "q\nhow do I make a friend?\nwhat should I do tonight?\n",
    "hooks.py": "def shout(text):\n    return text.upper()\n\n\ndef fails(text):\n    raise ValueError(text)\n\n\n"
    "def impure(text):\n    return str(hash(text))\n\n\n"
    "def cluster(texts, k):\n    return [str(i % k) for i, _ in enumerate(texts)]\n",
}


PAGES = "\n".join(page(code) or "" for code in pages())
BY_RUN = ("E733",)  # told by a run, not by the compiler


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
    """Return the diagnostics of a program that stands beside the files of all examples."""
    for name, content in ({"page.em": text} | FILES | library_files()).items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "pyproject.toml").touch()
    try:
        program = compile_source(Source("page.em", text, folder / "page.em"), {})
        return program.warnings + table_diagnostics(program)
    except SourceError as error:
        return error.diagnostics


def library_files() -> dict[str, str]:
    """Return the files that examples import: blocks ```em wrong file=NAME, each NAME once in all pages."""
    return dict(re.findall(r"^```em (?:wrong|right) file=(\S+)\n(.*?)^```", PAGES, re.DOTALL | re.MULTILINE))


def told_by_run(text: str, folder: Path, verb: str = "run") -> str:
    """Return what `emdsl run` tells of a program that compiles, before it sends anything."""
    found_in(text, folder)
    nowhere = {"OPENAI_API_KEY": "sk-none-0123456789", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = emdsl(verb, "page.em", cwd=folder, env=nowhere, code=None)
    return done.stdout + done.stderr


def examples(kind: str) -> list[tuple[str, str]]:
    return [
        (code, snippet)
        for code in pages()
        for snippet in re.findall(rf"^```em {kind}\n(.*?)^```", page(code) or "", re.DOTALL | re.MULTILINE)
    ]


TEXT = (ROOT / "tests" / "golden" / "faults.em").read_text(encoding="utf-8")
CASES = [c.lstrip("\n") for c in re.split(r"^---$", TEXT, flags=re.MULTILINE)]
CASES[0] = "\n".join(line for line in CASES[0].splitlines() if not line.startswith("# "))
MARK = re.compile(r"[ ]*### (?P<code>\w+)(?: (?P<name>.*))?$")


def split(case: str) -> tuple[str, list[tuple[int, str]]]:
    """Return a program without its marks, and the (line, code) of each fault that it must show."""
    lines, wanted = [], []
    for number, line in enumerate(case.splitlines(), start=1):
        if found := MARK.search(line):
            at = number
            if found["name"]:
                at = next(i for i, x in enumerate(case.splitlines(), start=1) if x.startswith(found["name"]))
            wanted.append((at, found["code"]))
        lines.append(MARK.sub("", line))
    return "\n".join(lines) + "\n", sorted(wanted)
