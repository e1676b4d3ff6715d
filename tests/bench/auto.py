"""The cost of `batch = auto` beside that of the cheaper way, in simulated studies: part of `make stress`.

50 studies with long demonstrations are answered in memory, at lengths by the laws of `pilot.py`. Each model has a hit
rate of its prefix cache that `auto` does not know: 0 for two models of five, as public reports say, else uniform up to
1. A hit serves the prefix that a request shares with the one before. Batches have no hits.

Without an answer `auto` must choose batch, and name the pilot unless batches are cheaper at any hit rate. The pilot is
then sent online, and the rest the way that `auto` chooses by its answers. The regret is what pilot and rest cost more
than the cheaper way of each model would from the start. `python tests/bench/auto.py 200` draws more studies.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilot import AVG_LENGTHS, HEAD, Law, answered
from support import ROOT

from emdsl.compiler.compile import compile_source
from emdsl.price_list import cost_usd, price_of
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.pilot import pilot_rows
from emdsl.run.planner import planners
from emdsl.run.prefixes import beginning
from emdsl.run.rows import Rows, Selection
from emdsl.run.ways import AUTO, of_model
from emdsl.source import Source
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from emdsl.experiment import Experiment
    from emdsl.query import Query, Response
    from emdsl.run.count import Way

STUDIES, MEAN, WORST = 50, 0.05, 0.20
LEAST_ROWS = 1_000
BLOCK = 16  # demonstrations in one message
STEP = 128  # tokens by which a cached prefix grows
NO_HITS = 0.4  # of the models
WRITE = 1.25  # times the price of input, for writing it to a cache


BLOCKS = """
dataset blocks { file = "FOLDER/blocks.jsonl", columns = { text: "text" } }
prompt after(blocks, question) {
  each b in blocks { user b.text }
  user question
}
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """Requests with their answers, in the order of their rows."""

    queries: tuple[Query, ...]
    store: MemoryStore

    def without(self, keys: Iterable[bytes]) -> Sent:
        left_out = set(keys)
        return Sent(tuple(q for q in self.queries if q.key not in left_out), self.store)

    def online(self, rates: dict[str, float], seed: int) -> dict[bytes, Response]:
        """Return the answers as they come online, with the tokens of each that a cache served or wrote."""
        by_model: dict[str, list[Query]] = {}
        for query in self.queries:
            by_model.setdefault(query.settings.model.name, []).append(query)
        return {
            query.key: self._cached(query, prefix, rates[name] if later else 0.0, seed)
            for name, queries in by_model.items()
            for query, prefix, later in _prefixes(queries)
        }

    def _cached(self, query: Query, prefix: int, rate: float, seed: int) -> Response:
        answer, price = self.store.answers[query.key], price_of(query.settings.model)
        tokens = round(prefix * (answer.usage.input_tokens or 0) / query.prompt.chars) // STEP * STEP
        hit = random.Random(f"{seed} {query.key.hex()}").random() < rate
        writes = price is not None and price.cache_write is not None
        written = tokens if writes and not hit else None
        return replace(answer, usage=replace(answer.usage, cached_tokens=tokens * hit, written_tokens=written))

    def by_batch(self) -> dict[bytes, Response]:
        return {q.key: replace(self.store.answers[q.key], batch="b") for q in self.queries}

    def usd(self, answers: dict[bytes, Response]) -> dict[str, float]:
        """Return what answers cost, by model."""
        total: dict[str, float] = defaultdict(float)
        for query in self.queries:
            model = query.settings.model
            total[model.name] += float(cost_usd(model, answers[query.key]) or 0)
        return total


def _prefixes(queries: Sequence[Query]) -> Iterable[tuple[Query, int, bool]]:
    """Yield requests to one model with the characters that a cache can keep, and whether an earlier one has them."""
    least = beginning(queries[0].settings.model) or 0
    pairs = itertools.pairwise([q.prompt for q in queries])
    shared = [0, *(a.common(b) if min(a.chars, b.chars) >= least else 0 for a, b in pairs), 0]
    for query, before, after in zip(queries, shared, shared[1:], strict=False):
        prefix = next((n for n in (before, after) if n >= least), 0)
        yield query, prefix, before >= least


