"""The keys of the answers that the runs of each study have used: a file of digests for each study, no texts.

Nothing depends on them but a line of a plan: how many answers a study does not use any more.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from emdsl.digest import digest
from emdsl.files import beside, write_whole
from emdsl.store.removals import StoreVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.run.count import ExperimentCount

USED = "used"
SIZE = 32  # bytes of a key
_KEY, _VERSION = struct.Struct(f"{SIZE}s"), struct.Struct("<5q")


def answers_of(counts: Sequence[ExperimentCount]) -> set[Digest]:
    """Return the keys of the stored answers that a program uses."""
    parts = [keys for c in counts for s in c.steps for keys in (s.stored, s.bad_replies)]
    return set[bytes]().union(*parts, *(c.probed for c in counts))


def sets_of(counts: Sequence[ExperimentCount]) -> list[set[Digest]]:
    """Return the keys of the answers that a program uses, and of the requests that it would send; some twice."""
    steps = [s for c in counts for s in c.steps]
    sets = [keys for s in steps for keys in (s.stored, s.pending, s.probes, s.bad_replies, s.split)]
    return [keys for keys in (*sets, *(set(c.probed) for c in counts)) if keys]


def add(cache: Path, study: str, keys: set[Digest], version: StoreVersion | None) -> None:
    """Add the answers that a run has used, which a store of this version holds; raises OSError."""
    path = _path(cache, study)
    before = _read(path)
    if before.keys and keys <= before.keys:
        path.touch()  # when the last run has told its answers
        return
    whole = version is not None and (not before.keys or (before.version is not None and version.holds(before.version)))
    _write(path, before.keys | keys, version if whole else None)


def left_out(cache: Path, study: str, sets: Sequence[set[Digest]]) -> tuple[set[Digest], StoreVersion | None]:
    """Return the keys that runs of a study have used and that are in none of the sets.

    A store held all of them in the version that is returned; None if some had been removed before.
    """
    used = _read(_path(cache, study))
    left = used.keys
    for some in sets:
        left = left.difference(some)
    return left, used.version


def has(cache: Path, study: str, since: float) -> bool:
    """Whether the answers that a study uses are known, also those of a run that began then, in seconds since 1970."""
    with suppress(OSError):
        return _path(cache, study).stat().st_mtime >= since
    return False


def by_others(cache: Path, study: str, keys: set[Digest]) -> set[Digest]:
    """Return those keys that the runs of other studies have used."""
    own, found = _path(cache, study), set[bytes]()
    for path in (cache / USED).glob("*.keys"):
        if path != own:
            found |= keys & _read(path).keys
    return found


def by_study(cache: Path) -> Iterator[set[Digest]]:
    """Yield the keys of each study."""
    for path in sorted((cache / USED).glob("*.keys")):
        yield _read(path).keys


def adopt(other: Path, cache: Path) -> None:
    """Add the keys that another cache has, by study; raises OSError."""
    for path in (other / USED).glob("*.keys"):
        mine = cache / USED / path.name
        _write(mine, _read(path).keys | _read(mine).keys, None)


class _Used(NamedTuple):
    keys: set[Digest]
    version: StoreVersion | None  # of a store that held them all


def _path(cache: Path, study: str) -> Path:
    return cache / USED / f"{digest('study', study).hex()[:SIZE]}.keys"


def _read(path: Path) -> _Used:
    """Return the keys in a file; none if it cannot be read."""
    content = b""
    with suppress(OSError):
        content = path.read_bytes()
    n = (len(content) - _VERSION.size) // SIZE
    if n <= 0:
        return _Used(set(), None)
    version = StoreVersion(*_VERSION.unpack_from(content))
    keys = {key for (key,) in _KEY.iter_unpack(memoryview(content)[_VERSION.size : _VERSION.size + n * SIZE])}
    return _Used(keys, version if any(version) else None)


def _write(path: Path, keys: set[Digest], version: StoreVersion | None) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    fresh = beside(path)
    try:
        write_whole(fresh, _VERSION.pack(*(version or (0,) * 5)) + b"".join(sorted(keys)))
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
