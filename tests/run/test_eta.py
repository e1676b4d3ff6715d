"""The time left of a run: the real executor by a simulated clock. Each answer takes the seconds of its model."""

from __future__ import annotations

import asyncio
import random
import time
from selectors import SelectSelector
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, program

from emdsl.errors import ProviderError, Unavailable
from emdsl.run.eta import Forecast
from emdsl.run.executor import Executor
from emdsl.run.metered import meter_of
from emdsl.run.planner import plan_all, planners
from emdsl.run.progress import Progress
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.query import Query, Response
    from emdsl.run.eta import TimeLeft

LOOKS = (0.2, 0.4, 0.6, 0.8)  # at the time left, by the share of requests that are answered


class _Selector(SelectSelector):
    """Waits for no time: the clock goes on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class Timed(InProcess):
    """Answers after the seconds that a function returns for each request."""

    def __init__(self, seconds: Callable[[Query], float]) -> None:
        super().__init__()
        self.seconds = seconds

    async def ask(self, query: Query, *_: Any) -> Response:
        await asyncio.sleep(self.seconds(query))
        return await super().ask(query)


def watched(
    study: str, seconds: Callable[[Query], float], monkeypatch: pytest.MonkeyPatch, connections: int
) -> tuple[list[tuple[float, TimeLeft]], float, Progress]:
    """Run a study; return the time and what was left at each look, the time of the end, and the counts."""
    walks, store = [Rows(e) for e in program(study).experiments], MemoryStore()
    progress = Progress(meter=meter_of(plan_all(planners(walks), store)))
    looks = list[tuple[int, float, "TimeLeft"]]()
    loop = _Loop()
    monkeypatch.setattr(time, "monotonic", loop.time)
    monkeypatch.setattr(time, "perf_counter", loop.time)  # an estimate takes no time, however busy the machine is
    forecast = Forecast(progress, loop.time)

    def look(_: Progress) -> None:
        looks.append((progress.answered, loop.time(), forecast.time_left()))

    executor = Executor(
        [Rows(w.experiment) for w in walks], store, Timed(seconds), connections=connections,
        retry_policy=RetryPolicy(), run="r", progress=progress, on_progress=look,
    )  # fmt: skip
    try:
        loop.run_until_complete(executor.run())
        left = [next((at, x) for n, at, x in looks if n >= share * progress.answered) for share in LOOKS]
        return left, loop.time(), progress
    finally:
        loop.close()


MODELS = """
model fast { use = "openai/gpt-4o-mini" }
model slow { use = "openai/gpt-4o" }
model careful { use = "openai/gpt-4.1" }
"""
TWO_MODELS = (
    MODELS
    + """
experiment e {
  for m in [fast, slow]
  for q in 1..300
  ask answer from m with "question {q}"
}
"""
)
LIMITED = TWO_MODELS.replace('"openai/gpt-4o"', '"openai/gpt-4o", parallel = 4')
JUDGED = (
    MODELS
    + """
rubric good(question, answer) { scale = 0..100, read = number, max_tokens = 8, user "Rate {answer}: {question}" }
experiment e {
  for m in [fast, slow]
  for q in 1..40
  samples = 5
  ask answer from m with "question {q}"
  judge grade with good("{q} {sample}", answer) from careful
}
"""
)


WHEN = JUDGED.replace("  judge grade", "  when len(answer) < 80 {\n  judge grade").replace(
    "from careful", "from careful\n  }"
)


def by_model(seconds: dict[str, float], spread: float = 0.0) -> Callable[[Query], float]:
    """Return a function of requests: seconds by model, drawn from a log-normal distribution if they spread."""
    rng = random.Random(7)
    return lambda query: seconds[query.settings.model.name] * (rng.lognormvariate(0, spread) if spread else 1.0)


@pytest.mark.parametrize(
    ("study", "seconds", "connections"),
    [
        (TWO_MODELS, {"fast": 1.0, "slow": 10.0}, 16),  # the second half waits for the slow model alone
        (LIMITED, {"fast": 1.0, "slow": 5.0}, 16),
        (WHEN, {"fast": 1.0, "slow": 2.0, "careful": 5.0}, 16),
    ],
    ids=["slow model", "parallel", "slow judge under a condition"],
)
def test_the_time_left_holds(
    study: str, seconds: dict[str, float], connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a quarter of the truth from a fifth of the requests on, where a count of requests is far off."""
    left, end, progress = watched(study, by_model(seconds, 0.3), monkeypatch, connections)
    print(left, end, [(s.total, s.answered) for s in progress.meter.steps])
    for at, then in left:
        assert then.seconds == pytest.approx(end - at, rel=0.25), f"at {at:.0f} of {end:.0f} s"
    first = left[0][0]
    assert first * (1 - LOOKS[0]) / LOOKS[0] < 0.75 * (end - first), "by the requests alone, it would be too early"
    assert progress.meter.steps[0].left == 0


def test_the_time_left_is_unknown_until_each_model_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which one has not, and how long it takes at least."""
    left, _, _ = watched(TWO_MODELS, by_model({"fast": 1.0, "slow": 60.0}), monkeypatch, 16)
    assert left[0][1].seconds is None
    assert left[0][1].why == "no answer yet of openai/gpt-4o for `answer`"
    assert left[0][1].least_s > 200
    assert left[-1][1].seconds is not None


class Troubled(InProcess):
    """Fails the first attempt of each third request, and one request for good."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    async def ask(self, query: Query, *_: Any) -> Response:
        text = query.prompt.messages[-1].text
        if text == "question 3":
            raise ProviderError("it is blocked", status=400)
        if text.endswith("0") and query.key not in self.seen:
            self.seen.add(query.key)
            raise Unavailable("busy", status=503)
        return await super().ask(query)


def test_steps_count_what_failed_and_what_was_sent_again() -> None:
    """In distinct requests of one step each, though two experiments share them."""
    text = """
    experiment a {
      for q in 1..20
      ask answer from "openai/gpt-4o" with "question {q}"
    }
    experiment b {
      for q in 11..40
      ask answer from "openai/gpt-4o" with "question {q}"
    }
    """
    walks = [Rows(e) for e in program(text).experiments]
    progress = Progress(meter=meter_of(plan_all(planners(walks), MemoryStore())))
    assert [(s.name, s.total) for s in progress.meter.steps] == [("a.answer", 20), ("b.answer", 20)]
    executor = Executor(
        [Rows(w.experiment) for w in walks], MemoryStore(), Troubled(), connections=8,
        retry_policy=RetryPolicy(max_wait_s=5), run="r", progress=progress,
    )  # fmt: skip
    asyncio.run(executor.run())
    steps = [(s.answered, s.failed, s.retried) for s in progress.meter.steps]
    assert steps == [(19, 1, 2), (20, 0, 2)]
    assert (progress.answered, progress.failed, progress.retried) == (39, 1, 4)
    assert progress.meter.failures(5) == [("openai/gpt-4o: it is blocked", 1)]
