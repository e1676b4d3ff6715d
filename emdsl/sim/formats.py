"""The wire formats of the simulator: one table of the functions of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.sim import anthropic, google, openai
from emdsl.sim.answering import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.sim.answering import Answer, Request


@dataclass(frozen=True, slots=True)
class Format:
    """A wire format: functions that read a body and write its reply or error."""

    read: Callable[..., Request]
    reply: Callable[[Request, Answer, int, int], dict[str, Any]]
    error: Callable[[Refused], dict[str, Any]]
    key: Callable[[Mapping[str, str]], str | None]  # the API key among the headers of a request
    events: Callable[[dict[str, Any], dict[str, Any]], list[dict[str, Any]]] | None = None  # of a reply and its request
    marks: bool = False  # whether the cache keeps marked prefixes only


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key if scheme == "Bearer" else None


def _chat_events(reply: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    return openai.chat_events(reply, usage=bool((body.get("stream_options") or {}).get("include_usage")))


FORMATS = {
    "chat": Format(openai.chat, openai.chat_reply, openai.error, _bearer, _chat_events),
    "responses": Format(
        openai.responses, openai.responses_reply, openai.error, _bearer, lambda reply, _: openai.responses_events(reply)
    ),
    "anthropic": Format(
        anthropic.messages,
        anthropic.reply,
        anthropic.error,
        lambda headers: headers.get("x-api-key") or _bearer(headers),
        lambda reply, _: anthropic.events(reply),
        marks=True,
    ),
    "google": Format(
        google.generate,
        google.reply,
        google.error,
        lambda headers: headers.get("x-goog-api-key"),
        lambda reply, _: google.events(reply),
    ),
}


def too_many(format_: Format) -> Refused:
    """Return the refusal of a request over a rate limit, in the words of a format."""
    kind = "rate_limit_exceeded" if format_.error is openai.error else ""
    return Refused("Rate limit reached: slow down", status=429, kind=kind)


def failure() -> Refused:
    """Return an error of the server, on request."""
    return Refused("the simulator was configured to fail", status=500)
