"""Marks of people on rows of a study: read from their files, written to them, and found among the loaded rows."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.experiment import ASK
from emdsl.files import read_whole
from emdsl.lines import make_folder
from emdsl.mark import (
    MAX_ANSWERS,
    MAX_TAG,
    Mark,
    Marked,
    Newer,
    Unreadable,
    answer_digest,
    append,
    folder_of,
    is_tag,
    latest,
    marks_in,
    paths_of,
)
from emdsl.outcomes import database
from emdsl.outcomes.browsing import has_answers
from emdsl.study.one_row import settled_row
from emdsl.study.places import keyed_rows
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from emdsl.mark import Answers
    from emdsl.study.compiled import Compiled
    from emdsl.study.places import Place, Select

TICK = 0.001  # seconds: the resolution of the time of a mark
MAX_PLACE = 1e9  # of a pin
MAX_SHARING = 1_000  # rows that are looked through for one pin


@dataclass(frozen=True, slots=True)
class Pinned:
    """A pin with its row, None if no loaded row has its answers; `others` is how many more rows have them."""

    answers: Answers
    marked: Marked
    row: Place | None
    others: int = 0

    @property
    def keys(self) -> list[str]:
        """The keys of its answers, in hex."""
        return [key for key, _ in self.answers]


class Marking:
    """The marks in the files beside a study, read again when the files or the answers change.

    Attributes:
        notices: About lines that cannot be read; all other lines count.
    """

    def __init__(self) -> None:
        self.notices: list[str] = []
        self._seen: Any = None
        self._all: dict[Answers, Marked] = {}
        self._lost: dict[Answers, Marked] = {}
        self._by_key: dict[str, list[Answers]] = {}
        self._latest = 0.0

    def read(self, study: Compiled) -> None:
        """Read the files, if they or the answers of the study have changed. Raises OSError."""
        paths = paths_of(study.file)
        seen = (study.project.store_version(), [_stat(p) for p in paths]) if paths else ()
        if seen == self._seen:
            return
        marks, self.notices = list[Mark](), []
        for path in paths:
            self.notices += _read(path, marks)
        self._latest = max((m.at for m in marks), default=0.0)
        self._all = latest(marks)
        self._lost = self._outdated(study)
        self._by_key = {}
        for answers in self._all:
            for key, _ in answers if answers not in self._lost else ():
                self._by_key.setdefault(key, []).append(answers)
        self._seen = seen

    def _outdated(self, study: Compiled) -> dict[Answers, Marked]:
        """Return the marks of answers that are not cached any more, or were replaced by others."""
        with study.store() as store:
            keys = {bytes.fromhex(key) for answers in self._all for key, _ in answers}
            cached = {key.hex(): answer_digest(r.text) for key, r in store.get_many(list(keys)).items()}
        return {a: m for a, m in self._all.items() if any(cached.get(key) != shown for key, shown in a)}

    @property
    def any(self) -> bool:
        """Whether any row may have a mark."""
        return bool(self._by_key)

    def of(self, keys: Iterable[str | None]) -> list[tuple[Answers, Marked]]:
        """Return the marks of a row by the keys of its answers."""
        held = {k for k in keys if k is not None}
        found = dict.fromkeys(a for key in held for a in self._by_key.get(key, ()))
        return [(a, self._all[a]) for a in found if {key for key, _ in a} <= held]

    def tags(self) -> list[str]:
        """Return the tags, the most frequent first."""
        counts: dict[str, int] = {}
        for answers, marked in self._all.items():
            for tag in marked.tags if answers not in self._lost else ():
                counts[tag] = counts.get(tag, 0) + 1
        return sorted(counts, key=lambda tag: (-counts[tag], tag))

    def with_tag(self, tag: str) -> list[tuple[str, ...]]:
        """Return the keys of the answers that have a tag; of `*` those that have any mark."""
        return [
            tuple(key for key, _ in answers) for answers, marked in self._all.items()
            if answers not in self._lost and (tag == "*" or tag in marked.tags)
        ]  # fmt: skip

    # ------------------------------------------------------------ writing

    def write(self, study: Compiled, rater: str, place: Place, change: dict[str, Any]) -> None:
        """Write a mark on a row; it is on the disk when this returns.

        Args:
            study: The study.
            rater: The name of the person.
            place: The row.
            change: `{"tag": TEXT, "on": BOOL}`, `{"note": TEXT}` or `{"pin": PLACE}`, with `true` for the last place
                and `null` to unpin.

        Raises:
            UsageError: The row has no answer, or the change has another form.
            OSError: The file cannot be written.
        """
        self.read(study)
        answers, judges = identity(study, place)
        if not answers:
            raise UsageError("this row has no answer yet: marks are kept by the answer that is shown")
        if len(answers) > MAX_ANSWERS:
            raise UsageError(f"this row has {len(answers):,} answers; rows of up to {MAX_ANSWERS} can have marks")
        held = self.of(key for key, _ in answers)
        marks = self._marks(rater, answers, judges, held, change)
        self._append(study, rater, [replace(m, study=study.file.name) for m in marks])

    def unpin(self, study: Compiled, rater: str, keys: Sequence[str]) -> None:
        """Remove a pin by the keys of its answers, also one whose answers are gone. Raises OSError."""
        self.read(study)
        gone = [a for a, m in self._all.items() if m.pin is not None and [key for key, _ in a] == list(keys)]
        self._append(study, rater, [Mark(answers=a, rater=rater, kind="pin", on=False, at=self._now()) for a in gone])

    def _append(self, study: Compiled, rater: str, marks: list[Mark]) -> None:
        if not marks:
            return
        folder = folder_of(study.file)
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        append(folder / f"{rater}.jsonl", marks)
        self.read(study)

    def _marks(
        self, rater: str, answers: Answers, judges: tuple[str, ...], held: list[tuple[Answers, Marked]],
        change: dict[str, Any],
    ) -> list[Mark]:  # fmt: skip
        """Return the lines of a change: what a row has from a mark on some of its answers is removed there too."""
        match change:
            case {"tag": str(tag), "on": bool(on)} if is_tag(tag):
                of = [answers] if on else [a for a, m in held if tag in m.tags]
                return [Mark(answers=a, rater=rater, kind="tag", text=tag, on=on, at=self._now()) for a in of]
            case {"note": str(note)}:
                of = [a for a, m in held if rater in m.notes] or [answers]
                return [Mark(answers=a, rater=rater, kind="note", text=note, at=self._now()) for a in of]
            case {"pin": None}:
                of = [a for a, m in held if m.pin is not None]
                return [Mark(answers=a, rater=rater, kind="pin", on=False, at=self._now()) for a in of]
            case {"pin": True | int() | float() as place} if place is not False and abs(place) <= MAX_PLACE:
                of = [a for a, m in held if m.pin is not None] or [answers]
                at = self._last_place() + 1 if place is True else float(place)
                return [
                    Mark(answers=a, rater=rater, kind="pin", place=at, judges=judges, at=self._now()) for a in of[:1]
                ]  # fmt: skip
        raise UsageError(f"expected a `tag` of 1 to {MAX_TAG} printable characters with `on`, a `note`, or a `pin`")

    def _now(self) -> float:
        self._latest = max(time.time(), self._latest + TICK)  # a clock that goes back does not bring older marks back
        return self._latest

    def _last_place(self) -> float:
        return max((m.pin for m in self._all.values() if m.pin is not None), default=0.0)

    # ------------------------------------------------------------ pins

    def pins(self, study: Compiled, select: Select) -> list[Pinned]:
        """Return the pins in their order, each with its row among the loaded results. Raises OutcomesError.

        A pin without a row is left out if it was made in another study beside this one.
        """
        pinned = sorted(((m.pin, a, m) for a, m in self._all.items() if m.pin is not None), key=lambda p: p[:2])
        here = [a for _, a, _ in pinned if a not in self._lost]
        rows = _rows_with(study, select, here)
        whole = len(rows) < MAX_SHARING
        pins = []
        for _, answers, marked in pinned:
            of_pin = rows if whole or answers not in here else _rows_with(study, select, [answers])
            pins.append(_pinned(answers, marked, of_pin if answers in here else []))
        return [pin for pin in pins if pin.row is not None or pin.marked.study in ("", study.file.name)]


def _rows_with(study: Compiled, select: Select, answers: Sequence[Answers]) -> list[tuple[Place, set[str]]]:
    """Return the first loaded rows with any of some sets of answers, each with all keys of its steps."""
    sets = [tuple(key for key, _ in a) for a in answers]
    return [
        row for e in study.program.experiments if sets
        for row in keyed_rows(e, study.name, select, has_answers(e, sets), MAX_SHARING)
    ]  # fmt: skip


def _pinned(answers: Answers, marked: Marked, rows: Sequence[tuple[Place, set[str]]]) -> Pinned:
    """Return a pin with the row that has most of its verdicts, of those that have its answers."""
    keys = {key for key, _ in answers}
    own = [(len(held.intersection(marked.judges)), place) for place, held in rows if keys <= held]
    best = max(own, key=lambda row: row[0], default=None)
    return Pinned(answers, marked, best[1] if best else None, max(0, len(own) - 1))


def identity(study: Compiled, place: Place) -> tuple[Answers, tuple[str, ...]]:
    """Return the answers of a row, and the keys of its verdicts."""
    row = settled_row(study, *place)
    answers, judges = dict[str, str](), list[str]()
    for step in place.experiment.steps:
        result = row.results[step.name]
        if result.query is None or result.response is None:
            continue
        if step.kind == ASK:
            answers[result.query.key.hex()] = answer_digest(result.response.text)
        else:
            judges.append(result.query.key.hex())
    return tuple(sorted(answers.items())), tuple(judges)


def pinned_rows(study: Compiled) -> tuple[list[Pinned], list[str]]:
    """Return the pins of a study whose results are loaded, and notices about its files. Raises OutcomesError."""
    marking = Marking()
    marking.read(study)
    with study.tables() as (connection, _):
        return marking.pins(study, lambda sql: database.select(connection, sql)), marking.notices


def _read(path: Path, marks: list[Mark]) -> Iterator[str]:
    """Add the marks of a file to a list; yield notices about its other lines."""
    newer, broken = 0, list[Unreadable]()
    try:
        for mark in marks_in(read_whole(path)):
            if isinstance(mark, Mark):
                marks.append(mark)
            elif isinstance(mark, Newer):
                newer += 1
            else:
                broken.append(mark)
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror or error}"
    if newer:
        yield f"{path}: {counted(newer, 'mark')} of a newer version of emdsl; update emdsl to see them"
    if broken:
        more = f" (and {counted(len(broken) - 1, 'more line')})" if len(broken) > 1 else ""
        yield f"{path}: {broken[0]}{more}; mend the file, or restore its last version. Its other marks count"


def _stat(path: Path) -> tuple[str, int, int]:
    with suppress(OSError):
        status = path.stat()
        return str(path), status.st_mtime_ns, status.st_size
    return str(path), 0, 0
