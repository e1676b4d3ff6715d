"""The causes of server errors, by code, message and status. Each entry was looked up, none is guessed."""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers.error_body import ErrorBody, read_error_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OK = 200
MAX_SHOWN = 500  # characters of a server's message
MAX_SEARCHED = 600  # characters of a message that are searched: a quoted prompt comes later
_QUOTED = re.compile(  # quoted text may be part of the request; a quote between letters is an apostrophe
    r"(?<!\w)(?:\"[^\"\n]+\"|'[^'\n]+'|`[^`\n]+`)(?!\w)|\u201c[^\u201d]+\u201d|\u300c[^\u300d]+\u300d"
    r"|\"[^\"]{40,}\"|'[^']{40,}'|`[^`]{40,}`"
)


class Cause(enum.Enum):
    """Why a request was not answered; `error_of` turns it into an error."""

    POLICY = "content policy"  # an answer with the finish `blocked`
    CREDIT = "out of credit"  # this cause and the next four fail every request to the model
    DAY = "out of quota"
    ACCESS = "no access"
    MODEL = "no such model"
    ADDRESS = "wrong address"
    CONTEXT = "too long"  # fails this request only
    REQUEST = "bad request"
    RATE = "rate limit"  # temporary, as the next
    BUSY = "unavailable"


_FOR_ALL = (Cause.CREDIT, Cause.DAY, Cause.ACCESS, Cause.MODEL, Cause.ADDRESS)


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


_POLICY_CODES = _any(
    "content_filter", "content_policy_violation", "contentpolicyviolation", "moderation_blocked", "invalid_prompt",
    "bio_policy", "cyber_policy", "misalignment_policy_violation", "responsibleaipolicyviolation",
    "data_?inspection_?failed", "(?:input|output)?(?:text)?sensitivecontentdetected", "sensitive_words_detected",
    "contentfilter", "content_filtered", "content_blocked", "content_moderation", "guardrail_intervened",
    "guardrails_violation", "hooks_failed", "(?:in|out)put_guardrail_triggered", "prompt_blocked",
    "prohibited_content", "censorship_blocked", "unsafe_content", "1301", "1026", "1027",
)  # fmt: skip
_POLICY = re.compile(  # at the beginning of the message: a quoted prompt comes later
    r"^(?:(?:litellm\.\w+|\w+(?:Error|Exception)|<\d+>)[:\s]+)*(?:"
    r"(?:litellm\.)?ContentPolicyViolationError|InternalError\.Algo\.DataInspectionFailed"
    r"|(?:the )?(?:in|out)put (?:data |text )?(?:is |was )?blocked by content filter"
    r"|(?:in|out)put (?:data|text)(?: \w+)? (?:may|might) contain (?:inappropriate|sensitive)"
    r"|(?:in|out)put (?:new_)?sensitive|content exists risk|content violates usage guidelines"
    r"|content_filter: |output blocked by content filtering|(?:the|this|your) (?:response|request|prompt)"
    r"(?: was| has been)? (?:filtered due to|blocked by (?:our )?content|rejected (?:as a result of|by) (?:our|the)"
    r" safety|rejected because it was considered high risk)|(?:request )?failed content safety"
    r"|(?:prompt|response) blocked due to|blocked output|blocked: prompt"
    r"|violat(?:ed|ion of) (?:our )?(?:guardrail|content|usage) polic"
    r"|[^\"'{\n]{0,200}SAFETY_CHECK_TYPE_)",
    re.IGNORECASE,
)
_FLAGGED_STATUSES = (400, 403)  # of a moderation that reports what it flagged
_NEVER_POLICY = (401, 402, 404, 429)

