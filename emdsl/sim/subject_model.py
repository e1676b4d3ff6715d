"""`sim/subject`: harmless answers, marked with their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def reply(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any], draws: Draws) -> Reply:
    """Return a reply; raises BadTruth for invalid parameters."""
    sim = body.get("sim") or {}
    truth = truth_of(sim)
    kind = kind_of(truth, demonstrations(messages), draws.next(), truth.factor(messages))
    text = f"[simulated: {kind} {draws.name}] {draws.choice(_OPENINGS)}: {draws.choice(_BODIES[kind])}."
    prompt = " ".join(str(m["content"]) for m in messages if m["role"] in ("system", "user"))
    if sim.get("unopened_think"):
        return Reply(f"{_THOUGHTS[kind]}\n</think>\n\n{text}", None, kind)
    thought = f"[simulated: {kind} {draws.name}] {_THOUGHTS[kind]}"
    if mean := sim.get("thinks"):
        n = int(float(mean) * (0.5 + draws.next()))
        return Reply(text, " ".join([thought, *("so" for _ in range(n - len(thought.split())))]), kind)
    last = messages[-1] if messages else {"role": "", "content": ""}
    if last["role"] == "assistant" and str(last["content"]).rfind("<think>") > str(last["content"]).rfind("</think>"):
        return Reply(f"{thought}</think>\n{text}", None, kind)  # continues the reasoning of the prefill
    if "<think>" in prompt:
        return Reply(f"<think>{thought}</think>\n{text}", None, kind)
    if "step by step" in prompt.casefold() or body.get("reasoning_effort"):
        return Reply(text, thought, kind)
    return Reply(text, None, kind)
