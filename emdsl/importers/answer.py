"""ImportedAnswer, an answer with every part of its key; NotImported, the reason why an entry is not imported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
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
class ImportedAnswer:
    """An answer of another tool. `params` have our names; `sample` is None if the tool does not number its draws."""

    model: str  # provider/model
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    response: Response
    sample: int | None = None
    revision: str | None = None
    sent: Sent | None = None  # the request, if the file has it: it is compared with that of a study
    place: str = ""  # FILE:LINE


@dataclass(frozen=True, slots=True)
class Sent:
    """A request of another program: the path of its URL, "" if unknown, and its body."""

    url: str
    body: Mapping[str, Any]


def identity_of(response: Response) -> tuple[object, ...]:
    """Return what distinguishes an answer from others to the same request: its id, else its text and time."""
    return ("name", response.request_id) if response.request_id else text_identity(response)


def text_identity(response: Response) -> tuple[object, ...]:
    """Return the identity of an answer without an id."""
    return ("text", response.text, response.reasoning, round(response.answered_at, 3))


@dataclass(frozen=True, slots=True)
class NotImported:
    """Why an entry is not imported: it is not an answer, or a part of its key is unknown. `place` is FILE:LINE."""

    reason: str
    place: str = ""


class CannotImport(Exception):
    """The reason why an entry cannot be imported; becomes a NotImported."""


def messages_of(value: Any) -> tuple[Message, ...]:
    """Return messages from a list of objects with a role and a text; raises CannotImport."""
    if not isinstance(value, list) or not value:
        raise CannotImport("the entry has no messages")
    return tuple(_message(m) for m in value)


def time_of(value: Any) -> float:
    """Return a time of ISO 8601 in seconds since 1970; 0 for any other value."""
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return 0.0


def wire_messages(value: Any) -> tuple[Message, ...]:
    """Return the messages of a request's body; raises CannotImport unless each has only a role and one text."""
    messages = messages_of(value)
    for message in value:
        if more := sorted(name for name in message.keys() - {"role", "content"} if message[name] is not None):
            raise CannotImport(f"a message has the field `{more[0]}`")
        if isinstance(message["content"], list) and len(message["content"]) != 1:
            raise CannotImport("a message has several parts")
    return messages


def _message(value: Any) -> Message:
    if not isinstance(value, dict) or value.get("role") not in ROLES:
        raise CannotImport("a message has an unknown role")
    if value.get("tool_calls") or value["role"] == "tool":
        raise CannotImport("the entry contains tool calls")
    return Message(value["role"], text_of(value.get("content")))


def text_of(content: Any) -> str:
    """Return the text of a message: a string, or parts that are all text; raises CannotImport."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        return "".join(str(p.get("text", "")) for p in content)
    raise CannotImport("a message contains more than text")


def loads(text: str, place: str) -> Any:
    """Parse JSON with exact numbers; raises UsageError naming the place."""
    try:
        return json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place} is not valid JSON: {error}") from None


def read_text(path: Path) -> str:
    """Read the text of a file; raises UsageError."""
    try:
        return read_whole(path).decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"cannot read `{path}`: it is not UTF-8 text") from None


def renamed(given: Mapping[str, Any], names: Mapping[str, str], ignored: frozenset[str]) -> dict[str, Any]:
    """Rename parameters to ours; drops null ones, and `ignored` ones, which change no answer.

    Raises CannotImport for any other parameter: it may have changed the answer.
    """
    params: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in ignored:
            continue
        if name not in names:
            raise CannotImport(f"the effect of `{name}` on the answer is unknown")
        params[names[name]] = value
    return params
