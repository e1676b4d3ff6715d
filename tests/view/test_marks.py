"""Marks of people in the viewer, and what is made of them: files, filters, examples, copies, reasons."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support import emdsl
from viewed import STUDY
from viewing import use

from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.examples import export_pins
from emdsl.study.marking import Marking, pinned_rows
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale
from emdsl.study.story import tell_key
from emdsl.study.why import explain_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from viewing import Client

    from emdsl.study.compiled import Compiled

ROWS = ("where", "k = 2 AND arm = 'first' AND q LIKE 'one%'")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the study that was run, without annotations and marks."""
    copy = tmp_path / "own"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("annotations"))
    return copy


def compiled(folder: Path) -> Compiled:
    file = folder / "study.em"
    return compile_study(open_project(file), file)


def edit(folder: Path, text: str) -> Compiled:
    (folder / "study.em").write_text(text, encoding="utf-8")
    return compiled(folder)


def lines(folder: Path, rater: str = "ann") -> list[dict[str, Any]]:
    file = folder / "annotations" / "marks" / f"{rater}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def ids(client: Client, *pairs: tuple[str, object]) -> list[str]:
    return [r["id"] for r in (await client.get("rows", *pairs))["rows"]]


def test_marks_are_written_shown_and_chosen_by(own: Path) -> None:
    """Each is in the file when the reply comes. Rows show their marks, and a tag is a filter of rows."""

    async def act(client: Client) -> None:
        assert "marks" not in (await client.get("rows", ("limit", 1)))["rows"][0]
        first, second, third, *_ = await ids(client, ROWS)
        assert (await client.get("marks", ("row", first)))["row"] == {
            "answered": True,
            "tags": [],
            "notes": [],
            "pin": None,
        }
        told = await client.post("mark", row=first, tag="very odd", on=True)
        assert told["row"]["tags"] == [{"tag": "very odd", "by": "ann"}]
        await client.post("mark", row=second, tag="very odd", on=True)
        await client.post("mark", row=first, note="Look\nat <b>this</b>")
        told = await client.post("mark", row=third, pin=True)
        assert (told["row"]["pin"], told["tags"]) == (1.0, ["very odd"])
        assert [(x.get("tag"), x.get("note"), x.get("pin")) for x in lines(own)] == [
            ("very odd", None, None), ("very odd", None, None), (None, "Look\nat <b>this</b>", None), (None, None, 1.0)
        ]  # fmt: skip
        assert await ids(client, ("tag", "very odd")) == [first, second]
        assert await ids(client, ("tag", "*"), ROWS) == [first, second, third]
        assert (await client.get("count", ("tag", "nothing")))["n"] == 0
        assert (await client.get("count", ("tag", "very odd"), ("a.k", 8)))["n"] == 0
        marks = [r["marks"] for r in (await client.get("rows", ROWS, ("limit", 4)))["rows"]]
        nothing = {"tags": [], "note": False, "pin": False}
        assert marks == [
            {"tags": ["very odd"], "note": True, "pin": False}, {"tags": ["very odd"], "note": False, "pin": False},
            {"tags": [], "note": False, "pin": True}, nothing,
        ]  # fmt: skip
        await client.post("mark", row=first, tag="very odd", on=False)
        await client.post("mark", row=first, note="")
        await client.post("mark", row=third, pin=None)
        assert [r["marks"] for r in (await client.get("rows", ROWS, ("limit", 3)))["rows"]] == [
            nothing,
            marks[1],
            nothing,
        ]
        before = len(lines(own))
        for body, message in (
            ({"row": first}, "expected a `tag`"),
            ({"row": first, "tag": "a\nb", "on": True}, "1 to 64 printable characters"),
            ({"row": first, "tag": "x" * 65, "on": True}, "1 to 64 printable characters"),
            ({"row": first, "tag": "odd"}, "expected a `tag`"),
            ({"row": first, "pin": False}, "expected a `tag`"),
            ({"row": first, "pin": 1e300}, "expected a `tag`"),
            ({"row": first, "note": "x" * 10_001}, "at most 10,000"),
            ({"row": "first,9,~0,3", "pin": True}, "no level"),
            ({"row": 3, "pin": True}, "expected an object"),
            ({"pin": True}, "expected an object"),
        ):
            assert message in (await client.post("mark", 400, **body))["error"], body
        assert "expected an object with `keys`" in (await client.post("unpin", 400, keys="x"))["error"]
        assert len(lines(own)) == before

    use(own, act)
    assert (own / "annotations" / ".gitattributes").read_text(encoding="utf-8") == "*.jsonl merge=union\n"
    text = (own / "annotations" / "marks" / "ann.jsonl").read_text(encoding="utf-8")
    assert "simulated" not in text, "no answer is in the file"
    assert "Nothing is pending" in emdsl("plan", "study.em", cwd=own).stdout


