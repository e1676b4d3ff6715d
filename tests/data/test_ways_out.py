"""A message about a file names what to write: its words, applied by a machine, read the file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from file_shapes import Shape, apply, dump, fault, lines, one, parquet, rows, set_to, write
from support import program

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {"a": "One?", "b": "Two?"}
LISTED = dump({"version": 1, "eval": {"questions": [{"id": "a", "t": "One?"}, {"id": "b", "t": "Two?"}]}})
FEW = lines({"m": [{"role": "user", "content": "a"}]}, {"m": [{"role": "system", "content": "b"}]})
WAYS = [
    one("list below", "a.json", LISTED, "", [{"id": "a", "t": "One?"}, {"id": "b", "t": "Two?"}], "for the 2 items"),
    one("list below in yaml", "a.yaml", "q:\n  - t: One?\n", "", [{"t": "One?"}], "for the 1 item of `q`"),
    one("names and texts", "a.json", dump(TEXTS), "", [{"id": k, "value": v} for k, v in TEXTS.items()], "each field"),
    one("names and records", "a.json", dump({"x": {"t": 1}, "y": {"t": 2}}), "",
        [{"id": "x", "t": 1}, {"id": "y", "t": 2}], "its name as `id`"),
    one("one object", "a.json", dump({"t": "One?", "more": {"n": 1}}), "", [{"t": "One?", "more": {"n": 1}}],
        "for one row"),
    one("rows in lines", "a.jsonl", lines({"qs": [{"t": 1}]}, {"qs": [{"t": 2}]}), 'rows = "qs"', [{"t": 1}, {"t": 2}],
        "the file is a list"),
    one("some rows lack it", "a.jsonl", lines({"id": 1, "Best Answer": "x", "sys": "y"}, {"id": 2}), "",
        [{"id": 1, "Best Answer": "x", "sys": "y"}, {"id": 2, "Best Answer": "", "sys": ""}], "some rows lack it"),
    one("some rows lack a column", "a.jsonl", lines({"id": 1, "sys": "y"}, {"id": 2}),
        'columns = { id: "id", text: "sys" }', [{"id": 1, "text": "y"}, {"id": 2, "text": ""}], "some rows lack it"),
    one("a list without position", "a.jsonl", lines({"m": [{"role": "user", "content": "a"}]}),
        'columns = { t: "m.content" }', [{"t": "a"}], "`m` is a list"),
    one("a list of texts without position", "a.jsonl", lines({"m": ["a", "b"]}), 'columns = { t: "m.first" }',
        [{"t": "a"}], "`m` is a list"),
    one("no such role", "a.jsonl", FEW, 'columns = { t: "m.role=user.content" }', [{"t": "a"}, {"t": ""}],
        "no item of `m` has the role `user`"),
    one("a text without parts", "a.csv", "choices\nYes;No\n", 'columns = { t: "choices.0" }', [{"t": "Yes;No"}],
        "neither JSON nor a list"),
    one("numpy's arrays", "a.csv", "choices\n['Yes' 'No']\n", 'columns = { t: "choices.0" }', [{"t": "['Yes' 'No']"}],
        "neither JSON nor a list"),
    one("tabs", "a.csv", "q\ta\nx\t1\n", "", [{"q": "x", "a": "1"}], "another delimiter"),
    one("another pin", "a.csv", "q\nx\n", 'sha256 = "00000000"', [{"q": "x"}], "has changed"),
    Shape("a folder", {"data/a.jsonl": lines({"q": 1}), "data/b.jsonl": lines({"q": 2})}, 'file = "data"',
          [{"q": 1}, {"q": 2}], "is a folder"),
    Shape("a folder of folders", {"data/x/a.parquet": parquet([{"q": 1}])}, 'file = "data/"', [{"q": 1}],
          "is a folder"),
    Shape("a pattern of too much", {"data/a.jsonl": lines({"q": 1}), "data/README.md": b""}, 'file = "data/*"',
          [{"q": 1}], "matches `README.md` too"),
    Shape("all folders below", {"x/a.jsonl": lines({"q": 1})}, 'file = "**/*.jsonl"', [{"q": 1}], "not supported"),
    one("ids of groups", "a.jsonl", lines({"id": 1, "n": 1}, {"id": 1, "n": 1}, {"id": 1, "n": 2}), "",
        [{"id": 1, "n": 1}], "leave out the copies", written="skip"),
    one("ids of few groups", "a.jsonl", lines({"id": 1, "n": 1}, {"id": 1, "n": 2}, {"id": 2, "n": 2}), "",
        [{"item": 1, "n": 1}, {"item": 1, "n": 2}, {"item": 2, "n": 2}], "rename `id`"),
]  # fmt: skip


@pytest.mark.parametrize("shape", [s for s in WAYS if not s.written], ids=lambda s: s.name)
def test_the_words_of_a_message_read_the_file(shape: Shape, tmp_path: Path) -> None:
    """The first way that it names."""
    write(tmp_path, shape)
    found = fault(tmp_path, shape.settings)
    assert shape.message in found.message + found.help
    assert rows(tmp_path, apply(tmp_path, shape.settings, found.help)) == shape.rows


@pytest.mark.parametrize("setting", ['delimiter = ";"', 'rows = "x"'])
def test_a_setting_of_another_format_is_removed(setting: str, tmp_path: Path) -> None:
    """The place is the setting's."""
    (tmp_path / "a.txt").write_text("x\n", encoding="utf-8")
    found = fault(tmp_path, f'file = "a.txt"\n{setting}')
    assert found.help.startswith(f"remove `{setting.split(' ', 1)[0]}`")
    assert found.span is not None
    assert found.span.text == setting.split(" = ")[1]


