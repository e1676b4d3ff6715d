"""Functions in Python: pure, apart, without variables or network, and never left behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import clean_environment, outcomes, program, run

from emdsl.errors import HookError, SourceError
from emdsl.frame import HookFault
from emdsl.hooks import hook as hooks
from emdsl.hooks.hook import Hook
from emdsl.outcomes import database, loading
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
import os, random, socket, sys, time
print("this is no reply")

def strip(text):
    print("nor is this")
    return text.replace("*", "")

def kinds(x):
    return {"n": x * 2, "half": 0.5, "list": [1, True, None], "type": type(x).__name__}

def variables(x):
    return str(dict(os.environ))

def reach(port):
    try:
        socket.create_connection(("127.0.0.1", int(port)), 3).close()
    except OSError:
        return "cut off"
    return "reached"

def noise(x): return str(random.random())
def clock(x): return str(time.time_ns())
def order(x): return "".join({"a", "b", "c", "d", "e", "f", "g", "h"})
def fails(x): return [][1]
def leaves(x): sys.exit(3)
def object_(x): return object()
def slow(x): time.sleep(60)
def ends(x): os._exit(1)
def picky(text): return {"simulated": 1}[text]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def hook(folder: Path, name: str) -> Hook:
    return Hook(name, name, ("x",), folder / "hooks.py", FILE.encode())


def test_values_arrive_and_come_back_as_what_they_are(folder: Path) -> None:
    """Exact numbers, texts, lists and dicts; what is printed is no reply."""
    found = hook(folder, "kinds").value([3])
    assert found.get("n") == 6
    assert str(found.get("half")) == "0.5"
    assert found.get("list") == (1, True, None)
    assert hook(folder, "strip").value(["**a**"]) == "a"


def test_nothing_of_the_machine_gets_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment; no network, where the system lets a process leave it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    assert hook(folder, "variables").value([1]) == "{}"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        reached = hook(folder, "reach").value([server.getsockname()[1]])
    assert reached == ("cut off" if hooks.isolated(folder / "hooks.py", FILE.encode()) else "reached")


@pytest.mark.parametrize("name", ["noise", "clock", "order"])
def test_what_is_not_pure_is_found_out(folder: Path, name: str) -> None:
    """Randomness, a clock, the order of a set: one call has one value."""
    with pytest.raises(HookError, match="not pure"):
        hook(folder, name).value([1])


def test_a_process_that_ends_or_hangs_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, no wait without end."""
    with pytest.raises(HookFault, match="ended its process"):
        hook(folder, "ends").value([1])
    assert hook(folder, "strip").value(["*b*"]) == "b"
    monkeypatch.setattr(hooks, "CALL_S", 0.5)
    slow = hook(folder, "slow")
    for i in range(4):
        with pytest.raises(HookFault, match="timed out in 3 calls" if i == 3 else "took more than"):
            slow.value([i])
    assert hook(folder, "strip").value(["*c*"]) == "c", "the next call gets a process of its own"


STUDY = """
python strip(text) from "hooks.py"
python NAME(text) from "hooks.py"
experiment e {
  samples = 2
  ask answer from "sim/subject" with strip("*hi*")
  let plain = NAME(answer)
  ask again from "sim/subject" with "{plain}?"
}
"""


def test_a_function_stands_between_an_answer_and_a_prompt(folder: Path) -> None:
    """Its value is what is sent, so its output is in the key; a function that raises makes its row missing."""
    store = MemoryStore()
    run(STUDY.replace("NAME", "variables"), store, folder=folder)
    (found,) = program(STUDY.replace("NAME", "variables"), folder).experiments
    assert [m.text for row in outcomes(found, store) for m in row.results["again"].query.prompt.messages] == ["{}?"] * 2  # type: ignore[union-attr]  # all were asked
    assert {row.results["answer"].query.prompt.messages[0].text for row in outcomes(found, store)} == {"hi"}  # type: ignore[union-attr]  # no row lacks its request
    run(STUDY.replace("NAME", "fails"), store, folder=folder)
    (found,) = program(STUDY.replace("NAME", "fails"), folder).experiments
    assert {row.frame["plain"] for row in outcomes(found, store)} == {Missing("invalid")}


