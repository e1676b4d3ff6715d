"""Datasets as written: no type is guessed, and a bad file says which row and what was expected."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from emdsl.data.dataset import read_dataset
from emdsl.data.records import DataError

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path, columns: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return [dict(r.columns) for r in read_dataset("d", path, columns, None).rows]


@pytest.mark.parametrize(
    ("name", "text", "columns", "expected"),
    [
        ("a.csv", "x,y\n007,1.50\n,2\n", None, [{"x": "007", "y": "1.50"}, {"x": "", "y": "2"}]),
        ("a.csv", "x,y\na,b\n,\n \n\nc,d\n", None, [{"x": "a", "y": "b"}, {"x": "c", "y": "d"}]),
        ("a.csv", ",x\n0,a\n1,b\n", None, [{"x": "a"}, {"x": "b"}]),
        ("a.tsv", "x\ty\na, b\tc\n", None, [{"x": "a, b", "y": "c"}]),
        ("a.jsonl", '{"x": "a", "y": NaN}\n', None, [{"x": "a", "y": None}]),
        ("a.jsonl", '{"x": 18446744073709551617}\n', None, [{"x": 2**64 + 1}]),
        ("a.csv", '\ufeffx\n"a\nb, ""c"""\n', None, [{"x": 'a\nb, "c"'}]),
        (
            "a.jsonl",
            '{"x": 1.50, "y": true}\n\n{"x": 2, "y": null}\n',
            None,
            [{"x": Decimal("1.5"), "y": True}, {"x": 2, "y": None}],
        ),
        ("a.json", '[{"m": [{"c": "a"}, {"c": "b"}]}]', {"u": "m.0.c", "v": "m.1.c"}, [{"u": "a", "v": "b"}]),
        (
            "a.yaml",
            "- id: 007\n  n: 1.50\n  b: yes\n  z: ~\n",
            None,
            [{"id": "007", "n": "1.50", "b": "yes", "z": "~"}],
        ),
        ("a.yaml", "- id: !!int 3\n", None, [{"id": "3"}]),
        ("a.yaml", "- p: &x [one, two]\n- p: *x\n", {"t": "p.1"}, [{"t": "two"}, {"t": "two"}]),
        ("a.csv", "a.b,c\n1,2\n", {"x": "a.b"}, [{"x": "1"}]),
    ],
)
def test_values_are_as_written(
    tmp_path: Path, name: str, text: str, columns: dict[str, str] | None, expected: list[dict[str, Any]]
) -> None:
    """CSV cells and YAML scalars are text, empty stays empty, JSON numbers are exact."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert rows(tmp_path / name, columns) == expected


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    """Texts, exact numbers, dates as ISO text, structures."""
    path = tmp_path / "a.parquet"
    duckdb.execute(
        f"COPY (SELECT 'a' AS t, 1.50::DECIMAL(4,2) AS d, 0.1::DOUBLE AS f, DATE '2026-01-02' AS at, "
        f"[{{'c': 'x'}}] AS m) "
        f"TO '{path}' (FORMAT parquet)"
    )
    expected = {"t": "a", "d": Decimal("1.5"), "f": Decimal("0.1"), "at": "2026-01-02", "m": ({"c": "x"},)}
    assert rows(path) == [expected]
    assert rows(path, {"u": "m.0.c"}) == [{"u": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.csv", b"x,y\n1\n", None, "row 1 (line 2): expected 2 cells as in the header, got 1"),
        ("a.csv", b"x,x\n1,2\n", None, "two columns called `x`"),
        ("a.csv", b'x\n"open\n', None, "unexpected end of data"),
        ("a.csv", b"", None, "is empty"),
        ("a.csv", b"x\n", None, "has no rows"),
        ("a.csv", b"x\n\xff\n", None, "not UTF-8"),
        ("a.csv", b"x\n1\n", {"t": "y"}, "row 1 (line 2): no column or field `y`"),
        ("a.jsonl", b'{"x": 1}\n{"x": \n', None, "row 2 (line 2): not valid JSON"),
        ("a.jsonl", b'{"x": 1}\n[1]\n', None, "expected an object as in row 1, got a list"),
        ("a.jsonl", b'"x"\n{"x": 1}\n', None, "expected a text as in row 1, got an object"),
        ("a.jsonl", b'{"x": 0}\n{"x": 1} {"x": 2}\n', None, "extra data"),
        ("a.jsonl", b'{"x": Infinity}\n', None, "`Infinity` is not a JSON number"),
        ("a.jsonl", b'{"x": 1e99999999999}\n', None, "digits"),
        ("a.jsonl", b'{"x": 1, "x": 2}\n', None, "appears twice"),
        ("a.jsonl", b'{"m": ["a"]}\n', {"t": "m.3"}, "has no item 3, only 1 item"),
        ("a.jsonl", b'{"m": ["a"]}\n', {"t": "m.c"}, "is a list"),
        ("a.json", b"{}", None, "holds one object, not a list of rows"),
        ("a.json", b'"x"', None, "expected a list of rows, got a text"),
        ("a.json", b'{"x": 1}\n{"x": }\n', None, "row 2: not valid JSON at line 2, column 7"),
        ("a.json", b"[" * 5000, None, "nested too deeply"),
        ("a.yaml", b"a: 1\n", None, "holds one object, not a list of rows"),
        ("a.yaml", b"- a: [\n", None, "line 2"),
        ("a.yaml", b"- &a {id: [*a]}\n", None, "recursive"),
        ("a.yaml", b"- {a: 1, a: 2}\n", None, "appears twice"),
        ("a.parquet", b"PAR1", None, "a.parquet"),
        ("a.md", b"x", None, "not supported"),
        ("a", b"x", None, "without an ending"),
        ("a.parquet.gz", b"x", None, "not supported"),
    ],
)
def test_bad_files_say_what_was_expected(
    tmp_path: Path, name: str, content: bytes, columns: dict[str, str] | None, said: str
) -> None:
    """Which file, which row, what was expected; never a traceback."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        rows(tmp_path / name, columns)
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_a_pin_holds_the_file(tmp_path: Path) -> None:
    """The first hex digits of its digest, or an error that says what they are."""
    (tmp_path / "a.csv").write_text("x\n1\n", encoding="utf-8")
    digest = read_dataset("d", tmp_path / "a.csv", None, None).sha256
    assert read_dataset("d", tmp_path / "a.csv", None, digest[:8].upper()).sha256 == digest
    with pytest.raises(DataError, match=f"starts with `{digest[:16]}`"):
        read_dataset("d", tmp_path / "a.csv", None, "0" * 8)


