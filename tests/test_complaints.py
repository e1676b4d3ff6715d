"""What users of other tools complain of, about grids and keys: each complaint is a test here."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S, within
from support import InProcess, experiment, keys, outcomes, program, run

from emdsl.errors import Rejected, SourceError, Throttled
from emdsl.outcome import Outcome
from emdsl.run.executor import Executor
from emdsl.run.passes import CHUNK
from emdsl.run.planner import Planner
from emdsl.run.reasons import compare
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows, Selection
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.query import Query, Response
    from emdsl.run.progress import Report

ASK = '\n  ask answer from "sim/subject" with "{a} {b}"\n}'


def cells(body: str) -> list[str]:
    found = experiment("experiment e {\n" + body + ASK)
    return sorted("".join(x.levels[i].shown for x, i in zip(found.axes, c, strict=True)) for c in found.cells())


def codes(text: str) -> set[str]:
    try:
        return {d.code for d in program(text).warnings}
    except SourceError as error:
        return {d.code for d in error.diagnostics}


def test_inspect_flow_20_a_grid_is_readable() -> None:
    """A sweep is one statement an axis, and says how many cells it makes."""
    found = experiment("experiment e {\n for a in [1, 2, 3]\n for b in [1, 2]\n skip when a == b" + ASK)
    assert (found.n_cells, found.n_skipped) == (4, 2)


def test_hydra_1258_zip() -> None:
    """Two lists side by side are one axis, not a product."""
    assert cells("for a, b in [(1, 2), (3, 4)]") == ["12", "34"]


def test_hydra_3082_an_axis_that_depends_on_another() -> None:
    """Which levels one axis has may depend on another."""
    assert cells("for a in [1, 2]\nfor b in if a == 1 then [0] else [5, 6]") == ["10", "25", "26"]


def test_wandb_1487_conditions() -> None:
    """Cells that make no sense are left out by a condition, and counted."""
    assert cells("for a in [1, 2]\nfor b in [1, 2]\nskip when a == 2 and b == 2") == ["11", "12", "21"]


def test_wandb_11445_duplicates() -> None:
    """A cell stands once, however many grids hold it; a level that stands twice is an error."""
    assert cells("grid { for a in [1, 2]\n for b in [1] }\ngrid { for a in [2]\n for b in [1, 2] }") == [
        "11",
        "21",
        "22",
    ]
    assert codes("experiment e {\n for a in [1, 1]\n for b in [1]" + ASK) == {"E405"}


def test_lm_eval_3930_braces_that_ruin_a_task() -> None:
    """A placeholder that would print itself is told."""
    text = 'prompt p(answer) { user "{{answer}} {answer}" }\nexperiment e { ask answer from "sim/subject" with p("x") }'
    assert codes(text) == {"W321"}
    assert codes('prompt p(q) { user "{qq}" }\nexperiment e { ask a from "sim/subject" with p("x") }') >= {"E310"}


MODEL = 'model m { use = "openai-api/lab/llama", SETTINGS }\nexperiment e { ask answer from m with "x" }'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('revision = "1"', 'revision = "2"'),
        ('url = "http://a:1/v1"', 'url = "http://b:1/v1"'),
        ('revision = "1", temperature = 0', 'revision = "1", temperature = 1'),
        ('revision = "1", seed = 0', 'revision = "1", seed = 1'),
        ('revision = "1", extra = { a: 1 }', 'revision = "1", extra = { a: 2 }'),
        ('revision = "1", stop = ["ab", "c"]', 'revision = "1", stop = ["a", "bc"]'),
        ('revision = "1", stop = ["1"]', 'revision = "1", extra = { stop: "1" }'),
    ],
)
def test_lm_eval_4063_3881_what_changes_an_answer_is_in_the_key(one: str, other: str) -> None:
    """The model, its server, every parameter and the seed; fields never run into each other."""
    assert not set(keys(MODEL.replace("SETTINGS", one))) & set(keys(MODEL.replace("SETTINGS", other)))


def test_inspect_ai_1478_what_is_not_sent_is_not_in_the_key() -> None:
    """A price, a context length, a timeout, a budget or a key's variable ask nothing anew."""
    bare = keys(MODEL.replace("SETTINGS", 'revision = "1", max_tokens = 5'))
    more = 'revision = "1", max_tokens = 5, price = { input: $1, output: $2 }, context = 4096, timeout = 9, key = env.X'
    text = MODEL.replace("SETTINGS", more).replace(
        "experiment e {", "experiment other {\n budget = $5\n parallel = 3\n"
    )
    assert keys(text) == bare


