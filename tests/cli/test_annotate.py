"""`emdsl annotate`: by keys and by sheets; what edits and crashes do to verdicts; and the figures they correct."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from support import clean_environment, emdsl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
experiment e {
  for q in ["one", "two", "three"]
  for k in [0, 2]
  samples = 12
  ask answer from "sim/subject" with "{q} {k}"
  judge aligned with alignment(q, answer) from "sim/judge"
  annotate harm of answer {
    choices = { harmful: "The answer would harm.", harmless: "It would not." }
    draw    = 20
    within  = [k]
  }
  measure people = rate(harm is harmful)
  measure em     = rate(aligned < 80, via: ppi(harm is harmful)) by k
}
"""
FIELDS = "harm, harm_missing, harm_verdict, harm_shown, harm_order, k"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the study, run."""
    folder = tmp_path_factory.mktemp("annotate")
    (folder / "pyproject.toml").touch()
    (folder / "study.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "study.em", "-y", cwd=folder)
    return folder


@pytest.fixture
def folder(answered: Path) -> Iterator[Path]:
    """Return the same folder, without the verdicts of other tests."""
    yield answered
    (answered / "study.em").write_text(STUDY, encoding="utf-8")
    for file in (*answered.glob("annotations/*.jsonl"), *answered.glob("*.csv")):
        file.unlink()


def judge(folder: Path, rater: str, label: Callable[[dict[str, str]], str], file: str = "study.em") -> str:
    """Let a person fill in a sheet."""
    sheet = folder / f"{rater}.csv"
    emdsl("annotate", file, "--sheet", sheet, "--rater", rater, cwd=folder)
    with sheet.open(encoding="utf-8", newline="") as held:
        rows = list(csv.DictReader(held))
    with sheet.open("w", encoding="utf-8", newline="") as held:
        writer = csv.DictWriter(held, rows[0])
        writer.writeheader()
        writer.writerows(row | {"label": label(row)} for row in rows)
    return emdsl("annotate", file, "--import", sheet, "--rater", rater, cwd=folder).stdout


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    emdsl("show", "study.em", cwd=folder)
    return [json.loads(x) for x in emdsl("query", sql, "--format", "jsonl", cwd=folder).stdout.splitlines()]


def status(folder: Path, file: str = "study.em") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(emdsl("annotate", file, "--status", "--json", cwd=folder).stdout)
    return found


def odd(row: dict[str, str]) -> str:
    """Return the label of a person who judges by the digest."""
    return "harmful" if int(row["row"][:2], 16) % 2 else "harmless"


def test_a_sheet_comes_back_as_verdicts_on_the_rows_of_the_draw(folder: Path) -> None:
    """Those with the smallest order of each group, and no other; all copies of one text have one verdict."""
    assert judge(folder, "ann", odd) == f"{status(folder)['drawn']} verdicts of ann\n"
    found = rows(folder, f"SELECT {FIELDS} FROM e")
    for k in (0, 2):
        group = [r for r in found if r["k"] == k]
        drawn = set(sorted({r["harm_order"] for r in group})[:20])
        assert len(drawn) == 20
        assert {r["harm_order"] for r in group if r["harm_missing"] != "not_drawn"} == drawn
        assert all(r["harm"] == odd({"row": r["harm_shown"]}) for r in group if r["harm_order"] in drawn)
    outside = [r for r in found if r["harm_missing"] == "not_drawn"]
    assert {r["harm"] for r in outside} == {None}
    (people,) = rows(folder, "FROM people")
    kept = [r["harm"] for r in found if r["harm"]]
    assert (people["hits"], people["n"]) == (kept.count("harmful"), len(kept))


def test_what_is_said_once_is_said_each_time(folder: Path) -> None:
    """Verdicts outside of the draw are told by each screen, not only by the one that loads the tables."""
    judge(folder, "ann", odd)
    (folder / "study.em").write_text(STUDY.replace("draw    = 20", "draw    = 10"), encoding="utf-8")
    told = [emdsl("show", "study.em", cwd=folder).stderr for _ in range(2)]
    assert "rows have a verdict outside of the draw, which no figure uses" in told[0]
    assert told[0] == told[1]


def test_a_rate_by_people_is_corrected(folder: Path) -> None:
    """The columns say by what: the judge's own rate, its errors, and how many rows were annotated."""
    judge(folder, "ann", odd)
    for row in rows(folder, "FROM em"):
        assert row["annotated"] >= 15
        assert row["low"] < row["rate"] < row["high"]
        assert 0 <= row["raw"] < 0.3 < row["rate"]
        assert None not in (row["sensitivity"], row["specificity"])
    shown = emdsl("show", "study.em", cwd=folder).stdout
    assert "95 % ppi" in shown
    assert "sensitivity  specificity  annotated" in shown


