"""How long a study of N requests takes, how large it becomes, and what limits it: a model with measured constants.

Each stage of a study is a line over its number of requests: what it costs once, and what each request adds. The
constants are measured at some ten thousand requests; tests/bench/billion.py compares the predictions with a larger
study. Seconds of work are those of one core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EFFICIENCY = 0.85  # of each worker beside others, at least: tests/bench/workers.py
POSTGRES_PER_S = 87_000.0  # answers that one server takes in a second, in batches of 100
GB, MB = 1e9, 1e6
HOUR, DAY = 3_600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Line:
    """A cost: what there is without a request, and what each adds."""

    fixed: float
    each: float

    def at(self, n: float) -> float:
        """Return the cost of n requests."""
        return self.fixed + self.each * n

    def shared(self, n: float, speed: float) -> float:
        """Return the cost of n requests if they are shared by workers; the start is not."""
        return self.fixed + self.each * n / speed


def fitted(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through points by Theil and Sen: the median of all slopes, which one of five points may spoil."""
    each = median([(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2)])
    return Line(median([y - each * x for x, y in points]), each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Constants of the stages, by requests."""

    plan_s: Line  # of a study that has no answers yet: work
    plan_mb: Line
    merge_s: Line  # of the keys that another process has counted into those of this one: work
    send_s: Line  # work of the process that sends, without the one that loads
    wire_mb: Line  # of requests and answers
    store_s: Line  # work of the store alone, within that of the process that sends
    store_mb: Line  # on disk
    again_s: Line  # a plan of a study that has all answers: work
    again_mb: Line
    load_s: Line  # all rows into fresh tables: work
    load_mb: Line
    tables_mb: Line  # on disk


LOAD_MB = Line(360.0, 3.0e-04)  # of loads of 100,000 to 2,500,000 requests: the buffers of DuckDB are full only there
MEASURED = Costs(  # by tests/bench/billion.py, on 2 cores of a server that others used too
    plan_s=Line(0.17, 4.1e-06),
    plan_mb=Line(34.0, 1.06e-04),
    merge_s=Line(0.0, 2.2e-07),
    send_s=Line(0.73, 2.27e-04),
    wire_mb=Line(0.0, 9.9e-04),
    store_s=Line(0.0, 2.6e-05),
    store_mb=Line(0.01, 5.43e-04),
    again_s=Line(0.22, 2.44e-05),
    again_mb=Line(40.0, 1.2e-04),
    load_s=Line(0.7, 3.69e-05),
    load_mb=LOAD_MB,
    tables_mb=Line(1.1, 9.9e-05),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a study runs, and what answers it."""

    name: str
    machines: int = 1
    cores: int = 1  # of each, one worker on each core
    memory_gb: float = 16.0  # of each
    disk_gb: float = 1_000.0
    connections: int = 500  # of each worker
    latency_s: float = 2.0  # until an answer
    network_mb_s: float = 1_000.0  # of each
    per_s: float = math.inf  # requests that the provider answers at most
    postgres: bool = False

    @property
    def workers(self) -> int:
        """Processes that send."""
        return self.machines * self.cores

    @property
    def speed(self) -> float:
        """How many times as fast as one worker all of them are."""
        return self.workers * (EFFICIENCY if self.workers > 1 else 1.0)


SETTINGS = (
    Setting(name="One core, a hosted model with 10,000 requests a minute", per_s=10_000 / 60),
    Setting(name="One machine of 16 cores, 8 GPUs with 50 requests/s each", cores=16, memory_gb=128, disk_gb=4_000,
            per_s=8 * 50),
    Setting(name="8 machines of 16 cores, 64 GPUs, one PostgreSQL server", machines=8, cores=16, memory_gb=128,
            disk_gb=20_000, per_s=64 * 50, postgres=True),
    Setting(name="The same, and models that answer any number", machines=8, cores=16, memory_gb=128, disk_gb=20_000,
            postgres=True),
)  # fmt: skip
SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A study of n requests in one setting; times in seconds on the clock."""

    plan_s: float
    send_s: float
    bound: str  # what the time of sending is due to
    again_s: float  # to count the cached answers of a complete study
    load_s: float
    disk_gb: float
    memory_gb: float  # of the largest process


def forecast(costs: Costs, setting: Setting, n: float) -> Forecast:
    """Predict a study of n requests."""
    bounds = {
        "work": costs.send_s.shared(n, setting.speed),
        "latency": n * setting.latency_s / (setting.connections * setting.workers),
        "network": costs.wire_mb.at(n) / (setting.network_mb_s * setting.machines),
        "provider": n / setting.per_s,
        "store": n / POSTGRES_PER_S if setting.postgres else costs.store_s.at(n),
    }
    bound = max(bounds, key=lambda name: bounds[name])
    cores = setting.cores * (EFFICIENCY if setting.cores > 1 else 1.0)  # tables are one file, made by one machine
    merged_s = costs.merge_s.at(n) if setting.workers > 1 else 0.0
    return Forecast(
        plan_s=max(costs.plan_s.shared(n, setting.speed), merged_s),
        send_s=bounds[bound],
        bound=bound,
        again_s=max(costs.again_s.shared(n, setting.speed), merged_s),
        load_s=costs.load_s.shared(n, cores),
        disk_gb=(costs.store_mb.at(n) + costs.tables_mb.at(n)) * MB / GB,
        memory_gb=max(costs.plan_mb.at(n), costs.again_mb.at(n), costs.load_mb.at(n)) * MB / GB,
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """What a study meets first beyond a size."""

    n: float  # requests
    what: str


def limits(costs: Costs, setting: Setting) -> list[Limit]:
    """Return what a setting cannot do any more, from the smallest size on."""

    def of(what: str, too_much: Callable[[Forecast], bool]) -> Limit:
        return Limit(_smallest(lambda n: too_much(forecast(costs, setting, n))), what)

    found = [
        of(f"the memory of {setting.memory_gb:,.0f} GB", lambda f: f.memory_gb > setting.memory_gb),
        of(f"the disk of {setting.disk_gb:,.0f} GB", lambda f: f.disk_gb > setting.disk_gb),
        of("a day to send", lambda f: f.send_s > DAY),
        of("an hour to load", lambda f: f.load_s > HOUR),
        of("an hour to count cached answers", lambda f: f.again_s > HOUR),
    ]
    return sorted(found, key=lambda limit: limit.n)


def _smallest(holds: Callable[[float], bool], most: float = 1e12) -> float:
    """Return the smallest number of requests from which a condition holds on; infinite if it does not hold at most."""
    if not holds(most):
        return math.inf
    low, high = 1.0, most
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def parts(costs: Costs) -> str:
    """Return the costs of a million requests as a table of Markdown."""
    rows = (
        ("plan, nothing cached", costs.plan_s, costs.plan_mb, None),
        ("send", costs.send_s, None, None),
        ("of it: store answers", costs.store_s, None, costs.store_mb),
        ("plan, all cached", costs.again_s, costs.again_mb, None),
        ("load tables", costs.load_s, costs.load_mb, costs.tables_mb),
        ("take over keys that another process has counted", costs.merge_s, None, None),
    )
    lines = ["| a million requests | work of one core | memory | disk |", "| --- | ---: | ---: | ---: |"]
    for what, work, memory, disk in rows:
        sizes = ["" if line is None else _size(line.each * 1e6 * MB / GB) for line in (memory, disk)]
        lines.append(f"| {what} | {_time(work.each * 1e6)} | {sizes[0]} | {sizes[1]} |")
    return "\n".join(lines) + "\n"


def tables(costs: Costs, setting: Setting) -> str:
    """Return the forecasts of a setting as a table of Markdown, and a line about what limits it."""
    lines = [
        "| requests | plan | send | due to | run again | load | disk | memory |",
        "| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for n in SIZES:
        f = forecast(costs, setting, n)
        cells = (f"{n:,}", _time(f.plan_s), _time(f.send_s), f.bound, _time(f.again_s), _time(f.load_s),
                 _size(f.disk_gb), _size(f.memory_gb))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    reached = ", then ".join(f"{limit.what} at {_round(limit.n)} requests" for limit in limits(costs, setting)[:3])
    return f"**{setting.name}**\n\n" + "\n".join(lines) + f"\n\nFirst limits: {reached}.\n"


def _round(n: float) -> str:
    """Return a number of requests with two digits."""
    if math.isinf(n):
        return "any number of"
    digits = 10 ** max(math.floor(math.log10(n)) - 1, 0)
    return f"{round(n / digits) * digits:,}"


def _time(seconds: float) -> str:
    for unit, size in (("days", 2 * DAY), ("h", 2 * HOUR), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'days': DAY, 'h': HOUR, 'min': 60.0}[unit]:,.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _size(gb: float) -> str:
    if gb >= 1_000:
        return f"{gb / 1_000:,.1f} TB"
    return f"{gb:,.0f} GB" if gb >= 10 else f"{gb:.1f} GB" if gb >= 1 else f"{gb * 1_000:.0f} MB"
