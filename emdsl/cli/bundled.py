"""What a bundle's entries are, by its own program: each must be the answer to the request of its key."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emdsl.compiler.compile import compile_file
from emdsl.errors import EmdslError, StoreError
from emdsl.frame import EvalFault
from emdsl.run.walk import Walk, chunks, resolve
from emdsl.store.codec import Corrupt, ingredients
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.outcome import Outcome
    from emdsl.query import Query
    from emdsl.store.bundle import Bundle


def compare(opened: Bundle, path: Path, environment: Mapping[str, str], *, simulate: bool) -> tuple[int, str]:
    """Recompute the keys that the program of a bundle can make, and compare what their entries say they answer.

    Returns how many were compared, and why no more could be, or nothing. Raises StoreError for an entry that answers
    another request than that of its key: somebody has put it there. Nothing of the program's Python is run.
    """
    if any(name.endswith(".py") for name in opened.manifest.files):
        return 0, "its program calls Python, which is not run for that"
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").touch()
        try:
            for name in opened.manifest.files:
                inside = (root / name).resolve()
                if not inside.is_relative_to(root.resolve()):
                    return 0, "a file of its program lies outside"
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.write_bytes(opened.content(name))
            program = compile_file(root / opened.manifest.file, environment, simulate=simulate)
        except (EmdslError, OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            return 0, f"its program does not stand alone ({first})"
        store = DiskStore(root / "answers")
        try:
            store.adopt(opened.entries())
            return sum(_compared(Walk(e), store, path) for e in program.experiments), ""
        except EvalFault as fault:
            return 0, f"its program cannot be gone through ({fault.diagnostic.message})"
        finally:
            store.close()


def _compared(walk: Walk, store: DiskStore, path: Path) -> int:
    seen: set[Digest] = set()
    for rows in chunks(walk.rows()):
        resolve(walk, rows, store)
        queries = {query.key: query for row in rows for query in _answered(row)}
        queries |= {query.key: query for query in walk.probes.queries}
        for key, entry in store.entries(set(queries) - seen):
            _compare(queries[key], entry, path)
            seen.add(key)
    return len(seen)


def _compare(query: Query, entry: bytes | None, path: Path) -> None:
    """Raise StoreError unless an entry is the answer to a request."""
    expected = json.loads(json.dumps(query.ingredients()))
    try:
        told = ingredients(entry)
    except Corrupt as error:
        raise StoreError(f"{path}: the entry {query.key.hex()[:16]} is damaged: {error}") from error
    unlike = sorted(name for name in expected if told.get(name, expected[name]) != expected[name])
    if unlike:
        raise StoreError(
            f"{path}: the entry {query.key.hex()[:16]} is the answer to another request than that of its key: "
            f"its {', '.join(unlike)} {'is' if len(unlike) == 1 else 'are'} not what the program asks"
        )


def _answered(row: Outcome) -> Iterator[Query]:
    for result in row.results.values():
        if result.query is not None and result.response is not None:
            yield result.query
        yield from (query for query, _ in result.earlier)
