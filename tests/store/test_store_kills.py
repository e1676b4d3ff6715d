"""Processes that use one store at once, and are killed: nothing acknowledged is lost, and no request is sent twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pg
import pytest
from speed import HANG_S
from store.conformance import KINDS, ON_A_SERVER, opened, texts
from store.conformance_process import AT_ONCE, NUMBERS
from support import ROOT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROCESSES = 4
EACH = [pytest.param(name, marks=pg.NEEDED if name in ON_A_SERVER else ()) for name in KINDS]
pytestmark = pytest.mark.thorough(only="some seconds of several processes")


def start(*args: str) -> subprocess.Popen[str]:
    path = f"{ROOT}:{ROOT / 'tests'}"
    process = subprocess.Popen(
        [sys.executable, "-m", "store.conformance_process", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment({"PYTHONPATH": path}),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@contextmanager
def started(n: int, *args: str) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [start(*args) for _ in range(n)]
    try:
        for process in processes:
            go(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("name", EACH)
def test_what_is_acknowledged_survives_its_process(name: str, tmp_path: Path) -> None:
    """Killed writers of the same keys: all that each of them was told is stored, and all were told the same."""
    kind = KINDS[name]
    place = kind.place(tmp_path)
    told: dict[int, str] = {}
    for seed in range(2):
        with started(PROCESSES, name, place, "put") as processes:
            time.sleep(random.Random(seed).uniform(0.05, 0.5))
            for process in processes:
                process.kill()
            printed = [process.communicate()[0] for process in processes]
        for lines in printed:
            for line in lines.split("\n")[:-1]:
                number, text = line.split(" ", 1)
                assert told.setdefault(int(number), text) == text
    assert told
    with opened(kind, place) as store:
        assert texts(store, told) == told
        assert store.damage() == ""
        assert not store.corrupt


@pytest.mark.parametrize("name", EACH)
def test_only_what_a_killed_process_had_in_flight_is_sent_again(name: str, tmp_path: Path) -> None:
    """Processes claim, send, store and are killed at random; others take over at once, and all ends whole."""
    kind = KINDS[name]
    place, sent = kind.place(tmp_path), tmp_path / "sent"
    sent.mkdir()
    kind.open(place).close()
    killed, rng = set[int](), random.Random(11)
    with started(PROCESSES, name, place, "ask", str(sent)) as processes:
        for _ in range(6):
            time.sleep(rng.uniform(0.02, 0.15))
            victim = rng.randrange(PROCESSES)
            if processes[victim].poll() is None:
                processes[victim].kill()
                killed.add(processes[victim].pid)
            processes[victim].communicate()
            processes[victim] = start(name, place, "ask", str(sent))
            go(processes[victim])
        for process in processes:
            assert process.wait(HANG_S) == 0
    senders: dict[int, list[int]] = {}
    for file in sent.iterdir():
        for sent_number in file.read_text(encoding="utf-8").split():
            senders.setdefault(int(sent_number), []).append(int(file.name))
    with opened(kind, place) as store:
        assert len(texts(store, range(NUMBERS))) == NUMBERS
    again = {n: ids for n, ids in senders.items() if len(ids) > 1}
    for number, ids in again.items():
        assert len([i for i in ids if i not in killed]) <= 1, (
            f"{number} was sent by {ids}, of which {killed} were killed"
        )
    lost = Counter(i for ids in again.values() for i in ids if i in killed)
    assert all(n <= 2 * AT_ONCE for n in lost.values()), lost
