"""Marks: tags, notes and pins that people put on rows.

A mark is kept by the answers that were shown, each the key of its request and a digest of the response, never by a
place in a grid: it outlives any edit of the grid, of the judges and of names. Files hold no text of a study.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from emdsl import lines
from emdsl.annotation import FOLDER, MAX_LINE, MAX_NOTE
from emdsl.digest import digest, digest_bytes
from emdsl.files import matches, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Answers = tuple[tuple[str, str], ...]  # of a row: the key and the digest of each answer, both in hex, by key

MARKS = "marks"  # below the folder of verdicts, where no annotation can have a file
VERSION = 1  # of a line
MAX_TAG = 64  # characters
MAX_ANSWERS = 256  # of a row
MAX_JUDGES = 256  # verdicts of a row that a pin names
_MAX_AT = 1e12  # seconds
_DIGEST = 64  # hex digits


def folder_of(file: Path) -> Path:
    """Return the folder with the marks of a study, `annotations/marks` beside it."""
    return file.parent / FOLDER / MARKS


def paths_of(file: Path) -> list[Path]:
    """Return the files with marks of a study. Raises OSError."""
    folder = folder_of(file)
    return matches(folder, "*.jsonl") if folder.is_dir() else []


def digests_of(file: Path) -> dict[str, str]:
    """Return the files with marks of a study by path, each with the SHA-256 of its content, in hex. Raises OSError."""
    return {str(path.resolve()): digest_bytes(read_whole(path)).hex() for path in paths_of(file)}


def answer_digest(response: str) -> str:
    """Return the digest of the text of a response, in hex."""
    return digest("response", response).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One line of a file.

    Attributes:
        answers: The answers of the row.
        judges: The keys of its verdicts, in hex: they tell rows apart that share their answers.
        study: The name of the study's file; other studies beside it have the same files of marks.
        rater: The name of the person.
        kind: A `tag`, a `note` or a `pin`.
        text: The tag or the note; a note of "" removes the one before.
        on: False removes the tag or the pin.
        place: Of a pin: its place in the list, smallest first.
        at: The time, in seconds since 1970.
    """

    answers: Answers
    rater: str
    kind: Literal["tag", "note", "pin"]
    judges: tuple[str, ...] = ()
    study: str = ""
    text: str = ""
    on: bool = True
    place: float = 0.0
    at: float = 0.0


@dataclass(slots=True)
class Marked:
    """The marks of one set of answers as they are now: the last line about each decides, whoever wrote it.

    Attributes:
        tags: Tags, each with the person who added it.
        notes: Notes by person.
        pin: The place of the pin; None without one.
        judges: The keys of the verdicts beside the pin.
        study: The name of the file of the study that was pinned in.
    """

    tags: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    pin: float | None = None
    judges: tuple[str, ...] = ()
    study: str = ""

    def add(self, mark: Mark) -> None:
        """Take in a later mark."""
        if mark.kind == "pin":
            self.pin, self.judges, self.study = (mark.place, mark.judges, mark.study) if mark.on else (None, (), "")
            return
        held, key, value = (
            (self.tags, mark.text, mark.rater if mark.on else "")
            if mark.kind == "tag" else (self.notes, mark.rater, mark.text)
        )  # fmt: skip
        held.pop(key, None)
        if value:
            held[key] = value

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return bool(self.tags or self.notes or self.pin is not None)


def latest(marks: Iterable[Mark]) -> dict[Answers, Marked]:
    """Return the marks as they are now, by answers; the time of a line decides, as merged files are in any order."""
    by_answers: dict[Answers, Marked] = {}
    for mark in sorted(marks, key=lambda m: m.at):
        by_answers.setdefault(mark.answers, Marked()).add(mark)
    return {answers: marked for answers, marked in by_answers.items() if marked}


# ---------------------------------------------------------------- files


class Unreadable(ValueError):
    """A line that is not a mark: its number, from 1, and why."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"line {number} is not a mark: {why}")


class Newer(Unreadable):
    """A line of a later version of emdsl."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "a newer version of emdsl has written it; update emdsl to see it")


