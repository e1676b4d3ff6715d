"""What a reply says, and what its model thought before: the one place that tells them apart, for every format.

Servers put thoughts into fields and typed parts (`divided`), or leave them in the text, between tags or in channels
(`split`). The text is stored as it was sent, so that a better reading asks nothing again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from emdsl.query import Query, Response

_TAGS = (  # those that models are trained to write; others, that a prompt asks for, are part of the answer
    ("<think>", "</think>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
)
_QUOTES = "`'\"\u2018\u2019\u201c\u201d"  # around a tag that is spoken of
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]{0,200}(?:<\|constrain\|>[^<]{0,200})?<\|message\|>"
    r"(?P<text>.*?)(?=<\|end\|>|<\|return\|>|<\|call\|>|<\|start\|>|<\|channel\|>|\Z)",
    re.DOTALL,
)
_CHANNELS = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>")
_BARE_CHANNELS = re.compile(r"\s*analysis(?P<thought>.*?)assistantfinal(?P<text>.*)\Z", re.DOTALL)  # marks left out
_LETTER = re.compile(r"\S")
_CLOSED_FIRST = re.compile(r"\s*(?:" + "|".join(re.escape(closing) for _, closing in _TAGS) + r")\s*")
_ASKED = "thinking|reasoning|scratchpad|analysis|reflection|thoughts"  # tags that prompts ask for
_ASKED_FOR = re.compile(rf"\s*<(?P<tag>{_ASKED})>.*?</(?P=tag)>\s*", re.DOTALL | re.IGNORECASE)
_ANY_TAG = re.compile("|".join(re.escape(tag) for tags in _TAGS for tag in tags) + rf"|</?(?:{_ASKED})>", re.IGNORECASE)
_THOUGHT_TYPES = re.compile(
    r"(?:redacted[_-])?(?:reasoning|thinking|thoughts?|think|summary_text)(?:[._-]\w+)*\Z", re.IGNORECASE
)
_THOUGHT_FIELDS = ("thinking", "reasoning", "text", "summary", "content")


class Answer(NamedTuple):
    """A reply, with its reasoning split off."""

    text: str
    reasoning: str | None


def split(response: Response, query: Query | None = None) -> Answer:
    r"""Return the answer and its reasoning, None where there is none.

    Where the query's last message is the assistant's and opens a think block, the answer starts inside it.

    >>> from emdsl.query import Response
    >>> split(Response(text="<think>hm</think>\nyes", finish="stop"))
    Answer(text='yes', reasoning='hm')
    """
    text, given = response.text, response.reasoning or None
    begun = _begun(query)
    if begun is None and not ("<" in text or "[" in text or "\u25c1" in text or "assistantfinal" in text):
        return Answer(text, given)  # every mark of thoughts has one of these
    if begun is not None and not text.lstrip().startswith(begun):
        text = begun + text
    if given is not None and (closed := _CLOSED_FIRST.match(text)):  # the server took out the tag's other end
        return Answer(text[closed.end() :], given)
    parts = _tagged(text) or _channels(text) or (_closed(text) if given is None else None)
    if parts is None:
        return Answer(text, given)
    answer, thought = parts
    return Answer(answer, given or thought or None)


def _begun(query: Query | None) -> str | None:
    """Return the tag that a query's last message opens for the answer, None for none."""
    last = query.prompt.messages[-1] if query is not None and query.prompt.messages else None
    if last is None or last.role != "assistant":
        return None
    for opening, closing in _TAGS:
        if last.text.rfind(opening) > last.text.rfind(closing):
            return opening
    return None


def _tagged(text: str) -> tuple[str, str] | None:
    """Split a text that begins with think blocks; one that is never closed is thought to its end."""
    at = _first_letter(text, 0)
    thoughts = []
    for opening, closing in _TAGS:
        while text.startswith(opening, at):
            start = at + len(opening)
            end = _end_of(text, start, opening, closing)
            thoughts.append(text[start : end if end >= 0 else len(text)].strip())
            at = end + len(closing) if end >= 0 else len(text)
            at = _first_letter(text, at)
        if thoughts:
            return text[at:], "\n\n".join(thoughts)
    return None


