"""A remote: answers in packs that everybody reads and nobody changes, in a bucket, on a web server or in a folder.

    emdsl.json            the version of the format; in an encrypted remote the identity, under its passphrase
    packs/SHA256.pack     some thousand answers
    index/SHA256.idx      the keys of one pack; sealed in an encrypted remote
    packs.json            the names of all indexes, for web servers, which list nothing

A pack counts once its index is there, and its index comes after it: an interrupted push leaves nothing half visible.
Where objects can be listed, the list is the truth, and `packs.json` follows it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from emdsl.digest import digest_bytes
from emdsl.errors import SetupError, StoreError, UsageError
from emdsl.store import sealing
from emdsl.store.bundle import CANARY
from emdsl.store.packs import Block, Damaged, entries_of, pack, portions, read_index
from emdsl.store.parts import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.store.buckets import Bucket
    from emdsl.store.catalog import Catalog, Pack
    from emdsl.store.packs import Index
    from emdsl.store.removals import StoreVersion

FORMAT = 1
AT_ONCE = 8  # objects on their way
TRIES = 5  # to look keys up while other processes make the catalog again
GAP = 16 * 2**10  # bytes between two blocks, up to which one request fetches both
_ABOUT, _LIST, _PACKS, _INDEX = "emdsl.json", "packs.json", "packs", "index"
_INDEX_NAME = re.compile(r"[0-9a-f]{64}\.idx")
_OLDER = "was written by a newer version: upgrade emdsl"

S = TypeVar("S")
T = TypeVar("T")


class Span(NamedTuple):
    """Neighbouring blocks of a pack, fetched by one request."""

    pack: Pack
    blocks: tuple[tuple[int, Block], ...]  # with their numbers

    @property
    def start(self) -> int:
        """The first byte."""
        return self.blocks[0][1].start

    @property
    def end(self) -> int:
        """The byte behind the last one."""
        return self.blocks[-1][1].end


class Remote:
    """One remote, with the catalog of its keys. Methods raise StoreError, StoreAway and SetupError."""

    def __init__(self, name: str, bucket: Bucket, catalog: Catalog, passphrase: str | None) -> None:
        self.name = name
        self._bucket, self._catalog, self._passphrase = bucket, catalog, passphrase
        self._about: dict[str, Any] | None = None
        self._seal: sealing.Seal | None = None
        self._sealing = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="emdsl-remote")

    def close(self) -> None:
        """Give up transfers, and close the catalog."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._catalog.close()

    # -------------------------------------------------------------- reading

    def refresh(self, max_age_s: float = 0) -> None:
        """Bring the catalog up to date, unless it is younger than that: fetch the indexes of packs that have come."""
        if 0 <= time.time() - self._catalog.refreshed_at() < max_age_s:  # a clock may have been set back
            self._about = json.loads(self._catalog.about())
            return
        content = self._bucket.get(_ABOUT)
        if content is None:
            raise StoreError(
                f"{self._bucket.url} is not a remote of emdsl: it has no {_ABOUT}. `emdsl cache push` makes one"
            )
        self._know(content)
        for _ in range(TRIES):
            names, known = self._listed(), self._catalog.names()
            if known - names:  # packs are gone, and others may hold their keys
                self._catalog.begin(content.decode())
                known = set()
            for name, index in self._mapped(self._index, sorted(names - known)):
                self._catalog.add(name, index)
            if self._catalog.note_refreshed(time.time(), names):
                return
        raise self._changing()

    def find(self, keys: Iterable[Digest]) -> dict[Digest, tuple[int, int]]:
        """Return the pack and the block of each key that the remote held at the last refresh."""
        wanted = list(keys)
        for _ in range(TRIES):
            if (places := self._catalog.find(wanted)) is not None:
                return places
            self.refresh()  # another process has begun the catalog again: the remote may hold keys that it lacks
        raise self._changing()

    def fetch(self, places: Mapping[Digest, tuple[int, int]]) -> dict[Digest, bytes]:
        """Return the entries of some places, and those that lie in the same blocks."""
        found = dict[bytes, bytes]()
        for _ in range(TRIES):
            spans, forgotten = self._spans(set(places.values()))
            for _, entries in self._mapped(self._entries_in, spans):
                for key, entry in entries:
                    found.setdefault(key, entry)
            if not forgotten:
                return found
            places = self.find(key for key, (pack, _) in places.items() if pack in forgotten)
        raise self._changing()

    def packs(self) -> list[Pack]:
        """Return the packs of the last refresh."""
        return self._catalog.packs()

    def unpulled(self, holds: Callable[[StoreVersion], bool]) -> list[Pack]:
        """Return the packs that were never pulled into a store, or whose store does not hold their entries any more."""
        pulled = self._catalog.pulled()
        held = {version: holds(version) for version in set(pulled.values())}
        return [p for p in self._catalog.packs() if p.id not in pulled or not held[pulled[p.id]]]

    def note_pulled(self, packs: Iterable[int], version: StoreVersion) -> None:
        """Note packs whose entries are all in a store of this version."""
        self._catalog.note_pulled(packs, version)

    def pull(self, packs: Iterable[Pack]) -> Iterator[tuple[Pack, list[Entry] | StoreError]]:
        """Yield packs with all their entries as they arrive; a pack that is not as it was written comes as an error."""
        for span, entries in self._mapped(self._whole, map(self._span_of, packs)):
            yield span.pack, entries

    def _span_of(self, pack: Pack) -> Span:
        """Return all blocks of a pack, with its current number."""
        located = self._catalog.pack(pack.id)
        if located is None:  # another process has begun the catalog again
            self.refresh()
            same = next((p for p in self._catalog.packs() if p.sha256 == pack.sha256), None)
            located = self._catalog.pack(same.id) if same is not None else None
        current, blocks = located or (pack, [])
        return Span(current, tuple(enumerate(blocks)))

    def _whole(self, span: Span) -> list[Entry] | StoreError:
        path = _path_of(span.pack)
        if not span.blocks:
            return StoreError(f"{path} of {self._bucket.url} was removed meanwhile")
        content = self._bucket.get(path)
        if content is None:
            return StoreError(f"{path} of {self._bucket.url} is missing, although its index is there")
        if digest_bytes(content) != span.pack.sha256:
            return self._tampered(path, "its SHA-256 is not its name")
        try:
            return [e for _, b in span.blocks for e in entries_of(self._open(content[b.start : b.start + b.size]))]
        except Damaged as error:
            return self._tampered(path, str(error))

    def _entries_in(self, span: Span) -> list[Entry]:
        path, entries = _path_of(span.pack), list[Entry]()
        content = self._bucket.get_range(path, span.start, span.end)
        for _, block in span.blocks:
            part = content[block.start - span.start :][: block.size]
            if digest_bytes(part) != block.sha256:
                raise self._tampered(path, "a part of it fails its checksum")
            try:
                entries += entries_of(self._open(part))
            except Damaged as error:
                raise self._tampered(path, str(error)) from None
        return entries

    def _spans(self, places: set[tuple[int, int]]) -> tuple[list[Span], set[int]]:
        """Return the spans to fetch, and the packs that the catalog has forgotten since they were looked up.

        Blocks with a small gap between them come together.
        """
        by_pack = dict[int, list[int]]()
        for number, block in sorted(places):
            by_pack.setdefault(number, []).append(block)
        spans, forgotten = list[Span](), set[int]()
        for number, wanted in by_pack.items():
            if (located := self._catalog.pack(number)) is None:
                forgotten.add(number)
                continue
            pack, blocks = located
            near = list[tuple[int, Block]]()
            for i in wanted if self._bucket.ranges else range(len(blocks)):
                if near and blocks[i].start - near[-1][1].end > GAP:
                    spans.append(Span(pack, tuple(near)))
                    near = []
                near.append((i, blocks[i]))
            spans.append(Span(pack, tuple(near)))
        return spans, forgotten

    def _listed(self) -> set[str]:
        """Return the names of all indexes."""
        if self._bucket.lists:
            return {name for name in self._bucket.names(_INDEX) if _is_index(name)}
        return _names_in(self._bucket.get(_LIST), self._bucket.url)

    def _index(self, name: str) -> Index:
        path = f"{_INDEX}/{name}"
        content = self._bucket.get(path)
        if content is None:
            raise StoreError(f"{path} of {self._bucket.url} is missing: push its answers again")
        if f"{digest_bytes(content).hex()}.idx" != name:
            raise self._tampered(path, "its SHA-256 is not its name")
        try:
            return read_index(self._open(content))
        except Damaged as error:
            raise self._tampered(path, str(error)) from None

    # -------------------------------------------------------------- writing

    def begin(self, *, encrypt: bool, sealed: bool = False) -> None:
        """Make the remote unless there is one, and bring the catalog up to date.

        Args:
            encrypt: Encrypt a new remote; one that exists must be encrypted.
            sealed: Make no remote that is not encrypted, and refuse one: a passphrase was given.

        Raises:
            UsageError: The remote is not encrypted, but must be.
        """
        if self._bucket.get(_ABOUT) is None:
            if sealed and not encrypt:
                raise UsageError(
                    f"{self._bucket.url} has no answers yet, and its first push decides whether it is encrypted: add "
                    "--encrypt, or leave out --passphrase", parameter="passphrase",
                )  # fmt: skip
            about: dict[str, Any] = {"emdsl_remote": FORMAT, "canary": CANARY}
            if encrypt:
                about["identity"] = sealing.new_identity(self._needed_passphrase())
            self._bucket.create(_ABOUT, json.dumps(about, indent=1).encode())  # another one may have come first
        self.refresh()
        if (encrypt or sealed) and not self.encrypted:
            parameter = "encrypt" if encrypt else "passphrase"
            raise UsageError(
                f"{self._bucket.url} is not encrypted, and its first push decided that: leave out --{parameter}, or "
                "push with --encrypt to another folder", parameter=parameter,
            )  # fmt: skip

    def push(self, entries: Iterable[Entry]) -> Iterator[int]:
        """Store entries in new packs; yield the number of entries of each pack once it can be read by others."""
        seal = self._seal_of().close if self.encrypted else bytes
        made = ((len(part), *pack(part, seal)) for part in portions(entries))
        new = set[str]()
        try:
            for (n, _, index), name in self._mapped(self._stored, made):
                self._catalog.add(name, read_index(index))
                new.add(name)
                yield n
        finally:
            self._publish(new)

    def _stored(self, made: tuple[int, bytes, bytes]) -> str:
        _, content, index = made
        self._bucket.create(f"{_PACKS}/{digest_bytes(content).hex()}.pack", content)
        sealed = self._seal_of().close(index) if self.encrypted else index
        name = f"{digest_bytes(sealed).hex()}.idx"
        self._bucket.create(f"{_INDEX}/{name}", sealed)
        return name

    def _publish(self, new: set[str]) -> None:
        """Bring the list for web servers up to date."""
        names = self._listed() | new

        def changed(content: bytes | None) -> bytes | None:
            before = _names_in(content, self._bucket.url) if content is not None else None
            if before is not None and names <= before:
                return None
            both = sorted(names | (before or set()))
            return json.dumps({"emdsl_remote": FORMAT, "indexes": both}, indent=0).encode()

        self._bucket.change(_LIST, changed)

    # -------------------------------------------------------------- both

    @property
    def encrypted(self) -> bool:
        """Whether its packs and indexes are sealed, as of the last refresh."""
        about = self._about or json.loads(self._catalog.about() or "{}")
        return bool(about.get("identity"))

    def _know(self, content: bytes) -> None:
        """Read the description of the remote; another one than before begins a new catalog."""
        try:
            about: Any = json.loads(content)
            version = about["emdsl_remote"]
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{self._bucket.url} is not a remote of emdsl: its {_ABOUT} cannot be read") from None
        if version != FORMAT:
            raise StoreError(f"{self._bucket.url} {_OLDER}")
        self._about = about
        if self._catalog.about() != (text := content.decode()):
            self._catalog.begin(text)

    def _open(self, content: bytes) -> bytes:
        return self._seal_of().open(content) if self.encrypted else content

    def _seal_of(self) -> sealing.Seal:
        with self._sealing:
            if self._seal is None:
                locked = str((self._about or {})["identity"])
                try:
                    self._seal = sealing.opened(locked, self._needed_passphrase())
                except Damaged as error:
                    raise StoreError(f"{self._bucket.url} cannot be decrypted: {error}") from error
            return self._seal

    def _needed_passphrase(self) -> str:
        if not self._passphrase:
            raise SetupError(
                f"{self._bucket.url} is encrypted: set its passphrase as EMDSL_PASSPHRASE, here or in `.env`"
            )
        return self._passphrase

    def _changing(self) -> StoreError:
        return StoreError(f"the packs of {self._bucket.url} changed {TRIES} times while they were read: try again")

    def _tampered(self, path: str, why: str) -> StoreError:
        return StoreError(
            f"{path} of {self._bucket.url} is damaged or was changed: {why}. Nothing of it is stored. Delete it with "
            "its index, and push its answers again from a cache that has them"
        )

    def _mapped(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[tuple[S, T]]:
        """Yield items with their values, in order, some computed at the same time; few wait in memory."""
        waiting = deque[tuple[S, Future[T]]]()
        try:
            for item in items:
                waiting.append((item, self._pool.submit(function, item)))
                if len(waiting) > AT_ONCE:
                    first, value = waiting.popleft()
                    yield first, value.result()
            while waiting:
                first, value = waiting.popleft()
                yield first, value.result()
        finally:
            for _, value in waiting:
                value.cancel()


def _path_of(found: Pack) -> str:
    return f"{_PACKS}/{found.sha256.hex()}.pack"


def _is_index(name: str) -> bool:
    return bool(_INDEX_NAME.fullmatch(name))


def _names_in(content: bytes | None, url: str) -> set[str]:
    """Return the names in a list of indexes."""
    if content is None:
        raise StoreError(f"{url} has no {_LIST}: push to the folder that it shows, and copy all of it")
    try:
        held: Any = json.loads(content)
        names = {str(name) for name in held["indexes"]}
        version = held["emdsl_remote"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{_LIST} of {url} cannot be read: push again, which writes it again") from None
    if version != FORMAT:
        raise StoreError(f"{url} {_OLDER}")
    if bad := next((name for name in names if not _is_index(name)), None):
        raise StoreError(f"{_LIST} of {url} names `{bad[:80]}`: it is not an index")
    return names