def marks_in(content: bytes) -> Iterator[Mark | Unreadable]:
    """Yield the marks of a file, and an error for each line that is not one.

    A last line that a crash cut off is left out: it was never acknowledged.
    """
    *ended, last = content.split(b"\n")
    for number, line in enumerate([*ended, last] if _is_json(last) else ended, start=1):
        if line.strip():
            try:
                yield _mark(number, line)
            except Unreadable as error:
                yield error


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _mark(number: int, line: bytes) -> Mark:
    if len(line) > MAX_LINE:
        raise Unreadable(number, f"it is longer than {MAX_LINE:,} bytes")
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise Unreadable(number, lines.why_not_json(line)) from None
    if not isinstance(fields, dict):
        raise Unreadable(number, "it is not an object")
    version = fields.get("version")
    if isinstance(version, int) and version > VERSION:
        raise Newer(number)
    answers, judges, rater, study, at = (fields.get(name) for name in ("answers", "judges", "rater", "study", "at"))
    if (
        not isinstance(answers, dict)
        or not 0 < len(answers) <= MAX_ANSWERS
        or not all(map(_is_digest, (*answers, *answers.values())))
    ):
        raise Unreadable(number, "`answers` has a digest for each key")
    if not isinstance(rater, str) or not rater:
        raise Unreadable(number, "it needs `rater`")
    if not isinstance(at, int | float) or isinstance(at, bool) or not abs(at) <= _MAX_AT:
        raise Unreadable(number, "`at` is a time in seconds")
    kind = next((k for k in ("tag", "note", "pin") if k in fields), None)
    if kind is None:
        raise Unreadable(number, "it needs `tag`, `note` or `pin`")
    return Mark(
        answers=tuple(sorted(answers.items())), rater=rater, at=float(at), **_value(number, kind, fields),
        judges=tuple(k for k in judges if _is_digest(k)) if isinstance(judges, list) else (),
        study=study if isinstance(study, str) else "",
    )  # fmt: skip


def _value(number: int, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a mark of a kind."""
    value, on = fields[kind], fields.get("on", True)
    if kind == "pin":
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_AT
        ):
            raise Unreadable(number, "`pin` is a number or null")
        return {"kind": kind, "on": value is not None, "place": float(value or 0)}
    if not isinstance(value, str) or not isinstance(on, bool) or (kind == "tag" and not is_tag(value)):
        raise Unreadable(number, f"`{kind}` is a text" + (f" of 1 to {MAX_TAG} characters" if kind == "tag" else ""))
    return {"kind": kind, "text": value[:MAX_NOTE], "on": on or kind == "note"}


def is_tag(text: str) -> bool:
    """Whether a text can be a tag: one line of printable characters, without blanks at its ends."""
    return 0 < len(text) <= MAX_TAG and text.isprintable() and text == text.strip()


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and len(text) == _DIGEST and not text.strip("0123456789abcdef")


def line_of(mark: Mark) -> bytes:
    """Return the line of a mark, with its end."""
    fields: dict[str, Any] = {"version": VERSION, "answers": dict(mark.answers), "rater": mark.rater}
    if mark.kind == "pin":
        fields["pin"] = mark.place if mark.on else None
    else:
        fields[mark.kind] = mark.text
    fields |= {"on": mark.on} if mark.kind == "tag" else {}
    fields |= {"judges": list(mark.judges[:MAX_JUDGES])} if mark.kind == "pin" and mark.on else {}
    fields |= {"study": mark.study} if mark.study else {}
    fields["at"] = round(mark.at, 3)
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def append(path: Path, marks: Iterable[Mark]) -> None:
    """Add marks to the end of a file, and wait until they are on the disk. Raises OSError."""
    lines.append(path, map(line_of, marks), _is_json)


def merged(mine: bytes, theirs: bytes) -> bytes:
    """Return the lines of two files of marks, each once."""
    return lines.merged(mine, theirs, _is_json)
