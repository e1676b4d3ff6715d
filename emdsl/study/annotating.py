"""Verdicts of people: the rows that a person judges next, sheets for spreadsheets, and the agreement of people."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING, Any

from emdsl.annotation import (
    FOLDER,
    MAX_NOTE,
    Unreadable,
    Verdict,
    agreed,
    append,
    last_labels,
    shown,
    verdicts_in,
)
from emdsl.digest import digest
from emdsl.errors import UsageError
from emdsl.files import read_whole
from emdsl.lines import make_folder
from emdsl.outcomes.people import judged
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.source import listed, near
from emdsl.study.screen import Aside, Table, counted
from emdsl.study.sheets import Row, import_sheet, sheet_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from emdsl.annotation import Annotation
    from emdsl.experiment import Axis, Experiment
    from emdsl.outcome import Outcome
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part
    from emdsl.study.sheets import SheetImport

MAX_HELD = 20_000  # rows of one group that are kept in memory, if all of them are drawn
TICK = 0.001  # seconds: the resolution of the time of a verdict
_RATER = re.compile(r"[\w][\w.-]{0,63}")


@dataclass(slots=True)
class Annotating:
    """One annotation of a study: its drawn rows, and the last label of each person by digest of the shown texts."""

    study: Compiled
    annotation: Annotation
    rows: tuple[Row, ...]  # each text once, in the order of the draw
    unanswered: int  # rows without an answer
    by_person: dict[str, dict[str, str]] = field(default_factory=dict)  # labels by digest and person
    latest: float = 0.0  # time of the last verdict, in seconds since 1970
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)  # files by time and size, as of the last look

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that people choose from."""
        return tuple(self.annotation.choices)

    def pending(self, rater: str) -> list[Row]:
        """Return the rows that lack a verdict and have none of this person, in the order of the draw.

        Where one verdict is enough, people begin at different places, by their names, so that two at once rarely judge
        the same text.
        """
        rows, raters = self.rows, self.annotation.raters
        if raters == 1 and rows:
            first = int.from_bytes(digest("rater", rater)[:8], "big") % len(rows)
            rows = rows[first:] + rows[:first]
        return [r for r in rows if rater not in (labels := self.labels_of(r)) and len(labels) < raters]

    def labels_of(self, row: Row) -> dict[str, str]:
        """Return the labels of a row, by person."""
        return self.by_person.get(row.digest, {})

    def n_judged(self, rater: str) -> int:
        """Return how many of the drawn rows a person has judged."""
        return sum(rater in self.labels_of(r) for r in self.rows)

    def judge(self, row: Row, rater: str, label: str | None, note: str = "") -> None:
        """Write a verdict, or withdraw one with None; it is on the disk when this returns. Raises OSError."""
        self.write([self.verdict(row.digest, rater, label, note)])

    def write(self, verdicts: Sequence[Verdict]) -> None:
        """Write verdicts of one person. Raises OSError."""
        folder = self.study.file.parent / FOLDER
        make_folder(folder)
        append(folder / f"{self.annotation.name}.{verdicts[0].rater}.jsonl", verdicts)
        for verdict in verdicts:
            labels = self.by_person.setdefault(verdict.shown, {})
            if verdict.label is None:
                labels.pop(verdict.rater, None)
            else:
                labels[verdict.rater] = verdict.label

    def verdict(self, digest: str, rater: str, label: str | None, note: str) -> Verdict:
        """Return a verdict of a person that is given now."""
        self.latest = max(time.time(), self.latest + TICK)  # a clock that goes back does not bring older verdicts back
        choices = self.annotation.choices_digest
        return Verdict(choices=choices, shown=digest, rater=rater, label=label, note=note[:MAX_NOTE], at=self.latest)

    def last_of(self, rater: str) -> tuple[Row, Verdict] | None:
        """Return the last verdict of a person that stands, on a row that is drawn: in this call or in one before."""
        rows = {r.digest: r for r in self.rows}
        path = self.study.file.parent / FOLDER / f"{self.annotation.name}.{rater}.jsonl"
        content = read_whole(path) if path.exists() else b""
        labels = {digest: of_row[rater] for digest, of_row in self.by_person.items() if rater in of_row}
        given = [v for v in verdicts_in(content) if v.rater == rater and v.choices == self.annotation.choices_digest]
        standing = [v for v in given if v.shown in rows and labels.get(v.shown, "") == v.label]
        if not standing:
            return None
        last = max(reversed(standing), key=lambda v: v.at)
        return rows[last.shown], last

    def refresh(self) -> None:
        """Read the verdicts that others have written since."""
        files = {p: (s.st_mtime_ns, s.st_size) for p in self._files() if (s := p.stat())}
        if files == self._seen:
            return
        self._seen = files
        try:
            verdicts = [v for p in files for v in verdicts_in(read_whole(p))]
        except Unreadable:  # another process writes a line just now, or the next call tells the error
            return
        self.by_person = last_labels(verdicts, self.annotation.choices_digest)

    def _files(self) -> list[Path]:
        return sorted((self.study.file.parent / FOLDER).glob("*.jsonl"))

    # ------------------------------------------------------------ sheets

    def sheet(self, rater: str) -> str:
        """Return the pending rows of a person as CSV, for a spreadsheet."""
        return sheet_of(self.pending(rater))

    def import_sheet(self, path: Path, rater: str) -> SheetImport:
        """Write the verdicts of a filled-in sheet on rows that are drawn now; raises UsageError, see `import_sheet`."""
        return import_sheet(self, path, rater, lambda: _texts(self.study, self.annotation))

    # ------------------------------------------------------------ progress

    def parts(self, *, disagreements: bool = False) -> Iterator[Part]:
        """Yield the screen of `emdsl annotate --status`."""
        n, raters = len(self.rows), self.annotation.raters
        name = f"{self.annotation.name} of {self.annotation.ask}"
        by = f" by {raters} people each" if raters > 1 else ""
        yield f"{name}: {self._n_done:,} of {counted(n, 'drawn text')} judged{by}"
        if self.unanswered:
            yield Aside(f"note: {counted(self.unanswered, 'row')} without an answer yet: emdsl run {self.study.file}")
        names = sorted({rater for r in self.rows for rater in self.labels_of(r)})
        if names:
            columns = ("person", "judged", *self.labels)
            yield Table(columns, [self._of_person(name) for name in names], numeric=columns[1:])
        twice = [r for r in self.rows if len(self.labels_of(r)) > 1]
        apart = [r for r in twice if len(set(self.labels_of(r).values())) > 1]
        if twice:
            yield (
                f"agreement: {counted(len(twice) - len(apart), 'text')} of {len(twice):,} judged alike, "
                f"Krippendorff's alpha {self._alpha()}"
            )
        outside = len(self.by_person.keys() - {r.digest for r in self.rows})
        if outside:
            yield f"{counted(outside, 'verdict')} on texts outside of the draw: no figure uses them"
        if disagreements:
            for row in apart:
                labels = ", ".join(f"{person} {label}" for person, label in sorted(self.labels_of(row).items()))
                yield f"\n--- {labels}\n{row.shown.question}\n\n{row.shown.answer}"

    def as_json(self) -> dict[str, Any]:
        """Return the progress as `emdsl annotate --status --json` prints it."""
        return {
            "annotation": self.annotation.name,
            "ask": self.annotation.ask,
            "drawn": len(self.rows),
            "judged": self._n_done,
            "unanswered": self.unanswered,
            "rows": [
                {"row": r.digest, "labels": self.labels_of(r), "verdict": agreed(self.labels_of(r).values())}
                for r in self.rows if self.labels_of(r)
            ],
        }  # fmt: skip

    @property
    def _n_done(self) -> int:
        """The number of rows that enough people have judged."""
        return sum(len(self.labels_of(r)) >= self.annotation.raters for r in self.rows)

    def _of_person(self, name: str) -> list[Any]:
        labels = Counter(of_row[name] for r in self.rows if name in (of_row := self.labels_of(r)))
        return [name, sum(labels.values()), *(labels[label] for label in self.labels)]

    def _alpha(self) -> str:
        from emdsl.outcomes.krippendorff import alpha, ratings_of  # noqa: PLC0415 - numpy is imported only if needed

        units = [list(labels.values()) for r in self.rows if len(labels := self.labels_of(r)) > 1]
        value = alpha(ratings_of((None, unit, 1) for unit in units), "nominal")
        return "unknown: all labels are the same" if value is None else f"{value:.2f}"