def test_edsl_2583_two_questions_that_look_alike_stay_two() -> None:
    """One invisible character makes another question; it is kept apart, and told."""
    text = 'experiment e {\n for q in ["what?", "what?\u200b"]\n ask answer from "sim/subject" with q\n}'
    assert codes(text) == {"W322"}
    provider, _ = run(text)
    assert provider.n == 2


def test_inspect_flow_511_more_samples_ask_the_new_ones() -> None:
    """n 10 -> 30 sends exactly 20 a cell."""
    text = 'experiment e {\n for q in ["a", "b"]\n samples = N\n ask answer from "sim/subject" with q\n}'
    store = MemoryStore()
    first, _ = run(text.replace("N", "10"), store)
    more, _ = run(text.replace("N", "30"), store)
    assert (first.n, more.n) == (20, 40)


# ---------------------------------------------------------------- caching, resuming, incrementality


STUDY = """em 1
rubric rating(answer) from "sim/judge" {
  scale = 0..100
  user "Rate 0 to 100: {answer}"
}
experiment e {
  for q in ["one", "two"]
  samples = 30
  ask answer from "sim/subject" with q { temperature = 1 }
  judge rated with rating(answer)
}
"""


def asked(store: MemoryStore, text: str = STUDY) -> Counter[str]:
    """Run a study on a store; return what was asked of which model."""
    provider, report = run(text, store)
    assert not report.failures
    return provider.asked  # type: ignore[no-any-return]  # `run` takes any provider


def test_inspect_ai_2580_promptfoo_360_lm_eval_3046_a_cache_keeps_samples_apart() -> None:
    """30 equal prompts at temperature 1 are 30 answers, and replay as the same 30."""
    store = MemoryStore()
    assert asked(store)["subject"] == 60
    first = sorted(str(r.frame["answer"]) for r in outcomes(experiment(STUDY), store))
    assert len(set(first)) > 10
    assert asked(store) == Counter()
    assert sorted(str(r.frame["answer"]) for r in outcomes(experiment(STUDY), store)) == first


def test_inspect_flow_509_llmcomp_more_samples_ask_the_difference() -> None:
    """10 to 30 samples send exactly 20 a cell; back to 10, nothing."""
    store = MemoryStore()
    ten = STUDY.replace("samples = 30", "samples = 10")
    assert asked(store, ten)["subject"] == 20
    assert asked(store)["subject"] == 40
    assert asked(store, ten) == Counter()


def test_inspect_ai_27_770_3576_promptfoo_1014_a_judge_edit_asks_no_model() -> None:
    """Judgements are stored as answers are; an edited judge asks the judge alone."""
    store = MemoryStore()
    asked(store)
    assert set(asked(store, STUDY.replace("Rate 0", "Rate from 0"))) == {"judge"}


def test_inspect_ai_3058_finished_work_is_not_run_again_after_a_refactoring() -> None:
    """Names, order, comments, layout, a moved rubric: nothing that is sent has changed."""
    store = MemoryStore()
    asked(store)
    again = STUDY.replace("experiment e", "# said otherwise\nexperiment other").replace("rated", "score")
    assert asked(store, again.replace("rating", "grade")) == Counter()


def test_lm_eval_2533_datenlabor_32_what_was_answered_before_a_crash_is_kept() -> None:
    """A run that ends half-way is gone on with, not begun anew."""
    store = MemoryStore()
    found = experiment(STUDY)
    run(STUDY, store, selection=Selection(samples=7))
    kept = len(store.answers)
    rest = asked(store)
    assert rest.total() + kept == sum(len(s.stored) for s in Planner(Rows(found)).plan(store).steps)
    assert rest["subject"] == 46


def test_llmcomp_errors_are_never_stored() -> None:
    """A failed request is asked again in the next run; nothing of it stays."""

    class Refusing(InProcess):
        async def ask(self, query: Query, *_: Any) -> Response:
            if query.prompt.messages[0].text == "two":
                raise Rejected("400 no")
            return await super().ask(query, *_)

    store = MemoryStore()
    _, report = run(STUDY, store, Refusing())
    assert len(report.failures) == 30
    assert asked(store)["subject"] == 30


def test_dspy_7570_usage_is_kept_with_the_answer() -> None:
    """What was paid is known however often it is read."""
    store = MemoryStore()
    asked(store)
    rows = outcomes(experiment(STUDY), store)
    assert all(r.results["answer"].response.usage.output_tokens for r in rows)  # type: ignore[union-attr]  # all are answered