def test_a_column_that_not_all_rows_have_is_empty_there(tmp_path: Path) -> None:
    """`path?`: an empty text where a row has no such field or nothing in it; one that no row has is misspelt."""
    file = tmp_path / "q.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b", "system": "Be brief."}\n{"id": "c", "system": null}\n', encoding="utf-8")
    assert [r["system"] for r in rows(file, {"system": "system?"})] == ["", "Be brief.", ""]
    with pytest.raises(DataError, match="no column or field `sistem`") as caught:
        rows(file, {"system": "sistem?"})
    assert "`id`" in caught.value.help


def test_other_delimiters_are_said(tmp_path: Path) -> None:
    """A file whose one column holds semicolons is told, with the line to write; so is a delimiter of what has none."""
    path = tmp_path / "a.csv"
    path.write_text("x;y\na;b, c\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        rows(path)
    assert 'delimiter = ";"' in caught.value.help
    (row,) = read_dataset("d", path, None, None, delimiter=";").rows
    assert dict(row.columns) == {"x": "a", "y": "b, c"}
    other = tmp_path / "a.jsonl"
    other.write_text('{"x": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="has no delimiter"):
        read_dataset("d", other, None, None, delimiter=";")


def test_nan_in_parquet_is_nothing(tmp_path: Path) -> None:
    """As pandas writes it; a column that nobody reads refuses no file."""
    path = tmp_path / "a.parquet"
    duckdb.execute(f"COPY (SELECT 'a' AS x, 'nan'::DOUBLE AS y) TO '{path}' (FORMAT parquet)")
    assert rows(path) == [{"x": "a", "y": None}]