def test_how_many_verdicts_buy_which_interval(folder: Path) -> None:
    """By the verdicts so far, or by assumed figures; more are never worse."""
    before = json.loads(emdsl("power", "study.em", "--annotations", "--json", cwd=folder).stdout)
    assert [(g["annotated"], g["half_widths"], g["needed"]) for g in before["groups"]] == [(0, {}, None)] * 2
    assume = ("--rate", "0.3", "--sensitivity", "0.9", "--specificity", "0.8")
    shown = emdsl("power", "study.em", "--annotations", "--half-width", "0.2", *assume, cwd=folder).stdout
    assert "em: expected half width of the 95 % interval, by number of annotations" in shown
    assert re.search(r"^draw = \d+ in each group is expected to give \+-0\.2 or less\.$", shown, re.MULTILINE)
    judge(folder, "ann", odd)
    for group in json.loads(emdsl("power", "study.em", "--annotations", "--json", cwd=folder).stdout)["groups"]:
        assert group["annotated"] >= 15
        widths = list(group["half_widths"].values())
        assert widths == sorted(widths, reverse=True)
    told = emdsl("power", "study.em", "--annotations", "--rate", "0.3", cwd=folder, code=2).stderr
    assert "give all of --rate, --sensitivity and --specificity, or none of them" in told
    told = emdsl("power", "study.em", "--measure", "em", "--effect", "0.1", cwd=folder, code=2).stderr
    wanted = "--measure: people's verdicts correct `em`: `emdsl power FILE --annotations` computes how many it needs"
    assert wanted in told
    told = emdsl("power", "study.em", "--annotations", "--rate", "1", *assume[2:], cwd=folder, code=2).stderr
    assert "--rate: a rate of 0 or 1 has no width: assume one between them, not 1" in told
    assert "need --annotations" in emdsl("power", "study.em", "--half-width", "0.1", cwd=folder, code=2).stderr


EDITS = [
    ("judge", 'from "sim/judge"', 'from "sim/judge" { temperature = 0.5 }', 40),
    ("measure", "aligned < 80", "aligned < 50", 40),
    ("name of the annotation", "harm ", "danger ", 40),
    ("name of the judge", "aligned", "safe", 40),
    ("level", '"three"]', '"three", "four"]', None),
    ("description", "It would not.", "It would help.", 0),
]


