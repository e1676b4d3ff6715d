"""What the wire formats share: lenient types, JSON, and the checks of a reply."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, PlainValidator, ValidationError
from pydantic_core import CoreSchema, core_schema

from emdsl.body import FieldConflict, merge_fields, sendable, setting_fields
from emdsl.errors import Rejected, Unavailable
from emdsl.logprobs import start_of
from emdsl.query import Response
from emdsl.reasoning import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from emdsl.logprobs import TokenLogprobs
    from emdsl.query import Query

MAX_COUNT = 2**63  # tokens; a larger number is not a count
MAX_POSITIONS = 64  # tokens whose candidates are kept


_FINISHES = {  # finish reasons of servers, by meaning; in lower case, with `_` for blanks and dashes
    "stop": "stop eos eos_token end_turn end_of_turn stop_sequence stop_token complete completed finished end done",
    "length": "length max_length max_tokens max_output_tokens max_completion_tokens max_new_tokens model_length "
    "token_limit model_context_window_exceeded context_length_exceeded truncated",
    "blocked": "content_filter content_filtered content_policy safety recitation blocklist prohibited_content spii "
    "model_armor image_safety image_prohibited_content image_recitation refusal sensitive guardrail_intervened "
    "guardrails moderation jailbreak",
    "tool": "tool_calls tool_call tool_use function_call",
    # the model or its server failed half-way
    "broken": "error abort aborted cancelled canceled failed timeout insufficient_system_resource network_error "
    "pause_turn malformed_response",
}
_OF_POLICY = re.compile(r"content_filter|guardrail|safety|prohibited|sensitive|moderation|block_?list|blacklist")
_OF_LENGTH = re.compile(r"length|max_\w*(?:token|output)|token_?limit")
_OF_FAULT = re.compile(
    r"error|fail|interrupt|preempt|cancel|abort|overload|time_?(?:out|limit)|unavailable|killed|dropped"
)
_BY_FINISH = {word: meaning for meaning, words in _FINISHES.items() for word in words.split()}
MAX_ABOVE_0 = 0.01  # of a log probability, by rounding


def as_candidates(pairs: Iterable[tuple[Any, Any]]) -> TokenLogprobs:
    """Return the candidates of one position, likeliest first; a probability slightly above 1 counts as 1."""
    candidates = [
        (t if isinstance(t, str) else "", min(float(p), 0.0))
        for t, p in pairs
        if isinstance(p, int | float) and p <= MAX_ABOVE_0  # false for NaN
    ]
    return tuple(sorted(candidates, key=lambda x: -x[1]))


def finish_of(reason: Any) -> str | None:
    """Map a server's finish reason to stop, length, blocked, tool, other or broken; None without a reason."""
    if reason == "stop":  # as nearly all are
        return "stop"
    reason = reason.get("type") if isinstance(reason, dict) else reason  # SGLang's
    if not isinstance(reason, str) or not reason.strip():
        return None
    word = reason.partition(":")[0].strip().casefold().replace("-", "_").replace(" ", "_")
    if word in _BY_FINISH:
        return _BY_FINISH[word]
    patterns = (("blocked", _OF_POLICY), ("broken", _OF_FAULT), ("length", _OF_LENGTH))  # of reasons not in the table
    return next((meaning for meaning, pattern in patterns if pattern.search(word)), "other")


def checked_finish(finish: str | None, *parts: object) -> str:
    """Return the finish of a reply with these parts; raises Unavailable for an aborted reply.

    An empty reply is an answer only if the model stopped or was cut; any other empty reply is requested again.
    """
    empty = not any(parts)
    if finish == "broken":
        raise Unavailable("the reply ends with an error", status=200)
    if finish is None and empty:
        raise Unavailable("the reply is empty and has no finish reason", status=200)
    if finish == "other" and empty:
        raise Unavailable("the reply is empty and has an unknown finish reason", status=200)
    return finish or "stop"


