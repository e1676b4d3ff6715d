"""The servers of a run: all replicas of its models are started, watched, started again when they die, and stopped."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.errors import SetupError
from emdsl.serving.health import Health, health_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.serving.launcher import Handle, Launcher, ReplicaSpec

START_S = 3_600.0  # until a server must answer: the first start downloads the weights
STARTING_POLL_S = 0.25  # between two looks at a server that starts
WATCH_S = 5.0  # between two looks at a server that runs
IDLE_S = 1_800.0  # without a request to a model, until its servers are stopped
LOOK_S = 2.0  # for one answer about its health
SILENT_S = 300.0  # without an answer, about its health or to a request, until a server that runs counts as down
NOTICE_S = 30.0  # between two notices of servers that start
MAX_DEATHS = 3  # in a row of a server that does not come up
MAX_VAIN = 3 * MAX_DEATHS  # in a row without an answer to a request: one request may be the cause of three
MAX_FAILING = 3  # looks in a row at a server that answers with errors
PAUSE_S = 1.0  # before a server is started again; then twice that
TAIL = " ends with:"  # of the first line of a failure: the lines of the log follow
TAIL_LINES = 15  # of the log of a server that is given up
_IDLE = "is idle"  # a reason to be down without a death
_SIGNALLED = 128  # exit codes above are signals


@dataclass(slots=True)
class Replica:
    """One server, over all its starts."""

    model: str  # the name of its model in the fleet
    spec: ReplicaSpec
    url: str | None = None  # while it is up
    handle: Handle | None = None  # of its last start
    deaths: int = 0  # in a row, since it was last up
    vain: int = 0  # deaths in a row, since it has last answered a request
    failure: str = ""  # why it is not started again
    answered_at: float = -math.inf  # when it last answered a request, by the monotonic clock
    suspect: asyncio.Event = field(default_factory=asyncio.Event)  # a request found it down


@dataclass(slots=True)
class _Use:
    """When a model was last used, and whether that happened since its servers were stopped."""

    at: float = field(default_factory=time.monotonic)
    again: asyncio.Event = field(default_factory=asyncio.Event)


class Fleet:
    """The servers of all models of a run, by the name of each model."""

    def __init__(
        self, launcher: Launcher, models: Mapping[str, Sequence[ReplicaSpec]], notice: Callable[[str], None],
        *, start_s: float = START_S, idle_s: float = IDLE_S, on_change: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Prepare; nothing is started.

        Args:
            launcher: Starts servers.
            models: The replicas of each model.
            notice: Gets messages for the user.
            start_s: The time in which a server must answer.
            idle_s: The time without use until the servers of a model are stopped.
            on_change: Is called when a server has come up or gone down.
        """
        self.models = {name: [Replica(name, spec) for spec in specs] for name, specs in models.items()}
        self._launcher = launcher
        self._notice = notice
        self._start_s, self._idle_s = start_s, idle_s
        self._uses = {name: _Use() for name in models}
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._started = False
        self._not_launched = ""  # why a server cannot be started at all
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all servers, and return when each model has one that answers; the others may come later.

        Raises:
            SetupError: A program or GPUs are missing, or all servers of a model die; then the message ends with the
                last lines of a log.
        """
        self._keepers = [
            asyncio.create_task(self._keep(r)) for replicas in self.models.values() for r in replicas
        ]  # fmt: skip
        start = noticed = time.monotonic()
        while not all(any(r.url for r in replicas) for replicas in self.models.values()):
            for failure in (self._not_launched, *map(self.failure, self.models)):
                if failure:
                    raise SetupError(failure)
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), NOTICE_S)
            if time.monotonic() - noticed >= NOTICE_S:
                noticed = time.monotonic()
                self._notice(await self._starting(noticed - start))
        self._started = True

    async def close(self) -> None:
        """Stop all servers."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._launcher.close()

    def use(self, model: str) -> None:
        """Note that requests of a model are sent, or wait: servers that were idle are started again."""
        self._uses[model].at = time.monotonic()
        self._uses[model].again.set()

    def answered(self, model: str, index: int) -> None:
        """Note that a server has answered a request."""
        replica = self.models[model][index]
        replica.vain, replica.answered_at = 0, time.monotonic()

    def failure(self, model: str) -> str:
        """Return why no server of a model comes back; empty while one may."""
        replicas = self.models[model]
        return replicas[0].failure if all(r.failure for r in replicas) else ""

    async def lost(self, model: str, index: int, url: str) -> bool:
        """Return whether a server died under a request to it, which has failed; if so, it gets no more of them."""
        replica = self.models[model][index]
        if replica.url != url:
            return True
        if await health_of(url, LOOK_S) is not Health.DOWN:
            return False
        if replica.url == url:
            self._set_url(replica, None)
            replica.suspect.set()
        return True

    async def _starting(self, seconds: float) -> str:
        """Return a notice of the servers that are starting."""
        parts = []
        for replicas in self.models.values():
            waiting = [r for r in replicas if r.url is None and not r.failure]
            if not waiting:
                continue
            handle = waiting[0].handle
            lines = await handle.tail(1) if handle is not None else []
            log = f"; its log {handle.log} ends with: {lines[0]}" if handle is not None and lines else ""
            parts.append(
                f"{len(waiting)} of {len(replicas)} servers of `{waiting[0].spec.model}` do not answer yet{log}"
            )
        return f"starting servers for {seconds:,.0f} s: " + "; ".join(parts)

    async def _keep(self, replica: Replica) -> None:
        """Keep a server running until it is given up; a bug gives it up too, as requests would wait for it."""
        try:
            await self._keep_up(replica)
        except Exception as error:  # noqa: BLE001 - no one else would see the error of this task
            server = f"server {replica.spec.index + 1} of `{replica.spec.model}`"
            replica.failure = f"{server} cannot be watched: {type(error).__name__}: {error}"
            self._notice(replica.failure)
        self._tell()

    async def _keep_up(self, replica: Replica) -> None:
        """Start a server again as often as it dies, until it is given up."""
        while not replica.failure:
            try:
                replica.handle = handle = await self._launcher.start(replica.spec)
            except SetupError as error:
                replica.failure = str(error)
                if self._started:  # the other servers of the model go on
                    self._notice(replica.failure)
                else:
                    self._not_launched = replica.failure
                break
            replica.suspect.clear()
            ended = asyncio.ensure_future(handle.wait())
            try:
                why = await self._until_up(replica, handle, ended)
                if not why:
                    replica.deaths = 0
                    self._set_url(replica, handle.url)
                    why = await self._until_down(replica, handle, ended)
            finally:
                ended.cancel()
                self._set_url(replica, None)
                await handle.stop()
            if why == _IDLE:
                await self._uses[replica.model].again.wait()
            else:
                await self._bury(replica, handle, why)

    async def _bury(self, replica: Replica, handle: Handle, why: str) -> None:
        """Count a death: the server is given up, or may be started again after a pause."""
        replica.deaths += 1
        replica.vain += 1
        server = f"server {replica.spec.index + 1} of `{replica.spec.model}`"
        if replica.deaths < MAX_DEATHS and replica.vain < MAX_VAIN:
            lines = await handle.tail(1)
            last = f". Its log ends with: {lines[0]}" if lines else ""
            self._notice(f"{server} {why}: it is started again{last}")
            await asyncio.sleep(PAUSE_S * replica.deaths)
            return
        lines = await handle.tail(TAIL_LINES)
        times = f", {MAX_DEATHS} times in a row" if replica.deaths == MAX_DEATHS else ""
        times = times if replica.deaths >= MAX_DEATHS else f", {MAX_VAIN} times without an answer between"
        log = f"{handle.log}{TAIL}" if lines else f"{handle.log} is empty"
        replica.failure = "\n  ".join([f"{server} {why}{times}. Its log {log}", *lines])
        if self._started or not self.failure(replica.model):  # else `start` raises it
            self._notice(replica.failure)

    async def _until_up(self, replica: Replica, handle: Handle, ended: asyncio.Future[int]) -> str:
        """Wait until a server answers; return why it does not, or ""."""
        end = time.monotonic() + self._start_s
        while time.monotonic() < end:
            if await health_of(handle.url, LOOK_S) is Health.UP:
                return ""
            await asyncio.wait([ended], timeout=STARTING_POLL_S)
            if ended.done():
                return _ended(ended.result())
        replica.deaths = MAX_DEATHS  # another hour would end the same way
        return f"did not answer within {self._start_s:,g} s"

    async def _until_down(self, replica: Replica, handle: Handle, ended: asyncio.Future[int]) -> str:
        """Wait until a server ends, answers with errors alone, or hangs; return why it is down."""
        failing, suspected = 0, asyncio.ensure_future(replica.suspect.wait())
        healthy_at = time.monotonic()
        either: list[asyncio.Future[Any]] = [ended, suspected]
        try:
            while True:
                await asyncio.wait(either, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
                if suspected.done() and not ended.done():  # it may be about to end
                    await asyncio.wait([ended], timeout=LOOK_S)
                if ended.done():
                    return _ended(ended.result())
                if suspected.done():
                    return "accepts no connections"
                if time.monotonic() - self._uses[replica.model].at > self._idle_s:
                    self._uses[replica.model].again.clear()
                    return _IDLE
                health = await health_of(handle.url, LOOK_S)
                failing = failing + 1 if health in (Health.FAILING, Health.DOWN) else 0
                if failing == MAX_FAILING:
                    return "answers with errors"
                if health is not Health.BUSY:
                    healthy_at = time.monotonic()
                elif time.monotonic() - max(healthy_at, replica.answered_at) > SILENT_S:
                    return f"has accepted requests and answered none for {SILENT_S:,.0f} s"
        finally:
            suspected.cancel()

    def _set_url(self, replica: Replica, url: str | None) -> None:
        if replica.url != url:
            replica.url = url
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._on_change()


def _ended(code: int) -> str:
    """Return how a program ended."""
    number = -code if code < 0 else code - _SIGNALLED
    return f"was ended by signal {number}" if number > 0 else f"ended with exit code {code}"
