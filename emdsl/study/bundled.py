"""Entries of a bundle, checked against its own study: each must answer the request of its key."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emdsl.compiler.compile import compile_file
from emdsl.errors import EmdslError, StoreError
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.lang.loader import STD, load
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.rows import Rows
from emdsl.store.codec import Corrupt, ingredients
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.store.bundle import Bundle


MAX_ROWS = 200_000  # of a bundle's grid: the study of a stranger may have many


def compare(opened: Bundle, path: Path, environment: Mapping[str, str], *, simulate: bool) -> tuple[int, str]:
    """Recompute the keys of a bundle's study, and compare each entry with the request of its key.

    Returns the number of compared entries, and why not all could be compared, or nothing. Raises StoreError for an
    entry that answers another request than that of its key: somebody put it there. Python of the study is never run.
    """
    if opened.manifest.file not in opened.manifest.files:
        return 0, "the bundle has no study"
    with TemporaryDirectory() as folder:
        root = Path(folder) / "program"
        root.mkdir()
        (root / "pyproject.toml").touch()
        try:
            for name in opened.manifest.files:
                inside = (root / name).resolve()
                if not inside.is_relative_to(root.resolve()):
                    return 0, "a file of its study is outside of the bundle"
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.write_bytes(opened.content(name))
            file = root / opened.manifest.file
            if reason := _unsafe(file, root.resolve()):
                return 0, reason
            program = compile_file(file, environment, simulate=simulate)
        except (EmdslError, OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            return 0, f"its study does not compile alone ({first})"
        store = DiskStore(Path(folder) / "answers")
        try:
            store.adopt(opened.entries())
            n_compared, n_rows = 0, MAX_ROWS
            for experiment in program.experiments:
                n, n_rows = _compared(Rows(experiment), store, path, n_rows)
                n_compared += n
        except EvalFault as fault:
            return 0, f"its study cannot be expanded ({fault.diagnostic.message})"
        finally:
            store.close()
    return n_compared, "" if n_rows > 0 else f"only the first {MAX_ROWS:,} rows of its grid were checked"


def _unsafe(file: Path, root: Path) -> str:
    """Return why a study is never compiled: it calls Python, or reads files outside of its bundle."""
    first, _ = load(file)
    waiting, seen = [first], set[int]()
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if any(isinstance(decl, ast.Python) for decl in module.file.decls):
            return "its study calls Python, which is never run here"
        if not module.folder.resolve().is_relative_to(root):
            return "its study imports a file from outside of the bundle"
        waiting += [imported for name, imported in module.imports.items() if not name.startswith(STD)]
    return ""


def _compared(walk: Rows, store: DiskStore, path: Path, most: int) -> tuple[int, int]:
    """Compare the entries of one experiment; return how many, and how many more rows may be gone through."""
    seen: set[Digest] = set()
    for rows in chunks(islice(walk.selected(), most)):
        most -= len(rows)
        settle_from_store(walk, rows, store)
        queries = {query.key: query for row in rows for query in _answered(row)}
        queries |= {query.key: query for query in walk.probes.queries}
        for key, entry in store.entries(set(queries) - seen):
            _compare(queries[key], entry, path)
            seen.add(key)
    return len(seen), most


def _compare(query: Query, entry: bytes | None, path: Path) -> None:
    """Raise StoreError unless an entry is the answer to a request."""
    expected = json.loads(json.dumps(query.ingredients()))
    try:
        entry_parts = ingredients(entry)
    except Corrupt as error:
        raise StoreError(f"{path}: the entry {query.key.hex()[:16]} is damaged: {error}") from error
    different_parts = sorted(name for name in expected if entry_parts.get(name, expected[name]) != expected[name])
    if different_parts:
        raise StoreError(
            f"{path}: the entry {query.key.hex()[:16]} answers another request than that of its key: "
            f"different {', '.join(different_parts)}"
        )


def _answered(row: Outcome) -> Iterator[Query]:
    for result in row.results.values():
        if result.query is not None and result.response is not None:
            yield result.query
        yield from (query for query, _ in result.bad_replies)
