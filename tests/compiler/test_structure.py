"""The compiler is passes in one direction: no module imports one that imports it, and none is long."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from support import ROOT

from emdsl.compiler import settings as tables
from emdsl.lang.syntax_errors import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINES = 450


def imported(file: Path) -> set[str]:
    """Return the modules of emdsl that a file imports: at its top, for types, or within a function."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emdsl."):
            modules.add(node.module or "")
            modules |= {f"{node.module}.{n.name}" for n in node.names}
    return modules


@pytest.mark.parametrize("folder", ["compiler", "lang"])
def test_modules_import_in_one_direction(folder: str) -> None:
    """Imports for types and imports within functions count too."""
    files = {f"emdsl.{folder}.{f.stem}": f for f in (ROOT / "emdsl" / folder).glob("*.py") if f.stem != "__init__"}
    try:
        TopologicalSorter({name: imported(f) & files.keys() for name, f in files.items()}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_no_module_of_the_compiler_is_long() -> None:
    """A module that does not fit in a reader's head is two."""
    lengths = {f.name: len(f.read_text(encoding="utf-8").splitlines()) for f in (ROOT / "emdsl/compiler").glob("*.py")}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_the_parser_names_the_settings_of_a_block() -> None:
    """It imports no table, so the names are written there again."""
    assert SETTINGS["experiment"] == tuple(tables.EXPERIMENT)
    assert SETTINGS["rubric"] == tuple(n for n in tables.RUBRIC if n not in tables.PARAMS)
