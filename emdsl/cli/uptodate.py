"""The short-cut of an up-to-date run: nothing is compiled or expanded, the last tables are shown.

A run that left nothing to ask writes down what it read (files, variables, `.env` files), the store's count of
removals, the load of its outcomes, and what it would print if it were run again. While all of these hold, that is
printed. It imports nothing heavy: this is the path that is taken most.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.cli import console
from emdsl.digest import digest, digest_bytes
from emdsl.files import write_private
from emdsl.outcomes.loads import load_id, note_last
from emdsl.project import ANSWERS
from emdsl.store.removals import Standing, standing, still_there
from emdsl.version import __version__, installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.cli.session import Session
    from emdsl.experiment import Program

FOLDER = "uptodate"
SETTLED_NS = 2_000_000_000  # a file that changed this short before it was read may have changed again unseen


def find(here: Session, file: Path, call: Iterable[object]) -> list[tuple[str, bool]] | None:
    """Return what is to be printed, and whether to standard error; None where the run must look for itself."""
    try:
        found: Any = json.loads(_path(here, file, call).read_text(encoding="utf-8"))
        now = standing(here.cache / ANSWERS)
        holds = (
            found["emdsl"] == __version__
            and found["load"] == load_id(here.cache, here.study(file))
            and now is not None
            and (tuple(found["store"]) == now if found["restricted"] else now.holds(Standing(*found["store"])))
            and still_there(here.cache / ANSWERS, Standing(*found["store"]))
            and found["installed"] == digest("installed", installed()).hex()
            and found["variables"] == _variables(here.environment, found["variables"])
            and all(str(Path(name).resolve()) == real for name, real in found["links"].items())
            and all(_unchanged(Path(name), noted) for name, noted in found["files"].items())
        )
        return [(str(text), bool(err)) for text, err in found["said"]] if holds else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(
    here: Session, file: Path, call: Iterable[object], program: Program, run: str, before: Standing | None,
    said: list[tuple[str, bool]], *, restricted: bool,
) -> None:  # fmt: skip
    """Write down that a run was complete; where anything has changed since it began, the next run looks for itself.

    `run` is the load that it made, `before` where the store stood at its start. The tables of a `restricted` run show
    what else is stored, too: it holds while nothing at all is added.
    """
    now = standing(here.cache / ANSWERS)
    if load_id(here.cache, here.study(file)) != run or now is None or before is None or not now.holds(before):
        return
    absent = {str(p): "" for p in here.env_files if str(p) not in program.files}
    files = {name: _noted(Path(name), sha256) for name, sha256 in (absent | dict(program.files)).items()}
    if None in files.values():
        return
    record = {
        "emdsl": __version__,
        "installed": digest("installed", installed()).hex(),
        "load": run,
        "store": list(now),
        "restricted": restricted,
        "variables": _variables(here.environment, program.variables),
        "files": files,
        "links": dict(program.links),
        "said": said,
    }
    path = _path(here, file, call)
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        write_private(fresh, json.dumps(record))
        fresh.replace(path)
    except (OSError, UnicodeEncodeError):
        return


def _path(here: Session, file: Path, call: Iterable[object]) -> Path:
    """Return where the record of a call is: another selection, form or width prints other things."""
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    shown = (str(file), Path.cwd(), width, os.environ.get("NO_COLOR"), os.environ.get("TERM"))
    name = digest("call", here.study(file), [str(x) for x in (*call, *shown)]).hex()[:32]
    return here.cache / FOLDER / f"{name}.json"


def _variables(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """Return the variables that addresses were read from, as digests: an address may hold a password."""
    return {n: digest("variable", environment[n]).hex() if n in environment else None for n in names}


def _noted(path: Path, sha256: str) -> list[Any] | None:
    """Return by what a file is known again: its stat, where that can be trusted, and its content; None if it changed.

    `sha256` is of the content that was read, nothing for a file that was not there, or is a `.env`.
    """
    try:
        before, at = path.stat(), time.time_ns()
        found = digest_bytes(path.read_bytes()).hex()
    except OSError:
        return [] if not sha256 else None
    if sha256 and found != sha256:
        return None
    settled = at - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED_NS
    return [[before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino] if settled else [], found]


def _unchanged(path: Path, noted: list[Any]) -> bool:
    """Whether a file is as it was: by its size, times and inode where these can be trusted, else by its content."""
    try:
        found = path.stat()
    except OSError:
        return noted == []
    if not noted:
        return False
    stat, sha256 = noted
    if stat == [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]:
        return True
    return bool(digest_bytes(path.read_bytes()).hex() == sha256)


def show(here: Session, file: Path, said: list[tuple[str, bool]]) -> int:
    """Print what was kept; the study is now the last one that was run."""
    note_last(here.cache, here.study(file))
    for text, err in said:
        console.say(text, err=err, nl=False)
    return 0
