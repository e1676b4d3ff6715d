"""Who answers queries: each model by the format that its service speaks, with one of its API keys."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from emdsl import body
from emdsl.body import RESPONSES
from emdsl.errors import ProviderError, Rejected
from emdsl.providers.address import at
from emdsl.providers.anthropic import Anthropic
from emdsl.providers.complaints import Blocked
from emdsl.providers.google import Google
from emdsl.providers.openai import OpenAI
from emdsl.providers.responses import Responses
from emdsl.providers.secret import MIN_SECRET, Masker, Secret, find_headers, find_keys, find_url, secrets_in
from emdsl.providers.streaming import LONG_ANSWER, STREAM_ONLY, asked_as_stream, streams
from emdsl.query import Response
from emdsl.service import ANTHROPIC, GOOGLE, OPENAI, SAMPLE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.logprobs import TokenLogprobs
    from emdsl.providers.http import Http
    from emdsl.providers.limits import Limits
    from emdsl.providers.provider import Format
    from emdsl.query import Model, Query

NO_KEY = 401
_BY_RESPONSES_ONLY = "v1/responses"  # what OpenAI says of a model that chat completions do not serve


FORMATS: dict[str, Format] = {OPENAI: OpenAI(), ANTHROPIC: Anthropic(), GOOGLE: Google(), RESPONSES: Responses()}


def format_of(query: Query) -> str:
    """Return the name of the format in which a query is asked."""
    return body.format_of(query.head.model, query.params)


class Client:
    """Answers queries of every service; `simulator` is the embedded one's URL. See Provider."""

    def __init__(self, http: Http, environment: Mapping[str, str], simulator: str | None = None) -> None:
        self._http = http
        self._environment = environment
        self._simulator = simulator
        self._ways: dict[int, tuple[Model, str, tuple[Secret | None, ...]]] = {}  # by identity, kept with the model
        self._known = secrets_in(environment)  # any of them may come back from any server
        self._masker = Masker(self._known)
        self._streams: set[int] = set()  # models that have turned out to answer as a stream alone
        self._responses: set[int] = set()  # models that have turned out to be served by the Responses API alone

    def accounts(self, model: Model) -> int:
        """See Provider."""
        return len(self._way(model)[2])

    async def ask(self, query: Query, account: int, on_limits: Callable[[Limits], None]) -> Response:
        """See Provider."""
        model = query.head.model
        name = RESPONSES if id(model) in self._responses else format_of(query)
        try:
            return await self._sent(query, name, account, on_limits)
        except Rejected as error:
            if name == OPENAI and _BY_RESPONSES_ONLY in str(error):
                self._responses.add(id(model))
                name = RESPONSES
            elif id(model) not in self._streams and streams(name) and STREAM_ONLY.search(str(error)):
                self._streams.add(id(model))
            else:
                raise
        return await self._sent(query, name, account, on_limits)

    async def models(self, model: Model) -> list[str]:
        """Return the names of the models that a model's server lists."""
        _, url, keys = self._way(model)
        key = keys[0]
        headers = self._headers(model, FORMATS[model.service.format], key)
        found = await self._http.get(at(url, "/models"), headers, mask=self._masker.mask)
        listed = found.get("models") if model.service.format == GOOGLE else found.get("data")
        field = "name" if model.service.format == GOOGLE else "id"
        names = [m.get(field) for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
        return [self._masker.mask(n.removeprefix("models/")) for n in names if isinstance(n, str)]

    def _headers(self, model: Model, format_: Format, key: Secret | None) -> dict[str, str]:
        """Return the headers of a request: a model's own in the place of its format's."""
        own = find_headers(model, self._environment)
        named = {name.lower() for name in own}
        told = format_.headers(key.reveal() if key is not None else None)
        return {name: value for name, value in told.items() if name.lower() not in named} | own

    def _streamed(self, query: Query, name: str) -> bool:
        """Whether an answer is asked for as a stream: where its provider demands that."""
        long = name == ANTHROPIC and int(query.params.get("max_tokens") or 0) > LONG_ANSWER
        return long or id(query.head.model) in self._streams

    async def _sent(self, query: Query, name: str, account: int, on_limits: Callable[[Limits], None]) -> Response:
        model, format_ = query.head.model, FORMATS[name]
        _, url, keys = self._way(model)
        key = keys[account]
        headers = self._headers(model, format_, key)
        if model.simulated:
            headers[SAMPLE_HEADER] = f"{query.sample}:{query.head.replicate}"
        start = time.time()
        try:
            body = format_.encode(query)
            body = asked_as_stream(body, name) if self._streamed(query, name) else body
            reply, request_id = await self._http.post(
                at(url, format_.path(query)), body, headers,
                mask=self._masker.mask, timeout_s=model.timeout_s, format_=name, on_limits=on_limits,
            )  # fmt: skip
            found = format_.read(reply)
        except Blocked as blocked:
            found, request_id = Response(text=blocked.reason, finish="blocked"), None
        except ProviderError as error:  # what a format says of a reply may quote it
            error.args = (self._masker.mask(str(error)) + self._of_key(error, model, key),)
            raise
        now, mask = time.time(), self._masker.mask_all
        return dataclasses.replace(
            found, text=self._masker.mask(found.text), reasoning=mask(found.reasoning), model=mask(found.model),
            fingerprint=mask(found.fingerprint), logprobs=self._unnamed(found.logprobs),
            tokens=tuple(mask(t) or "" for t in found.tokens) if found.tokens is not None else None,
            request_id=mask(request_id or found.request_id), answered_at=now, elapsed_s=round(now - start, 4),
        )  # fmt: skip

    def _of_key(self, error: ProviderError, model: Model, key: Secret | None) -> str:
        """Return where the key stands that a server does not take."""
        variable = find_keys(model, self._environment)[1]
        if error.status != NO_KEY or not variable:
            return ""
        return f"; the key is that of {variable}" if key is not None else f"; no key was sent: set {variable}"

    def _unnamed(self, found: tuple[TokenLogprobs, ...] | None) -> tuple[TokenLogprobs, ...] | None:
        if found is None:
            return None
        return tuple(tuple((self._masker.mask(t) if len(t) >= MIN_SECRET else t, p) for t, p in at) for at in found)

    def _way(self, model: Model) -> tuple[Model, str, tuple[Secret | None, ...]]:
        """Return where a model is asked, with which keys; raises Rejected."""
        way = self._ways.get(id(model))
        if way is None:
            url, _ = find_url(model, self._environment)
            if model.simulated:
                url = url or self._simulator
            if url is None:
                raise Rejected(f"no URL is known for `{model.service.name}`", for_all=True)
            keys = find_keys(model, self._environment)[0]
            self._known += keys
            told = find_headers(model, self._environment)
            self._known += [
                Secret(told[name], sure=True) for name, value in model.headers if not isinstance(value, str)
            ]
            self._masker = Masker(self._known)
            way = self._ways[id(model)] = model, url, keys or (None,)
        return way
