"""The exact body of a request: by provider, for each setting of the language, as a file that a reviewer can read.

`UPDATE_GOLDEN=1` writes it anew.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from providers.asking import sent

from emdsl.body import FieldConflict, format_of, merge_fields, sendable, setting_fields
from emdsl.capability import unsupported
from emdsl.compiler.models import parse_use
from emdsl.compiler.settings import PARAMS
from emdsl.json_schema import schema_of
from emdsl.query import Model
from emdsl.reply_format import ReplyField
from emdsl.service import SERVICES, SIM
from emdsl.source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

SPAN = Span(Source("m.em", "m", None), 0, 1)
GOLDEN = Path(__file__).with_name("bodies.txt")
TALK = (("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", "three"))
MODELS = {
    "openai": ("gpt-4o-2024-08-06", "gpt-5-2025-08-07", "o3-pro", "ft:o4-mini-2025-04-16:lab::1"),
    "anthropic": ("claude-sonnet-4-5-20250929", "claude-opus-4-8"),
    "google": ("gemini-2.5-pro", "gemini-3-pro-preview", "gemini-2.0-flash"),
    "openrouter": ("anthropic/claude-sonnet-4.5",), "deepseek": ("deepseek-chat",),
    "groq": ("m", "openai/gpt-oss-20b"),
}  # fmt: skip
SHAPE = (  # two names that are one field of a format, if case and `_` do not count
    ReplyField(name="a_b", kind="bool"), ReplyField(name="ab", kind="number", scale=(0, 10)),
    ReplyField(name="type", kind="label", choices=("x", "y")),
)  # fmt: skip
VALUES: dict[str, Any] = {
    "temperature": Decimal("0.7"), "max_tokens": 2_000, "top_p": Decimal("0.9"), "top_k": 5, "min_p": Decimal("0.1"),
    "frequency_penalty": 1, "presence_penalty": Decimal("-0.5"), "repetition_penalty": Decimal("1.1"),
    "stop": ("END", "\n\n"), "seed": 7, "top_logprobs": 5, "reasoning_effort": "low", "reasoning_tokens": 1_024,
    "reasoning_summary": "auto", "extra": {"user": "me", "metadata": {"study": "x"}}, "json_schema": schema_of(SHAPE),
}  # fmt: skip


def model_of(use: str) -> Model:
    service, name = parse_use(use, SPAN)
    return Model(name="m", use=use, service=service, wire_name=name)


def lines() -> Iterator[str]:
    for service in SERVICES.values():
        if service.name == SIM:
            continue
        for name in MODELS.get(service.name, ("m",)):
            use = f"{service.name}/{name}"
            whole = sent(use, messages=TALK, **({"max_tokens": 9} if service.name == "anthropic" else {}))
            yield f"\n==== {use}\n{whole['path']}\n{json.dumps(whole['body'], ensure_ascii=False)}"
            for setting in (*PARAMS, "top_logprobs", "json_schema"):
                params = dict(service.implied_params) | {setting: VALUES.get(setting)}
                if setting not in VALUES or any(o.sure for o in unsupported(model_of(use), params)):
                    continue
                fields = merge_fields(setting_fields(model_of(use), params, format_of(model_of(use), params), sample=3))
                yield f"{setting:<20}{json.dumps(fields, default=sendable, ensure_ascii=False)}"
    prefilled = (*TALK[1:3],)
    for use in ("anthropic/claude-3-haiku-20240307", "mistral/m", "deepseek/deepseek-chat", "vllm/m", "sglang/m"):
        whole = sent(use, messages=prefilled)
        yield f"\n==== {use}, a prefill\n{whole['path']}\n{json.dumps(whole['body'], ensure_ascii=False)}"


def test_bodies_are_as_written_down() -> None:
    """Every setting of the language, at every provider that takes it, over a socket and field by field."""
    text = "\n".join(lines()).lstrip() + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("use", "params", "path"),
    [
        ("openrouter/m", {"reasoning_effort": "high", "extra": {"reasoning": {"effort": "low"}}}, "reasoning.effort"),
        ("openrouter/m", {"reasoning_effort": "high", "extra": {"reasoning": {"max_tokens": 9}}},
         "reasoning.max_tokens"),
        ("openrouter/m", {"reasoning_effort": "high", "extra": {"reasoning": "high"}}, "reasoning"),
        ("openrouter/m", {"reasoning_effort": "low", "reasoning_tokens": 9}, "reasoning.max_tokens"),
        ("openrouter/m", {"reasoning_effort": "low", "reasoning_tokens": 0}, "reasoning.effort"),
        ("anthropic/claude-sonnet-4-5", {"reasoning_tokens": 2_000, "extra": {"thinking": {"type": "disabled"}}},
         "thinking.type"),
        ("anthropic/claude-opus-4-8", {"reasoning_effort": "low", "extra": {"output_config": {"effort": "high"}}},
         "output_config.effort"),
        ("anthropic/m", {"stop": ("a",), "extra": {"stop_sequences": ("b",)}}, "stop_sequences"),
        ("google/gemini-2.5-pro", {"temperature": 1, "extra": {"generationConfig": {"temperature": 0}}},
         "generationConfig.temperature"),
        ("google/gemini-2.5-pro", {"max_tokens": 9, "extra": {"generationConfig": {"max_output_tokens": 99}}},
         "generationConfig.max_output_tokens"),
        ("google/gemini-2.5-pro",
         {"reasoning_tokens": 200, "extra": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}},
         "generationConfig.thinkingConfig.thinkingBudget"),
        ("mistral/m", {"seed": 1, "extra": {"random_seed": 2}}, "random_seed"),
        ("openai/gpt-4o", {"max_tokens": 5, "extra": {"max_completion_tokens": 9}}, "max_completion_tokens"),
        ("openai/o3-pro", {"reasoning_effort": "low", "extra": {"reasoning": {"effort": "high"}}}, "reasoning.effort"),
        ("llama-cpp/m", {"repetition_penalty": 2, "extra": {"repeat_penalty": 1}}, "repeat_penalty"),
        ("vllm/m", {"top_k": 2, "extra": {"top_k": 3}}, "top_k"),
        ("together/m", {"top_logprobs": 2, "extra": {"logprobs": 3}}, "logprobs"),
        ("vllm/m", {"json_schema": schema_of(SHAPE), "extra": {"response_format": {"type": "json_object"}}},
         "response_format.type"),
        ("google/gemini-2.5-pro",
         {"json_schema": schema_of(SHAPE), "extra": {"generationConfig": {"response_mime_type": "text/plain"}}},
         "generationConfig.response_mime_type"),
    ],
)  # fmt: skip
def test_two_settings_of_one_field_are_never_sent(use: str, params: dict[str, Any], path: str) -> None:
    """The key holds both: one of them would be lost without a word."""
    model = model_of(use)
    with pytest.raises(FieldConflict) as met:
        merge_fields(setting_fields(model, params, format_of(model, params)))
    assert met.value.path == path


@pytest.mark.parametrize(
    ("use", "params", "fields"),
    [
        ("openrouter/m", {"reasoning_effort": "high", "extra": {"reasoning": {"exclude": True}}},
         {"provider": {"require_parameters": True}, "reasoning": {"effort": "high", "exclude": True}}),
        ("openrouter/m", {"extra": {"provider": {"require_parameters": False, "order": ["a"]}}},
         {"provider": {"require_parameters": False, "order": ["a"]}}),
        ("google/gemini-2.5-pro",
         {"reasoning_tokens": 200, "extra": {"generationConfig": {"topK": 3, "thinkingConfig": {}}}},
         {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 200}, "topK": 3}}),
        ("anthropic/claude-opus-4-8", {"reasoning_effort": "low", "extra": {"thinking": {"display": "omitted"}}},
         {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive", "display": "omitted"}}),
        ("openai/o3-pro", {"reasoning_summary": "auto", "extra": {"store": True}},
         {"store": True, "reasoning": {"summary": "auto"}}),
        ("openai-api/lab/o4-mini", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai/gpt-4o", {"temperature": 1, "extra": {"response_format": {"a": 1, "A": 2, "b_c": 3, "bc": 4}}},
         {"temperature": 1, "response_format": {"a": 1, "A": 2, "b_c": 3, "bc": 4}}),
        ("google/gemini-2.5-flash", {"extra": {"generationConfig": 3}}, {"generationConfig": 3}),
        ("vllm/m", {"top_k": 2, "extra": {"top_k": 2}}, {"top_k": 2}),
        ("google/gemini-2.5-pro",
         {"reasoning_tokens": 1_024, "extra": {"generationConfig": {"thinking_config": {"include_thoughts": False}}}},
         {"generationConfig": {"thinkingConfig": {"include_thoughts": False, "thinkingBudget": 1_024}}}),
        ("openai-api/lab/my-model", {"extra": {"max_completion_tokens": 5}}, {"max_completion_tokens": 5}),
    ],
)  # fmt: skip
def test_what_meets_no_setting_is_added(use: str, params: dict[str, Any], fields: dict[str, Any]) -> None:
    """Deep within an object too; what is sent unasked gives way."""
    model = model_of(use)
    assert merge_fields(setting_fields(model, params, format_of(model, params))) == fields
