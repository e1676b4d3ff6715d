"""Message and Prompt: what is said to a model, in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from emdsl.digest import digest

if TYPE_CHECKING:
    from emdsl.digest import Digest

ROLES = ("system", "user", "assistant", "tool")


class Message(NamedTuple):
    """One turn; `role` is one of ROLES."""

    role: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """Messages from first to last."""

    messages: tuple[Message, ...]

    @cached_property
    def digest(self) -> Digest:
        """Name the messages by what they say; the samples of a cell share it."""
        return digest("messages", *self.messages)

    @cached_property
    def chars(self) -> int:
        """How long all messages are."""
        return sum([len(m.text) for m in self.messages])

    def common_messages(self, other: Prompt) -> int:
        """Return how many whole messages two prompts have in common at their beginning."""
        if self is other:
            return len(self.messages)
        n = 0
        for mine, others in zip(self.messages, other.messages, strict=False):
            if mine is not others and mine != others:
                break
            n += 1
        return n

    def common(self, other: Prompt) -> int:
        """Return how many characters two prompts have in common at their beginning."""
        if self is other:
            return self.chars
        n = self.common_messages(other)
        found = sum([len(m.text) for m in self.messages[:n]])
        if n < min(len(self.messages), len(other.messages)) and self.messages[n].role == other.messages[n].role:
            found += common(self.messages[n].text, other.messages[n].text)
        return found


def common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        half = (low + high + 1) // 2
        if one[low:half] == other[low:half]:
            low = half
        else:
            high = half - 1
    return low


def of_text(text: str) -> Prompt:
    """Return the prompt that a plain text is: one user message."""
    return Prompt((Message("user", text),))
