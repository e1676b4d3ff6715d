"""Batches, exact: nothing lost and nothing submitted twice, wherever a run ends and whatever a provider does."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from batched import Killed, Ran, Server, run_batched
from support import THOROUGH, experiment, outcomes

from emdsl.errors import Rejected, Throttled, Unavailable
from emdsl.providers.batches import Left, Line
from emdsl.store.disk import DiskStore
from emdsl.store.journal import OPEN, Journal, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.study.batch_run import BatchRun

STUDY = """
experiment e {
  for x in 1..3
  samples = 2
  ask answer from "sim/subject" with "hi {x}"
  ask second from "sim/subject" with "what of {answer}"
}
"""
N = 12  # requests: six of each ask
SMALL, N_SMALL = STUDY.replace("1..3", "1..2").replace("samples = 2", ""), 4


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emdsl.run.batching.FIRST_POLL_S", 0.0)
    monkeypatch.setattr("emdsl.run.batching.LAST_POLL_S", 0.001)
    monkeypatch.setattr("emdsl.run.batching.REFUSED_WAIT_S", 0.0)


def at_once(batches: BatchRun) -> None:
    batches._batching.settle_s = 0.0


def run(folder: Path, server: Server, text: str = STUDY, **options: Any) -> Ran:
    return run_batched(experiment(text), folder, server, patch=at_once, **options)


def stored(folder: Path, text: str = STUDY) -> int:
    """Return the number of rows with all answers, times two."""
    store = DiskStore(folder, read_only=True)
    rows = outcomes(experiment(text), store)
    store.close()
    return sum(r.response is not None for row in rows for r in row.results.values())


def open_batches(folder: Path) -> int:
    journal = Journal(folder)
    n = len(journal.batches(*OPEN))
    journal.close()
    return n


@pytest.mark.parametrize("tagged", [True, False])
def test_a_study_by_batches(tmp_path: Path, tagged: bool) -> None:
    server = Server(tagged=tagged, now=time.time)
    ran = run(tmp_path, server)
    assert (stored(tmp_path), ran.online, ran.report.failures, open_batches(tmp_path)) == (N, [], {}, 0)
    assert len(server.batches) == 2  # the second ask reads the first
    assert set(server.submitted.values()) == {1}
    assert ran.progress.answered == N


STRIDE = 1 if THOROUGH else 4


@pytest.mark.thorough
@pytest.mark.parametrize(("tagged", "lost"), [(True, 0), (False, 1)])
def test_a_run_may_be_killed_at_any_step(tmp_path: Path, tagged: bool, lost: int) -> None:
    """The run dies at each call of the provider in turn, before or after its effect; the next one ends the study."""
    at = 0
    while True:
        at += STRIDE
        folder, server = tmp_path / str(at), Server(tagged=tagged, now=time.time, dies_at=at, lose_create=lost)
        try:
            run(folder, server, SMALL)
        except Killed:
            pass
        else:
            break
        server.dies_at = None
        run(folder, server, SMALL)
        assert (stored(folder, SMALL), open_batches(folder)) == (N_SMALL, 0), at
        assert set(server.submitted.values()) == {1}, at
    assert at > 14


@pytest.mark.thorough
def test_a_run_may_be_killed_at_any_write_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 0
    while True:
        at += STRIDE
        folder, server, writes = tmp_path / str(at), Server(now=time.time), [0]

        def dying(method: Callable[..., Any], writes: list[int] = writes, at: int = at) -> Callable[..., Any]:
            def call(*given: Any) -> Any:
                writes[0] += 1
                if writes[0] == at:
                    raise Killed
                done = method(*given)
                writes[0] += 1
                if writes[0] == at:
                    raise Killed
                return done

            return call

        with monkeypatch.context() as patched:
            for name in ("plan", "note", "settle", "end"):
                patched.setattr(Journal, name, dying(getattr(Journal, name)))
            patched.setattr(DiskStore, "adopt", dying(DiskStore.adopt))
            try:
                run(folder, server, SMALL)
            except Killed:
                pass
            else:
                break
        run(folder, server, SMALL)
        assert (stored(folder, SMALL), open_batches(folder)) == (N_SMALL, 0), at
        assert set(server.submitted.values()) == {1}, at
    assert at > 14


def test_a_detached_run_is_collected_by_the_next(tmp_path: Path) -> None:
    server = Server()
    first = run(tmp_path, server, detach=True)
    assert (first.report.n_in_batches, len(first.report.batches), stored(tmp_path)) == (6, 1, 0)
    second = run(tmp_path, server, detach=True)
    assert (second.report.n_in_batches, stored(tmp_path)) == (6, 6)
    third = run(tmp_path, server, detach=True)
    assert (third.report.n_in_batches, stored(tmp_path)) == (0, N)
    assert set(server.submitted.values()) == {1}


def test_requests_in_a_batch_are_not_sent_alone(tmp_path: Path) -> None:
    """A run without batches waits for what is in one, and sends the rest alone."""
    server = Server(polls=0)
    run(tmp_path, server, detach=True)
    ran = run(tmp_path, server, chosen=lambda _: False, submits=False)
    assert (len(ran.online), stored(tmp_path), len(server.batches)) == (6, N, 1)


def result(number: int, line: Callable[[str], Line]) -> Callable[[str, Line], list[Line]]:
    """Return what replaces the first result of each of the first `number` requests."""
    seen: set[str] = set()

    def of_line(name: str, answer: Line) -> list[Line]:
        if name in seen or len(seen) >= number:
            return [answer]
        seen.add(name)
        return [line(name)]

    return of_line


@pytest.mark.parametrize(
    ("line", "again", "failed"),
    [
        (lambda name: Line(name, left=Left.EXPIRED), 2, 0),
        (lambda name: Line(name, error=Unavailable("500")), 2, 0),
        (lambda name: Line(name, error=Throttled("429")), 2, 0),
        (lambda name: Line(name, error=Rejected("400 too long")), 0, 2),
        (lambda name: Line(name, left=Left.CANCELLED), 0, 2),
    ],
)
def test_requests_without_an_answer(tmp_path: Path, line: Any, again: int, failed: int) -> None:
    """Errors that may pass and expired requests are submitted again; others fail in this run and are pending."""
    server = Server(of_line=result(2, line))
    ran = run(tmp_path, server)
    assert sum(n - 1 for n in server.submitted.values()) == again
    assert len(ran.report.failures) == failed
    assert stored(tmp_path) == N - 2 * failed  # what read them has no answer either
    if failed:
        assert {step for _, step in ran.report.failed} == {"answer"}
        again_ran = run(tmp_path, server)
        assert (again_ran.report.failures, stored(tmp_path)) == ({}, N)


def test_an_error_that_does_not_pass_ends(tmp_path: Path) -> None:
    server = Server(of_line=lambda name, _: [Line(name, error=Unavailable("500 down"))])
    ran = run(tmp_path, server)
    assert set(ran.report.failures.values()) == {"sim/subject: 500 down (2 batches in this run)"}
    assert set(server.submitted.values()) == {2}


def test_results_that_are_not_ours_are_told_and_never_stored(tmp_path: Path) -> None:
    foreign = ("00" * 32, "x", "AB" * 32)

    def more(name: str, answer: Line) -> list[Line]:
        changed = replace(answer, response=replace(answer.response, text="another")) if answer.response else answer
        return [answer, changed, *(Line(f, answer.response) for f in foreign)]

    server = Server(of_line=more)
    ran = run(tmp_path, server)
    assert stored(tmp_path) == N
    assert sum("results are of no request in it, and were not stored" in n for n in ran.notices) == 2
    store = DiskStore(tmp_path, read_only=True)
    assert not store.get_many([bytes(32)])
    assert all(r.text != "another" for r in store.get_many(bytes.fromhex(k) for k in server.submitted).values())
    store.close()


def test_results_that_are_missing_are_pending(tmp_path: Path) -> None:
    dropped: set[str] = set()

    def drop(name: str, answer: Line) -> list[Line]:
        if len(dropped) < 2 and name not in dropped:
            dropped.add(name)
            return []
        return [answer]

    server = Server(of_line=drop)
    run(tmp_path, server)
    assert (stored(tmp_path), sum(server.submitted.values())) == (N, N + 2)


def test_a_provider_without_room_is_asked_again(tmp_path: Path) -> None:
    server = Server(fail_create=[Throttled("enqueued token limit reached")])
    ran = run(tmp_path, server)
    assert (stored(tmp_path), set(server.submitted.values())) == (N, {1})
    assert any("enqueued token limit" in n for n in ran.notices)


def test_a_batch_that_is_refused_fails_its_requests(tmp_path: Path) -> None:
    ran = run(tmp_path, Server(fail_create=[Rejected("400 no such model")]))
    assert (stored(tmp_path), open_batches(tmp_path)) == (0, 0)
    assert set(ran.report.failures.values()) == {"sim/subject: 400 no such model"}


def test_shards_keep_to_the_limits(tmp_path: Path) -> None:
    server = Server(limit=4)
    run(tmp_path, server)
    assert [len(b.lines) for b in server.batches.values()] == [4, 2, 4, 2]
    assert stored(tmp_path) == N
    assert not list((tmp_path / "batches").glob("*.jsonl"))


def test_a_nameless_batch_of_somebody_else_only_delays(tmp_path: Path) -> None:
    """Without names, a batch with as many requests may be ours until its provider shows what it holds."""
    server = Server(tagged=False, polls=2, now=time.time, dies_at=2)  # dies when the creation is begun
    with pytest.raises(Killed):
        run(tmp_path, server)
    journal = Journal(tmp_path)
    (record,) = journal.batches()
    journal.close()
    assert record.state is State.SUBMITTING
    foreign = experiment(STUDY.replace("hi", "ho"))
    server.dies_at = None
    run_batched(foreign, tmp_path / "other", server, detach=True, patch=at_once)
    ran = run(tmp_path, server)
    assert any("maybe submitted: batch_0" in n for n in ran.notices)
    assert (stored(tmp_path), set(server.submitted.values())) == (N, {1})


PRICED = """
model m {{ use = "openai/gpt-x", price = {{ input: $1, output: $10 }}, max_tokens = 100 }}
experiment e {{
  for x in 1..3
  samples = 2
  budget = ${budget}
  ask answer from m with "hi {{x}}"
}}
"""


@pytest.mark.parametrize(("budget", "sent"), [("0.01", 6), ("0.0016", 3), ("0.0001", 0)])
def test_a_budget_reserves_the_whole_batch_at_its_price(tmp_path: Path, budget: str, sent: int) -> None:
    """Each request costs at most 100 tokens of $5 and 20 of $0.50: $0.00051."""
    server = Server(polls=10**9)
    ran = run(tmp_path, server, PRICED.format(budget=budget), detach=True)
    assert (ran.report.n_in_batches, sum(server.submitted.values())) == (sent, sent)
    assert ran.report.n_later == (6 - sent if sent else 0)
    server.polls = 0
    more = run(tmp_path, server, PRICED.format(budget=budget))
    spent = {"0.01": 6, "0.0016": 6, "0.0001": 0}[budget]
    assert sum(server.submitted.values()) == spent
    assert more.report.over_budget == (set() if spent else {"e"})


def test_the_journal_holds_no_secret_and_no_prompt(tmp_path: Path) -> None:
    run(tmp_path, Server(polls=10**9), detach=True)
    assert b"hi 1" not in (tmp_path / "batches.db").read_bytes()
    assert (tmp_path / "batches.db").stat().st_mode & 0o777 == 0o600
