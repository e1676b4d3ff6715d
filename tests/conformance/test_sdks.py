"""The providers' own Python clients ask the simulator: what they send is taken, what they get is of their types.

These clients build their objects without looking: so what was built is validated here, and holds no field that its type
does not declare.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import anthropic
import openai
import pytest
from anthropic import Anthropic
from anthropic.types import OutputConfigParam
from google import genai
from google.genai import errors, types
from openai import OpenAI
from openai.types.chat import ChatCompletion
from openai.types.responses import ResponseCompletedEvent, ResponseTextConfigParam, ResponseTextDeltaEvent
from openai.types.shared_params import ResponseFormatJSONSchema
from pydantic import BaseModel, ConfigDict, TypeAdapter
from support import simulator

from emdsl.body import format_of, merge_fields, sendable, setting_fields
from emdsl.compiler.compile import model_of
from emdsl.json_schema import schema_of
from emdsl.reply_format import ReplyField

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, WRONG = "sk-conformance-0123", "sk-wrong-0123456789"
HI: Any = [{"role": "user", "content": "think step by step"}]
CLAUDE: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 2_000, "messages": HI}
SHORT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
THINKING: Any = {"type": "enabled", "budget_tokens": 1_024}
TOLD = [{"role": "tool", "content": "4"}]
BEGUN = [{"role": "assistant", "content": "a"}]
OTHERS = frozenset(("reasoning_content",))  # of other servers that speak OpenAI's format


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator("--key", KEY) as found:
        yield found.removesuffix("/v1")


@pytest.fixture
def chat(url: str) -> Iterator[Any]:
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[Any]:
    with Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(url: str) -> Iterator[Any]:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url)) as client:
        yield client


def undeclared(found: Any) -> set[str]:
    """Return the fields that no type declares, in all that is within an object."""
    if isinstance(found, list | tuple):
        return {name for part in found for name in undeclared(part)}
    if not isinstance(found, BaseModel):
        return set()
    within = (undeclared(getattr(found, name)) for name in type(found).model_fields)
    return set(found.model_extra or ()).union(*within)


def typed(found: Any) -> Any:
    """Return an object that is right by its own type."""
    type(found).model_validate(found.to_dict())
    assert undeclared(found) <= OTHERS
    return found


def usage_of(found: Any) -> tuple[int, int]:
    """Return what was counted by OpenAI, whose sum is right."""
    assert found.total_tokens == found.prompt_tokens + found.completion_tokens
    return found.prompt_tokens, found.completion_tokens


def test_chat(chat: Any) -> None:
    """Plain, and with every setting."""
    found = typed(chat.chat.completions.create(model="gpt-4o", messages=HI))
    assert isinstance(found, ChatCompletion)
    (choice,) = found.choices
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert choice.message.content.startswith("[simulated: ")
    assert min(usage_of(found.usage)) > 0
    found = typed(
        chat.chat.completions.create(
            model="gpt-4o", messages=HI, logprobs=True, top_logprobs=5, temperature=0.5, top_p=0.9, max_tokens=5,
            stop=["###"], seed=1, response_format={"type": "json_object"}, verbosity="low", safety_identifier="x",
        )
    )  # fmt: skip
    (choice,) = found.choices
    assert choice.finish_reason == "length"
    assert len(choice.message.content.split()) == 5
    at = choice.logprobs.content[0]
    assert bytes(at.bytes).decode() == at.token
    assert 0 < len(at.top_logprobs) <= 5
    assert all(candidate.logprob <= 0 for candidate in at.top_logprobs)
    found = typed(chat.chat.completions.create(model="gpt-4o", messages=HI, logprobs=True))
    assert found.choices[0].logprobs.content[0].top_logprobs == [], "candidates come where they are asked for"


def test_a_chat_as_a_stream(chat: Any) -> None:
    """Its chunks are the whole, and the last one counts, where that is asked for."""
    chunks = [
        typed(chunk)
        for chunk in chat.chat.completions.create(
            model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True}, logprobs=True,
            top_logprobs=2,
        )
    ]  # fmt: skip
    *parts, last = chunks
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text.startswith("[simulated: ")
    assert text.endswith(".")
    assert [p.choices[0].finish_reason for p in parts if p.choices[0].finish_reason] == ["stop"]
    assert any(p.choices[0].logprobs for p in parts)
    assert last.choices == []
    assert min(usage_of(last.usage)) > 0
    plain = [typed(chunk) for chunk in chat.chat.completions.create(model="gpt-4o", messages=HI, stream=True)]
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    with chat.chat.completions.stream(model="gpt-4o", messages=HI, stream_options={"include_usage": True}) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        whole = stream.get_final_completion()
    assert whole.choices[0].message.content == said != ""
    assert min(usage_of(whole.usage)) > 0


def test_responses(chat: Any) -> None:
    """Plain, with reasoning, with candidates, and cut."""
    found = typed(chat.responses.create(model="gpt-4o", input="hi"))
    assert found.status == "completed"
    assert found.output_text.startswith("[simulated: ")
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    found = typed(
        chat.responses.create(
            model="gpt-5", input=HI, reasoning={"effort": "low", "summary": "auto"}, store=False, max_output_tokens=500
        )
    )
    assert [item.type for item in found.output] == ["reasoning", "message"]
    assert found.output[0].summary[0].text
    assert 0 < found.usage.output_tokens_details.reasoning_tokens < found.usage.output_tokens
    asked = {"model": "gpt-4o", "input": "hi", "include": ["message.output_text.logprobs"]}
    found = typed(chat.responses.create(**asked, top_logprobs=3, temperature=0.5))
    at = found.output[-1].content[0].logprobs[0]
    assert bytes(at.bytes).decode() == at.token
    assert 0 < len(at.top_logprobs) <= 3
    assert typed(chat.responses.create(**asked)).output[-1].content[0].logprobs[0].top_logprobs == []
    tries = (chat.responses.create(model="gpt-4o", input="hi", max_output_tokens=16) for _ in range(50))
    cut = next(typed(found) for found in tries if found.status != "completed")
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (cut.output[-1].status, cut.usage.output_tokens) == ("incomplete", 16)


def test_a_response_as_a_stream(chat: Any) -> None:
    """Its deltas are the text, its last event the whole."""
    events = [typed(event) for event in chat.responses.create(model="gpt-5", input=HI, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if isinstance(event, ResponseTextDeltaEvent))
    thought = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent)
    assert last.response.output_text == said != ""
    assert last.response.output[0].summary[0].text == thought != ""
    assert last.response.usage.output_tokens > 0
    with chat.responses.stream(model="gpt-4o", input="hi", top_logprobs=2) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        whole = stream.get_final_response()
    assert whole.output_text == said != ""


def test_claude(claude: Any) -> None:
    """With a system message, with thinking, with an end, and cut."""
    found = typed(claude.messages.create(**CLAUDE, system="Be brief.", stop_sequences=["###"]))
    assert (found.role, found.stop_reason) == ("assistant", "end_turn")
    assert found.content[-1].text.startswith("[simulated: ")
    assert min(found.usage.input_tokens, found.usage.output_tokens) > 0
    found = typed(claude.messages.create(**CLAUDE, thinking=THINKING))
    assert [block.type for block in found.content] == ["thinking", "text"]
    assert found.content[0].thinking
    assert found.content[0].signature
    found = typed(
        claude.messages.create(
            **CLAUDE | {"model": "claude-opus-4-8"}, thinking={"type": "adaptive", "display": "summarized"},
            output_config={"effort": "low"},
        )
    )  # fmt: skip
    assert found.content[0].type == "thinking"
    found = typed(claude.messages.create(**CLAUDE | SHORT, extra_body={"temperature": 0}))
    assert (found.stop_reason, found.usage.output_tokens) == ("max_tokens", 2)


def test_a_message_of_claude_as_a_stream(claude: Any) -> None:
    """Its events are of their types; the final message is what was said, and counts it."""
    with claude.messages.stream(**CLAUDE, thinking=THINKING) as stream:
        said = "".join(event.text for event in stream if event.type == "text")
        whole = typed(stream.get_final_message())
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert whole.content[1].text == said != ""
    assert whole.stop_reason == "end_turn"
    assert min(whole.usage.input_tokens, whole.usage.output_tokens) > 0
    events = [typed(event).type for event in claude.messages.create(**CLAUDE, stream=True)]
    assert (events[0], events[-1]) == ("message_start", "message_stop")


def test_gemini(gemini: Any) -> None:
    """With thoughts, with a system instruction, with candidates, and cut."""
    config = types.GenerateContentConfig(
        temperature=0.5, top_p=0.9, top_k=5, max_output_tokens=500, seed=1, stop_sequences=["###"],
        system_instruction="Be brief.",
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=512),
    )  # fmt: skip
    found = gemini.models.generate_content(model="gemini-2.5-flash", contents="hi", config=config)
    assert not undeclared(found)
    assert [part.thought for part in found.candidates[0].content.parts] == [True, None]
    assert found.text.startswith("[simulated: ")
    assert found.candidates[0].finish_reason == types.FinishReason.STOP
    usage = found.usage_metadata
    assert usage.total_token_count == (
        usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    )
    config = types.GenerateContentConfig(response_logprobs=True, logprobs=5, max_output_tokens=2)
    found = gemini.models.generate_content(model="gemini-2.0-flash", contents="hi", config=config)
    logprobs = found.candidates[0].logprobs_result
    (top,), (chosen,) = logprobs.top_candidates, logprobs.chosen_candidates
    assert 0 < len(top.candidates) <= 5
    assert chosen.log_probability <= 0
    assert found.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    alone = types.GenerateContentConfig(response_logprobs=True)
    found = gemini.models.generate_content(model="gemini-2.0-flash", contents="hi", config=alone)
    assert found.candidates[0].logprobs_result.chosen_candidates


def test_gemini_as_a_stream(gemini: Any) -> None:
    """Its parts are the text, and the last one says how it ended."""
    parts = list(gemini.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
    assert len(parts) > 1
    assert "".join(part.text for part in parts).startswith("[simulated: ")
    assert [p.candidates[0].finish_reason for p in parts if p.candidates[0].finish_reason] == ["STOP"]
    assert parts[-1].usage_metadata.candidates_token_count > 0


class Flags(BaseModel):
    """A shape, as the clients make a schema of it."""

    model_config = ConfigDict(extra="forbid")
    harm: bool
    level: float
    kind: Literal["a", "b"]


def test_a_schema_is_enforced(chat: Any, claude: Any, gemini: Any) -> None:
    """Each client sends the schema of a class in its own way, and reads the reply as an object of it."""
    said: Any = [{"role": "user", "content": "think"}]
    found = chat.chat.completions.parse(model="gpt-4o", messages=said, response_format=Flags)
    assert isinstance(found.choices[0].message.parsed, Flags)
    assert isinstance(chat.responses.parse(model="gpt-4o", input=said, text_format=Flags).output_parsed, Flags)
    asked = {"model": "claude-sonnet-4-6", "max_tokens": 99, "messages": said}
    assert isinstance(claude.messages.parse(**asked, output_format=Flags).parsed_output, Flags)
    config = {"response_mime_type": "application/json", "response_json_schema": Flags.model_json_schema()}
    found = gemini.models.generate_content(model="gemini-2.5-pro", contents="think", config=config)
    assert Flags.model_validate_json(found.text)


@pytest.mark.parametrize("use", ["openai/gpt-4o-2024-08-06", "openai/o3-pro", "anthropic/claude-sonnet-4-6"])
def test_a_body_with_a_schema_has_the_clients_types(use: str) -> None:
    """What emdsl sends for `strict = true` is of the types that the clients declare for these fields."""
    model = model_of(use, {})
    shape = (ReplyField(name="harm", kind="bool"), ReplyField(name="level", kind="number", scale=(0, 5)))
    params = {"json_schema": schema_of(shape)}
    fields = merge_fields(setting_fields(model, params, format_of(model, params)))
    fields = json.loads(json.dumps(fields, default=sendable))
    types_by_field: dict[str, Any] = {
        "response_format": ResponseFormatJSONSchema, "text": ResponseTextConfigParam,
        "output_config": OutputConfigParam,
    }  # fmt: skip
    (name,) = types_by_field.keys() & fields.keys()
    assert TypeAdapter(types_by_field[name]).validate_python(fields[name]) == fields[name]


def test_models_are_listed(chat: Any, gemini: Any) -> None:
    """By OpenAI's client and by Google's."""
    listed = list(chat.models.list())
    assert {model.id for model in listed} == {"subject", "judge"}
    for model in listed:
        type(model).model_validate(model.to_dict())
    assert {model.name for model in gemini.models.list()} == {"models/subject", "models/judge"}


@pytest.mark.parametrize(
    ("asked", "kind", "status", "code", "param"),
    [
        ({"extra_body": {"topk": 1}}, openai.BadRequestError, 400, None, "topk"),
        ({"temperature": 3}, openai.BadRequestError, 400, "integer_above_max_value", "temperature"),
        ({"model": "gpt-5", "temperature": 0}, openai.BadRequestError, 400, "unsupported_value", "temperature"),
        ({"model": "gpt-5", "max_tokens": 5}, openai.BadRequestError, 400, "unsupported_parameter", "max_tokens"),
        ({"model": "gpt-5", "logprobs": True, "top_logprobs": 5}, openai.PermissionDeniedError, 403, None, None),
        ({"model": "no-such"}, openai.NotFoundError, 404, "model_not_found", None),
        ({"messages": HI + TOLD}, openai.BadRequestError, 400, None, "messages.[1].tool_call_id"),
    ],
)
def test_what_openai_refuses(
    chat: Any, asked: dict[str, Any], kind: type[Any], status: int, code: str | None, param: str | None
) -> None:
    """The client raises the class of its status, with the code and the field."""
    with pytest.raises(kind) as found:
        chat.chat.completions.create(**{"model": "gpt-4o", "messages": HI} | asked)
    told = found.value
    assert (told.status_code, told.code, told.param, told.type) == (status, code, param, "invalid_request_error")


@pytest.mark.parametrize(
    ("asked", "kind", "status", "code", "param"),
    [
        ({"extra_body": {"max_tokens": 5}}, openai.BadRequestError, 400, None, "max_tokens"),
        ({"max_output_tokens": 5}, openai.BadRequestError, 400, "integer_below_min_value", "max_output_tokens"),
        ({"model": "gpt-5", "temperature": 0}, openai.BadRequestError, 400, "unsupported_value", "temperature"),
        ({"model": "no-such"}, openai.NotFoundError, 404, "model_not_found", None),
    ],
)
def test_what_the_responses_api_refuses(
    chat: Any, asked: dict[str, Any], kind: type[Any], status: int, code: str | None, param: str | None
) -> None:
    """The same, of the other format."""
    with pytest.raises(kind) as found:
        chat.responses.create(**{"model": "gpt-4o", "input": "hi"} | asked)
    assert (found.value.status_code, found.value.code, found.value.param) == (status, code, param)


@pytest.mark.parametrize(
    ("asked", "kind", "status", "type_", "said"),
    [
        ({"extra_body": {"seed": 1}}, anthropic.BadRequestError, 400, "invalid_request_error", "seed: Extra inputs"),
        ({"extra_body": {"temperature": 1.5}}, anthropic.BadRequestError, 400, "invalid_request_error", "temperature"),
        ({"messages": HI + BEGUN}, anthropic.BadRequestError, 400, "invalid_request_error", "message prefill"),
        (
            {"thinking": THINKING | {"budget_tokens": 9}},
            anthropic.BadRequestError,
            400,
            "invalid_request_error",
            "1024",
        ),
        ({"model": "no-such"}, anthropic.NotFoundError, 404, "not_found_error", "model: no-such"),
    ],
)
def test_what_claude_refuses(
    claude: Any, asked: dict[str, Any], kind: type[Any], status: int, type_: str, said: str
) -> None:
    """The client raises the class of its status, with the type of the error."""
    with pytest.raises(kind, match=said) as found:
        claude.messages.create(**CLAUDE | asked)
    assert (found.value.status_code, found.value.type) == (status, type_)


@pytest.mark.parametrize(
    ("model", "config", "status", "said"),
    [
        ("gemini-2.5-flash", {"temperature": 2.5}, "INVALID_ARGUMENT", "temperature must be up to 2"),
        ("gemini-2.5-flash", {"http_options": {"extra_body": {"x": 1}}}, "INVALID_ARGUMENT", 'Unknown name "x"'),
        ("gemini-2.5-pro", {"thinking_config": {"thinking_budget": 0}}, "INVALID_ARGUMENT", "thinking budget 0"),
        ("gemini-2.0-flash", {"thinking_config": {"include_thoughts": True}}, "INVALID_ARGUMENT", "not enabled"),
        ("no-such", {}, "NOT_FOUND", "is not found"),
    ],
)
def test_what_gemini_refuses(gemini: Any, model: str, config: dict[str, Any], status: str, said: str) -> None:
    """The client raises its error of clients, with the status and the words."""
    with pytest.raises(errors.ClientError, match=said) as found:
        gemini.models.generate_content(model=model, contents="hi", config=config)
    assert (found.value.code, found.value.status) == (404 if status == "NOT_FOUND" else 400, status)


def test_a_wrong_key(url: str) -> None:
    """Each client raises what it has for that, and none shows the key."""

    def refused(kind: type[Exception], ask: Callable[[], Any]) -> Any:
        with pytest.raises(kind) as found:
            ask()
        assert WRONG not in str(found.value)
        return found.value

    with OpenAI(base_url=f"{url}/v1", api_key=WRONG, max_retries=0) as chat:
        found = refused(openai.AuthenticationError, lambda: chat.chat.completions.create(model="gpt-4o", messages=HI))
    assert (found.status_code, found.code) == (401, "invalid_api_key")
    with Anthropic(base_url=url, api_key=WRONG, max_retries=0) as claude:
        found = refused(anthropic.AuthenticationError, lambda: claude.messages.create(**CLAUDE))
    assert (found.status_code, found.type) == (401, "authentication_error")
    with genai.Client(api_key=WRONG, http_options=types.HttpOptions(base_url=url)) as gemini:
        found = refused(
            errors.ClientError, lambda: gemini.models.generate_content(model="gemini-2.5-flash", contents="hi")
        )
    assert (found.code, found.status) == (400, "INVALID_ARGUMENT")
    assert found.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
