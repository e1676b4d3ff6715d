"""The cache of llmcomp: one file for each question and model, its parameters beside each answer.

Answers of its judges are kept by question and answer alone, without parameters: they are left out. Source: llmcomp 1.6,
`question/result.py`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.foreign.answer import Foreign, Lacking, LeftOut, loads, messages_of, read_text, renamed
from emdsl.query import Response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARAMS = {
    "temperature": "temperature", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "top_p": "top_p",
    "seed": "seed", "stop": "stop", "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "reasoning_effort": "reasoning_effort",
}  # fmt: skip
_IGNORED = frozenset(("messages", "model", "timeout"))


def read(path: Path, service: str) -> Iterator[Foreign | LeftOut]:
    """Yield the answers of a file, by models of `service`: the cache does not say who served them.

    Raises UsageError for a file that is none.
    """
    if path.suffix.lower() == ".json":
        yield from _judged(path)
        return
    first, *rest = read_text(path).splitlines() or [""]
    about = loads(first, f"{path}, line 1")
    if not isinstance(about, dict) or not isinstance(about.get("model"), str):
        raise UsageError(f"{path} is no file of llmcomp's cache: its first line names no `model`")
    at = _time(about.get("last_update"))
    for number, line in enumerate(rest, start=2):
        try:
            yield _answer(loads(line, f"{path}, line {number}"), f"{service}/{about['model']}", at)
        except Lacking as lacking:
            yield LeftOut(str(lacking))


def _answer(entry: Any, model: str, at: float) -> Foreign:
    if not isinstance(entry, dict) or not isinstance(entry.get("api_kwargs"), dict):
        raise Lacking("it does not say what was sent")
    if not isinstance(entry.get("answer"), str):
        raise Lacking("its answer is no text: it failed, or holds probabilities alone")
    sent = entry["api_kwargs"]
    return Foreign(
        model=model,
        messages=messages_of(sent.get("messages")),
        params=renamed(sent, _PARAMS, _IGNORED),
        response=Response(text=entry["answer"], finish="other", answered_at=at),  # how it ended is not kept
    )


def _judged(path: Path) -> Iterator[LeftOut]:
    try:
        found = json.loads(read_text(path))
        n = sum(len(answers) for answers in found["data"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is no file of llmcomp's cache") from None
    for _ in range(n):
        yield LeftOut("a judge's reply, kept without its parameters")


def _time(value: Any) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return 0.0
