"""Other versions of the served study: compiled, their answers loaded into a database of their own, kept while used."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError, UsageError
from emdsl.outcomes.load_ids import DATABASE
from emdsl.outcomes.locked import LockedPair
from emdsl.study.load_now import load_now
from emdsl.study.versions import as_version
from emdsl.view.session import computed_once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from emdsl.study.compiled import Compiled
    from emdsl.view.session import Session

MAX_VERSIONS = 2
LOAD_SHARE = 0.03  # of the time at most is spent on loading one again while a run goes on


@dataclass(slots=True, kw_only=True)
class OtherVersion:
    """One loaded version. `database` is the file with its tables."""

    study: Compiled
    notices: list[str]
    database: Path
    store_version: Any  # of the answers that it was loaded from
    loaded_at: float  # seconds since 1970
    took_s: float
    _parts: ExitStack
    _kept: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)
    _beside: tuple[int, LockedPair] | None = None  # the generation of the served study, and both databases

    def beside(self, generation: int, files: Mapping[str, Path]) -> LockedPair:
        """Return this version and a load of the served study in one database; raises OutcomesError."""
        if self._beside is None or self._beside[0] != generation:
            if self._beside is not None:
                self._beside[1].close()
            self._kept.clear()
            self._beside = generation, LockedPair(files)
        return self._beside[1]

    async def once(self, key: Any, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what is computed once; an error is not kept."""
        return await computed_once(self._kept, key, make)

    def close(self) -> None:
        """Close its database, and remove its copies."""
        for task in self._kept.values():
            task.cancel()
        if self._beside is not None:
            self._beside[1].close()
        self._parts.close()


class OtherVersions:
    """The last versions that a page compared with."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loaded: OrderedDict[str, asyncio.Task[OtherVersion]] = OrderedDict()
        self._dropped: list[asyncio.Task[OtherVersion]] = []  # closed when nothing reads a version
        self._readers = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep versions open in the block, also those that give way to others meanwhile."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._close_dropped()

    async def get(self, called: str) -> OtherVersion:
        """Return a version, loaded, for a block of `reading`; it takes as long as loading the study.

        Raises:
            EmdslError: There is no such version, or it cannot be loaded.
        """
        if not called:
            raise UsageError("name a version: `to`")
        task = self._loaded.get(called)
        if task is not None and await self._is_old(task):
            if self._loaded.get(called) is task:  # no other request has dropped it meanwhile
                self._drop(called)
            task = self._loaded.get(called)
        if task is None:
            task = self._loaded[called] = asyncio.create_task(asyncio.to_thread(_load, self._session.study, called))
        self._loaded.move_to_end(called)
        while len(self._loaded) > MAX_VERSIONS:
            self._drop(next(iter(self._loaded)))
        try:
            return await asyncio.shield(task)
        except (EmdslError, OSError):
            if self._loaded.get(called) is task:
                self._drop(called)
            raise

    async def _is_old(self, task: asyncio.Task[OtherVersion]) -> bool:
        """Whether there are newer answers, and loading them again takes a small share of the time."""
        if not task.done() or task.cancelled() or task.exception() is not None:
            return False
        other = task.result()
        if time.time() - other.loaded_at < other.took_s / LOAD_SHARE:
            return False
        present = await asyncio.to_thread(self._session.study.project.store_version)
        return bool(present != other.store_version)

    def _drop(self, called: str) -> None:
        self._dropped.append(self._loaded.pop(called))

    def _close_dropped(self) -> None:
        for task in [t for t in self._dropped if t.done()]:
            self._dropped.remove(task)
            with suppress(EmdslError, OSError):
                task.result().close()

    async def stop(self) -> None:
        """Close all of them; one that is being loaded is awaited."""
        for called in list(self._loaded):
            self._drop(called)
        await asyncio.gather(*self._dropped, return_exceptions=True)
        self._close_dropped()


def _load(study: Compiled, called: str) -> OtherVersion:
    began = time.monotonic()
    with ExitStack() as parts:
        version = parts.enter_context(as_version(study, called))
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="emdsl-view-")))
        store_version = study.project.store_version()
        notices = load_now(study, folder, called)
        return OtherVersion(
            study=version.study, notices=[*version.notices, *notices], database=folder / DATABASE,
            store_version=store_version, loaded_at=time.time(), took_s=time.monotonic() - began,
            _parts=parts.pop_all(),
        )  # fmt: skip
    raise AssertionError  # the block returns or raises
