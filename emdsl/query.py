"""Model, Query and Response: a request to a model, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.digest import Digest, KeyState, key_head

if TYPE_CHECKING:
    from emdsl.logprobs import TokenLogprobs
    from emdsl.price import Price
    from emdsl.prompt import Prompt
    from emdsl.serve import Serve
    from emdsl.service import Service
    from emdsl.source import Span
    from emdsl.value import EnvVar

SIMULATED = "sim-"  # prefix of the model names that the simulator reports
Params = tuple[tuple[str, Any], ...]  # name and plain value, sorted by name: everything that can change an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with its settings, as declared.

    `name` is for people. `use` and `revision` identify the model; `server_id` replaces a missing revision of a
    self-hosted model, as another server may serve another model under the same name.
    """

    name: str = field(compare=False)
    use: str
    service: Service
    wire_name: str  # its name in the service's API
    revision: str | None = None
    server_id: str | None = None
    params: Params = ()
    headers: tuple[tuple[str, str | EnvVar], ...] = ()  # by name; values from the environment are in no key
    url: str | EnvVar | None = field(default=None, compare=False)
    key: EnvVar | None = field(default=None, compare=False)
    price: Price | None = field(default=None, compare=False)
    context: int | None = field(default=None, compare=False)  # tokens
    timeout_s: float | None = field(default=None, compare=False)
    parallel: int | None = field(default=None, compare=False)  # maximum concurrent requests
    rpm: int | None = field(default=None, compare=False)  # requests per minute
    tpm: int | None = field(default=None, compare=False)  # tokens per minute, input and output
    batch: bool | str | None = field(default=None, compare=False)  # whether its batch API is used; or "auto"
    serve: Serve | None = field(default=None, compare=False)  # the servers that a run may start for it
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)  # of each setting

    @property
    def identity(self) -> tuple[Any, ...]:
        """The part of a key that identifies the model, without its parameters."""
        headers = self.literal_headers
        return (
            "model",
            self.use,
            self.service.key_version,
            self.revision,
            self.server_id,
            *([headers] if headers else []),
        )

    @property
    def literal_headers(self) -> dict[str, str]:
        """The headers with literal values, by lower-case name."""
        return {name.lower(): value for name, value in self.headers if isinstance(value, str)}

    @property
    def plain(self) -> tuple[Any, ...]:
        """The identity and the parameters, which distinguish two models."""
        return (b"model", self.identity, keyed(self.params))

    @property
    def lane(self) -> tuple[Any, ...]:
        """The identity of its queue: models with the same server, key and limits share one."""
        weights = self.revision if self.serve is not None else None  # each has servers of its own
        return (self.use, self.url, self.key, self.headers, self.parallel, self.rpm, self.tpm, weights)

    @property
    def way(self) -> tuple[Any, ...]:
        """The identity of its queue, and whether its requests go by batches: two models may share a queue alone."""
        return (self.lane, self.batch)

    @property
    def simulated(self) -> bool:
        """Whether the embedded simulator answers."""
        return self.service.name == "sim"


@dataclass(frozen=True, slots=True, eq=False)
class RequestSettings:
    """The part that many queries share: all of a request but its messages and its sample."""

    model: Model
    params: Params
    replicate: int = 0

    def key_state(self) -> KeyState:
        """Return the state of a key before the messages."""
        return KeyState(self._head)

    @property
    def key_head(self) -> bytes:
        """The bytes with which its keys begin, before the messages."""
        return key_head(self._head)

    @property
    def _head(self) -> list[Any]:
        return [self.model.identity, keyed(self.params)]

    @property
    def shown_params(self) -> dict[str, Any]:
        """The parameters in the form in which they are stored with an answer."""
        return {name: _shown(value) for name, value in keyed(self.params).items()}


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One request, independent of wire formats; its `key` covers everything that can change the answer."""

    settings: RequestSettings
    prompt: Prompt
    sample: int
    key: Digest
    shared: int = 0  # leading messages shared with other requests, for a provider's cache: not in the key
    tries: int = 0  # earlier replies of a judge that could not be read

    @property
    def params(self) -> Mapping[str, Any]:
        """The sampling parameters by name."""
        return dict(self.settings.params)

    def ingredients(self) -> dict[str, Any]:
        """Return the parts of the key, texts as digests: stored with the answer, for `why` to compare."""
        return ingredients(self.settings, self.prompt.digest.hex(), self.sample, self.tries)

    def again(self) -> Query:
        """Return the same request with another key, to repeat it after a reply that could not be read."""
        tries = self.tries + 1
        state = self.settings.key_state().add(self.prompt.messages).close()
        key = state.last_key(self.settings.replicate, self.sample, tries)
        return Query(self.settings, self.prompt, self.sample, key, tries=tries)


def ingredients(settings: RequestSettings, messages: str, sample: int, tries: int) -> dict[str, Any]:
    """Return the parts of a key; `messages` is the digest of the prompt in hex."""
    parts: dict[str, Any] = {
        "model": settings.model.use,
        "revision": settings.model.revision or settings.model.server_id,
        "params": settings.shown_params,
        "messages": messages,
        "stream": settings.replicate,
        "sample": sample,
    }
    if tries:
        parts["try"] = tries
    if settings.model.literal_headers:
        parts["headers"] = settings.model.literal_headers
    return parts


def keyed(params: Params) -> dict[str, Any]:
    """Return parameters as they enter a key: by name, and in `extra` and a JSON schema with the order of nested fields.

    A schema with its fields in another order gets another answer, and `extra` is sent as written.
    """
    by_name = dict(params)
    if isinstance(by_name.get("extra"), Mapping):
        by_name["extra"] = {name: _in_order(value) for name, value in by_name["extra"].items()}
    if "json_schema" in by_name:
        by_name["json_schema"] = _in_order(by_name["json_schema"])
    return by_name


def _in_order(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_in_order(x) for x in value]
    if not isinstance(value, Mapping):
        return value
    fields = {k: _in_order(v) for k, v in value.items()}
    return fields if list(fields) == sorted(fields) else [b"in order", *([k, v] for k, v in fields.items())]


def _shown(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_shown(x) for x in value]
    if isinstance(value, Mapping):
        return {k: _shown(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str | bool | int | None) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of one answer, as counted by the provider; None if it did not report them."""

    input_tokens: int | None = None
    output_tokens: int | None = None  # reasoning included
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None  # of the input, read from the provider's prefix cache
    written_tokens: int | None = None  # of the input, written to it
    cost_usd: float | None = None  # charged, if the provider reports it


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The answer to a query: the only thing that is stored.

    `finish` is one of stop, length, blocked, tool, other. `text` is unchanged, a `<think>` block included.
    """

    text: str
    finish: str
    reasoning: str | None = None
    model: str | None = None  # as reported by the server
    fingerprint: str | None = None
    request_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    logprobs: tuple[TokenLogprobs, ...] | None = None
    tokens: tuple[str, ...] | None = None  # chosen at each position of `logprobs`, if reported
    answered_at: float = 0.0  # seconds since 1970
    elapsed_s: float = 0.0
    run: str = ""  # the run that paid for it
    batch: str | None = None  # the batch that answered it, at the price of batches

    @property
    def simulated(self) -> bool:
        """Whether it comes from the simulator, whatever model it replaced."""
        return self.model is not None and self.model.startswith(SIMULATED)
