"""Batches of several processes, exact: interrupted, cancelled while a run waits, refused, and collected by another."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from batched import Api, Ran, Server, run_batched
from support import experiment, outcomes

from emdsl.errors import Rejected, StoreError, Unavailable
from emdsl.providers.batches import Line
from emdsl.run import shards
from emdsl.run.batching import Batching
from emdsl.run.budget import NEVER, Budgets
from emdsl.run.progress import INTERRUPT, Progress
from emdsl.store.claims import Claims
from emdsl.store.disk import DiskStore
from emdsl.store.journal import FORGOTTEN, OPEN, Journal, State
from emdsl.study.asking import Sending, _rounds
from emdsl.study.batch_run import BatchRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.providers.batches import BatchProvider

SMALL, N_SMALL = (
    """
experiment e {
  for x in 1..2
  ask answer from "sim/subject" with "hi {x}"
  ask second from "sim/subject" with "what of {answer}"
}
""",
    4,
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emdsl.run.batching.FIRST_POLL_S", 0.0)
    monkeypatch.setattr("emdsl.run.batching.LAST_POLL_S", 0.001)


def run(folder: Path, server: Server, text: str = SMALL, **options: Any) -> Ran:
    def at_once(batches: BatchRun) -> None:
        batches._batching.settle_s = 0.0

    return run_batched(experiment(text), folder, server, patch=at_once, **options)


def stored(folder: Path) -> int:
    """Return the number of answers in all rows."""
    store = DiskStore(folder, read_only=True)
    rows = outcomes(experiment(SMALL), store)
    store.close()
    return sum(r.response is not None for row in rows for r in row.results.values())


def open_batches(folder: Path) -> int:
    with closing(Journal(folder)) as journal:
        return len(journal.batches(*OPEN))


def forget(folder: Path) -> None:
    """Do what `emdsl batch cancel --forget` does, to all open batches."""
    with closing(Journal(folder)) as journal:
        for record in journal.batches(*OPEN):
            journal.end(record, State.RELEASED, FORGOTTEN)


def before(name: str, monkeypatch: pytest.MonkeyPatch, first: Callable[[], object]) -> None:
    """Do something before each call of one kind to the provider."""
    method = getattr(Api, name)

    async def call(*given: Any, **named: Any) -> Any:
        done = first()
        if isinstance(done, Awaitable):
            await done
        return await method(*given, **named)

    monkeypatch.setattr(Api, name, call)


def test_a_batch_that_is_forgotten_while_it_is_uploaded_is_not_created(tmp_path: Path) -> None:
    server = Server()
    with pytest.MonkeyPatch.context() as patched:
        before("upload", patched, lambda: forget(tmp_path))
        ran = run(tmp_path, server)
    assert (server.submitted, open_batches(tmp_path)) == ({}, 0)
    assert set(ran.report.failures.values()) == {"sim/subject: its batch was cancelled"}
    run(tmp_path, server)
    assert (stored(tmp_path), set(server.submitted.values())) == (N_SMALL, {1})


def test_a_run_does_not_submit_again_what_is_cancelled_while_it_waits(tmp_path: Path) -> None:
    server = Server(polls=10**6)
    with pytest.MonkeyPatch.context() as patched:
        before("get", patched, lambda: forget(tmp_path))
        ran = run(tmp_path, server)
    assert len(server.batches) == 1
    assert set(ran.report.failures.values()) == {"sim/subject: its batch was cancelled"}


def raising(error: Exception) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def test_an_upload_that_is_refused_fails_its_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before("upload", monkeypatch, raising(Rejected("401 wrong API key", status=401)))
    ran = run(tmp_path, Server())
    assert list(ran.report.failures.values()) == ["sim/subject: 401 wrong API key"] * 2
    assert open_batches(tmp_path) == 0


def test_a_run_does_not_wait_for_a_batch_that_it_may_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before("get", monkeypatch, raising(Rejected("401 wrong API key", status=401)))
    ran = run(tmp_path, Server())
    assert (ran.report.failures, ran.report.n_in_batches, open_batches(tmp_path)) == ({}, 2, 1)
    assert [n.partition(": ")[2] for n in ran.notices[2:]] == ["401 wrong API key"]


def test_a_notice_comes_once_whatever_the_id_of_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[int]()

    def failing() -> None:
        looks.append(1)
        if len(looks) < 4:
            raise Unavailable(f"500 ask about req_{len(looks)}", status=500)

    before("get", monkeypatch, failing)
    ran = run(tmp_path, Server())
    assert [n for n in ran.notices if "req_" in n] == [n for n in ran.notices if "req_1" in n] != []
    with closing(Journal(tmp_path)) as journal:
        assert {r.note for r in journal.batches()} == {""}
    assert stored(tmp_path) == N_SMALL


def test_the_first_interrupt_submits_nothing_more_and_the_second_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, uploads = list[BatchRun](), list[int]()

    async def upload() -> None:
        uploads.append(1)
        runs[0].drain(INTERRUPT)
        if len(uploads) == 2:
            asyncio.get_running_loop().call_later(0.01, runs[0].stop, INTERRUPT)
            await asyncio.Event().wait()

    before("upload", monkeypatch, upload)
    server = Server(limit=1)
    for n_created in (1, 1):
        runs.clear()
        ran = run_batched(experiment(SMALL), tmp_path, server, patch=runs.append, detach=True)
        assert (ran.report.interrupted, len(server.batches), open_batches(tmp_path)) == (True, n_created, 2)


def test_failures_and_answers_of_other_studies_are_not_those_of_a_run(tmp_path: Path) -> None:
    server = Server(of_line=lambda name, line: [Line(name, error=Rejected("400 no"))] if name[0] < "8" else [line])
    run(tmp_path, server, detach=True)
    other = SMALL.replace("hi {x}", "ho {x}")
    ran = run(tmp_path, server, other, detach=True, pending=lambda _: False)
    assert (ran.report.failures, ran.progress.answered, ran.progress.failed) == ({}, 0, 0)


def test_the_time_of_a_lost_reply_counts_from_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost_at = list[float]()

    async def create() -> None:
        await asyncio.sleep(0.01)
        lost_at.append(time.time())
        raise Unavailable("no reply within 120 s", paid=True)

    before("create", monkeypatch, create)
    run(tmp_path, Server(), detach=True)
    with closing(Journal(tmp_path)) as journal:
        assert [r.state for r in journal.batches()] == [State.SUBMITTING]
        assert (journal.batches()[0].tried_at or 0.0) >= lost_at[0]


def test_a_run_waits_for_requests_that_another_process_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emdsl.study.batch_run.ELSEWHERE_S", 0.001)
    first = Server()
    run(tmp_path / "keys", first, detach=True)
    (tmp_path / "answers").mkdir()
    other = Claims(tmp_path / "answers", "other")
    assert len(other.take(map(bytes.fromhex, first.submitted))) == 2
    pauses = list[int]()
    pause = BatchRun._pause

    async def counted(batches: BatchRun) -> None:
        pauses.append(1)
        other.close()
        await pause(batches)

    monkeypatch.setattr(BatchRun, "_pause", counted)
    run(tmp_path / "answers", Server())
    assert (pauses, stored(tmp_path / "answers")) == ([1], N_SMALL)


def test_claims_of_requests_in_batches_are_free_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, free = Server(), list[int]()

    def take() -> None:
        with closing(Claims(tmp_path, "other")) as claims:
            free.append(len(claims.take(map(bytes.fromhex, server.submitted))))

    before("get", monkeypatch, take)
    run(tmp_path, server)
    assert free[0] == 2


def test_the_reservation_of_a_request_that_another_process_collects_is_given_back(tmp_path: Path) -> None:
    budgets, provider = Budgets({}, Decimal(1)), cast("BatchProvider", None)
    store, journal = DiskStore(tmp_path), Journal(tmp_path)
    batching = Batching(journal, store, provider, "run", reserved={b"k" * 32: budgets.hold(Decimal(1), "e")})
    assert budgets.reserve_usd(Decimal(1), ["e"]) is None
    batching.take_over([], set())
    store.close()
    assert budgets.reserve_usd(Decimal(1), ["e"]) not in (None, NEVER)


def test_an_interrupt_while_batches_are_collected_sends_nothing() -> None:
    unused: Any = None
    progress, budgets = Progress(stopping=INTERRUPT), Budgets({}, Decimal(1))
    report = asyncio.run(
        _rounds([], unused, unused, Sending(), "r", unused, unused, unused, unused, unused, budgets, progress, unused)
    )
    assert (report.interrupted, report.budget) == (True, Decimal(1))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_no_requests_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, mode: str, **_: Any) -> Any:
        path.touch()
        return Path("/dev/full").open(mode)

    monkeypatch.setattr(shards, "open", full, raising=False)
    with pytest.raises(StoreError, match=r"batches cannot be written to .*: No space left on device"):
        run(tmp_path, Server())
    assert (list((tmp_path / "batches").glob("*.jsonl")), open_batches(tmp_path)) == ([], 0)


def test_a_journal_is_read_where_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, Server(), detach=True)

    def forbidden(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", forbidden)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert open_batches(tmp_path) == 1


def test_a_budget_that_is_set_while_a_batch_is_open_counts_its_answers() -> None:
    budgets = Budgets({}, None)
    budgets.settle_batched(Decimal("0.5"), ())
    assert budgets.spent_usd == Decimal("0.5")
    budgets.change_whole(Decimal(1), [])
    reserved = budgets.reserve_usd(Decimal("0.25"), ["e"])
    budgets.settle_batched(Decimal("0.125"), ())  # submitted before
    budgets.settle_batched(Decimal("0.25"), reserved or ())  # counted when its reservation is settled
    assert budgets.spent_usd == Decimal("0.625")


def test_a_run_has_spent_what_its_batches_cost(tmp_path: Path) -> None:
    text = SMALL.replace("sim/subject", "openai/gpt-4o-2024-08-06")
    ran = run_batched(experiment(text), tmp_path, Server())
    assert 0 < ran.spent_usd < Decimal("0.01")


def test_a_batch_is_found_though_the_clock_of_its_provider_is_half_a_day_behind(tmp_path: Path) -> None:
    server = Server(now=lambda: time.time() - 12 * 3_600, lose_create=1)
    run(tmp_path, server)
    assert (stored(tmp_path), set(server.submitted.values())) == (N_SMALL, {1})
