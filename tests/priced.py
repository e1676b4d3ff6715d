"""A study whose requests have a price, and a provider that charges random amounts and counts what it charged."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

from support import InProcess

from emdsl.errors import Throttled
from emdsl.query import Query, Response, Usage
from emdsl.run.budget import sent_tokens, worst_usd

STUDY = """
model m { use = "openai/gpt-4o-2024-08-06", max_tokens = 100, price = { input: $1000, output: $10_000 } }
experiment e {
  for q in 1..30
  budget = $BUDGET
  ask answer from m with "question {q}"
}
"""


IN_USD, OUT_USD = Decimal(1000) / 10**6, Decimal(10_000) / 10**6  # of one token, in the study


class Priced(InProcess):
    """Answers with random usage: never more than was allowed, unless it `overruns`; fails now and then."""

    def __init__(self, seed: int, *, overruns: float = 0.0, fails: float = 0.0) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.overruns, self.fails = overruns, fails
        self.spent = Decimal(0)
        self.overrun = Decimal(0)
        self.flying = Decimal(0)
        self.most = Decimal(0)  # spent and in flight at any time, at worst

    async def ask(self, query: Query, *_: Any) -> Response:
        self.flying += worst_usd(query)
        self.most = max(self.most, self.spent + self.flying)
        await asyncio.sleep(self.rng.random() / 1000)
        self.flying -= worst_usd(query)
        if self.rng.random() < self.fails:
            raise Throttled("slow down", wait_s=0.001)
        self.asked["m"] += 1
        sent, said = self.rng.randint(1, sent_tokens(query)), self.rng.randint(0, 100)
        if self.rng.random() < self.overruns:
            said += 100
            self.overrun += max(IN_USD * sent + OUT_USD * said - worst_usd(query), Decimal(0))
        self.spent += IN_USD * sent + OUT_USD * said
        return Response(text="a", finish="stop", usage=Usage(input_tokens=sent, output_tokens=said))
