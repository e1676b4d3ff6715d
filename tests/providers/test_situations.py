"""How replies are read: situations.jsonl, one a line, each a whole reply over a real socket and what is right of it.

The shapes are those of providers' documentation and of public reports; the texts were written for this table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from providers.asking import CHAT, CLAUDE, GEMINI, RESPONSES, ask, raw

from emdsl.errors import Rejected, Throttled, Unavailable
from emdsl.judge import Reading, first_token, read
from emdsl.logprobs import spelled
from emdsl.providers.responses import Responses
from emdsl.reasoning import split
from emdsl.value import UNREADABLE

USE = {"openai": CHAT, "responses": RESPONSES, "anthropic": CLAUDE, "google": GEMINI}
SITUATIONS = [
    json.loads(line) for line in Path(__file__).with_name("situations.jsonl").read_text(encoding="utf-8").splitlines()
]


def squeezed(text: str | None) -> str:
    return "".join((text or "").split())


@pytest.mark.parametrize("situation", SITUATIONS, ids=[s["id"] for s in SITUATIONS])
def test_a_reply_is_read_as_what_it_is(situation: dict[str, Any]) -> None:
    """An answer with its reasoning and its end; a block; an abort, that is tried again; an error that is final."""
    body, wanted = situation["body"], situation["expect"]
    text = body if isinstance(body, str) else json.dumps(body)
    encoding = situation.get("body_encoding")
    content = text.encode(encoding) if encoding else text.encode("utf-8", "surrogatepass")
    handler = raw(content, status=situation["status"], headers=situation["headers"])
    use = USE[situation["format"]]
    if wanted["kind"] in ("retry", "final_error"):
        with pytest.raises((Throttled, Unavailable) if wanted["kind"] == "retry" else Rejected):
            ask(handler, use=use)
        return
    found = ask(handler, use=use)
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
    assert read(found, Reading(scale=(0, 100))) == UNREADABLE
