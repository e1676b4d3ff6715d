"""The cache of llmcomp: one file for each question and model, with the parameters of each answer.

Replies of its judges are stored without parameters, so they are not imported. Source: llmcomp 1.6,
`question/result.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.files import open_unpacked
from emdsl.importers.answer import CannotImport, ImportedAnswer, NotImported, renamed, time_of, wire_messages
from emdsl.importers.reading import Entry, imported, json_lines, plain_name
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


def read(path: Path, service: str) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a file; `service` served the models, which the cache does not record.

    Raises UsageError if the file is not of llmcomp's cache.
    """
    if plain_name(path).endswith(".json"):
        yield from _judged(path)
        return
    lines = json_lines(path)
    header = next(lines, Entry("", None)).value
    if not isinstance(header, dict) or not isinstance(header.get("model"), str):
        raise UsageError(f"`{path}` is not a file of llmcomp's cache: its first line has no `model`")
    at = time_of(header.get("last_update"))
    yield from imported(lines, lambda entry: _answer(entry, f"{service}/{header['model']}", at))


def _answer(entry: Any, model: str, at: float) -> ImportedAnswer:
    if not isinstance(entry, dict) or not isinstance(entry.get("api_kwargs"), dict):
        raise CannotImport("the entry does not contain the request (`api_kwargs`)")
    if not isinstance(entry.get("answer"), str):
        raise CannotImport("the answer is not a text: the request failed, or it contains only probabilities")
    sent = entry["api_kwargs"]
    return ImportedAnswer(
        model=model,
        messages=wire_messages(sent.get("messages")),
        params=renamed(sent, _PARAMS, _IGNORED),
        response=Response(
            text=entry["answer"], finish="other", answered_at=at
        ),  # the cache does not record the finish reason
    )


def _judged(path: Path) -> Iterator[NotImported]:
    try:
        with open_unpacked(path) as file:
            cache = json.load(file)
        n = sum(len(answers) for answers in cache["data"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"`{path}` is not a file of llmcomp's cache") from None
    for _ in range(n):
        yield NotImported("the reply of a judge, stored without its parameters", str(path))
