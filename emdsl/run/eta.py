"""How long a run will still take: its models side by side, each at its own speed, and judges behind the answers.

The rest of a run is played as a flow. Models share the connections as the dispatcher shares them, a model whose account
limits it keeps to that, and a step that reads answers begins as these come. So a slow model that most of the rest waits
for counts from the beginning, while a count of all requests would see it at the end.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.run.metering import PRIOR_N

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.run.metering import Kind, StepProgress
    from emdsl.run.progress import Progress

FIRST_S, EVERY_S = 1.0, 2.0  # until the first estimate, and between two
SHARE_OF_CPU = 0.002  # of the time, at most, for estimates
MIN_ANSWERS = 5  # of the run, until its speed is known
SMOOTH_S, SMOOTH_SHARE = 20.0, 0.2  # over which changes are smoothed: seconds, or a share of the time since the start
HALF_LIFE_S, MIN_KEPT = 120.0, 50  # after which answers count half for the speed, as long as so many are left
PACE_S = 30.0  # over which the pace of a limited account is averaged
FULL = 0.9  # of the connections in use; with fewer, a model that has requests to send is limited by its account
N_STEPS, MAX_STEPS = 64, 600  # of the flow
SMALL = 0.02  # share of all that is left which a model without an answer may have, and the rest is still estimated
MIN_RATIO, MAX_RATIO = 0.2, 5.0  # of the times of two steps of one model, by the lengths of their answers


@dataclass(slots=True)
class Flow:
    """The requests of one step and model that are left."""

    step: int
    lane: int
    seconds: float  # that one takes
    ready: float
    to_come: float = 0.0  # as the steps before are answered
    spread: float = 0.0  # variance of the seconds by the square of their mean


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds until the last answer; None if they are unknown, with the reason. `least_s` is known even then."""

    seconds: float | None
    why: str = ""
    least_s: float = 0.0


