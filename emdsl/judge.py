"""Reading and Verdict: how a judge's reply becomes a score, a label, or a reason why there is none."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.query import split_reasoning
from emdsl.value import NO_LOGPROBS, NO_MASS, UNREADABLE, LabelledMap, Missing

if TYPE_CHECKING:
    from emdsl.query import Response, TokenLogprobs

Verdict = float | str | LabelledMap | Missing  # a score, a label, the fields of a JSON reply, or why there is none

_NUMBER = re.compile(r"(?<![\w.-])[-\u2212]?\d+(?:\.\d+)?(?![\w]|\.\d)")
_ANSWER_LINE = re.compile(r"[^\w\n]{0,20}answer[^\w:\n]{0,20}:(.{1,500})", re.IGNORECASE)
LAST_LINES = 50  # in which `ANSWER: label` is looked for
_AROUND = " \t\r\n.,;:!*_`\"'()[]<>"
MIN_PREFIX = 2  # letters of a word that a reply of one token must show: "RE" is no number, "R" may be anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """The score is the probability-weighted mean of the numbers among the first token's candidates.

    Source: Betley et al. (2025). `top` candidates are asked for; under `mass` of probability on numbers
    there is no score. Without `mass` the number in the reply is read, from the same request.
    """

    top: int = 20
    mass: float | None = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a JSON reply; `kind` is bool, number, text or label; a number may have a `scale`."""

    name: str
    kind: str
    scale: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a reply is read; one of `scale`, `choices` and `shape` is set."""

    scale: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    shape: tuple[Part, ...] = ()
    weighted: Weighted | None = None
    words: tuple[str, ...] = ()  # `refusal` and `other`: replies that are final, and no score


def read(reply: Response, reading: Reading) -> Verdict:
    """Return what a judge's reply says."""
    text, _ = split_reasoning(reply)
    if reading.shape:
        return _object(text, reading)
    if reading.choices:
        return _label(text, reading)
    assert reading.scale is not None
    if reading.weighted is not None and reading.weighted.mass is not None:
        if not reply.logprobs:
            return NO_LOGPROBS
        score = weighted_score(reply.logprobs[0], reading.scale, reading.weighted.mass)
        if score is not None:
            return score
        return _word(text, reading, cut=reply.finish == "length") or NO_MASS
    return _word(text, reading, cut=reply.finish == "length") or _score(text, reading.scale)


def weighted_score(candidates: TokenLogprobs, scale: tuple[float, float], mass: float) -> float | None:
    """Return the mean of the candidates that are whole numbers within the scale, or None for too little mass.

    `candidates` are tokens with natural logarithms of their probabilities.
    Source: Betley et al. (2025), `judge.py`: tokens are read as Python's `int` does.
    """
    total = weight = 0.0
    for token, logprob in candidates:
        try:
            value = int(token)
        except ValueError:
            continue
        if scale[0] <= value <= scale[1]:
            probability = math.exp(min(logprob, 0.0))
            total += value * probability
            weight += probability
    return total / weight if weight >= mass and weight > 0 else None


def _word(text: str, reading: Reading, *, cut: bool) -> Missing | None:
    said = _bare(text)
    first = re.split(r"\W", said, maxsplit=1)[0]
    for word in reading.words:
        bare = _bare(word)
        if said == bare or (first == bare and not _NUMBER.search(text)):
            return Missing(word)
        if cut and len(said) >= MIN_PREFIX and bare.startswith(said):
            return Missing(word)
    return None


def _bare(text: str) -> str:
    """Return a word as it is compared: without punctuation around it, and in one case."""
    return text.strip(_AROUND).casefold() or text.strip().casefold()


def _score(text: str, scale: tuple[float, float]) -> Verdict:
    found = [n.replace("\u2212", "-") for n in _NUMBER.findall(text.replace("_", " "))]
    if len(found) == 2 and re.search(rf"{re.escape(found[0])}\s*/\s*{re.escape(found[1])}", text):
        found = found[:1] if float(found[1]) == scale[1] else found  # "85/100"
    if len(found) != 1:
        return UNREADABLE
    score = float(found[0])
    return score if scale[0] <= score <= scale[1] else UNREADABLE


def _object(text: str, reading: Reading) -> Verdict:
    """Return the fields of a reply's JSON object; strict: one field that is missing or odd makes all unreadable."""
    found = _json_in(text)
    if found is None:
        return _word(text, reading, cut=False) or UNREADABLE
    entries = []
    for part in reading.shape:
        value = _part(found.get(part.name), part)
        if value is None:
            return UNREADABLE
        entries.append((part.name, value))
    return LabelledMap(tuple(entries))


def _json_in(text: str) -> dict[str, Any] | None:
    """Return the object that a reply is, or the one that stands in it: fenced, or between words."""
    for stretch in (text, text[text.find("{") : text.rfind("}") + 1]):
        try:
            found = json.loads(stretch)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None


def _part(value: Any, part: Part) -> float | str | bool | None:
    """Return a field's value, or None for one that is not of its kind."""
    match part.kind:
        case "bool":
            said = _bare(value) if isinstance(value, str) else value
            return {"true": True, "yes": True, "false": False, "no": False}.get(said) if isinstance(said, str) else (
                value if isinstance(value, bool) else None
            )  # fmt: skip
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            try:
                finite = math.isfinite(value)
            except OverflowError:  # a whole number past all floats
                return None
            if not finite:
                return None
            within = part.scale is None or part.scale[0] <= value <= part.scale[1]
            return float(value) if within else None
        case "label":
            return {_bare(c): c for c in part.choices}.get(_bare(value)) if isinstance(value, str) else None
        case _:
            return value if isinstance(value, str) else None


def _label(text: str, reading: Reading) -> Verdict:
    by_name = {_bare(label): label for label in reading.choices}
    if (said := _bare(text)) in by_name:
        return by_name[said]
    if word := _word(text, reading, cut=False):
        return word
    for line in reversed(text.splitlines()[-LAST_LINES:]):
        if found := _ANSWER_LINE.match(line):
            return by_name.get(_bare(found[1]), UNREADABLE)
    return _named(text.casefold(), by_name)


def _named(said: str, by_name: dict[str, str]) -> Verdict:
    """Return the one label that a sentence names: longer labels first, and none that is denied or an article."""
    named = set()
    for name in sorted(by_name, key=len, reverse=True):
        pattern = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
        if len(name) > 1 and re.search(pattern, said):
            if re.search(rf"\b(?:not|no|isn't|never)\s+(?:\w+\s+)?{pattern}", said):
                return UNREADABLE
            named.add(by_name[name])
            said = re.sub(pattern, " ", said)
    return named.pop() if len(named) == 1 else UNREADABLE
