"""`strict = true`: the provider enforces the `shape`. What is sent and keyed, and what is read of the reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import InProcess, experiment, keys, outcomes, run

from emdsl.body import as_sent, format_of, merge_fields, setting_fields
from emdsl.capability import unsupported, unsupported_prompt
from emdsl.compiler.compile import model_of
from emdsl.json_schema import schema_of
from emdsl.prompt import Message, of_text
from emdsl.providers.client import FORMATS
from emdsl.query import Query, RequestSettings, Response
from emdsl.reply_format import ReplyField
from emdsl.run.budget import sent_tokens
from emdsl.run.reasons import compare, shown
from emdsl.sim.answering import Refused, respond
from emdsl.sim.formats import FORMATS as SIMULATED
from emdsl.store.store import MemoryStore
from emdsl.study.models import describe_models
from emdsl.study.project import open_project
from emdsl.value import Missing

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = 'shape = { harm: bool, level: 0..5, kind: ["a", "b"], note: text }'
FIELDS = (
    ReplyField(name="harm", kind="bool"), ReplyField(name="level", kind="number", scale=(0, 5)),
    ReplyField(name="kind", kind="label", choices=("a", "b")), ReplyField(name="note", kind="text"),
)  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "harm": {"type": "boolean"},
        "level": {"type": "number", "description": "from 0 to 5", "minimum": 0, "maximum": 5},
        "kind": {"type": "string", "enum": ("a", "b")},
        "note": {"type": "string"},
    },
    "required": ("harm", "level", "kind", "note"),
    "additionalProperties": False,
}
STUDY = """
model m {{ use = "openai/gpt-4o-2024-08-06" }}
rubric r(answer) from m {{
  {}
  user "How harmful? {{answer}}"
}}
experiment e {{
  ask own from m with "two" {{ {} }}
  judge v with r("an answer")
}}
"""
GOLDEN = [  # without and with `strict`, of both requests: pinned for the life of the scheme
    "16047f656851c29f086c7d3eca91ba6b87e8c79a22a2ff868444c71f20709038",
    "411a5aa25a365dc2392624dd56ad6d199c14a863d4039f9e7a60fa309fedd484",
    "318de4543c68cf1acbccc0ad245fccf9333e776160da0e69dbabbe125df8100f",
    "42b158014b0b3e604cbcfb09feda013e4bf5823b6b5a049db0248aacedb2763a",
]


def query(use: str, fields: tuple[ReplyField, ...] | None = FIELDS, **params: Any) -> Query:
    """Return a request with a schema, as the compiler makes it."""
    model = model_of(use, {"VLLM_BASE_URL": "http://localhost/v1"})
    given = {**dict(model.service.implied_params), **params} | ({"json_schema": schema_of(fields)} if fields else {})
    return Query(RequestSettings(model, tuple(sorted(given.items()))), of_text("How harmful?"), 0, bytes(32))


def test_a_schema_has_exactly_the_fields() -> None:
    """In their order, all required, no others: as strict modes demand."""
    assert schema_of(FIELDS) == SCHEMA
    assert list(schema_of(FIELDS)["properties"]) == ["harm", "level", "kind", "note"]


def test_a_schema_is_in_the_key_and_nothing_else_changes() -> None:
    """Without `strict`, or with `strict = false`, the keys are those of before; the order of the fields counts."""
    plain = keys(STUDY.format(SHAPE, SHAPE))
    assert keys(STUDY.format(f"{SHAPE}, strict = false", f"{SHAPE}, strict = false")) == plain
    strict = keys(STUDY.format(f"{SHAPE}, strict = true", f"{SHAPE}, strict = true"))
    moved = SHAPE.replace("harm: bool, level: 0..5", "level: 0..5, harm: bool")
    other = keys(STUDY.format(f"{moved}, strict = true", f"{moved}, strict = true"))
    assert (len(plain), len({*plain, *strict, *other})) == (2, 6)
    assert [*plain, *strict] == GOLDEN


OBJECT = '{"harm": true, "level": 2, "kind": "b", "note": "x"}'
READ = [  # a reply, and the value of `harm` or why it is missing
    (Response(text=OBJECT, finish="stop"), True),
    (Response(text=OBJECT[:30], finish="length"), "unreadable"),
    (Response(text=OBJECT.replace("2", "7"), finish="stop"), "unreadable"),  # no bounds in the schema
    (Response(text="I'm sorry, I can't help with that.", finish="stop"), "unreadable"),  # OpenAI's `refusal`
    (Response(text="refusal", finish="blocked"), "blocked"),
    (Response(text="", finish="stop"), "unreadable"),
]


class Says(InProcess):
    """A model with a fixed answer to every prompt."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self._response = response

    async def ask(self, _: Query, *__: Any) -> Response:
        return self._response


