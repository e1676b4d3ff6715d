"""Diff of results: two studies, or two versions of one, by their cached answers; no request is sent."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.outcomes import database
from emdsl.outcomes.changes import beside
from emdsl.outcomes.sql import name
from emdsl.study.compiled import by_present_name
from emdsl.study.diff import both
from emdsl.study.formats import text_in
from emdsl.study.refresh import load_apart
from emdsl.study.screen import Part, Table, counted
from emdsl.study.self_shown import SelfShown
from emdsl.study.tables import SIMULATED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.outcomes.changes import Example, Flips, Moved
    from emdsl.outcomes.database import Connection
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project

FILES = ("before file", "after file")
SHORT = 1e-12  # a smaller change is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The results of one experiment in two versions.

    `note` is why they are not compared. `flips` are verdicts that changed, `moved` the groups of measures whose figure
    changed; `unchanged` is the number of the other groups.
    """

    name: str
    note: str = ""
    matched: int = 0
    only_before: int = 0
    only_after: int = 0
    incomplete: tuple[int, int] = (0, 0)  # rows without all of their answers
    flips: tuple[Flips, ...] = ()
    moved: tuple[Moved, ...] = ()
    unchanged: int = 0

    @property
    def worst_first(self) -> list[Moved]:
        """The groups that moved, the clearest first: by the change in widths of its interval."""
        return sorted(self.moved, key=lambda m: (-m.strength, -abs(m.change or 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsDiff(SelfShown):
    """The results of two studies, or of two versions of one, compared row by row."""

    experiments: tuple[Changes, ...]
    simulated: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl diff --results --json` prints it."""
        entries = []
        for changes in self.experiments:
            moved = [asdict(m) | {"change": m.change} for m in changes.worst_first]
            entries.append(asdict(changes) | {"moved": moved})
        return {"experiments": entries, "simulated": self.simulated}

    def markdown(self) -> str:
        """Return it as Markdown, for a pull request."""
        return "\n\n".join(_markdown(part).strip() for part in self.parts() if part) + "\n"

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl diff --results`."""
        for changes in self.experiments:
            yield f"experiment {changes.name}: {changes.note or _counts(changes)}"
            yield ""
            if changes.moved:
                yield from (_moved_table(changes.worst_first), "")
            if changes.flips:
                yield from (_flips_table(changes.flips), "")
                yield from (_examples_table(changes.flips), "")
        if self.simulated:
            yield SIMULATED


def diff_results(project: Project, old: str, new: str, *, limit: int = 5) -> ResultsDiff:
    """Return how the results of two studies differ; only cached answers are read.

    Args:
        project: The project, with the store of both.
        old: A file, or `git:REV` or `run:ID` for the other file at a revision or in an earlier run.
        new: The same.
        limit: Maximum examples of each change of a verdict.

    Raises:
        UsageError: Both are revisions.
        FileMissing: git has no such file or revision.
        SourceError: One of the two does not compile.
        OutcomesError: One of the two has no cached answers.
    """
    with both(project, old, new) as studies, tempfile.TemporaryDirectory() as folder:
        files = {}
        for which, study in zip(FILES, studies, strict=True):
            place = Path(folder) / which
            place.mkdir()
            load_apart(study, place)
            files[which] = place / database.FILE
        with database.attached(files) as connection:
            return _compared(connection, studies, (old, new), limit)


def _compared(
    connection: Connection, studies: tuple[Compiled, Compiled], called: tuple[str, str], limit: int
) -> ResultsDiff:
    places, loaded = [], []
    for which, study in zip(FILES, studies, strict=True):
        places.append(f"{name(which)}.{name(study.name)}")
        connection.execute(f"USE {name(which)}")
        loaded.append({e.name: database.completeness(connection, study.name, e) for e in study.program.experiments})
    connection.execute("USE memory")
    for text, counts in zip(called, loaded, strict=True):
        if all(rows == incomplete for rows, incomplete, _ in counts.values()):
            raise OutcomesError(f"`{text}` has no results: no row has all of its answers in the store. Run it first")
    olds, news = ({e.name: e for e in s.program.experiments} for s in studies)
    olds = by_present_name(olds, news)
    entries = []
    for name_ in dict.fromkeys((*news, *olds)):
        if name_ not in olds or name_ not in news:
            entries.append(Changes(name=name_, note=f"only the {'first' if name_ in olds else 'second'} has it"))
            continue
        pair = beside(connection, olds[name_], news[name_], (places[0], places[1]))
        if isinstance(pair, str):
            entries.append(Changes(name=name_, note=pair))
            continue
        matched, only_before, only_after = pair.rows
        groups = list(pair.moved())
        moved = tuple(
            m for m in groups if m.before != m.after and not (m.change is not None and abs(m.change) <= SHORT)
        )
        entries.append(
            Changes(
                name=name_, matched=matched, only_before=only_before, only_after=only_after,
                incomplete=(loaded[0][olds[name_].name][1], loaded[1][name_][1]), flips=tuple(pair.flips(limit)),
                moved=moved, unchanged=len(groups) - len(moved),
            )
        )  # fmt: skip
    simulated = any(made_up for counts in loaded for _, _, made_up in counts.values())
    return ResultsDiff(experiments=tuple(entries), simulated=simulated)


# ---------------------------------------------------------------- the screen


def _counts(changes: Changes) -> str:
    parts = [f"{counted(changes.matched, 'row')} matched"]
    parts += [
        f"{n:,} only {which}" for n, which in ((changes.only_before, "before"), (changes.only_after, "after")) if n
    ]
    parts += [f"{n:,} incomplete {w}" for n, w in zip(changes.incomplete, ("before", "after"), strict=True) if n]
    moved = f"{counted(len(changes.moved), 'figure')} moved, {changes.unchanged:,} unchanged"
    flipped = counted(sum(f.n for f in changes.flips), "verdict")
    return f"{', '.join(parts)}; {moved}; {flipped} flipped"


def _moved_table(moved: list[Moved]) -> Table:
    levels = {m.level for m in moved if m.low is not None}
    interval_of = f"{levels.pop() * 100:g} % interval" if len(levels) == 1 else "interval"
    columns = ("measure", "group", "before", "after", "change", interval_of, "clustered by", "")
    rows = []
    for m in moved:
        group = ", ".join(f"{k} {v}" for k, v in m.group.items())
        low, high = m.low, m.high
        interval = f"{low:+.3f} to {high:+.3f}" if low is not None and high is not None else ""
        by = m.clustered_by or (f"{m.clusters:,} pairs" if m.clusters and interval else "")
        rows.append((m.measure, group, _figure(m.before), _figure(m.after), _figure(m.change, "+"), interval, by,
                     "excludes 0" if m.strength > 1 else ""))  # fmt: skip
    return Table(columns, rows, numeric=("before", "after", "change"))


def _figure(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.3f}"


def _flips_table(flips: tuple[Flips, ...]) -> Table:
    rows = [(f.of, f.before, f.after, f"{f.n:,}", f"{f.compared:,}") for f in flips]
    return Table(("verdict", "before", "after", "rows", "of"), rows, numeric=("rows", "of"))


def _examples_table(flips: tuple[Flips, ...]) -> Table:
    rows = [(f.of, f"{f.before} -> {f.after}", _place(x), _scores(x)) for f in flips for x in f.examples]
    return Table(("verdict", "flip", "row", "scores"), rows)


def _place(example: Example) -> str:
    return ", ".join(f"{k} {v}" for k, v in example.row.items())


def _scores(example: Example) -> str:
    texts = {n: ["missing" if x is None else f"{x:g}" for x in pair] for n, pair in example.scores.items()}
    return ", ".join(f"{n} {before} -> {after}" for n, (before, after) in texts.items())


def _markdown(part: Part) -> str:
    if isinstance(part, Table):
        return text_in(database.SqlResult(tuple(part.columns), [tuple(row) for row in part.rows]), "markdown")
    title, colon, rest = str(part).partition(": ")
    return f"### {title}\n\n{rest}" if colon and title.startswith("experiment ") else str(part)
