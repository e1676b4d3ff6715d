"""Remotes of packs: buckets, web servers and folders. Answers go there, come from there, and are looked up there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from emdsl.errors import StoreError, UsageError
from emdsl.run import used
from emdsl.source import near, one_of
from emdsl.store.attached import attach, attached, catalog_of, open_remote
from emdsl.store.buckets import checked_url, on_web
from emdsl.store.codec import Corrupt, decode
from emdsl.store.parts import chunked
from emdsl.store.read_through import dropped
from emdsl.study.answers import Exchanged, open_store, unseen, used_by
from emdsl.study.project import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.store.catalog import Pack
    from emdsl.store.remote import Remote
    from emdsl.store.store import AnswerStore
    from emdsl.study.project import Project

LOOKED_UP = 10_000  # keys looked up in a catalog together
READ = 500  # entries read together


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A remote that a cache looks up, with numbers as of the last look."""

    name: str
    url: str
    answers: int
    packs: int
    bytes: int
    encrypted: bool


def push(
    project: Project, url: str, files: Sequence[Path] = (), *, encrypt: bool = False, passphrase: str | None = None,
    progress: Callable[[int, int], None] = unseen,
) -> Exchanged:  # fmt: skip
    """Send answers to a remote, only those that it lacks; see `exchange.push`. Answers of one study lie together.

    Raises UsageError for a web server, and for encryption or a passphrase if the remote is not encrypted.
    """
    url = _url_of(project, url)
    if on_web(url):
        raise UsageError(f"{url} is read-only: push to a bucket or a folder, and let a web server show it")
    damaged = 0

    def sound(store: AnswerStore, keys: Sequence[Digest]) -> Iterator[tuple[Digest, bytes]]:
        nonlocal damaged
        for start in range(0, len(keys), READ):
            part = keys[start : start + READ]
            entries = dict(store.entries(part))
            for key in part:
                try:
                    decode(entries.get(key))
                except Corrupt:
                    damaged += 1
                    continue
                yield key, entries[key]

    with open_store(project) as store:
        groups = [set(used_by(project, [file])) for file in files] or list(used.by_study(project.cache))
        keys = _in_groups(store, groups, others=not files)
        with closing(_opened(project, url, passphrase, create=True)) as remote:
            remote.begin(encrypt=encrypt, sealed=passphrase is not None)
            missing = [key for part in chunked(keys, LOOKED_UP) for key in _missing(remote, part)]
            new = 0
            for n in remote.push(sound(store, missing)):
                new += n
                progress(new, len(missing))
    return Exchanged(new=new, known=len(keys) - len(missing), damaged=damaged)


def pull(
    project: Project, url: str, *, passphrase: str | None = None, progress: Callable[[int, int], None] = unseen
) -> Exchanged:
    """Fetch all answers of a remote that the store lacks; see `exchange.pull`.

    Answers that somebody dropped, and that are in the trash, stay there. A pack that is not as it was written is left
    out, and raises StoreError after all others.
    """
    url = _url_of(project, url)
    refused = list[StoreError]()
    done, new, n = list[int](), 0, 0
    with closing(_opened(project, url, passphrase)) as remote:
        remote.refresh()
        with open_store(project, write=True) as store:
            out = dropped(store)
            packs = remote.unpulled(store.still_holds)
            total = sum(pack.n for pack in remote.packs())
            known = total - sum(pack.n for pack in packs)
            try:
                for pack, found in remote.pull(packs):
                    entries = found if isinstance(found, StoreError) else _checked(pack, found, url)
                    if isinstance(entries, StoreError):
                        refused.append(entries)
                        continue
                    added, old = store.adopt((key, entry) for key, entry in entries if key not in out)
                    new, known, n = new + added, known + old, n + pack.n
                    done.append(pack.id)
                    progress(n, sum(p.n for p in packs))
            finally:
                remote.note_pulled(done, store.state())
    if refused:
        more = f"\n{len(refused) - 1:,} more packs were refused" if len(refused) > 1 else ""
        raise StoreError(f"{refused[0]}{more}\n{new:,} answers of other packs were fetched")
    return Exchanged(new=new, known=known)


