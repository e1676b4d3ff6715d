"""The tables of a large run are loaded beside it, by a process of its own: they are those of a load after it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from speed import HANG_S
from support import simulator

from emdsl.errors import SourceError
from emdsl.outcomes import loading
from emdsl.study import loader
from emdsl.study.compiled import Compiled, compile_study
from emdsl.study.options import RunOptions
from emdsl.study.plan import make_plan
from emdsl.study.project import open_project
from emdsl.study.run import run_study

if TYPE_CHECKING:
    from pathlib import Path

MODELS = """em 1
model subject { use = "sim/subject", temperature = 1, url = "URL" }
model scorer { use = "sim/judge", url = "URL" }
"""
BRANCHES = """
import alignment from "std:judges@1"
rubric kind(answer) from scorer {
  choices = { long: "It is long.", short: "It is short." }
  user "JUDGE {answer}"
}
experiment branches {
  for question in ["what is a question?", "how do I make a friend?", "why is the sky blue?"]
  for k in 0..3
  samples = 13
  ask answer from subject with "{question} {k}"
  judge aligned with alignment(question, answer) from scorer
  when aligned < 60 {
    ask again from subject with "Is this right? {answer}"
    judge label with kind(again)
  }
  let bad = aligned < 30
  measure bads = rate(bad) by k
}
experiment shared {
  for k in 0..1
  samples = 5
  ask answer from subject with "why is the sky blue? {k}"
}
"""
SHARED = """
experiment part {
  for k in 0..3
  samples = 3
  ask answer from subject with "question {k}"
  measure long = rate(answer.tokens > 10) by k
}
experiment whole {
  for j in 0..3
  for t in 0..8
  samples = 3
  ask filler from subject with "filler {t} {j}"
  ask answer from subject with "question {j}"
}
"""
FAILING = """
model gone { use = "openai-api/gone/m", url = "http://127.0.0.1:9/v1" }
experiment failing {
  for m in [subject, gone]
  samples = 7
  ask answer from subject with "hello"
  ask other from m with "answered {answer}"
}
"""


def compiled(folder: Path, text: str, url: str) -> Compiled:
    (folder / "pyproject.toml").touch()
    (folder / "study.em").write_text((MODELS + text).replace("URL", url), encoding="utf-8")
    file = folder / "study.em"
    return compile_study(open_project(file), file)


def tables(study: Compiled) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a study's tables and measures, without what names the run that has loaded them."""
    found = {}
    with duckdb.connect(study.project.cache / "outcomes.duckdb", read_only=True) as database:
        for (name,) in database.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'study'"
        ).fetchall():
            columns = [
                c for (c, *_) in database.execute(f'DESCRIBE study."{name}"').fetchall() if not c.endswith("_cached")
            ]
            listed = ", ".join(f'"{c}"' for c in columns)
            found[name] = database.execute(f'SELECT {listed} FROM study."{name}"').fetchall()
    return found


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let every run be large; return whether each load came from the process beside it."""
    came: list[bool] = []
    load = loader.ProcessLoader.load

    def noted(self: loader.ProcessLoader, report: Any, on_rows: Any) -> Any:
        found = load(self, report, on_rows)
        came.append(self._loaded is not None)
        return found

    monkeypatch.setattr(loader, "LARGE", 1)
    monkeypatch.setattr(loader.ProcessLoader, "load", noted)
    return came


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (BRANCHES, {}),
        (BRANCHES, {"samples": 6, "only": ("k=1,2",)}),
        (SHARED, {"only": ("k=1",), "connections": 20}),
        (FAILING, {"max_retries": 0}),
        (FAILING, {"max_retries": 0, "samples": 3}),
    ],
)
def test_it_makes_the_tables_of_a_load_after_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: list[bool], text: str, options: dict[str, Any]
) -> None:
    with simulator("--latency", "0.1") as url:
        study = compiled(tmp_path, text, url)
        run = run_study(study, RunOptions(**options))
        assert beside == [True]
        loaded = tables(study)
        counts = [s.as_json() for c in run.counts for s in c.steps]
        monkeypatch.setattr(loader, "LARGE", 10**9)
        (study.project.cache / "outcomes.duckdb").unlink()
        again = run_study(study, RunOptions(**options))
    assert len(beside) == 1
    if not run.failed:
        assert counts == [s.as_json() for c in again.counts for s in c.steps]
    assert {name for name, rows in loaded.items() if rows} == set(loaded)
    assert loaded == tables(study)


def test_a_run_whose_loader_dies_loads_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: list[bool]
) -> None:
    start = loader.ProcessLoader.start

    def killed(self: loader.ProcessLoader) -> None:
        start(self)
        assert self._started.wait(HANG_S)
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(loader.ProcessLoader, "start", killed)
    with simulator("--latency", "0.1") as url:
        study = compiled(tmp_path, BRANCHES, url)
        assert run_study(study, RunOptions()).complete
    assert beside == [False]
    assert len(tables(study)["branches"]) == 156


def test_tables_that_cannot_be_made_end_a_run_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure is named where it stands, and most requests are never sent."""

    def faults(_: object) -> list[tuple[str, str]]:
        time.sleep(0.1)
        return [("bads", "`bads` cannot be computed")]

    monkeypatch.setattr(loading, "faults", faults)
    with simulator("--latency", "0.1") as url:
        study = compiled(tmp_path, BRANCHES, url)
        with pytest.raises(SourceError) as error:
            run_study(study, RunOptions(connections=2))
    (found,) = error.value.diagnostics
    assert found.span is not None
    assert (found.code, found.span.text) == ("E850", "bads")
    assert make_plan(study).requests > 0
