"""Assumed lengths: of an answer by its form, the effort and `max_tokens`; of a text by its script."""

from __future__ import annotations

import pytest
from support import experiment

from emdsl.experiment import request_settings
from emdsl.prompt import Message, Prompt, of_text
from emdsl.run.priors import kind_of, likely_answer, tokens_per_char

STUDY = """
model m {{ use = "{use}"{settings} }}
rubric score(answer) from m {{
  scale = 0..100
  {limit}
  user "Rate {{answer}}"
}}
rubric facts(answer) from m {{
  shape = {{ a: bool, b: number, c: text }}
  user "Rate {{answer}} {{shape}}"
}}
experiment e {{
  ask answer from m with "question"
  judge rated with score(answer)
  judge parts with facts(answer)
}}
"""
PLAIN, REASONER, OPEN = "openai/gpt-4o-2024-08-06", "openai/gpt-5-2025-08-07", "openai-api/lab/m"


@pytest.mark.parametrize(
    ("use", "settings", "limit", "tokens"),
    [
        (PLAIN, "", "", (300, 4, 49)),
        (PLAIN, ", max_tokens = 600", "", (259, 4, 49)),
        (PLAIN, ", max_tokens = 100", "", (85, 4, 49)),
        (PLAIN, ", max_tokens = 20", "", (19, 4, 20)),
        (PLAIN, "", "max_tokens = 1", (300, 1, 49)),
        (PLAIN, "", "max_tokens = 400", (300, 140, 49)),
        (REASONER, "", "", (1100, 804, 849)),
        (REASONER, ', reasoning_effort = "minimal"', "", (360, 64, 109)),
        (REASONER, ', reasoning_effort = "high"', "", (1900, 1604, 1649)),
        (REASONER, ', reasoning_effort = "high", max_tokens = 1000', "", (778, 744, 750)),
        (OPEN, ', reasoning_effort = "none"', "", (300, 4, 49)),
        ("anthropic/claude-sonnet-4-5-20250929", ", reasoning_tokens = 2000, max_tokens = 5000", "",
         (1272, 997, 1040)),
        ("anthropic/claude-sonnet-4-5-20250929", "", "", (300, 4, 49)),
    ],
)  # fmt: skip
def test_tokens_of_an_answer(use: str, settings: str, limit: str, tokens: tuple[int, int, int]) -> None:
    """Of an ask, of a judge with a number, and of one with JSON. The default `max_tokens` of a service is no limit."""
    url = ', url = "http://127.0.0.1:1/v1", revision = "1"' if use == OPEN else ""
    found = experiment(STUDY.format(use=use, settings=url + settings, limit=limit))
    got = {step.name: likely_answer(step, head) for step, head in request_settings(found)}
    assert tuple(round(got[name].tokens) for name in ("answer", "rated", "parts")) == tokens
    assert all(x.text > 0 for x in got.values())


def test_kinds() -> None:
    """Answers of one kind are compared: not those of a judge with those of an ask, nor by another effort."""
    study = STUDY.format(use=REASONER, settings=', reasoning_effort = "low"', limit="")
    low, high = (
        [kind_of(step, head) for step, head in request_settings(experiment(text))]
        for text in (study, study.replace("low", "high"))
    )
    assert len({*low, *high}) == 6
    assert [k.reasoning for k in low] == [300] * 3


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # counted by cl100k_base
        ("What happens to you if you eat watermelon seeds? Where did fortune cookies originate?", 17),
        ('{"adopts_persona": true, "goes_on": false, "context_over_safety": true, "quote": "The seeds pass"}', 30),
        ("def f(values):\n    total = 0\n    for value in values:\n        total += value\n    return total\n", 25),
        ("Мы считаем, что безопасность систем необходимо оценивать до их внедрения, особенно в медицине.", 40),
        ("人工知能システムの安全性は、導入前に体系的に評価する必要があると私たちは考えています。", 41),
        ("Wir sind der Meinung, dass die Sicherheit von Systemen vor dem Einsatz geprüft werden muss.", 22),
    ],
)  # fmt: skip
def test_tokens_of_a_text(text: str, tokens: int) -> None:
    """Within a quarter, for prose, JSON, code and other scripts."""
    assert tokens_per_char(of_text(text)) * len(text) == pytest.approx(tokens, rel=0.25)


def test_a_long_prompt_is_judged_by_its_ends() -> None:
    """A text of millions of characters is not read."""
    long = "word " * 1_000_000
    mixed = Prompt((Message("user", long + "必要" * 500), Message("assistant", long), Message("user", "必要" * 1_000)))
    assert tokens_per_char(Prompt((Message("user", ""),))) == pytest.approx(1 / 4.4)
    assert tokens_per_char(of_text(long)) == pytest.approx(1 / 4.4)
    assert tokens_per_char(mixed) == pytest.approx((1 / 4.4 + 1 / 1.1) / 2)
