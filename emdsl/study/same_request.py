"""Whether a request that another program sent is the request that a study sends, field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from emdsl.body import sendable
from emdsl.importers.openai_batch import CHAT, DEFAULTS, WITHOUT_EFFECT
from emdsl.providers.client import FORMATS, format_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.importers.answer import Sent
    from emdsl.query import Query

_READ = {"model", "messages"}  # the query is made of them
_NAMES = {"max_completion_tokens": "max_tokens"}  # two names of one limit


def difference(query: Query, sent: Sent) -> str | None:
    """Return why a study would send another request; None if it sends the same.

    Args:
        query: The query that was made of the request.
        sent: The request as it was sent, in OpenAI's format.
    """
    format_ = FORMATS[format_of(query)]
    path = format_.path(query)
    if sent.url and not path.endswith(CHAT):
        return f"a study sends requests to this model to `{path}`, not to `{sent.url}`"
    ours, theirs = _fields(json.loads(format_.encode(query))), _fields(sent.body)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            return f"a study sends another `{name}`"
    return None


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a body that may change the answer, with one value for one meaning."""
    plain = json.loads(json.dumps(body, default=sendable))
    fields = {_NAMES.get(n, n): v for n, v in plain.items() if v is not None and DEFAULTS.get(n) != v}
    fields = {n: v for n, v in fields.items() if n not in _READ | WITHOUT_EFFECT}
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    return fields