def test_marks_outlive_edits_of_grid_judge_and_names(own: Path) -> None:
    """They belong to the answers: another name of the axis, another judge and a smaller grid keep them."""

    async def mark(client: Client) -> None:
        row = (await ids(client, ROWS))[3]
        await client.post("mark", row=row, tag="odd", on=True)
        await client.post("mark", row=row, pin=True)

    use(own, mark)
    edited = (
        STUDY.replace("experiment page", "experiment renamed").replace("arm", "variant").replace("[0, 2, 8]", "[2]")
        .replace("samples = 8", "samples = 4").replace("aligned < 60", "aligned < 50").replace("= 5", "= 3")
    )  # fmt: skip
    load_if_stale(edit(own, edited))

    async def look(client: Client) -> None:
        (row,) = (await client.get("rows", ("tag", "odd")))["rows"]
        assert re.fullmatch(r"first,2,~[0-9a-f]{12},3", row["id"])
        (pin,) = (await client.get("pins"))["pins"]
        assert (pin["exp"], pin["row"], pin["others"], pin["tags"]) == ("renamed", row["id"], 0, ["odd"])
        assert pin["at"] == "renamed, variant first, k 2, q one <script>alert(1)</script>, sample 3"

    use(own, look)
    load_if_stale(edit(own, edited.replace("samples = 4", "samples = 2")))

    async def gone(client: Client) -> None:
        (pin,) = (await client.get("pins"))["pins"]
        assert "no loaded row has its answer" in pin["gone"]
        assert (await client.get("count", ("tag", "odd")))["n"] == 0
        assert "no row is pinned" in (await client.get("examples", status=400))["error"]
        keys.append(pin["keys"])

    keys: list[list[str]] = []
    use(own, gone)
    with pytest.raises(UsageError, match=f"has no pinned rows.* any more .key {keys[0][0][:16]}"):
        list(export_pins(compiled(own), own / "out.md"))

    (own / "study.em").rename(own / "other.em")
    other = compile_study(open_project(own / "other.em"), own / "other.em")
    load_if_stale(other)
    assert pinned_rows(other) == ([], []), "a pin of another study beside this one is none of its own"
    (own / "other.em").rename(own / "study.em")

    async def unpin(client: Client) -> None:
        assert (await client.post("unpin", keys=keys[0]))["pins"] == []

    use(own, unpin)


