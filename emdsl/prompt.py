"""Message and Prompt: the conversation that a model continues."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from emdsl.digest import digest

if TYPE_CHECKING:
    from emdsl.digest import Digest

ROLES = ("system", "user", "assistant", "tool")


class Message(NamedTuple):
    """One message; `role` is one of ROLES."""

    role: str
    text: str


@dataclass(frozen=True)
class Prompt:
    """Messages in order."""

    messages: tuple[Message, ...]
    chars: int = field(init=False, compare=False, repr=False)  # of all messages

    def __post_init__(self) -> None:
        object.__setattr__(self, "chars", sum([len(text) for _, text in self.messages]))

    @cached_property
    def digest(self) -> Digest:
        """The digest of the messages; the samples of a cell share it."""
        return digest("messages", *self.messages)

    def common_messages(self, other: Prompt) -> int:
        """Return the number of leading messages that two prompts share."""
        if self is other:
            return len(self.messages)
        n = 0
        for mine, others in zip(self.messages, other.messages, strict=False):
            if mine is not others and mine != others:
                break
            n += 1
        return n

    def common(self, other: Prompt) -> int:
        """Return the number of leading characters that two prompts share."""
        if self is other:
            return self.chars
        n = self.common_messages(other)
        length = sum([len(m.text) for m in self.messages[:n]])
        if n < min(len(self.messages), len(other.messages)) and self.messages[n].role == other.messages[n].role:
            length += common(self.messages[n].text, other.messages[n].text)
        return length


def common(one: str, other: str) -> int:
    """Return the number of leading characters that two texts share."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        half = (low + high + 1) // 2
        if one[low:half] == other[low:half]:
            low = half
        else:
            high = half - 1
    return low


def of_text(text: str) -> Prompt:
    """Return a plain text as a prompt of one user message."""
    return Prompt((Message("user", text),))
