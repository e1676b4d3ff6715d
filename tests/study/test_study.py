"""`emdsl.open`: the same plans, runs and numbers from Python, within an event loop too."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from speed import HANG_S
from support import SHOTS, SHOTS_STUDY, clean_environment, communicated, simulator, stats

import emdsl
from emdsl.errors import (
    FileMissing,
    NotDrawable,
    OutcomesError,
    SourceError,
    UnknownAxis,
    UnknownExperiment,
    UnknownMeasure,
    UsageError,
)
from emdsl.outcomes import loading
from emdsl.study.screen import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emdsl.study.run import Run
    from emdsl.study.study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    return emdsl.open(tmp_path / "study.em")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Hear SIGINT, in child processes too: a shell starts what goes on in its background with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for_answers(url: str) -> None:
    while stats(url).get("answered", 0) < 4:
        time.sleep(0.02)


def test_a_study_is_planned_run_and_read(study: Study, tmp_path: Path) -> None:
    """Restricted first, then whole; each answer is asked once; tables go to pandas and polars with their types."""
    plan = study.plan()
    assert (plan.requests, plan.expected_usd) == (81, 0.0)
    assert [s["name"] for s in plan.steps] == ["answer", "aligned"]
    assert study.plan(samples=3, only={"k": [0], "q": "one"}).requests == 7
    part = study.run(samples=3)
    assert (part.answered, part.failed, part.complete) == (25, 0, True)
    run = study.run()
    assert (run.answered, run.cached, run.complete) == (56, 24, True)
    assert study.plan().requests == 0
    outcomes = study.results()
    assert outcomes.num_rows == 40
    assert outcomes["k"].type == "int64"
    frame = outcomes.to_pandas()
    measured = study.measure("low").to_pandas()
    by_hand = frame[frame.aligned.notna()].groupby("k").aligned.apply(lambda x: (x < 30).mean())
    assert measured.set_index("k").rate.to_dict() == pytest.approx(by_hand.to_dict())
    table = pl.from_arrow(study.query("SELECT k, count(*) AS n FROM e GROUP BY k ORDER BY k"))
    assert table.to_dict(as_series=False) == {"k": [0, 2], "n": [20, 20]}  # type: ignore[union-attr]  # a DataFrame
    prompts = study.query("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM e_prompts", prompts=True)
    assert prompts.to_pylist() == [{"n": 80, "keys": 80}]
    spec = study.figure("low").to_dict()
    assert spec["title"]["text"] == ["low (SIMULATED)"]
    assert repr(study) == f"emdsl.open('{tmp_path}/study.em')"


def test_what_is_wrong_is_raised_with_its_place(study: Study, tmp_path: Path) -> None:
    """Faults of the program, names that are none, outcomes that are not there; never a traceback of ours alone."""
    with pytest.raises(FileMissing, match=r"no such file: .*no\.em"):
        emdsl.open(tmp_path / "no.em")
    with pytest.raises(UnknownAxis, match="`only`: unknown axis `m`"):
        study.run(only={"m": 1})
    study.run()
    with pytest.raises(UnknownMeasure, match="did you mean `low`"):
        study.measure("lo")
    with pytest.raises(UnknownExperiment, match="unknown experiment `x`"):
        study.results("x")
    with pytest.raises(OutcomesError, match="nothing"):
        study.query("SELECT nothing FROM e")
    with pytest.raises(NotDrawable, match="cannot be drawn as `heat`"):
        study.figure("low", kind="heat")
    (tmp_path / "study.em").write_text(SHOTS_STUDY.replace("by k", "by kk"), encoding="utf-8")
    with pytest.raises(SourceError, match=r"unknown axis `kk`") as caught:
        study.plan()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.as_json()["line"] == 19
    assert [d.code for d in study.check()] == [diagnostic.code]
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        emdsl.close  # noqa: B018 - it is not there


def test_it_runs_where_an_event_loop_runs(study: Study) -> None:
    """As a notebook's kernel does."""

    async def cell() -> int:
        await asyncio.sleep(0)
        return study.run(samples=1).answered

    assert asyncio.run(cell()) == 9


