"""Which load of each study the database holds: a small file beside it, for those who need not open the database."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.files import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DATABASE, LOADS, LAST = "outcomes.duckdb", "outcomes.loads.json", "outcomes.last"


def load_id(folder: Path, study: str) -> str | None:
    """Return which load of a study the database holds; None where that is not certain."""
    try:
        found: Any = json.loads((folder / LOADS).read_text(encoding="utf-8"))
        if found["stat"] != _stat(folder):
            return None
        load = found["loads"].get(study)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return load if isinstance(load, str) else None


def note_load(folder: Path, study: str, load: str, *, known: dict[str, str]) -> None:
    """Say which load the database, just renamed into place, holds of a study; `known` are those of the others."""
    fresh = folder / f"{LOADS}.new"
    write_private(fresh, json.dumps({"stat": _stat(folder), "loads": known | {study: load}}))
    fresh.replace(folder / LOADS)


def known_loads(folder: Path) -> dict[str, str]:
    """Return the loads of all studies, before the database is replaced; none where they are not certain."""
    try:
        found: Any = json.loads((folder / LOADS).read_text(encoding="utf-8"))
        return dict(found["loads"]) if found["stat"] == _stat(folder) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def check_name(study: str, others: Iterable[str]) -> None:
    """Raise OutcomesError where the database takes a study for another one: by upper and lower case alone."""
    twin = next((o for o in others if o != study and o.lower() == study.lower()), None)
    if twin is not None:
        raise OutcomesError(f"`{study}` and `{twin}` differ in upper and lower case only; rename one of the files")


def note_last(folder: Path, study: str) -> None:
    """Say which study was run or shown last: the one that `query` means, also where nothing had to be loaded."""
    with suppress(OSError):
        write_private(folder / LAST, study)


def last_study(folder: Path) -> str | None:
    """Return the study that was run or shown last."""
    try:
        return (folder / LAST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _stat(folder: Path) -> list[int]:
    found = (folder / DATABASE).stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
