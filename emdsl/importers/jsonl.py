"""JSON lines of answers, which any tool can write: one object a line.

Required: `model` ("provider/model"), `messages` (role and content), `text`. Optional: `params` (temperature,
max_tokens ...), `revision`, `sample`, `reasoning`, `finish`, `reported`, `input_tokens`, `output_tokens`,
`answered_at` (seconds since 1970).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.importers.answer import CannotImport, ImportedAnswer, NotImported, messages_of
from emdsl.importers.reading import imported, json_lines
from emdsl.query import Response, Usage
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FINISHES = ("stop", "length", "blocked", "tool", "other")
_FIELDS = {
    "model", "messages", "text", "params", "revision", "sample", "reasoning", "finish", "reported", "input_tokens",
    "output_tokens", "answered_at",
}  # fmt: skip


def read(path: Path) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a file; raises UsageError if it cannot be opened."""
    yield from imported(json_lines(path), _answer)


def _answer(entry: Any) -> ImportedAnswer:
    if not isinstance(entry, dict):
        raise CannotImport("the line is not a JSON object")
    if unknown := sorted(set(entry) - _FIELDS):
        raise CannotImport(f"the effect of `{unknown[0]}` on the answer is unknown")
    if not isinstance(entry.get("model"), str) or not isinstance(entry.get("text"), str):
        raise CannotImport("the entry has no `model` or no `text`")
    params = entry.get("params", {})
    sample, finish = entry.get("sample"), entry.get("finish", "stop")
    if not isinstance(params, dict) or finish not in FINISHES:
        raise CannotImport(f"`params` must be an object, and `finish` one of {one_of(FINISHES)}")
    if sample is not None and (type(sample) is not int or sample < 0):
        raise CannotImport("`sample` must be a whole number from 0")
    return ImportedAnswer(
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
        raise CannotImport(f"`{name}` must be a text")
    return value


def _count(entry: dict[str, Any], name: str) -> int | None:
    value = entry.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < 2**53):
        raise CannotImport(f"`{name}` must be a number of tokens")
    return value


def _at(value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__") or not 0 <= float(value) < 2**37:
        raise CannotImport("`answered_at` must be a time in seconds since 1970")
    return float(value)
