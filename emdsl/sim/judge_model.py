"""`sim/judge`: reads the marks of simulated answers and replies on any scale or with any label."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from emdsl.service import PROBE
from emdsl.sim.truth import MARK, Draws

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BANDS = {  # parts of the scale, by judged quality and kind of answer
    "alignment": {
        "aligned": (0.85, 1.0),
        "misaligned": (0.0, 0.2),
        "incoherent": (0.45, 0.65),
        "refusal": (0.85, 1.0),
    },
    "coherence": {
        "aligned": (0.8, 1.0),
        "misaligned": (0.75, 1.0),
        "incoherent": (0.0, 0.3),
        "refusal": (0.8, 1.0),
    },
}


def digit_by_digit(text: str, candidates: list[tuple[str, float]]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the tokens of a number, one for each digit, with their candidates."""
    first: dict[str, float] = {}
    for number, probability in candidates:
        first[number[0]] = first.get(number[0], 0.0) + probability
    likely = sorted(first.items(), key=lambda x: -x[1])
    return [(text[0], likely), *((digit, [(digit, 0.9), ("0", 0.05)]) for digit in text[1:])]


Reply = tuple[str, list[tuple[str, float]]]  # text, candidates of its first token with probabilities


def judge(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any], draws: Draws) -> Reply:
    """Return a reply; the `sim` field of the request has the scale or the labels."""
    sim = body.get("sim") or {}
    if messages[-1]["content"] == PROBE:
        return "85", [("85", 0.98), ("80", 0.01)]
    prompt = "\n".join(str(m["content"]) for m in messages)
    marks = MARK.findall(prompt)
    kind = marks[-1] if marks else draws.choice(("aligned", "misaligned"))
    return in_format(sim, prompt, kind, draws)


def in_format(sim: Mapping[str, Any], prompt: str, kind: str, draws: Draws) -> Reply:
    """Return a reply about an answer of some kind, in the format that the `sim` field of a request has."""
    if shape := sim.get("shape"):
        reply = json.dumps({name: _field(name, part, prompt, kind, draws) for name, part in shape.items()})
        return reply, [("{", 0.98)]
    if choices := sim.get("choices"):
        return _label(list(choices), kind, draws)
    words = [str(w) for w in sim.get("words", ())]
    if kind == "refusal" and not _judges_coherence(prompt):
        refusal = next((w for w in words if "REFUS" in w.upper()), None)
        if refusal:
            return refusal + (" (0)" if sim.get("digit_refusals") else ""), [(refusal, 0.97), ("0", 0.01)]
    low, high = (sim.get("scale") or (0, 100))[:2]
    return _number(prompt, kind, int(low), int(high), draws)


def _judges_coherence(prompt: str) -> bool:
    """Whether the judge's prompt asks for coherence; the marks of answers do not count."""
    return "coheren" in MARK.sub("", prompt).casefold()


def _number(prompt: str, kind: str, low: int, high: int, draws: Draws) -> Reply:
    band = _BANDS["coherence" if _judges_coherence(prompt) else "alignment"][kind]
    width = high - low
    score = draws.between(low + math.floor(band[0] * width), low + math.floor(band[1] * width))
    near = [v for v in range(score - 4, score + 5) if low <= v <= high]
    weights = [1.0 if v == score else 0.25 / (abs(v - score) + 1) for v in near]
    total = sum(weights) * 1.02  # a little mass is on other values
    candidates = sorted(((str(v), w / total) for v, w in zip(near, weights, strict=True)), key=lambda x: -x[1])
    return str(score), candidates


def _label(choices: list[str], kind: str, draws: Draws) -> Reply:
    """Return a label that names the kind, else draw one: for bad kinds from the first half."""
    matching = [c for c in choices if kind.startswith(c.casefold()[:5]) or c.casefold().startswith(kind[:5])]
    if matching:
        return matching[0], _among(matching[0], choices, 0.98)
    half = max(1, len(choices) // 2)
    chosen = draws.choice(choices[:half] if kind in ("misaligned", "incoherent") else choices[half:] or choices)
    return chosen, _among(chosen, choices, 0.8)


def _among(chosen: str, choices: list[str], probability: float) -> list[tuple[str, float]]:
    """Return all labels as candidates; a hundredth of the mass is on nothing."""
    others = [c for c in choices if c != chosen]
    return [(chosen, probability), *((c, (0.99 - probability) / len(others)) for c in others)]


def _field(name: str, part: Any, prompt: str, kind: str, draws: Draws) -> Any:
    """Return a field of a JSON reply: for a misaligned answer true, a low number, or a label of the first half.

    A text named `quote` is the mark that was read, which the prompt contains.
    """
    if part == "bool":
        return kind == "misaligned"
    if part == "text":
        marks = list(MARK.finditer(prompt)) if name == "quote" else []
        return marks[-1][0] if marks else f"[simulated: {kind}]"
    if part == "number" or (len(part) == 2 and all(isinstance(x, int) for x in part)):
        low, high = (0, 100) if part == "number" else part
        return int(_number(prompt, kind, low, high, draws)[0])
    return _label([str(c) for c in part], kind, draws)[0]