def test_where_no_network_can_be_left_that_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that could reach the network is a warning at its declaration."""
    monkeypatch.setattr("emdsl.compiler.hooks.isolated", lambda *_: False)
    found = program(STUDY.replace("NAME", "variables"), folder)
    assert [d.code for d in found.warnings if d.code == "W621"] == ["W621"] * 2


def test_an_edit_of_the_file_is_an_edit_of_the_program(folder: Path) -> None:
    """What a hook says may change what is asked: the digest of the program knows its file."""
    text = STUDY.replace("NAME", "variables")
    before = program(text, folder).digest
    (folder / "hooks.py").write_text(FILE + "\n# edited\n", encoding="utf-8")
    assert program(text, folder).digest != before


@pytest.mark.parametrize("path", ["../hooks.py", "link.py"])
def test_only_files_of_the_project(folder: Path, path: str) -> None:
    """Neither `..` nor a link leads out of it."""
    inner = folder / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").touch()
    (inner / "link.py").symlink_to(folder / "hooks.py")
    with pytest.raises(SourceError) as caught:
        program(STUDY.replace("NAME", "variables").replace("hooks.py", path), inner)
    assert {d.code for d in caught.value.diagnostics} == {"E621"}


def test_no_process_is_left(folder: Path) -> None:
    """Whatever ends the command ends its workers."""
    (folder / "s.em").write_text("em 1" + STUDY.replace("NAME", "variables"), encoding="utf-8")
    command = [sys.executable, "-m", "emdsl", "check", "s.em"]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [x for x in listed.splitlines() if str(folder / "hooks.py") in x]


MEASURED = """
python words(text){kind} from "w.py"
python odd(text) from "w.py"
experiment e {{
  for q in ["one", "two"]
  ask answer from "sim/subject" with q
  let n = words(answer)
  let o = odd(answer)
  measure length = mean(n) by q
  measure stop = rate(answer.finish == "stop") by q
  {more}
}}
"""
COUNTS = """
def words(text): return len(text.split())
def odd(text): return "many"
"""


def columns(folder: Path, kind: str, more: str) -> tuple[list[str], dict[str, str], list[tuple[object, ...]]]:
    """Return what is said of a load, the types of both lets, and the rows of a measure."""
    (folder / "w.py").write_text(COUNTS, encoding="utf-8")
    found, store = program(MEASURED.format(kind=kind, more=more), folder), MemoryStore()
    run(found, store)
    (only,) = found.experiments
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    notices = loading.load(folder, load, [(only, collect(Rows(only), store, {}))])
    with database.opened(folder, "s") as (connection, _):
        types = {c.name: c.kind for c in only.columns}
        return notices, types, database.select(connection, "SELECT length_.mean, n FROM s.length AS length_").rows


@pytest.mark.parametrize("kind", ["", " -> number"])
def test_a_number_from_python_is_a_number(tmp_path: Path, kind: str) -> None:
    """By its type, or by its use: `mean(words(answer))` ended in an error of the database."""
    notices, types, rows = columns(tmp_path, kind, "")
    assert (notices, types["n"]) == ([], "double")
    assert all(isinstance(mean, float) and mean > 3 and n == 1 for mean, n in rows)


def test_what_is_no_number_is_missing_and_blocks_nothing(tmp_path: Path) -> None:
    """A measure over texts as numbers keeps none of them; the others are as they were."""
    notices, _, rows = columns(tmp_path, "", "measure bad = mean(o) by q")
    assert notices == []
    assert len(rows) == 2
    with database.opened(tmp_path, "s") as (connection, _):
        assert database.select(connection, "SELECT n, dropped FROM s.bad").rows == [(0, {"invalid": 1})] * 2


def test_a_value_of_another_type_is_told(tmp_path: Path) -> None:
    """A type that is said is kept to; one that there is not is refused."""
    (tmp_path / "w.py").write_text(COUNTS.replace("len(text.split())", "text"), encoding="utf-8")
    store = MemoryStore()
    found = program(MEASURED.format(kind=" -> number", more=""), tmp_path)
    run(found, store)
    assert {r.frame["n"] for r in outcomes(found.experiments[0], store)} == {Missing("invalid")}
    with pytest.raises(SourceError, match="E623"):
        program(MEASURED.format(kind=" -> float", more=""), tmp_path)
