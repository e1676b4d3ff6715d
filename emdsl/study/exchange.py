"""Answers go to another store and come from it: `cache push`, `cache pull` and `cache merge`.

The form of a name decides: a cache folder has a store, a URL of PostgreSQL is the store of a team, and any
other folder or URL is a remote of packs.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl import redact
from emdsl.errors import FileMissing, UsageError
from emdsl.project import ANSWERS
from emdsl.redact import without_password
from emdsl.run import history
from emdsl.store.copying import copy_entries
from emdsl.store.disk import DiskStore
from emdsl.study.answers import Exchanged, open_store, unseen, used_by
from emdsl.study.project import prepare
from emdsl.study.team import is_team_url, server_store, team_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emdsl.digest import Digest
    from emdsl.store.store import AnswerStore
    from emdsl.store.team import TeamStore
    from emdsl.study.project import Project


def push(
    project: Project, target: str | None, files: Sequence[Path] = (), *, encrypt: bool = False,
    passphrase: str | None = None, progress: Callable[[int, int], None] = unseen,
) -> Exchanged:  # fmt: skip
    """Send the answers of a project's store to another store, only those that it lacks.

    Args:
        project: The project.
        target: A cache folder, a folder of packs, or a URL; None for the store of the project's team.
        files: Studies, whose answers alone are sent; all answers without any.
        encrypt: Encrypt a new remote of packs; one that exists must be encrypted.
        passphrase: Of the encrypted remote, in place of that in the environment; any other target is refused.
        progress: Is called with the number of answers that a remote of packs has got, and of all that it lacked.

    Raises:
        FileMissing: The project has no store.
        UsageError: The target cannot be written, or has no encryption.
        StoreError: The store of the target cannot be written.
    """
    own = _own_team(project, target)
    if own:
        _no_encryption(passphrase, encrypt=encrypt)
        if files:
            raise UsageError("the team of this project gets all answers of this machine: leave out FILE")
        with _team(project) as team:
            return Exchanged(new=team.n_sent, known=team.n_known)
    assert target is not None  # it is not the team's
    if not _is_store(target):
        from emdsl.study import remotes  # noqa: PLC0415 - only packs need their format

        return remotes.push(project, target, files, encrypt=encrypt, passphrase=passphrase, progress=progress)
    _no_encryption(passphrase, encrypt=encrypt)
    with _opened(project, target, write=True) as receiver, open_store(project) as store:
        exchanged = _copied(store, receiver, used_by(project, files) if files else None)
    if folder := cache_folder(target):
        history.adopt(project.cache, folder.parent)
    return exchanged


def pull(
    project: Project, source: str | None, *, passphrase: str | None = None,
    progress: Callable[[int, int], None] = unseen,
) -> Exchanged:  # fmt: skip
    """Fetch the answers of another store that the project's store lacks; arguments and errors as of `push`.

    `passphrase` opens an encrypted remote of packs; it may be set in the environment, and is not used for other stores.
    """
    if _own_team(project, source):
        with _team(project) as team:
            new, known = team.fetch()
            return Exchanged(new=new, known=known)
    assert source is not None  # it is not the team's
    if not _is_store(source):
        from emdsl.study import remotes  # noqa: PLC0415 - only packs need their format

        return remotes.pull(project, source, passphrase=passphrase, progress=progress)
    with _opened(project, source, write=False) as sender, open_store(project, write=True) as store:
        exchanged = _copied(sender, store)
    if folder := cache_folder(source):
        history.adopt(folder.parent, project.cache)
    return exchanged


def merge(project: Project, other: str) -> Exchanged:
    """Import the answers of another store, as `pull` does; raises FileMissing if the name is not of a store."""
    if not _is_store(other):
        raise FileMissing(f"{other} is not a cache folder: it has no {ANSWERS}/cache.db")
    return pull(project, other)


def cache_folder(name: str) -> Path | None:
    """Return the folder of the store that a name of a cache folder, or of its project, means; None for others."""
    if "://" in name:
        return None
    candidates = (Path(name) / ANSWERS, Path(name) / "cache" / ANSWERS, Path(name))
    return next((f for f in candidates if (f / "cache.db").exists()), None)


def _copied(source: AnswerStore, target: AnswerStore, keys: list[Digest] | None = None) -> Exchanged:
    copied = copy_entries(source, target, keys=keys)
    return Exchanged(new=copied.new, known=copied.present, damaged=copied.damaged)


def _no_encryption(passphrase: str | None, *, encrypt: bool) -> None:
    """Raise UsageError for a store that would hold readable answers, although a passphrase was given."""
    if encrypt or passphrase is not None:
        parameter = "encrypt" if encrypt else "passphrase"
        raise UsageError(f"only packs can be encrypted: leave out --{parameter}", parameter=parameter)


def _is_store(name: str) -> bool:
    """Whether a name is of a store of answers, not of packs."""
    return is_team_url(name) or cache_folder(name) is not None


@contextmanager
def _opened(project: Project, name: str, *, write: bool) -> Iterator[AnswerStore]:
    """Open the store of a cache folder or a URL of PostgreSQL."""
    folder = cache_folder(name)
    if folder is not None and folder.resolve() == project.answers.resolve():
        raise UsageError("a cache exchanges no answers with itself: name another one")
    redact.register_url(name)
    store = DiskStore(folder, read_only=not write) if folder is not None else server_store(name, read_only=not write)
    try:
        yield store
    finally:
        store.close()


def _own_team(project: Project, name: str | None) -> bool:
    """Whether a name means the store of the project's team, as None does."""
    if name is None and project.team is None:
        raise UsageError(
            "name a cache folder or a URL: this project has no store of a team, which EMDSL_STORE or --store would name"
        )
    return project.team is not None and (name is None or without_password(name) == without_password(project.team))


@contextmanager
def _team(project: Project) -> Iterator[TeamStore]:
    """Open the store of the project's team, to which the answers of this machine are sent."""
    assert project.team is not None  # `_own_team` has looked
    prepare(project.cache)
    with closing(team_store(project.team, DiskStore(project.answers), send=True)) as team:
        yield team
