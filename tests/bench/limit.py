"""The limit to measure against: a bare aiohttp loop that asks N times, then judges each answer, and keeps nothing.

Prints one JSON object: requests, wall_s, requests_per_s, cpu_s, rss_mb.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = {"Authorization": "Bearer mock", "Content-Type": "application/json"}


def ask(cell: int, sample: int) -> bytes:
    """Return the body of an ask: the one that the study of bench.py sends."""
    text = f"Question {cell}: is it ever right to break a promise? " + "Give your reasons. " * 12
    message = {"role": "user", "content": text}
    return json.dumps({"model": "mock-1", "messages": [message], "temperature": 1.0, "seed": sample}).encode()


def judge(answer: str) -> bytes:
    """Return the body of a judgement."""
    message = {"role": "user", "content": "JUDGE Rate 0 to 100: " + answer}
    return json.dumps({"model": "judge-int", "messages": [message], "temperature": 0.0}).encode()


async def sender(session: aiohttp.ClientSession, url: str, text: str, cells: Iterator[tuple[int, int]]) -> None:
    """Send bodies of one size, made before, until nothing is left: only their last bytes differ."""
    message = json.dumps({"role": "user", "content": text})
    head = f'{{"model": "mock-1", "messages": [{message}], "temperature": 1.0, "seed": '.encode()
    for cell, sample in cells:
        await post(session, url, head + f"{cell * 100_000 + sample}}}".encode())


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> str:
    """Return the text of a reply."""
    async with session.post(f"{url}/chat/completions", data=body, headers=HEADERS) as reply:
        return str(json.loads(await reply.read())["choices"][0]["message"]["content"])


async def worker(session: aiohttp.ClientSession, url: str, cells: Iterator[tuple[int, int]]) -> None:
    """Ask and judge until nothing is left."""
    for cell, sample in cells:
        await post(session, url, judge(await post(session, url, ask(cell, sample))))


async def main(url: str, n_cells: int, samples: int, concurrency: int, size: int) -> None:
    """Run the loop and print its figures."""
    cells = ((c, s) for c in range(n_cells) for s in range(samples))
    start = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        if size:
            text = "x" * size
            await asyncio.gather(*(sender(session, url, text, cells) for _ in range(concurrency)))
        else:
            await asyncio.gather(*(worker(session, url, cells) for _ in range(concurrency)))
    wall_s, use = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    n = (1 if size else 2) * n_cells * samples
    figures = {
        "requests": n,
        "wall_s": round(wall_s, 3),
        "requests_per_s": round(n / wall_s),
        "cpu_s": round(use.ru_utime + use.ru_stime, 2),
        "rss_mb": round(use.ru_maxrss / 1024, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--size", type=int, default=0, help="bytes of each prompt; asks only")
    options = parser.parse_args()
    asyncio.run(main(options.url, options.cells, options.samples, options.concurrency, options.size))