def test_it_can_be_awaited(study: Study) -> None:
    """Other tasks go on meanwhile."""

    async def main() -> tuple[Run, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        run = await study.arun(samples=1, display="none")
        ticking.cancel()
        return run, ticks

    run, ticks = asyncio.run(main())
    assert (run.answered, run.pending, run.complete) == (9, 0, True)
    assert ticks > 1


def test_a_cancelled_run_keeps_its_answers(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests in flight are finished, and the cancellation goes on."""
    with simulator("--latency", "0.2") as url:
        monkeypatch.setenv("EMDSL_SIM_URL", url)

        async def main() -> None:
            running = asyncio.create_task(study.arun(connections=2, display="none"))
            await asyncio.to_thread(wait_for_answers, url)
            running.cancel()
            await running

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
        answered = stats(url)["answered"]
    monkeypatch.delenv("EMDSL_SIM_URL")
    assert 4 <= answered < 81
    assert study.run(display="none").answered == 81 - answered


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_in_a_notebook_keeps_what_is_answered(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the run has a thread of its own, and the interrupt comes to the main one."""
    with simulator("--latency", "0.2") as url:
        monkeypatch.setenv("EMDSL_SIM_URL", url)

        def interrupt() -> None:
            wait_for_answers(url)
            os.kill(os.getpid(), signal.SIGINT)

        async def cell() -> Run:
            return study.run(connections=2, display="none")

        watching = threading.Thread(target=interrupt)
        watching.start()
        run = asyncio.run(cell())  # whose own handler would wait for the cell
        watching.join()
    assert 4 <= run.answered < 81
    assert not run.complete


def test_a_run_cancelled_before_its_first_request_leaves_the_event_loop_alone(study: Study) -> None:
    """The cancellation goes on as any other; nothing ends the program's loop."""

    async def main() -> int:
        running = asyncio.create_task(study.arun(display="none"))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0.05)
        return study.plan().requests

    assert asyncio.run(main()) == 81


def test_a_run_cancelled_after_its_last_request_loads_its_tables(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in flight any more: there is nothing to interrupt."""
    load = loading.load

    async def main() -> None:
        running = asyncio.create_task(study.arun(display="none"))

        def slow(*args: Any) -> Any:
            loop.call_soon_threadsafe(running.cancel)
            time.sleep(0.2)
            return load(*args)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loading, "load", slow)
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    monkeypatch.undo()
    assert study.plan().requests == 0
    assert study.query("SELECT count(*) AS n FROM emdsl.studies")["n"].to_pylist() == [1]


def test_a_run_gives_the_signals_back(study: Study) -> None:
    """A program keeps its own handlers."""

    def own(*_: object) -> None:
        raise AssertionError

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(n, own) for n in numbers]
    try:
        assert study.run(display="none").answered == 81
        assert [signal.getsignal(n) for n in numbers] == [own] * 3
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_threads_share_a_new_cache(study: Study) -> None:
    """Runs of one process are no less apart than those of several."""
    with ThreadPoolExecutor(4) as pool:
        runs = [f.result() for f in [pool.submit(study.run, display="none") for _ in range(4)]]
    assert sum(r.answered for r in runs) == 81
    assert all(r.complete for r in runs)


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda s: s.plan(samples=1.5), "samples"),
        (lambda s: s.run(samples=float("nan")), "samples"),
        (lambda s: s.plan(samples="3"), "samples"),
        (lambda s: s.run(budget=float("nan")), "budget"),
        (lambda s: s.plan(budget=-1), "budget"),
        (lambda s: s.plan(budget="much"), "budget"),
        (lambda s: s.run(budget="lab=40"), "budget"),  # no team
        (lambda s: s.run(budget="lab=1e400"), "budget"),
        (lambda s: s.plan(budget=Decimal("1e400")), "budget"),
        (lambda s: s.run(confirm_over="1e-999999999"), "confirm_over"),
        (lambda s: s.run(connections=0), "connections"),
        (lambda s: s.run(display="loud"), "display"),
        (lambda s: s.plan(only="k=2"), "only"),
        (lambda s: s.plan(only=[2]), "only"),
        (lambda s: s.plan(only={"k": []}), "only"),
        (lambda s: s.render(sample=-1), "sample"),
        (lambda s: s.render(limit=0), "limit"),
        (lambda s: s.why(sample=-1), "sample"),
        (lambda s: s.power(effect=-0.1), "effect"),
        (lambda s: s.power(effect=0.1, power=1), "power"),
        (lambda s: s.power(effect=0.1, alpha=0), "alpha"),
        (lambda s: s.power(effect=0.1, rate=2), "rate"),
    ],
)
def test_a_wrong_argument_is_named(study: Study, call: Callable[[Study], object], parameter: str) -> None:
    """As the command line names its option; nothing is sent or loaded."""
    with pytest.raises(UsageError) as error:
        call(study)
    assert error.value.parameter == parameter
    assert not (study.project.cache / "outcomes.duckdb").exists()


def test_levels_are_selected_by_their_values(tmp_path: Path) -> None:
    """Python's values and texts with commas select what they name."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(
        'em 1\nmodel m { use = "sim/subject" }\nexperiment e {\n  for q in ["a, b", "c", "d"]\n'
        '  for flag in [true, false]\n  for k in [1, 2.5]\n  ask a from m with "{q} {flag} {k}"\n}\n',
        encoding="utf-8",
    )
    study = emdsl.open(tmp_path / "study.em")
    for only, n in (
        ({"q": ["a, b", "c"]}, 8), ({"q": "a, b"}, 4), ({"flag": True}, 6), ({"flag": [False, True]}, 12),
        ({"k": 1.0}, 6), ({"k": [1, 2.5]}, 12), ({"k": "1,2.5"}, 12),
    ):  # fmt: skip
        assert study.plan(only=only).requests == n


def test_no_text_shows_a_secret_of_the_environment(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook shows the value of a cell's last line: no value shows an API key."""
    monkeypatch.setenv("LAB_API_KEY", "sk-lab-0123456789abcdef")
    plan = study.plan()
    assert plan.study.project.environment["LAB_API_KEY"] == "sk-lab-0123456789abcdef"
    for shown in (repr(study.project), repr(plan.study), repr(plan)):
        assert "sk-lab" not in shown
    assert text_of(["an error: sk-lab-0123456789abcdef"]) == "an error: [API key]"


def test_an_error_has_no_other_error_before_it(study: Study, tmp_path: Path) -> None:
    """Its traceback is about the study alone."""
    (tmp_path / "study.em").write_text("em 1\nexperiment\n", encoding="utf-8")
    with pytest.raises(SourceError) as error:
        study.run()
    assert error.value.__context__ is None


def test_every_question_of_the_command_line_has_its_method(study: Study, tmp_path: Path) -> None:
    """What they return shows itself as the command line does."""
    assert study.check() == ()
    assert "reason: first run of this study" in str(study.plan())
    run = study.run(display="none")
    assert "81 answered, 0 cached" in str(run)
    assert run.spent_usd == 0
    assert "SIMULATED" in study.show()
    (rendered,) = study.render(only={"k": 2, "q": "one"}, step="answer").requests
    assert [m["role"] for m in rendered["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert "key " in str(study.render(step="answer"))
    why = study.why(only={"k": 2}, step="answer", sample=3)
    assert why.steps[0]["cached"] is True
    assert "It is not sent again" in str(why)
    power = study.power(effect=0.1)
    assert [g.n for g in power.groups] == study.measure("low")["n"].to_pylist()
    assert str(power).startswith("low: effect 0.1")
    assert study.report(tmp_path / "report.html").stat().st_size > 10_000
    (tmp_path / "old.em").write_text(SHOTS_STUDY.replace("[0, 2]", "[0]"), encoding="utf-8")
    (changed,) = study.diff(tmp_path / "old.em").experiments
    assert (changed["cells_gained"], changed["requests_gained"], changed["pending"]) == (2, 40, 0)
    (tmp_path / "study.em").write_text(SHOTS_STUDY.replace("samples = 10", "samples = 11"), encoding="utf-8")
    assert "more samples 10 -> 11" in str(study.plan())
    assert "pending" in str(study.why(sample=10))


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_keeps_what_is_answered(study: Study, tmp_path: Path) -> None:
    """A notebook's stop finishes what is in flight; the next run goes on."""
    with simulator("--latency", "0.3") as url:
        code = (
            "import emdsl, sys\n"
            "run = emdsl.open('study.em').run()\n"
            "print(run.answered, run.complete)\n"
        )  # fmt: skip
        environment = clean_environment() | {"EMDSL_SIM_URL": url, "EMDSL_MAX_CONNECTIONS": "2"}
        kernel = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while stats(url).get("answered", 0) < 4 and kernel.poll() is None:
            time.sleep(0.05)
        os.kill(kernel.pid, signal.SIGINT)
        out, err = communicated(kernel)
    answered, complete = out.split()
    assert 0 < int(answered) < 81, err
    assert complete == "False"
    assert study.run().answered == 81 - int(answered)


def test_others_read_while_a_run_loads(study: Study, tmp_path: Path) -> None:
    """A second process, pandas and polars see the last whole load, at any time: nothing blocks, nothing is half."""
    study.run(samples=1)
    database = tmp_path / "cache" / "outcomes.duckdb"
    stop, seen, faults = threading.Event(), set[int](), list[str]()

    def read() -> None:
        while not stop.is_set():
            try:
                with duckdb.connect(str(database), read_only=True) as other:
                    frame = other.sql("SELECT * FROM study.e").df()
                    whole = other.sql("SELECT count(*) AS n FROM study.e WHERE answer IS NOT NULL").pl()
                    (measured,) = other.sql("SELECT sum(n) FROM study.low").fetchall()
            except duckdb.Error as error:
                faults.append(str(error))
                return
            assert len(frame) == 40
            assert measured[0] == (frame.aligned.notna()).sum()
            seen.add(int(whole["n"][0]))
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    for n in (2, 3, 4):
        study.run(samples=n)
    stop.set()
    reader.join(timeout=HANG_S)
    assert not faults
    assert seen <= {4, 8, 12, 16}
    assert len(seen) > 1
