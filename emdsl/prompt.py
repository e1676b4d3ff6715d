"""Message and Prompt: what is said to a model, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

ROLES = ("system", "user", "assistant", "tool")


class Message(NamedTuple):
    """One turn; `role` is one of ROLES."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages from first to last."""

    messages: tuple[Message, ...]


def of_text(text: str) -> Prompt:
    """Return the prompt that a plain text is: one user message."""
    return Prompt((Message("user", text),))
