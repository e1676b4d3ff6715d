"""Versions of a study to compare with: other studies of the project, earlier runs, and git revisions of its file.

A version is compiled and its rows are settled from the store. Nothing is checked out, sent or executed: a hook whose
value is not kept is an error.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.hooks.hook import nothing_executed
from emdsl.run import history
from emdsl.source import near
from emdsl.study.compiled import compile_study
from emdsl.study.revision import at_revision, commits, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.run.history import Record
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project

GIT, RUN, FILE = "git", "run", "file"
MAX_FILES, MAX_RUNS = 200, 20  # listed
MAX_FOLDERS = 5_000  # searched
_SKIPPED = frozenset(("node_modules", "venv", "cache", "annotations"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version to choose: its name `git:SHA`, `run:ID` or `file:PATH`, what people call it, and its time if any."""

    id: str
    kind: str
    shown: str
    at: float | None = None  # seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A compiled version, and notices about it."""

    study: Compiled
    notices: list[str] = field(default_factory=list)


def versions(study: Compiled) -> list[Version]:
    """Return the versions that a study can be compared with: earlier runs, revisions, other files of the project."""
    files = [Path(n) for n in study.program.files]
    found = [Version(id=f"{RUN}:{r.run}", kind=RUN, shown=_shown_run(r), at=r.started_at) for r in earlier_runs(study)]
    found += [
        Version(id=f"{GIT}:{c.sha}", kind=GIT, shown=f"{c.sha[:10]} {c.subject}", at=c.at)
        for c in commits(study.file, files)
    ]
    return found + [Version(id=f"{FILE}:{n}", kind=FILE, shown=n) for n in studies(study)]


def earlier_runs(study: Compiled) -> list[Record]:
    """Return the last run of each program that the study had before, the latest first."""
    seen = {study.program.digest.hex()}
    found: list[Record] = []
    for record in history.records(study.project.cache):
        if record.study == study.name and record.program not in seen and len(found) < MAX_RUNS:
            seen.add(record.program)
            found.append(record)
    return found


def studies(study: Compiled) -> list[str]:
    """Return the other `.em` files of the project, by their path in it."""
    found: list[str] = []
    root = study.project.root
    for n, (folder, folders, names) in enumerate(os.walk(root)):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _SKIPPED)
        paths = (Path(folder) / x for x in sorted(names) if x.endswith(".em"))
        found += [p.relative_to(root).as_posix() for p in paths if p.resolve() != study.file.resolve()]
        if n >= MAX_FOLDERS or len(found) >= MAX_FILES:
            break
    return found[:MAX_FILES]


@contextmanager
def as_version(study: Compiled, called: str) -> Iterator[Loaded]:
    """Yield a version of a study, compiled; copies of its files are there until the block ends.

    Args:
        study: The study in its present state.
        called: The name of the version. `git:` also takes a branch or `HEAD~1`.

    Raises:
        UsageError: There is no such version.
        FileMissing: The file is not part of the revision.
        SourceError: The version does not compile, or a function of it would have to run.
    """
    with TemporaryDirectory(prefix="emdsl-version-") as folder:
        with nothing_executed():
            version = _compiled(study, called, Path(folder))
        yield version


def _compiled(study: Compiled, called: str, folder: Path) -> Loaded:
    kind, _, name = called.partition(":")
    match kind:
        case "git":
            instead = at_revision(resolved(name, study.file), study.file, folder)
            version = compile_study(study.project, study.file, instead)
            return Loaded(study=version, notices=_not_in_revision(study.project, instead.missing))
        case "run":
            return as_it_ran(study, name)
        case "file":
            known = studies(study)
            if name not in known:
                raise UsageError(f"the project has no other study `{name}`; {near(name, known) or ''}".rstrip("; "))
            return Loaded(study=compile_study(study.project, study.project.root / name))
        case _:
            raise UsageError(f"`{called}` is not a version: expected `git:REV`, `run:ID` or `file:PATH`")


def as_it_ran(study: Compiled, run: str) -> Loaded:
    """Return the program of an earlier run of a study, by the beginning of its id.

    Raises:
        UsageError: No run, or several, begin with it.
        SourceError: The program does not compile any more.
    """
    project = study.project
    found = [r for r in history.records(project.cache) if r.study == study.name and run and r.run.startswith(run)]
    if len(found) != 1:
        several = "several runs that begin with" if found else "no run"
        raise UsageError(f"`{study.name}` has {several} `{run}`; list the runs with `emdsl runs --all`")
    record = found[0]
    version = compile_study(project, study.file, _unchanged(history.snapshot(project.cache, project.root, record)))
    now = {project.relative(Path(n)): sha256 for n, sha256 in version.program.files.items()}
    changed = sorted(n for n, sha256 in record.files.items() if now.get(n) != sha256)
    notices = [f"{n} is read in its present state: the run kept no copy of it" for n in changed]
    return Loaded(study=version, notices=notices)


def _unchanged(copies: Mapping[Path, Path]) -> dict[Path, Path]:
    """Return the copies of files that changed since: values of hooks hold for the place of a file."""
    return {
        path: copy
        for path, copy in copies.items()
        if not (path.is_file() and copy.is_file() and path.read_bytes() == copy.read_bytes())
    }


def _not_in_revision(project: Project, files: list[Path]) -> list[str]:
    return [f"{project.relative(p)} is read in its present state: the revision does not have it" for p in sorted(files)]


def _shown_run(record: Record) -> str:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started_at))
    return f"{day}, {record.sent:,} requests sent"
