"""The thread of a store that writes: it commits whatever has arrived as one batch, and wakes those who wait."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from emdsl.errors import StoreError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from emdsl.query import Query, Response


class Closes(Protocol):
    """A connection to a database."""

    def close(self) -> None:
        """End it."""


Connection = TypeVar("Connection", bound=Closes)


class Pending:
    """A pending answer."""

    __slots__ = ("future", "key", "loop", "query", "response")

    def __init__(
        self, query: Query, response: Response, future: asyncio.Future[Response], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.key, self.query, self.response, self.future, self.loop = query.key, query, response, future, loop


class Writer(Generic[Connection]):
    """Commits answers on a connection of its own. After an error nothing more is written: each `put` has that error."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        commit: Callable[[Connection, list[Pending]], list[Response]],
        why: Callable[[Exception], StoreError],
        max_batch: int,
    ) -> None:
        """Prepare the thread, that starts with the first answer.

        Args:
            connect: opens the connection, in the thread.
            commit: stores a batch so that it survives a crash, and returns the stored answers, in its order.
            why: returns the error that those who wait get.
            max_batch: the maximum number of answers in a batch.
        """
        self._connect, self._commit, self._why, self._max_batch = connect, commit, why, max_batch
        self._waiting: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._failed: StoreError | None = None
        self._thread: threading.Thread | None = None

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer; the future holds the stored one: the first of its key."""
        import asyncio  # noqa: PLC0415 - 15 ms that only asking should cost

        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="emdsl-store", daemon=True)
            self._thread.start()
        self._waiting.put(Pending(query, response, future, loop))
        return future

    def close(self) -> None:
        """Write pending answers and end the thread; safe to call twice."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _write(self) -> None:
        connection: Connection | None = None
        try:
            while (first := self._waiting.get()) is not None:
                batch, ends = self._batch(first)
                try:
                    if not self._failed:
                        connection = connection or self._connect()
                        responses = self._commit(connection, batch)
                        _settle(batch[0].loop, [(p.future, r, None) for p, r in zip(batch, responses, strict=True)])
                except Exception as error:  # noqa: BLE001 - those who wait get it, whatever it is
                    self._failed = error if isinstance(error, StoreError) else self._why(error)
                if self._failed:
                    _settle(batch[0].loop, [(p.future, None, self._failed) for p in batch])
                if ends:
                    break
        finally:
            if connection is not None:
                connection.close()

    def _batch(self, first: Pending) -> tuple[list[Pending], bool]:
        """Return all answers that have arrived, and whether the queue has ended."""
        batch = [first]
        while len(batch) < self._max_batch:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False


def _settle(
    loop: asyncio.AbstractEventLoop,
    done: list[tuple[asyncio.Future[Response], Response | None, StoreError | None]],
) -> None:
    """Wake the event loop once for a whole batch."""

    def settle() -> None:
        for future, response, error in done:
            if future.done():  # cancelled: the answer is stored all the same
                continue
            if error is not None:
                future.set_exception(error)
            elif response is not None:
                future.set_result(response)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)
