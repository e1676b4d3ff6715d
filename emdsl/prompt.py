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


def of_text(text: str) -> Prompt:
    """Return the prompt that a plain text is: one user message."""
    return Prompt((Message("user", text),))
