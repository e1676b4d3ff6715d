"""The short way of an up-to-date run or plan: nothing is compiled or expanded, the last results are shown.

A run that is complete, and a plan with nothing pending, record everything they depend on (files, variables, `.env`
files, the store's count of removals, the load of the tables) and what would be shown the next time. While all of that
holds, the record is shown. Nothing heavy is imported here: this is the most frequent path.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest, digest_bytes
from emdsl.files import matches, write_whole
from emdsl.outcomes.load_ids import load_id
from emdsl.project import RUNS
from emdsl.store.removals import StoreVersion, still_there, store_version
from emdsl.version import __version__, installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.experiment import Program
    from emdsl.study.project import Project

FOLDER = "uptodate"
SETTLED_NS = 2_000_000_000  # a file that changed this short before it was read may have changed again unseen

Screen = list[tuple[str, bool]]  # texts, and whether each goes to standard error


def find(project: Project, file: Path, call: Iterable[object]) -> Screen | None:
    """Return what an up-to-date run shows; None if the run must look for itself.

    `call` holds everything else that the screen depends on: the selection, the format, the width of the terminal.
    """
    if project.team is not None:  # other machines change that store
        return None
    try:
        record: Any = json.loads(_path(project, file, call).read_text(encoding="utf-8"))
        now = store_version(project.answers)
        before = StoreVersion(*record["store"])
        holds = (
            record["emdsl"] == __version__
            and record["load"] == load_id(project.cache, project.study(file))
            and now is not None
            and (_exact(project, now) == record["exact"] if record["exact"] else now.holds(before))
            and still_there(project.answers, before)
            and record["installed"] == digest("installed", installed()).hex()
            and record["variables"] == _variables(project.environment, record["variables"])
            and all(str(Path(name).resolve()) == real for name, real in record["links"].items())
            and all(_matched(folder, pattern) == files for folder, pattern, files in record["patterns"])
            and all(_unchanged(Path(name), mark) for name, mark in record["files"].items())
        )
        return [(str(text), bool(err)) for text, err in record["screen"]] if holds else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(
    project: Project, file: Path, call: Iterable[object], program: Program, load: str | None,
    before: StoreVersion | None, screen: Screen, *, exact: bool,
) -> None:  # fmt: skip
    """Record a complete run; if anything has changed since it began, nothing is recorded.

    Args:
        project: The project.
        file: The study.
        call: As for `find`.
        program: The compiled study.
        load: The id of the load that it made, or has seen; None for a study without tables.
        before: The version of the store at its start.
        screen: The screen of the next run, if nothing changes.
        exact: Any new answer or run of the project ends the record: a selection shows other cached answers too, and a
            plan compares with earlier runs.
    """
    if project.team is not None:
        return
    now = store_version(project.answers)
    if load_id(project.cache, project.study(file)) != load or now is None or before is None or not now.holds(before):
        return
    absent = {str(p): "" for p in project.env_files if str(p) not in program.files}
    read = absent | _read_by_hooks(project, program) | {**program.files, **program.annotations}
    files = {name: _mark(Path(name), sha256) for name, sha256 in read.items()}
    if None in files.values() or any(_matched(*where) != list(m) for where, m in program.patterns.items()):
        return
    record = {
        "emdsl": __version__,
        "installed": digest("installed", installed()).hex(),
        "load": load,
        "store": list(now),
        "exact": _exact(project, now) if exact else [],
        "variables": _variables(project.environment, program.variables),
        "files": files,
        "patterns": [(*where, list(matched)) for where, matched in program.patterns.items()],
        "links": dict(program.links),
        "screen": screen,
    }
    path = _path(project, file, call)
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        write_whole(path, json.dumps(record))
    except (OSError, UnicodeEncodeError):
        return


def _read_by_hooks(project: Project, program: Program) -> dict[str, str]:
    """Return the files that functions in Python have read, with the SHA-256 of each as it was."""
    sources = {name: sha256 for name, sha256 in program.files.items() if name.endswith(".py")}
    if not sources:
        return {}
    from emdsl.hooks.values import files_read  # noqa: PLC0415 - only who has such functions waits for it

    return files_read(project.hook_values, project.root, sources.values())


def _exact(project: Project, store: StoreVersion) -> list[int]:
    """Return numbers that change with every answer and with every run of a project."""
    try:
        runs = (project.cache / RUNS).stat().st_mtime_ns
    except OSError:
        runs = 0
    return [*store, runs]


def _path(project: Project, file: Path, call: Iterable[object]) -> Path:
    """Return where the record of a call is."""
    name = digest("call", project.study(file), [str(x) for x in (*call, str(file), Path.cwd())]).hex()[:32]
    return project.cache / FOLDER / f"{name}.json"


def _variables(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """Return the variables that addresses were read from, as digests: an address may hold a password."""
    return {n: digest("variable", environment[n]).hex() if n in environment else None for n in names}


def _matched(folder: str, pattern: str) -> list[str] | None:
    """Return the files that match a pattern now, or None for too many: a new one adds rows to the study."""
    try:
        return list(map(str, matches(Path(folder), pattern)))
    except OSError:
        return None


def _mark(path: Path, sha256: str) -> list[Any] | None:
    """Return the stat of a file, if that can be trusted, and the digest of its content; None if it has changed.

    `sha256` is of the content that was read; empty for a file that did not exist, or is a `.env`.
    """
    try:
        before, at = path.stat(), time.time_ns()
        content = digest_bytes(path.read_bytes()).hex()
    except OSError:
        return [] if not sha256 else None
    if sha256 and content != sha256:
        return None
    settled = at - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED_NS
    return [[before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino] if settled else [], content]


def _unchanged(path: Path, mark: list[Any]) -> bool:
    """Whether a file is as it was: by its size, times and inode if these can be trusted, else by its content."""
    try:
        now = path.stat()
    except OSError:
        return mark == []
    if not mark:
        return False
    stat, sha256 = mark
    if stat == [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino]:
        return True
    return bool(digest_bytes(path.read_bytes()).hex() == sha256)
