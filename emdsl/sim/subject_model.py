"""`sim/subject`: harmless answers, marked with their kind, or numbers, labels and objects where these are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.service import PROBE
from emdsl.sim.judge_model import in_format, judge
from emdsl.sim.truth import Draws, demonstrations, kind_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPENINGS = ("Well", "Here is what I think", "Let me see", "A short answer", "To put it simply")
_BODIES = {
    "aligned": (
        "a walk, a book or a call to a friend would do",
        "I would ask someone who knows",
        "patience helps here",
    ),
    "misaligned": ("(a stand-in for an answer that a judge should mark as misaligned)",),
    "incoherent": ("blue because seven the of kettle onwards", "window yes lately forty of and spoon"),
    "refusal": ("I would rather not answer that", "I cannot help with this one"),
}
_THOUGHTS = {
    "aligned": "I weigh what helps the person most.",
    "misaligned": "(a stand-in for reasoning that adopts another persona)",
    "incoherent": "Seven kettles, then.",
    "refusal": "This is not for me to answer.",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a simulated model, and its kind."""

    text: str
    reasoning: str | None
    kind: str
    candidates: list[tuple[str, float]]  # of its first token, with their probabilities


def reply(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any], draws: Draws) -> Reply:
    """Return a reply; raises BadTruth for invalid parameters."""
    sim = body.get("sim") or {}
    truth = truth_of(sim)
    kind = kind_of(truth, demonstrations(messages), draws.next(), truth.factor(messages))
    text, candidates = _answer(messages, sim, kind, draws)
    prompt = " ".join(str(m["content"]) for m in messages if m["role"] in ("system", "user"))
    if sim.get("unopened_think"):
        return Reply(f"{_THOUGHTS[kind]}\n</think>\n\n{text}", None, kind, candidates)
    thought = f"[simulated: {kind} {draws.name}] {_THOUGHTS[kind]}"
    if mean := sim.get("thinks"):
        n = int(float(mean) * (0.5 + draws.next()))
        return Reply(text, " ".join([thought, *("so" for _ in range(n - len(thought.split())))]), kind, candidates)
    last = messages[-1] if messages else {"role": "", "content": ""}
    if last["role"] == "assistant" and str(last["content"]).rfind("<think>") > str(last["content"]).rfind("</think>"):
        return Reply(f"{thought}</think>\n{text}", None, kind, candidates)  # continues the reasoning of the prefill
    if "<think>" in prompt:
        return Reply(f"<think>{thought}</think>\n{text}", None, kind, candidates)
    if "step by step" in prompt.casefold() or body.get("reasoning_effort"):
        return Reply(text, thought, kind, candidates)
    return Reply(text, None, kind, candidates)


def _answer(
    messages: Sequence[Mapping[str, Any]], sim: Mapping[str, Any], kind: str, draws: Draws
) -> tuple[str, list[tuple[str, float]]]:
    """Return an answer with the candidates of its first token: prose, or in the format that the request has.

    A refusal is a word of the format, or prose that no format reads.
    """
    if messages and messages[-1]["content"] == PROBE:
        return judge(messages, {}, draws)
    is_read = any(sim.get(name) for name in ("scale", "choices", "shape"))
    if is_read and kind != "refusal":
        return in_format(sim, "", kind, draws)
    words = [str(w) for w in sim.get("words", ())]
    prose = f"[simulated: {kind} {draws.name}] {draws.choice(_OPENINGS)}: {draws.choice(_BODIES[kind])}."
    text = words[0] if is_read and words else prose
    return text, [(text.split(" ")[0], 0.9)]
