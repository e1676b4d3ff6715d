"""What the wire formats share: numbers and texts of strangers, JSON, and how a reply fails to be one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from emdsl.body import Met, joined, sendable, settings
from emdsl.errors import Rejected, Unavailable
from emdsl.logprobs import start_of
from emdsl.query import Response
from emdsl.reasoning import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from emdsl.logprobs import TokenLogprobs
    from emdsl.query import Query

MAX_COUNT = 2**63  # tokens: more is no count
MAX_POSITIONS = 64  # tokens whose candidates are kept


_FINISHES = {  # by meaning; in lower case, blanks and dashes as `_`
    "stop": "stop eos eos_token end_turn end_of_turn stop_sequence stop_token complete completed finished end done",
    "length": "length max_length max_tokens max_output_tokens max_completion_tokens max_new_tokens model_length "
    "token_limit model_context_window_exceeded context_length_exceeded truncated",
    "blocked": "content_filter content_filtered content_policy safety recitation blocklist prohibited_content spii "
    "model_armor image_safety image_prohibited_content image_recitation refusal sensitive guardrail_intervened "
    "guardrails moderation jailbreak",
    "tool": "tool_calls tool_call tool_use function_call",
    # the model, or who serves it, failed half-way
    "broken": "error abort aborted cancelled canceled failed timeout insufficient_system_resource network_error "
    "pause_turn malformed_response",
}
_OF_POLICY = re.compile(r"content_filter|guardrail|safety|prohibited|sensitive|moderation|block_?list|blacklist")
_OF_LENGTH = re.compile(r"length|max_\w*(?:token|output)|token_?limit")
_OF_FAULT = re.compile(
    r"error|fail|interrupt|preempt|cancel|abort|overload|time_?(?:out|limit)|unavailable|killed|dropped"
)
_BY_FINISH = {word: meaning for meaning, words in _FINISHES.items() for word in words.split()}
MAX_OFF = 0.01  # that a log probability may be over 0, by rounding


def as_candidates(found: Iterable[tuple[Any, Any]]) -> TokenLogprobs:
    """Return candidates of one position, likeliest first; a probability a little over 1 is 1."""
    kept = [
        (t if isinstance(t, str) else "", min(float(p), 0.0))
        for t, p in found
        if isinstance(p, int | float) and p <= MAX_OFF  # NaN is not
    ]
    return tuple(sorted(kept, key=lambda x: -x[1]))


def finish_of(said: Any) -> str | None:
    """Return what a reason to finish means: stop, length, blocked, tool, other, or broken; None where none was said."""
    said = said.get("type") if isinstance(said, dict) else said  # SGLang's own
    if not isinstance(said, str) or not said.strip():
        return None
    word = said.partition(":")[0].strip().casefold().replace("-", "_").replace(" ", "_")
    if word in _BY_FINISH:
        return _BY_FINISH[word]
    kinds = (("blocked", _OF_POLICY), ("broken", _OF_FAULT), ("length", _OF_LENGTH))  # names of servers not seen yet
    return next((meaning for meaning, pattern in kinds if pattern.search(word)), "other")


def whole(finish: str | None, *parts: object) -> str:
    """Return the finish of a reply with these parts; raises Unavailable for an abort that is no answer.

    A reply without any part is an answer only where its model ended it, or was cut: what ends otherwise is tried again.
    """
    said = any(parts)
    if finish == "broken":
        raise Unavailable("the reply ends with an error", status=200)
    if finish is None and not said:
        raise Unavailable("the reply is empty, and says no reason", status=200)
    if finish == "other" and not said:
        raise Unavailable("the reply is empty, and ends with an unusual reason", status=200)
    return finish or "stop"


def _as_text(value: Any) -> str | None:
    """Return a text; lone surrogates pass, which pydantic's own `str` refuses."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError("a text was expected")


def token_text(token: str | None, its_bytes: Any) -> str:
    """Return a token as text: by its bytes where a server gives them, whatever it writes for the token."""
    if isinstance(its_bytes, list) and its_bytes and all(type(b) is int and 0 <= b < 256 for b in its_bytes):
        try:
            return bytes(its_bytes).decode()
        except UnicodeDecodeError:  # a part of a character
            pass
    return token or ""


def kept_positions(
    text: str, reasoning: str | None, positions: Sequence[TokenLogprobs], chosen: Sequence[str] | None
) -> dict[str, Any]:
    """Return the fields of a response that hold candidates: of a long reply, those from where its answer begins."""
    start = 0
    if len(positions) > MAX_POSITIONS:
        answer, _ = split(Response(text=text, finish="stop", reasoning=reasoning))
        start = start_of(answer, positions, chosen) or 0
    return {
        "logprobs": tuple(positions[start : start + MAX_POSITIONS]) or None,
        "tokens": tuple(chosen[start : start + MAX_POSITIONS]) if chosen and positions else None,
    }


def _lenient_int(value: Any) -> int | None:
    value = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_COUNT:
        return None
    return int(value)


def _or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


Text = Annotated[str | None, PlainValidator(_as_text)]
Said = Annotated[str | None, PlainValidator(lambda v: v if isinstance(v, str) else None)]  # not worth losing an answer
Lenient = WrapValidator(_or_none)  # the same of a part: what was paid for is read as far as it can be
Count = Annotated[int | None, BeforeValidator(_lenient_int)]


class Wire(BaseModel):
    """A part of a reply; what is not known of it is ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


Found = TypeVar("Found", bound=Wire)


def parse(kind: type[Found], reply: Mapping[str, Any]) -> Found:
    """Return a reply as typed; raises Unavailable for one that is not of the format."""
    try:
        return kind.model_validate(reply)
    except (TypeError, OverflowError) as error:
        raise Unavailable(f"the reply is not of the format: {error}", status=200) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unavailable(f"the reply is not of the format: `{where}`: {first['msg']}", status=200) from None


def fields(query: Query, format_: str) -> dict[str, Any]:
    """Return the fields of a body that the settings make; raises Rejected where two settings are one field."""
    head = query.head
    prefilled = query.prompt.messages[-1].role == "assistant"
    try:
        return joined(settings(head.model, query.params, format_, sample=query.sample, prefilled=prefilled))
    except Met as met:
        raise Rejected(f"not sent: {met}") from None


def as_json(body: Any) -> bytes:
    """Return JSON as it is sent: numbers are exact, texts as they are."""
    text = json.dumps(body, default=sendable, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate in someone's data: JSON can say it, UTF-8 cannot
        return json.dumps(body, default=sendable, separators=(",", ":")).encode()


def total(*counts: int | None) -> int | None:
    """Return the sum of counts, those that were not given as nothing; None where none was."""
    known = [c for c in counts if c is not None]
    return sum(known) if known else None
