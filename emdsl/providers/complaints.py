"""What a server's complaint means: by its status, its code and its own words. Looked up, not guessed, one by one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers.limits import retry_after, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

OK = 200
MAX_SHOWN = 500  # characters of a server's complaint
MAX_READ = 10_000  # characters of it that are searched for how long to wait
_AGAIN = (408, 409, 425, 498, 499)  # besides 5xx: conditions that pass
_CREDIT_CODES = re.compile(
    r"insufficient_quota|insufficient_credits|billing_(?:not_active|hard_limit_reached|error)|credit_balance_\w+"
    r"|\w*spend_limit\w*|organization_usage_limit_exceeded|budget_exceeded|[\w-]*:spending-limit",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(  # never "billing" alone: rate limits advertise that page
    r"credit balance is too low|insufficient balance|used all available credits|monthly spending limit"
    r"|have any credits|specified api usage limits|free-models-per-day",
    re.IGNORECASE,
)
_NO_ACCESS = re.compile(
    r"^incorrect api key|^invalid api key|api key not valid|key was reported as leaked|model_not_found"
    r"|^model not exist|does not exist or you do not have access",
    re.IGNORECASE,
)
_ACCESS_CODES = frozenset(
    ("invalid_api_key", "API_KEY_INVALID", "model_not_found", "invalid_model", "unsupported_country_region_territory")
)
_POLICY_CODES = frozenset(  # in lower case; of a code with a dot, what stands before it
    ("content_filter", "content_policy_violation", "contentpolicyviolation", "moderation_blocked", "invalid_prompt",
     "bio_policy", "cyber_policy", "misalignment_policy_violation", "responsibleaipolicyviolation",
     "data_inspection_failed", "datainspectionfailed", "sensitivecontentdetected", "sensitive_words_detected",
     "inputtextsensitivecontentdetected", "outputtextsensitivecontentdetected", "contentfilter", "content_filtered",
     "content_blocked", "content_moderation", "guardrail_intervened", "guardrails_violation", "hooks_failed",
     "input_guardrail_triggered", "output_guardrail_triggered", "prompt_blocked", "prohibited_content",
     "censorship_blocked", "unsafe_content", "1301", "1026", "1027")
)  # fmt: skip
_POLICY = re.compile(  # at the beginning of what the server says: a prompt that it quotes comes later
    r"^(?:(?:litellm\.\w+|\w+(?:Error|Exception)|<\d+>)[:\s]+)*(?:"
    r"(?:litellm\.)?ContentPolicyViolationError|InternalError\.Algo\.DataInspectionFailed"
    r"|(?:the )?(?:in|out)put (?:data |text )?(?:is |was )?blocked by content filter"
    r"|(?:in|out)put (?:data|text)(?: \w+)? (?:may|might) contain (?:inappropriate|sensitive)"
    r"|(?:in|out)put (?:new_)?sensitive|content exists risk|content violates usage guidelines"
    r"|output blocked by content filtering|(?:the|this|your) (?:response|request|prompt)(?: was| has been)? "
    r"(?:filtered due to|blocked by (?:our )?content|rejected (?:as a result of|by) (?:our|the) safety"
    r"|rejected because it was considered high risk)|(?:request )?failed content safety"
    r"|prompt blocked due to|blocked: prompt|violat(?:ed|ion of) (?:our )?(?:guardrail|content|usage) polic"
    r"|[^\"'{\n]{0,200}SAFETY_CHECK_TYPE_)",
    re.IGNORECASE,
)
_FLAGGED_STATUSES = (400, 403)  # with which a moderation says what it has flagged
_NO_POLICY = (401, 402, 404, 429)
_NEVER = re.compile(r"^request too large|^extra usage is required", re.IGNORECASE)  # 429s that no wait ends
_STATUS_WORDS = {  # of an error within a reply of status 200, by its code or type
    "rate_limit": 429, "overloaded": 503, "invalid_api_key": 401, "authentication": 401, "model_not_found": 404,
    "invalid_request": 400, "context_length": 400,
}  # fmt: skip
_NO_CODES = ("0", "200", "201", "success", "ok")  # of what went well
_NO_PROVIDER = re.compile(r"^no endpoints found", re.IGNORECASE)  # OpenRouter's: of these parameters, not of the model
_TRY_AGAIN = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|s|m|h))+)", re.IGNORECASE)
_RETRY_DELAY = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?s)"')


class Blocked(Exception):
    """The provider's content policy refused the request; `reason` is what it said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def error_of(status: int, headers: Mapping[str, str], text: str, mask: Callable[[str], str]) -> ProviderError | Blocked:
    """Return what to raise for a reply that is no answer; `mask` takes API keys out of what it says.

    What the server quotes of the request decides nothing: a prompt may speak of credit and of policies.
    """
    message, codes, flagged = _complaint(text)
    code = next((c for c in codes if not c.isdecimal()), "")
    said = f"{status} {short(mask(message))}".strip()
    if _refused(status, message, codes) or (flagged and status in _FLAGGED_STATUSES):
        return Blocked(short(mask(message)))
    daily = status == 429 and '"quotaId"' in text and "PerDay" in text and "PerMinute" not in text
    broke = _CREDIT_CODES.fullmatch(code) or _NO_CREDIT.search(message)
    if status == 402 or daily or (status in (400, 403, 429) and broke):
        return Rejected(f"out of credit: {said}", status=status, for_all=True)
    wait_s = retry_after(headers) or _told_to_wait(text)
    if status == 429:
        return (
            Rejected(said, status=status) if _NEVER.search(message) else Throttled(said, status=status, wait_s=wait_s)
        )
    if status >= 500 or status in _AGAIN:
        return Unavailable(said, status=status, wait_s=wait_s)
    if 300 <= status < 400:
        where = "another address" if urlsplit(headers.get("Location", "")).hostname else "another path"
        said = f"{status} it sends to {where}: keys are sent to no other host; check the url"
        return Rejected(said, status=status, for_all=True)
    if _NO_PROVIDER.search(message):
        return Rejected(f"{said} (a parameter that no provider of it takes?)", status=status)
    if status in (404, 405) and not code:
        said += ": is the url right? most end in /v1"
    no_access = code in _ACCESS_CODES or _NO_ACCESS.search(message) or status == 401
    gone = status == 404 and (not code or "not_found" in code.lower() or "NotFound" in code)
    return Rejected(said, status=status, for_all=bool(no_access or gone))


