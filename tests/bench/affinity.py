"""Where requests of a fleet of model servers find their prompts in a cache, by policy: `make bench`, a minute.

ICL grids run on 8 simulated servers, whose caches each hold less than a quarter of the demonstration sets. Exits 1 if
prefix affinity reads less from caches than another policy, less than twice as much as random placement where a prefix
has few requests, or if it takes over 15 % longer than the best; or if it makes fewer than 10,000 choices a second.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from run.fleet import (
    BLOCK_CHARS,
    READ_PER_S,
    TOKENS_PER_BLOCK,
    FirstKilobyte,
    Fleet,
    LeastLoaded,
    Measured,
    Random,
    RoundRobin,
    demonstrations,
    serve,
    study,
)
from support import experiment

from emdsl.run.affinity import Affinity
from emdsl.run.requests import Request
from emdsl.run.rows import Rows

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

KS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
CHARS, CONNECTIONS = 120, 128  # of a demonstration; in flight, 16 for each server
SHARE = 0.24  # of the sets that one cache holds
SYSTEM = "You answer questions about cases, one after the other. " * 25  # more than 1 KB that all prompts share
POLICIES = {
    "affinity": None, "first 1 KB": FirstKilobyte, "least loaded": LeastLoaded, "round robin": RoundRobin,
    "random": Random,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Sets of demonstrations x numbers of them x questions x samples."""

    sets: int
    questions: int
    samples: int = 1
    prompt: str = "turns"
    by_sample: bool = False  # each sample draws a set of its own
    system: str = "Answer with yes or no."
    twice: bool = False  # random placement is to find less than half: a prefix has as many requests as servers

    def experiment(self, folder: Path) -> Experiment:
        """Compile it."""
        seed = "sample" if self.by_sample else "set"
        return experiment(
            study(ks=KS, sets=self.sets, questions=self.questions, samples=self.samples, prompt=self.prompt,
                  seed=seed, system=self.system),
            folder,
        )  # fmt: skip

    @property
    def capacity(self) -> int:
        """Blocks of one cache."""
        n_sets = self.samples if self.by_sample else self.sets
        return int(SHARE * n_sets * max(KS) * CHARS / BLOCK_CHARS)


GRIDS = {
    "8 questions": Grid(sets=32, questions=8, twice=True),
    "8 questions, one message": Grid(sets=32, questions=8, prompt="text", twice=True),
    "8 questions, long system": Grid(sets=32, questions=8, system=SYSTEM),
    "4 questions x 2 samples": Grid(sets=32, questions=4, samples=2, twice=True),
    "a set for each sample": Grid(sets=1, questions=8, samples=30, by_sample=True),
    "25 questions x 5 samples": Grid(sets=4, questions=25, samples=5),
}


def compare(name: str, grid: Grid, folder: Path) -> list[str]:
    """Run a grid with each policy, and print a line for each; return what does not hold."""
    found = grid.experiment(folder)
    measured: dict[str, Measured] = {}
    for label, policy in POLICIES.items():
        done = measured[label] = serve(found, Fleet(grid.capacity), policy, connections=CONNECTIONS)
        servers, mean_s = done.fleet.servers, sum(s.busy_s for s in done.fleet.servers) / len(done.fleet.servers)
        print(
            f"{name:26} {label:13} {len(done.store.answers):6,} requests   from caches {done.fleet.hit_rate:6.1%}   "
            f"{done.seconds:6.0f} s   reading {mean_s:5.1f} s, at most {max(s.busy_s for s in servers):5.1f} s",
            flush=True,
        )
    own, failures = measured["affinity"], []
    best_s = min(m.seconds for m in measured.values())
    for label, other in measured.items():
        if other.fleet.hit_rate > own.fleet.hit_rate:
            failures.append(f"{name}: {label} reads more from caches")
    if grid.twice and own.fleet.hit_rate < 2 * measured["random"].fleet.hit_rate:
        failures.append(f"{name}: less than twice as much from caches as random placement")
    if own.seconds > 1.15 * best_s:
        failures.append(f"{name}: {own.seconds:.0f} s, the best policy {best_s:.0f} s")
    return failures


def requests_of(found: Experiment) -> list[Request]:
    """Return the request of each row, in their order."""
    rows = Rows(found)
    return [Request(query, "icl", {}, query.prompt.chars) for row in rows.selected() for _, query in rows.advance(row)]


def deaths(folder: Path) -> list[str]:
    """Let three servers die, each for 5 s; return what does not hold."""
    grid = GRIDS["8 questions"]
    found, fleet = grid.experiment(folder), Fleet(grid.capacity)
    events = []
    for i, at in ((1, 4.0), (5, 8.0), (6, 8.5)):
        events += [(at, lambda i=i: fleet.kill(i)), (at + 5, lambda i=i: fleet.start(i))]
    done = serve(found, fleet, connections=CONNECTIONS, events=events)
    n = len(done.store.answers)
    print(
        f"3 of 8 servers die for 5 s: {n:,} answers, {done.report.sent - n} attempts lost with them, "
        f"from caches {fleet.hit_rate:.1%}, {done.seconds:.0f} s"
    )
    lost = fleet.lost + fleet.refused
    whole = (
        n == len({r.query.key for r in requests_of(found)})
        and not done.report.failures
        and done.report.sent == n + lost
    )
    return [] if whole and 0 < lost < CONNECTIONS else ["deaths: more is lost than what was in flight"]


def cost(folder: Path) -> list[str]:
    """Time choices among 8 replicas; return whether they are too slow."""
    requests = requests_of(GRIDS["8 questions"].experiment(folder))
    left, line, flying = iter(requests), deque[Request](), deque[int]()
    affinity, in_flight = Affinity(8), [0] * 8
    start = time.process_time()
    for _ in requests:
        while len(line) < 2 * CONNECTIONS and (request := next(left, None)) is not None:
            line.append(request)
        if len(flying) == CONNECTIONS:
            in_flight[flying.popleft()] -= 1
        place, replica = affinity.choose(line, range(8), in_flight, 8)
        chosen = line[place]
        del line[place]
        affinity.placed(chosen, replica)
        in_flight[replica] += 1
        flying.append(replica)
    per_s = len(requests) / (time.process_time() - start)
    print(f"choices of a replica: {per_s:,.0f} a second, {1e6 / per_s:.0f} us each")
    return [] if per_s >= 10_000 else [f"{per_s:,.0f} choices a second"]


def main() -> int:
    """Compare policies; return the exit code."""
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "demonstrations.csv").write_text(demonstrations(2_000, CHARS), encoding="utf-8")
        print(f"8 servers, each reads {READ_PER_S:,.0f} tokens/s; caches of {TOKENS_PER_BLOCK}-token blocks")
        for label, grid in GRIDS.items():
            failures += compare(label, grid, folder)
        failures += deaths(folder) + cost(folder)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
