"""The id of each study's load: a small file beside the database, read without opening it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REPAIRED = "a new database replaces it"  # in the notice of a load that could not read the one before
DATABASE, LOADS, LAST = "outcomes.duckdb", "outcomes.loads.json", "outcomes.last"


def load_id(folder: Path, study: str) -> str | None:
    """Return the id of a study's load in the database; None if that is not certain."""
    try:
        record: Any = json.loads((folder / LOADS).read_text(encoding="utf-8"))
        if record["stat"] != _stat(folder):
            return None
        load = record["loads"].get(study)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return load if isinstance(load, str) else None


def note_load(folder: Path, study: str, load: str, *, known: dict[str, str]) -> None:
    """Record the load of a study in the database, just renamed into place; `known` are those of the others."""
    write_whole(folder / LOADS, json.dumps({"stat": _stat(folder), "loads": known | {study: load}}))


def known_loads(folder: Path) -> dict[str, str]:
    """Return the loads of all studies before the database is replaced; none if they are not certain."""
    try:
        record: Any = json.loads((folder / LOADS).read_text(encoding="utf-8"))
        return dict(record["loads"]) if record["stat"] == _stat(folder) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_name(study: str, others: Iterable[str]) -> None:
    """Raise OutcomesError if the name of a study differs from another one in case only: SQL ignores case."""
    twin = next((o for o in others if o != study and o.lower() == study.lower()), None)
    if twin is not None:
        raise OutcomesError(f"`{study}` and `{twin}` differ in upper and lower case only: rename one of the files")


def note_last(folder: Path, study: str) -> None:
    """Record the study that was run or shown last, the default of `query`, also if nothing had to be loaded."""
    with suppress(OSError):
        write_whole(folder / LAST, study)


def last_study(folder: Path) -> str | None:
    """Return the study that was run or shown last, or None."""
    try:
        return (folder / LAST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _stat(folder: Path) -> list[int]:
    status = (folder / DATABASE).stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
