"""Pages of Markdown as tests: their commands run in order, print what the page shows, and their programs run.

Blocks with a `title` are files: they are written under that name, or are equal to the file of the checkout. A `console`
block is pasted line by line; where output follows a command, it is what the command prints. A `text` block right behind
a `python` block is what that prints. `UPDATE_GOLDEN=1` writes the outputs, and the checkout's files, into the pages.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support import ROOT, clean_environment, emdsl, run

from emdsl.compiler.compile import compile_source
from emdsl.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPDATE = "UPDATE_GOLDEN" in os.environ
FENCE = re.compile(r"^```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = ("make", "pip")  # `make` has its own test; the others need a network
MARGIN = re.compile(r"[ \t]+$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; `title` is a file name, `word` what else stands behind the language."""

    language: str
    title: str | None
    word: str
    body: str
    line: int


def blocks(text: str) -> list[Block]:
    return [
        Block(
            language=m["language"],
            title=title[1] if (title := re.search(r'title="([^"]+)"', m["info"])) else None,
            word=re.sub(r'title="[^"]*"', "", m["info"]).strip(),
            body=m["body"],
            line=text.count("\n", 0, m.start()) + 1,
        )
        for m in FENCE.finditer(text)
    ]


def check_page(page: Path, folder: Path) -> None:
    """Run a page in a folder with the checkout's experiments; what it shows is what comes out."""
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    (folder / "pyproject.toml").touch()
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    bodies = [_run_block(b, found[i - 1] if i else None, folder) for i, b in enumerate(found)]
    if UPDATE:
        new = iter(bodies)
        written = FENCE.sub(lambda m: f"```{m['language']}{m['info']}\n{next(new)}```", text)
        if written != text:
            page.write_text(written, encoding="utf-8")
        return
    for block, body in zip(found, bodies, strict=True):
        assert block.body == body, f"{page.name}:{block.line}: `make docs-output` writes what comes out now"


_printed: dict[Path, str] = {}  # what the last `python` block of a folder printed


def _run_block(block: Block, before: Block | None, folder: Path) -> str:
    """Return the body that a block should have."""
    if block.title is not None:
        file = folder / block.title
        if file.is_file() and file.is_relative_to(folder / "experiments"):
            return file.read_text(encoding="utf-8")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body, encoding="utf-8")
    match block.language:
        case "console":
            return "".join(_run_command(c, shown, folder) for c, shown in commands(block.body))
        case "em" if block.word != "wrong":
            _run_program(block, folder)
        case "python" if block.title is None:
            _printed[folder] = emdsl("-c", block.body, cwd=folder).stdout
        case "text" if before is not None and before.language == "python" and before.title is None:
            return _printed.pop(folder)
    return block.body


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output below it."""
    for part in re.split(r"^(?=\$ )", body, flags=re.MULTILINE):
        if part.strip():
            first, _, shown = part.partition("\n")
            yield first, shown


def _run_command(line: str, shown: str, folder: Path) -> str:
    """Run `$ COMMAND   # exit 1`, in a pipe or not; return it with its output, if the page shows any."""
    call, _, comment = line.removeprefix("$ ").partition("  #")
    code = int(m[1]) if (m := re.search(r"\bexit (\d)", comment)) else 0
    words = shlex.split(call)
    if words[0] in NOT_RUN:
        return f"{line}\n{shown}"
    if words[0] == "emdsl":
        own, _, rest = call.partition(" | ")
        done = emdsl(*shlex.split(own)[1:], cwd=folder, code=code)
        output = done.stdout or done.stderr
        if rest:
            output = _shell(rest, folder, output)
    else:
        output = _shell(call, folder, "")
    if not shown.strip():
        return f"{line}\n{shown}"
    tail = "\n" if shown.endswith("\n\n") else ""  # a blank line before the next command
    return f"{line}\n{MARGIN.sub('', output).rstrip()}\n{tail}"


def _shell(call: str, folder: Path, text: str) -> str:
    done = subprocess.run(
        ["bash", "-euc", call], cwd=folder, input=text, capture_output=True, text=True, check=False,
        env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == 0, f"{call}\n{done.stderr}"
    return done.stdout


def _run_program(block: Block, folder: Path) -> None:
    """Compile a program, and run it in memory to its last answer; declarations alone get an experiment."""
    text = block.body if block.body.startswith("em ") else f"em 1\n{block.body}"
    if not re.search(r"^experiment ", text, re.MULTILINE):
        text += '\nexperiment e { ask answer from "sim/subject" with "x" }\n'
    name = block.title or "page.em"
    provider, report = run(compile_source(Source(name, text, folder / name), {}))
    assert provider.n > 0
    assert not report.failures
