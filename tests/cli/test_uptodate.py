"""The short way of an up-to-date run: quick, and never stale."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import clean_environment, emdsl

from emdsl.compiler.compile import compile_file
from emdsl.outcomes.load_ids import load_id
from emdsl.store.removals import store_version
from emdsl.study import uptodate
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
import extra from "extra.em"
dataset rows { file = "rows.csv" }
experiment e {
  for r in rows
  samples = 3
  ask answer from "sim/subject" with "{r.q} {extra}"
  judge aligned with alignment(r.q, answer) from "sim/judge"
  measure low = rate(aligned < 30)
}
"""
HEAVY = (
    "lark", "duckdb", "pyarrow", "numpy", "pandas", "aiohttp", "pydantic", "asyncio", "ssl", "diskcache", "zstandard",
    "rich", "yaml", "difflib", "textwrap", "importlib.resources", "importlib.metadata", "emdsl.source",
    "emdsl.compiler.compile",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    (tmp_path / "extra.em").write_text('em 1\nlet extra = "please"\n', encoding="utf-8")
    (tmp_path / "rows.csv").write_text("q\none\ntwo\n", encoding="utf-8")
    for path in tmp_path.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    emdsl("run", "study.em", cwd=tmp_path)
    return tmp_path


def again(folder: Path, *args: str, env: dict[str, str] | None = None) -> tuple[str, bool]:
    """Run the study again; return what it printed, and whether it took the short way: it shows no plan."""
    shown = emdsl("run", "study.em", *args, cwd=folder, env=env, code=None).stdout
    return shown, json.loads(shown)["wall_s"] == 0 if "--json" in args else "  step  " not in shown


def test_nothing_heavy_is_imported(folder: Path) -> None:
    """And what is printed is what the long way prints."""
    code = f"""
import sys
sys.argv = ["emdsl", "run", "study.em"]
from emdsl.cli.main import main
try:
    main()
finally:
    print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)
"""
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
    shown, short = again(folder)
    assert short
    assert done.stdout == shown
    (folder / "cache" / "uptodate").rename(folder / "gone")
    long, was_short = again(folder)
    assert not was_short
    assert long.endswith(shown)
    assert "0 answered, 12 cached" in shown


def test_json_too(folder: Path) -> None:
    """One object, with no request."""
    again(folder, "--json")
    shown, short = again(folder, "--json")
    assert short
    found: Any = json.loads(shown)
    assert found["requests"] == 0
    assert [s["cached"] for s in found["experiments"][0]["steps"]] == [6, 6]


def planned(folder: Path, *args: str) -> tuple[Any, bool]:
    """Plan the study; return the plan, and whether it took the short way."""
    plan: Any = json.loads(emdsl("plan", "study.em", "--json", *args, cwd=folder).stdout)
    return plan, plan["wall_s"] == 0


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def unseen(folder: Path) -> None:
    """An edit of the same length, with the time of the last one put back."""
    path = folder / "rows.csv"
    before = path.stat()
    edit("rows.csv", "two", "six")(folder)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def linked(folder: Path) -> None:
    """Another file of the same name, in one step."""
    (folder / "fresh.csv").write_text("q\none\nsix\n", encoding="utf-8")
    (folder / "fresh.csv").replace(folder / "rows.csv")


def removed(folder: Path) -> None:
    with sqlite3.connect(folder / "cache" / "answers" / "cache.db") as database:
        database.execute("DELETE FROM Cache WHERE rowid = 1")


def reloaded(folder: Path) -> None:
    """An edited measure, loaded by `show`, and taken back: the database holds another load."""
    edit("study.em", "aligned < 30", "aligned < 50")(folder)
    emdsl("show", "study.em", cwd=folder)
    edit("study.em", "aligned < 50", "aligned < 30")(folder)


def dropped(folder: Path) -> None:
    emdsl("cache", "drop", "--where", "sample = 1", "--yes", cwd=folder)


def variable(folder: Path) -> None:
    (folder / ".env").write_text("X=1\n", encoding="utf-8")


def swapped(folder: Path) -> None:
    """A link that leads to another file of the same times."""
    (folder / "rows.csv").unlink()
    (folder / "rows.csv").symlink_to("rows2.csv")


def another_store(folder: Path) -> None:
    """A fresh store, as many times cleared as the old one: never."""
    shutil.rmtree(folder / "cache" / "answers")
    (folder / "other.em").write_text(STUDY.replace("{extra}", "{extra}."), encoding="utf-8")
    emdsl("run", "other.em", cwd=folder)


CHANGES: list[tuple[str, Callable[[Path], None]]] = [
    ("the program", edit("study.em", "aligned < 30", "aligned < 31")),
    ("a comment of it", edit("study.em", "em 1\n", "em 1\n# said\n")),
    ("an import", edit("extra.em", "please", "now")),
    ("a dataset", edit("rows.csv", "two", "three")),
    ("unseen", unseen),
    ("renamed into place", linked),
    ("an entry removed", removed),
    ("dropped", dropped),
    ("loaded anew", reloaded),
    ("database gone", lambda f: (f / "cache" / "outcomes.duckdb").unlink()),
    ("store gone", lambda f: (f / "cache" / "answers" / "cache.db").unlink()),
    ("a .env", variable),
    ("another store", another_store),
]


@pytest.mark.parametrize("change", [c for _, c in CHANGES], ids=[n for n, _ in CHANGES])
def test_what_it_read_has_changed(folder: Path, change: Callable[[Path], None]) -> None:
    """Then a plan and a run look for themselves: those of a finished study are not older than anything it has read."""
    assert again(folder)[1]
    first, _ = planned(folder)
    assert planned(folder) == (first | {"wall_s": 0}, True)
    change(folder)
    assert not planned(folder)[1]
    assert not again(folder)[1]


def test_a_plan_is_kept_for_its_own_options_and_until_anything_is_run(folder: Path) -> None:
    planned(folder, "--samples", "2")
    assert planned(folder, "--samples", "2")[1]
    assert not planned(folder)[1]
    assert not planned(folder, "--by", "r")[1]
    (folder / "other.em").write_text(STUDY.replace("{extra}", "{extra}."), encoding="utf-8")
    assert planned(folder)[1]
    emdsl("run", "other.em", cwd=folder)
    assert not planned(folder)[1]


def test_a_plan_with_requests_is_made_anew(folder: Path) -> None:
    edit("study.em", "samples = 3", "samples = 4")(folder)
    planned(folder)
    assert not planned(folder)[1]


def test_a_link_that_leads_elsewhere(folder: Path) -> None:
    """The file behind it is as it was; it is no longer the one that is read."""
    (folder / "rows1.csv").write_text("q\none\ntwo\n", encoding="utf-8")
    (folder / "rows2.csv").write_text("q\none\nsix\n", encoding="utf-8")
    (folder / "rows.csv").unlink()
    (folder / "rows.csv").symlink_to("rows1.csv")
    again(folder)
    assert again(folder)[1]
    swapped(folder)
    assert not again(folder)[1]


def test_what_was_edited_or_dropped_while_it_ran_is_not_taken_for_read(folder: Path) -> None:
    """The record holds what the run began with, or there is none."""
    here = open_project(folder / "study.em", None, None)
    program = compile_file(folder / "study.em", here.environment)
    load = load_id(here.cache, "study")
    assert load is not None
    now = store_version(here.cache / "answers")
    assert now is not None
    for change, run, before in (
        (edit("rows.csv", "two", "six"), load, now),
        (edit("rows.csv", "six", "two"), "another load", now),
        (edit("rows.csv", "two", "two"), load, now._replace(removals=99)),
    ):
        change(folder)
        uptodate.keep(here, folder / "study.em", ("run",), program, run, before, [("said", False)], exact=False)
        assert uptodate.find(here, folder / "study.em", ("run",)) is None
    uptodate.keep(here, folder / "study.em", ("run",), program, load, now, [("said", False)], exact=False)
    assert uptodate.find(here, folder / "study.em", ("run",)) == [("said", False)]


def test_a_store_that_was_put_back_from_a_copy(folder: Path) -> None:
    """What was stored since is gone again."""
    answers = folder / "cache" / "answers"
    shutil.copytree(answers, folder / "backup")
    edit("study.em", "samples = 3", "samples = 4")(folder)
    emdsl("run", "study.em", cwd=folder)
    assert again(folder)[1]
    shutil.rmtree(answers)
    (folder / "backup").rename(answers)
    assert not again(folder)[1]


def test_a_part_shows_what_else_is_stored(folder: Path) -> None:
    """A restricted run's tables hold all rows: when more is stored, they are made anew."""
    emdsl("cache", "drop", "--where", "sample > 0", "--yes", cwd=folder)
    again(folder, "--samples", "1")
    assert again(folder, "--samples", "1")[1]
    (folder / "other.em").write_text(STUDY.replace("experiment e", "experiment other"), encoding="utf-8")
    emdsl("run", "other.em", cwd=folder)
    shown, short = again(folder, "--samples", "1")
    assert not short
    assert "incomplete" not in shown


def test_another_call_is_another_matter(folder: Path) -> None:
    """Fewer samples, JSON, a part of the grid."""
    for args in (["--samples", "1"], ["--json"], ["--sim"], ["--cache", "elsewhere"]):
        assert not again(folder, *args)[1], args


def test_other_studies_do_not_disturb_it(folder: Path) -> None:
    """Their answers and their loads are not its own."""
    (folder / "other.em").write_text(STUDY.replace("please", "thank you"), encoding="utf-8")
    emdsl("run", "other.em", cwd=folder)
    assert again(folder)[1]


def test_a_file_saved_just_now_is_read_again(folder: Path) -> None:
    """Within two seconds of its saving a file may change unseen: its content decides."""
    edit("study.em", "aligned < 30", "aligned < 40")(folder)
    soon = time.time() + 3_600  # however busy the machine is, the file is read within two seconds of that
    os.utime(folder / "study.em", (soon, soon))
    again(folder)
    record = next((folder / "cache" / "uptodate").glob("*.json"))
    noted = json.loads(record.read_text(encoding="utf-8"))["files"][str(folder / "study.em")]
    assert noted[0] == [], "its times are not believed"
    assert again(folder)[1]
