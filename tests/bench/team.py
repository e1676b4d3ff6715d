"""The store of a team on one machine: `make bench`. Rates beside those of the store on disk, and copies of all.

With `--scale`, 1,000,000 answers are pulled into an empty store on disk. Every write is durable.
Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from typing import TYPE_CHECKING

import pg
from speed import Bounds
from store.test_disk import HEAD, PROMPT, STATE

from emdsl.query import Query, Response
from emdsl.store.codec import encode
from emdsl.store.copying import copy_entries
from emdsl.store.disk import DiskStore
from emdsl.store.postgres import PostgresStore
from emdsl.store.postgres_claims import PostgresClaims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.store.store import AnswerStore

WRITTEN = 20_000  # answers of one try
IN_FLIGHT = 1_000  # requests
TRIES = 3
LEAST_RATIO = 0.9  # of the rates of one client that writes, on PostgreSQL and on disk
COPIED, WANTED_PULL_S = (1_000_000, 60.0) if "--scale" in sys.argv else (50_000, 15.0)  # of the reference machine


def query(number: int) -> Query:
    return Query(HEAD, PROMPT, number, STATE.key(0, number))


def answer() -> Response:
    """Return an answer whose entry has about 600 bytes."""
    return Response(text=os.urandom(150).hex(), finish="stop", answered_at=time.time())


async def written(store: AnswerStore, first: int) -> None:
    """Store answers as a run does: each request that is answered makes room for the next."""
    numbers = iter(range(first, first + WRITTEN))

    async def one() -> None:
        for number in numbers:
            await store.put(query(number), answer())

    await asyncio.gather(*[one() for _ in range(IN_FLIGHT)])


def rate(work: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    work()
    return n / (time.perf_counter() - start)


def one_client(team: PostgresStore, disk: DiskStore) -> str:
    """Compare the rates of new answers, in turns, since other programs use the machine too."""
    best: dict[str, float] = {}
    for turn in range(TRIES):
        for name, store in (("disk", disk), ("team", team)):
            found = rate(partial(asyncio.run, written(store, turn * WRITTEN)), WRITTEN)
            best[name] = max(best.get(name, 0), found)
    ratio = best["team"] / best["disk"]
    assert ratio >= LEAST_RATIO, f"{best['team']:,.0f}/s are {ratio:.2f} of {best['disk']:,.0f}/s on disk"
    return f"one client: {best['team']:,.0f} answers/s, {ratio:.2f} of the store on disk ({best['disk']:,.0f}/s)"


def looked_up(team: PostgresStore, url: str) -> str:
    keys = [query(i).key for i in range(WRITTEN)]
    there, answers = rate(lambda: team.stored(keys), WRITTEN), rate(lambda: team.get_many(keys), WRITTEN)
    with closing(PostgresClaims(url, "bench")) as claims:
        claimed = rate(lambda: claims.take(keys), WRITTEN)
    return f"keys looked up {there:,.0f}/s, answers read {answers:,.0f}/s, requests claimed {claimed:,.0f}/s"


def made() -> Iterator[tuple[bytes, bytes]]:
    for number in range(COPIED):
        one = query(number)
        yield one.key, encode(one, answer())


def copies(server: pg.Server, folder: Path) -> str:
    """Push all answers of a store on disk, and pull them into an empty one."""
    with closing(PostgresStore(server.new_database())) as team:
        with closing(DiskStore(folder / "mine")) as mine:
            mine.adopt(made())
            start = time.perf_counter()
            assert copy_entries(mine, team).new == COPIED
            pushed_s = time.perf_counter() - start
        with closing(DiskStore(folder / "empty")) as empty:
            bounds, start, cpu = Bounds(), time.perf_counter(), time.process_time()
            assert copy_entries(team, empty).new == COPIED
            pulled_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
            start = time.perf_counter()
            assert copy_entries(team, empty) == (0, COPIED, 0)
            again_s = time.perf_counter() - start
    bounds.check(f"pulling {COPIED:,} answers", WANTED_PULL_S, cpu_s=cpu_s, wall_s=pulled_s)
    return (
        f"{COPIED:,} answers: pushed in {pushed_s:.1f} s, pulled in {pulled_s:.1f} s ({cpu_s:.1f} s CPU), "
        f"pulled again in {again_s:.1f} s"
    )


def main() -> None:
    server = pg.Server(durable=True)
    with tempfile.TemporaryDirectory() as name:
        folder, url = Path(name), server.new_database()
        with closing(PostgresStore(url)) as team, closing(DiskStore(folder / "disk")) as disk:
            print(one_client(team, disk), flush=True)
            print(looked_up(team, url), flush=True)
        print(copies(server, folder), flush=True)
    server.remove()


if __name__ == "__main__":
    main()
