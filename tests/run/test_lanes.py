"""Which lane sends next, and by which account: exact, for lanes in every state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from emdsl.query import Model
from emdsl.run.affinity import Affinity
from emdsl.run.lanes import RECHECK_S, Lane, Lanes
from emdsl.run.pacing import RateController
from emdsl.run.requests import Request
from emdsl.service import SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = Model(name="m", use="openai/m", service=SERVICES["openai"], wire_name="m")


def controller(*, in_flight: int = 0, delay_s: float = 0.0, closed: str = "", troubles: int = 0) -> RateController:
    """Return the controller of an account at time 0; ten requests may be in flight."""
    found = RateController(most=10, clock=lambda: 0.0)
    found.in_flight, found.paused_until, found.closed, found.troubles = in_flight, delay_s, closed, troubles
    return found


def lane(*controllers: RateController, n: int = 1) -> Lane:
    """Return a lane in which `n` requests wait."""
    found = Lane(MODEL, controllers)
    found.ready.extend(Request(None, "e", {}, 1) for _ in range(n))  # type: ignore[arg-type]  # its query is not read
    return found


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ([controller()], (0.0, 0)),
        ([controller(delay_s=2)], (2.0, 0)),
        ([controller(delay_s=2), controller(delay_s=1)], (1.0, 1)),
        ([controller(in_flight=3), controller(in_flight=2)], (0.0, 1)),
        ([controller(in_flight=3), controller(in_flight=2, troubles=1)], (0.0, 0)),
        ([controller(in_flight=10), controller(delay_s=5, troubles=9)], (5.0, 1)),
        ([controller(in_flight=10)], (math.inf, 0)),
        ([controller(closed="no"), controller(delay_s=7)], (7.0, 1)),
        ([controller(closed="no"), controller(closed="no")], (0.0, 0)),
    ],
    ids=["free", "paused", "the sooner", "fewest in flight", "no trouble first", "full", "all full", "one closed",
         "all closed"],
)  # fmt: skip
def test_the_account_that_sends_next(accounts: Sequence[RateController], expected: tuple[float, int]) -> None:
    """The soonest, then the one without trouble, then fewest in flight; a closed lane is emptied at once."""
    assert lane(*accounts).account(0.0) == expected


@pytest.mark.parametrize(
    ("accounts", "down", "expected"),
    [
        ([controller()], {0}, (RECHECK_S, 0)),
        ([controller(), controller()], {0}, (0.0, 1)),
        ([controller(), controller()], {0, 1}, (RECHECK_S, 0)),
        ([controller(), controller(in_flight=10)], {0}, (RECHECK_S, 0)),
        ([controller(), controller(delay_s=0.1)], {0}, (0.1, 1)),
        ([controller(closed="no"), controller()], {1}, (RECHECK_S, 1)),
        ([controller(closed="no"), controller()], {0}, (0.0, 1)),
    ],
    ids=["the only one", "the other sends", "all", "the other is full", "the other is sooner", "the other is closed",
         "closed too"],
)  # fmt: skip
def test_an_account_that_is_down_sends_nothing(
    accounts: Sequence[RateController], down: set[int], expected: tuple[float, int]
) -> None:
    """The lane looks at it again soon, even if no answer of another account comes in between."""
    waiting = lane(*accounts)
    waiting.usable = lambda account: account not in down
    assert waiting.account(0.0) == expected


@pytest.mark.parametrize(
    ("closed", "expected"), [(["", ""], ""), (["no", ""], ""), (["", "no"], ""), (["no", "never"], "no")]
)
def test_a_lane_is_closed_with_its_last_account(closed: list[str], expected: str) -> None:
    """By the reason of its first."""
    assert lane(*(controller(closed=c) for c in closed)).closed == expected


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ([], math.inf),
        ([lane(controller(), n=0)], math.inf),
        ([lane(controller(in_flight=10))], math.inf),
        ([lane(controller(delay_s=0.5))], 0.5),
        ([lane(controller(delay_s=3)), lane(controller(delay_s=2)), lane(controller(delay_s=1), n=0)], 2.0),
        ([lane(controller(in_flight=2)), lane(controller(in_flight=1))], (1, 0)),
        ([lane(controller(in_flight=1)), lane(controller(in_flight=1))], (0, 0)),
        ([lane(controller(in_flight=1)), lane(controller(), n=0)], (0, 0)),
        ([lane(controller(delay_s=3)), lane(controller(in_flight=9))], (1, 0)),
        ([lane(controller(in_flight=1), controller(in_flight=1)), lane(controller(in_flight=1))], (1, 0)),
        ([lane(controller(delay_s=9), controller())], (0, 1)),
    ],
    ids=["none", "nothing waits", "full", "paused", "the sooner", "fewest in flight", "the first of equals",
         "one waits", "one may", "of all accounts", "the other account"],
)  # fmt: skip
def test_the_lane_that_sends_next(lanes: list[Lane], expected: float | tuple[int, int]) -> None:
    """Its place and account, or the seconds until one may send."""
    found = Lanes()
    found.all = dict(enumerate(lanes))
    chosen = found.choose(0.0)
    assert (chosen if isinstance(chosen, float) else (lanes.index(chosen[0]), chosen[1])) == expected


@pytest.mark.parametrize(
    ("accounts", "affinity", "expected"),
    [
        ([controller()], False, [("blamed", 0), ("none", 0), ("blamed", 0), ("none", 0), ("ready", 0)]),
        ([controller(in_flight=1)], False, [("none", 0)]),
        ([controller(in_flight=1), controller()], False, [("blamed", 1), ("ready", 0), ("ready", 0)]),
        ([controller(in_flight=1), controller()], True, [("blamed", 1), ("ready", 0), ("ready", 0)]),
        ([controller(in_flight=2), controller(in_flight=1)], True, [("ready", 0), ("ready", 0)]),
        (
            [controller(closed="no"), controller()],
            False,
            [("blamed", 1), ("none", 0), ("blamed", 1), ("none", 0), ("ready", 1)],
        ),
    ],
    ids=["the only account", "that is busy", "another account", "replicas", "all are busy", "one is closed"],
)
def test_a_request_that_may_have_ended_servers_is_sent_alone(
    accounts: list[RateController], affinity: bool, expected: list[tuple[str, int]]
) -> None:
    """One after the other, by an account that does nothing else; the others are used as before."""
    found = lane(*(controller(in_flight=c.in_flight, closed=c.closed) for c in accounts), n=3)
    found.affinity = Affinity(len(accounts)) if affinity else None
    for request in found.ready:
        request.blocks = (), ()
    for _ in range(2):
        found.queue(Request(None, "e", {}, 1, lost=2, blocks=((), ())))  # type: ignore[arg-type]  # its query is not read
    sent = list[tuple[str, int]]()
    while len(sent) < len(expected):
        delay, account = found.account(0.0)
        if delay == 0:
            sent.append(("blamed" if found.line is found.blamed else "ready", account))
            found.send(found.line.popleft(), account)
            continue
        sent.append(("none", 0))
        if found.tried is not None and found.reserved is not None:
            found.controllers[found.reserved].in_flight -= 1
            found.end(found.tried)
    assert sent == expected


def test_in_flight_is_of_all_accounts() -> None:
    """However many requests wait."""
    assert lane(controller(in_flight=2), controller(in_flight=3), n=7).in_flight == 5


def test_rows_that_were_begun_go_on_first_and_in_their_order() -> None:
    """A stack of them would leave the oldest rows to the end: a run that stops early would have few whole ones."""
    found = lane(n=0)

    def request(number: int, *, high_priority: bool) -> Request:
        return Request(None, "e", {}, number, high_priority=high_priority)  # type: ignore[arg-type]  # a lane reads neither row nor step

    for number, high_priority in [(1, False), (2, True), (3, False), (4, True)]:
        found.queue(request(number, high_priority=high_priority))
    found.put_back([request(5, high_priority=True), request(6, high_priority=False), request(7, high_priority=True)])
    assert [found.line.popleft().chars for _ in range(7)] == [5, 7, 2, 4, 6, 1, 3]
    assert not found.line
