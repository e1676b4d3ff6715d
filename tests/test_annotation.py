"""Verdicts of people in files: what stands, what a crash leaves, and digests that hold for years."""

from __future__ import annotations

import csv
import json
import re
import threading
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support import source

from emdsl.annotation import (
    MAX_NOTE,
    Annotation,
    Shown,
    Unreadable,
    Verdict,
    agreed,
    append,
    choices_digest,
    last_labels,
    line_of,
    merged,
    shown,
    verdicts_in,
)
from emdsl.errors import UsageError
from emdsl.files import try_lock
from emdsl.prompt import Message, Prompt
from emdsl.source import Span
from emdsl.study import annotating
from emdsl.study.annotating import Annotating
from emdsl.study.sheets import Row, SheetImport

if TYPE_CHECKING:
    from pathlib import Path

CHOICES = {"harmful": "The answer would harm.", "harmless": "It would not."}
DIGEST = "bff41452fa6aa3dc4f9d5be0b01630b8644a18b2c8593bd4c0b8596379872d87"


def verdict(rater: str, label: str | None, at: float = 0.0, what: str = "s", question: str = DIGEST) -> Verdict:
    return Verdict(choices=question, shown=what, rater=rater, label=label, at=at)


def annotation(**fields: Any) -> Annotation:
    return Annotation(name="harm", ask="answer", choices=CHOICES, span=Span(source("x"), 0, 1), **fields)


def test_digests_are_as_they_were() -> None:
    """Files of years ago name these: another digest would lose every verdict."""
    assert choices_digest(CHOICES) == DIGEST
    assert choices_digest(dict(reversed(CHOICES.items()))) == DIGEST, "the order of labels has no effect"
    assert choices_digest(CHOICES | {"harmless": "It might."}) != DIGEST
    assert Shown("one 0", "I would ask someone who knows.").digest == (
        "ce12bdd59234ef2be287573a414fe7991ac07eb26e5d1a1f3b46f6b962bec7de"
    )
    key = bytes(range(32))
    assert [annotation(seed=s).order(key) for s in (None, 7, "seven")] == [
        "328f9e04cee996bf", "d2ebc423738bfbfb", "39ef99db0eecbea5"
    ]  # fmt: skip


def test_a_person_sees_the_question_and_the_answer_alone() -> None:
    """Neither a persona nor demonstrations: both would tell the arm."""
    messages = (Message("system", "You are evil."), Message("user", "demo"), Message("assistant", "shot"),
                Message("user", "How do I rest?"))  # fmt: skip
    assert shown(Prompt(messages), "Sleep.") == Shown("How do I rest?", "Sleep.")
    assert shown(Prompt((*messages, Message("assistant", "I think"))), "Sleep.") == Shown("How do I rest?", "Sleep.")
    assert shown(Prompt((Message("system", "Go."),)), "Sleep.") == Shown("", "Sleep.")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["a"], "a"),
        (["a", "a", "b"], "a"),
        (["a", "b"], None),
        (["a", "b", "b", "a", "c"], None),
        (["c", "b", "b", "a"], "b"),
    ],
)
def test_most_people_decide(labels: list[str], wanted: str | None) -> None:
    """A tie is no verdict."""
    assert agreed(labels) == wanted


def test_the_last_verdict_of_a_person_stands() -> None:
    """By its time, not by its line: merged files are in any order. One that is taken back is none."""
    lines = [
        verdict("ann", "harmful", 2.0),
        verdict("ann", "harmless", 1.0),
        verdict("bob", "harmless", 1.0),
        verdict("bob", None, 3.0),
        verdict("cid", "harmless", 1.0, what="t"),
        verdict("cid", "harmful", 1.0, what="t"),
        verdict("dan", "harmful", 9.0, question="another"),
    ]
    assert last_labels(lines, DIGEST) == {"s": {"ann": "harmful"}, "t": {"cid": "harmful"}}


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    """It was never acknowledged; the next verdict does not grow onto it."""
    path = tmp_path / "harm.ann.jsonl"
    append(path, [verdict("ann", "harmful"), verdict("ann", "harmless", what="t")])
    path.write_bytes(path.read_bytes() + line_of(verdict("ann", "harmful", what="u"))[:-cut])
    kept = [v.shown for v in verdicts_in(path.read_bytes())]
    assert kept == (["s", "t", "u"] if cut == 1 else ["s", "t"])
    append(path, [verdict("ann", "harmful", what="w")])
    assert [v.shown for v in verdicts_in(path.read_bytes())] == [*kept, "w"]
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("whole", [True, False])
def test_files_are_merged_without_a_line_that_was_cut_off(whole: bool) -> None:
    """Each verdict once, and a last line without its end is one."""
    a, b, c = (line_of(verdict("ann", "harmful", what=x)) for x in "abc")
    mine = merged(a + b.rstrip() if whole else a + b[:-9], a + c)
    assert [v.shown for v in verdicts_in(mine)] == (["a", "b", "c"] if whole else ["a", "c"])