def test_rows_with_one_id_that_are_equal_are_left_out(tmp_path: Path) -> None:
    """By their positions, in words that stand in place of the list."""
    (tmp_path / "a.jsonl").write_bytes(lines({"id": 1, "n": 1}, {"id": 2, "n": 1}, {"id": 1, "n": 1}))
    found = fault(tmp_path, 'file = "a.jsonl"')
    way = found.help.split("`", 2)[1]
    ask = 'ask a from "sim/subject" with "{q.id}"'
    study = f'dataset d {{ file = "a.jsonl" }}\nexperiment e {{\nfor q in {way}\n{ask}\n}}'
    (only,) = program(study, tmp_path).experiments
    assert [level.label for level in only.axes[0].levels] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "said", "old", "new"),
    [
        ("a.json", '[{"q": "a"},]', "delete the comma", ",]", "]"),
        ("a.json", '[{"q": "a"} // one\n]', "", " // one", ""),
        ("a.json", '[\n# one\n{"q": "a"}]', "no comments", "# one\n", ""),
        ("a.csv", 'q\n"a "b""\n', "a quote within it is doubled", '"b"', '""b""'),
        ("a.csv", "q,p\na, b,c\n", "quote a cell", "a, b", '"a, b"'),
        ("a.yaml", "- q: What: this?\n", "put quotes around a text that contains `: `", "What: this?", "'What: this?'"),
        ("a.yaml", "- Yes\n- What: this?\n", "put quotes around a text that contains `: `", "What: this?", "'What:?'"),
        ("a.yaml", "- q: *bold* text\n", "put quotes around a text that begins with *", "*bold* text", "'*bold* text'"),
        ("a.yaml", '- q: "a \\d b"\n', "single quotes", '"a \\d b"', "'a \\d b'"),
        ("a.yaml", "- q: @you\n", "put quotes around a text that begins with %, @ or `", "@you", "'@you'"),
    ],
)  # fmt: skip
def test_what_to_change_in_a_file(name: str, content: str, said: str, old: str, new: str, tmp_path: Path) -> None:
    """The message names the change, and the file is read after it."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert said in fault(tmp_path, f'file = "{name}"').help
    (tmp_path / name).write_text(content.replace(old, new), encoding="utf-8")
    assert len(rows(tmp_path, f'file = "{name}"')) >= 1


def test_a_column_with_a_space_is_read_by_its_text(tmp_path: Path) -> None:
    """E215 writes it out."""
    (tmp_path / "a.csv").write_text("Best Answer\nx\n", encoding="utf-8")
    study = 'dataset d {{ file = "a.csv" }}\nexperiment e {{\nfor q in d\nask a from "sim/subject" with {0}\n}}'
    with pytest.raises(Exception, match="E215") as raised:
        program(study.format("q.best_answer"), tmp_path)
    way = str(raised.value).split("did you mean `", 1)[1].split("`", 1)[0]
    assert program(study.format(way), tmp_path).experiments


def test_a_pattern_that_matches_nothing_shows_what_there_is(tmp_path: Path) -> None:
    """Or that its folder does not exist; a misspelt name is compared with its neighbors."""
    shape = Shape("", {"data/train-0.jsonl": lines({"q": 1})}, 'file = "data/test-*.jsonl"', [{"q": 1}])
    write(tmp_path, shape)
    found = fault(tmp_path, shape.settings)
    assert found.code == "E603"
    assert "`train-0.jsonl`" in found.help
    assert "there is no folder" in fault(tmp_path, 'file = "dat/*.jsonl"').help
    near = fault(tmp_path, 'file = "data/trian-0.jsonl"').help
    assert rows(tmp_path, set_to("", f'file = "data/{near.split("`", 2)[1]}"')) == replace(shape).rows


@pytest.mark.parametrize(
    ("name", "content", "settings", "message", "help_"),
    [
        ("a.json", '{"questions": [{"q": 1}]}', 'rows = "question"', "no field `question`", "mean `questions`?"),
        ("a.json", '{"x": {"q": 1}}', 'rows = "x.y"', "no field `y` in `x`", "available: `q`"),
        ("a.json", '{"x": 1}', 'rows = "x"', "expected a list of rows, got a number", ""),
        ("a.json", '{"x": 1}', 'rows = "x.y"', "`x` is a number, so it has no `y`", ""),
        ("a.csv", "q,a\nx,1\n", 'columns = ["q", "b"]', "the header has no column `b`", "available: `q`, `a`"),
        ("a.csv", "x,1\ny,2\n", 'columns = ["q"]', "1 names in `columns`, but 2 cells", "name every column"),
        ("a.csv", "x,1\ny\n", 'columns = ["q", "a"]', "expected 2 cells as in the first row, got 1", "quote a cell"),
        ("a.json", '[["x", 1], ["y"]]', 'columns = ["q", "a"]', "row 2: 2 names in `columns`, but 1 items", ""),
        ("a.json", '[{"q": 1}, "x"]', "", "row 2: expected an object as in row 1, got a text", "one form"),
        ("a.jsonl", '{"q": 1}\n', 'columns = { t: "q.x" }', "`q` is not an object or a list", ""),
        ("a.xlsx", "", "", "`.xlsx` files are not supported", "save its sheet as CSV (UTF-8)"),
    ],
)  # fmt: skip
def test_what_is_not_where_a_setting_says(
    name: str, content: str, settings: str, message: str, help_: str, tmp_path: Path
) -> None:
    """The field or row is named, with what there is; the place is that of the setting."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = fault(tmp_path, f'file = "{name}"\n{settings}')
    assert found.code == "E604"
    assert message in found.message
    assert help_ in found.help
    assert found.span is not None
    if settings.startswith("rows"):
        assert found.span.text == settings.removeprefix("rows = ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('columns = ["q", "q"]', "`columns` must be a list of distinct names"),
        ('columns = "q"', "`columns` must be a map"),
        ("rows = 1", "`rows` must be a text"),
        ('records = "x"', "no setting `records`"),
    ],
)
def test_a_setting_of_another_kind(setting: str, message: str, tmp_path: Path) -> None:
    """Is told with the kind; a word of another tool with ours."""
    (tmp_path / "a.csv").write_text("q\nx\n", encoding="utf-8")
    assert message in fault(tmp_path, f'file = "a.csv"\n{setting}').message
