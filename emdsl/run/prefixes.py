"""Requests that share a prompt prefix: the first is sent alone, so that the provider's cache is filled for the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from emdsl.run.order import MIN_CHARS
from emdsl.run.requests import Prefix

if TYPE_CHECKING:
    from emdsl.prompt import Message
    from emdsl.query import Model
    from emdsl.run.requests import Request

CHARS_PER_TOKEN = 4


class PromptLike(Protocol):
    """A prompt, or one that another process has rendered."""

    @property
    def chars(self) -> int:
        """The characters of all messages."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its messages in order."""

    def common(self, other: Any, /) -> int:
        """Return the number of leading characters that two prompts share."""


def beginning(model: Model) -> int | None:
    """Return the least length of a prefix that is worth a wait, in characters; None for a model without a cache."""
    tokens = model.service.prefix_tokens
    return max(MIN_CHARS, tokens * CHARS_PER_TOKEN) if tokens is not None else None


class Prefixes:
    """Finds requests that share a prefix with the request before; see `Rows.selected` for their order."""

    def __init__(self) -> None:
        self._last: dict[Any, Prefix] = {}  # by model

    def note(self, request: Request) -> None:
        """Find the requests that share a prefix with one; requests come in the order of their rows."""
        prompt, model = request.query.prompt, request.query.settings.model
        least = beginning(model)
        if request.high_priority or least is None or prompt.chars < least:
            return
        last = self._last.get((model.use, model.url))
        if last is not None and last.prompt.common(prompt) >= max(least, prompt.chars // 2):
            same = last.prompt.common_messages(prompt)
            last.messages, last.prompt, last.n = min(last.messages, same), prompt, last.n + 1
            request.prefix = last
        else:
            request.prefix = Prefix(request, prompt, len(prompt.messages))
            self._last[model.use, model.url] = request.prefix

    @staticmethod
    def waits(request: Request) -> bool:
        """Whether a request waits for the first of its prefix; if not, mark its prefix for the provider's cache."""
        prefix = request.prefix
        if prefix is None or prefix.n < 2:
            return False
        if not prefix.filled and request is not prefix.first:
            prefix.waiting.append(request)
            return True
        if prefix.messages and not request.query.shared:
            request.query = replace(request.query, shared=prefix.messages)
        return False

    @staticmethod
    def release(request: Request) -> list[Request]:
        """Return the requests that waited for one: it is answered, or has failed."""
        prefix = request.prefix
        if prefix is None or prefix.first is not request:
            return []
        prefix.filled = True
        waiting, prefix.waiting = prefix.waiting, []
        return waiting
