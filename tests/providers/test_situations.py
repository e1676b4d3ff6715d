"""How replies are read: situations.jsonl, one a line, each a whole reply over a real socket and what is right of it.

The shapes are those of providers' documentation and of public reports; the texts were written for this table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from providers.asking import ask_all
from support import verdict_of

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.judge import first_token
from emdsl.logprobs import spelled
from emdsl.providers.responses import Responses
from emdsl.query import Response
from emdsl.reasoning import split
from emdsl.reply_format import ReplyFormat
from emdsl.value import UNREADABLE

SITUATIONS = [
    json.loads(line) for line in Path(__file__).with_name("situations.jsonl").read_text(encoding="utf-8").splitlines()
]


def squeezed(text: str | None) -> str:
    return "".join((text or "").split())


@pytest.fixture(scope="module")
def replies() -> dict[str, Response | ProviderError]:
    """What each situation comes to, by its id."""
    return dict(zip((s["id"] for s in SITUATIONS), ask_all(SITUATIONS), strict=True))


@pytest.mark.parametrize("situation", SITUATIONS, ids=[s["id"] for s in SITUATIONS])
def test_a_reply_is_read_as_what_it_is(situation: dict[str, Any], replies: dict[str, Response | ProviderError]) -> None:
    """An answer with its reasoning and its end; a block; an abort, that is tried again; an error that is final."""
    wanted, found = situation["expect"], replies[situation["id"]]
    if wanted["kind"] in ("retry", "final_error"):
        assert isinstance(found, (Throttled, Unavailable) if wanted["kind"] == "retry" else Rejected)
        return
    assert isinstance(found, Response), found
    assert (found.finish == "blocked") == (wanted["kind"] == "blocked"), situation["why"]
    if wanted["kind"] == "blocked":
        return
    answer, reasoning = split(found)
    assert (answer.strip(), found.finish) == (wanted["text"].strip(), wanted["finish"]), situation["why"]
    if wanted["reasoning"] != "any":
        assert squeezed(reasoning) == squeezed(wanted["reasoning"]), situation["why"]
    if "input_tokens" in wanted:
        assert found.usage.input_tokens == wanted["input_tokens"], situation["why"]
    if "first_candidates" in wanted:
        at = first_token(found, answer)
        tokens = [spelled(t).strip() for t, _ in at] if at else "no_logprobs"
        candidates = wanted["first_candidates"]
        shown = candidates if isinstance(candidates, str) else [t.strip() for t in candidates]
        assert tokens == shown, situation["why"]


def test_messages_of_one_reply_are_not_one_word() -> None:
    """A judge's `9` and `0` in two message items state two values, not 90."""
    items = [{"type": "message", "content": [{"type": "output_text", "text": text}]} for text in ("9", "0")]
    found = Responses().read({"id": "r", "status": "completed", "model": "m", "output": items})
    assert found.text == "9\n\n0"
    assert verdict_of(found, ReplyFormat(scale=(0, 100))) == UNREADABLE