def add(project: Project, url: str, name: str | None = None) -> Attached:
    """Let the cache look up a remote behind its store; its catalog is fetched now.

    Raises UsageError for a name or a remote that the cache has already, StoreAway if the remote cannot be reached.
    """
    _no_simulation(project)
    url, remotes = checked_url(url), attached(project.cache)
    name = name or _name_of(url)
    if url in remotes.values():
        known = next(n for n, u in remotes.items() if u == url)
        raise UsageError(f"the cache looks up {url} already: its name is `{known}`")
    if name in remotes:
        raise UsageError(f"`{name}` is the remote {remotes[name]}; choose another name with --name", parameter="name")
    prepare(project.cache)
    with closing(open_remote(name, url, project.cache, project.environment)) as remote:
        remote.refresh()
        found = _described(name, url, remote)
    attach(project.cache, remotes | {name: url})
    return found


def remove(project: Project, name: str) -> str:
    """Let the cache look up a remote no longer, and return its URL; answers that came from it stay."""
    _no_simulation(project)
    remotes = attached(project.cache)
    if name not in remotes:
        has = f"the cache looks up {one_of(remotes)}" if remotes else "the cache looks up no remote"
        raise UsageError(f"unknown remote `{name}`; {near(name, remotes) or has}")
    url = remotes.pop(name)
    attach(project.cache, remotes)
    catalog_of(project.cache, url).unlink(missing_ok=True)
    return url


def remotes_of(project: Project) -> list[Attached]:
    """Return the remotes that the cache looks up, without a look at them."""
    found = list[Attached]()
    for name, url in attached(project.cache).items():
        with closing(open_remote(name, url, project.cache, project.environment)) as remote:
            found.append(_described(name, url, remote))
    return found


def _described(name: str, url: str, remote: Remote) -> Attached:
    packs = remote.packs()
    return Attached(
        name=name, url=url, answers=sum(p.n for p in packs), packs=len(packs), bytes=sum(p.size for p in packs),
        encrypted=remote.encrypted,
    )  # fmt: skip


def _opened(project: Project, url: str, passphrase: str | None, *, create: bool = False) -> Remote:
    return open_remote(url, url, project.cache, project.environment, passphrase=passphrase, create=create)


def _url_of(project: Project, url: str) -> str:
    """Return the URL of a remote by its name or its URL."""
    _no_simulation(project)
    return checked_url(attached(project.cache).get(url, url))


def _no_simulation(project: Project) -> None:
    if project.simulate:
        raise UsageError("simulated answers go to no remote and come from none: leave out --sim")


def _name_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.replace(":", "-") if "://" in url and parts.netloc else PurePosixPath(parts.path).name


def _in_groups(store: AnswerStore, groups: Sequence[set[Digest]], *, others: bool) -> list[Digest]:
    """Return the keys of a store by the group that they are in, then the others, each in the order of storing."""
    parts = [list[bytes]() for _ in groups]
    rest = list[bytes]()
    for key in store.keys():  # noqa: SIM118 - a store is not a dictionary
        next((part for part, group in zip(parts, groups, strict=True) if key in group), rest).append(key)
    return [key for part in parts for key in part] + (rest if others else [])


def _missing(remote: Remote, keys: Sequence[Digest]) -> list[Digest]:
    found = remote.find(keys)
    return [key for key in keys if key not in found]


def _checked(pack: Pack, entries: Iterable[tuple[Digest, bytes]], url: str) -> list[tuple[Digest, bytes]] | StoreError:
    """Return the entries of a pack, or an error if one of them is damaged: then none is used."""
    checked = list(entries)
    for key, entry in checked:
        try:
            decode(entry)
        except Corrupt as error:
            return StoreError(
                f"packs/{pack.sha256.hex()}.pack of {url} has a damaged answer {key.hex()[:16]}: {error}. Nothing of "
                "it is stored"
            )
    return checked
