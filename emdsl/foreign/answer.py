"""Foreign: an answer in another tool's file, with all that its key is made of; LeftOut: one that lacks some of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.files import read_whole
from emdsl.prompt import ROLES, Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.query import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """One answer. `params` are by our names; `sample` is None where the tool does not number its draws."""

    model: str  # provider/model
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    response: Response
    sample: int | None = None
    revision: str | None = None


def identity_of(response: Response) -> tuple[object, ...]:
    """Return what tells an answer from others to the same request: the tool's name of it, else its text and time."""
    return ("name", response.request_id) if response.request_id else text_identity(response)


def text_identity(response: Response) -> tuple[object, ...]:
    """Return what an answer without a name is told by."""
    return ("text", response.text, response.reasoning, round(response.answered_at, 3))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why an answer cannot be taken in: a part of its key is not known, or it is no answer."""

    reason: str


class Lacking(Exception):
    """A part of an entry that is not as it should be; becomes a LeftOut."""


def messages_of(value: Any) -> tuple[Message, ...]:
    """Return messages from a list of objects with a role and a text; raises Lacking."""
    if not isinstance(value, list) or not value:
        raise Lacking("it has no messages")
    return tuple(_message(m) for m in value)


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or value.get("role") not in ROLES:
        raise Lacking("a message has no role that is known")
    if value.get("tool_calls") or value["role"] == "tool":
        raise Lacking("it holds calls of tools")
    return Message(value["role"], text_of(value.get("content")))


def text_of(content: Any) -> str:
    """Return the text of a message: a string, or parts that are all text; raises Lacking."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        return "".join(str(p.get("text", "")) for p in content)
    raise Lacking("a message holds more than text")


def loads(text: str, place: str) -> Any:
    """Return JSON with exact numbers; raises UsageError naming the place."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place} is no JSON: {error}") from None


def read_text(path: Path) -> str:
    """Return a file's text; raises UsageError."""
    try:
        return read_whole(path).decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: it is no text in UTF-8") from None


def renamed(given: Mapping[str, Any], names: Mapping[str, str], ignored: frozenset[str]) -> dict[str, Any]:
    """Return parameters by our names, those that are null and those that change no answer left out.

    Raises Lacking for one that is in neither table: it may have changed the answer.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in ignored:
            continue
        if name not in names:
            raise Lacking(f"what `{name}` does to an answer is not known here")
        found[names[name]] = value
    return found
