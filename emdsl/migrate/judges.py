"""Judges of question files: a template with its judge model becomes a rubric, or an `ask` where no labels are known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.lang.words import RESERVED
from emdsl.migrate.writing import inserted, message, name_of, quoted, settings, unique, word_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.migrate.draft import Draft, Wanted

MISSING = ("UNKNOWN", "REFUSAL", "CODE")  # replies that are no verdict
_LABEL = re.compile(r'"([A-Za-z]\w{0,30}|[A-Z][A-Z0-9_]*(?:[ -][A-Z0-9_]+){1,4})"')  # how templates name replies
_PREFIXES = (("gpt", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"), ("claude", "anthropic"),
             ("gemini", "google"), ("deepseek", "deepseek"), ("mistral", "mistral"), ("grok", "xai"))  # fmt: skip


def served(model: str) -> str:
    """Return the name of a model with its provider, which question files leave out."""
    if "/" in model:
        return model
    return f"{next((s for start, s in _PREFIXES if model.startswith(start)), 'openai')}/{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One judge of a question: its name in the file, its template, its model, and its scale if it gives scores."""

    name: str
    template: str
    model: str
    scale: tuple[str, str] | None = None
    mass: str = "0.25"
    top: str = "20"
    cold: bool = True  # at temperature 0, briefly
    max_tokens: str | None = None

    @property
    def params(self) -> list[str]:
        """The parts of a conversation that its template shows."""
        return [p for p in ("question", "answer") if f"{{{p}}}" in self.template]

    @property
    def words(self) -> list[str]:
        """The words in quotes in its template."""
        return list(dict.fromkeys(_LABEL.findall(self.template)))

    @property
    def labels(self) -> list[str]:
        """The labels among them: nothing unless there are two that differ."""
        words = [w for w in self.words if w not in MISSING]
        return words if len(self.words) > 1 and words and len({w.lower() for w in words}) == len(words) else []

    @property
    def asks(self) -> bool:
        """Whether its reply is a text, not a score or a label."""
        return self.scale is None and not self.labels


def name_judges(judges: Iterable[Judge], wanted: Wanted) -> dict[Judge, str]:
    """Return the name of each rubric or prompt; different templates with one name are numbered."""
    names: dict[Judge, str] = {}
    for judge in dict.fromkeys(judges):
        base = wanted.free(f"{name_of(judge.name, 'judge')}_judge", "rubric")
        names[judge] = unique(base, names.values())
    return names


def block(judge: Judge, called: str, draft: Draft) -> list[str]:
    """Return the lines of the rubric of a judge, or of its prompt."""
    fields = {p: p for p in judge.params}
    text = message("user", inserted(judge.template, fields), fields)
    params = ", ".join(judge.params)
    if judge.asks:
        return [f"prompt {called}({params}) {{", *text, "}"]
    model = draft.judge(judge.model)
    lines = [f"rubric {called}({params}) from {quoted(model)} {{"]
    if judge.scale is not None:
        lines.append(f"scale = {'..'.join(judge.scale)}")
        missing = [w for w in MISSING if re.search(rf"\b{w}\b", judge.template)]
        if draft.wanted.ability(model).logprobs:
            lines += [f"read = weighted(top: {judge.top}, mass: {judge.mass})", *draft.cold(model, 1)]
        else:
            draft.leave_out(f"probabilities of the judge `{judge.name}`",
                            f"{model} returns none, so its score is the number that it writes")  # fmt: skip
            lines += draft.cold(model, 16)
    else:
        lines[:0] = ["# The labels are the words in quotes in this text."]
        lines += [f"choices = [{', '.join(map(quoted, judge.labels))}]", *draft.cold(model, 16)]
        missing = [w for w in judge.words if w in MISSING]
    if missing:
        lines.append(f"other = [{', '.join(map(quoted, missing))}]")
    return [*lines, *text, "}"]


def step(judge: Judge, short: str, called: str, question: str, draft: Draft) -> list[str]:
    """Return the lines that ask one judge about an answer."""
    call = f"{called}({', '.join(question if p == 'question' else p for p in judge.params)})"
    if not judge.asks:
        return [f"judge {short} with {call}"]
    model = draft.judge(judge.model)
    able = draft.wanted.ability(model)
    cold = [("temperature", "0")] if judge.cold and able.temperature else []
    tokens = [("max_tokens", judge.max_tokens)] if judge.max_tokens and not able.reasons else []
    line = f"ask {short} from {quoted(model)} with {call}{settings([*cold, *tokens])}"
    return [*(["# allow W734: each sample asks about another answer"] if cold else []), line]


def measures(judge: Judge, short: str, experiment: str) -> list[str]:
    """Return the measures of one judge."""
    if judge.scale is not None:
        return [f"measure {experiment}_{short} = mean({short}) by model, q"]
    if judge.asks:
        return []
    first = judge.labels[0]
    holds = (
        f"{short} is {first}"
        if re.fullmatch(r"[A-Za-z]\w*", first) and first not in RESERVED
        else f"{short} == {quoted(first)}"
    )
    return [f"measure {experiment}_{short}_{word_of(first)} = rate({holds}) by model, q"]
