"""What the wire formats share: numbers and texts of strangers, JSON, and how a reply fails to be one."""

from __future__ import annotations

import json
from decimal import Decimal
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

from emdsl.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.query import TokenLogprobs

MAX_COUNT = 2**63  # tokens: more is no count
MAX_POSITIONS = 64  # tokens whose candidates are kept


MAX_OFF = 0.01  # that a log probability may be over 0, by rounding


def as_candidates(found: Iterable[tuple[Any, Any]]) -> TokenLogprobs:
    """Return candidates of one position, likeliest first; a probability a little over 1 is 1."""
    kept = [
        (t if isinstance(t, str) else "", min(float(p), 0.0))
        for t, p in found
        if isinstance(p, int | float) and p <= MAX_OFF  # NaN is not
    ]
    return tuple(sorted(kept, key=lambda x: -x[1]))


def _as_text(value: Any) -> str | None:
    """Return a text; lone surrogates pass, which pydantic's own `str` refuses."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError("a text was expected")


def _lenient_int(value: Any) -> int | None:
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


def as_json(body: Any) -> bytes:
    """Return JSON as it is sent: numbers are exact, texts as they are."""
    text = json.dumps(body, default=_exact, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate in someone's data: JSON can say it, UTF-8 cannot
        return json.dumps(body, default=_exact, separators=(",", ":")).encode()


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)  # 0.7 is sent as 0.7: the shortest text that reads back the same
    raise TypeError(f"{type(value).__name__} in a request")


def total(*counts: int | None) -> int | None:
    """Return the sum of counts, those that were not given as nothing; None where none was."""
    known = [c for c in counts if c is not None]
    return sum(known) if known else None