def test_promptfoo_1419_rows_are_not_all_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of many rows keeps no row: one chunk lives at a time."""
    alive, most = 0, 0

    class Counted(Outcome):
        __slots__ = ()

        def __init__(self, *args: Any) -> None:
            nonlocal alive, most
            super().__init__(*args)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr("emdsl.run.rows.Outcome", Counted)
    found = experiment(STUDY.replace("samples = 30", "samples = 3000"))
    assert Planner(Rows(found)).plan(MemoryStore()).steps[0].n_pending == 6000
    assert most <= 3 * CHUNK


def test_promptfoo_2582_bazel_18643_the_key_is_told_by_its_ingredients() -> None:
    """`why` lists what is hashed: two keys that differ, differ in one of them."""
    texts = [STUDY, STUDY.replace("temperature = 1", "temperature = 0"), STUDY.replace('"one"', '"One"')]
    made = []
    for text in texts:
        walk = Rows(experiment(text))
        ((_, query),) = walk.advance(next(walk.selected()))
        made.append(query)
    assert len({q.key for q in made}) == len({str(q.ingredients()) for q in made}) == 3
    assert [d.name for d in compare(made[0], made[1])] == ["temperature"]
    assert [d.name for d in compare(made[0], made[2])] == ["messages[0].user"]


PAID = """
model m {
  use = "openai-api/lab/subject", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $1, output: $4 }
  max_tokens = 1000, extra = { sim: { thinks: 300 } }
}
experiment e {
  for q in 1..20
  samples = 5
  ask answer from m with "question {q}"
}
"""


def ask_within(provider: InProcess, *, max_wait_s: float, budget: Decimal | None = None) -> Report:
    """Run a study that costs something; return the report."""
    walks = [Rows(e) for e in program(PAID).experiments]

    async def main() -> Report:
        return await Executor(
            walks, MemoryStore(), provider, connections=16, retry_policy=RetryPolicy(max_wait_s=max_wait_s), run="r",
            budget=budget,
        ).run()  # fmt: skip

    return asyncio.run(asyncio.wait_for(main(), HANG_S))


def test_promptfoo_1864_inspect_ai_1135_the_cost_is_known_before_spending() -> None:
    """What a run will cost: at least, as expected, at most; before a single request."""
    (step,) = Planner(Rows(experiment(PAID))).plan(MemoryStore()).steps
    low, expected, high = step.estimate.low_usd, step.estimate.usd, step.estimate.high_usd
    assert low is not None
    assert expected is not None
    assert high is not None
    assert 0 < low < expected <= high


def test_inspect_evals_901_dspy_397_a_budget_of_the_whole_run() -> None:
    """One cap for all that a run asks, kept before sending, not noticed after."""
    provider = InProcess()
    report = ask_within(provider, max_wait_s=5, budget=Decimal("0.05"))
    assert report.over_budget == {""}
    assert 0 < provider.n < 100


def test_edsl_2580_reasoning_is_in_the_estimate() -> None:
    """Their estimate was off by 2.95x; here what a model thinks is learned from what it thought before."""
    store, found = MemoryStore(), experiment(PAID)
    run(PAID, store, selection=Selection(samples=1))
    (step,) = Planner(Rows(found)).plan(store).steps
    said, so_far = step.estimate.usd, step.money.saved_usd
    run(PAID, store)
    real = Planner(Rows(found)).plan(store).steps[0].money.saved_usd - so_far
    assert said is not None
    assert abs(said - real) < real / 10


class Throttling(InProcess):
    """A server that says "slow down", for ever or for a while."""

    def __init__(self, wait_s: float, times: int) -> None:
        super().__init__()
        self.wait_s, self.times = wait_s, times
        self.told: dict[bytes, float] = {}
        self.early = 0

    async def ask(self, query: Query, *of: Any) -> Response:
        now = time.monotonic()
        self.early += now < self.told.pop(query.key, 0.0)
        if self.times > 0:
            self.times -= 1
            self.told[query.key] = now + self.wait_s
            raise Throttled("slow down", wait_s=self.wait_s)
        return await super().ask(query, *of)


def test_inspect_ai_1753_promptfoo_7727_waiting_has_an_end() -> None:
    """Hours inside retries, a hard 429 for ever: the total of waiting is bounded, and what was given up told."""
    with within(20):
        report = ask_within(Throttling(0.2, 10**9), max_wait_s=1)
    assert len(report.failures) == 100


def test_lm_eval_3089_retry_after_is_obeyed() -> None:
    """No request is sent before the time that its server told."""
    provider = Throttling(0.3, 30)
    report = ask_within(provider, max_wait_s=30)
    assert not report.failures
    assert (provider.n, provider.early) == (100, 0)


def test_llmcomp_out_of_credit_is_not_slow_down() -> None:
    """Nobody waits for money to come back."""

    class Broke(InProcess):
        async def ask(self, _query: Query, *_: Any) -> Response:
            self.asked["m"] += 1
            raise Rejected("out of credit: 429", status=429, for_all=True)

    provider = Broke()
    report = ask_within(provider, max_wait_s=600)
    assert len(report.failures) == 100
    assert provider.n <= 16