def test_pins_are_ordered_and_exported(own: Path) -> None:
    """The page and the command write the same file; each key in it leads back to its row."""

    async def act(client: Client) -> None:
        rows = (await ids(client, ROWS))[:3]
        for row in rows:
            await client.post("mark", row=row, pin=True)
        await client.post("mark", row=rows[2], pin=0.5)
        assert [p["row"] for p in (await client.get("pins"))["pins"]] == [rows[2], rows[0], rows[1]]
        texts = {form: await client.get("examples", ("form", form), ("verdicts", 1)) for form in ("md", "tex", "html")}
        assert [f["name"] for f in texts.values()] == [f"study-examples.{form}" for form in texts]
        written = emdsl("export", "study.em", "--pins", "out.md", "--verdicts", cwd=own).stdout
        assert written == "Written: out.md (3 examples)\n"
        assert "unknown form" in (await client.get("examples", ("form", "x"), status=400))["error"]
        story = await client.get("row", ("row", rows[2]))
        answer = story["steps"][0]
        text = (own / "out.md").read_text(encoding="utf-8")
        assert text == texts["md"]["text"]
        assert text.startswith(
            "# Examples of `study.em`\n\n## 1. `page, arm first, k 2, q one <script>alert(1)</script>, sample 2`"
        )
        assert f"Question, after 2 demonstrations:\n\n```text\n{answer['messages'][-1]['content']}\n```\n" in text
        assert f"Answer:\n\n```text\n{answer['value']}\n```\n" in text
        (key, *_) = re.findall(r"Key of `answer`: `([0-9a-f]{64})`", text)
        assert key == answer["key"]
        (shown,) = re.findall(rf"Trace: `emdsl (show study.em --key {key[:16]})`", text)
        assert key in emdsl(*shown.split(), cwd=own).stdout
        assert key[:16] in emdsl("why", "study.em", "--key", key[:16], cwd=own).stdout
        why = (await client.get("why", ("row", rows[2])))["steps"]
        assert [(s["name"], s["cached"]) for s in why][:2] == [("answer", True), ("aligned", True)]
        assert f"key {key[:16]}...  cached: answered" in why[0]["text"]
        copied = await client.get("copies", ("row", rows[2]), ("form", "tex"))
        assert rf"\texttt{{{key[:16]}}}" in copied["text"]
        assert "`tex` or `em`" in (await client.get("copies", ("row", rows[2]), status=400))["error"]

    use(own, act)
    study = compiled(own)
    zeros = "00" * 32
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: list(export_pins(study, own / "out.doc")), "use a name that ends in `.md`, `.tex` or `.html`"),
        (lambda: list(export_pins(study, own / "none" / "out.md")), "cannot write .*none/out.md"),
        (lambda: tell_key(study, zeros), "no loaded row of .*study.em has a request with the key"),
        (lambda: explain_key(study, zeros), "no loaded row of .*study.em has a request with the key"),
        (lambda: tell_key(study, "x"), "is not a key: expected 8 to 64 hex digits"),
    ]
    for act_wrongly, message in wrong:
        with pytest.raises(UsageError, match=message):
            act_wrongly()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("export", "study.em"), "name what to write"),
        (("export", "study.em", "-o", "x", "--verdicts"), "--reasoning and --verdicts need --pins"),
        (("export", "study.em", "--pins", "x.md", "--analysis", "r"), "--analysis needs a folder"),
        (("show", "study.em", "--key", "00", "--row", "TRUE"), "--row and --key both choose rows"),
        (("why", "study.em", "--key", "00", "--sample", "1"), "--key names one row"),
    ],
)
def test_options_that_do_not_fit_together(folder: Path, args: tuple[str, ...], message: str) -> None:
    """Each is named before anything is read."""
    assert message in emdsl(*args, cwd=folder, code=2).stderr


