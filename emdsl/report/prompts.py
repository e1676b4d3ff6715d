"""The messages of requests, packed: what prompts have in common is kept once."""

from __future__ import annotations

from operator import eq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.prompt import Message
    from emdsl.report.packing import Packed

PARAGRAPH = "\n\n"
LONG = 1_000  # characters of a message whose paragraphs are kept one by one: they may be demonstrations
NONE = 0  # the node before the first message
_MEMORY = 5_000  # prompts that are known by their identity


class Prompts:
    """Prompts as a tree of messages: each leads to the node of its last message, from which the others follow.

    A message is a list of texts. One that contains an answer of its own row has a hole there, so that the prompts of a
    judge are alike.
    """

    def __init__(self, packed: Packed, mask: Callable[[str], str]) -> None:
        self._packed, self._mask = packed, mask
        self._nodes: dict[tuple[int, int], int] = {(-1, -1): NONE}
        self._messages: dict[tuple[Any, ...], int] = {}
        self._contents: dict[Message, int] = {}  # of messages without holes
        # by step: a prompt, its nodes, and how many of the first have no hole
        self._last: dict[str, tuple[Sequence[Message], list[int], int]] = {}
        self._masked: set[int] = set()  # nodes of messages that contain a secret
        self._known: dict[int, tuple[Any, int]] = {}

    def add(self, step: str, messages: Sequence[Message], answers: Mapping[str, str]) -> int:
        """Return the node of a prompt.

        Args:
            step: The step that sends it: its prompts are alike.
            messages: The messages.
            answers: The answers of the row by ask, which may be in it.
        """
        if not answers and (known := self._known.get(id(messages))) is not None:
            return known[1]
        before, path, whole = self._last.get(step, ((), [], 0))
        n = min([*map(eq, before, messages), False].index(False), whole)
        nodes = path[:n]
        whole = n
        for i, message in enumerate(messages[n:], start=n):
            place, masked, holed = self._message(message, answers)
            whole += i == whole and not holed
            parent = nodes[-1] if nodes else NONE
            node = self._nodes.setdefault((parent, place), len(self._nodes))
            if masked or parent in self._masked:
                self._masked.add(node)
            nodes.append(node)
        self._last[step] = (messages, nodes, whole)
        last = nodes[-1] if nodes else NONE
        if not answers and len(self._known) < _MEMORY:
            self._known[id(messages)] = (messages, last)
        return last

    def is_masked(self, node: int) -> bool:
        """Whether a prompt is not what was sent, as it contained a secret."""
        return node in self._masked

    def _message(self, message: Message, answers: Mapping[str, str]) -> tuple[int, bool, bool]:
        """Return the number of a message, whether it contained a secret, and whether it has a hole."""
        role, text = message
        held = {ask: answer for ask, answer in answers.items() if answer and text.count(answer) == 1}
        if not held and (place := self._contents.get(message)) is not None:
            return place >> 1, bool(place & 1), False
        shown = self._mask(text)
        if not shown.isascii():
            shown = shown.encode("utf-8", "replace").decode()
        masked = shown != text
        parts: list[str | None] = [shown]
        holes: list[str] = []
        if not masked:
            for ask, answer in held.items():
                at = next((i for i, p in enumerate(parts) if p is not None and answer in p), None)
                if at is not None:
                    start, _, end = str(parts[at]).partition(answer)
                    holes.insert(sum(p is None for p in parts[:at]), ask)
                    parts[at : at + 1] = [start, None, end]
        asks = iter(holes)
        pieces: list[int | str] = []
        for part in parts:
            pieces += [next(asks)] if part is None else map(self._packed.text, _pieces(part))
        place = self._messages.setdefault((role, *pieces), len(self._messages))
        if not held:
            self._contents[message] = place << 1 | masked
        return place, masked, bool(holes)

    def finish(self) -> dict[str, Any]:
        """Return what describes the nodes: of each its parent and its message; and the messages."""
        roles: dict[str, int] = {}
        asks: dict[str, int] = {}
        flat: list[int] = []
        for role, *pieces in self._messages:
            flat += (roles.setdefault(role, len(roles)), len(pieces))
            flat += [p << 1 if type(p) is int else asks.setdefault(p, len(asks)) << 1 | 1 for p in pieces]
        packed, nodes = self._packed, list(self._nodes)[1:]
        return {
            "roles": list(roles), "asks": list(asks), "messages": packed.integers(flat),
            "parents": packed.integers([p for p, _ in nodes]), "last": packed.integers([m for _, m in nodes]),
        }  # fmt: skip


def _pieces(text: str) -> list[str]:
    if len(text) < LONG:
        return [text] if text else []
    *paragraphs, last = text.split(PARAGRAPH)
    return [p for p in (*(p + PARAGRAPH for p in paragraphs), last) if p]