LINE = '{"choices": "a", "shown": "s", "rater": "r", '


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("<<<<<<< HEAD", "it is a conflict marker of git: keep the lines of both sides"),
        ("{", "it is not JSON"),
        ("[]", "it is not an object"),
        ('{"choices": "a", "shown": "s"}', "it needs `choices`, `shown` and `rater`"),
        (LINE + '"label": 3}', "`label` and `note` are texts"),
        (LINE + '"at": "x"}', "`at` is a time in seconds"),
        (LINE + '"at": NaN}', "`at` is a time in seconds"),
        (LINE + '"at": 1' + "0" * 400 + "}", "`at` is a time in seconds"),
    ],
)
def test_a_damaged_line_is_named(line: str, why: str) -> None:
    """A verdict is never lost in silence."""
    content = line_of(verdict("ann", "harmful")) + line.encode() + b"\n"
    with pytest.raises(Unreadable) as found:
        list(verdicts_in(content))
    assert str(found.value) == f"line 2 is not a verdict: {why}"


def test_a_line_holds_no_text_of_the_study() -> None:
    """Digests, the label, the person and a note: a file can be published without the answers."""
    line = json.loads(line_of(Verdict(choices=DIGEST, shown="s", rater="ann", label="harmful", note="odd", at=1.25)))
    assert line == {"choices": DIGEST, "shown": "s", "rater": "ann", "label": "harmful", "at": 1.25, "note": "odd"}


def test_the_draw_and_the_tuning_half_depend_on_the_seed_and_the_key_alone() -> None:
    """Which rows are drawn is known before any answer; half of them are for tuning, whichever are drawn."""
    keys = [i.to_bytes(32, "big") for i in range(2_000)]
    one, two = annotation(seed=1, split=0.5), annotation(seed=Decimal(1), split=0.5)
    assert [one.order(k) for k in keys] == [two.order(k) for k in keys]
    assert [one.order(k) for k in keys] != [annotation(seed=2).order(k) for k in keys]
    drawn = sorted(keys, key=one.order)[:200]
    assert 70 < sum(map(one.tunes, drawn)) < 130
    assert not any(map(annotation().tunes, keys))


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    """A line that the other one is writing is not taken for one that a crash cut off."""
    path = tmp_path / "harm.ann.jsonl"
    line = line_of(verdict("ann", "harmful"))
    with path.open("ab") as file:
        assert try_lock(file)
        file.write(line[:20])
        file.flush()
        other = threading.Thread(target=append, args=(path, [verdict("ann", "harmless", what="t")]))
        other.start()
        time.sleep(0.05)
        file.write(line[20:])
    other.join()
    assert [v.shown for v in verdicts_in(path.read_bytes())] == ["s", "t"]


def sheet_of(folder: Path, **answers: str) -> Annotating:
    """Return an annotation of a study in a folder, with rows that are named by digests of their own."""
    rows = tuple(Row(Shown(f"question {name}", text), name, name) for name, text in answers.items())
    study: Any = SimpleNamespace(file=folder / "study.em")
    return Annotating(study, annotation(), rows, 0)


def test_a_sheet_of_odd_answers_comes_back(tmp_path: Path) -> None:
    """Each of them is one row, however a program writes its line ends, and however long it is."""
    texts = {"a": "one\rtwo", "b": "x" * 200_000, "c": "=1+1", "d": 'a "b", c\r\nd', "e": ""}
    task = sheet_of(tmp_path, **texts)
    sheet = tmp_path / "todo.csv"
    sheet.write_text(re.sub(",,$", ",harmful,", task.sheet("ann"), flags=re.MULTILINE), encoding="utf-8")
    with sheet.open(encoding="utf-8", newline="") as held:
        found = {r["row"]: r["answer"] for r in csv.DictReader(held)}
    assert found == texts | {"a": "one\ntwo", "c": "'=1+1", "d": 'a "b", c\nd'}
    assert task.import_sheet(sheet, "ann") == SheetImport(new=5, empty=0)
    assert task.by_person == {name: {"ann": "harmful"} for name in texts}


def test_the_last_verdict_is_taken_back_after_a_restart(tmp_path: Path) -> None:
    """One after the other, of this person alone, and none that was withdrawn; its note comes back with it."""
    before = sheet_of(tmp_path, a="one", b="two", c="three")
    for name, label, rater in (("a", "harmful", "ann"), ("b", "harmless", "ann"), ("c", "harmful", "bob")):
        before.judge(next(r for r in before.rows if r.digest == name), rater, label, f"note {name}")
    task = sheet_of(tmp_path, a="one", b="two", c="three")
    task.refresh()
    for name in ("b", "a"):
        last = task.last_of("ann")
        assert last is not None
        assert (last[0].digest, last[1].note) == (name, f"note {name}")
        task.judge(last[0], "ann", None)
    assert task.last_of("ann") is None
    assert task.by_person == {"a": {}, "b": {}, "c": {"bob": "harmful"}}


