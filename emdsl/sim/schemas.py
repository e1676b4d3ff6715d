"""JSON schemas that a request enforces: checked as the providers do, then answered in their shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emdsl.sim.answering import Refused

_KINDS = {"boolean": "bool", "number": "number", "integer": "number", "string": "text"}
_RANGE = re.compile(r"from (?P<low>-?\d+) to (?P<high>-?\d+)")
_BOUNDS = ("maximum", "minimum")


def openai_shape(named: Any, param: str) -> dict[str, Any]:
    """Return `sim.shape` for a strict schema of OpenAI's format, `name`, `strict` and `schema`; empty without one."""
    if not isinstance(named, Mapping) or named.get("strict") is not True:
        return {}
    schema = named.get("schema")
    start = f"Invalid schema for response_format '{named.get('name')}': In context=(), "
    if not isinstance(schema, Mapping) or schema.get("additionalProperties") is not False:
        message = f"{start}'additionalProperties' is required to be supplied and to be false."
        raise Refused(message, kind="invalid_json_schema", param=param)
    required = schema.get("required")
    missing = [name for name in _properties(schema) if not isinstance(required, list) or name not in required]
    if missing:
        message = f"{start}'required' is required to be supplied and to be an array including every key in properties. "
        raise Refused(f"{message}Missing '{missing[0]}'.", kind="invalid_json_schema", param=param)
    return _shape(schema)


def anthropic_shape(output_format: Any) -> dict[str, Any]:
    """Return `sim.shape` for `output_config.format`; empty without one."""
    if not isinstance(output_format, Mapping) or output_format.get("type") != "json_schema":
        return {}
    schema = output_format.get("schema")
    if not isinstance(schema, Mapping) or schema.get("additionalProperties") is not False:
        raise Refused("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set "
                      "to false")  # fmt: skip
    for field in _properties(schema).values():
        bounds = ", ".join(word for word in _BOUNDS if word in field)
        if bounds:
            kind = field.get("type")
            raise Refused(f"output_config.format.schema: For '{kind}' type, properties {bounds} are not supported")
    return _shape(schema)


def google_shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `sim.shape` for a `generationConfig`; empty without a schema."""
    schema = config.get("responseJsonSchema")
    if schema is None:
        return {}
    if config.get("responseMimeType") != "application/json":
        raise Refused("Response schema is only supported with response_mime_type 'application/json'")
    return _shape(schema) if isinstance(schema, Mapping) else {}


def _properties(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    properties = schema.get("properties")
    fields = properties.items() if isinstance(properties, Mapping) else ()
    return {name: field if isinstance(field, Mapping) else {} for name, field in fields}


def _shape(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an object as `sim.shape` has them: a kind, the ends of a range, or labels."""
    shape: dict[str, Any] = {}
    for name, field in _properties(schema).items():
        if isinstance(field.get("enum"), list) and field["enum"]:
            shape[name] = list(map(str, field["enum"]))
        elif all(type(field.get(word)) is int for word in _BOUNDS):
            shape[name] = [field["minimum"], field["maximum"]]
        else:
            shape[name] = _ends(field) or _KINDS.get(str(field.get("type")), "text")
    return shape


def _ends(field: Mapping[str, Any]) -> list[int]:
    """Return the ends of a range that only a description has: `from 0 to 10`."""
    match = _RANGE.fullmatch(str(field.get("description")))
    return [int(match["low"]), int(match["high"])] if match and field.get("type") == "number" else []
