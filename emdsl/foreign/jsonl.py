"""A plain file of answers, for whatever tool can write one: an object a line.

`model` ("provider/model"), `messages` (role and content) and `text` must be there; `params` (temperature, max_tokens
...), `revision`, `sample`, `reasoning`, `finish`, `reported`, `input_tokens`, `output_tokens` and `answered_at`
(seconds since 1970) may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.foreign.answer import Foreign, Lacking, LeftOut, loads, messages_of, read_text
from emdsl.query import Response, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FINISHES = ("stop", "length", "blocked", "tool", "other")
_KNOWN = {
    "model", "messages", "text", "params", "revision", "sample", "reasoning", "finish", "reported", "input_tokens",
    "output_tokens", "answered_at",
}  # fmt: skip


def read(path: Path) -> Iterator[Foreign | LeftOut]:
    """Yield the answers of a file; raises UsageError for a line that is no JSON."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield _answer(loads(line, f"{path}, line {number}"))
            except Lacking as lacking:
                yield LeftOut(str(lacking))


def _answer(entry: Any) -> Foreign:
    if not isinstance(entry, dict):
        raise Lacking("a line is no object")
    if unknown := sorted(set(entry) - _KNOWN):
        raise Lacking(f"what `{unknown[0]}` does to an answer is not known here")
    if not isinstance(entry.get("model"), str) or not isinstance(entry.get("text"), str):
        raise Lacking("it has no `model`, or no `text`")
    params = entry.get("params", {})
    sample, finish = entry.get("sample"), entry.get("finish", "stop")
    if not isinstance(params, dict) or finish not in FINISHES:
        raise Lacking(f"`params` is a map, and `finish` one of {', '.join(FINISHES)}")
    if sample is not None and (type(sample) is not int or sample < 0):
        raise Lacking("`sample` is a number from 0 up")
    return Foreign(
        model=entry["model"], messages=messages_of(entry.get("messages")), params=params, sample=sample,
        revision=_text(entry, "revision"),
        response=Response(
            text=entry["text"], finish=finish, reasoning=_text(entry, "reasoning"), model=_text(entry, "reported"),
            usage=Usage(input_tokens=_count(entry, "input_tokens"), output_tokens=_count(entry, "output_tokens")),
            answered_at=_at(entry.get("answered_at", 0)),
        ),
    )  # fmt: skip


def _text(entry: dict[str, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise Lacking(f"`{name}` is a text")
    return value


def _count(entry: dict[str, Any], name: str) -> int | None:
    value = entry.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < 2**53):
        raise Lacking(f"`{name}` is a number of tokens")
    return value


def _at(value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 <= float(value) < 2**37:
        raise Lacking("`answered_at` is in seconds since 1970")
    return float(value)
