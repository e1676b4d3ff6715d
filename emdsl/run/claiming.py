"""Claims of requests, taken in bulk, so that of several processes only one sends each request."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from emdsl.files import Busy
from emdsl.run.requests import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.digest import Digest
    from emdsl.query import Response
    from emdsl.run.control import RunControl
    from emdsl.run.dispatcher import Dispatcher
    from emdsl.run.requests import Request
    from emdsl.store.store import AnyClaims, Store

RETRY_S = 0.002  # between two tries to take claims


class ClaimQueue:
    """Requests that are to be claimed, and those that another process has claimed."""

    def __init__(
        self,
        store: Store,
        claims: AnyClaims | None,
        dispatcher: Dispatcher,
        control: RunControl,
        *,
        on_answer: Callable[[Request, Response], None],
        held: Callable[[list[Digest]], set[Digest]] = lambda _: set(),
        on_held: Callable[[Request], None] = lambda _: None,
    ) -> None:
        """Prepare an empty queue.

        Args:
            store: is read after each claim, so that no answer is missed.
            claims: of this process; None if no other process uses the store.
            dispatcher: gets each request that this process has claimed.
            control: of the run.
            on_answer: gets each request whose answer is in the store.
            held: returns those keys whose requests are in an open batch.
            on_held: gets each request that is.
        """
        self._store = store
        self._claims = claims
        self._dispatcher = dispatcher
        self._control = control
        self._on_answer = on_answer
        self._held, self._on_held = held, on_held
        self._unclaimed: list[Request] = []
        self._wanted = asyncio.Event()
        self._elsewhere: dict[Digest, Request] = {}  # claimed by another process, whose answer will serve

    def add(self, request: Request) -> None:
        """Add a request to the next claim."""
        self._unclaimed.append(request)
        self._wanted.set()

    def release(self, request: Request) -> None:
        """Give a claim back."""
        if self._claims is not None:
            self._claims.release([request.query.key])
            if request.state is not State.STORED:
                self._wanted.set()  # others may wait for it: they see it with the next claims, if of none

    async def run(self) -> None:
        """Claim requests as they come; raises OSError if claims cannot be taken."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            requests, self._unclaimed = self._unclaimed, []
            while True:
                if self._control.draining.is_set():  # released claims are shown, and nothing more is claimed
                    requests = []
                try:
                    self._claim(requests)
                    break
                except Busy:
                    await asyncio.sleep(RETRY_S)

    def poll(self) -> None:
        """Look for the answers of other processes, and claim the requests that they have given up.

        Raises StoreError if the claims of this process are lost: others may send its requests then.
        """
        if self._claims is not None:
            self._claims.check()
        if not self._elsewhere:
            return
        for key, response in self._store.get_many(self._elsewhere).items():
            self._on_answer(self._elsewhere.pop(key), response)
        if self._elsewhere and not self._control.draining.is_set():
            with suppress(Busy):
                self._claim(list(self._elsewhere.values()))
        self._dispatcher.dispatch()
        self._control.progress.elsewhere = len(self._elsewhere)
        self._control.show()

    def _claim(self, requests: list[Request]) -> None:
        """Claim requests; the store is read after the claim, so that no answer is missed."""
        claims = self._claims
        keys = [r.query.key for r in requests]
        claimed = set(keys) if claims is None else claims.take(keys)
        alone = claims is None or claims.alone
        unsure = [r.query.key for r in requests if r.query.key in claimed and not (alone and r.store_checked)]
        stored = self._store.get_many(unsure) if unsure else {}
        held = self._held([k for k in keys if k in claimed])  # a batch may be older than the claims of this process
        for request in requests:
            key = request.query.key
            if key in stored:
                request.state = State.STORED
                self.release(request)
                self._elsewhere.pop(key, None)
                self._on_answer(request, stored[key])
            elif key in held:
                self._elsewhere.pop(key, None)
                self._on_held(request)
            elif key in claimed:
                self._elsewhere.pop(key, None)
                self._dispatcher.queue(request)
            else:
                self._elsewhere[key] = request
                self._dispatcher.release_followers(request)  # two processes must not wait for each other's first
        self._control.progress.elsewhere = len(self._elsewhere)
        self._dispatcher.dispatch()
