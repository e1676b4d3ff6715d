"""Values of functions in Python are kept: over runs, until something that they depend on changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import emdsl

from emdsl.digest import digest_bytes
from emdsl.frame import HookFault
from emdsl.hooks.hook import Hook, isolated
from emdsl.hooks.values import SUFFIX, UNKNOWN, Values, counts, files_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.value import Value

FILE = """
import os, subprocess, sys
sys.path.insert(0, os.path.dirname(__file__))
import words

def note(x):
    with open("calls.txt", "a") as file:
        file.write(f"{x}\\n")

def loud(x):
    note(x)
    return words.loud(x)

def table(x):
    note(x)
    return len(open("table.txt").read()) if os.path.exists("table.txt") and x == 1 else x

def listed(x):
    note(x)
    return os.listdir("many") if x == "list" else [entry.name for entry in os.scandir("many")]

def linked(x):
    note(x)
    return open("link.txt").read()

def opens(x):
    note(x)
    return open(x + ".txt").read()

def apart(x):
    note(x)
    return subprocess.run(["true"]).returncode

def fails(x):
    note(x)
    raise ValueError(x)
"""
CHECKS = 2  # the first calls are made twice


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    (tmp_path / "hooks.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "words.py").write_text("def loud(x): return x.upper()\n", encoding="utf-8")
    (tmp_path / "table.txt").write_text("four", encoding="utf-8")
    (tmp_path / "many").mkdir()
    (tmp_path / "link.txt").symlink_to("table.txt")
    return tmp_path


def value(folder: Path, name: str, *args: Value) -> tuple[Value, int]:
    """Return the value of a call as a new run makes it, and how often the function was called for it."""
    calls = folder / "calls.txt"
    calls.write_text("", encoding="utf-8")
    content = (folder / "hooks.py").read_bytes()
    isolated(folder / "hooks.py", content)
    values = Values(folder / "cache" / "hooks", folder, digest_bytes(content).hex(), folder / "hooks.py")
    hook = Hook(name, name, ("x",), folder / "hooks.py", content, values)
    try:
        return hook.value(list(args)), len(calls.read_text(encoding="utf-8").splitlines())
    except HookFault as fault:
        return str(fault), len(calls.read_text(encoding="utf-8").splitlines())


def only_file(cache: Path) -> Path:
    (path,) = (cache / "hooks").glob(f"*{SUFFIX}")
    return path


def write(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return edit


def point(folder: Path) -> None:
    (folder / "link.txt").unlink()
    (folder / "link.txt").symlink_to("words.py")


def damage(folder: Path) -> None:
    path = only_file(folder / "cache")
    path.write_bytes(path.read_bytes().replace(b'\\"A\\"', b'\\"B\\"').replace(b'"4"', b'"5"').replace(b"int", b"itn"))


def torn(folder: Path) -> None:
    path = only_file(folder / "cache")
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("name", "argument", "edit", "expected", "n_calls"),
    [
        ("loud", "a", lambda _: None, "A", 0),
        ("loud", "b", lambda _: None, "B", CHECKS),
        ("loud", "a", write("hooks.py", FILE + "\n# edited\n"), "A", CHECKS),
        ("loud", "a", write("words.py", "def loud(x): return x.upper() + '!'\n"), "A!", CHECKS),
        ("loud", "a", write("other.py", "an edit of what it does not read"), "A", 0),
        ("table", 1, lambda _: None, 4, 0),
        ("table", 1, write("table.txt", "seven  "), 7, CHECKS),
        ("table", 1, lambda folder: (folder / "table.txt").unlink(), 1, CHECKS),
        ("listed", "list", write("many/new.txt", ""), ("new.txt",), CHECKS),
        ("listed", "scan", write("many/new.txt", ""), ("new.txt",), CHECKS),
        ("listed", "list", write("other.txt", ""), (), 0),
        ("linked", "a", point, "def loud(x): return x.upper()\n", CHECKS),
        ("apart", 1, lambda _: None, 0, CHECKS),  # another program may have read anything
        ("fails", "a", lambda _: None, "raised ValueError: a (`hooks.py`, line 36)", CHECKS),
        ("loud", "a", damage, "A", CHECKS),
        ("table", 1, damage, 4, CHECKS),
        ("loud", "a", torn, "A", CHECKS),
    ],
)  # fmt: skip
def test_a_function_is_called_again_only_if_its_value_may_differ(
    folder: Path, name: str, argument: Value, edit: Callable[[Path], None], expected: Value, n_calls: int
) -> None:
    """By its source, its arguments, and the files that it has read; errors and damaged values are made again."""
    first = "a" if name == "loud" else argument
    assert value(folder, name, first)[1] == CHECKS
    edit(folder)
    assert value(folder, name, argument) == (expected, n_calls)
    if name not in ("apart", "fails"):
        assert value(folder, name, argument) == (expected, 0), "and it is kept again"


def test_a_copy_in_another_folder_has_values_of_its_own(folder: Path) -> None:
    """The same source reads the files beside it, and these differ."""
    assert value(folder, "loud", "a") == ("A", CHECKS)
    copy = folder / "copy"
    copy.mkdir()
    (copy / "hooks.py").write_text(FILE, encoding="utf-8")
    (copy / "words.py").write_text("def loud(x): return 'copy of ' + x\n", encoding="utf-8")
    content = FILE.encode()
    isolated(copy / "hooks.py", content)
    kept = Values(folder / "cache" / "hooks", folder, digest_bytes(content).hex(), copy / "hooks.py")
    assert Hook("loud", "loud", ("x",), copy / "hooks.py", content, kept).value(["a"]) == "copy of a"
    assert value(folder, "loud", "a") == ("A", 0)


def test_files_are_named_for_who_watches_them(folder: Path) -> None:
    """The module and the data file, and not the standard library; a value that holds no longer names none."""
    value(folder, "table", 1)
    sha256 = digest_bytes((folder / "hooks.py").read_bytes()).hex()
    read = files_read(folder / "cache" / "hooks", folder, [sha256])
    assert {Path(name).name for name in read} == {"words.py", "table.txt"}
    assert counts(folder / "cache" / "hooks")[only_file(folder / "cache").name].values == 1
    (folder / "words.py").write_text("", encoding="utf-8")
    assert files_read(folder / "cache" / "hooks", folder, [sha256]) == {}


def test_what_a_call_without_a_kept_value_depends_on_is_named(folder: Path) -> None:
    """An error may end with the file that it lacked; of another program nothing is known, so no run is up to date."""
    sha256 = digest_bytes((folder / "hooks.py").read_bytes()).hex()
    assert str(value(folder, "opens", "a")[0]).startswith("raised FileNotFoundError")
    assert files_read(folder / "cache" / "hooks", folder, [sha256])[str(folder / "a.txt")] == ""
    (folder / "a.txt").write_text("now", encoding="utf-8")
    assert files_read(folder / "cache" / "hooks", folder, [sha256]) == {}
    assert value(folder, "opens", "a") == ("now", CHECKS)
    value(folder, "apart", 1)
    assert UNKNOWN in files_read(folder / "cache" / "hooks", folder, [sha256]).values()


def test_processes_write_at_the_same_time(folder: Path) -> None:
    """Lines of several writers stand whole; what both computed counts once."""
    ways = [Values(folder / "cache" / "hooks", folder, "00", folder / "hooks.py") for _ in range(3)]
    for i in range(50):
        for n, values in enumerate(ways):
            values.add(f"call {i if n else 0}", f'"{i}"', {str(folder / "words.py"): ""} if n == 2 else {})
    ways.clear()
    assert counts(folder / "cache" / "hooks")[only_file(folder / "cache").name].values == 50
    assert counts(folder / "cache" / "hooks")[only_file(folder / "cache").name].damaged == 0
    again = Values(folder / "cache" / "hooks", folder, "00", folder / "hooks.py")
    assert again.get("call 49") == '"49"'
    assert again.get("call 50") is None


STUDY = """em 1
python loud(text) -> text from "hooks.py"
experiment e {
  for q in ["one", "two", "two!"]
  samples = 2
  ask answer from "sim/subject" with loud(q)
  let shouted = loud(if q == "one" then "1st" else "other")
}
"""


def test_a_second_run_calls_nothing(folder: Path) -> None:
    """Rows with the same arguments share one call; the verbs of the cache count and remove the values."""
    (folder / "study.em").write_text(STUDY, encoding="utf-8")
    calls = folder / "calls.txt"

    def output(*call: str) -> str:
        calls.write_text("", encoding="utf-8")
        return emdsl(*call, cwd=folder).stdout

    output("run", "study.em", "--sim")
    texts = calls.read_text(encoding="utf-8").splitlines()
    assert {text: texts.count(text) for text in texts} == dict.fromkeys(("one", "two", "two!", "1st", "other"), CHECKS)
    (folder / "study.em").write_text(STUDY.replace("samples = 2", "samples = 3"), encoding="utf-8")
    output("run", "study.em", "--sim")
    assert calls.read_text(encoding="utf-8") == ""
    assert json.loads(output("cache", "stats", "--sim", "--json"))["hook_values"] == 5
    assert "5 values of functions in Python, all sound" in output("cache", "verify", "--sim")
    assert json.loads(output("cache", "gc", "study.em", "--sim", "--json"))["hook_values"] == 0
    output("run", "study.em", "--sim")
    (folder / "words.py").write_text("def loud(x): return x.upper() + '!'\n", encoding="utf-8")
    output("run", "study.em", "--sim")
    assert "one" in calls.read_text(encoding="utf-8"), "the short way of a finished run knows what hooks read"
    old = only_file(folder / "cache" / "sim")
    (folder / "hooks.py").write_text(FILE + "\n# edited\n", encoding="utf-8")
    assert "5 values of functions in Python that no file uses deleted" in output(
        "cache", "gc", "study.em", "--sim", "--yes"
    )
    assert old != only_file(folder / "cache" / "sim")
