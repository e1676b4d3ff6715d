"""What a run shows while it sends: steps, cost and the time left; no line is wider than the terminal."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from rich.cells import cell_len
from rich.console import Console

from emdsl.errors import StoreError
from emdsl.run.budget import Budgets
from emdsl.run.control import cause_of
from emdsl.run.eta import TimeLeft
from emdsl.run.metering import StepProgress
from emdsl.run.progress import INTERRUPT, Progress
from emdsl.study import progress_view
from emdsl.study.control_server import STOPPED
from emdsl.study.progress_lines import duration, plain_line, step_lines
from emdsl.study.progress_view import PLAIN, RICH, ProgressView, _fitted_name


def counts(n_steps: int = 3, name: str = "answer") -> Progress:
    progress = Progress(answered=440, failed=2, retried=3, budgets=Budgets({"e": None}, Decimal(5)))
    assert progress.budgets is not None
    progress.budgets.settle_batched(Decimal("0.12"), ())
    steps = [StepProgress(name, 400, 320, 2, 3), StepProgress("評価", 400, 120, open_ended=True)]
    progress.meter.steps += steps + [StepProgress(f"step_{i}", 10) for i in range(n_steps - 2)]
    return progress


@pytest.mark.parametrize("width", [20, 40, 80, 100])
@pytest.mark.parametrize(("n_steps", "name"), [(2, "answer"), (30, "experiment_of_a_very_long_name.answer")])
def test_no_line_is_wider_than_the_terminal(
    width: int, n_steps: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar stands where there is room for one; of many steps those under way are shown."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    view, progress = ProgressView(RICH, 800, lambda _: None), counts(n_steps, name)
    progress.waiting, progress.last_error = 2, "openai/gpt-4o: 500 " + "the server is on fire " * 10
    view.watch(progress)
    monkeypatch.setattr(ProgressView, "time_left", lambda _: TimeLeft(130.0))
    shown = view._frame(console).plain.split("\n")
    assert max(map(cell_len, shown)) < width
    assert len(shown) <= 11
    if width >= 80:
        assert "━" in shown[0]
        assert shown[0].endswith("320/400  2 failed, 3 retried")
        assert "120/<=400" in shown[1]
        assert shown[min(n_steps, 7)] == "  23 more steps, 0 of them done" or n_steps == 2
        assert "  442 of at most 800 requests   $0.12 of $5.00   about 2 min left" in shown


def test_steps_of_a_long_experiment_are_told_apart() -> None:
    """Its name is cut, and theirs only if they are too long by themselves."""
    names = ["an_experiment_of_many_words.answer", "an_experiment_of_many_words.aligned", "評価.judge", "x.a_long_step"]
    shown = [_fitted_name(name, 20) for name in names]
    assert shown == ["an_experimen….answer", "an_experime….aligned", "評価.judge          ", "x.a_long_step       "]
    assert [_fitted_name(name, 8) for name in names] == ["answer  ", "aligned ", "judge   ", "a_long_…"]
    assert _fitted_name(names[0], 6) == "answer"


def test_a_plain_line_has_it_all() -> None:
    """For a log; the same without a budget and without a known time."""
    progress = counts()
    assert plain_line(progress, 800, TimeLeft(None, "no answer yet of m for `s`")) == (
        "442 of at most 800 requests done  answer 320/400, 評価 120/<=400  "
        "(2 failed, 3 retried, $0.12 of $5.00, time left unknown: no answer yet of m for `s`)"
    )
    assert plain_line(Progress(answered=4), 4, TimeLeft(3.0)) == "4 of at most 4 requests done  (about 3 s left)"


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (INTERRUPT, "finishing the requests in flight; Ctrl-C again stops at once"),
        ("SIGTERM", "stopping: SIGTERM, finishing the requests in flight; Ctrl-C stops at once"),
        (STOPPED, "stopping: `emdsl runs stop`, finishing the requests in flight; Ctrl-C stops at once"),
        (
            cause_of(StoreError("the server is away\nmore")),
            "stopping: the server is away, finishing the requests in flight; Ctrl-C stops at once",
        ),
        (cause_of(MemoryError()), "stopping: MemoryError, finishing the requests in flight; Ctrl-C stops at once"),
        (
            cause_of(StoreError("x" * 200)),
            f"stopping: {'x' * 77}..., finishing the requests in flight; Ctrl-C stops at once",
        ),
    ],
)
def test_a_run_that_stops_tells_why(cause: str, text: str) -> None:
    """A Ctrl-C is reported only if somebody has pressed it. The first cause counts."""
    progress = Progress(answered=4)
    progress.stop(cause)
    progress.stop("a later one")
    assert progress.draining
    assert plain_line(progress, 9, TimeLeft(3.0)) == f"4 of at most 9 requests done  ({text})"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (9.6, "10 s"), (43, "45 s"), (89, "90 s"), (130, "2 min"), (3600, "60 min"), (7_900, "2 h 10 min"),
     (7_190, "2 h"), (50_000, "14 h"), (200_000, "2 days")],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_steps_without_requests_are_left_out() -> None:
    """A step whose answers are all cached has nothing to show."""
    lines, more = step_lines([StepProgress("a"), StepProgress("b", 3, 3)])
    assert [(x.name, x.done, x.total, more) for x in lines] == [("b", 3, 3, "")]


def test_loading_has_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """At intervals, until all rows are read."""
    said: list[str] = []
    monkeypatch.setattr(progress_view, "EVERY_S", -1.0)
    with ProgressView(PLAIN, 0, said.append).loading(3_000) as on_rows:
        on_rows(1_000)
        on_rows(2_000)
    assert said == [
        "loading the results: 1,000 of 3,000 rows", "loading the results: 3,000 rows read, computing the measures"
    ]  # fmt: skip
