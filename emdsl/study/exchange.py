"""Answers go to another store and come from it: `cache push`, `cache pull` and `cache merge`.

The form of a name says what it is: a cache folder has a store, and any other folder or URL is a remote of packs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.project import ANSWERS
from emdsl.run import history
from emdsl.store.codec import Corrupt, decode
from emdsl.store.disk import DiskStore
from emdsl.study.answers import Exchanged, open_store, used_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from emdsl.digest import Digest
    from emdsl.store.store import AnswerStore
    from emdsl.study.project import Project


def push(project: Project, target: str, files: Sequence[Path] = (), *, passphrase: str | None = None) -> Exchanged:
    """Send the answers of a project's store to another store, only those that it lacks.

    Args:
        project: The project.
        target: A cache folder, a folder of packs, or a URL.
        files: Studies, whose answers alone are sent; all answers without any.
        passphrase: Encrypts what a remote of packs gets.

    Raises:
        FileMissing: The project has no store.
        UsageError: The target cannot be written, or has no encryption.
        StoreError: The store of the target cannot be written.
    """
    folder = cache_folder(target)
    if folder is None:
        from emdsl.study import remotes  # noqa: PLC0415 - only packs need their format

        return remotes.push(project, target, files, passphrase=passphrase)
    _no_passphrase(passphrase)
    _not_itself(project, folder)
    receiver = DiskStore(folder)
    try:
        with open_store(project) as store:
            entries = store.entries(used_by(project, files)) if files else store.each()
            exchanged = _adopted(entries, receiver)
            history.adopt(project.cache, folder.parent)
    finally:
        receiver.close()
    return exchanged


def pull(project: Project, source: str, *, passphrase: str | None = None) -> Exchanged:
    """Fetch the answers of another store that the project's store lacks; arguments and errors as of `push`."""
    folder = cache_folder(source)
    if folder is None:
        from emdsl.study import remotes  # noqa: PLC0415 - only packs need their format

        return remotes.pull(project, source, passphrase=passphrase)
    _no_passphrase(passphrase)
    _not_itself(project, folder)
    sender = DiskStore(folder, read_only=True)
    try:
        with open_store(project, write=True) as store:
            exchanged = _adopted(sender.each(), store)
            history.adopt(folder.parent, project.cache)
    finally:
        sender.close()
    return exchanged


def cache_folder(name: str) -> Path | None:
    """Return the folder of the store that a name of a cache folder, or of its project, means; None for others."""
    if "://" in name:
        return None
    candidates = (Path(name) / ANSWERS, Path(name) / "cache" / ANSWERS, Path(name))
    return next((f for f in candidates if (f / "cache.db").exists()), None)


def _adopted(entries: Iterable[tuple[Digest, bytes | None]], receiver: AnswerStore) -> Exchanged:
    damaged = 0

    def sound() -> Iterator[tuple[Digest, bytes]]:
        nonlocal damaged
        for key, entry in entries:
            try:
                decode(entry)
            except Corrupt:
                damaged += 1
                continue
            if entry is not None:
                yield key, entry

    new, known = receiver.adopt(sound())
    return Exchanged(new=new, known=known, damaged=damaged)


def _no_passphrase(passphrase: str | None) -> None:
    if passphrase is not None:
        raise UsageError("only packs can be encrypted: leave out --encrypt", parameter="encrypt")


def _not_itself(project: Project, folder: Path) -> None:
    if folder.resolve() == project.answers.resolve():
        raise UsageError("a cache exchanges no answers with itself: name another one")
