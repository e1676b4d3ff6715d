"""Rows that several processes make: plans, reasons and tables are those of one process, whatever happens to them."""

from __future__ import annotations

import io
import os
import signal
import time
from contextlib import redirect_stdout
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import windowed
from support import ROOT, THOROUGH

from emdsl.errors import SourceError
from emdsl.study import row_making, row_processes
from emdsl.study.child import started
from emdsl.study.compiled import Compiled, compile_study
from emdsl.study.options import RunOptions
from emdsl.study.plan import Plan, make_plan
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale
from emdsl.study.run import run_study
from experiments import test_studies as shipped

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

folder = shipped.folder  # a fixture
STUDY = """em 1
import alignment from "std:judges@1"
model subject { use = "sim/subject", temperature = 1 }
model other from subject { temperature = 0.5 }
experiment first {
  for k in 0..6
  for who in [subject, other]
  samples = 9
  ask answer from who with "{k} what is a question?"
  judge aligned with alignment("a question", answer) from "sim/judge"
  when aligned < 60 { ask again from who with "Is this right? {answer}" }
  measure low = rate(aligned < 30) by k
}
experiment shared {
  for j in 0..12
  samples = 5
  ask answer from subject with "{j} what is a question?"
}
"""


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every study be large, of windows of few rows; return what came from other processes."""
    came: list[int] = []
    enter, arrived = row_processes.RowProcesses.__enter__, row_processes.RowProcesses._arrived

    def wait(self: row_processes.RowProcesses) -> row_processes.RowProcesses:
        enter(self)
        while not all(p.ready or not p._thread.is_alive() for p in self._processes):
            time.sleep(0.01)
        return self

    def note(self: row_processes.RowProcesses, process: Any, record: bytes, table: bytes) -> None:
        came.append(len(record))
        arrived(self, process, record, table)

    monkeypatch.setattr(row_processes.RowProcesses, "__enter__", wait)
    monkeypatch.setattr(row_processes.RowProcesses, "_arrived", note)
    monkeypatch.setattr(row_processes, "LARGE", 1)
    monkeypatch.setattr(row_making, "SIZE", 10)
    return came


def compiled(folder: Path, text: str = STUDY) -> Compiled:
    (folder / "pyproject.toml").touch()
    file = folder / "study.em"
    file.write_text(text, encoding="utf-8")
    return compile_study(open_project(file), file)


def shown(plan: Plan) -> tuple[Any, ...]:
    """Return all that a plan holds and says."""
    screen = io.StringIO()
    with redirect_stdout(screen):
        print(plan)
    return windowed.told(plan.counts), screen.getvalue(), plan.as_json() | {"wall_s": 0}


def tables(study: Compiled) -> dict[str, list[Any]]:
    """Return all rows of all tables, in their order, without what names the load."""
    found: dict[str, list[Any]] = {}
    with duckdb.connect(study.project.cache / "outcomes.duckdb", read_only=True) as connection:
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'study'"
        for (name,) in connection.execute(sql).fetchall():
            found[name] = connection.execute(f'SELECT * FROM study."{name}"').fetchall()
    return found


@pytest.mark.thorough
def test_a_plan_and_its_tables_are_those_of_one_process(tmp_path: Path, came: list[int]) -> None:
    """After a part of a run, with an edit since: reasons too. Then the tables, with the counts of their rows."""
    run_study(compiled(tmp_path), RunOptions(samples=4, only=("k=0,1,2",)))
    study = compiled(tmp_path, STUDY.replace("Is this right?", "Is it right?"))
    by_options: list[dict[str, Any]] = [{}, {"samples": 3, "by": ("k",), "budget": Decimal(5)}, {"pilot": True}]
    for options in by_options if THOROUGH else by_options[1:2]:
        assert shown(make_plan(study, workers=2, **options)) == shown(make_plan(study, workers=1, **options))
        assert came
        came.clear()
    loaded = []
    for wanted in (1, 3 if THOROUGH else 2):
        (study.project.cache / "outcomes.duckdb").unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "sched_getaffinity", lambda _, n=wanted: set(range(n)), raising=False)
            load_if_stale(study)
        assert bool(came) == (wanted > 1)
        loaded.append(tables(study))
    assert loaded[0] == loaded[1]


FAULTY = """em 1
dataset data { file = "data.csv" }
prompt with_rows(rows, k) {
  each r in rows { user r.q }
  user "{k}"
}
experiment e {
  for k in 0..1200
  ask answer from "sim/subject" with with_rows(draw(data, max(1, 10 - 10 * max(k - 801, 801 - k)), seed: 1), k)
}
"""  # 10 of 3 rows at one level, among too many for the checker


@pytest.mark.thorough(only="a second of CPU time")
def test_an_error_of_a_row_is_that_of_one_process(
    tmp_path: Path, came: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its place, whoever met it."""
    monkeypatch.setattr(row_making, "SIZE", 100)
    (tmp_path / "data.csv").write_text("q\none\ntwo\nthree\n")
    study = compiled(tmp_path, FAULTY)
    errors = []
    for n in (1, 2):
        with pytest.raises(SourceError) as error:
            make_plan(study, workers=n)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "E5" in errors[0]
    assert came


@pytest.mark.thorough(only="a second of CPU time")
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_process_that_ends_leaves_its_windows_to_others(
    tmp_path: Path, came: list[int], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Killed at the start, or once it has made some."""
    study = compiled(tmp_path)
    arrived = row_processes.RowProcesses._arrived
    send = row_processes._Process.send

    def kill(process: row_processes._Process) -> None:
        assert process._process is not None
        os.kill(process._process.pid, signal.SIGKILL)

    def killed(self: row_processes.RowProcesses, process: Any, record: bytes, table: bytes) -> None:
        arrived(self, process, record, table)
        if len(came) == after:
            kill(process)

    def sent(self: row_processes._Process, at: int, number: int, *, wants_events: bool) -> None:
        send(self, at, number, wants_events=wants_events)
        if not after:
            kill(self)

    monkeypatch.setattr(row_processes.RowProcesses, "_arrived", killed)
    monkeypatch.setattr(row_processes._Process, "send", sent)
    found = shown(make_plan(study, workers=2))
    assert after <= len(came) <= after + row_processes.AHEAD
    assert found == shown(make_plan(study, workers=1))


def test_an_interrupt_ends_all_processes(tmp_path: Path, came: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while rows are made, and nothing is left behind."""
    processes: list[subprocess.Popen[str]] = []

    def noted(module: str) -> subprocess.Popen[str]:
        processes.append(started(module))
        return processes[-1]

    def interrupt(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(row_processes, "started", noted)
    monkeypatch.setattr(row_processes._Own, "make", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_plan(compiled(tmp_path), workers=3)
    assert len(processes) == 2
    assert all(p.poll() is not None for p in processes)
    assert not came


@pytest.mark.thorough(only="minutes of CPU time")
@pytest.mark.parametrize("study", shipped.STUDIES, ids=shipped.name_of)
def test_the_plans_of_shipped_studies_are_those_of_one_process(
    folder: Path, came: list[int], monkeypatch: pytest.MonkeyPatch, study: Path
) -> None:
    """Of all of them, with real models and without keys."""
    monkeypatch.setattr(row_making, "SIZE", 200)
    file = folder / study.relative_to(ROOT)
    found = compile_study(open_project(file), file)
    samples = 1 if shipped.name_of(study) in shipped.LARGE else 3
    assert shown(make_plan(found, samples=samples, workers=3)) == shown(make_plan(found, samples=samples, workers=1))
    assert came or sum(e.n_cells for e in found.program.experiments) < 1_000
