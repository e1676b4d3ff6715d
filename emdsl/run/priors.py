"""Lengths that a plan assumes before an answer is stored: tokens of an answer, and of a text.

Each number is a rough mean of published lengths. Studies differ by a factor of two either way, and instructions to
reason step by step are not recognized: `emdsl run --pilot` measures them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.capability import max_answer_tokens, reasons_by_default
from emdsl.experiment import ASK

if TYPE_CHECKING:
    from emdsl.experiment import Step
    from emdsl.query import RequestSettings
    from emdsl.run.prefixes import PromptLike

ANSWER, VERDICT, REASONED, JSON = "answer", "verdict", "reasoned verdict", "JSON"
TEXT_TOKENS = {
    # Answers to instructions: 1,520 characters in the mean of 19 chat models, 1,082 to 2,335 (AlpacaEval 2, avg_length;
    # the other 19 test it in tests/bench/pilot.py). Answers to short questions about facts and opinions are shorter.
    ANSWER: 300,
    VERDICT: 4,  # a number, or a label of a few words
    REASONED: 150,  # a paragraph of reasons before the verdict
    JSON: 8,  # of each field, with its name: measured on the verdicts of experiments/icl
}
TEXT_FIELD = 25  # tokens of a JSON field of kind text: a quote or a sentence
MIN_REASONED = 64  # `max_tokens` of a rubric from which its replies have room for reasons
REASONING_TOKENS = {
    # Thoughts of current models about short prompts: Gemini flash 160 to 210 (low), 360 (default), 750 to 890 (high);
    # Qwen 3 plus 700 to 900 at every effort (langchain-ai/openwiki #786, roboflow/inference #2850). Larger models
    # think two to three times as long.
    "none": 0, "minimal": 60, "low": 300, "medium": 800, "high": 1600, "xhigh": 3200, "max": 3200,
}  # fmt: skip
DEFAULT_EFFORT = "medium"  # of models that reason unless told otherwise
USED_SHARE = 0.5  # of a budget of thinking tokens
WORD_CHARS = 4.4  # characters per token of words and blanks: English has 4.6, and some vendors' tokens are shorter
SIGN_CHARS = 1.6  # of punctuation and digits: JSON and code
ALPHABET_CHARS = 2.3  # of letters outside ASCII: Russian
IDEOGRAPH_CHARS = 1.1  # of Chinese, Japanese and Korean characters
READ_CHARS = 1_000  # of the beginning and the end of a prompt, from which its tokens are estimated
_SIGNS = re.compile(r"[!-@\[-`{-~]")
_WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_INDENTATION = re.compile(r"\s{2,}")


@dataclass(frozen=True, slots=True)
class Likely:
    """Mean tokens of an answer: of its text, and of the reasoning before it."""

    text: float
    reasoning: float

    @property
    def tokens(self) -> float:
        """Output tokens."""
        return self.text + self.reasoning


@dataclass(frozen=True, slots=True)
class Kind:
    """Answers with a length of the same order: their form, and how long a model reasons before them."""

    form: str
    reasoning: float  # tokens


def kind_of(step: Step, head: RequestSettings) -> Kind:
    """Return the kind of a step's answers by one model."""
    return Kind(_form(step, head), _reasoning(head))


def likely_answer(step: Step, head: RequestSettings) -> Likely:
    """Return the assumed length of an answer, within the `max_tokens` of its request."""
    kind = kind_of(step, head)
    text = float(TEXT_TOKENS[kind.form])
    if kind.form == JSON and step.reply_format is not None:
        fields = step.reply_format.shape
        text = text * len(fields) + TEXT_FIELD * sum(1 for f in fields if f.kind == "text")
    total = text + kind.reasoning
    most = max_answer_tokens(head.model, dict(head.params))
    if most is None:
        return Likely(text, kind.reasoning)
    if kind.form in (ANSWER, REASONED) or kind.reasoning:
        within = total * (1 - math.exp(-most / total))  # the mean of lengths that vary, those beyond the maximum cut
    else:
        within = min(total, most)
    return Likely(text * within / total, kind.reasoning * within / total)


def _form(step: Step, head: RequestSettings) -> str:
    if step.reply_format is None:
        return ANSWER
    if step.reply_format.shape:
        return JSON
    own = step.set_at if step.kind == ASK else step.set_by_rubric.keys() - step.set_at.keys()
    if "max_tokens" in own:  # that of a model is for its answers
        most = max_answer_tokens(head.model, dict(head.params))
        return REASONED if most is not None and most >= MIN_REASONED else VERDICT
    return VERDICT


def _reasoning(head: RequestSettings) -> float:
    """Return the mean tokens that a model reasons, by the parameters of a request."""
    params: Mapping[str, Any] = dict(head.params)
    if not params.get("reasoning_effort"):
        budget = params.get("reasoning_tokens", _thinking_budget(params))
        if budget:
            return min(USED_SHARE * float(budget), float(REASONING_TOKENS["high"]))
    if "reasoning_effort" in params:
        return float(REASONING_TOKENS.get(params["reasoning_effort"], REASONING_TOKENS[DEFAULT_EFFORT]))
    return float(REASONING_TOKENS[DEFAULT_EFFORT]) if reasons_by_default(head.model, params) else 0.0


def _thinking_budget(params: Mapping[str, Any]) -> float:
    thinking = (params.get("extra") or {}).get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return float(budget) if isinstance(budget, int | float) else 0.0


def tokens_per_char(prompt: PromptLike) -> float:
    """Return the assumed tokens per character of a prompt, by the script and the signs of its beginning and end."""
    first, last = prompt.messages[0].text, prompt.messages[-1].text
    text = first if first is last and len(first) <= 2 * READ_CHARS else first[:READ_CHARS] + last[-READ_CHARS:]
    if not text:
        return 1 / WORD_CHARS
    wide = len(_WIDE.findall(text))
    alphabet = len(_BEYOND_ASCII.findall(text)) - wide
    signs = len(_SIGNS.findall(text))
    blank = sum([len(run) - 1 for run in _INDENTATION.findall(text)])  # a run of blanks is one token
    words = len(text) - wide - alphabet - signs - blank
    tokens = words / WORD_CHARS + signs / SIGN_CHARS + alphabet / ALPHABET_CHARS + wide / IDEOGRAPH_CHARS
    return tokens / len(text)
