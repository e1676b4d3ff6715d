"""A process that uses a store of any kind until it is killed, and writes down what it knows: see test_store_kills.

KIND PLACE put: stores answers of overlapping numbers, and prints each that is acknowledged.
KIND PLACE ask FOLDER: claims requests as a run does, writes each one that it sends to a file, and stores the answer.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from store.conformance import KINDS, answer
from store.test_disk import query

from emdsl.files import Busy

if TYPE_CHECKING:
    from emdsl.store.store import AnswerStore, AnyClaims

NUMBERS = 400  # of the requests that all processes want
AT_ONCE = 20


async def put(store: AnswerStore) -> None:
    rng = random.Random(os.getpid())
    while True:
        chosen = rng.sample(range(NUMBERS), AT_ONCE)
        stored = await asyncio.gather(*[store.put(query(i), answer(f"{os.getpid()}: {i}")) for i in chosen])
        print("".join(f"{i} {response.text}\n" for i, response in zip(chosen, stored, strict=True)), end="", flush=True)


async def ask(store: AnswerStore, claims: AnyClaims, sent: Path) -> None:
    rng, left = random.Random(os.getpid()), set(range(NUMBERS))
    with sent.open("a", encoding="utf-8", buffering=1) as file:
        while left:
            chosen = {query(i).key: i for i in rng.sample(sorted(left), min(AT_ONCE, len(left)))}
            try:
                won = claims.take(chosen)
            except Busy:
                continue
            there = store.get_many(chosen)  # after the claim, as a run does
            missing = [i for key, i in chosen.items() if key in won and key not in there]
            for i in missing:
                file.write(f"{i}\n")
            await asyncio.sleep(rng.random() * 0.01)
            await asyncio.gather(*[store.put(query(i), answer(f"{i}")) for i in missing])
            claims.release(won)
            left -= {*missing, *(chosen[key] for key in there)}


def main() -> None:
    name, place, what, *more = sys.argv[1:]
    store = KINDS[name].open(place)
    print("ready", flush=True)
    sys.stdin.readline()  # all begin at once
    if what == "put":
        asyncio.run(put(store))
    else:
        claims = KINDS[name].claims(place, f"run-{os.getpid()}")
        asyncio.run(ask(store, claims, Path(more[0]) / f"{os.getpid()}"))
        claims.close()
    store.close()


if __name__ == "__main__":
    main()
