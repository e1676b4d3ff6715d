"""What was run: a record of each run, and the files that its program was made from, as they were.

Derived, but for people: answers do not depend on it. The next plan compares the program with the one that ran last,
and `why` says which run an answer came from.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.files import write_private
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


RUNS, KEPT = "runs", "kept"
MAX_KEPT = 64 * 2**20  # bytes of one file: of a larger one the digest alone is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of one study. `files` are paths as in the project with their SHA-256; `prices` USD per million tokens."""

    run: str
    study: str
    file: str  # as in the project
    program: str  # the digest of the program, in hex
    started_at: float  # seconds since 1970
    emdsl: str = __version__
    ended_at: float | None = None  # None while it runs, and where it was killed
    sent: int = 0
    failed: int = 0
    interrupted: bool = False
    samples: int | None = None  # what it was restricted to
    only: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by model: of input and of output
    servers: Mapping[str, str] = field(default_factory=dict)  # by model: which was asked


def begin(cache: Path, project: Path, record: Record, files: Mapping[str, str]) -> Record:
    """Keep a record of a run that starts, and copies of the files of its program; return it. Raises OSError.

    `files` are resolved paths with the SHA-256 of what was read, nothing for one that is absent.
    """
    names = {}
    for name, sha256 in files.items():
        path = Path(name)
        names[path.relative_to(project).as_posix() if path.is_relative_to(project) else name] = sha256
        if sha256:
            _keep(cache, path, sha256)
    whole = replace(record, files=names)
    _write(cache, whole)
    return whole


def end(cache: Path, record: Record, *, sent: int, failed: int, interrupted: bool) -> None:
    """Say in a record how its run ended."""
    _write(cache, replace(record, ended_at=time.time(), sent=sent, failed=failed, interrupted=interrupted))


def records(cache: Path) -> Iterator[Record]:
    """Yield the records of all runs, last first; one that cannot be read is left out."""
    folder = cache / RUNS
    for path in sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else ():
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
            found["prices"] = {k: (float(v[0]), float(v[1])) for k, v in found["prices"].items()}
            found["files"], found["only"] = dict(found["files"]), tuple(found["only"])
            found["servers"] = {str(k): str(v) for k, v in found.get("servers", {}).items()}
            yield Record(**found)
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            continue


def last(cache: Path, study: str) -> Record | None:
    """Return the record of the last run of a study."""
    return next((r for r in records(cache) if r.study == study), None)


def adopt(other: Path, cache: Path) -> None:
    """Take in the records of another cache's runs, and its copies of programs; what is here already stays."""
    for name in (RUNS, KEPT):
        for path in (other / name).iterdir() if (other / name).is_dir() else ():
            if not (cache / name / path.name).exists() and path.suffix != ".new":
                (cache / name).mkdir(exist_ok=True, mode=0o700)
                write_private(cache / name / path.name, path.read_bytes())


def by_run(cache: Path) -> dict[str, Record]:
    """Return the records by run."""
    return {r.run: r for r in records(cache)}


def as_it_was(cache: Path, project: Path, record: Record) -> dict[Path, Path]:
    """Return where the files of a run are now, by their path: copies in place of those that have changed."""
    found = {}
    for name, sha256 in record.files.items():
        path = project / name
        copy = cache / KEPT / f"{sha256}{path.suffix}"
        if copy.exists():
            found[path.resolve()] = copy
    return found


def _keep(cache: Path, path: Path, sha256: str) -> None:
    copy = cache / KEPT / f"{sha256}{path.suffix}"
    try:
        if copy.exists() or path.stat().st_size > MAX_KEPT:
            return
    except OSError:  # it has gone since it was read
        return
    copy.parent.mkdir(exist_ok=True, mode=0o700)
    fresh = copy.with_name(f"{copy.name}.{os.getpid()}.new")
    try:
        write_private(fresh, path.read_bytes())
        if digest_bytes(fresh.read_bytes()).hex() == sha256:  # it may have changed since it was read
            fresh.replace(copy)
    finally:
        fresh.unlink(missing_ok=True)


def _write(cache: Path, record: Record) -> None:
    folder = cache / RUNS
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / f"{int(record.started_at * 1000):013d}-{record.run}.json"
    fresh = path.with_name(path.name + ".new")
    write_private(fresh, json.dumps(asdict(record), indent=1))
    fresh.replace(path)