def blocked(reason: str) -> Response:
    """Return the answer to a request that the provider's content policy refused."""
    return Response(text=reason, finish="blocked")


def _as_text(value: Any) -> str | None:
    """Return a text, lone surrogates included: pydantic's own `str` refuses them."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError("not a text")


def token_text(token: str | None, its_bytes: Any) -> str:
    """Return a token as text, from its bytes if the server sends them."""
    if isinstance(its_bytes, list) and its_bytes and all(type(b) is int and 0 <= b < 256 for b in its_bytes):
        try:
            return bytes(its_bytes).decode()
        except UnicodeDecodeError:  # part of a character
            pass
    return token or ""


def logprob_fields(
    text: str, reasoning: str | None, positions: Sequence[TokenLogprobs], chosen: Sequence[str] | None
) -> dict[str, Any]:
    """Return the fields of a response that hold candidates: of a long reply, only from the start of the answer."""
    start = 0
    if len(positions) > MAX_POSITIONS:
        answer, _ = split(Response(text=text, finish="stop", reasoning=reasoning))
        start = start_of(answer, positions, chosen) or 0
    return {
        "logprobs": tuple(positions[start : start + MAX_POSITIONS]) or None,
        "tokens": tuple(chosen[start : start + MAX_POSITIONS]) if chosen and positions else None,
    }


class _Lenient:
    """Marks a field whose value is None if it has the wrong type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


class _Count:
    """Marks a field with a number of tokens; one as every server writes it is read without a call of Python."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        plain = core_schema.int_schema(strict=True, ge=0, lt=MAX_COUNT)
        other = core_schema.no_info_plain_validator_function(_lenient_int)
        return core_schema.union_schema([plain, other], mode="left_to_right")


def _lenient_int(value: Any) -> int | None:
    value = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


Text = Annotated[str | None, PlainValidator(_as_text)]
# A wrong type is read as None: a paid answer is not lost over a minor field.
LenientText = Annotated[str | None, PlainValidator(lambda v: v if isinstance(v, str) else None)]
Count = Annotated[int | None, _Count()]
Lenient = _Lenient()


class Wire(BaseModel):
    """A part of a reply; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


Part = TypeVar("Part", bound=Wire)


def parse(kind: type[Part], reply: Mapping[str, Any]) -> Part:
    """Return a reply as a typed value; raises Unavailable for one that is not of the format."""
    try:
        return kind.model_validate(reply)
    except (TypeError, OverflowError) as error:
        raise Unavailable(f"the reply has an unexpected format: {error}", status=200) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unavailable(f"the reply has an unexpected format: `{where}`: {first['msg']}", status=200) from None


def body_fields(query: Query, format_: str) -> dict[str, Any]:
    """Return a query's settings as fields of the body; raises Rejected if two settings need the same field."""
    head = query.settings
    prefilled = query.prompt.messages[-1].role == "assistant"
    try:
        return merge_fields(setting_fields(head.model, query.params, format_, sample=query.sample, prefilled=prefilled))
    except FieldConflict as conflict:
        raise Rejected(f"not sent: {conflict}") from None


_encoder = json.JSONEncoder(default=sendable, ensure_ascii=False, separators=(",", ":"))


def as_json(body: Any) -> bytes:
    """Encode a body as JSON: numbers are exact, texts unescaped where possible."""
    try:
        return _encoder.encode(body).encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can escape it, UTF-8 has no bytes for it
        return json.dumps(body, default=sendable, separators=(",", ":")).encode()


def plain_json(content: bytes) -> Any:
    """Return a value from JSON in plain UTF-8, as nearly every server sends; None for any other text."""
    try:
        return pydantic_core.from_json(content)
    except ValueError:
        return None


def sum_counts(*counts: int | None) -> int | None:
    """Add up the counts that are not None; None if all are."""
    given = [c for c in counts if c is not None]
    return sum(given) if given else None
