"""Hook: a function of a hook file, called in a separate process.

The process has an empty environment and, if the operating system allows it, no network. The first calls are made
twice, in two processes with different hash seeds, to detect functions that are not pure. Values are kept in the cache,
so that a function is called once for the same arguments, over rows and over runs.
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
from contextvars import ContextVar
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.errors import HookError
from emdsl.frame import HookFault
from emdsl.hooks import worker
from emdsl.hooks.values import dependency, mark
from emdsl.value import LabelledMap, Row, canonical, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.hooks.values import Values
    from emdsl.value import Value

CALL_S = 20.0  # timeout of one call
CHECKED_CALLS = 5  # of each function: made twice, with different hash seeds
MAX_TIMEOUTS = 3  # of one function; after that it is not called again
MAX_CACHED = 50_000  # values
_MAY_RUN: ContextVar[bool] = ContextVar("may_run", default=True)


@contextlib.contextmanager
def nothing_executed() -> Iterator[None]:
    """Make hooks in the block that never run their file: calls without a kept value raise HookError."""
    token = _MAY_RUN.set(False)
    try:
        yield
    finally:
        _MAY_RUN.reset(token)


class Hook:
    """A function of a hook file; equal calls are made once.

    Args:
        name: The name of the function in the program.
        function: Its name in the file.
        params: The names of its parameters.
        path: The file.
        content: The source of the file, as it was read.
        values: The values of earlier calls; None keeps no values.
    """

    def __init__(
        self, name: str, function: str, params: tuple[str, ...], path: Path, content: bytes,
        values: Values | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.params = params
        self._function = function
        self._path = path
        self._content = content
        self._kept = values
        self._may_run = _MAY_RUN.get()
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._n_checked = 0
        self._n_timeouts = 0

    def value(self, args: list[Value], timeout_s: float | None = None) -> Value:
        """Return the function's value; a call times out after CALL_S, or `timeout_s`.

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
        kept = self._kept.get(call) if self._kept is not None else None
        packed = self._value_of(call, timeout_s) if kept is None else json.loads(kept)
        try:
            value = self._values[call] = _frozen(worker.unpack(packed))
        except ValueError as error:
            raise HookFault(f"returned a number that cannot be used: {error}") from error
        except RecursionError as error:
            raise HookFault("returned a value that is nested too deeply") from error
        if len(self._values) > MAX_CACHED:
            self._values.popitem(last=False)
        return value

    def _value_of(self, call: str, timeout_s: float | None) -> Any:
        """Call the function, keep its value and return it packed; of an error, only what it depends on is kept."""
        try:
            reply, process = self._called(call, timeout_s)
        except HookFault:  # it timed out or ended its process
            if self._kept is not None:
                self._kept.note(None)
            raise
        if self._kept is not None:
            if process.unseen or "error" in reply:
                self._kept.note(None if process.unseen else process.reads)
            else:
                self._kept.add(call, json.dumps(reply["value"]), process.reads)
        if "error" in reply:
            raise HookFault(reply["error"])
        return reply["value"]

    def _called(self, call: str, timeout_s: float | None) -> tuple[dict[str, Any], _Process]:
        """Call the function; return the reply with the process that gave it."""
        if not self._may_run:
            raise HookError(
                f"`{self.name}` would have to run to give a value that is not kept, and nothing is executed here"
            )
        if self._n_timeouts >= MAX_TIMEOUTS:
            raise HookFault(f"timed out in {MAX_TIMEOUTS} calls: it is not called again")
        process = _process(self._path, self._content, 0)
        try:
            reply = process.ask(call, timeout_s)
        except TimeoutError as error:
            self._n_timeouts += 1
            raise HookFault(str(error)) from error
        if self._n_checked < CHECKED_CALLS:
            self._n_checked += 1
            again = _process(self._path, self._content, 1).ask(call, timeout_s)
            if again != reply:
                raise HookError(
                    f"`{self.name}` is not pure: `{self._path.name}` returned two different results for the same "
                    "arguments. It must depend on its arguments only, not on the time, randomness, `hash` or set order"
                )
            if self._n_checked == CHECKED_CALLS:
                _stop(self._path, self._content, 1)
        return reply, process


def isolated(path: Path, content: bytes) -> bool:
    """Whether this machine can run the functions of a file without network; starts their process.

    A process that has read a file that changed since is replaced.
    """
    if not _MAY_RUN.get():
        return True
    if _process(path, content, 0).outdated:
        _stop(path, content, 0)
        _stop(path, content, 1)
    return _process(path, content, 0).isolated


class _Process:
    """A worker process of one file with some content; `seed` is its hash seed.

    `reads` has the files that it has read, each with its mark. `unseen` is whether it may have read others that have no
    name, as if another program opened them.
    """

    def __init__(self, path: Path, content: bytes, seed: int) -> None:
        self.unseen = False
        self.reads: dict[str, str] = {}  # marks of files, by path
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
        with contextlib.suppress(OSError):  # it has ended: the first call tells
            self._send(json.dumps(content.decode("latin-1")))

    @property
    def outdated(self) -> bool:
        """Whether a file that it has read has changed since."""
        return any(mark(Path(name)) != was for name, was in self.reads.items())

    def ask(self, call: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Send a call and return its reply; raises HookError, HookFault or TimeoutError."""
        self._n_calls += 1
        try:
            self._send(f"[{self._n_calls}, {call[1:]}")
        except (OSError, ValueError):
            raise self._ended() from None
        try:
            reply: dict[str, Any] = json.loads(self._line(timeout_s))
            if reply.pop("call") != self._n_calls:
                raise KeyError("call")  # noqa: TRY301 - handled as any other invalid line
            self._note(reply.pop("reads"), unseen=bool(reply.pop("unseen")))
        except (ValueError, KeyError, AttributeError, TypeError):
            self.stop()
            raise HookError(
                f"`{self._path.name}` wrote to the pipe of its process: a function may only return a value"
            ) from None
        return reply

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _note(self, files: list[str], *, unseen: bool) -> None:
        """Note the files that it has read since its last reply."""
        self.unseen |= unseen
        for path in filter(None, map(dependency, files)):
            if path not in self.reads:
                self.reads[path] = mark(Path(path))

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

    def _line(self, timeout_s: float | None = None) -> str:
        limit = CALL_S if timeout_s is None else timeout_s
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"took more than {limit:g} s") from None
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> HookFault:
        self.stop()
        return HookFault("ended its process: it may exit, or run out of memory")


_processes: dict[tuple[Path, bytes, int, int], _Process] = {}


def _process(path: Path, content: bytes, seed: int) -> _Process:
    key = (path, digest_bytes(content), seed, os.getpid())
    if key not in _processes or _processes[key].stopped:
        _processes[key] = _Process(path, content, seed)
    return _processes[key]


def _stop(path: Path, content: bytes, seed: int) -> None:
    if (process := _processes.pop((path, digest_bytes(content), seed, os.getpid()), None)) is not None:
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
