"""Online or by batches: what each way costs, which one `auto` chooses by its evidence, and what it says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, program, run

from emdsl.query import Response, Usage
from emdsl.run.planner import plan_all, planners
from emdsl.run.prefixes import beginning
from emdsl.run.rows import Rows, Selection
from emdsl.run.ways import AUTO, MIN_SHARED, apply_ways, of_model
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.query import Query
    from emdsl.run.count import ExperimentCount, Way

PRICE = "price = { input: $10, output: $10, cached_input: $1 }"
LONG = "word " * 2_000  # 2,500 tokens
STUDY = """
model m { use = "openai-api/lab/m", url = "http://127.0.0.1:1/v1", revision = "1", max_tokens = 20, PRICE }
experiment e {
  for q in 1..100
  ask answer from m with "LONG {q}"
}
"""
SHARED = "of the shared prefixes of"
EVEN_IF = "even if its prefix cache served all shared prefixes"
NO_ANSWERS = "no answers yet show whether its prefix cache would save more; `emdsl run --pilot` measures it"


class Server(InProcess):
    """Answers of 10 tokens; from the second on, a cache reads and writes shares of each long prompt."""

    def __init__(self, hits: float, written: float | None = None, batch: str | None = None) -> None:
        super().__init__()
        self.hits, self.written, self.batch = hits, written, batch

    async def ask(self, query: Query, *_: Any) -> Response:
        into = query.prompt.chars // 4
        written = None if self.written is None else round(into * self.written)
        usage = Usage(
            input_tokens=into, output_tokens=10, cached_tokens=round(into * self.hits), written_tokens=written
        )  # fmt: skip
        return Response(text="answer", finish="stop", usage=usage, batch=self.batch)


def text(price: str = PRICE, prompt: str = LONG) -> str:
    return STUDY.replace("PRICE", price).replace("LONG", prompt)


def planned(study: str, server: Server | None = None, n: int = 0) -> list[ExperimentCount]:
    """Return the counts of a study, of whose rows the first `n` have an answer."""
    store, found = MemoryStore(), program(study)
    if server is not None:
        run(found, store, server, selection=Selection(only={0: frozenset(range(n))}))
    return plan_all(planners([Rows(e) for e in found.experiments], budget=Decimal(100)), store)


def usd(amount: Decimal | None) -> float:
    assert amount is not None
    return float(amount)


def way(counts: list[ExperimentCount], wanted: bool | str = AUTO) -> Way:
    (model,) = {m.lane: m for c in counts for m in c.models.values()}.values()
    assert beginning(model) == 4_096
    return of_model(model, counts, wanted)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_declared_way(wanted: bool) -> None:
    """It is taken whatever it costs, and needs no reason; the price is the declared one, and half of that."""
    found = way(planned(text(), Server(0.0), 50), wanted)
    assert (found.by_batch, found.why, found.hit_rate) == (wanted, "", None)
    assert usd(found.online_usd) == pytest.approx(50 * (2_500 + 10) * 10 / 1e6, rel=0.001)
    assert usd(found.batch_usd) == pytest.approx(usd(found.online_usd) / 2)


@pytest.mark.parametrize(
    ("study", "server", "n", "by_batch", "why"),
    [
        (text(prompt="short"), None, 0, True, "cheaper"),
        (text(PRICE.replace("$1 }", "$5 }")), None, 0, True, f"cheaper {EVEN_IF}"),
        (text("price = { input: $10, output: $10 }"), None, 0, True, "cheaper"),
        (text("price = { input: $0, output: $0 }"), None, 0, True, "cheaper"),
        (text(), None, 0, True, NO_ANSWERS),
        (text(), Server(1.0), MIN_SHARED, True, NO_ANSWERS),
        (text(), Server(1.0), MIN_SHARED + 1, False, f"its prefix cache served 100 % {SHARED} 10 answers"),
        (text(), Server(0.6), 50, False, f"its prefix cache served 60 % {SHARED} 49 answers"),
        (text(), Server(0.5), 50, True, f"its prefix cache served 50 % {SHARED} 49 answers"),
        (text(), Server(0.0), 50, True, f"its prefix cache served 0 % {SHARED} 49 answers"),
        (text(), Server(1.0, batch="b"), 50, True, NO_ANSWERS),
        (text(PRICE.replace(" }", ", cache_write: $12.50 }")), Server(0.6), 50, False, "served 60 %"),
        (text(PRICE.replace(" }", ", cache_write: $12.50 }")), Server(0.6, 0.4), 50, True, "served 60 %"),
        (text("rpm = 60"), None, 0, True, "its price is unknown, and halved"),
    ],
    ids=["no prefix", "half price for hits", "no discount", "free", "no answers", "too few", "all hits", "many hits",
         "half", "no hits", "answers by batch", "free writes", "paid writes", "no price"],
)  # fmt: skip
def test_auto(study: str, server: Server | None, n: int, by_batch: bool, why: str) -> None:
    """By batch unless answers that were sent alone show that the prefix cache saves more than half."""
    found = way(planned(study, server, n))
    assert found.by_batch == by_batch
    assert found.why == why if why.startswith("cheaper") else why in found.why
    assert (found.hit_rate is not None) == ("served" in why and not why.startswith("cheaper"))
    if found.hit_rate is not None:
        assert by_batch == (usd(found.online_usd) >= usd(found.batch_usd))


def test_the_cost_online_counts_the_hits() -> None:
    """9 of 10 dollars of a prefix that is served, and a quarter more for one that is written again."""
    writes = PRICE.replace(" }", ", cache_write: $12.50 }")
    plain = way(planned(text(writes), Server(0.0), 50))
    hits, both = way(planned(text(writes), Server(0.6), 50)), way(planned(text(writes), Server(0.6, 0.4), 50))
    prefix = 49 * 2_500 / 1e6  # of 50 pending requests, each but the first
    saved, more = (usd(w.online_usd) - usd(plain.online_usd) for w in (hits, both))
    assert saved == pytest.approx(prefix * 0.6 * -9, rel=0.01)
    assert more - saved == pytest.approx(prefix * 0.4 * 2.5, rel=0.01)
    assert hits.hit_rate == pytest.approx(0.6, abs=0.01)


def test_two_experiments_share_a_model() -> None:
    """Its way is one, for the requests of both: their costs add up, and its answers are counted once."""
    second = f'experiment f {{\n  for q in 201..300\n  ask answer from m with "{LONG} {{q}}"\n}}\n'
    counts = planned(text() + second, Server(1.0), 30)
    both = way(counts)
    parts = [of_model(both.model, [count], AUTO) for count in counts]
    assert usd(both.online_usd) == pytest.approx(sum(usd(p.online_usd) for p in parts))
    assert usd(both.batch_usd) == pytest.approx(sum(usd(p.batch_usd) for p in parts))
    assert {w.why for w in (both, *parts)} == {f"its prefix cache served 100 % {SHARED} 58 answers"}


def test_the_plan_has_the_prices_of_the_ways() -> None:
    """By batch: half of each estimate and of the least cost, and no hits of a prefix cache; online as it was."""
    counts = planned(text())
    (estimate,) = [s.estimate for c in counts for s in c.steps]
    online = [usd(x) for x in (estimate.low_usd, estimate.usd, estimate.high_usd)]
    discount, least = estimate.discount_usd, counts[0].least_usd
    assert discount > 1
    assert least > 0
    chosen = way(counts, wanted=True)
    apply_ways(counts, [chosen])
    halves = [usd(x) for x in (estimate.low_usd, estimate.usd, estimate.high_usd)]
    assert halves == pytest.approx([x / 2 for x in online])
    assert (estimate.discount_usd, counts[0].least_usd) == (Decimal(0), least / 2)
    assert counts[0].ways == (chosen,)
    apply_ways(counts, [replace(chosen, by_batch=False)])
    assert [usd(x) for x in (estimate.low_usd, estimate.usd, estimate.high_usd)] == online
    assert (estimate.discount_usd, counts[0].least_usd) == (discount, least)
