"""Hook: a function of a hook file, called in a separate process.

The process has an empty environment and, if the operating system allows it, no network. The first calls are made
twice, in two processes with different hash seeds, to detect functions that are not pure.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from emdsl.errors import HookError
from emdsl.frame import HookFault
from emdsl.hooks import worker
from emdsl.value import LabelledMap, Row, canonical, number

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.value import Value

CALL_S = 20.0  # timeout of one call
CHECKED_CALLS = 5  # of each function: made twice, with different hash seeds
MAX_TIMEOUTS = 3  # of one function; after that it is not called again
MAX_CACHED = 50_000  # values


class Hook:
    """A function of a hook file; equal calls are made once."""

    def __init__(self, name: str, function: str, params: tuple[str, ...], path: Path) -> None:
        self.name = name
        self.params = params
        self._function = function
        self._path = path
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._n_checked = 0
        self._n_timeouts = 0

    def value(self, args: list[Value]) -> Value:
        """Return the function's value.

        Raises:
            HookFault: The function raised, ended its process or timed out; the text starts with a verb.
            TypeError: An argument has no equivalent in Python.
            HookError: The function cannot be run, or returns two different results for one call.
        """
        try:
            call = json.dumps([self._function, [worker.pack(_plain(a)) for a in args]])
        except ValueError as error:  # a lone surrogate
            raise HookFault(f"cannot be called: {error}") from error
        if call in self._values:
            self._values.move_to_end(call)
            return self._values[call]
        if self._n_timeouts >= MAX_TIMEOUTS:
            raise HookFault(f"timed out in {MAX_TIMEOUTS} calls: it is not called again")
        try:
            reply = _process(self._path, 0).ask(call)
        except TimeoutError as error:
            self._n_timeouts += 1
            raise HookFault(str(error)) from error
        if self._n_checked < CHECKED_CALLS:
            self._n_checked += 1
            again = _process(self._path, 1).ask(call)
            if again != reply:
                raise HookError(
                    f"`{self.name}` is not pure: `{self._path.name}` returned two different results for the same "
                    "arguments. It must depend on its arguments only, not on the time, randomness, `hash` or set order"
                )
            if self._n_checked == CHECKED_CALLS:
                _stop(self._path, 1)
        if "error" in reply:
            raise HookFault(reply["error"])
        try:
            value = self._values[call] = _frozen(worker.unpack(reply["value"]))
        except ValueError as error:
            raise HookFault(f"returned a number that cannot be used: {error}") from error
        except RecursionError as error:
            raise HookFault("returned a value that is nested too deeply") from error
        if len(self._values) > MAX_CACHED:
            self._values.popitem(last=False)
        return value


def isolated(path: Path) -> bool:
    """Whether this machine can run the functions of a file without network; starts their process."""
    return _process(path, 0).isolated


class _Process:
    """A worker process of one file; `seed` is its hash seed."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._n_calls = 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        command = [sys.executable, "-P", "-s", "-X", "utf8", worker.__file__, str(path)]
        environment = {"PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own worker, by its own path
                command, cwd=path.parent, env=environment, text=True, encoding="utf-8",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the run's, not the function's
            )  # fmt: skip
        except OSError as error:
            raise HookError(f"`{path.name}` cannot be run: {error.strerror or error}") from error
        self._close = weakref.finalize(self, _kill, self._process)
        assert self._process.stdout is not None
        arguments = (self._process.stdout, self._lines)
        threading.Thread(target=self._read, args=arguments, name="emdsl-hook", daemon=True).start()
        self.isolated = bool(json.loads(self._line())["isolated"])

    def ask(self, call: str) -> dict[str, Any]:
        """Send a call and return its reply; raises HookError, HookFault or TimeoutError."""
        assert self._process.stdin is not None
        self._n_calls += 1
        try:
            self._process.stdin.write(f"[{self._n_calls}, {call[1:]}\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._ended() from None
        try:
            reply: dict[str, Any] = json.loads(self._line())
            if reply.pop("call") != self._n_calls:
                raise KeyError("call")  # noqa: TRY301 - handled as any other invalid line
        except (ValueError, KeyError, AttributeError, TypeError):
            self.stop()
            raise HookError(
                f"`{self._path.name}` wrote to the pipe of its process: a function may only return a value"
            ) from None
        return reply

    @property
    def stopped(self) -> bool:
        """Whether the process has ended."""
        return not self._close.alive

    def stop(self) -> None:
        """End the process."""
        self._close()

    @staticmethod
    def _read(replies: IO[str], lines: queue.SimpleQueue[str]) -> None:
        with contextlib.suppress(ValueError, OSError), replies:
            for line in replies:
                lines.put(line)
        lines.put("")

    def _line(self) -> str:
        try:
            line = self._lines.get(timeout=CALL_S)
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"took more than {CALL_S:g} s") from None
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> HookFault:
        self.stop()
        return HookFault("ended its process: it may exit, or run out of memory")


_processes: dict[tuple[Path, int, int], _Process] = {}


def _process(path: Path, seed: int) -> _Process:
    key = (path, seed, os.getpid())
    if key not in _processes or _processes[key].stopped:
        _processes[key] = _Process(path, seed)
    return _processes[key]


def _stop(path: Path, seed: int) -> None:
    if (process := _processes.pop((path, seed, os.getpid()), None)) is not None:
        process.stop()


def _kill(process: subprocess.Popen[str]) -> None:
    """End a worker and its child processes; its pipe is closed last, since a reader may hold it."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _plain(value: Value) -> Any:
    """Return a value with Python's own lists and dicts."""
    match value:
        case LabelledMap():
            return {k: _plain(v) for k, v in value.entries}
        case Row():
            return {k: _plain(v) for k, v in value.columns.items()}
        case dict():
            return {k: _plain(v) for k, v in value.items()}
        case tuple() | list():
            return [_plain(v) for v in value]
        case _:
            return value


def _frozen(value: Any) -> Value:
    match value:
        case bool() | None:
            return value
        case int() | Decimal():
            return canonical(number(str(value)))
        case list():
            return tuple(_frozen(x) for x in value)
        case dict():
            return LabelledMap(tuple((k, _frozen(v)) for k, v in value.items()))
        case _:
            return value
