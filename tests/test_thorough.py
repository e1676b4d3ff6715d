"""`pytest -m thorough` selects every test that does more with THOROUGH=1: `make stress` runs those alone."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NAME = "THOROUGH"
FILES = [
    file
    for file in sorted((ROOT / "tests").rglob("*.py"))
    if NAME in file.read_text(encoding="utf-8") and not {"bench", "conformance"} & {*file.parts}
    and file.name not in {"conftest.py", "support.py", "test_thorough.py", "pg.py"}  # `pg` fails instead of skipping
]  # fmt: skip


def _has(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, decorator: str) -> bool:
    return any(decorator in ast.unparse(d) for d in node.decorator_list)


def unmarked(file: Path) -> list[str]:
    """Return the tests of a file that read THOROUGH, or a name that depends on it, without the marker."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    names, found = {NAME}, list[str]()
    marked = {  # `TestX.settings = ...` belongs to a class that is marked by a call
        ast.unparse(node.value.args[0])
        for node in tree.body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and "thorough" in ast.unparse(node.value.func)
    }
    for node in tree.body:
        read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & names
        if isinstance(node, ast.Assign) and read:
            names |= {ast.unparse(t) for t in node.targets if ast.unparse(t).partition(".")[0] not in marked}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and read:
            if node.name.lower().startswith("test"):
                found += [node.name] * (not _has(node, "thorough"))
            elif not _has(node, "fixture"):  # tests that take a fixture are marked by hand
                names.add(node.name)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_test_that_tries_more_is_marked(file: Path) -> None:
    assert unmarked(file) == []


def test_what_is_found(tmp_path: Path) -> None:
    """By itself, by a constant, by a function, and in a decorator; a marker settles it."""
    file = tmp_path / "test_x.py"
    file.write_text(
        "STRIDE = 1 if THOROUGH else 4\n"
        "def test_a(): use(THOROUGH)\n"
        "def test_b(): use(STRIDE)\n"
        "@pytest.mark.parametrize('n', range(9 if THOROUGH else 1))\ndef test_c(n): pass\n"
        "@pytest.mark.thorough\ndef test_d(): use(STRIDE)\n"
        "def test_e(): pass\n"
        "def made(): return STRIDE\n"
        "def test_f(): made()\n"
    )
    assert unmarked(file) == ["test_a", "test_b", "test_c", "test_f"]
