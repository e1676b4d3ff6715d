"""Estimated and true costs of simulated studies, before any answer and after a pilot: part of `make stress`.

20 studies of varied grids are answered in memory by models whose lengths follow a drawn law, which the planner does not
know. Its likely figure is compared with the true cost of all requests: before any answer, and, for the requests that
are left, after a pilot. `python tests/bench/pilot.py 200` draws more studies.

The law, from published lengths that the assumed ones of `run/priors.py` were not set by:

- A model's mean answer is that of one of 19 chat models on AlpacaEval 2 (avg_length, every second model of a list by
  name; the assumed length is from the other half), at 3.6 to 4.8 characters per token.
- A study has a topic (log-normal, sd 0.45), questions (sd 0.6, as the answers of TruthfulQA.csv; those of the two files
  of code have 0.5) and draws (sd 0.4). Instructions to think step by step make answers of each model 1.3 to 4 times as
  long, a terse style 0.3 to 0.6 times, and k demonstrations (1 + k) ** -0.15 to 0 times.
- A reasoning model thinks 700 to 950 tokens (Qwen 3 plus) or 300 to 440 (Gemma 4; roboflow/inference #2850) at medium
  effort, half of that at low and 1.5 times at high, times a size (sd 0.5), and longer before long answers.
- Verdicts are numbers of 1 to 4 tokens, paragraphs (150 tokens, sd 0.5), or JSON with a quote. Scores fall with k.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from support import ROOT

from emdsl.compiler.compile import compile_source
from emdsl.experiment import ASK
from emdsl.price_list import cost_usd
from emdsl.query import Response, Usage
from emdsl.reasoning import split
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.pilot import pilot_rows
from emdsl.run.planner import Planner
from emdsl.run.rows import Rows, Selection, settle_answer
from emdsl.source import Source
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query

STUDIES, WITHIN_20, WITHIN_2X = 20, 18, 15
AVG_LENGTHS = (  # characters
    1069, 1488, 1420, 1983, 827, 796, 1802, 1861, 1371, 2049, 1899, 1988, 2181, 1581, 1500, 1465, 1607, 1626, 1115,
)  # fmt: skip
MOST_ROWS, LEAST_ROWS = 4_000, 600
WORDS = "the answer goes on with one more word and then another "
HEAD = """em 1
dataset facts { file = "TruthfulQA.csv", columns = { user: "Question", assistant: "Best Answer", id: "Question" } }
prompt demonstrations(instruction, style, shots, question) {
  when style != "" { system style }
  when instruction != "" { system instruction }
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
model judge {
  use = "openai-api/lab/judge", url = "http://127.0.0.1:1/v1", revision = "1", price = { input: $2.50, output: $10 }
}
rubric score(question, answer) from judge {
  scale = 0..100
  temperature = 0
  max_tokens = MAX
  user "RUBRIC\\nQuestion: {question}\\nAnswer: {answer}\\nReply with a number from 0 to 100."
}
rubric traits(question, answer) from judge {
  shape = { reckless: bool, aware: bool, severity: number, quote: text }
  max_tokens = 300
  user "RUBRIC\\nQuestion: {question}\\nAnswer: {answer}\\n{shape}"
}
""".replace("RUBRIC", "Read the answer of a language model with care, and rate how well it fits human values. " * 8)


@dataclass(frozen=True)
class Law:
    """How long the answers of one study are."""

    chance: random.Random
    models: dict[str, dict[str, Any]]
    topic: float
    shortening: float  # exponent of 1 + k
    terse: float
    reasoned: bool
    questions: dict[str, float] = field(default_factory=dict)

    def answer(self, row: Outcome, step: Step, query: Query) -> Response:
        """Return an answer of a length by the law."""
        model = self.models[query.settings.model.name]
        into = round(query.prompt.chars / model["per_token"]) + 4 * len(query.prompt.messages) + 3
        if step.kind != ASK:
            return self._verdict(row, step, query, into)
        frame = row.frame
        question = self.questions.setdefault(frame.levels["q"].shown, self.chance.lognormvariate(0, 0.6))
        mean = model["tokens"] * self.topic * question * (1 + float(frame["k"])) ** -self.shortening
        mean *= model["cot"] if frame["instruction"] else 1.0
        mean *= self.terse if frame["style"] else 1.0
        thought = 0.0
        if model["thinks"]:
            effort = {"low": 0.5, "medium": 1.0, "high": 1.5}[model["effort"]]
            thought = model["thinks"] * effort * math.sqrt(question) * self.chance.lognormvariate(-0.08, 0.4)
        text, most = max(1, round(mean * self.chance.lognormvariate(-0.08, 0.4))), model["most"]
        tokens = min(round(thought) + text, most)
        text = max(tokens - round(thought), 0)
        return _response(_words(query, round(text * model["per_token"])), into, tokens, tokens - text)

    def _verdict(self, row: Outcome, step: Step, query: Query, into: int) -> Response:
        value = max(0, min(100, round(self.chance.gauss(75 - 8 * math.log2(1 + float(row.frame["k"])), 25))))
        if step.reply_format is not None and step.reply_format.shape:
            quote = "q" * max(1, round(self.chance.lognormvariate(math.log(80), 0.6)))
            text = json.dumps({"reckless": True, "aware": False, "severity": value / 100, "quote": quote})
            return _response(text, into, min(34 + len(quote) // 4, 300), 0)
        if self.reasoned:
            n = max(5, round(self.chance.lognormvariate(math.log(150), 0.5)))
            return _response(f"{_words(query, n * 4)}\nANSWER: {value}", into, min(n, 400), 0)
        return _response(str(value), into, self.chance.choice([1, 1, 2, 4]), 0)


def _response(text: str, into: int, out: int, thought: int) -> Response:
    usage = Usage(input_tokens=into, output_tokens=max(out, 1), reasoning_tokens=thought or None)
    return Response(text=text, finish="stop", usage=usage, run="r")


def _words(query: Query, chars: int) -> str:
    name = query.key.hex()[:16] + " "
    return (name + WORDS * (chars // len(WORDS) + 1))[: max(chars, len(name))]


def study(seed: int) -> tuple[Experiment, Law]:
    """Return a random study, and the law of its answers."""
    chance = random.Random(seed)
    models: dict[str, dict[str, Any]] = {"judge": {"per_token": chance.uniform(3.6, 4.8)}}
    text = HEAD
    reasoned = chance.random() < 0.2
    for i in range(chance.randint(1, 5)):
        thinks = chance.random() < 0.35
        made: dict[str, Any] = models.setdefault(f"m{i}", {"per_token": chance.uniform(3.6, 4.8)})
        made["tokens"] = chance.choice(AVG_LENGTHS) / made["per_token"]
        made["most"] = chance.choice([5000, 4000, 8000] if thinks else [600, 1000, 4000, 5000])
        made["cot"] = chance.uniform(1.0, 1.4) if thinks else chance.uniform(1.3, 4.0)
        made["effort"] = chance.choice(["low", "medium", "high"])
        base = chance.choice([chance.uniform(700, 950), chance.uniform(300, 440)])
        made["thinks"] = base * chance.lognormvariate(0, 0.5) if thinks else 0.0
        into = Decimal(str(round(10 ** chance.uniform(-0.7, 0.7), 2)))
        effort = f'reasoning_effort = "{made["effort"]}", ' if thinks else ""
        out = into * chance.choice([3, 4, 5])
        text += (
            f'model m{i} {{ use = "openai-api/lab/m{i}", url = "http://127.0.0.1:1/v1", revision = "1", {effort}'
            f"max_tokens = {made['most']}, price = {{ input: ${into}, output: ${out} }} }}\n"
        )
    shots = chance.choice([[0], [0], [0, 4], [0, 16], [0, 2, 4, 8, 16, 32], [0, 8, 64]])
    cot = chance.random() < 0.4
    style = chance.random() < 0.3
    n_questions = chance.choice([8, 16, 24, 48, 100])
    cells = (len(models) - 1) * len(shots) * (1 + cot) * (1 + style) * n_questions
    most = max(1, min(100, MOST_ROWS // cells))
    samples = max(chance.randint(1, most), min(most, -(-LEAST_ROWS // cells)))
    skip = "  skip when k > 8 and style is terse\n" if style and chance.random() < 0.5 else ""
    on = ', on: "Think step by step before you answer."' if cot else ""
    terse = ', terse: "Be brief."' if style else ""
    body = (
        f"  for model in [{', '.join(n for n in models if n != 'judge')}]\n  for k in {shots}\n"
        f'  for instruction in {{ off: ""{on} }}\n  for style in {{ plain: ""{terse} }}\n'
        f"  for q in draw(facts, {n_questions}, seed: {seed})\n{skip}  samples = {samples}\n"
        "  let shots = draw(facts, k, seed: sample)\n"
        "  ask answer from model with demonstrations(instruction, style, shots, q.user)\n"
    )
    judged = chance.random()
    if judged < 0.8:
        body += "  judge rated with score(q.user, answer)\n"
    if judged < 0.4:
        body += "  when rated < 50 { judge traits_of with traits(q.user, answer) }\n"
    text = text.replace("MAX", "400" if reasoned else "8") + f"experiment e {{\n{body}}}\n"
    (experiment,) = compile_source(Source("pilot.em", text, ROOT / "experiments" / "data" / "pilot.em"), {}).experiments
    law = Law(
        chance, models, chance.lognormvariate(-0.15, 0.45), chance.uniform(0, 0.15), chance.uniform(0.3, 0.6), reasoned
    )
    return experiment, law


def answered(experiment: Experiment, law: Law) -> tuple[MemoryStore, dict[bytes, Decimal]]:
    """Return all answers of a study, and the cost of each in US dollars."""
    rows, store, costs = Rows(experiment), MemoryStore(), dict[bytes, Decimal]()
    for row in rows.selected():
        ready = rows.advance(row)
        while ready:
            for step, query in ready:
                response = store.answers.get(query.key)
                if response is None:
                    response = store.answers[query.key] = law.answer(row, step, query)
                    costs[query.key] = cost_usd(query.settings.model, response) or Decimal(0)
                settle_answer(row, step, response, split(response, query))
            ready = rows.advance(row)
    return store, costs


def piloted(experiment: Experiment, store: MemoryStore) -> MemoryStore:
    """Return the answers that a pilot of a study has."""
    chosen = pilot_rows(experiment, experiment.samples, lambda _: True)
    rows, pilot = Rows(experiment, Selection(samples=max(chosen.values()), pilot=chosen)), MemoryStore()
    for chunk in chunks(rows.selected()):
        settle_from_store(rows, chunk, store)
        for row in chunk:
            for result in row.results.values():
                if result.query is not None and result.response is not None:
                    pilot.answers[result.query.key] = result.response
    return pilot


def likely(experiment: Experiment, store: MemoryStore) -> tuple[Decimal, Decimal, Decimal]:
    """Return what a plan says of the pending requests, in US dollars: the least, the likely and the most."""
    estimates = [s.estimate for s in Planner(Rows(experiment)).plan(store).steps]
    low, usd, high = ([getattr(e, n) for e in estimates] for n in ("low_usd", "usd", "high_usd"))
    return sum(low, Decimal(0)), sum(usd, Decimal(0)), sum(high, Decimal(0))


def main(n: int, first: int = 0) -> int:
    """Compare the estimates of so many studies; return the exit code."""
    near, rough, bounded, start = 0, 0, 0, time.process_time()
    print("study  requests   pilot     true   at least  at most   before          after")
    for seed in range(first, first + n):
        experiment, law = study(seed)
        store, costs = answered(experiment, law)
        pilot = piloted(experiment, store)
        true = sum(costs.values(), Decimal(0))
        rest = true - sum((costs[key] for key in pilot.answers), Decimal(0))
        low, before, high = likely(experiment, MemoryStore())
        _, after, _ = likely(experiment, pilot)
        off, times = float(after / rest) - 1, float(before / true)
        near += abs(off) <= 0.2
        rough += 0.5 <= times <= 2
        bounded += low <= true <= high
        print(
            f"{seed:5}  {len(costs):8,}  {len(pilot.answers):6,}  {true:7.2f}  {low:9.2f}  {high:7.2f}  "
            f"{before:7.2f} {times:5.2f}x  {after:7.2f} {off:+5.0%}"
        )
    print(
        f"pilot: within 20 % after it in {near} of {n}, within 2x before any answer in {rough}, between the bounds in "
        f"{bounded}; {time.process_time() - start:.0f} s"
    )
    return 1 if near * STUDIES < WITHIN_20 * n or rough * STUDIES < WITHIN_2X * n or bounded < n else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:] or [str(STUDIES)])))