# Patterns of codes and of messages. The first that matches is the cause.
_BAD_REQUEST = _any(
    r"^request too large",
    r"^extra usage is required",
    r"\bjinja\b",
    r"^no endpoints found that",
    r"^logprobs is not supported",
)
_CAUSES: tuple[tuple[Cause, re.Pattern[str] | None, re.Pattern[str] | None], ...] = (
    (Cause.REQUEST, None, _BAD_REQUEST),
    (Cause.RATE, None, _any(r"^allocated quota exceeded")),
    (
        Cause.CREDIT,
        _any(
            r"insufficient_(?:user_)?quota", r"insufficient_credits", r"creditserror", r"1113", r"arrearage",
            r"billing_(?:not_active|hard_limit_reached|error)", r"credit_balance_\w+", r"\w*spend_limit\w*",
            r"organization_usage_limit_exceeded", r"budget_exceeded", r"billing_disabled", r"blocked_api_access",
            r"not_enough_balance", r"[\w-]*:spending-limit",
            r"accountoverdueerror", r"allocationquota\.freetieronly", r"\w*enforced_spend\w*",
        ),
        _any(  # never "billing" alone: rate limit errors link to that page
            r"credit balance is too low", r"(?:insufficient|not enough) (?:account )?balance",
            r"budget has been exceeded", r"balance is insufficient",
            r"(?:insufficient|out of|any|all available) credits", r"monthly (?:api )?(?:spending|usage)",
            r"specified (?:workspace )?api usage limits", r"reached your api usage limits", r"overdue balance",
            r"account .{0,60}is suspended", r"key limit exceeded", r"free tier of the model has been exhausted",
            r"in good standing", r"reached the set inference limit", "欠费", "余额不足", "额度不足",
        ),
    ),
    (
        Cause.DAY,
        _any(r"1304", r"1308", r"1309", r"1310", r"2056"),
        _any(
            r"free-models-per-day", r"\bper day\b", r"daily (?:request|free|usage|quota)",
            r"(?:weekly|monthly|daily|\d+-hour) usage (?:limit|quota)", r"\b[rt]pd\b", r"api calls / month",
            r"^usage limit reached for \d+ hour", r"limit: 0\b",
            r"^limit exceeded$", "今日调用次数",
        ),
    ),
    (
        Cause.ACCESS,
        _any(
            r"invalid_api_key", r"api_key_invalid", r"unsupported_country_region_territory", r"expiredtokenexception",
            r"accessdeniedexception", r"accessdenied\.unpurchased", r"consumer_suspended", r"organization_restricted",
            r"no_access", r"unrecognizedclientexception", r"service_disabled", r"access_terminated_error",
        ),
        _any(
            r"^incorrect api key", r"^invalid (?:x-)?api[ -]key", r"api key (?:not valid|expired)", r"^login fail",
            r"key was reported as leaked", r"does not exist or you do not have access", r"^authentication error",
            r"^unauthori[sz]ed", r"access token (?:is )?invalid", r"security token .{0,60}(?:expired|invalid)",
            r"^forbidden$",
            r"^missing authentication token", r"^request not allowed", r"organi[sz]ation has been disabled",
            r"api key does not have permission", r"user location is not supported", r"has not been used in project",
            r"not available in your (?:region|country)", r"^access to model denied", r"access to the model with",
            r"is not allowed to use publisher model", r"^please configure ai gateway", r"api version not supported",
        ),
    ),
    (
        Cause.MODEL,
        _any(
            r"model_not_found", r"unknown_model", r"5028", r"unsupported_api_for_model", r"resource_does_not_exist",
            r"invalid_model", r"model_not_(?:available|supported)", r"model_decommissioned",
            r"model_terms_required", r"model_permission_blocked_\w+", r"modelnotopen", r"modeldeprecated",
            r"deploymentnotfound", r"operationnotsupported", r"1211", r"not_found_error",
        ),
        _any(
            r"^(?:the )?(?:requested )?model .{0,120}(?:does not exist|not found|no longer|not supported by any)",
            r"^model (?:does )?not (?:exist|found)", r"^no such model", r"^unknown model",
            r"not accessible via the /", r"^endpoint .{0,80}not found", r"is not a valid model id", "模型不存在",
            r"^no endpoints found (?:for [\w./:-]+\.?$|matching your)", r"invalid model name passed",
            r"not a chat model", r"model identifier is invalid", r"with on-demand throughput", r"^failed to load model",
            r"requires more system memory", r"has been decommissioned", r"reached (?:its|the) end of (?:its )?life",
            r"has been retired", r"does not support (?:completions|chat|generate)\b", r"non-serverless model",
            r"^no models (?:are currently )?loaded",
        ),
    ),
    (
        Cause.ADDRESS, None,
        _any(r"^unexpected endpoint or method", r"^invalid url \(", r"^(?:method )?not (?:found|allowed)$"),
    ),
    (
        Cause.CONTEXT,
        _any(r"context_length\w*", r"exceed_context_size_error", r"string_above_max_length", r"1261"),
        _any(
            r"^prompt is too long", r"maximum context length", r"context (?:window|size|length)", r"input token count",
            r"context the overflows", r"^input is too large to process", r"maximum allowed input length",
            r"^prompt超长",
        ),
    ),
    (
        Cause.RATE,
        _any(
            r"rate_limit\w*", r"ratelimit\w*", r"throttling\w*", r"too_?many_?requests\w*", r"requestlimitexceeded",
            r"secondary_rate_limit", r"1300", r"1302", r"1303", r"1305", r"userratelimitexceeded",
        ),
        _any(r"rate[ -]?limit", r"^too many requests", r"^rate exceeded", r"qps request limit", "并发数", r"throttl"),
    ),
    (
        Cause.BUSY,
        _any(
            r"overloaded\w*", r"server_error", r"internal_\w*error", r"service_?unavailable\w*",
            r"internalservererror",
        ),
        _any(
            r"\boverloaded\b", r"degraded function", r"\bcapacity\b", r"\bbusy\b", r"try again later",
            r"^model unloaded",
            r"model has crashed", r"temporarily unavailable",
        ),
    ),
    (
        Cause.REQUEST,
        _any(r"invalid_request\w*", r"extra_forbidden", r"invalid_argument", r"2013", r"1042", r"badrequesterror"),
        _any(r"not permitted", r"^invalid params"),
    ),
    (Cause.ACCESS, _any(r"authentication\w*", r"1004", r"2049", r"unauthenticated"), None),
)  # fmt: skip
_FORBIDDEN = _any(  # a 403 about the key, not about this request
    r"\bpermissions?\b", r"not (?:authori[sz]ed|allowed to access)", r"unauthori[sz]ed", r"no access\b",
    r"invalid .{0,20}(?:token|key)\b", r"missing api token", r"^authorization failed", r"suspended", r"\bis gated\b",
    r"virtual network", "无权", "封禁", "锁定",
)  # fmt: skip
_BY_STATUS = {  # if neither code nor message matches
    401: Cause.ACCESS, 402: Cause.CREDIT, 404: Cause.REQUEST, 405: Cause.ADDRESS, 407: Cause.ACCESS, 408: Cause.BUSY,
    409: Cause.BUSY, 410: Cause.MODEL, 412: Cause.ACCESS, 415: Cause.ADDRESS, 424: Cause.BUSY, 425: Cause.BUSY,
    429: Cause.RATE, 451: Cause.ACCESS, 498: Cause.BUSY, 499: Cause.BUSY,
}  # fmt: skip
_STATUS_OF = {  # the status that an error in a reply of status 200 should have had
    Cause.CREDIT: 402, Cause.DAY: 429, Cause.ACCESS: 401, Cause.MODEL: 404, Cause.ADDRESS: 404, Cause.CONTEXT: 400,
    Cause.REQUEST: 400, Cause.RATE: 429, Cause.BUSY: 503,
}  # fmt: skip
# Causes that a status excludes whatever the message: a 429 is never a bad request.
_EXCLUDED = {
    400: (Cause.ADDRESS,),
    401: (Cause.REQUEST,),
    403: (Cause.BUSY, Cause.REQUEST),
    429: (Cause.MODEL, Cause.ADDRESS, Cause.CONTEXT, Cause.BUSY),
}


