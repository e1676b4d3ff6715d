"""How many processes send a run, and how they start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import zlib
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from emdsl.redact import mask
from emdsl.study.child import started, study_task
from emdsl.study.options import LOCAL

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from typing import IO

    from emdsl.run.rows import Rows
    from emdsl.study.compiled import Compiled
    from emdsl.study.options import RunOptions

LARGE = 25_000  # pending requests from which one process more is worth its start
MAX_DEFAULT = 8  # workers, unless more are wanted
MIN_CONNECTIONS = 16  # of each worker, unless more workers are wanted


class Handle(Protocol):
    """A worker that was started."""

    async def wait(self) -> str:
        """Wait until it has ended, and return how: `was killed by SIGKILL`.

        Raises StoreError if answers that it could not store are kept nowhere but on its node.
        """

    def kill(self) -> None:
        """Kill it at once, if it has not ended."""


Start = Callable[[Mapping[str, Any]], Awaitable[Handle]]  # starts `study/worker.py` with a task; raises OSError


def default_workers(pending: int, connections: int) -> int:
    """Return how many processes send so many requests, by default: 1 if one core is enough."""
    if pending < LARGE or not sys.executable:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MAX_DEFAULT, connections // MIN_CONNECTIONS))


class _Process:
    """A worker on this machine."""

    def __init__(self, process: subprocess.Popen[str], stderr: IO[bytes]) -> None:
        self._process, self._stderr = process, stderr

    async def wait(self) -> str:
        """See Handle."""
        with ThreadPoolExecutor(1, thread_name_prefix="emdsl-worker") as pool:
            await asyncio.get_running_loop().run_in_executor(pool, self._process.wait)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        code = self._process.returncode
        with self._stderr:
            self._stderr.seek(0)
            last = self._stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}" + (f": {mask(last)}" if last else "")

    def kill(self) -> None:
        """See Handle."""
        if self._process.poll() is None:
            self._process.kill()


async def start_here(task: Mapping[str, Any]) -> Handle:
    """Start a worker on this machine; raises OSError."""
    line = json.dumps(task) + "\n"

    def start() -> _Process:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
        process = started("emdsl.study.worker", stderr=stderr)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; its handle reports how
            process.stdin.write(line)
            process.stdin.flush()
        return _Process(process, stderr)

    return await asyncio.to_thread(start)  # a long line waits until the worker reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersPlan:
    """How a run is sent by several processes."""

    n: int
    study: Mapping[str, Any]  # of `study_task`; it contains API keys
    start: Start = start_here
    host: str | None = None  # the address of this machine for workers on others
    cluster: tuple[str, Compiled] | None = None  # where they start, as in `RunOptions`; None: on this machine


def packed(incomplete: bytearray | None) -> str | None:
    """Return a note of a planner about its rows as a text; see `Rows.incomplete`."""
    return None if incomplete is None else b64encode(zlib.compress(incomplete)).decode()


def unpacked(text: str | None) -> bytearray | None:
    """Return the note in a text of `packed`."""
    return None if text is None else bytearray(zlib.decompress(b64decode(text)))


def workers_plan(
    study: Compiled, options: RunOptions, walks: Sequence[Rows], pending: int, connections: int, *, batches: bool,
    simulated: bool, notice: Callable[[str], None],
) -> WorkersPlan | None:  # fmt: skip
    """Return how several processes send a run; None if this one does.

    Args:
        study: The study.
        options: Of the run; `workers` is the number of processes, or None.
        walks: The planned rows of each experiment: workers make no row that is complete.
        pending: Requests of the run, at most.
        connections: Maximum requests in flight: there are no more workers than that.
        batches: Whether batches are part of the run, which one process sends and collects.
        simulated: Whether the embedded simulator answers; it is one process.
        notice: Gets the reason if fewer processes than wanted send.
    """
    one = "a pilot" if options.pilot else "a run with batches" if batches else "" if os.name == "posix" else "Windows"
    if one:
        if (options.workers or 1) > 1:
            notice(f"one process sends for {one}: --workers is not used")
        return None
    n = options.workers or (1 if simulated else default_workers(pending, connections))
    n = min(n, connections, max(pending, 1))
    if n <= 1:
        return None
    on = options.on if options.workers is not None and options.on != LOCAL and not simulated else None
    task = study_task(study, options) | {"incomplete": [packed(w.incomplete) for w in walks]}
    return WorkersPlan(n=n, study=task, cluster=(on, study) if on is not None else None)