def check_rater(name: str) -> str:
    """Return the name of a person, which is a part of a file's name; raises UsageError."""
    if not _RATER.fullmatch(name):
        raise UsageError(f"`{name}` cannot be the name of a rater: use letters, digits, `.`, `-` and `_`",
                         parameter="rater")  # fmt: skip
    return name


def annotating(study: Compiled, name: str | None = None) -> Annotating:
    """Return an annotation of a study with the rows that it draws.

    Args:
        study: The compiled study.
        name: The annotation; required if the study has several. `EXPERIMENT.NAME` tells those of one name apart.

    Raises:
        UsageError: The study has no such annotation.
    """
    annotations = [(e, a) for e in study.program.experiments for a in e.annotations]
    if not annotations:
        raise UsageError(f"{study.file} has no `annotate`: add `annotate NAME of ASK {{ choices = ... }}`")
    chosen = [(e, a) for e, a in annotations if name in (None, a.name, f"{e.name}.{a.name}")]
    of_name = Counter(a.name for _, a in annotations)
    names = [a.name if of_name[a.name] == 1 else f"{e.name}.{a.name}" for e, a in annotations]
    if len(chosen) != 1:
        hint = (near(name, names) if name and not chosen else "") or listed("annotation", "annotations", names)
        several = f"has {len(chosen)} annotations" + (f" `{name}`" if name else "")
        problem = several if chosen else f"has no annotation `{name}`"
        raise UsageError(f"{study.file} {problem}; {hint}", parameter="name")
    experiment, annotation = chosen[0]
    rows, unanswered = _drawn(study, experiment, annotation)
    by_person = {digest: dict(labels) for digest, labels in annotation.labels.items()}
    return Annotating(study, annotation, rows, unanswered, by_person, annotation.latest)