@pytest.mark.parametrize(("response", "wanted"), READ)
def test_a_reply_against_the_schema_is_missing(response: Response, wanted: bool | str) -> None:
    """A provider may still refuse, or cut the reply: the reasons are those of every reply."""
    text = STUDY.format(f"{SHAPE}, strict = true", f"{SHAPE}, strict = true")
    store = MemoryStore()
    run(text, store, Says(response))
    (row,) = outcomes(experiment(text), store)
    for name in ("v.harm", "own.harm"):
        value = row.frame[name]
        assert (value.reason if isinstance(value, Missing) else value) == wanted


SERVED = ["openai/gpt-4o-2024-08-06", "openai/o3-pro", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-pro",
          "groq/openai/gpt-oss-20b", "vllm/m"]  # fmt: skip


@pytest.mark.parametrize("use", SERVED)
def test_the_simulator_obeys_the_schema_of_each_format(use: str) -> None:
    """The body is encoded and read by the real formats, and the answer has the fields, kinds and bounds."""
    made = query(use)
    name = format_of(made.settings.model, made.params)
    served = SIMULATED[{"openai": "chat"}.get(name, name)]
    body = json.loads(FORMATS[name].encode(made))
    request = served.read(body, made.settings.model.wire_name) if name == "google" else served.read(body)
    for sample in range(20):  # some are refusals, which no schema prevents
        answer = respond(request, "", str(sample))
        response = FORMATS[name].read(served.reply(request, answer, 0, 0))
        if "I " in response.text:
            continue
        fields = json.loads(response.text)
        assert list(fields) == ["harm", "level", "kind", "note"]
        assert (type(fields["harm"]), 0 <= fields["level"] <= 5, fields["kind"] in "ab") == (bool, True, True)


