"""Diff: two studies, or one at two git revisions, compared by cells, requests and cost."""

from __future__ import annotations

import difflib
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows
from emdsl.run.symbolic import symbolic_requests
from emdsl.study.compiled import Compiled, by_present_name, compile_study
from emdsl.study.revision import at_revision
from emdsl.study.screen import counted
from emdsl.study.self_shown import SelfShown
from emdsl.study.versions import as_it_ran

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Program
    from emdsl.study.project import Project
    from emdsl.study.screen import Part

GIT, RUN = "git:", "run:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff(SelfShown):
    """Two studies compared: cells and requests of each experiment, and edited lines."""

    experiments: tuple[dict[str, Any], ...]
    lines: Mapping[str, int]  # changed, and of them those that mean the same

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl diff --json` prints it."""
        return {"experiments": list(self.experiments), "lines": dict(self.lines)}

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl diff`."""
        for entry in self.experiments:
            cost = f", est. ${entry['est_usd']:,.2f}" if entry["est_usd"] is not None else ""
            yield (
                f"experiment {entry['name']}: +{entry['cells_gained']:,} cells, -{entry['cells_lost']:,}; requests "
                f"+{entry['requests_gained']:,}, -{entry['requests_lost']:,}; pending {entry['pending']:,}{cost}"
            )
        same = self.lines["meaning_free"]
        yield f"edits: {counted(self.lines['changed'], 'line')}, {same:,} of them only comments, layout or order"


def diff_studies(project: Project, old: str, new: str) -> Diff:
    """Return what changed between two studies; nothing is sent.

    Args:
        project: The project, with the store that pending requests are counted by.
        old: A file, or `git:REV` or `run:ID` for the other file at a revision or in an earlier run.
        new: The same.

    Raises:
        UsageError: None of the two is a file, or there is no such run.
        FileMissing: git has no such file or revision.
        SourceError: One of the two does not compile.
    """
    with both(project, old, new) as (before, after):
        experiments = tuple(_experiments(before, after))
        return Diff(experiments=experiments, lines=_lines(before.program, after.program))


@contextmanager
def both(project: Project, old: str, new: str) -> Iterator[tuple[Compiled, Compiled]]:
    """Yield two studies, compiled; arguments and errors as of `diff_studies`."""
    if old.startswith((GIT, RUN)) and new.startswith((GIT, RUN)):
        raise UsageError("one of the two must be a file: `emdsl diff git:HEAD~1 icl.em`")
    file = Path(old if new.startswith((GIT, RUN)) else new)
    with tempfile.TemporaryDirectory() as folder:
        yield _compiled(project, old, file, Path(folder)), _compiled(project, new, file, Path(folder))


def _compiled(project: Project, text: str, file: Path, folder: Path) -> Compiled:
    if text.startswith(RUN):
        return as_it_ran(compile_study(project, file), text.removeprefix(RUN)).study
    if not text.startswith(GIT):
        return compile_study(project, Path(text))
    return compile_study(project, file, at_revision(text.removeprefix(GIT), file, folder))


def _experiments(before: Compiled, after: Compiled) -> list[dict[str, Any]]:
    olds, news = ({e.name: e for e in study.program.experiments} for study in (before, after))
    olds = by_present_name(olds, news)
    entries = []
    with after.store() as store:
        for name in dict.fromkeys((*news, *olds)):
            old_cells, old_keys = _contents(olds.get(name))
            new_cells, new_keys = _contents(news.get(name))
            count = Planner(Rows(news[name])).plan(store) if name in news else None
            usd = [s.estimate.usd for s in count.steps] if count is not None else []
            entries.append(
                {
                    "name": name,
                    "cells_gained": len(new_cells - old_cells),
                    "cells_lost": len(old_cells - new_cells),
                    "requests_gained": len(new_keys - old_keys),
                    "requests_lost": len(old_keys - new_keys),
                    "pending": count.at_most if count is not None else 0,
                    "est_usd": float(sum(u for u in usd if u is not None)) if None not in usd else None,
                }
            )
    return entries


def _contents(experiment: Experiment | None) -> tuple[set[frozenset[tuple[str, str]]], set[Digest]]:
    """Return the cells of an experiment, by the names of their levels, and its requests."""
    if experiment is None:
        return set(), set()
    cells = {
        frozenset((a.name, a.levels[i].shown) for a, i in zip(experiment.axes, cell, strict=True))
        for cell in experiment.cells()
    }
    return cells, {key for _, _, key in symbolic_requests(Rows(experiment))}


def _lines(before: Program, after: Program) -> dict[str, int]:
    """Return how many lines of text were edited, and how many of these mean the same as before."""
    old, new = ([x for s in p.sources.values() for x in s.text.splitlines()] for p in (before, after))
    gone, come = list[str](), list[str]()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += old[a:b]
            come += new[c:d]
    meanings_gone = {_meaning(x) for x in gone}
    same = sum(_meaning(x) in meanings_gone or not _meaning(x) for x in come)
    same += sum(not _meaning(x) for x in gone) if len(gone) > len(come) else 0
    return {"changed": max(len(gone), len(come)), "meaning_free": min(same, max(len(gone), len(come)))}


def _meaning(line: str) -> str:
    """Return a line without its comment and its blanks."""
    bare = line if '"' in line.partition("#")[0] else line.partition("#")[0]
    return "".join(bare.split())
