"""What each model takes: the table is well formed, and says of known models what their makers document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from providers.test_bodies import model_of

from emdsl.capability import unsupported
from emdsl.compiler.settings import EFFORTS, PARAMS
from emdsl.parameters import PREFILL, Row, _holds, _rows
from emdsl.service import SERVICES

HALF = Decimal("0.5")


@pytest.mark.parametrize("row", _rows(), ids=lambda r: f"{r.provider} {r.models[0]} {r.parameters[0]} {r.condition}")
def test_a_row_is_well_formed(row: Row) -> None:
    """Its provider, settings, condition and values are known words; it has a source and a month."""
    assert row.provider in SERVICES
    assert set(row.parameters) <= {*PARAMS, "top_logprobs", "json_schema", PREFILL}
    assert _holds(row.condition, {}, thinking=False) in (True, False)
    words = row.takes.split()
    numbers = all(w.replace("..", "").replace(".", "").isdigit() for w in words)
    assert words in (["no"], ["yes"], ["ignored"], ["default"]) or numbers or set(words) <= set(EFFORTS)
    assert row.parameters == ("reasoning_effort",) or not set(words) & set(EFFORTS) - {"default"}
    assert row.source
    assert row.date[:4] in ("2025", "2026")
    assert len(row.date) == len("2026-11")


@pytest.mark.parametrize(
    ("use", "params", "refused"),
    [
        ("openai/gpt-5-2025-08-07", {"reasoning_effort": "none"}, ["reasoning_effort"]),
        ("openai/gpt-5-2025-08-07", {"reasoning_effort": "minimal"}, []),
        ("openai/gpt-5-2025-08-07", {"temperature": HALF}, ["temperature"]),
        ("openai/gpt-5-2025-08-07", {"temperature": 1}, []),
        ("openai/gpt-5.1-2025-11-13", {"reasoning_effort": "minimal"}, ["reasoning_effort"]),
        ("openai/gpt-5.1-2025-11-13", {"reasoning_effort": "none", "temperature": 0, "top_logprobs": 20}, []),
        ("openai/gpt-5.1-2025-11-13", {"temperature": 0}, []),
        ("openai/gpt-5.1-2025-11-13", {"reasoning_effort": "low", "temperature": 0}, ["temperature"]),
        ("openai/gpt-5.6-2026-08-01", {"temperature": 0}, ["temperature"]),
        ("openai/gpt-5.6-2026-08-01", {"temperature": 0, "reasoning_effort": "none"}, []),
        ("openai/gpt-5-pro-2025-10-06", {"reasoning_effort": "medium"}, ["reasoning_effort"]),
        ("openai/gpt-5-pro-2025-10-06", {"reasoning_effort": "high"}, []),
        ("openai/gpt-5.2-pro", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("openai/gpt-5.2-chat-latest", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("openai/gpt-5-chat-latest", {"temperature": 0}, []),
        ("openai/o4-mini-2025-04-16", {"reasoning_effort": "xhigh"}, ["reasoning_effort"]),
        ("openai/ft:o4-mini-2025-04-16:lab::1", {"temperature": 0}, ["temperature"]),
        ("openai/ft:gpt-4o-2024-08-06:lab::1", {"temperature": 0, "top_logprobs": 20}, []),
        ("openai/gpt-4o-2024-08-06", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("openai/gpt-4o-2024-08-06", {"seed": 1, "stop": ("a",), "presence_penalty": 1}, []),
        ("openai/o3-pro", {"seed": 1, "stop": ("a",)}, ["seed", "stop"]),
        ("anthropic/claude-opus-5-5", {"reasoning_effort": "none"}, ["reasoning_effort"]),
        ("anthropic/claude-opus-4-6", {"reasoning_effort": "minimal"}, ["reasoning_effort"]),
        ("anthropic/claude-opus-4-6", {"reasoning_effort": "max"}, []),
        ("anthropic/claude-sonnet-4-5", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("anthropic/claude-sonnet-4-5", {"reasoning_tokens": 100}, ["reasoning_tokens"]),
        ("anthropic/claude-sonnet-4-5", {"reasoning_tokens": 0, "temperature": 0}, []),
        ("anthropic/claude-sonnet-4-5", {"reasoning_tokens": 2_000, "temperature": 0}, ["temperature"]),
        ("anthropic/claude-sonnet-4-5", {"temperature": 0, "top_p": HALF}, ["top_p"]),
        ("anthropic/claude-3-haiku-20240307", {"temperature": 0, "top_p": HALF, "top_k": 3}, []),
        ("anthropic/claude-3-haiku-20240307", {"reasoning_tokens": 2_000}, ["reasoning_tokens"]),
        ("anthropic/claude-opus-4-8", {"temperature": 0}, ["temperature"]),
        ("google/gemini-2.5-pro", {"reasoning_tokens": 0}, ["reasoning_tokens"]),
        ("google/gemini-2.5-pro", {"reasoning_tokens": 128}, []),
        ("google/gemini-2.5-flash", {"reasoning_tokens": 0}, []),
        ("google/gemini-2.5-flash-lite", {"reasoning_tokens": 100}, ["reasoning_tokens"]),
        ("google/gemini-2.5-flash", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("google/gemini-3-pro-preview", {"reasoning_effort": "medium"}, ["reasoning_effort"]),
        ("google/gemini-3-flash", {"reasoning_effort": "minimal"}, []),
        ("google/gemini-3.6-flash", {"temperature": 0}, ["temperature"]),
        ("google/gemini-2.0-flash", {"reasoning_tokens": 5}, ["reasoning_tokens"]),
        ("xai/grok-4-0709", {"stop": ("a",)}, ["stop"]),
        ("xai/grok-3-mini", {"reasoning_effort": "medium"}, ["reasoning_effort"]),
        ("deepseek/deepseek-reasoner", {"temperature": 0}, ["temperature"]),
        ("deepseek/deepseek-chat", {"temperature": 0}, []),
        ("groq/openai/gpt-oss-120b", {"reasoning_effort": "none"}, ["reasoning_effort"]),
        ("groq/qwen/qwen3-32b", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("mistral/mistral-medium-latest", {"reasoning_effort": "low"}, ["reasoning_effort"]),
        ("openrouter/a/b", {"reasoning_effort": "low", "reasoning_tokens": 5}, ["reasoning_tokens"]),
        ("vllm/any", {"temperature": 0, "top_k": 1, "min_p": 0, "reasoning_effort": "none"}, []),
    ],
)
def test_what_a_model_takes(use: str, params: dict[str, Any], refused: list[str]) -> None:
    """Refused before anything is sent, or sent."""
    found = list(unsupported(model_of(use), {"max_tokens": 4_000} | params))
    assert sorted({o.param for o in found}) == refused
    assert all(o.sure for o in found)


@pytest.mark.parametrize(
    ("use", "params"),
    [
        ("openai/gpt-7", {"temperature": 0}),
        ("openai/o9-mini", {"reasoning_effort": "none"}),
        ("anthropic/claude-opus-7", {"temperature": 0}),
        ("google/gemini-6-pro", {"frequency_penalty": 1}),
        ("xai/grok-7", {"stop": ("a",)}),
    ],
)
def test_a_model_newer_than_the_table_is_warned_of(use: str, params: dict[str, Any]) -> None:
    """It may well take what older ones refuse."""
    found = list(unsupported(model_of(use), {"max_tokens": 4_000} | params))
    assert found
    assert not any(o.sure for o in found)
