"""The provider of every service: sends a query in the format of its model, with one of the model's API keys."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl import body
from emdsl.body import RESPONSES
from emdsl.errors import ProviderError, Rejected, ServerLost, Unavailable
from emdsl.providers.address import join_url
from emdsl.providers.anthropic import Anthropic
from emdsl.providers.google import Google
from emdsl.providers.http_errors import Blocked
from emdsl.providers.openai import OpenAI
from emdsl.providers.responses import Responses
from emdsl.providers.secret import find_headers, find_keys, find_url
from emdsl.providers.streaming import LONG_ANSWER, STREAM_ONLY, supports_streams, with_stream
from emdsl.providers.wire import blocked
from emdsl.redact import MIN_SECRET, Redactor, Secret, api_keys
from emdsl.service import ANTHROPIC, GOOGLE, OPENAI, SAMPLE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.logprobs import TokenLogprobs
    from emdsl.providers.batches import BatchApi
    from emdsl.providers.http import Http
    from emdsl.providers.limits import Limits
    from emdsl.providers.provider import Format, Servers
    from emdsl.query import Model, Query, RequestSettings, Response

UNAUTHORIZED = 401
_RESPONSES_ONLY = "v1/responses"  # in OpenAI's error for a model without chat completions


FORMATS: dict[str, Format] = {OPENAI: OpenAI(), ANTHROPIC: Anthropic(), GOOGLE: Google(), RESPONSES: Responses()}


def format_of(query: Query) -> str:
    """Return the name of the format that a query is sent in."""
    return body.format_of(query.settings.model, query.params)


def masked(response: Response, redactor: Redactor) -> Response:
    """Return a response without the secrets of a redactor."""
    mask = redactor.mask_optional
    return dataclasses.replace(
        response, text=redactor.mask(response.text), reasoning=mask(response.reasoning), model=mask(response.model),
        fingerprint=mask(response.fingerprint), logprobs=_mask_logprobs(response.logprobs, redactor),
        tokens=tuple(mask(t) or "" for t in response.tokens) if response.tokens is not None else None,
        request_id=mask(response.request_id),
    )  # fmt: skip


def _mask_logprobs(logprobs: tuple[TokenLogprobs, ...] | None, redactor: Redactor) -> tuple[TokenLogprobs, ...] | None:
    if logprobs is None:
        return None
    return tuple(tuple((redactor.mask(t) if len(t) >= MIN_SECRET else t, p) for t, p in at) for at in logprobs)


class Client:
    """Answers the queries of every service. See Provider."""

    def __init__(
        self, http: Http, environment: Mapping[str, str], simulator: str | None = None, *, run: str = "",
        servers: Servers | None = None,
    ) -> None:  # fmt: skip
        """Prepare; nothing is sent.

        Args:
            http: Sends requests.
            environment: The variables with API keys and URLs.
            simulator: The URL of the embedded simulator.
            run: The run of the answers.
            servers: The servers that the run has started.
        """
        self._http = http
        self._servers = servers
        self._run = run  # of the answers
        self._environment = environment
        self._simulator = simulator
        self._endpoints: dict[int, _Endpoint] = {}  # by id() of the model
        self._formats: dict[int, tuple[RequestSettings, str]] = {}  # by id() of the settings
        self._redactor = Redactor(api_keys(environment))  # any of them may come back from any server
        self._stream_only: set[int] = set()  # models that turned out to answer only as a stream
        self._responses_only: set[int] = set()  # models that turned out to be served only by the Responses API

    def accounts(self, model: Model) -> int:
        """See Provider."""
        return self._replicas(model) or len(self._endpoint(model).keys)

    def usable(self, model: Model, account: int) -> bool:
        """See Provider; servers that this run has not started are expected to be up."""
        if self._servers is None or not self._replicas(model):
            return True
        try:
            return self._servers.url(model, account) is not None
        except Rejected:  # requests to it fail at once
            return True

    async def ask(self, query: Query, account: int, on_limits: Callable[[Limits], None]) -> Response:
        """See Provider."""
        model = query.settings.model
        name = RESPONSES if id(model) in self._responses_only else self._format(query)
        try:
            return await self._send(query, name, account, on_limits)
        except Rejected as error:
            if name == OPENAI and _RESPONSES_ONLY in str(error):
                self._responses_only.add(id(model))
                name = RESPONSES
            elif id(model) not in self._stream_only and supports_streams(name) and STREAM_ONLY.search(str(error)):
                self._stream_only.add(id(model))
            else:
                raise
        return await self._send(query, name, account, on_limits)

    async def models(self, model: Model) -> list[str]:
        """Return the names of the models that a model's server lists."""
        endpoint = self._endpoint(model)
        headers = self._headers(endpoint, model.service.format, 0)
        reply = await self._http.get(endpoint.join("/models"), headers, mask=self._redactor.mask)
        listed = reply.get("models") if model.service.format == GOOGLE else reply.get("data")
        field = "name" if model.service.format == GOOGLE else "id"
        names = [m.get(field) for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
        return [self._redactor.mask(n.removeprefix("models/")) for n in names if isinstance(n, str)]

    def batches(self, model: Model, account: int, format_name: str) -> BatchApi:
        """Return the batch API of an account of a model, for requests in the wire format of a name in FORMATS.

        Raises Rejected if the service has none.
        """
        from emdsl.providers.batch_account import BatchAccount  # noqa: PLC0415 - 0.2 s that only batches should cost
        from emdsl.providers.batch_apis import BATCH_APIS  # noqa: PLC0415 - all batch APIs, which few runs need

        api = BATCH_APIS.get(model.service.batch or "")
        if api is None:
            raise Rejected(f"not sent: `{model.service.name}` has no batch API", for_all=True)
        endpoint = self._endpoint(model)
        key = endpoint.keys[account]
        return api(
            BatchAccount(
                http=self._http, base=endpoint.url, headers=self._headers(endpoint, format_name, account),
                mask=self._redactor.mask, model=model.wire_name, read=FORMATS[format_name].read,
                complete=self._complete, explain=lambda error: self._explain(error, model, key),
            )
        )  # fmt: skip

    def _headers(self, endpoint: _Endpoint, name: str, account: int) -> dict[str, str]:
        """Return the headers of a request; those of the model replace those of its format, `name`."""
        headers = endpoint.headers.get((name, account))
        if headers is None:
            key = endpoint.keys[account]
            own = find_headers(endpoint.model, self._environment)
            replaced = {n.lower() for n in own}
            standard = FORMATS[name].headers(key.reveal() if key is not None else None)
            headers = {n: value for n, value in standard.items() if n.lower() not in replaced} | own
            endpoint.headers[name, account] = headers
        return headers

    def _format(self, query: Query) -> str:
        known = self._formats.get(id(query.settings))
        if known is None:
            known = self._formats[id(query.settings)] = query.settings, format_of(query)
        return known[1]

    def _needs_stream(self, query: Query, name: str) -> bool:
        """Whether the provider requires a stream for this answer."""
        long = name == ANTHROPIC and int(dict(query.settings.params).get("max_tokens") or 0) > LONG_ANSWER
        return long or id(query.settings.model) in self._stream_only

    async def _send(self, query: Query, name: str, account: int, on_limits: Callable[[Limits], None]) -> Response:
        model, format_ = query.settings.model, FORMATS[name]
        endpoint = self._endpoint(model)
        server = self._server(model, account)
        headers = self._headers(endpoint, name, account if server is None else 0)
        if model.simulated:
            headers = headers | {SAMPLE_HEADER: f"{query.sample}:{query.settings.replicate}"}
        start = time.time()
        try:
            body = format_.encode(query)
            body = with_stream(body, name) if self._needs_stream(query, name) else body
            reply, request_id = await self._http.post(
                join_url(server, format_.path(query)) if server else endpoint.join(format_.path(query)), body, headers,
                mask=self._redactor.mask, timeout_s=model.timeout_s, format_=name, on_limits=on_limits,
            )  # fmt: skip
            response = format_.read(reply)
        except Blocked as error:
            response, request_id = blocked(error.reason), None
        except ProviderError as error:
            self._explain(error, model, endpoint.keys[account if server is None else 0])
            if server is not None and isinstance(error, Unavailable) and await self._lost(model, account, server):
                raise ServerLost("the server died before it answered", paid=error.paid) from None
            raise
        if server is not None and self._servers is not None:
            self._servers.answered(model, account, server)
        response = dataclasses.replace(response, request_id=request_id) if request_id else response
        return self._complete(response, elapsed_s=round(time.time() - start, 4))

    def _replicas(self, model: Model) -> int:
        return self._servers.replicas(model) if self._servers is not None else 0

    def _server(self, model: Model, account: int) -> str | None:
        """Return the URL of a server that the run has started, None for other models; raises ServerLost, Rejected."""
        if self._servers is None or not self._replicas(model):
            return None
        url = self._servers.url(model, account)
        if url is None:
            raise ServerLost("not sent: the server has just died")
        return url

    async def _lost(self, model: Model, account: int, url: str) -> bool:
        return self._servers is not None and await self._servers.lost(model, account, url)

    def _complete(self, response: Response, elapsed_s: float = 0.0) -> Response:
        """Return an answer without API keys, with its run and the time of its arrival."""
        received = dataclasses.replace(response, answered_at=time.time(), elapsed_s=elapsed_s, run=self._run)
        return masked(received, self._redactor)

    def _explain(self, error: ProviderError, model: Model, key: Secret | None) -> None:
        """Mask the text of an error, which may quote the reply, and name the variable of a refused key."""
        error.args = (self._redactor.mask(str(error)) + self._key_hint(error, model, key),)

    def _key_hint(self, error: ProviderError, model: Model, key: Secret | None) -> str:
        """Return the variable of the key that a server refused."""
        variable = find_keys(model, self._environment)[1]
        if error.status != UNAUTHORIZED or not variable:
            return ""
        return f"; the key comes from `{variable}`" if key is not None else f"; no key was sent: set `{variable}`"

    def _endpoint(self, model: Model) -> _Endpoint:
        """Return where and with which API keys a model is asked; raises Rejected."""
        endpoint = self._endpoints.get(id(model))
        if endpoint is None:
            url, _ = find_url(model, self._environment)
            if model.simulated:
                url = url or self._simulator
            if url is None:
                raise Rejected(f"not sent: `{model.service.name}` has no URL", for_all=True)
            # its servers know no API key, and may be reached without encryption
            keys = () if self._replicas(model) else find_keys(model, self._environment)[0]
            headers = find_headers(model, self._environment)
            own = [Secret(headers[name], sure=True) for name, value in model.headers if not isinstance(value, str)]
            self._redactor.add([*keys, *own])
            endpoint = self._endpoints[id(model)] = _Endpoint(model, url, keys or (None,))
        return endpoint


@dataclass(slots=True)
class _Endpoint:
    """Where a model is asked, and what its requests have in common."""

    model: Model
    url: str = field(repr=False)
    keys: tuple[Secret | None, ...]
    headers: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict, repr=False)  # by format and account
    urls: dict[str, str] = field(default_factory=dict, repr=False)  # by path

    def join(self, path: str) -> str:
        """Return the URL of a path."""
        url = self.urls.get(path)
        if url is None:
            url = self.urls[path] = join_url(self.url, path)
        return url
