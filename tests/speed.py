"""How slow this machine is now: bounds in seconds are those of a reference machine, times that.

Machines that run the tests differ by a factor of three, and each is busy at times. A bound in seconds that holds on all
of them would let a program become three times slower before anybody sees it. So each bound is the time that is wanted
on the reference machine, and it is multiplied by how much longer the same work takes here: never by less than 1. A
measurement fails at `SLACK` times its bound: other programs take caches and turns in ways that `work` does not see.

A guard against processes that hang measures nothing: `HANG_S` is the one for all of them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE_S = 0.24  # CPU time of `work` on the reference machine: 0.105 s for the loop of tests/bench/billion.py
SLACK = 2.0  # a measurement that takes so many times longer than wanted fails
TRIES = 3  # of this machine, before a measurement fails
HANG_S = 120.0  # after which a process or a page that should have ended or shown something is stuck

_WORDS = [hashlib.sha256(bytes([i])).hexdigest()[: 3 + i % 9] for i in range(200)]


def work() -> None:
    """Do what a run does most: make digests and look them up, write and read JSON, compress, insert into a table."""
    keys = {hashlib.sha256(i.to_bytes(4, "big")).digest(): str(i) for i in range(60_000)}
    assert sum(len(keys[hashlib.sha256(i.to_bytes(4, "big")).digest()]) for i in range(0, 60_000, 4)) > 0
    records = [
        {"key": i, "text": " ".join(_WORDS[i * j % 200] for j in range(30)), "n": [i, i / 7]} for i in range(3_000)
    ]
    lines = [json.dumps(record).encode() for record in records]
    packed = [zstandard.ZstdCompressor(level=3).compress(line) for line in lines]
    texts = [json.loads(zstandard.ZstdDecompressor().decompress(data))["text"] for data in packed]
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE answers (key BLOB PRIMARY KEY, text TEXT, data BLOB)")
        database.executemany("INSERT INTO answers VALUES (?, ?, ?)", zip(keys, texts, packed, strict=False))
        assert database.execute("SELECT count(*), sum(length(text)) FROM answers").fetchone()[0] == len(texts)
    finally:
        database.close()


class Slowdown(NamedTuple):
    """How many times longer work takes now than on the reference machine, at least 1.

    `wall` includes the turns of other programs.
    """

    cpu: float = 1.0
    wall: float = 1.0


def slowdown() -> Slowdown:
    """Measure how slow this machine is now."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Slowdown(max(1.0, cpu / REFERENCE_S), max(1.0, wall / REFERENCE_S))


class Bounds:
    """Bounds in seconds of the reference machine.

    This machine is tried before a measurement and, if need be, after it; the slowest try counts.
    """

    def __init__(self, before: Slowdown | None = None) -> None:
        self._slow = before or slowdown()

    def check(self, what: str, wanted_s: float, *, cpu_s: float = inf, wall_s: float = inf) -> None:
        """Fail if both the CPU time and the wall time of a measurement are too long on this machine."""
        held = self.hold(wanted_s, cpu_s=cpu_s, wall_s=wall_s)
        if held and self._within(wanted_s, cpu_s, wall_s):
            return
        shown = [
            f"{took_s:.2f} s of {clock}, wanted {wanted_s * slow:.2f} here"
            for clock, took_s, slow in zip(("CPU", "wall time"), (cpu_s, wall_s), self._slow, strict=True)
            if took_s < inf
        ]
        text = f"{what} took too long: {'; '.join(shown)}; it fails at {SLACK:g} times that"
        if not held:
            raise AssertionError(text)
        print(text)

    def hold(self, wanted_s: float, *, cpu_s: float = inf, wall_s: float = inf) -> bool:
        """Whether the CPU time or the wall time of a measurement is short enough on this machine."""
        for _ in range(TRIES):
            if self._within(SLACK * wanted_s, cpu_s, wall_s):
                return True
            after = slowdown()
            self._slow = Slowdown(max(self._slow.cpu, after.cpu), max(self._slow.wall, after.wall))
        return self._within(SLACK * wanted_s, cpu_s, wall_s)

    def _within(self, limit_s: float, cpu_s: float, wall_s: float) -> bool:
        return cpu_s < limit_s * self._slow.cpu or wall_s < limit_s * self._slow.wall


@contextmanager
def within(wanted_s: float) -> Iterator[None]:
    """Fail if a block takes too long, in wall time. The machine is tried only then: a quick test costs no more."""
    start = time.perf_counter()
    yield
    Bounds(Slowdown()).check("this", wanted_s, wall_s=time.perf_counter() - start)


@contextmanager
def within_cpu(wanted_s: float) -> Iterator[None]:
    """Fail if a block takes too long, in CPU time of this process."""
    start = time.process_time()
    yield
    Bounds(Slowdown()).check("this", wanted_s, cpu_s=time.process_time() - start)
