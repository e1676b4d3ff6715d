"""A store that looks for missing answers in remotes, and keeps those that it finds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from emdsl.errors import StoreAway, StoreError
from emdsl.store.codec import Corrupt, decode, is_sound

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from emdsl.digest import Digest
    from emdsl.query import Query, Response
    from emdsl.store.remote import Remote
    from emdsl.store.removals import StoreVersion, Trashed
    from emdsl.store.store import AnswerStore

T = TypeVar("T")
MAX_AGE_S = 10.0  # of a catalog, unless missing answers are going to be paid for: pages read the store again and again
DROPPED = "drop:"  # a removal for this reason wants another answer: none comes back from a remote


class ReadThroughStore:
    """A store with remotes behind it; see `AnswerStore`. Answers of remotes are found by their keys alone.

    Args:
        store: The store; it keeps answers of remotes.
        remotes: Opens the remotes, when the first key is missing; they are looked up in this order.
        keeps: Whether the store can be written; if not, entries stay in memory.
        sends: Whether missing answers are going to be paid for: then StoreAway is raised for a missing key as long as a
            remote cannot be reached, which may hold its answer. If not, `away` has the reason.
    """

    def __init__(
        self, store: AnswerStore, remotes: Callable[[], Sequence[Remote]], *, keeps: bool, sends: bool
    ) -> None:
        self.corrupt, self.network = store.corrupt, store.network
        self.away: dict[str, str] = {}  # why, by the name of a remote
        self._store, self._remotes, self._keeps, self._sends = store, remotes, keeps, sends
        self._opened: Sequence[Remote] | None = None
        self._ready: list[Remote] = []  # those that are up to date
        self._dropped: set[Digest] | None = None  # the keys of answers that were dropped
        self._held: dict[Digest, bytes] = {}  # fetched, and not kept by the store
        self._lock = threading.Lock()

    def get_many(self, keys: Iterable[Digest]) -> dict[Digest, Response]:
        """See Store."""
        wanted = list(dict.fromkeys(keys))
        found = self._store.get_many(wanted)
        if len(found) < len(wanted):
            found |= {key: decode(entry) for key, entry in self._fetched(k for k in wanted if k not in found)}
        return found

    def entries(self, keys: Iterable[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """See AnswerStore."""
        missing = dict.fromkeys(keys)
        for key, entry in self._store.entries(list(missing)):
            missing.pop(key, None)
            yield key, entry
        if missing:
            yield from self._fetched(missing)

    def _fetched(self, keys: Iterable[Digest]) -> list[tuple[Digest, bytes]]:
        """Return the entries of missing keys that remotes have, and keep them."""
        with self._lock:
            missing = dict.fromkeys(keys)
            found = {key: self._held[key] for key in missing if key in self._held}
            for remote in self._up_to_date():
                try:
                    places = self._without_dropped(remote.find(k for k in missing if k not in found))
                    entries = remote.fetch(places) if places else {}
                except StoreAway as error:
                    self._note_away(remote, error)
                    continue
                if entries := self._without_dropped(entries):  # blocks hold more than the answers of missing keys
                    _check(entries, remote.name)
                    found |= self._kept(entries, [key for key in places if key in entries])
            left = len(missing) - len(found)
            if left and self.away and self._sends:
                name, why = next(iter(self.away.items()))
                raise StoreAway(
                    f"the remote `{name}` may hold answers that are missing here, and {why}. Nothing was sent. Try "
                    "again later, replay the cached answers with --offline, or send requests without it: "
                    "--without-remotes"
                )
            return list(found.items())

    def _up_to_date(self) -> list[Remote]:
        if self._opened is None:
            self._opened = self._remotes()
            for remote in self._opened:
                try:
                    remote.refresh(0 if self._sends else MAX_AGE_S)
                except StoreAway as error:
                    self._note_away(remote, error)
                else:
                    self._ready.append(remote)
        return [remote for remote in self._ready if remote.name not in self.away]

    def _note_away(self, remote: Remote, error: StoreAway) -> None:
        self.away[remote.name] = str(error)

    def _without_dropped(self, by_key: Mapping[Digest, T]) -> dict[Digest, T]:
        """Leave out the answers that somebody dropped to request them again."""
        if self._dropped is None and by_key:
            self._dropped = dropped(self._store)
        return {key: value for key, value in by_key.items() if key not in (self._dropped or ())}

    def _kept(self, entries: Mapping[Digest, bytes], wanted: Iterable[Digest]) -> dict[Digest, bytes]:
        """Keep entries, and return those of some keys that count: a process may have stored its own answer first."""
        of_keys = {key: entries[key] for key in wanted}
        if not self._keeps:
            self._held |= entries
            return of_keys
        _, present = self._store.adopt(entries.items())
        self.corrupt.difference_update(entries)  # a damaged one was replaced
        if present:
            of_keys |= {key: entry for key, entry in self._store.entries(of_keys) if is_sound(entry)}
        return of_keys

    # -------------------------------------------------------------- of the store alone

    def sample(self, n: int) -> list[tuple[Mapping[str, Any], Response]]:
        """See Store."""
        return self._store.sample(n)

    def put(self, query: Query, response: Response) -> asyncio.Future[Response]:
        """See Store."""
        return self._store.put(query, response)

    def stored(self, keys: Iterable[Digest]) -> list[Digest]:
        """See AnswerStore; of the store alone, since remotes hold answers of strangers."""
        return self._store.stored(keys)

    def keys(self) -> Iterator[Digest]:
        """See AnswerStore; of the store alone."""
        return self._store.keys()

    def each(self) -> Iterator[tuple[Digest, bytes | None]]:
        """See AnswerStore; of the store alone."""
        return self._store.each()

    def adopt(self, entries: Iterable[tuple[Digest, bytes]]) -> tuple[int, int]:
        """See AnswerStore."""
        return self._store.adopt(entries)

    def state(self) -> StoreVersion:
        """See AnswerStore."""
        return self._store.state()

    def still_holds(self, before: StoreVersion) -> bool:
        """See AnswerStore."""
        return self._store.still_holds(before)

    def damage(self) -> str:
        """See AnswerStore."""
        return self._store.damage()

    def n_bytes(self) -> int:
        """See AnswerStore."""
        return self._store.n_bytes()

    def move_to_trash(self, keys: Iterable[Digest], why: str, name: str = "") -> int:
        """See AnswerStore."""
        return self._store.move_to_trash(keys, why, name)

    def trash(self) -> list[Trashed]:
        """See AnswerStore."""
        return self._store.trash()

    def trash_entries(self, name: str) -> list[tuple[Digest, bytes]]:
        """See AnswerStore."""
        return self._store.trash_entries(name)

    def purge(self, name: str | None) -> int:
        """See AnswerStore."""
        return self._store.purge(name)

    def close(self) -> None:
        """See Store."""
        for remote in self._opened or ():
            remote.close()
        self._store.close()


def away(store: AnswerStore) -> Mapping[str, str]:
    """Return why remotes behind a store cannot be reached, by their names."""
    return store.away if isinstance(store, ReadThroughStore) else {}


def dropped(store: AnswerStore) -> set[Digest]:
    """Return the keys of the answers in the trash that somebody dropped to request them again."""
    removals = [t.name for t in store.trash() if t.name and t.why.startswith(DROPPED)]
    return {key for name in removals for key, _ in store.trash_entries(name)}


def _check(entries: Mapping[Digest, bytes], name: str) -> None:
    for key, entry in entries.items():
        try:
            decode(entry)
        except Corrupt as error:
            raise StoreError(
                f"the remote `{name}` has a damaged answer {key.hex()[:16]}: {error}. None of its pack is stored; "
                "`emdsl cache pull` names the pack"
            ) from error
