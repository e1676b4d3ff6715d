"""Requests that share a prompt prefix: which they are, which one goes first, and what goes on behind it."""

from __future__ import annotations

import pytest

from emdsl.prompt import Message, Prompt
from emdsl.query import Model, Query, RequestSettings
from emdsl.run.order import MIN_CHARS
from emdsl.run.prefixes import Prefixes, beginning
from emdsl.run.requests import Request
from emdsl.service import SERVICES


def model(service: str, name: str = "m") -> Model:
    return Model(name=name, use=f"{service}/{name}", service=SERVICES[service], wire_name=name)


OPENAI, OTHER = model("openai"), model("openai", "other")


def request(*texts: str, of: Model = OPENAI, high_priority: bool = False) -> Request:
    """Return a request with some user messages."""
    prompt = Prompt(tuple(Message("user", text) for text in texts))
    query = Query(RequestSettings(of, ()), prompt, 0, bytes(32))
    return Request(query, "e", {}, prompt.chars, high_priority=high_priority)


@pytest.mark.parametrize(
    ("service", "chars"),
    [("openai", 4_096), ("google", 8_192), ("vllm", 4_096), ("ollama", None)],
)
def test_the_least_prefix_is_what_a_cache_keeps(service: str, chars: int | None) -> None:
    """Never less than MIN_CHARS; None for a model without a cache."""
    assert beginning(model(service)) == chars
    assert chars is None or chars >= MIN_CHARS


A, B = "a" * 5_000, "b" * 5_000


@pytest.mark.parametrize(
    ("first", "second", "messages"),
    [
        (request(A, "x"), request(A, "y"), 1),
        (request(A, B, "x"), request(A, B, "y"), 2),
        (request(A), request(A), 1),
        (request(A + "x"), request(A + "y"), 0),
        (request(A, "x"), request(B, "x"), None),
        (request("a" * 4_095), request("a" * 4_095), None),
        (request("a" * 4_096), request("a" * 4_096), 1),
        (request(A, "x"), request(A, "y" * 5_000), 1),
        (request(A, "x"), request(A, "y" * 5_002), None),
        (request(A, "x"), request(A, "y", of=OTHER), None),
        (request(A, "x", of=model("ollama")), request(A, "y", of=model("ollama")), None),
        (request(A, "x"), request(A, "y", high_priority=True), None),
    ],
    ids=["one message", "two", "equal", "within a message", "unlike", "short", "just long enough", "half", "under half",
         "other model", "no cache", "continues a row"],
)  # fmt: skip
def test_which_requests_share_a_prefix(first: Request, second: Request, messages: int | None) -> None:
    """`messages` are those that are marked for the cache; None where the second does not wait for the first."""
    first.prefix = second.prefix = None
    prefixes = Prefixes()
    prefixes.note(first)
    prefixes.note(second)
    if messages is None:
        assert [prefixes.waits(r) for r in (first, second)] == [False, False]
        assert prefixes.release(first) == []
        assert (first.query.shared, second.query.shared) == (0, 0)
    else:
        assert [prefixes.waits(r) for r in (first, second)] == [False, True]
        assert prefixes.release(second) == [], "only the first lets others go on"
        assert prefixes.release(first) == [second]
        assert not prefixes.waits(second)
        assert (first.query.shared, second.query.shared) == (messages, messages)


def test_all_wait_for_the_first_only() -> None:
    """Those that come later do not wait any more, and nothing is released twice."""
    prefixes = Prefixes()
    requests = [request(A, str(i)) for i in range(4)]
    for one in requests:
        prefixes.note(one)
    assert [prefixes.waits(r) for r in requests[:3]] == [False, True, True]
    assert prefixes.release(requests[0]) == requests[1:3]
    assert not prefixes.waits(requests[3])
    assert prefixes.release(requests[0]) == []


def test_a_prefix_shrinks_to_what_all_have_in_common() -> None:
    """The mark is at the last message that every request of it has."""
    prefixes = Prefixes()
    requests = [request(A, B, "x", "1"), request(A, B, "x", "2"), request(A, B, "y")]
    for one in requests:
        prefixes.note(one)
    prefixes.waits(requests[0])
    assert requests[0].query.shared == 2
