"""What an error means: errors.jsonl, one a line, each a whole reply over a real socket and what is right of it.

The shapes are those of providers' documentation, of SDKs and of public reports; the texts were written for this table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from providers.asking import KEY, ask_all

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.query import Response

SITUATIONS = [
    json.loads(line) for line in Path(__file__).with_name("errors.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def found() -> dict[str, Response | ProviderError]:
    """What each situation comes to, by its id."""
    return dict(zip((s["id"] for s in SITUATIONS), ask_all(SITUATIONS), strict=True))


def met(found: Response | ProviderError) -> tuple[str, str, float]:
    """Return what a reply is taken for, what is said of it, and how long it asks to wait."""
    match found:
        case Throttled() | Unavailable():
            return "retry", str(found), found.wait_s
        case Rejected():
            return "lane" if found.for_all else "final", str(found), 0.0
        case Response():
            return "blocked" if found.finish == "blocked" else "answer", found.text, 0.0
        case _:
            return "none of them", str(found), 0.0


@pytest.mark.parametrize("situation", SITUATIONS, ids=[s["id"] for s in SITUATIONS])
def test_an_error_is_taken_for_what_it_is(
    situation: dict[str, Any], found: dict[str, Response | ProviderError]
) -> None:
    """It passes, or never does for this request, or for none: each costs otherwise where it is taken for another."""
    wanted = situation["expect"]
    kind, said, wait_s = met(found[situation["id"]])
    assert kind == wanted["kind"], f"{situation['why']} It says: {said}"
    assert wait_s == wanted.get("wait_s", wait_s), situation["why"]
    assert [words for words in wanted["says"] if words not in said] == []
    assert KEY not in said