def status_within(error: Any) -> int:
    """Return the status that an error within a reply of status 200 would have had; 502 where it does not say."""
    code = str(error.get("code")) if isinstance(error, dict) else ""
    message, codes, _ = _complaint(json.dumps({"error": error}, default=str))
    if _refused(400, message, codes):
        return 400
    if any(_CREDIT_CODES.fullmatch(c) for c in codes) or _NO_CREDIT.search(message):
        return 402
    if not code.isdecimal():
        said = " ".join(codes).casefold()
        return next((status for word, status in _STATUS_WORDS.items() if word in said), 502)
    return int(code) if code.isdecimal() and 400 <= int(code) < 600 else 502


def _refused(status: int, message: str, codes: Iterable[str]) -> bool:
    """Whether a content policy refused the request: by a code of the error, or by how its message begins."""
    if status in _NO_POLICY:
        return False
    return any(c.casefold().partition(".")[0] in _POLICY_CODES for c in codes) or bool(_POLICY.match(message))


def error_within(reply: Mapping[str, Any]) -> Any:
    """Return the error that a reply of status 200 holds; None where it holds none, or an empty one."""
    error = reply.get("error")
    if _complains(error):
        return error
    base = reply.get("base_resp")  # MiniMax's
    if isinstance(base, dict) and str(base.get("status_code", 0)) != "0":
        return {"code": str(base.get("status_code")), "message": str(base.get("status_msg"))}
    return None


def _complains(error: Any) -> bool:
    """Whether an `error` field holds a complaint: empty ones, and those of success, stand beside answers."""
    if isinstance(error, dict):
        return any(_complains(v) for k, v in error.items() if not (k == "code" and str(v) in _NO_CODES))
    if isinstance(error, list):
        return any(map(_complains, error))
    return bool(error) and str(error).casefold() not in ("ok", "success", "none", "null")


def _told_to_wait(text: str) -> float:
    """Return the seconds that a server asks to wait in its message; 0 where it does not."""
    found = _RETRY_DELAY.search(text[:MAX_READ]) or _TRY_AGAIN.search(text[:MAX_READ])
    return (seconds(found.group(1)) or 0.0) if found else 0.0


def _complaint(text: str) -> tuple[str, tuple[str, ...], bool]:
    """Return a server's message and codes, whatever shape its error has, and whether it flagged the input."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text[:MAX_READ], (), False
    if isinstance(found, list) and len(found) == 1:  # Gemini's, now and then
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else found
    error = error[0] if isinstance(error, list) and error and isinstance(error[0], dict) else error
    if not isinstance(error, dict):
        return str(error)[:MAX_READ], _codes(found) if isinstance(found, dict) else (), False
    metadata, inner = error.get("metadata"), error.get("innererror") or error.get("inner_error")
    flagged = isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))
    message = error.get("message") or _detail(error.get("detail")) or error
    if isinstance(message, dict) and message is not error:
        message = message.get("message") or message.get("error") or message
    codes = _codes(error) + (_codes(inner) if isinstance(inner, dict) else ())
    return str(message)[:MAX_READ], codes, flagged


def _codes(error: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words, or numbers as text, by which an error says what it is."""
    found = (error.get("code"), error.get("type"), error.get("status"), error.get("finish_reason"))
    return tuple(str(c) for c in found if c and isinstance(c, str | int) and not isinstance(c, bool))


def _detail(found: Any) -> Any:
    """Return what a list of faults says, without what it quotes of the request."""
    if not isinstance(found, list):
        return found
    return "; ".join(f"{x.get('msg', '')} at {x.get('loc', '')}" if isinstance(x, dict) else "" for x in found)


def short(text: str) -> str:
    """Return a text on one line, its end cut."""
    text = " ".join(text.split())
    return text[:MAX_SHOWN] + (" ..." if len(text) > MAX_SHOWN else "")
