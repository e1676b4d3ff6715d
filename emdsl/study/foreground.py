"""The thread that called a run: a notebook shows output, and asks, there alone."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Foreground:
    """Calls functions in the thread that made it, while a run goes on in another one."""

    def __init__(self, submit: Callable[[Callable[[], None]], object] | None = None) -> None:
        """Make it in the thread that calls a run; `submit` hands a function over, by default to `serve`."""
        self._thread = threading.get_ident()
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._submit = submit or self._tasks.put

    def serve(self, running: Future[T]) -> T:
        """Call what the run hands over until it has ended; return its result. An error waits for its end."""
        running.add_done_callback(lambda _: self._tasks.put(None))
        errors: list[Exception] = []
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - the run goes on: an output that fails is raised after it
                errors.append(error)
        result = running.result()
        if errors:
            raise errors[0]
        return result

    def post(self, function: Callable[[], None]) -> None:
        """Have a function called, and do not wait."""
        if threading.get_ident() == self._thread:
            function()
        else:
            with suppress(RuntimeError):  # the event loop of the caller has closed: nobody sees an output
                self._submit(function)

    def call(self, function: Callable[[], T]) -> T:
        """Have a function called, and return its result."""
        if threading.get_ident() == self._thread:
            return function()
        answer: Future[T] = Future()

        def settle() -> None:
            try:
                answer.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
                answer.set_exception(error)

        self._submit(settle)
        return answer.result()
