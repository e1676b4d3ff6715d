"""The running side of `emdsl runs`: a run under way answers at its control socket, and is changed by it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
import time
from contextlib import suppress
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.redact import mask
from emdsl.run import history
from emdsl.study import control_socket
from emdsl.study.options import MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.run.control import Drains
    from emdsl.run.live import Settings

STOPPED = "`emdsl runs stop`"  # the cause that people read
MAX_CAUSES = 10  # of failures, in one status
MAX_CAUSE, MAX_ERROR = 200, 1_000  # characters
_USD = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
_CREDENTIALS = struct.Struct("3i")  # of the process that connects: its id, its user, its group


class ControlServer:
    """Answers messages about one run, in its event loop. Nothing that arrives can hurt the run."""

    def __init__(
        self, cache: Path, run: str, *, total: Callable[[], int], uncapped: tuple[str, ...], fixed: str = "",
        notice: Callable[[str], None], eta: Callable[[], float | None] = lambda: None, workers: int = 1,
    ) -> None:  # fmt: skip
        """Prepare to answer.

        Args:
            cache: The folder of the socket and of the run's record.
            run: The id of the run.
            total: Returns the number of requests of the run, at most.
            uncapped: Why no budget can be set; empty if one can.
            fixed: Why the budget cannot be changed; empty if it can.
            notice: Shows a person who watches the run that it was changed.
            eta: Returns the seconds left; None if they are unknown.
            workers: How many processes send its requests.
        """
        self._cache, self._run = cache, run
        self._part: Drains | None = None
        self._live: Settings | None = None
        self._workers = workers
        self._total, self._uncapped, self._notice, self._eta = total, uncapped, notice, eta
        self._fixed = fixed

    def attach(self, part: Drains, live: Settings) -> None:
        """Answer for the part of the run that begins, and for its settings.

        Args:
            part: The start of servers, an executor, or the wait for batches.
            live: The settings.
        """
        self._part, self._live = part, live

    async def serve(self, after_s: float) -> None:
        """Listen from `after_s` on until it is cancelled; return at once if there can be no socket."""
        await asyncio.sleep(after_s)
        if not control_socket.has_sockets():
            return
        try:
            listening = control_socket.bound(self._cache, self._run)
        except OSError:  # a cache that is read-only, or on a file system without sockets: a run needs no control
            return
        try:
            server = await asyncio.start_unix_server(self._answer, sock=listening, limit=control_socket.MAX_BYTES)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
        finally:
            listening.close()
            with suppress(OSError):
                control_socket.remove(self._cache, self._run)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(control_socket.TIMEOUT_S):
                if _same_user(writer):
                    writer.write(fitted(self._reply(await reader.readline())))
                    await writer.drain()
        except (OSError, ValueError):  # it has gone, is too slow, or the line is too long
            pass
        finally:
            writer.close()

    def _reply(self, line: bytes) -> dict[str, Any]:
        """Return the reply to a message: `error`, or the state of the run with the changes just made."""
        try:
            message = json.loads(line)
            match message:
                case {"do": "status"}:
                    return self._status()
                case {"do": "set"}:
                    changes = self._set(message.get("connections"), message.get("budget"))
                case {"do": "stop"}:
                    changes = self._stop(now=message.get("now") is True)
                case _:
                    return {"error": "the message is not understood"}
        except (UsageError, ValueError, RecursionError) as error:
            return {"error": _cut(str(error), MAX_ERROR)}
        recorded = self._record(changes)
        return self._status() | {"changes": [asdict(c) for c in changes], "recorded": recorded}

    def _attached(self) -> tuple[Drains, Settings]:
        if self._part is None or self._live is None:
            raise UsageError("the run has just started: try again")
        return self._part, self._live

    def _status(self) -> dict[str, Any]:
        part, settings = self._attached()
        progress = part.progress
        return {
            "answered": progress.answered,
            "failed": progress.failed,
            "total": self._total(),
            "in_flight": progress.in_flight,
            "connections": settings.connections,
            "workers": self._workers,
            "spent_usd": float(settings.spent_usd),
            "of_unknown_cost": settings.n_unpriced,
            "budget_usd": float(settings.budget) if settings.budget is not None else None,
            "over_budget": settings.over_budget,
            "stopping": progress.draining,
            "cpu_s": time.process_time(),
            "retried": progress.retried,
            "eta_s": _rounded(self._eta()) if not progress.draining else None,
            "steps": [
                {"step": s.name, "total": s.total, "answered": s.answered, "failed": s.failed}
                for s in progress.meter.steps
            ],
            "failures": [
                {"cause": _cut(mask(cause), MAX_CAUSE), "n": n} for cause, n in progress.meter.failures(MAX_CAUSES)
            ],
        }

    def _set(self, connections: Any, budget: Any) -> list[history.Change]:
        """Change the settings, all of them or none; raises UsageError."""
        (part, settings), changes = self._attached(), list[history.Change]()
        if part.progress.draining:
            raise UsageError("the run is stopping")
        if connections is not None and not (type(connections) is int and 1 <= connections <= MAX_CONNECTIONS):
            raise UsageError(f"connections are a number from 1 to {MAX_CONNECTIONS:,}")
        usd = self._amount(budget) if budget is not None else settings.budget
        if usd is not None and usd != settings.budget:
            changes.append(_change("budget", settings.budget, usd))
            settings.budget = usd
        if connections is not None and connections != settings.connections:
            changes.append(_change("connections", settings.connections, connections))
            settings.connections = connections
        return changes

    def _amount(self, text: Any) -> Decimal:
        """Return the budget of a text: `50`, or by how much it changes: `+20`."""
        old = self._attached()[1].budget
        if not (isinstance(text, str) and _USD.fullmatch(text)):
            raise UsageError("a budget is an amount of US dollars, such as 50, or +20 to raise it")
        if self._fixed:
            raise UsageError(self._fixed)
        if old is None and self._uncapped:
            raise UsageError("no budget can be set: " + "; ".join(self._uncapped))
        if text[0] not in "+-":
            return Decimal(text)
        if old is None:
            raise UsageError(f"the run has no budget to change by {text}: give an amount, such as 50")
        return max(old + Decimal(text), Decimal(0))

    def _stop(self, *, now: bool) -> list[history.Change]:
        part, _ = self._attached()
        if now:
            part.stop(STOPPED)
        elif not part.progress.draining:
            part.drain(STOPPED)
        else:
            return []
        return [_change("stop now" if now else "stop")]

    def _record(self, changes: list[history.Change]) -> bool:
        """Write changes into the record of the run, and show them beside its progress; whether they were written."""
        for change in changes:
            self._notice(f"emdsl runs: {change.text}")
        try:
            history.add_changes(self._cache, self._run, changes)
        except OSError:
            return False
        return True


def fitted(reply: dict[str, Any]) -> bytes:
    """Return a reply as a line of at most MAX_BYTES, without the last causes of failures and steps if it is longer.

    Steps under way are kept first, then those that have not begun. `more_steps` is the number that is left out.
    """
    line = _line(reply)
    while len(line) > control_socket.MAX_BYTES and len(reply.get("failures", ())) > 1:
        reply = reply | {"failures": reply["failures"][:-1]}
        line = _line(reply)
    steps = reply.get("steps", [])
    if len(line) <= control_socket.MAX_BYTES or not steps:
        return line
    room, kept = control_socket.MAX_BYTES - len(_line(reply | {"steps": [], "more_steps": len(steps)})), set[int]()
    for i in sorted(range(len(steps)), key=lambda i: _rank(steps[i])):
        room -= len(_line(steps[i])) + 1  # with its comma and space
        if room < 0:
            break
        kept.add(i)
    more = len(steps) - len(kept)
    return _line(reply | {"steps": [s for i, s in enumerate(steps) if i in kept], "more_steps": more})


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _rank(step: dict[str, Any]) -> int:
    """Return 0 for a step under way, 1 for one that has not begun, 2 for one that is done."""
    done = step["answered"] + step["failed"]
    return 2 if done >= step["total"] else 0 if done else 1


def _change(what: str, old: Decimal | int | None = None, new: Decimal | int | None = None) -> history.Change:
    return history.Change(at=time.time(), what=what, old=_plain(old), new=_plain(new))


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 1) if seconds is not None else None


def _plain(number: Decimal | int | None) -> float | None:
    return float(number) if isinstance(number, Decimal) else number


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the other process is of this user; the permissions of the socket say so where the system does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())