class Blocked(Exception):
    """The provider's content policy refused the request; `reason` is its message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def error_of(
    status: int, headers: Mapping[str, str], text: str, mask: Callable[[str], str], *, within: bool = False
) -> ProviderError | Blocked:
    """Return the error to raise for a reply without an answer; `mask` removes API keys from its message.

    `within`: the error came in a reply of status 200, so the request may have been charged.
    Quoted parts of the request never decide: a prompt may mention credit or policies.
    """
    body = read_error_body(text, headers)
    if within:
        status = _status_within(body)
    cause = _cause(status, body)
    message = f"{status} {short(mask(body.message))}".strip()
    if 300 <= status < 400:
        where = "host" if urlsplit(headers.get("Location", "")).hostname else "path"
        message = f"{status} the server redirects to another {where}, and keys are never sent there: correct the `url`"
        return Rejected(message, status=status, for_all=True)
    match cause:
        case Cause.POLICY:
            return Blocked(short(mask(body.message)))
        case Cause.CREDIT | Cause.DAY:
            return Rejected(f"{cause.value}: {message}{_quota_reset(cause, body)}", status=status, for_all=True)
        case Cause.RATE:
            return Throttled(message, status=status, wait_s=body.wait_s)
        case Cause.BUSY:
            return Unavailable(message, status=OK if within else status, wait_s=body.wait_s)
        case Cause.REQUEST if body.message.casefold().startswith("no endpoints found"):
            return Rejected(
                f"{message} (perhaps no provider of this model supports one of the parameters)", status=status
            )
        case Cause.ADDRESS:
            message += ": check the `url`, most end in `/v1`"
    return Rejected(message, status=status, for_all=cause in _FOR_ALL)


def _quota_reset(cause: Cause, body: ErrorBody) -> str:
    """Return when a daily quota resets, if that is known."""
    if cause is Cause.DAY and '"quotaId"' in body.text:
        return " (Gemini's daily quotas reset at midnight Pacific time)"
    return ""


def _cause(status: int, body: ErrorBody) -> Cause:
    """Return why a request was not answered: by code and message, else by status."""
    if _is_policy(status, body) or (body.flagged and status in _FLAGGED_STATUSES):
        return Cause.POLICY
    if status == 429 and '"quotaId"' in body.text and "PerDay" in body.text:
        return Cause.DAY
    cause = _match(body)
    if cause is Cause.DAY and body.wait_s:  # a sliding window, which frees quota after that wait
        return Cause.RATE
    implausible = cause is Cause.REQUEST and (status == 429 or status >= 500) and not _BAD_REQUEST.search(body.message)
    if cause is not None and cause not in _EXCLUDED.get(status, ()) and not implausible:
        return cause
    if status == 403 and _FORBIDDEN.search(_unquoted(body)):
        return Cause.ACCESS
    if status == 404 and not any(c for c in body.codes if not c.isdecimal()):
        return Cause.ADDRESS
    if status == 404 and any("notfound" in c.lower().replace("_", "") for c in body.codes):
        return Cause.MODEL
    return _BY_STATUS.get(status, Cause.BUSY if status >= 500 else Cause.REQUEST)


def _unquoted(body: ErrorBody) -> str:
    """Return the beginning of a message without its quotes."""
    return _QUOTED.sub("...", body.message[:MAX_SEARCHED]).strip()


def _match(body: ErrorBody) -> Cause | None:
    message = _unquoted(body)
    for cause, codes, words in _CAUSES:
        if codes is not None and any(codes.fullmatch(c) for c in body.codes):
            return cause
        if words is not None and words.search(message):
            return cause
    return None


def _status_within(body: ErrorBody) -> int:
    """Return the status that an error in a reply of status 200 should have had; 502 if unknown."""
    if _is_policy(400, body) or body.flagged:
        return 400
    code = next((int(c) for c in body.codes if c.isdecimal() and 400 <= int(c) < 600), 0)
    if code:
        return code
    cause = _match(body)
    return _STATUS_OF[cause] if cause is not None else 502


def _is_policy(status: int, body: ErrorBody) -> bool:
    """Whether a content policy refused the request: by a code, or by the beginning of the message."""
    if status in _NEVER_POLICY:
        return False
    by_code = any(_POLICY_CODES.fullmatch(c.partition(".")[0]) for c in body.codes)
    return by_code or bool(_POLICY.match(body.message))


def error_in_200(error: Any, headers: Mapping[str, str], mask: Callable[[str], str]) -> ProviderError | Blocked:
    """Return the error to raise for an error in a reply of status 200."""
    return error_of(OK, headers, json.dumps({"error": error}, default=str), mask, within=True)


def short(text: str) -> str:
    """Return a text on one line, cut to MAX_SHOWN characters."""
    text = " ".join(text.split())
    return text[:MAX_SHOWN] + (" ..." if len(text) > MAX_SHOWN else "")
