"""Several files as one dataset: their order, their digest, what is new or gone, and bounds of packed files."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from file_shapes import fault, lines, rows
from support import emdsl, program

from emdsl import files
from emdsl.data import records

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
dataset d { file = "data/t-*.jsonl.gz" }
experiment e {
  for q in d
  ask a from "sim/subject" with "{q.t}"
}
"""


def write(folder: Path, **contents: str) -> None:
    """Write files `t-NAME.jsonl.gz` with one row each."""
    (folder / "data").mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / "data" / f"t-{name}.jsonl.gz").write_bytes(gzip.compress(lines({"id": name, "t": text}), mtime=0))


def test_files_are_read_by_name_whatever_order_they_were_written_in(tmp_path: Path) -> None:
    """By code points, as `LC_ALL=C ls` lists them; positions go on from file to file; hidden files are left out."""
    for name in ("b", "a10", "a9", "B", ".x"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n", encoding="utf-8")
    assert [r["value"] for r in rows(tmp_path, 'file = "*.txt"')] == ["B", "a10", "a9", "b"]
    study = 'dataset d { file = "*.txt" }\nexperiment e {\nfor q in d\nask a from "sim/subject" with "{q.position}"\n}'
    (only,) = program(study, tmp_path).experiments
    assert [level.value.position for level in only.axes[0].levels] == [0, 1, 2, 3]


def test_a_file_whose_name_looks_like_a_pattern_is_one_file(tmp_path: Path) -> None:
    """As before there were patterns."""
    (tmp_path / "a[1].txt").write_text("one\n", encoding="utf-8")
    (tmp_path / "a1.txt").write_text("another\n", encoding="utf-8")
    assert rows(tmp_path, 'file = "a[1].txt"') == [{"value": "one"}]
    (tmp_path / "a[1].txt").unlink()
    assert rows(tmp_path, 'file = "a[1].txt"') == [{"value": "another"}]


def test_the_pin_of_several_files_is_that_of_their_bytes(tmp_path: Path) -> None:
    """As a shell computes it; one byte more is another one."""
    write(tmp_path, a="x", b="y")
    command = "LC_ALL=C; cat data/t-*.jsonl.gz | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    settings = f'file = "data/t-*.jsonl.gz"\nsha256 = "{printed[:16]}"'
    assert [r["t"] for r in rows(tmp_path, settings)] == ["x", "y"]
    write(tmp_path, c="z")
    assert "has changed" in fault(tmp_path, settings).message


def test_a_pattern_without_files_can_be_obtained(tmp_path: Path) -> None:
    """Until one of them is there."""
    text = STUDY.replace('gz" }', 'gz", columns = { t: "t" }, obtain = "run get.sh" }')
    assert [d.code for d in program(text, tmp_path).warnings] == ["W601"]
    write(tmp_path, a="x")
    assert [d.code for d in program(text, tmp_path).warnings] == []


def test_a_row_of_one_file_that_lacks_a_column_is_named_with_its_file(tmp_path: Path) -> None:
    """Columns are those of the first file."""
    for name, row in {"a": {"x": 1, "y": 2}, "b": {"x": 1}}.items():
        (tmp_path / f"{name}.jsonl").write_bytes(lines(row))
    assert fault(tmp_path, 'file = "?.jsonl"').message.startswith("`b.jsonl`, row 1 (line 1): no column or field `y`")


def planned(folder: Path) -> tuple[dict[str, Any], bool]:
    """Return a plan, and whether it took the short way."""
    plan: Any = json.loads(emdsl("plan", "s.em", "--json", cwd=folder).stdout)
    return plan["experiments"][0], plan["wall_s"] == 0


def test_a_plan_sees_files_that_come_change_and_go(tmp_path: Path) -> None:
    """A new file ends the short way of a finished study; a plan compares with the files of the last run."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.em").write_text(STUDY, encoding="utf-8")
    write(tmp_path, a="one", b="two")
    for path in (tmp_path / "data").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    emdsl("run", "s.em", cwd=tmp_path)
    planned(tmp_path)
    assert planned(tmp_path)[1]
    write(tmp_path, c="three")
    plan, short = planned(tmp_path)
    assert not short
    assert [r["reason"] for r in plan["why"]] == ["new value q = c"]
    (tmp_path / "data" / "t-a.jsonl.gz").unlink()
    write(tmp_path, b="other")
    plan, _ = planned(tmp_path)
    assert sorted(r["reason"] for r in plan["why"]) == ["new value q = c", "prompt text changed (5 characters)"]
    (record,) = (tmp_path / "cache" / "runs").glob("*.json")
    assert sorted(json.loads(record.read_text())["files"]) == ["data/t-a.jsonl.gz", "data/t-b.jsonl.gz", "s.em"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_packed_file_unpacks_within_a_bound(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes hold twenty megabytes; the bound is that of all files together."""
    pack = gzip.compress if ending == ".gz" else zstandard.ZstdCompressor().compress
    half = pack(b'{"q": "' + b" " * 600_000 + b'"}\n')
    (tmp_path / f"a.jsonl{ending}").write_bytes(half)
    assert len(rows(tmp_path, f'file = "a.jsonl{ending}"')) == 1
    monkeypatch.setattr(records, "MAX_UNPACKED", 2**20)
    assert len(rows(tmp_path, f'file = "a.jsonl{ending}"')) == 1
    (tmp_path / f"b.jsonl{ending}").write_bytes(half)
    assert fault(tmp_path, f'file = "*.jsonl{ending}"').message == (
        f"`b.jsonl{ending}` unpacks to more than the maximum of 1 MiB"
    )
    (tmp_path / f"c.jsonl{ending}").write_bytes(pack(b" " * 20 * 2**20))
    assert "unpacks to more than" in fault(tmp_path, f'file = "c.jsonl{ending}"').message


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_files_of_several_parts_and_damaged_ones(ending: str, tmp_path: Path) -> None:
    """Parts are read one after the other; a cut file is an error, and so is one that is not packed."""
    pack = gzip.compress if ending == ".gz" else zstandard.ZstdCompressor().compress
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(pack(lines({"q": 1})) + pack(lines({"q": 2})))
    assert rows(tmp_path, f'file = "{path.name}"') == [{"q": 1}, {"q": 2}]
    path.write_bytes(pack(lines({"q": 1}))[:-4])
    assert "cannot be unpacked: it ends too early" in fault(tmp_path, f'file = "{path.name}"').message
    path.write_bytes(lines({"q": 1}))
    assert "cannot be unpacked" in fault(tmp_path, f'file = "{path.name}"').message


def test_a_pattern_matches_a_bounded_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their content is bounded together."""
    monkeypatch.setattr(files, "MAX_MATCHES", 2)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text("x" * 1_000, encoding="utf-8")
    assert "more than 2 files match it" in fault(tmp_path, 'file = "*.txt"').message
    assert len(rows(tmp_path, 'file = "[ab].txt"')) == 2
    monkeypatch.setattr(records, "MAX_UNPACKED", 1_500)
    assert "`b.txt` unpacks to more than" in fault(tmp_path, 'file = "[ab].txt"').message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a", 1.50]', ("a", "1.5")), ("['a', None, True]", ("a", "None", "True")), ("('a',)", ("a",)),
        ("['a' 'b']", None), ("[__import__('os')]", None), ("[1e999999]", None), ("[" * 100_000, None), ("Yes", None),
        ("[float('nan')]", None), ('["a"', None), ("[1, {2}]", None), ("['a\\n', b'c']", None),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_path_goes_into_a_text_that_holds_a_list(text: str, value: tuple[str, ...] | None, tmp_path: Path) -> None:
    """JSON, or a literal of Python; anything else is named, and nothing is run."""
    (tmp_path / "a.jsonl").write_bytes(lines({"c": text}))
    settings = 'file = "a.jsonl"\ncolumns = { list: "c.*" }'
    if value is None:
        assert "neither JSON nor a list of Python" in fault(tmp_path, settings).message
    else:
        assert [tuple(map(str, r["list"])) for r in rows(tmp_path, settings)] == [value]