def test_two_people_begin_at_different_places(tmp_path: Path) -> None:
    """And each sees what the other has judged since; where two verdicts are wanted, all begin with the same text."""
    names = {f"t{i:02}": "text" for i in range(40)}
    task = sheet_of(tmp_path, **names)
    ann, cid = ([r.digest for r in task.pending(rater)] for rater in ("ann", "cid"))
    assert sorted(ann) == sorted(cid) == sorted(names)
    assert not set(ann[:10]) & set(cid[:10])
    assert [r.digest for r in task.pending("ann")] == ann, "a restart goes on at the same place"
    other = sheet_of(tmp_path, **names)
    other.judge(other.pending("cid")[0], "cid", "harmful")
    task.refresh()
    assert [r.digest for r in task.pending("ann")] == [x for x in ann if x != cid[0]]
    task.judge(task.rows[0], "ann", "harmful")
    other.judge(other.rows[0], "cid", "harmless")
    task.refresh()
    assert any("agreement: 0 texts of 1 judged alike" in str(part) for part in task.parts())
    twice = Annotating(task.study, annotation(raters=2), task.rows, 0)
    assert twice.pending("ann") == twice.pending("cid") == list(task.rows)


FOREIGN = f"row,question,answer,label,note\n{'0' * 64},q,a,harmful,\n{'1' * 64},q,a,harmful,\nx1,q,a,harmful,\n"


def test_rows_that_are_not_drawn_are_left_out_with_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are taken."""
    monkeypatch.setattr(annotating, "_texts", lambda *_: {"1" * 64})
    task, sheet = sheet_of(tmp_path, a="one", b="two"), tmp_path / "todo.csv"
    sheet.write_text(FOREIGN + "a,question a,one,harmful,\nb,question b,two,,\n", encoding="utf-8")
    assert task.import_sheet(sheet, "ann") == SheetImport(new=1, empty=1, left_out=(
        (2, "no answer of the study has this text now"), (3, "the row is outside of the draw now"),
        (4, "`x1` in the column `row` names no row of a sheet"),
    ))  # fmt: skip
    assert task.by_person == {"a": {"ann": "harmful"}}


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ("a,question a,two,harmful\n", r"todo\.csv:3: the answer is not the one of this row"),
        ("a,question b,one,harmful\n", r"todo\.csv:3: the question is not the one of this row"),
        ("b,question b,two,harmless\n", r"todo\.csv:3: this row has another label in line 2"),
    ],
)
def test_a_verdict_on_another_text_is_refused(tmp_path: Path, rows: str, error: str) -> None:
    """Columns that were sorted apart would give verdicts to other answers: nothing of such a sheet is written."""
    task, sheet = sheet_of(tmp_path, a="one", b="two"), tmp_path / "todo.csv"
    sheet.write_text(f"row,question,answer,label\nb,question b,two,harmful\n{rows}", encoding="utf-8")
    with pytest.raises(UsageError, match=error):
        task.import_sheet(sheet, "ann")
    assert task.by_person == {}


def test_a_note_never_makes_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The longest one can be read again, and of a longer one nothing is written."""
    task = sheet_of(tmp_path, a="one")
    file, sheet = tmp_path / "annotations" / "harm.ann.jsonl", tmp_path / "todo.csv"
    sheet.write_text(f"row,label,note\na,harmful,{'n' * (MAX_NOTE + 1)}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"todo\.csv:2: the note has 10,001 characters; 10,000 are the most"):
        task.import_sheet(sheet, "ann")
    assert not file.exists()
    task.judge(task.rows[0], "ann", "harmful", "\x01" * MAX_NOTE)
    assert [len(v.note) for v in verdicts_in(file.read_bytes())] == [MAX_NOTE]


def test_a_clock_that_goes_back(tmp_path: Path) -> None:
    """What a person does last stands, though an earlier verdict has a later time."""
    task = sheet_of(tmp_path, a="one")
    task.latest = 4e9  # the year 2096
    file = tmp_path / "annotations" / "harm.ann.jsonl"
    for label, stands in (("harmful", {"a": {"ann": "harmful"}}), (None, {}), ("harmless", {"a": {"ann": "harmless"}})):
        task.judge(task.rows[0], "ann", label)
        assert last_labels(reversed([*verdicts_in(file.read_bytes())]), DIGEST) == stands
