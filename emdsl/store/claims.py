"""Claims: the requests that this process sends, so that no other process sends them too.

Each process keeps a file with the keys of its requests, and holds a lock on it as long as it lives: when an owner dies,
its claims are free at once, and no clock matters. Claims are taken under one more lock, for several keys at a time.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakSet

from emdsl.files import POLL_S, locked, private, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from emdsl.digest import Digest

KEY = 32  # bytes of a key
LOCK = "lock"  # the file whose lock is held while claims are taken


_open: WeakSet[Claims] = WeakSet()


class Claims:
    """The claims of one process on one store, until `close`. Raises OSError."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder / "claims"
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._path = self._folder / f"{os.getpid()}-{run}"
        self._held: set[Digest] = set()
        self._met = False
        with locked(self._folder / LOCK, wait_s=math.inf):
            # without a buffer, which a forked process would write too
            self._file = open(self._path, "w+b", buffering=0, opener=private)  # noqa: SIM115 - open as long as the claims
            _open.add(self)
            while not try_lock(self._file):  # `live_owners` of another process may look at it just now
                time.sleep(POLL_S)
            self._others()
            self._made_ns = self._folder.stat().st_mtime_ns

    @property
    def alone(self) -> bool:
        """Whether no other process has used this store since this one began: what was missing still is."""
        self._met = self._met or self._folder.stat().st_mtime_ns != self._made_ns
        return not self._met

    def take(self, keys: Iterable[Digest]) -> set[Digest]:
        """Claim keys, and return those that no other process has claimed. Raises Busy.

        Keys that were released before become free for others now.
        """
        with locked(self._folder / LOCK, wait_s=0):
            others = self._others()
            won = {k for k in keys if k not in others}
            self._held |= won
            self._write()
        return won

    def release(self, keys: Iterable[Digest]) -> None:
        """Release keys that are stored or given up; others see it when the next claims are taken."""
        self._held.difference_update(keys)

    def check(self) -> None:
        """See AnyClaims; a lock is held as long as its process lives."""

    def close(self) -> None:
        """Release all claims."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self) -> None:
        self._file.seek(0)
        self._file.write(b"".join(self._held))
        self._file.truncate()

    def let_go(self) -> None:
        """Close the file, in a forked process: the claims are its parent's alone, and end with it."""
        self._file.close()

    def _others(self) -> set[Digest]:
        keys: set[Digest] = set()
        for path in self._folder.iterdir():
            if path == self._path or path.name == LOCK:
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                if not try_lock(file, shared=True):
                    self._met = True  # it may hold no claim yet, and be about to
                    content = file.read()
                    keys.update(content[i : i + KEY] for i in range(0, len(content), KEY))
                else:
                    path.unlink(missing_ok=True)
        return keys


def _after_fork() -> None:
    for claims in _open:
        claims.let_go()


if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=_after_fork)


def live_owners(folder: Path) -> int:
    """Return the number of processes that use a store right now."""
    return len(live_runs(folder))


def live_runs(folder: Path) -> dict[str, int]:
    """Return the runs that use a store right now, with the ids of their processes.

    The workers of a run, `RUN.0` and so on, are of its process; without that, they have not noticed yet that it ended.
    """
    claims = folder / "claims"
    runs = {}
    for path in claims.iterdir() if claims.is_dir() else ():
        if path.name != LOCK:
            pid, _, owner = path.name.partition("-")
            run, _, worker = owner.partition(".")
            with suppress(FileNotFoundError), path.open("rb") as file:
                if not try_lock(file, shared=True) and not (worker and run in runs):
                    runs[run] = int(pid)
    return runs