BAD = [  # a format of the simulator, and the end of its body, as the provider refuses it
    ("chat", {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "strict": True, "schema": {}}}},
     "'additionalProperties' is required to be supplied and to be false"),
    ("responses", {"text": {"format": {"type": "json_schema", "name": "r", "strict": True, "schema":
     {"properties": {"a": {}}, "required": [], "additionalProperties": False}}}}, "Missing 'a'"),
    ("anthropic", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "'additionalProperties' must"),
    ("anthropic", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
     "properties maximum, minimum are not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "more", "wanted"), BAD)
def test_the_simulator_refuses_what_a_provider_refuses(name: str, more: dict[str, Any], wanted: str) -> None:
    """So that an offline run shows a schema that would be refused."""
    said = [{"role": "user", "content": "hi"}]
    start = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": said}
    body = {"model": "gpt-4o", "input": said} if name == "responses" else start
    with pytest.raises(Refused, match=wanted.replace("(", r"\(")):
        SIMULATED[name].read(body | more)


SUPPORTED = [  # models, and whether they enforce a schema
    ("openai/gpt-4o-2024-08-06", True), ("openai/gpt-4o-2024-05-13", False), ("openai/gpt-4-0613", False),
    ("openai/gpt-4.1-2025-04-14", True), ("openai/gpt-5-2025-08-07", True), ("openai/o3-pro", True),
    ("anthropic/claude-sonnet-4-5-20250929", True), ("anthropic/claude-opus-4-1-20250805", True),
    ("anthropic/claude-sonnet-4-20250514", False), ("anthropic/claude-3-haiku-20240307", False),
    ("google/gemini-2.5-flash", True), ("google/gemini-2.5-flash-image", False), ("groq/openai/gpt-oss-120b", True),
    ("groq/llama-3.3-70b-versatile", False), ("deepseek/deepseek-chat", False), ("mistral/mistral-small-2506", True),
    ("together/openai/gpt-oss-20b", True), ("openrouter/qwen/qwen3-8b", True), ("xai/grok-4-0709", True),
]  # fmt: skip


@pytest.mark.parametrize(("use", "wanted"), SUPPORTED)
def test_models_that_enforce_no_schema_are_known(use: str, wanted: bool) -> None:
    """Of those in doubt, none is refused."""
    made = query(use)
    assert any(x.param == "json_schema" for x in unsupported(made.settings.model, made.params)) is not wanted


def test_a_prefill_of_claude_goes_without_a_schema() -> None:
    """Anthropic refuses both together; others continue the object."""
    messages = (Message("user", "hi"), Message("assistant", '{"harm":'))
    made = query("anthropic/claude-sonnet-4-5-20250929")
    refused = unsupported_prompt(made.settings.model, made.params, messages)
    assert refused is not None
    assert refused.why == "Anthropic does not support a prefill with `strict = true`"
    vllm = query("vllm/m")
    assert unsupported_prompt(vllm.settings.model, vllm.params, messages) is None


def test_the_order_of_the_fields_makes_two_requests() -> None:
    """W741 warns of equal requests under two keys, and these are not: a model writes the fields in this order."""
    made = [query("vllm/m", fields) for fields in (FIELDS, FIELDS[::-1])]
    one, other = (merge_fields(setting_fields(q.settings.model, q.params, "openai")) for q in made)
    assert as_sent(one) != as_sent(other)
    assert as_sent(one) == as_sent(dict(reversed(one.items())))


def test_a_budget_reserves_the_schema() -> None:
    """Providers count it as input, with instructions of their own."""
    made = query("openai/gpt-4o-2024-08-06")
    assert sent_tokens(made) >= len(FORMATS["openai"].encode(made)) + 500


NOTED = "shape { harm: { type: boolean } } -> { harm: { type: boolean }, note: { type: string } }"
DIFFERENT = [  # fields before and after, and the difference in words
    (None, FIELDS, "strict unset -> true"),
    (FIELDS, None, "strict true -> unset"),
    (FIELDS[:1], FIELDS[::3], NOTED),
]


@pytest.mark.parametrize(("before", "after", "wanted"), DIFFERENT)
def test_a_reason_has_the_name_of_the_setting(before: Any, after: Any, wanted: str) -> None:
    """`json_schema` is a name of the request alone."""
    old, new = query("vllm/m", before), query("vllm/m", after)
    new = Query(new.settings, new.prompt, 0, b"\1" * 32)
    assert [d.text for d in compare(old, new)] == [wanted]


def test_screens_show_it(tmp_path: Path) -> None:
    """`why` shows the schema of a key in words, `models` who enforces one."""
    params = query("vllm/m", FIELDS[:2]).settings.shown_params
    assert shown(params["json_schema"]) == (
        "{ type: object, properties: { harm: { type: boolean }, level: { type: number, description: from 0 to 5, "
        "minimum: 0, maximum: 5 } }, required: [harm, level], additionalProperties: false }"
    )
    models = [model_of(use, {}) for use, _ in SUPPORTED]
    entries = describe_models(open_project(tmp_path), models)
    assert [e["strict"] for e in entries] == [wanted for _, wanted in SUPPORTED]
