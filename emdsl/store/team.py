"""The store of a team: answers on a server, and copies of them on this machine.

Acknowledged answers are on the server. Answers that this machine reads or stores there are copied, so that it reads
them here the next time, and offline. If the server does not answer, answers that arrive are kept here without the mark
of `shared`, and the next process that may write sends them before anything else.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from emdsl.errors import StoreAway, StoreError
from emdsl.store.codec import Corrupt, decode, encode, is_sound
from emdsl.store.parts import chunked, parts
from emdsl.store.removals import DATABASE, prepare
from emdsl.store.shared import (
    add_shared,
    connect_to,
    copy,
    last_seen,
    note_seen,
    set_shared,
    shared_keys,
    unshared,
    why,
)
from emdsl.store.writer import Writer

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from emdsl.digest import Digest
    from emdsl.query import Query, Response
    from emdsl.store.disk import DiskStore
    from emdsl.store.postgres_claims import PostgresClaims
    from emdsl.store.removals import StoreVersion, Trashed
    from emdsl.store.store import AnswerStore, AnyClaims
    from emdsl.store.writer import Pending

PAGE = 2_000  # entries that are compared with the server's at once


class TeamStore:
    """A server's answers with copies in a local store; see `AnswerStore`.

    Both stores are closed with it. StoreAway: the server does not answer.
    """

    def __init__(self, server: AnswerStore, local: DiskStore, *, send: bool) -> None:
        """Bring both stores together: removals on the server are repeated here, answers of this machine are sent.

        Args:
            server: The store that the team shares.
            local: The copies of this machine, and its own answers.
            send: Send the answers that the server lacks; else answers are only read, and copied into a local store.
        """
        self.corrupt: set[Digest] = set()
        self.network = local.network
        self.n_sent = self.n_known = 0  # answers of this machine that the server lacked, and that it had
        self._server, self._local = server, local
        self._away: StoreError | None = None
        self._seen: StoreVersion | None = None  # the version of the server whose removals were repeated here
        self._stores = False  # whether this process has stored answers
        self._pending: dict[Digest, tuple[Query, Response]] = {}  # answers without an acknowledgement of the server
        folder = local.folder
        self._copier = Writer(lambda: connect_to(folder), _commit_copies, lambda error: why(folder, error), PAGE)
        self._copies = (folder / DATABASE).exists() and os.access(folder, os.W_OK)
        self._current = self._copies or self._unchanged()  # whether the local answers can be used
        if self._copies:
            self._follow()
        if send:
            self.send()

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """Return the stored answers by key, from here if they are here; damaged ones are left out."""
        wanted = list(dict.fromkeys(keys))
        answers = self._local.get_many(wanted) if self._current else {}
        missing = [k for k in wanted if k not in answers]
        copied = list[tuple[bytes, bytes]]()
        for key, entry in self._fetched(missing) if missing else ():
            try:
                answers[key] = decode(entry)
            except Corrupt:
                self._server.corrupt.add(key)
                continue
            copied.append((key, entry))
        self._copy(copied)
        self.corrupt |= self._server.corrupt
        return answers

    def _fetched(self, keys: Iterable[Digest]) -> list[tuple[Digest, bytes]]:
        with _explaining() if self._stores else nullcontext():  # a run has answers on their way
            return list(self._server.entries(keys))

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:
        """See Store."""
        return self._local.sample(n) or self._server.sample(n)

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """Store an answer on the server; the future is done when it is committed there.

        Whatever prevents that, the answer is kept here, and the future has the error of the server.
        """
        import asyncio  # noqa: PLC0415 - only who asks pays for its import

        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._pending[query.key] = query, response
        if self._away is not None:
            self._keep(query, response, future)
        else:
            self._server.put(query, response).add_done_callback(lambda put: self._acknowledge(query, put, future))
        return future

    def close(self) -> None:
        """Write pending answers and close everything; answers that the server has not acknowledged are kept here."""
        try:
            self._note_stored()
            self._server.close()
        finally:
            self._copier.close()
            if self._pending:
                self._local.adopt((key, encode(*answer)) for key, answer in self._pending.items())
                self._pending.clear()
            self._local.close()

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """See AnswerStore."""
        wanted = dict.fromkeys(keys)
        for key, entry in self._local.entries(wanted) if self._current else ():
            if is_sound(entry):
                del wanted[key]
                yield key, entry
        yield from self._server.entries(wanted)

    def stored(self, keys: Iterable[Digest]) -> list[Digest]:
        """See AnswerStore."""
        wanted = list(dict.fromkeys(keys))
        here = dict.fromkeys(self._local.stored(wanted) if self._current else ())
        return [*here, *self._server.stored([k for k in wanted if k not in here])]

    def keys(self) -> Iterator[Digest]:
        """See AnswerStore."""
        yield from self._server.keys()
        yield from (key for part in self._only_here() for key, _ in part)

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """See AnswerStore."""
        yield from self._server.each()
        for part in self._only_here():
            yield from part

    def adopt(self, entries: Iterable[tuple[Digest, bytes]]) -> tuple[int, int]:
        """Add entries on the server, and copy its entries of these keys."""
        new = known = 0
        for part in parts(entries, PAGE):
            added, present = self._server.adopt(part)
            new, known = new + added, known + present
            self._copy([(key, entry) for key, entry in self._server.entries(k for k, _ in part) if is_sound(entry)])
        return new, known

    def state(self) -> StoreVersion:
        """Return the version of the server's store."""
        return self._server.state()

    def still_holds(self, before: StoreVersion) -> bool:
        """See AnswerStore; of versions of the server's store."""
        return self._server.still_holds(before)

    def damage(self) -> str:
        """See AnswerStore."""
        return self._server.damage() or self._local.damage()

    def n_bytes(self) -> int:
        """Return the size of the server's store."""
        return self._server.n_bytes()

    def move_to_trash(self, keys: Iterable[Digest], why: str, name: str = "") -> int:
        """Move entries to the server's trash; answers that only this machine has are sent before."""
        removed = list(keys)
        if self._copies:
            self.send()
        n = self._server.move_to_trash(removed, why, name)
        if self._copies:
            self._copier.close()  # copies on their way would come back behind the removal
            self._local.move_to_trash(removed, why, name)
        return n

    def trash(self) -> list[Trashed]:
        """Return the removals in the server's trash, last first."""
        return self._server.trash()

    def trash_entries(self, name: str) -> list[tuple[Digest, bytes]]:
        """See AnswerStore."""
        return self._server.trash_entries(name)

    def purge(self, name: str | None) -> int:
        """Permanently delete one removal in the server's trash, or all, and their copies on this machine."""
        names = [name] if name is not None else [t.name for t in self._server.trash() if t.name]
        n = self._server.purge(name)
        for each in names if self._copies else ():
            self._local.purge(each)
        return n

    def send(self) -> None:
        """Send the answers that only this machine has.

        Where another machine's answer came first, that one is used here too; the own one goes to the trash.
        """
        for page in self._only_here():
            part = [(key, entry) for key, entry in page if is_sound(entry)]
            there = set(self._server.stored(key for key, _ in part))
            self._server.adopt((key, entry) for key, entry in part if key not in there)
            present = {key: entry for key, entry in self._server.entries(key for key, _ in part) if is_sound(entry)}
            other = {key: present[key] for key, entry in part if present.get(key, entry) != entry}
            if other:
                self._local.move_to_trash(other, "another machine of the team had an answer", _removal())
                self._copy(list(other.items()))
            set_shared(self._local.folder, [k for k, e in part if present.get(k) == e], shared=True)
            self.n_sent += len(part) - len(there)
            self.n_known += len(there)

    def fetch(self) -> tuple[int, int]:
        """Copy all answers of the server; return how many were not here, and how many were."""
        new = known = 0
        for part in chunked(self._server.keys(), PAGE):
            here = set(self._local.stored(part))
            missing = [key for key in part if key not in here]
            self._copy([(key, entry) for key, entry in self._server.entries(missing) if is_sound(entry)])
            new, known = new + len(missing), known + len(here)
        return new, known

    # -------------------------------------------------------------- both stores

    def _follow(self) -> None:
        """Repeat removals of the server here; after a restored backup of the server, its answers are sent again."""
        folder = self._local.folder
        prepare(folder)
        seen, now = last_seen(folder), self._server.state()
        if seen is not None and seen.store == now.store and not self._server.still_holds(seen):
            removed = now.removals > seen.removals
            for part in shared_keys(folder):
                there = set(self._server.stored(part))
                if gone := [key for key in part if key not in there]:
                    if removed:
                        self._local.move_to_trash(gone, "removed from the store of the team", _removal())
                    else:
                        set_shared(folder, gone, shared=False)
        if seen != now:
            note_seen(folder, now)
        self._seen = now

    def _note_stored(self) -> None:
        """Keep which answers the server has got, so that a backup without them is noticed."""
        if self._seen is not None and self._stores and self._away is None:
            with suppress(StoreError):  # the server has gone since
                note_seen(self._local.folder, self._server.state()._replace(removals=self._seen.removals))
            self._stores = False

    def _unchanged(self) -> bool:
        """Whether a local store that cannot be written has nothing that the server has removed."""
        if not (self._local.folder / DATABASE).exists():
            return True
        seen = last_seen(self._local.folder)
        return seen is None or self._server.still_holds(seen)

    def _only_here(self) -> Iterator[list[tuple[Digest, bytes]]]:
        return unshared(self._local.folder) if self._copies else iter(())

    def _copy(self, entries: list[tuple[Digest, bytes]]) -> None:
        """Copy sound entries of the server, in place of damaged ones."""
        if self._copies and entries:
            damaged = self._local.corrupt.intersection(key for key, _ in entries)
            if damaged:
                self._local.move_to_trash(damaged, "damaged")
                self._local.corrupt -= damaged
            copy(self._local.folder, entries)

    # -------------------------------------------------------------- answers on their way

    def _acknowledge(self, query: Query, put: asyncio.Future[Response], future: asyncio.Future[Response]) -> None:
        error = put.exception()
        if error is None:
            stored = put.result()
            self._pending.pop(query.key, None)
            self._stores = True
            if self._copies:
                self._copier.put(query, stored).add_done_callback(_ignore)
            if not future.done():
                future.set_result(stored)
            return
        error = kept(error) if isinstance(error, StoreAway) else error
        self._away = self._away or (error if isinstance(error, StoreError) else StoreError(str(error)))
        if query.key in self._pending:
            self._keep(query, self._pending[query.key][1], future)

    def _keep(self, query: Query, response: Response, future: asyncio.Future[Response]) -> None:
        """Keep an answer that the server did not take, and give its error to whoever waits."""

        def kept(put: asyncio.Future[Response]) -> None:
            error = put.exception() or self._away
            if put.exception() is None:
                self._pending.pop(query.key, None)
            if error is not None and not future.done():
                future.set_exception(error)

        self._local.put(query, response).add_done_callback(kept)