def write_blocks(path: Path) -> None:
    """Write demonstrations, several in one text: prompts of few messages are rendered faster."""
    with (ROOT / "experiments" / "data" / "TruthfulQA.csv").open(encoding="utf-8", newline="") as file:
        facts = [f"Q: {row['Question']}\nA: {row['Best Answer']}\n" for row in csv.DictReader(file)]
    blocks = ["".join(facts[i : i + BLOCK]) for i in range(0, len(facts) - BLOCK, BLOCK)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in blocks), encoding="utf-8")


def models_of(chance: random.Random) -> Iterator[tuple[str, dict[str, Any], str, float]]:
    """Yield the name of each subject, its law, its declaration and its hit rate."""
    for i in range(chance.randint(1, 3)):
        name, most, per_token = f"m{i}", chance.choice([4, 8, 16, 50, 200]), chance.uniform(3.6, 4.8)
        tokens = chance.choice(AVG_LENGTHS) / per_token
        law = {"per_token": per_token, "tokens": tokens, "most": most, "thinks": 0.0}
        into, out = round(10 ** chance.uniform(-0.7, 0.7), 2), chance.uniform(2, 8)
        cached, writes = chance.choice([(0.1, True), (0.1, False), (0.25, False), (0.5, False)])
        price = f"input: ${into}, output: ${into * out:.3f}, cached_input: ${into * cached:.4f}"
        price += f", cache_write: ${into * WRITE:.4f}" if writes else ""
        declared = (
            f'model {name} {{ use = "openai-api/lab/{name}", url = "http://127.0.0.1:1/v1", revision = "1", '
            f"max_tokens = {most}, batch = auto, price = {{ {price} }} }}\n"
        )
        yield name, law, declared, 0.0 if chance.random() < NO_HITS else chance.random()


def study(seed: int, folder: Path) -> tuple[Experiment, Law, dict[str, float]]:
    """Return a random study, the law of its answers, and the hit rate of each model."""
    chance = random.Random(seed)
    subjects = list(models_of(chance))
    models = {name: law for name, law, _, _ in subjects} | {"judge": {"per_token": chance.uniform(3.6, 4.8)}}
    rates = {name: rate for name, _, _, rate in subjects} | {"judge": 0.0}
    shots = chance.choice([[256], [64, 256], [0, 256], [32, 128], [128, 256], [0, 16, 64, 256]])
    n_questions = chance.choice([2, 4, 8, 16, 32, 100])  # that share a set
    rows = LEAST_ROWS * 10 ** chance.uniform(0, 0.5)
    samples = max(1, round(rows / (len(subjects) * len(shots) * n_questions)))
    body = (
        f"  for model in [{', '.join(name for name, *_ in subjects)}]\n  for k in {shots}\n"
        '  for instruction in { off: "" }\n  for style in { plain: "" }\n'
        f"  for q in draw(facts, {n_questions}, seed: {seed})\n  samples = {samples}\n"
        f"  let shots = draw(blocks, k / {BLOCK}, seed: sample)\n"
        "  ask answer from model with after(shots, q.user)\n"
    )
    body += "  judge rated with score(q.user, answer)\n" if chance.random() < 0.3 else ""
    text = HEAD.replace('revision = "1", price', 'revision = "1", batch = auto, price').replace("MAX", "8")
    text += BLOCKS.replace("FOLDER", str(folder)) + "".join(declared for _, _, declared, _ in subjects)
    text += f"experiment e {{\n{body}}}\n"
    (experiment,) = compile_source(Source("auto.em", text, ROOT / "experiments" / "data" / "auto.em"), {}).experiments
    return (
        experiment,
        Law(chance, models, chance.lognormvariate(-0.15, 0.45), chance.uniform(0, 0.15), 1.0, False),
        rates,
    )


