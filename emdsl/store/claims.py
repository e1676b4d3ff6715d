"""Claims: what this process is asking, so that no other asks it too.

Each process keeps a file with the keys that it is about to ask, and holds a lock on it as long as it lives: a dead
owner's claims are free at once, and no clock matters. Claims are taken under one more lock, for some keys at a time.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from emdsl.files import private

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emdsl.digest import Digest

KEY = 32  # bytes of a key


class Busy(Exception):
    """Another process is taking claims at this very moment: try again in some milliseconds."""


class Claims:
    """The claims of one process on one store; use it as long as the process asks, then `close`. Raises OSError."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder / "claims"
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._path = self._folder / f"{os.getpid()}-{run}"
        self._held: set[Digest] = set()
        self._met = False
        with self._turn(wait=True):
            self._file = open(self._path, "w+b", opener=private)  # noqa: SIM115 - held as long as the claims are
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._others()
            self._made_ns = self._folder.stat().st_mtime_ns

    @property
    def alone(self) -> bool:
        """Whether no other process has asked for this store since this one began: what was not stored still is not."""
        self._met = self._met or self._folder.stat().st_mtime_ns != self._made_ns
        return not self._met

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        """Return those keys that are ours to ask; the rest is being asked by another process. Raises Busy.

        What was given back is shown to others with it.
        """
        with self._turn(wait=False):
            others = self._others()
            won = {k for k in keys if k not in others}
            self._held |= won
            self._write()
        return won

    def release(self, keys: Iterable[Digest]) -> None:
        """Give back keys that are stored, or will not be asked; others see it when the next claims are taken."""
        self._held.difference_update(keys)

    def close(self) -> None:
        """Give everything back."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self) -> None:
        self._file.seek(0)
        self._file.write(b"".join(self._held))
        self._file.truncate()
        self._file.flush()

    def _others(self) -> set[Digest]:
        found: set[Digest] = set()
        for path in self._folder.iterdir():
            if path == self._path or path.name == "lock":
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _alive(file):
                    self._met = True  # it may hold no claim yet, and be about to
                    content = file.read()
                    found.update(content[i : i + KEY] for i in range(0, len(content), KEY))
                else:
                    path.unlink(missing_ok=True)
        return found

    @contextmanager
    def _turn(self, *, wait: bool) -> Iterator[None]:
        with open(self._folder / "lock", "a", opener=private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy from None
            yield


def live_owners(folder: Path) -> int:
    """Return how many processes are asking for a store right now."""
    claims = folder / "claims"
    n = 0
    for path in claims.iterdir() if claims.is_dir() else ():
        if path.name != "lock":
            with suppress(FileNotFoundError), path.open("rb") as file:
                n += _alive(file)
    return n


def _alive(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
