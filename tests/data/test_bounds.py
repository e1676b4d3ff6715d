"""Files of strangers are read within bounds of time and memory: each that cannot be is told, and what it is."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from speed import within, within_cpu
from support import emdsl, program

from emdsl import files
from emdsl.data import records
from emdsl.data.dataset import read_dataset
from emdsl.data.records import DataError
from emdsl.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    found = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        found.bind(str(path))
    found.close()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = [(pipe, "a pipe"), (listening, "a socket"), (device, "a device"), (Path.mkdir, "a folder")]


@pytest.mark.parametrize(("make", "called"), KINDS, ids=[called for _, called in KINDS])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".yaml", ".parquet"])
def test_what_is_no_file_is_not_waited_for(
    make: Callable[[Path], None], called: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody writes to, a device without end."""
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    make(Path(f"d{ending}"))
    with within(2), pytest.raises(DataError, match=called):
        read_dataset("d", Path(f"d{ending}"), None, None)


@pytest.mark.parametrize(("make", "called"), KINDS, ids=[called for _, called in KINDS])
def test_no_verb_waits_for_what_is_no_file(make: Callable[[Path], None], called: str, tmp_path: Path) -> None:
    """Programs, plans, SQL, logs and bundles."""
    for name in ("s.em", "p.json", "q.sql", "l.jsonl", "b.emdsl"):
        with suppress(OSError):  # a socket whose path is too long
            make(tmp_path / name)
    calls = [
        ("check", "s.em", 2),
        ("run", "p.json", 2),
        ("cache", "import", "l.jsonl", 2),
        ("cache", "import", "b.emdsl", 1),
    ]
    for *call, _ in calls:
        if (tmp_path / str(call[-1])).exists():
            done = emdsl(*map(str, call), cwd=tmp_path, code=None)
            assert done.returncode in (1, 2), call
            assert "Traceback" not in done.stderr
            assert called in done.stderr or "not a file" in done.stderr or "folder" in done.stderr, (call, done.stderr)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its size, before its content."""
    monkeypatch.setattr(files, "MAX_FILE", 1_000)
    monkeypatch.setattr(files.read_whole, "__defaults__", (1_000,))
    (tmp_path / "d.jsonl").write_text('{"q": 1}\n' * 200, encoding="utf-8")
    with pytest.raises(DataError, match="larger than 1,000 bytes"):
        read_dataset("d", tmp_path / "d.jsonl", None, None)


def test_a_parquet_file_that_unpacks_to_more_than_fits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value of a megabyte, two hundred times, in some kilobytes."""
    monkeypatch.setattr(records, "MAX_UNPACKED", 20 * 2**20)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"q": column}), tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").stat().st_size < 2 * 2**20
    with within(10), pytest.raises(DataError, match=r"unpacks to more than|memory"):
        read_dataset("d", tmp_path / "d.parquet", None, None)


@pytest.mark.parametrize("ending", [".json", ".yaml"])
@pytest.mark.parametrize("doubled", [False, True])
def test_an_object_of_20_000_fields_is_read_in_linear_time(ending: str, doubled: bool, tmp_path: Path) -> None:
    """It took 40 seconds; with a field that stands twice, too."""
    fields = [f'"k{i}": "v"' for i in range(20_000)] + ['"k7": "w"'] * doubled
    (tmp_path / f"d{ending}").write_text("[{" + ", ".join(fields) + "}]", encoding="utf-8")
    with within_cpu(5):
        if doubled:
            with pytest.raises(DataError, match="`k7` appears twice"):
                read_dataset("d", tmp_path / f"d{ending}", {"q": "k1"}, None)
        else:
            assert len(read_dataset("d", tmp_path / f"d{ending}", {"q": "k1"}, None).rows) == 1


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("for a in 1..3000\n for b in 1..3000\n for c in 1..3000\n for d in 1..3000", "81,000,000,000,000 cells"),
        ("for a in 1..11000\n for b in 1..11000\n skip when a == b", "121,000,000 cells"),
        ("for a in 1..2000\n samples = 1000000", "2,000,000,000 rows"),
    ],
)
def test_a_grid_that_no_plan_would_end_is_told_by_counting(grid: str, said: str) -> None:
    """Before anything goes through its cells."""
    with within_cpu(5), pytest.raises(SourceError) as raised:
        program(f'experiment e {{\n {grid}\n ask x from "sim/subject" with "{{a}}"\n}}')
    (fault,) = [d for d in raised.value.diagnostics if d.code[0] == "E"]
    assert fault.code == "E422"
    assert said in fault.message


PLAN = {"emdsl_plan": 1, "file": "s.em", "only": [], "simulate": False, "digests": {}, "ready": {}, "requests": 1}


@pytest.mark.parametrize(
    "plan",
    [
        PLAN | {"digests": {"e": 5}}, PLAN | {"ready": {"a": ["x"]}}, PLAN | {"file": 3}, PLAN | {"only": 3},
        PLAN | {"only": [3]}, PLAN | {"requests": None}, PLAN | {"samples": "many"}, PLAN | {"file": "a\0b"},
        {"emdsl_plan": 1}, [], None, "plan", {"emdsl_plan": [1]}, PLAN | {"requests": 1e400}, PLAN | {"digests": []},
    ],
    ids=range(15),
)  # fmt: skip
def test_a_plan_of_another_shape_is_no_plan(plan: Any, tmp_path: Path) -> None:
    """Whatever JSON it holds: told, with how to write one."""
    (tmp_path / "p.json").write_text(json.dumps(plan), encoding="utf-8")
    assert "is not a plan; `emdsl plan FILE.em -o plan.json`" in emdsl("run", "p.json", cwd=tmp_path, code=2).stderr


def test_a_plan_that_is_nested_without_end_is_no_plan(tmp_path: Path) -> None:
    """A hundred thousand brackets."""
    (tmp_path / "p.json").write_text("[" * 100_000, encoding="utf-8")
    assert "is not a plan" in emdsl("run", "p.json", cwd=tmp_path, code=2).stderr