def requests(experiment: Experiment, store: MemoryStore, selection: Selection | None = None) -> Sent:
    """Return the requests of some rows."""
    queries: dict[bytes, Query] = {}
    rows = Rows(experiment, selection)
    for chunk in chunks(rows.selected()):
        settle_from_store(rows, chunk, store)
        for row in chunk:
            queries |= {r.query.key: r.query for r in row.results.values() if r.query is not None}
    return Sent(tuple(queries.values()), store)


def ways(experiment: Experiment, store: MemoryStore) -> dict[str, Way]:
    """Return the way that `auto` chooses for the pending requests of each model."""
    (planner,) = planners([Rows(experiment)])
    count = planner.plan(store)
    return {m.name: of_model(m, [count], AUTO) for m in count.models.values()}


@dataclass(frozen=True, slots=True)
class Costs:
    """What one study costs by each policy, in US dollars."""

    auto: float  # the pilot online, then the rest by the chosen ways
    cheaper: float  # each model by its cheaper way from the start
    online: float
    batch: float
    by_batch_first: bool  # without an answer, and it says why

    def regret(self, usd: float) -> float:
        return usd / self.cheaper - 1


def compared(seed: int, folder: Path) -> Costs:
    """Send a study by each policy, and print what it costs."""
    experiment, law, rates = study(seed, folder)
    store, _ = answered(experiment, law)
    whole = requests(experiment, store)
    before = ways(experiment, MemoryStore())
    chosen = pilot_rows(experiment, experiment.samples, lambda _: True)
    pilot = requests(experiment, store, Selection(samples=max(chosen.values()), pilot=chosen))
    stored = MemoryStore()
    stored.answers |= pilot.online(rates, seed)
    after, rest = ways(experiment, stored), whole.without(stored.answers)
    online, batch = whole.usd(whole.online(rates, seed)), whole.usd(whole.by_batch())
    rest_online, rest_batch = rest.usd(rest.online(rates, seed)), rest.usd(rest.by_batch())
    rest_usd = sum((rest_batch if way.by_batch else rest_online)[name] for name, way in after.items())
    costs = Costs(
        auto=sum(pilot.usd(stored.answers).values()) + rest_usd,
        cheaper=sum(min(online[name], batch[name]) for name in online),
        online=sum(online.values()), batch=sum(batch.values()),
        by_batch_first=all(w.by_batch and ("--pilot" in w.why or "cheaper" in w.why) for w in before.values()),
    )  # fmt: skip
    shown = ", ".join(f"{name}{'' if after[name].by_batch else '*'} {rates[name]:.0%}" for name in sorted(after))
    print(
        f"{seed:5}  {len(whole.queries):8,}  {len(pilot.queries):5,}  {costs.online:7.2f}  {costs.batch:7.2f}  "
        f"{costs.cheaper:7.2f}  {costs.auto:7.2f}  {costs.regret(costs.auto):+6.1%}   {shown}"
    )
    return costs


def main(folder: Path, n: int, first: int = 0) -> int:
    """Compare the costs of so many studies; return the exit code."""
    start = time.process_time()
    write_blocks(folder / "blocks.jsonl")
    print("study  requests  pilot   online    batch  cheaper     auto  regret   hit rates; * chosen to go online")
    costs = [compared(seed, folder) for seed in range(first, first + n)]
    auto, batch, online = ([c.regret(getattr(c, name)) for c in costs] for name in ("auto", "batch", "online"))
    first_by_batch = sum(c.by_batch_first for c in costs)
    print(
        f"auto: regret {sum(auto) / n:.1%} in the mean, {max(auto):.1%} at worst of {n} studies; batch before the "
        f"first answer in {first_by_batch}; without a pilot {sum(batch) / n:.1%} and {max(batch):.1%} all by batch, "
        f"{sum(online) / n:.1%} and {max(online):.1%} all online; {time.process_time() - start:.0f} s"
    )
    return 1 if sum(auto) > MEAN * n or max(auto) > WORST or first_by_batch < n else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name), *map(int, sys.argv[1:] or [str(STUDIES)])))