class TeamClaims:
    """The claims of a run on the server, and its presence on this machine for `emdsl runs`; see `AnyClaims`."""

    def __init__(self, server: PostgresClaims, here: AnyClaims) -> None:
        self._server, self._here = server, here

    @property
    def owner(self) -> int:
        """Its number on the server, with which a purse ends."""
        return self._server.owner

    @property
    def alone(self) -> bool:
        """See AnyClaims."""
        with _explaining():
            return self._server.alone

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        """See AnyClaims."""
        with _explaining():
            return self._server.take(keys)

    def release(self, keys: Iterable[Digest]) -> None:
        """See AnyClaims."""
        self._server.release(keys)

    def check(self) -> None:
        """See AnyClaims."""
        with _explaining():
            self._server.check()

    def close(self) -> None:
        """See AnyClaims."""
        try:
            self._server.close()
        finally:
            self._here.close()


@contextmanager
def _explaining() -> Iterator[None]:
    """Add the fate of answers that arrive to the error of a server that is away."""
    try:
        yield
    except StoreAway as error:
        raise kept(error) from error


def kept(error: StoreAway) -> StoreAway:
    """Add to the error of a run whose server is away what becomes of its answers."""
    return StoreAway(
        f"{error}. Nothing more was sent. Answers that arrived since are kept on this machine: the next run with the "
        "server sends them to it first, and so does `emdsl cache push`"
    )


def _removal() -> str:
    return time.strftime("team-%Y%m%d-%H%M%S")


def _commit_copies(database: sqlite3.Connection, batch: list[Pending]) -> list[Response]:
    """Copy answers that the server has."""
    add_shared(database, [(item.key, encode(item.query, item.response)) for item in batch])
    return [item.response for item in batch]


def _ignore(put: asyncio.Future[Response]) -> None:
    """Ignore an error of the copy: nothing is lost, since the server has the answer."""
    put.exception()
