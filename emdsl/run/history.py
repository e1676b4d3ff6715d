"""The history of runs: a record of each run, and a snapshot of the files of its program.

Answers do not depend on it. The next plan compares the program with the one that ran last, and `why` names the run
that an answer came from.
"""

from __future__ import annotations

import errno
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.files import beside, file_digest, write_whole
from emdsl.project import RUNS
from emdsl.run import used
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


KEPT = "kept"
MAX_KEPT = 64 * 2**20  # bytes of one file: of a larger file only the digest is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a run under way, by `emdsl runs`."""

    at: float  # seconds since 1970
    what: str  # connections, budget (US dollars), stop
    old: float | None = None  # None: there was none
    new: float | None = None

    @property
    def text(self) -> str:
        """The change as people read it."""
        unit = "$" if self.what == "budget" else ""
        old = "none" if self.old is None else f"{unit}{self.old:,g}"
        return self.what if self.new is None else f"{self.what} {old} -> {unit}{self.new:,g}"


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
    pilot: bool = False
    workers: int = 1  # processes that sent its requests
    files: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by model: of input and of output
    servers: Mapping[str, str] = field(default_factory=dict)  # by model: which was asked
    changes: tuple[Change, ...] = ()  # while it was under way


def begin(cache: Path, project: Path, record: Record, files: Mapping[str, str]) -> Record:
    """Write the record of a run that starts, and copies of the files of its program; return it. Raises OSError.

    `files` are resolved paths with the SHA-256 of their content, empty for an absent file.
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
    """Write the end of a run into its record, which keeps the changes that were made since it began."""
    written = _read(_path(cache, record))
    changes = written.changes if written is not None else record.changes
    ended = replace(record, ended_at=time.time(), sent=sent, failed=failed, interrupted=interrupted, changes=changes)
    _write(cache, ended)


def add_changes(cache: Path, run: str, changes: Iterable[Change]) -> None:
    """Write changes into the record of a run under way; raises OSError."""
    path = next((cache / RUNS).glob(f"*-{run}.json"), cache / RUNS / run)
    record = _read(path)
    if record is None:
        raise FileNotFoundError(errno.ENOENT, "the record of this run cannot be read", str(path))
    _write(cache, replace(record, changes=(*record.changes, *changes)))


def records(cache: Path) -> Iterator[Record]:
    """Yield the records of all runs, last first, without those that cannot be read."""
    folder = cache / RUNS
    for path in sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else ():
        record = _read(path)
        if record is not None:
            yield record


def last(cache: Path, study: str) -> Record | None:
    """Return the record of the last run of a study."""
    return next((r for r in records(cache) if r.study == study), None)


def adopt(other: Path, cache: Path) -> None:
    """Copy the records and snapshots of another cache into this one; existing files stay."""
    used.adopt(other, cache)
    for name in (RUNS, KEPT):
        for path in (other / name).iterdir() if (other / name).is_dir() else ():
            if not (cache / name / path.name).exists() and path.suffix != ".new":
                (cache / name).mkdir(exist_ok=True, mode=0o700)
                write_whole(cache / name / path.name, path.read_bytes())


def by_run(cache: Path) -> dict[str, Record]:
    """Return the records by run."""
    return {r.run: r for r in records(cache)}


def snapshot(cache: Path, project: Path, record: Record) -> dict[Path, Path]:
    """Return the copies of the files of a run, by their path; of a file without a copy, the file itself."""
    copies = {}
    for name, sha256 in record.files.items():
        path = project / name
        copy = cache / KEPT / f"{sha256}{path.suffix}"
        if sha256:
            copies[path.resolve()] = copy if copy.exists() else path
    return copies


def not_kept(cache: Path, project: Path, record: Record) -> list[str]:
    """Return the files of a run that have changed since, and of which no copy was kept."""
    lost = []
    for name, sha256 in record.files.items():
        path = project / name
        if not sha256 or (cache / KEPT / f"{sha256}{path.suffix}").exists():
            continue
        if not path.exists() or file_digest(path).hex() != sha256:
            lost.append(path.name)
    return lost


def keep(cache: Path, content: bytes, suffix: str) -> Path:
    """Write the copy of a content that has no file, and return its path; raises OSError."""
    copy = cache / KEPT / f"{digest_bytes(content).hex()}{suffix}"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(copy, content)
    return copy


def _keep(cache: Path, path: Path, sha256: str) -> None:
    copy = cache / KEPT / f"{sha256}{path.suffix}"
    try:
        if copy.exists() or path.stat().st_size > MAX_KEPT:
            return
    except OSError:  # it was removed since it was read
        return
    copy.parent.mkdir(exist_ok=True, mode=0o700)
    fresh = beside(copy)
    try:
        write_whole(fresh, path.read_bytes())
        if digest_bytes(fresh.read_bytes()).hex() == sha256:  # it may have changed since it was read
            fresh.replace(copy)
    finally:
        fresh.unlink(missing_ok=True)


def _path(cache: Path, record: Record) -> Path:
    return cache / RUNS / f"{int(record.started_at * 1000):013d}-{record.run}.json"


def _read(path: Path) -> Record | None:
    """Return the record in a file; None if it cannot be read."""
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
        fields["prices"] = {k: (float(v[0]), float(v[1])) for k, v in fields["prices"].items()}
        fields["files"], fields["only"] = dict(fields["files"]), tuple(fields["only"])
        fields["servers"] = {str(k): str(v) for k, v in fields.get("servers", {}).items()}
        fields["changes"] = tuple(Change(**c) for c in fields.get("changes", ()))
        return Record(**fields)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _write(cache: Path, record: Record) -> None:
    path = _path(cache, record)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    fresh = path.with_name(path.name + ".new")
    write_whole(fresh, json.dumps(asdict(record), indent=1))
    fresh.replace(path)
