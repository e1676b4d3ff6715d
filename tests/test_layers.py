"""Imports point down, each library comes in by its door, and one file hashes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emdsl"
MAY_KNOW = {
    "cli": {"manual", "study", "outcomes", "sim", "store", "lang"},
    "study": {"data", "importers", "report", "outcomes", "run", "compiler", "providers", "sim", "store", "lang"},
    "manual": {"compiler", "lang"},
    "importers": set[str](),
    "report": {"outcomes"},
    "outcomes": {"lang"},
    "run": {"providers", "store"},
    "compiler": {"lang", "data", "hooks"},
    "hooks": set[str](),
    "sim": set[str](),
    "providers": set[str](),
    "store": set[str](),
    "data": set[str](),
    "lang": set[str](),
}
NOUNS_MAY_KNOW = {
    "__init__.py": {"study"},  # `emdsl.open`
    "experiment.py": {"lang"},  # a measure keeps its expression, as written
    "highlight.py": {"lang", "compiler"},  # an editor's door: the words of the grammar, the names of functions
}
DOORS = {
    "click": ("cli/",),
    "rich": ("cli/layout.py", "study/screen.py", "study/progress.py"),
    "dotenv": ("study/project.py",),
    "numpy": ("outcomes/resample.py",),
    "duckdb": ("outcomes/database.py", "data/parquet.py", "study/compiled.py", "study/story.py"),
    "pyarrow": ("outcomes/table.py", "study/study.py"),
    "diskcache": ("store/disk.py",),
    "zstandard": ("store/codec.py", "importers/inspect.py", "providers/http.py"),
    "pyrage": ("store/bundle.py",),
    "markdown_it": ("manual/html.py",),
    "lark": ("lang/grammar.py", "lang/syntax_errors.py", "lang/parser.py", "lang/tree.py"),
    "aiohttp": ("providers/http.py", "sim/server.py"),
    "pydantic": ("providers/",),
    "yaml": ("data/yaml.py",),
    "pygments": ("highlight.py",),
    "altair": ("report/charts.py", "study/study.py", "study/figures.py"),
    "vl_convert": ("report/charts.py",),
    "jinja2": ("report/page.py",),
    "markupsafe": ("report/page.py",),
    "genai_prices": ("price.py",),
    "uvloop": ("study/asking.py",),
    "hashlib": ("digest.py",),
    "sqlite3": ("store/",),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> list[tuple[str, ast.stmt]]:
    found: list[tuple[str, ast.stmt]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(n.name, node) for n in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert all(n.name != "*" for n in node.names), "imports are explicit"
            found.append((node.module or "", node))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down_and_come_in_by_their_door(file: Path) -> None:
    """A folder knows only those below it, and nouns know no folder."""
    place = file.relative_to(PACKAGE).as_posix()
    folder = place.split("/")[0] if "/" in place else ""
    for module, _ in imports(file):
        parts = module.split(".")
        if parts[0] == "emdsl" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
            allowed = MAY_KNOW[folder] | {folder} if folder else NOUNS_MAY_KNOW.get(place, set())
            assert parts[1] in allowed or place == "__main__.py", f"{place} imports {module}"
        for library, doors in DOORS.items():
            if parts[0] == library:
                assert any(place.startswith(d) for d in doors), f"{place} imports {library}"


def test_every_folder_says_what_it_never_knows() -> None:
    """Each folder's `__init__.py` holds one docstring and nothing else."""
    for folder in MAY_KNOW:
        tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), folder
        assert len(tree.body) == 1, folder
