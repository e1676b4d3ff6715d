"""The JSON schema that `strict = true` sends: providers let a model write nothing else than an object of this shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.reply_format import ReplyField, ReplyFormat

SCHEMA_NAME = "reply"  # OpenAI's format requires a name; the rubric's would make a renamed rubric another request
BOUNDS = ("minimum", "maximum")
_TYPES = {"bool": "boolean", "number": "number", "label": "string", "text": "string"}


def sent_for(reply_format: ReplyFormat) -> dict[str, Any]:
    """Return the parameters of a request whose reply has a format; most formats are only read."""
    sent: dict[str, Any] = {"top_logprobs": reply_format.weighted.top} if reply_format.weighted is not None else {}
    return sent | ({"json_schema": schema_of(reply_format.shape)} if reply_format.strict else {})


def schema_of(shape: tuple[ReplyField, ...]) -> dict[str, Any]:
    """Return the schema of an object with exactly these fields, in their order.

    Strict modes require every field and forbid others. The bounds of a number are also in its description, because
    some providers reject `minimum` and `maximum`.

    >>> from emdsl.reply_format import ReplyField
    >>> schema_of((ReplyField(name="harm", kind="bool"),))["properties"]
    {'harm': {'type': 'boolean'}}
    """
    return {
        "type": "object",
        "properties": {part.name: _field(part) for part in shape},
        "required": tuple(part.name for part in shape),
        "additionalProperties": False,
    }


def _field(part: ReplyField) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[part.kind]}
    if part.choices:
        schema["enum"] = part.choices
    if part.scale is not None:
        low, high = (int(bound) for bound in part.scale)
        schema |= {"description": f"from {low} to {high}", "minimum": low, "maximum": high}
    return schema


def without_bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of `schema_of` without `minimum` and `maximum`."""
    properties = {
        name: {word: value for word, value in field.items() if word not in BOUNDS}
        for name, field in schema["properties"].items()
    }
    return {**schema, "properties": properties}
