"""Tags, notes and pins in files: what stands, what a crash leaves, and lines that this version cannot read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emdsl.mark import Mark, answer_digest, append, is_tag, latest, line_of, marks_in, merged

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = "ab" * 32, "cd" * 32
ANSWERS = ((KEY, answer_digest("I would ask someone who knows.")),)


def mark(kind: Any, text: str = "", at: float = 0.0, rater: str = "ann", **fields: Any) -> Mark:
    return Mark(answers=ANSWERS, rater=rater, kind=kind, text=text, at=at, **fields)


def read(content: bytes) -> tuple[list[Mark], list[str]]:
    """Return the marks of a file, and the errors of its other lines."""
    found = list(marks_in(content))
    return [m for m in found if isinstance(m, Mark)], [str(m) for m in found if not isinstance(m, Mark)]


def test_digests_are_as_they_were() -> None:
    """Files of years ago name these: another digest would lose every mark."""
    assert ANSWERS[0][1] == "1b7c1b04e5f10e6361fe99391f48ffee43a5151de60f1cf5eb72763a1515cc22"


def test_lines_hold_digests_and_come_back() -> None:
    """No text of the study: a file can be published without the answers."""
    marks = [
        mark("tag", "odd"), mark("tag", "odd", on=False), mark("note", 'see "this"\n\u00e9'), mark("note"),
        mark("pin", place=2.5, judges=(OTHER,), study="a.em"), mark("pin", on=False),
    ]  # fmt: skip
    content = b"".join(map(line_of, marks))
    assert read(content) == (marks, [])
    first, _, note, _, pin, unpin = map(json.loads, content.splitlines())
    held = {"version": 1, "answers": dict(ANSWERS), "rater": "ann"}
    assert first == held | {"tag": "odd", "on": True, "at": 0.0}
    assert note == held | {"note": 'see "this"\n\u00e9', "at": 0.0}
    assert pin == held | {"pin": 2.5, "judges": [OTHER], "study": "a.em", "at": 0.0}
    assert unpin == held | {"pin": None, "at": 0.0}


def test_the_last_line_decides_whoever_wrote_it() -> None:
    """By its time: merged files are in any order. A note is each person's own; tags and pins are everybody's."""
    lines = [
        mark("tag", "odd", 3.0), mark("tag", "odd", 2.0, on=False), mark("tag", "funny", 1.0),
        mark("tag", "funny", 5.0, rater="bob", on=False), mark("note", "mine", 1.0), mark("note", "his", 2.0, "bob"),
        mark("note", "mine too", 4.0), mark("pin", at=1.0, place=1.0, judges=(KEY,)),
        mark("pin", at=2.0, place=7.0, rater="bob", judges=(OTHER,), study="b.em"),
    ]  # fmt: skip
    (stands,) = latest(lines).values()
    assert (stands.tags, stands.notes) == ({"odd": "ann"}, {"bob": "his", "ann": "mine too"})
    assert (stands.pin, stands.judges, stands.study) == (7.0, (OTHER,), "b.em")
    gone = [
        mark("tag", "odd", 9.0, on=False),
        mark("note", "", 9.0),
        mark("note", "", 9.0, "bob"),
        mark("pin", at=9.0, on=False),
    ]
    assert latest([*lines, *gone]) == {}


@pytest.mark.parametrize("cut", range(1, 200, 23))
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    """It was never acknowledged; the next mark does not grow onto it."""
    path = tmp_path / "ann.jsonl"
    append(path, [mark("tag", "a"), mark("tag", "b")])
    path.write_bytes(path.read_bytes() + line_of(mark("tag", "c"))[:-cut])
    kept = ["a", "b", "c"] if cut == 1 else ["a", "b"]
    assert [m.text for m in read(path.read_bytes())[0]] == kept
    append(path, [mark("tag", "d")])
    assert [m.text for m in read(path.read_bytes())[0]] == [*kept, "d"]
    assert path.read_bytes().endswith(b"}\n")


LINE = f'{{"version": 1, "answers": {{"{KEY}": "{OTHER}"}}, "rater": "r", "at": 1, '


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("<<<<<<< HEAD", "it is a conflict marker of git: keep the lines of both sides"),
        ("{", "it is not JSON"),
        ("[" * 100_001, "it is longer than 100,000 bytes"),
        ("[" * 90_000, "it is not JSON"),
        ("\x00\x01", "it is not JSON"),
        ("[]", "it is not an object"),
        ('{"version": 2, "anything": 1}', "a newer version of emdsl has written it; update emdsl to see it"),
        ('{"version": 1' + "0" * 400 + "}", "a newer version of emdsl has written it; update emdsl to see it"),
        ("{}", "`answers` has a digest for each key"),
        (LINE.replace(OTHER, "x") + '"tag": "a"}', "`answers` has a digest for each key"),
        (LINE.replace('"r"', "3") + '"tag": "a"}', "it needs `rater`"),
        (LINE.replace('"at": 1', '"at": NaN') + '"tag": "a"}', "`at` is a time in seconds"),
        (LINE + '"x": 1}', "it needs `tag`, `note` or `pin`"),
        (LINE + '"tag": "a\\nb"}', "`tag` is a text of 1 to 64 characters"),
        (LINE + '"tag": "a", "on": 1}', "`tag` is a text of 1 to 64 characters"),
        (LINE + '"note": 3}', "`note` is a text"),
        (LINE + '"pin": true}', "`pin` is a number or null"),
        (LINE + '"pin": Infinity}', "`pin` is a number or null"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_count(line: str, why: str) -> None:
    """It stays in the file, too: a file only grows."""
    content = line_of(mark("tag", "a")) + line.encode() + b"\n" + line_of(mark("tag", "b"))
    marks, errors = read(content)
    assert [m.text for m in marks] == ["a", "b"]
    assert errors == [f"line 2 is not a mark: {why}"]


def test_lines_of_a_newer_version_are_kept(tmp_path: Path) -> None:
    """Also the last one, without its end."""
    path = tmp_path / "ann.jsonl"
    newer = b'{"version": 2, "colour": "red"}'
    path.write_bytes(newer)
    append(path, [mark("tag", "a")])
    assert path.read_bytes() == newer + b"\n" + line_of(mark("tag", "a"))
    assert merged(path.read_bytes(), newer + b"\n" + line_of(mark("note", "x"))[:-9]) == path.read_bytes()
    assert merged(newer, line_of(mark("note", "x"))) == newer + b"\n" + line_of(mark("note", "x"))


def test_what_a_tag_is() -> None:
    """One line that people can read."""
    assert all(map(is_tag, ("odd", "very odd", "\u00e9", "x" * 64)))
    assert not any(map(is_tag, ("", " odd", "odd ", "a\nb", "a\tb", "\u200b", "x" * 65)))
    assert line_of(replace(mark("note"), text="\ud800")).decode() == line_of(mark("note", "?")).decode()
