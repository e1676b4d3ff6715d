"""`emdsl diff`: two programs, or one as it was in git: cells and requests gained and lost, and what they cost."""

from __future__ import annotations

import difflib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError, UsageError
from emdsl.frame import EvalFault
from emdsl.run.planner import plan
from emdsl.run.recipes import recipes
from emdsl.run.walk import Walk

if TYPE_CHECKING:
    from emdsl.cli.session import Session
    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Program

GIT = "git:"


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@session.with_options(session.CACHE, session.ENV_FILE, session.SIM, session.AS_JSON)
def command(
    old: str, new: str, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool
) -> int:  # fmt: skip
    """Compare two programs by the cells and requests that they make: files, or git:REV for the other as it was.

    `emdsl diff git:HEAD~1 icl.em` says what the last commit changed.
    """
    console.expect_json(wanted=as_json)
    if old.startswith(GIT) and new.startswith(GIT):
        raise UsageError("one of the two is a file: `emdsl diff git:HEAD~1 icl.em`")
    file = Path(old if new.startswith(GIT) else new)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    with tempfile.TemporaryDirectory() as folder:
        before, after = (_program(here, text, file, Path(folder)) for text in (old, new))
        found: dict[str, Any] = {
            "experiments": _experiments(here, before, after),
            "lines": _lines(before, after),
        }
    if as_json:
        console.show_json(found)
        return 0
    for entry in found["experiments"]:
        console.say(
            f"experiment {entry['name']}: +{entry['cells_gained']:,} cells, -{entry['cells_lost']:,} . requests: "
            f"+{entry['requests_gained']:,}, -{entry['requests_lost']:,} . left to ask: {entry['to_run']:,}"
            + (f", est. ${entry['est_usd']:,.2f}" if entry["est_usd"] is not None else "")
        )
    n, free = found["lines"]["changed"], found["lines"]["meaning_free"]
    console.say(f"edits: {n:,} line{'' if n == 1 else 's'}, {free:,} of them in comments, layout or order only")
    return 0


def _program(here: Session, text: str, file: Path, folder: Path) -> Program:
    if not text.startswith(GIT):
        return compile_file(Path(text), here.environment, simulate=here.simulate)
    instead = _AsInGit(file.resolve().parent, text.removeprefix(GIT), folder)
    if file.resolve() not in instead:
        raise UsageError(f"git has no {file.name} at `{text.removeprefix(GIT)}`: {instead.said}")
    return compile_file(file, here.environment, simulate=here.simulate, instead=instead)


class _AsInGit(Mapping[Path, Path]):
    """Files as they were at a revision, by their path now; each is written out when it is asked for."""

    def __init__(self, repository: Path, revision: str, folder: Path) -> None:
        self._repository, self._revision, self._folder = repository, revision, folder
        self._known: dict[Path, Path | None] = {}
        self.said = ""

    def __getitem__(self, path: Path) -> Path:
        if path not in self._known:
            self._known[path] = self._shown(path)
        found = self._known[path]
        if found is None:
            raise KeyError(path)
        return found

    def _shown(self, path: Path) -> Path | None:
        command = ["git", "-C", str(path.parent), "show", "--end-of-options", f"{self._revision}:./{path.name}"]
        try:
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - git, without a shell
        except OSError as error:
            raise UsageError(f"git cannot be run: {error.strerror}") from error
        if done.returncode:
            self.said = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
            return None
        copy = self._folder / f"{len(self._known)}{path.suffix}"
        copy.write_bytes(done.stdout)
        return copy

    def __iter__(self) -> Iterator[Path]:
        return (p for p, copy in self._known.items() if copy is not None)

    def __len__(self) -> int:
        return max(1, len(self._known))  # never empty: what it holds is not known before it is asked


def _experiments(here: Session, before: Program, after: Program) -> list[dict[str, Any]]:
    olds, news = ({e.name: e for e in p.experiments} for p in (before, after))
    gone, come = [n for n in olds if n not in news], [n for n in news if n not in olds]
    if len(gone) == len(come) == 1:
        olds[come[0]] = olds.pop(gone[0])  # renamed, it is the same
    store = here.store(create=False)
    found = []
    try:
        for name in dict.fromkeys((*news, *olds)):
            old_cells, old_keys = _holds(olds.get(name))
            new_cells, new_keys = _holds(news.get(name))
            count = plan(Walk(news[name]), store) if name in news else None
            usd = [s.estimate.usd for s in count.steps] if count is not None else []
            found.append(
                {
                    "name": name,
                    "cells_gained": len(new_cells - old_cells),
                    "cells_lost": len(old_cells - new_cells),
                    "requests_gained": len(new_keys - old_keys),
                    "requests_lost": len(old_keys - new_keys),
                    "to_run": count.at_most if count is not None else 0,
                    "est_usd": float(sum(u for u in usd if u is not None)) if None not in usd else None,
                }
            )
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()
    return found


def _holds(experiment: Experiment | None) -> tuple[set[frozenset[tuple[str, str]]], set[Digest]]:
    """Return the cells of an experiment, by the names of their levels, and its requests."""
    if experiment is None:
        return set(), set()
    cells = {
        frozenset((a.name, a.levels[i].shown) for a, i in zip(experiment.axes, cell, strict=True))
        for cell in experiment.cells()
    }
    return cells, {key for _, _, key in recipes(Walk(experiment))}


def _lines(before: Program, after: Program) -> dict[str, int]:
    """Return how many lines of text were edited, and how many of these say what was said before."""
    old, new = ([x for s in p.sources.values() for x in s.text.splitlines()] for p in (before, after))
    gone, come = list[str](), list[str]()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += old[a:b]
            come += new[c:d]
    said_gone = {_said(x) for x in gone}
    same = sum(_said(x) in said_gone or not _said(x) for x in come)
    same += sum(not _said(x) for x in gone) if len(gone) > len(come) else 0
    return {"changed": max(len(gone), len(come)), "meaning_free": min(same, max(len(gone), len(come)))}


def _said(line: str) -> str:
    """Return a line without its comment and its blanks."""
    bare = line if '"' in line.partition("#")[0] else line.partition("#")[0]
    return "".join(bare.split())
