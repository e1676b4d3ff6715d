"""Lines of batch results in OpenAI's format, as OpenAI, Together, `vllm run-batch` and SGLang write them."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

from emdsl.body import RESPONSES
from emdsl.errors import ProviderError
from emdsl.providers.batches import BATCH_CODES, Line
from emdsl.providers.client import FORMATS, masked
from emdsl.providers.http_errors import OK, Blocked, error_of
from emdsl.providers.wire import plain_json
from emdsl.query import Response
from emdsl.service import OPENAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.redact import Redactor

MIN_TIME, MAX_AHEAD_S = 1.5e9, 86_400.0  # some servers send the time since they were started as `created`


def parse_line(line: bytes) -> Any:
    """Return the value of one line; raises ValueError or RecursionError for a text that is not JSON."""
    value = plain_json(line)
    return value if value is not None else json.loads(line)


def read_line(entry: Mapping[str, Any], redactor: Redactor) -> Line:
    """Return one result as an answer, an error as for a request sent alone, or why it was left out.

    Args:
        entry: with a `custom_id`, and `response` or `error`.
        redactor: removes API keys from answers and messages.
    """
    custom_id = entry["custom_id"]
    response, error = entry.get("response"), entry.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code in BATCH_CODES:
        return Line(custom_id, left=BATCH_CODES[code])
    body, status = _body_of(response)
    try:
        if status == OK and _is_reply(body):
            return Line(custom_id, response=masked(_read(body, entry), redactor))
        text = _text_of(error or body or response)
        raised = error_of(status, {}, text, redactor.mask, within=status == OK)
    except Blocked as blocked:
        raised = blocked
    except ProviderError as unreadable:
        unreadable.args = (redactor.mask(str(unreadable)),)
        return Line(custom_id, error=unreadable)
    if isinstance(raised, Blocked):  # an answer, as online
        return Line(custom_id, response=_blocked(raised, redactor))
    return Line(custom_id, error=raised)


def _body_of(response: Any) -> tuple[Any, int]:
    """Return the body of a reply and its status; the first versions of vLLM wrote the body alone."""
    if not isinstance(response, dict):
        return None, OK
    if _is_reply(response):
        return response, OK
    status = response.get("status_code")
    return response.get("body"), status if type(status) is int and status else OK


def _is_reply(body: Any) -> bool:
    return isinstance(body, dict) and ("choices" in body or "output" in body)


def _text_of(error: Any) -> str:
    """Return an error as the text of a body; vLLM writes a text, an object, or an object within `error`."""
    body = error if isinstance(error, dict) and "error" in error else {"error": error or "no answer and no error"}
    return json.dumps(body, default=str)


def _read(body: dict[str, Any], entry: Mapping[str, Any]) -> Response:
    """Read the body of a reply, with its time, its id and its batch; raises ProviderError or Blocked."""
    if "choices" not in body:
        response = FORMATS[RESPONSES].read(body)
    else:
        choices = body["choices"]
        single = isinstance(choices, dict)  # SGLang's
        response = FORMATS[OPENAI].read(body | {"choices": [choices]} if single else body)
    whole, batch = entry["response"], entry.get("batch_id")
    request_id = whole.get("request_id")
    return dataclasses.replace(
        response,
        request_id=request_id if isinstance(request_id, str) and request_id else response.request_id,
        answered_at=_time_of(body),
        batch=batch if isinstance(batch, str) and batch else None,
    )


def _blocked(blocked: Blocked, redactor: Redactor) -> Response:
    return Response(text=redactor.mask(blocked.reason), finish="blocked", answered_at=time.time())


def _time_of(body: Mapping[str, Any]) -> float:
    """Return when an answer was made in seconds since 1970: as its server reports it, else the time of now."""
    now, created = time.time(), body.get("created", body.get("created_at"))
    plausible = isinstance(created, int | float) and MIN_TIME < created < now + MAX_AHEAD_S
    return float(created) if plausible else now
