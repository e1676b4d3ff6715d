"""Hook: one function of a hook file, called in a process of its own.

The process has an empty environment and, where the operating system allows it, no network. Its first calls
are made twice, in two processes that hash texts differently: a function that is not pure is found out.
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

CALL_S = 20.0  # that one call may take
CHECKED_CALLS = 5  # of each function: made twice, in processes that hash differently
MOST_SLOW = 3  # calls of one function that may take too long
KEPT = 50_000  # values remembered


class Hook:
    """A function `name` of a file; `params` are its parameters. Equal calls are made once."""

    def __init__(self, name: str, function: str, params: tuple[str, ...], path: Path) -> None:
        self.name = name
        self.params = params
        self._function = function
        self._path = path
        self._known: OrderedDict[str, Value] = OrderedDict()
        self._n_checked = 0
        self._n_slow = 0

    def value(self, args: list[Value]) -> Value:
        """Return the function's value.

        Raises HookFault where it raised, ended its process or took too long, TypeError for arguments that no
        function can be given, and HookError where it cannot be run, or gives two values for one call.
        """
        try:
            call = json.dumps([self._function, [worker.pack(_plain(a)) for a in args]])
        except ValueError as error:  # a lone surrogate
            raise HookFault(f"{self._path.name}: {error}") from error
        if call in self._known:
            self._known.move_to_end(call)
            return self._known[call]
        if self._n_slow >= MOST_SLOW:
            raise HookFault(f"{self._path.name}: {MOST_SLOW} calls of `{self.name}` took too long; no more are made")
        try:
            reply = _process(self._path, 0).ask(call)
        except TimeoutError as error:
            self._n_slow += 1
            raise HookFault(str(error)) from error
        if self._n_checked < CHECKED_CALLS:
            self._n_checked += 1
            again = _process(self._path, 1).ask(call)
            if again != reply:
                raise HookError(
                    f"`{self.name}` is not pure: `{self._path.name}` gave two values for one call. "
                    "A function before a prompt may read its arguments only: "
                    "no clock, no randomness, no `hash`, no order of a set"
                )
            if self._n_checked == CHECKED_CALLS:
                _stop(self._path, 1)
        if "error" in reply:
            raise HookFault(f"{self._path.name}: {reply['error']}")
        try:
            value = self._known[call] = _frozen(worker.unpack(reply["value"]))
        except (ValueError, RecursionError) as error:
            raise HookFault(f"{self._path.name}: {error}") from error
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return value


def isolated(path: Path) -> bool:
    """Whether the functions of a file run without network here; starts their process."""
    return _process(path, 0).isolated


class _Process:
    """A worker of one file; `seed` decides how it hashes texts."""

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
            raise HookError(f"{path.name} cannot be run: {error}") from error
        self._close = weakref.finalize(self, _kill, self._process)
        assert self._process.stdout is not None
        arguments = (self._process.stdout, self._lines)
        threading.Thread(target=self._read, args=arguments, name="emdsl-hook", daemon=True).start()
        self.isolated = bool(json.loads(self._line())["isolated"])

    def ask(self, call: str) -> dict[str, Any]:
        """Return the reply to a call; raises HookError, HookFault or TimeoutError."""
        assert self._process.stdin is not None
        self._n_calls += 1
        try:
            self._process.stdin.write(f"[{self._n_calls}, {call[1:]}\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._gone() from None
        try:
            found: dict[str, Any] = json.loads(self._line())
            if found.pop("call") != self._n_calls:
                raise KeyError("call")  # noqa: TRY301 - as any other line that is no reply
        except (ValueError, KeyError, AttributeError, TypeError):
            self.stop()
            raise HookError(f"a function of {self._path.name} wrote where only replies belong") from None
        return found

    @property
    def stopped(self) -> bool:
        """Whether the process was ended, or has ended by itself."""
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
            raise TimeoutError(f"a function of {self._path.name} took more than {CALL_S:g} s") from None
        if not line:
            raise self._gone()
        return line

    def _gone(self) -> HookFault:
        self.stop()
        return HookFault(f"the process of {self._path.name} has ended: it may exit, or run out of memory")


_processes: dict[tuple[Path, int, int], _Process] = {}


def _process(path: Path, seed: int) -> _Process:
    key = (path, seed, os.getpid())
    if key not in _processes or _processes[key].stopped:
        _processes[key] = _Process(path, seed)
    return _processes[key]


def _stop(path: Path, seed: int) -> None:
    if (found := _processes.pop((path, seed, os.getpid()), None)) is not None:
        found.stop()


def _kill(process: subprocess.Popen[str]) -> None:
    """End a worker and all that it has started; its pipes are closed after, for a reader may hold them."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _plain(value: Value) -> Any:
    """Return a value as Python's own; raises TypeError for one that has none."""
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