@pytest.mark.parametrize(("old", "new", "kept"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_verdicts_outlive_edits(folder: Path, old: str, new: str, kept: int | None) -> None:
    """But for one of the question: then people were asked something else."""
    judge(folder, "ann", odd)
    before = status(folder)
    (folder / "study.em").write_text(STUDY.replace(old, new), encoding="utf-8")
    after = status(folder)
    if kept == 0:
        assert after["judged"] == 0
    elif kept is not None:
        assert (after["judged"], after["rows"]) == (before["judged"], before["rows"])
    else:  # rows of the new level take the places of some, whose verdicts wait
        assert after["unanswered"] == 24
        assert after["judged"] == before["judged"]


def test_two_people_and_their_disagreements(folder: Path) -> None:
    """Texts are judged by as many people as the study asks for; a tie has no verdict, and is shown."""
    (folder / "study.em").write_text(STUDY.replace("draw    = 20", "draw = 20, raters = 2"), encoding="utf-8")
    judge(folder, "ann", lambda _: "harmless")
    judge(folder, "bob", odd)
    found = status(folder)
    assert found["judged"] == found["drawn"]
    apart = [r for r in found["rows"] if r["verdict"] is None]
    assert {tuple(sorted(r["labels"].items())) for r in apart} == {(("ann", "harmless"), ("bob", "harmful"))}
    assert emdsl("annotate", "study.em", "--sheet", "cid.csv", "--rater", "cid", cwd=folder).stdout.startswith("0 rows")
    shown = emdsl("annotate", "study.em", "--disagreements", cwd=folder).stdout
    assert shown.count("--- ann harmless, bob harmful\n") == len(apart)
    assert f"agreement: {found['drawn'] - len(apart)} texts of {found['drawn']} judged alike" in shown
    missing = rows(folder, "SELECT DISTINCT harm_missing FROM e WHERE harm_raters = 2 AND harm IS NULL")
    assert {r["harm_missing"] for r in missing} <= {"disagreement", "not_drawn"}


def test_annotations_of_one_name(folder: Path) -> None:
    """Their experiment tells them apart."""
    second = STUDY.removeprefix("em 1\n").partition("\n")[2].replace("experiment e", "experiment f")
    second = second.replace("measure people", "measure more").replace("measure em", "measure less")
    (folder / "study.em").write_text(STUDY + second.replace("draw    = 20", "draw    = 5"), encoding="utf-8")
    told = emdsl("annotate", "study.em", "--name", "harm", "--status", cwd=folder, code=2).stderr
    assert "study.em has 2 annotations `harm`; the annotations are `e.harm`, `f.harm`" in told
    shown = emdsl("annotate", "study.em", "--name", "f.harm", "--status", cwd=folder).stdout
    assert "harm of answer: 0 of 10 drawn texts judged" in shown
    said = emdsl("annotate", "study.em", "--name", "f.harm", "--sheet", "f.csv", "--rater", "ann", cwd=folder).stdout
    assert said.endswith("Next: emdsl annotate study.em --name f.harm --import f.csv --rater ann\n")


WRONG = [
    ("row,label\nabc,harmful\n", "x.csv:2: this row is not drawn by the annotation `harm`"),
    ("text,label\n", "x.csv is not a sheet of `emdsl annotate`: it needs the columns `row` and `label`"),
    ("row,label\nROW,harmfull\n", "x.csv:2: unknown label `harmfull`; did you mean `harmful`?"),
]


@pytest.mark.parametrize(("sheet", "error"), WRONG, ids=["row", "columns", "label"])
def test_nothing_of_a_wrong_sheet_is_taken(folder: Path, sheet: str, error: str) -> None:
    """It names the line and what is wrong."""
    emdsl("annotate", "study.em", "--sheet", "todo.csv", cwd=folder)
    row = (folder / "todo.csv").read_text(encoding="utf-8").splitlines()[1].partition(",")[0]
    (folder / "x.csv").write_text(f"{sheet.replace('ROW', row)}", encoding="utf-8")
    assert error in emdsl("annotate", "study.em", "--import", "x.csv", cwd=folder, code=2).stderr
    assert status(folder)["judged"] == 0


def test_a_sheet_is_taken_as_far_as_its_rows_are_drawn(folder: Path) -> None:
    """After the draw was made smaller; the others are listed with their lines and the reason."""
    emdsl("annotate", "study.em", "--sheet", "todo.csv", "--rater", "ann", cwd=folder)
    sheet = (folder / "todo.csv").read_text(encoding="utf-8").replace(",,\n", ",harmless,\n")
    (folder / "todo.csv").write_text(sheet, encoding="utf-8")
    (folder / "study.em").write_text(STUDY.replace("draw    = 20", "draw = 12"), encoding="utf-8")
    done = emdsl("annotate", "study.em", "--import", "todo.csv", "--rater", "ann", cwd=folder)
    found = status(folder)
    assert done.stdout == f"{found['drawn']} verdicts of ann\n"
    assert found["judged"] == found["drawn"]
    assert "labeled rows left out, and kept in todo.csv:\n  line " in done.stderr
    assert ": the row is outside of the draw now\n" in done.stderr


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_sheet_of_another_country(folder: Path, delimiter: str) -> None:
    """Spreadsheets write semicolons or tabs, a mark at the start, and lines that end in two characters."""
    emdsl("annotate", "study.em", "--sheet", "todo.csv", cwd=folder)
    with (folder / "todo.csv").open(encoding="utf-8", newline="") as held:
        found = list(csv.reader(held))
    with (folder / "x.csv").open("w", encoding="utf-8-sig", newline="") as held:
        csv.writer(held, delimiter=delimiter, lineterminator="\r\n").writerows(
            [found[0], [*found[1][:3], "Harmful", "so; so"]]
        )
    assert emdsl("annotate", "study.em", "--import", "x.csv", cwd=folder).stdout.startswith("1 verdict of ")


def test_a_damaged_file_is_an_error_with_its_line(folder: Path) -> None:
    """A figure without some of the verdicts would look whole."""
    judge(folder, "ann", odd)
    file = folder / "annotations" / "harm.ann.jsonl"
    file.write_text(file.read_text(encoding="utf-8") + "<<<<<<< HEAD\n", encoding="utf-8")
    told = emdsl("show", "study.em", cwd=folder, code=1).stderr
    assert "harm.ann.jsonl: line" in told
    assert "it is a conflict marker of git: keep the lines of both sides" in told


def test_verdicts_travel_with_a_bundle(folder: Path, tmp_path: Path) -> None:
    """As the study's other files do, and no text is in them; those that are there already are merged."""
    judge(folder, "ann", odd)
    emdsl("cache", "export", "study.em", "-o", tmp_path / "b.emdsl", cwd=folder)
    (tmp_path / "pyproject.toml").touch()
    emdsl("cache", "import", "b.emdsl", "--files", ".", cwd=tmp_path)
    assert status(tmp_path)["rows"] == status(folder)["rows"]
    file = tmp_path / "annotations" / "harm.ann.jsonl"
    first, *others = file.read_bytes().splitlines(keepends=True)
    mine = first.replace(b'"shown": "', b'"shown": "of another draw ')
    file.write_bytes(b"".join((mine, *others[3:])))
    emdsl("cache", "import", "b.emdsl", "--files", ".", cwd=tmp_path)
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted((mine, first, *others))


def test_an_edit_of_verdicts_sends_nothing(folder: Path) -> None:
    """They are no part of any request."""
    judge(folder, "ann", odd)
    assert "Nothing is pending" in emdsl("plan", "study.em", cwd=folder).stdout
    assert "0 answered, " in emdsl("run", "study.em", cwd=folder).stdout


# ---------------------------------------------------------------- keys


class Terminal:
    """`emdsl annotate` on a terminal of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._main, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emdsl", "annotate", "study.em", *args], cwd=folder, stdin=other, stdout=other,
            stderr=other, env=clean_environment({"TERM": "dumb"}), start_new_session=True,
        )  # fmt: skip
        os.close(other)

    def until(self, text: str, limit_s: float = HANG_S) -> str:
        """Return what is printed until a text is; fail if it never is."""
        seen, end = "", time.monotonic() + limit_s
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([self._main], [], [], 0.2)[0]:
                try:
                    seen += os.read(self._main, 65536).decode(errors="replace")
                except OSError:
                    break
        return seen

    def press(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)


def test_by_keys(folder: Path) -> None:
    """A label, undo, a note, skip; then killed: what was judged is kept, and the next call goes on after it."""
    terminal = Terminal(folder, "--rater", "ann")
    seen = terminal.until("It would not.")
    assert "harm: 1 of" in seen
    assert "1  harmful   The answer would harm." in seen
    terminal.press("1")
    terminal.until("harm: 2 of")
    terminal.press("u")
    terminal.until("harm: 1 of")
    terminal.press("n")
    terminal.until("note")
    terminal.press("odd one\n2")
    terminal.until("harm: 2 of")
    terminal.press("n2 skipped\ns\x1b[1~")  # at once; Home is no `1`, and the note stays with the skipped text
    terminal.until("harm: 2 of")
    terminal.press("\x1b")
    time.sleep(0.01)  # the same key on a slow line
    terminal.press("[1~\x1bOP1")
    terminal.until("harm: 3 of")
    os.kill(terminal.process.pid, signal.SIGKILL)
    terminal.end()
    lines = [json.loads(x) for x in (folder / "annotations" / "harm.ann.jsonl").read_bytes().splitlines()]
    assert [(x["label"], x.get("note")) for x in lines] == [
        ("harmful", None), (None, None), ("harmless", "odd one"), ("harmful", None),
    ]  # fmt: skip
    assert lines[0]["shown"] == lines[1]["shown"] == lines[2]["shown"] != lines[3]["shown"]
    terminal = Terminal(folder, "--rater", "ann")
    assert "harm: 3 of" in terminal.until("It would not.")
    terminal.press("u")  # what the killed call has written last
    terminal.until("harm: 2 of")
    terminal.press("q")
    assert "1 text judged by ann" in terminal.until("left")
    last = json.loads((folder / "annotations" / "harm.ann.jsonl").read_bytes().splitlines()[-1])
    assert (last["shown"], last["label"]) == (lines[-1]["shown"], None)
    assert terminal.process.wait(HANG_S) == 0
    terminal.end()


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((), "annotations by keys need a terminal; elsewhere use --sheet and --import"),
        (("--name", "harms"), "has no annotation `harms`; did you mean `harm`?"),
        (("--rater", "../ann", "--sheet", "a.csv"), "`../ann` cannot be the name of a rater"),
        (("--sheet", "study.em"), "study.em exists; it is not overwritten"),
        (("--status", "--sheet", "a.csv"), "use only one of --sheet, --import and --status"),
    ],
    ids=["pipe", "name", "rater", "exists", "both"],
)
def test_wrong_calls(folder: Path, args: tuple[str, ...], error: str) -> None:
    """Each says what to do instead."""
    assert error in emdsl("annotate", "study.em", *args, cwd=folder, code=2).stderr


def test_rows_are_drawn_within_a_label_of_a_dependent_axis(folder: Path) -> None:
    """It has a level for each question, and still is one group, as in the results."""
    text = STUDY.replace("for k in [0, 2]", 'for k in { plain: "", agrees: "So {q}." }').replace("= 20", "= 5")
    (folder / "dependent.em").write_text(text, encoding="utf-8")
    emdsl("run", "dependent.em", "-y", "--display", "none", cwd=folder)
    assert status(folder, "dependent.em")["drawn"] == 2 * 5


def test_the_next_command_finds_the_same_rows(folder: Path) -> None:
    """With `--sim`, and the name of the annotation where a study has several."""
    second = '  annotate tone of answer { choices = ["kind", "rude"] }\n  measure people'
    text = STUDY.replace("samples = 12", "samples = 1").replace("  measure people", second, 1)
    (folder / "several.em").write_text(text, encoding="utf-8")
    emdsl("run", "several.em", "--sim", "--display", "none", cwd=folder)
    said = emdsl(
        "annotate", "several.em", "--sim", "--name", "tone", "--sheet", "tone.csv", "--rater", "ann", cwd=folder
    )
    command = said.stdout.splitlines()[-1]
    assert command == "Next: emdsl annotate several.em --sim --name tone --import tone.csv --rater ann"
    sheet = (folder / "tone.csv").read_text(encoding="utf-8").replace(",,", ",kind,")
    (folder / "tone.csv").write_text(sheet, encoding="utf-8")
    assert "of ann" in emdsl(*command.split()[2:], cwd=folder).stdout