def test_a_pending_row_tells_what_differs_and_takes_no_marks(own: Path) -> None:
    """The nearest cached request with its changed text; a mark needs an answer to belong to."""
    load_if_stale(edit(own, STUDY.replace("Be <b>brief</b>.", "Be <b>short</b>.")))

    async def act(client: Client) -> None:
        row = (await ids(client, ROWS))[0]
        answer, aligned, _ = (await client.get("why", ("row", row)))["steps"]
        assert (answer["cached"], aligned["cached"]) == (False, None)
        for part in ("pending: ", "nearest cached request: ", "- ...Be <b>brief</b>....", "+ ...Be <b>short</b>...."):
            assert part in answer["text"]
        assert "depends on `answer`" in aligned["text"]
        assert (await client.get("marks", ("row", row)))["row"]["answered"] is False
        assert "no answer yet" in (await client.post("mark", 400, row=row, pin=True))["error"]
        beyond = row.rpartition(",")[0] + ",8"
        for end in ("marks", "why", "copies"):
            answer = await client.get(end, ("row", beyond), ("form", "em"), status=400)
            assert answer["error"] == "`page` has no sample 8 of this cell"
        copied = await client.get("copies", ("row", row), ("form", "em"))
        assert copied["program"]
        assert "when sample == 0 {" in copied["text"]

    use(own, act)


def test_broken_and_newer_lines_are_told_and_travel(own: Path, tmp_path: Path) -> None:
    """The others count. A bundle takes the files along, and an import merges them with those that are there."""
    marks = own / "annotations" / "marks"

    async def act(client: Client) -> None:
        row = (await ids(client, ROWS))[0]
        await client.post("mark", row=row, tag="odd", on=True)
        (marks / "bob.jsonl").write_bytes(b'{"version": 9}\n<<<<<<< HEAD\n{"version": 1}\n')
        told = await client.get("marks")
        assert told["tags"] == ["odd"]
        newer, broken = told["notices"]
        assert newer.endswith("bob.jsonl: 1 mark of a newer version of emdsl; update emdsl to see them")
        assert "line 2 is not a mark: it is a conflict marker of git" in broken
        assert "(and 1 more line)" in broken

    use(own, act)
    emdsl("cache", "export", "study.em", "-o", tmp_path / "b.emdsl", cwd=own)
    other = tmp_path / "other"
    (other / "annotations" / "marks").mkdir(parents=True)
    (other / "pyproject.toml").touch()
    (other / "annotations" / "marks" / "ann.jsonl").write_bytes(b'{"version": 9}\n')
    emdsl("cache", "import", tmp_path / "b.emdsl", "--files", ".", cwd=other)
    theirs = (marks / "ann.jsonl").read_bytes()
    assert (other / "annotations" / "marks" / "ann.jsonl").read_bytes() == b'{"version": 9}\n' + theirs
    assert (other / "annotations" / "marks" / "bob.jsonl").read_bytes() == (marks / "bob.jsonl").read_bytes()


SHARED = """em 1
import alignment from "std:judges@1"
experiment panel {
  for t in [0, 1]
  for q in ["one", "two"]
  samples = 2
  ask answer from "sim/subject" with q
  ask again from "sim/subject" with "{answer} Sure?"
  judge aligned with alignment(q, answer) from "sim/judge" { temperature = t }
}
"""


def test_a_pin_finds_the_row_of_its_verdicts(tmp_path: Path) -> None:
    """Rows can share their answers: the pin is of the one whose verdicts were seen, as long as they are there."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHARED, encoding="utf-8")
    emdsl("run", "study.em", "-y", cwd=tmp_path)

    async def act(client: Client) -> None:
        (row,) = await ids(client, ("where", "t = 1 AND q = 'two' AND sample = 1"))
        await client.post("mark", row=row, pin=True)
        (pin,) = (await client.get("pins"))["pins"]
        assert (pin["row"], pin["others"], len(pin["keys"])) == (row, 1, 2)
        assert (await client.get("count", ("tag", "*")))["n"] == 2
        assert "Question of answer" in (await client.get("examples"))["text"]

    use(tmp_path, act)
    study = edit(tmp_path, SHARED.replace("[0, 1]", "[0]"))
    load_if_stale(study)
    ((pin,), notices) = pinned_rows(study)
    assert pin.row is not None
    assert (pin.row[1:], pin.others, notices) == (((0, 1), 1), 0, [])
    marking = Marking()
    marking.read(study)
    assert marking.of(pin.keys[:1]) == [], "a row with one of two answers is another one"
