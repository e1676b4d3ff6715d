"""The batches of a project: listed, waited for and cancelled without the studies that submitted them."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from emdsl.errors import ProviderError, SetupError, UnknownName
from emdsl.source import near
from emdsl.store.journal import FORGOTTEN, OPEN, Journal, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from emdsl.run.batching import Batching
    from emdsl.store.journal import BatchRecord
    from emdsl.store.store import AnswerStore
    from emdsl.study.project import Project

T = TypeVar("T")


def batches(project: Project, *, ended: bool = False) -> list[BatchRecord]:
    """Return the open batches of a project in the order of their planning; `ended`: the others too."""
    with closing(Journal(project.answers)) as journal:
        return journal.batches(*(() if ended else OPEN))


def results(project: Project, name: str) -> tuple[BatchRecord, dict[str, int]]:
    """Return a batch by its name or the beginning of it, and the number of its requests by result.

    Raises:
        UnknownName: There is no such batch, or there are several.
    """
    with closing(Journal(project.answers)) as journal:
        record = _named(journal, name)
        return record, journal.counts(record.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What came of waiting for batches."""

    collected: int  # batches
    answers: int
    open: tuple[BatchRecord, ...]  # batches that have not ended
    notices: tuple[str, ...]


def wait(
    project: Project, names: Sequence[str] = (), *, on_poll: Callable[[list[BatchRecord]], None] = lambda _: None,
    on_notice: Callable[[str], None] = lambda _: None, once: bool = False,
) -> Waited:  # fmt: skip
    """Wait for batches and collect their answers; the current thread must have no running event loop.

    It ends when the batches have ended, or when the rest cannot be asked for: their API key is not set, or refused.

    Args:
        project: The project.
        names: Of the batches, or the beginnings of names; all open ones by default.
        on_poll: Is given the open batches after each look.
        on_notice: Is given each notice as it comes.
        once: Look once, and do not wait.

    Raises:
        UnknownName: There is no such batch.
        StoreError: The store or the journal cannot be written.
    """
    notices: list[str] = []

    def keep(notice: str) -> None:
        notices.append(notice)
        on_notice(notice)

    with closing(Journal(project.answers)) as journal:
        wanted = {_named(journal, n).name for n in names} or {r.name for r in journal.batches(*OPEN)}
        n_open = len(_open_of(journal, wanted))

        async def work(batching: Batching) -> int:
            await batching.advance(wanted)
            while not once and (left := _open_of(journal, wanted)):
                on_poll(left)
                batching.on_poll = lambda: on_poll(_open_of(journal, wanted))
                if not await batching.wait([r.name for r in left], until=asyncio.Event()):
                    break
            return batching.n_answered

        n_answers = _with_batching(project, journal, work, keep) if n_open else 0
        left = tuple(_open_of(journal, wanted))
        return Waited(collected=n_open - len(left), answers=n_answers, open=left, notices=tuple(notices))


def cancel(project: Project, name: str, *, forget: bool = False) -> BatchRecord:
    """Cancel a batch. What is answered by then is collected by the next run or `wait`.

    Args:
        project: The project.
        name: Of the batch, or the beginning of its name.
        forget: Do not ask its provider: its requests are pending again at once, though it may still answer them.

    Raises:
        UnknownName: There is no such batch.
        SetupError: The provider cannot be asked, or does not cancel it.
    """
    with closing(Journal(project.answers)) as journal:
        record = _named(journal, name)
        if record.state not in OPEN:
            return record
        if forget:
            return journal.end(record, State.RELEASED, FORGOTTEN)
        try:
            record = _with_batching(project, journal, lambda batching: batching.cancel(record.name), lambda _: None)
        except ProviderError as error:
            raise SetupError(
                f"batch {record.name} was not cancelled: {error}. `--forget` frees its requests all the same"
            ) from error
        if record.state is State.SUBMITTING:
            raise SetupError(
                f"batch {record.name} was not cancelled: its provider may have it, and does not show it yet. Try again "
                "later; `--forget` frees its requests at once"
            )
        return record


def as_json(record: BatchRecord) -> dict[str, Any]:
    """Return a batch as `emdsl batch list --json` prints it."""
    return {
        "name": record.name, "state": state_of(record), "model": record.place["use"], "study": record.study,
        "run": record.run, "requests": record.n, "answered": record.answered, "failed": record.failed,
        "bytes": record.size, "planned_at": record.planned_at, "submitted_at": record.submitted_at,
        "expires_at": record.expires_at, "ended_at": record.ended_at, "id": record.id or None,
        "note": record.note or None,
    }  # fmt: skip


def state_of(record: BatchRecord) -> str:
    """Return the state of a batch in one word or two."""
    if record.state is State.SUBMITTING:
        return "maybe submitted"
    return "cancelling" if record.state is State.RUNNING and record.cancelling else record.state.value


def expected(record: BatchRecord) -> str:
    """Return when an open batch ends at the latest, or when it has ended; empty if that is unknown."""
    at = record.ended_at if record.state not in OPEN else record.expires_at
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at is not None else ""


def _open_of(journal: Journal, names: set[str]) -> list[BatchRecord]:
    return [r for r in journal.batches(*OPEN) if r.name in names]


def _named(journal: Journal, name: str) -> BatchRecord:
    found = journal.batches()
    matching = [r for r in found if r.name == name] or [
        r for r in found if r.name.startswith(name) or r.name.removeprefix("emdsl-").startswith(name)
    ]
    if len(matching) == 1:
        return matching[0]
    names = [r.name for r in found]
    if matching:
        raise UnknownName(f"{len(matching)} batches begin with `{name}`: write more of the name")
    raise UnknownName(f"no batch is called `{name}`; {near(name, names) or '`emdsl batch list --all` lists them'}")


def _with_batching(
    project: Project, journal: Journal, work: Callable[[Batching], Awaitable[T]], on_notice: Callable[[str], None]
) -> T:
    """Do some work with the batches in an event loop."""

    async def go(store: AnswerStore) -> T:
        from emdsl.providers.batch_client import BatchClient  # noqa: PLC0415 - 0.2 s that only asking should cost
        from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
        from emdsl.providers.http import Http  # noqa: PLC0415 - 0.2 s that only asking should cost
        from emdsl.run.batching import Batching  # noqa: PLC0415 - listing batches needs none of it

        http = Http(1, project.environment)
        provider = BatchClient(Client(http, project.environment), project.environment)
        try:
            return await work(Batching(journal, store, provider, "", on_notice=on_notice))
        finally:
            await http.close()

    with closing(project.store(create=True)) as store:
        return asyncio.run(go(store))