def _first_letter(text: str, at: int) -> int:
    found = _LETTER.search(text, at)
    return found.start() if found else len(text)


def _end_of(text: str, start: int, opening: str, closing: str) -> int:
    """Return where a block is closed, past the blocks within it and the tags that are only spoken of; -1 for never."""
    last, depth = -1, 1
    for found in re.compile(f"{re.escape(opening)}|{re.escape(closing)}").finditer(text, start):
        begin, end = found.span()
        if _quoted(text, begin, end):
            continue
        if found[0] == opening:
            depth += 1
            continue
        last, depth = begin, depth - 1
        if not depth:
            return begin
    return last


def _channels(text: str) -> tuple[str, str] | None:
    """Split a text in raw harmony channels: what stands in `final` is the answer."""
    if _CHANNELS.match(text):
        parts = [(m["name"], m["text"].strip()) for m in _CHANNEL.finditer(text)]
        thoughts = [said for name, said in parts if name != "final"]
        return "\n\n".join(said for name, said in parts if name == "final"), "\n\n".join(thoughts)
    found = _BARE_CHANNELS.match(text)
    return (found["text"].lstrip(), found["thought"].strip()) if found else None


def _closed(text: str) -> tuple[str, str] | None:
    """Split a text whose think block the server's chat template opened; a tag in quotes or code is only mentioned."""
    for opening, closing in _TAGS:
        if closing not in text:
            continue
        fenced, behind = False, 0
        for found in re.finditer(re.escape(closing), text):
            at = found.start()
            fenced ^= bool(text.count("```", behind, at) % 2)
            behind = at
            if not fenced and not _quoted(text, at, found.end()):
                if opening not in text[:at]:
                    return text[found.end() :].lstrip(), text[:at].strip()
                break
    return None


def _quoted(text: str, start: int, end: int) -> bool:
    """Whether a tag is only spoken of, in quotes."""
    return start > 0 and text[start - 1] in _QUOTES and end < len(text) and text[end] in _QUOTES


def without_thoughts(answer: str) -> str | None:
    """Return what a judge states: an answer without the block of thoughts that its prompt asked for.

    None if it holds another tag of thoughts: then drafts cannot be told from the verdict.
    """
    if found := _ASKED_FOR.match(answer):
        answer = answer[found.end() :]
    return None if any(not _quoted(answer, m.start(), m.end()) for m in _ANY_TAG.finditer(answer)) else answer


def divided(parts: Any) -> tuple[str, str]:
    """Return the text and the thoughts of a list of typed parts, as content, details or blocks come."""
    text: list[str] = []
    thoughts: list[str] = []
    for part in parts if isinstance(parts, Iterable) and not isinstance(parts, str | Mapping) else ():
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, Mapping):
            if is_thought(part):
                thoughts.append(_thought(part))
            elif isinstance(part.get("text"), str):
                text.append(part["text"])
    return "".join(text), "".join(thoughts)


def is_thought(part: Mapping[str, Any]) -> bool:
    """Whether a typed part holds what a model thought."""
    kind = part.get("type")
    if isinstance(kind, str) and _THOUGHT_TYPES.match(kind):
        return True
    return part.get("thought") is True or (kind is None and "thinking" in part)


def _thought(part: Mapping[str, Any]) -> str:
    """Return the thoughts in a part, under whichever name; encrypted ones are none."""
    for name in _THOUGHT_FIELDS:
        value = part.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and value:
            said, thought = divided(value)
            if said or thought:
                return thought + said
    return ""


def thoughts_in(*values: Any) -> str | None:
    """Return the first thoughts among the fields in which a server may put them: a text, parts, or one part."""
    for value in values:
        if value is None:
            continue
        thoughts = value if isinstance(value, str) else _thought(value) if isinstance(value, Mapping) else ""
        if isinstance(value, list):
            thoughts = "".join(reversed(divided(value)))
        if thoughts:
            return thoughts
    return None