class Forecast:
    """Estimates the rest of one run, now and then, whenever it is looked at."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._clock = progress, clock
        self._began = self._last = clock()
        self._next = self._began + FIRST_S
        self._end: float | None = None  # by the clock, smoothed
        self._left = TimeLeft(None, "the first answers are under way")
        self._flown_s: dict[int, float] = {}  # seconds in flight of all attempts by the last look, by kind
        self._paces: dict[Any, float] = {}  # requests in flight at once of models that their accounts limit

    def time_left(self) -> TimeLeft:
        """Return the time left, by the last estimate or a new one."""
        now = self._clock()
        if now >= self._next:
            began = time.perf_counter()
            self._estimate(now)
            self._next = now + max(EVERY_S, (time.perf_counter() - began) / SHARE_OF_CPU)
            self._last = now
        if self._end is None:
            return self._left
        return TimeLeft(max(self._end - now, 0.0), self._left.why)

    def _estimate(self, now: float) -> None:
        progress = self._progress
        if progress.answered + progress.failed < MIN_ANSWERS and not _done(progress):
            return
        self._observe(now)
        self._left = left = self._computed(now)
        if left.seconds is None:
            self._end = None
            return
        end = now + left.seconds
        if self._end is None:
            self._end = end
            return
        over_s = max(min(SMOOTH_S, SMOOTH_SHARE * (now - self._began)), 0.1)
        self._end += (end - self._end) * (1 - math.exp(-(now - self._last) / over_s))

    def _observe(self, now: float) -> None:
        """Note which models are slower than the connections would allow, and let old answers count less."""
        passed, kinds = max(now - self._last, 1e-9), self._progress.meter.kinds
        used: dict[Any, float] = {}  # requests in flight since the last look, on average
        queued: dict[Any, int] = {}
        for kind in kinds:
            flown_s = kind.flown_s(now)
            used[kind.lane] = used.get(kind.lane, 0.0) + (flown_s - self._flown_s.get(id(kind), 0.0)) / passed
            self._flown_s[id(kind)] = flown_s
            queued[kind.lane] = queued.get(kind.lane, 0) + kind.made - kind.finished - kind.in_flight
            if kind.n_timed > MIN_KEPT:
                kind.forget(0.5 ** (passed / HALF_LIFE_S))
        free = sum(used.values()) < FULL * self._progress.connections
        for lane, in_flight in used.items():
            pace = self._paces.get(lane)
            if free and queued[lane] > 0:
                weight = 1 - math.exp(-passed / PACE_S) if pace is not None else 1.0
                self._paces[lane] = (pace or 0.0) + (in_flight - (pace or 0.0)) * weight
            elif pace is not None:
                self._paces[lane] = max(pace, in_flight)

    def _computed(self, now: float) -> TimeLeft:
        steps = self._progress.meter.steps
        kinds = [k for k in self._progress.meter.kinds if not k.by_batch]
        if any(k.by_batch and k.step.left for k in self._progress.meter.kinds):
            return TimeLeft(None, "batches take as long as their provider needs")
        ratios = [_ratio(step, steps) for step in steps]
        places = {id(step): i for i, step in enumerate(steps)}
        lanes: dict[Any, int] = {}
        flows: list[Flow] = []
        silent: list[tuple[Kind, float]] = []
        total, speeds = 0.0, _speeds(kinds, now)
        for kind in kinds:
            i = places[id(kind.step)]
            ready, to_come = kind.ready(), max(kind.to_follow * ratios[i] - kind.followed, 0.0)
            total += ready + to_come
            if ready + to_come <= 0:
                continue
            seconds = _seconds(kind, speeds, now)
            if seconds is None:
                silent.append((kind, ready + to_come))
                seconds = kind.ages_s(now) / kind.in_flight if kind.in_flight else 0.0
            flows.append(Flow(i, lanes.setdefault(kind.lane, len(lanes)), seconds, ready, to_come, kind.spread()))
        caps = [self._cap(lane, kinds) for lane in lanes]
        seconds = flow_time(flows, [s.needs for s in steps], caps, max(self._progress.connections, 1))
        if sum([n for _, n in silent]) > max(1.0, SMALL * total):
            kind, _ = max(silent, key=lambda entry: entry[1])
            return TimeLeft(None, f"no answer yet of {kind.use} for `{kind.step.name}`", seconds)
        return self._within_budget(seconds)

    def _cap(self, lane: Any, kinds: list[Kind]) -> float:
        """Return how many requests of a model can be in flight at once."""
        own = [k for k in kinds if k.lane == lane]
        most = float(self._progress.connections)
        if own[0].parallel is not None:  # of each API key
            most = min(most, max(own[0].parallel, sum([k.in_flight for k in own])))
        return max(min(most, self._paces.get(lane, most)), 0.5)

    def _within_budget(self, seconds: float) -> TimeLeft:
        """Return the time until the budget is spent, if that comes first."""
        budgets, spent_s = self._progress.budgets, self._clock() - self._began
        if budgets is None or budgets.limit_usd is None or not budgets.spent_usd:
            return TimeLeft(seconds)
        left = float(budgets.limit_usd - budgets.spent_usd) / float(budgets.spent_usd) * spent_s
        return TimeLeft(left, "the budget is spent then") if left < 0.9 * seconds else TimeLeft(seconds)


def flow_time(flows: list[Flow], needs: list[tuple[int, ...]], caps: list[float], connections: int) -> float:
    """Return how long requests take that are sent side by side, in seconds.

    Args:
        flows: What is left, by step and model.
        needs: For each step the steps that it follows, all before it.
        caps: For each lane the maximum of its requests in flight.
        connections: Maximum of all requests in flight.
    """
    flows = sorted(flows, key=lambda f: -f.step)  # what continues a row goes first
    total_s = [0.0] * len(caps)
    for flow in flows:
        total_s[flow.lane] += (flow.ready + flow.to_come) * flow.seconds
    bound = max([sum(total_s) / connections, *[s / c for s, c in zip(total_s, caps, strict=True)]], default=0.0)
    if bound <= 0:
        return 0.0
    tail = max([_tail(f, min(caps[f.lane], connections)) for f in flows])
    ahead = _Ahead(flows, needs)
    dt, t = bound / N_STEPS, 0.0
    for _ in range(MAX_STEPS):
        wanted = [0.0] * len(caps)
        for flow in flows:
            wanted[flow.lane] += flow.ready * flow.seconds / dt
        shares = _shares([min(w, c) for w, c in zip(wanted, caps, strict=True)], float(connections))
        for flow in flows:
            if flow.ready <= 0:
                continue
            used = min(shares[flow.lane], flow.ready * flow.seconds / dt)
            shares[flow.lane] -= used
            flow.ready -= min(flow.ready, used * dt / flow.seconds) if flow.seconds > 0 else flow.ready
        ahead.follow()
        left = sum([(f.ready + f.to_come) * f.seconds for f in flows])
        if left <= 1e-6 * sum(total_s):
            break
        t += dt
    return t + tail


def _tail(flow: Flow, most: float) -> float:
    """Return how much longer than the flow the last requests take: the longest of those that end side by side."""
    n = max(min(most, flow.ready + flow.to_come), 1.0)
    return flow.seconds * ((1.0 if flow.to_come else 0.25) + 0.8 * flow.spread * math.log(n))


class _Ahead:
    """Requests that become ready as those are answered that they follow: as many as of the slowest step before."""

    def __init__(self, flows: list[Flow], needs: list[tuple[int, ...]]) -> None:
        self._flows, self._needs = sorted(flows, key=lambda f: f.step), needs
        self._first = self._left()
        self._to_come = {id(f): f.to_come for f in flows}

    def _left(self) -> list[float]:
        left = [0.0] * len(self._needs)
        for flow in self._flows:
            left[flow.step] += flow.ready + flow.to_come
        return left

    def follow(self) -> None:
        """Let requests become ready."""
        left = self._left()
        shares = [now / first if first else 0.0 for now, first in zip(left, self._first, strict=True)]
        for flow in self._flows:
            if flow.to_come:
                later = self._to_come[id(flow)] * max([shares[i] for i in self._needs[flow.step]], default=0.0)
                if later < 1e-3:
                    later = 0.0
                flow.ready += max(flow.to_come - later, 0.0)
                flow.to_come = min(later, flow.to_come)


def _shares(wanted: list[float], total: float) -> list[float]:
    """Return what each gets of a total that is shared: as much as it wants, or as much as any other."""
    shares = [0.0] * len(wanted)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    for n, i in enumerate(order):
        shares[i] = min(wanted[i], total / (len(order) - n))
        total -= shares[i]
    return shares


def _ratio(step: StepProgress, steps: list[StepProgress]) -> float:
    """Return the share of requests that follow others which will be sent, of those that may follow.

    It is the share so far, by how far the steps before have come; the plan's share counts as some more requests.
    """
    most = sum([k.to_follow for k in step.kinds])
    if not most:
        return 0.0
    done = min([_done_share(steps[i]) for i in step.needs], default=1.0)
    followed, prior = sum([k.followed for k in step.kinds]), PRIOR_N * (1.0 - done)
    return min((followed + prior * step.share) / max(done * most + prior, 1e-9), 1.0)


def _done_share(step: StepProgress) -> float:
    if not step.total:
        return 1.0
    return min((step.answered + step.failed) / step.total, 1.0)


def _speeds(kinds: list[Kind], now: float) -> dict[Any, list[Kind]]:
    """Return by model the kinds of requests whose time is known."""
    timed: dict[Any, list[Kind]] = {}
    for kind in kinds:
        if kind.seconds(now) is not None:
            timed.setdefault(kind.lane, []).append(kind)
    return timed


def _seconds(kind: Kind, timed: dict[Any, list[Kind]], now: float) -> float | None:
    """Return the time of one request: measured, or by another step of the same model; None if it is unknown."""
    seconds = kind.seconds(now)
    if seconds is not None:
        return seconds
    others = timed.get(kind.lane, [])
    if not others:
        return None
    other = max(others, key=lambda k: k.n_timed)
    ratio = kind.tokens / other.tokens if kind.tokens and other.tokens else 1.0
    return (other.seconds(now) or 0.0) * min(max(ratio, MIN_RATIO), MAX_RATIO)


def _done(progress: Progress) -> bool:
    return not any(step.left for step in progress.meter.steps)
