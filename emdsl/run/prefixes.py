"""Requests that share a long beginning: the first goes alone, so that its provider's cache is warm for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from emdsl.prompt import Prompt
    from emdsl.query import Model, Query

MIN_CHARS = 4_096  # of a beginning that is worth a wait
CHARS_PER_TOKEN = 4


def beginning(model: Model) -> int | None:
    """Return from how many characters on a beginning is worth a wait; None where no cache keeps any."""
    tokens = model.service.prefix_tokens
    return max(MIN_CHARS, tokens * CHARS_PER_TOKEN) if tokens is not None else None


class Sent(Protocol):
    """A request as far as its beginning matters."""

    query: Query
    urgent: bool
    prefix: Any


Item = TypeVar("Item", bound=Sent)


@dataclass(slots=True, eq=False)
class Prefix(Generic[Item]):
    """Requests with one beginning, in the order in which they were made."""

    first: Item
    prompt: Prompt  # of the last one
    messages: int  # whole messages that all have in common
    n: int = 1
    warm: bool = False
    waiting: list[Item] = field(default_factory=list)


class Prefixes(Generic[Item]):
    """Finds requests that share a beginning with the one made before; see `Walk.rows` for their order."""

    def __init__(self) -> None:
        self._last: dict[Any, Prefix[Item]] = {}  # by model

    def note(self, request: Item) -> None:
        """Say with which requests one shares its beginning; called in the order in which they are made."""
        prompt, model = request.query.prompt, request.query.head.model
        least = beginning(model)
        if request.urgent or least is None or prompt.chars < least:
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
    def waits(request: Item) -> bool:
        """Whether a request waits for the first of its kind; else it is marked, so that its provider can keep it."""
        prefix = request.prefix
        if prefix is None or prefix.n < 2:
            return False
        if not prefix.warm and request is not prefix.first:
            prefix.waiting.append(request)
            return True
        if prefix.messages and not request.query.shared:
            request.query = replace(request.query, shared=prefix.messages)
        return False

    @staticmethod
    def over(request: Item) -> list[Item]:
        """Return the requests that can go on now that one is answered, or has come to nothing."""
        prefix: Prefix[Item] | None = request.prefix
        if prefix is None or prefix.first is not request:
            return []
        prefix.warm = True
        waiting, prefix.waiting = prefix.waiting, []
        return waiting
