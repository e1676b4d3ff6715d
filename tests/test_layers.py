"""Imports point down and form no ring, each library has one door, each folder keeps its word, and one file hashes."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emdsl"
MAY_KNOW = {
    "cli": {"manual", "view", "study", "outcomes", "sim", "store", "lang"},
    "study": {
        "data",
        "importers",
        "migrate",
        "report",
        "outcomes",
        "run",
        "compiler",
        "providers",
        "sim",
        "hooks",
        "serving",
        "store",
        "lang",
    },
    "manual": {"study", "compiler", "lang"},
    "view": {"study", "outcomes"},
    "importers": set[str](),
    "migrate": {"compiler", "data", "lang"},
    "report": {"outcomes"},
    "outcomes": {"lang"},
    "run": {"providers", "store"},
    "compiler": {"lang", "data", "hooks"},
    "hooks": set[str](),
    "sim": set[str](),
    "providers": set[str](),
    "serving": set[str](),
    "store": set[str](),
    "data": set[str](),
    "lang": set[str](),
}
NOUNS_MAY_KNOW = {
    "__init__.py": {"study"},  # `emdsl.open`
    "experiment.py": {"lang"},  # a measure keeps its expression, as written
    "highlight.py": {"lang", "compiler"},  # an editor's door: the words of the grammar, the names of functions
}
# What a folder's docstring promises, and the imports that would break the promise: modules of ours, folders, libraries.
NEVER = {
    "lang": (
        "Never resolves a name.",
        {"emdsl.experiment", "emdsl.frame", "emdsl.query", "emdsl.service", "emdsl.parameters", "emdsl.compiler"},
    ),
    "data": ("Never guesses a type, and knows nothing of the language.", {"emdsl.lang", "emdsl.compiler"}),
    "compiler": (
        "Never asks, stores or prints.",
        {"emdsl.providers", "emdsl.run", "emdsl.store", "emdsl.cli", "aiohttp", "sqlite3", "click", "rich"},
    ),
    "hooks": (
        "Never lets variables or network in.",
        {"emdsl.lang", "emdsl.compiler", "emdsl.experiment", "emdsl.query"},
    ),
    "store": (
        "Never knows what a query means, or who reads the answer.",
        {"emdsl.experiment", "emdsl.judge", "emdsl.outcome", "emdsl.providers", "emdsl.run", "emdsl.outcomes"},
    ),
    "serving": (
        "Never knows a request, an answer or a key of the store.",
        {"emdsl.store", "emdsl.run", "emdsl.providers", "emdsl.outcomes", "emdsl.prompt", "sqlite3"},
    ),
    "providers": ("Never stores, retries or counts.", {"emdsl.store", "emdsl.run", "emdsl.outcomes", "diskcache"}),
    "sim": ("never a study.", {"emdsl.experiment", "emdsl.outcome", "emdsl.lang", "emdsl.compiler", "emdsl.run"}),
    "run": ("Never sees a span or a syntax tree.", {"emdsl.lang", "emdsl.compiler"}),
    "outcomes": (
        "Never sends a request, and never chooses one.",
        {"emdsl.providers", "emdsl.run", "emdsl.store", "aiohttp", "diskcache"},
    ),
    "report": (
        "Never sends a request, never reads a store, and needs no network.",
        {"emdsl.providers", "emdsl.run", "emdsl.store", "aiohttp", "urllib", "socket", "sqlite3", "diskcache"},
    ),
    "importers": ("Never writes to a store.", {"emdsl.store", "diskcache", "sqlite3"}),
    "migrate": ("Never guesses what a file means.", {"emdsl.store", "emdsl.run", "emdsl.providers", "click"}),
    "manual": ("Never prints.", {"click", "rich", "emdsl.cli"}),
    "view": (
        "Never sends a request, and writes annotations alone.",
        {"emdsl.providers", "emdsl.run", "emdsl.store", "emdsl.compiler", "diskcache", "sqlite3", "click", "emdsl.cli"},
    ),
    "study": ("Never imports click.", {"click", "emdsl.cli"}),
    "cli": (
        "Never sends a request and never opens a store.",
        {"emdsl.providers", "emdsl.run", "emdsl.compiler", "aiohttp", "diskcache"},
    ),
}
# Imports that close a ring today. A row that closes none any more fails the test.
RINGS: set[tuple[str, str]] = set()
DOORS = {
    "click": ("cli/",),
    "rich": ("cli/layout.py", "study/screen.py", "study/progress_view.py"),
    "dotenv": ("study/project.py",),
    "numpy": ("outcomes/bootstrap.py", "outcomes/dose.py", "outcomes/dose_law.py", "outcomes/krippendorff.py"),
    "duckdb": ("outcomes/database.py", "outcomes/locked.py", "data/parquet.py"),
    "pyarrow": ("outcomes/table.py", "study/study.py"),
    "diskcache": ("store/disk.py",),
    "zstandard": (
        "files.py",
        "store/codec.py",
        "report/packing.py",
        "importers/inspect.py",
        "providers/compression.py",
    ),
    "pyrage": ("store/sealing.py",),
    "markdown_it": ("manual/html.py",),
    "re2": ("compiler/patterns.py",),
    "lark": ("lang/lark_grammar.py", "lang/syntax_errors.py"),
    "aiohttp": (
        "providers/http.py",
        "sim/server.py",
        "sim/batch_http.py",
        "sim/openai_files.py",
        "sim/openai_batches.py",
        "sim/anthropic_batches.py",
        "sim/google_files.py",
        "sim/google_batches.py",
        "view/server.py",
    ),
    "pydantic": ("providers/",),
    "pydantic_core": ("providers/wire.py", "store/codec.py"),
    "yaml": ("data/yaml.py",),
    "pygments": ("highlight.py",),
    "altair": ("report/charts.py", "study/study.py", "study/figures.py", "study/notebook_figure.py"),
    "IPython": ("study/frontend.py",),
    "marimo": ("study/frontend.py",),
    "vl_convert": ("report/charts.py",),
    "genai_prices": ("price_list.py",),
    "uvloop": ("study/asking.py",),
    "hashlib": ("digest.py",),
    "sqlite3": ("store/",),
    "psycopg": ("store/",),
    "obstore": ("store/",),
    "ray": ("serving/ray.py",),
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


@pytest.mark.parametrize("folder", NEVER)
def test_a_folder_keeps_its_word(folder: str) -> None:
    """The docstring holds the promise, word for word, and no file of the folder imports what would break it."""
    promise, forbidden = NEVER[folder]
    docstring = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None
    assert promise in docstring
    for file in (PACKAGE / folder).rglob("*.py"):
        for module in {*modules(file), *(name for name, _ in imports(file))}:
            broken = [f for f in forbidden if module == f or module.startswith(f + ".")]
            assert not broken, f"{file.relative_to(PACKAGE)} imports {module}: {promise}"


def modules(file: Path) -> set[str]:
    """Return our modules that a file imports, under `TYPE_CHECKING` too: who needs a type knows its module."""
    known: set[str] = set()
    for module, node in imports(file):
        names = [f"{module}.{n.name}" for n in node.names] if isinstance(node, ast.ImportFrom) else []
        known |= {m for m in (module, *names) if m.startswith("emdsl.") and is_module(m)}
    return known


def is_module(name: str) -> bool:
    return PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").is_file()


def ring(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        members: list[str] = error.args[1]
        return members
    return []


def test_no_modules_import_each_other_in_a_ring() -> None:
    """Neither among the files at the root, nor within a folder, nor across; imports for types alone count as well."""
    graph = {".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts): modules(f) for f in FILES}
    for importer, imported in RINGS:
        graph[importer].remove(imported)
    assert ring(graph) == []
    for importer, imported in RINGS:
        assert ring(graph | {importer: graph[importer] | {imported}}), f"no ring by {importer} -> {imported} any more"