def _drawn(study: Compiled, experiment: Experiment, annotation: Annotation) -> tuple[tuple[Row, ...], int]:
    """Return the drawn rows, each text once, in their order, and how many rows have no answer."""
    within = [(i, axis) for i, axis in enumerate(experiment.axes) if axis.name in annotation.within]
    most = annotation.draw or MAX_HELD
    groups: dict[tuple[str, ...], _Smallest] = {}
    unanswered = 0
    with study.store() as store:
        for rows in collect(Rows(experiment), store, {}):
            for row in rows:
                unanswered += not _offer(row, annotation, groups.setdefault(_group(row, within), _Smallest(most)))
    texts: dict[str, Row] = {}
    for drawn in sorted((r for g in groups.values() for r in g.rows.values()), key=lambda r: r.order):
        texts.setdefault(drawn.digest, drawn)
    return tuple(texts.values()), unanswered


def _texts(study: Compiled, annotation: Annotation) -> set[str]:
    """Return the digests of the texts of all rows, drawn or not."""
    (experiment,) = (e for e in study.program.experiments if annotation in e.annotations)
    with study.store() as store:
        rows = (row for part in collect(Rows(experiment), store, {}) for row in part)
        return {text for row in rows if (text := judged(annotation, row.results[annotation.ask]).shown) is not None}


def _group(row: Outcome, within: Iterable[tuple[int, Axis]]) -> tuple[str, ...]:
    """Return the group of a row by labels, as the column of an axis: a dependent axis has several levels of one."""
    return tuple(axis.levels[row.cell[i]].shown for i, axis in within)


def _offer(row: Outcome, annotation: Annotation, smallest: _Smallest) -> bool:
    """Offer a row to the draw; return whether it has an answer."""
    result = row.results[annotation.ask]
    of_row, query = judged(annotation, result), result.query
    order, digest = of_row.order, of_row.shown
    if order is None or digest is None or query is None:
        return False
    smallest.add(order, lambda: Row(shown(query.prompt, result.value), digest, order))
    return True


class _Smallest:
    """The `most` rows of smallest order, by order; rows of equal order are one draw."""

    def __init__(self, most: int) -> None:
        self.rows: dict[str, Row] = {}
        self._most = most
        self._heap: list[_Reversed] = []

    def add(self, order: str, make: Callable[[], Row]) -> None:
        """Add a row if it is among the smallest."""
        if order in self.rows:
            return
        if len(self._heap) < self._most:
            heappush(self._heap, _Reversed(order))
        elif order < self._heap[0].order:
            del self.rows[heapreplace(self._heap, _Reversed(order)).order]
        else:
            return
        self.rows[order] = make()


@dataclass(frozen=True, slots=True)
class _Reversed:
    """An order that sorts the largest first."""

    order: str

    def __lt__(self, other: _Reversed) -> bool:
        return self.order > other.order
