"""Model, Query, Response: what is asked, of whom, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.digest import Digest, KeyState

if TYPE_CHECKING:
    from emdsl.logprobs import TokenLogprobs
    from emdsl.price import Price
    from emdsl.prompt import Prompt
    from emdsl.service import Service
    from emdsl.source import Span
    from emdsl.value import EnvVar

SIMULATED = "sim-"  # what the models that the simulator reports begin with
Params = tuple[tuple[str, Any], ...]  # name and plain value, sorted by name: all that can change an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with its settings, as declared.

    `name` is for people. `use` and `revision` say which model it is; `origin` stands in for a revision
    where a server of one's own could serve another model under the same name.
    """

    name: str = field(compare=False)
    use: str
    service: Service
    wire_name: str  # what the service calls it
    revision: str | None = None
    origin: str | None = None
    params: Params = ()
    headers: tuple[tuple[str, str | EnvVar], ...] = ()  # by name; what the environment holds is in no key
    url: str | EnvVar | None = field(default=None, compare=False)
    key: EnvVar | None = field(default=None, compare=False)
    price: Price | None = field(default=None, compare=False)
    context: int | None = field(default=None, compare=False)  # tokens
    timeout_s: float | None = field(default=None, compare=False)
    parallel: int | None = field(default=None, compare=False)  # requests in flight
    rpm: int | None = field(default=None, compare=False)  # requests a minute
    tpm: int | None = field(default=None, compare=False)  # tokens a minute, in and out
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)  # where each setting stands

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return what of a model enters a key, its parameters apart."""
        said = self.literal_headers
        return ("model", self.use, self.service.meaning, self.revision, self.origin, *([said] if said else []))

    @property
    def literal_headers(self) -> dict[str, str]:
        """Return the headers with literal values, by their names in lower case."""
        return {name.lower(): value for name, value in self.headers if isinstance(value, str)}

    @property
    def plain(self) -> tuple[Any, ...]:
        """Return all that tells two models apart: the identity and the parameters."""
        return (b"model", self.identity, keyed(self.params))

    @property
    def lane(self) -> tuple[Any, ...]:
        """Return what its requests wait together by: where it is asked, with which key, how fast."""
        return (self.use, self.url, self.key, self.headers, self.parallel, self.rpm, self.tpm)

    @property
    def simulated(self) -> bool:
        """Whether its answers are made up by the embedded simulator."""
        return self.service.name == "sim"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What many queries share: all of a request but its messages and its sample."""

    model: Model
    params: Params
    replicate: int = 0

    def key_state(self) -> KeyState:
        """Return the key of a query up to its messages."""
        return KeyState([self.model.identity, keyed(self.params)])


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One request, neutral of any wire format; `key` names all that can change its answer."""

    head: Head
    prompt: Prompt
    sample: int
    key: Digest
    shared: int = 0  # messages at its beginning that other requests have too: for a cache, not in the key
    tries: int = 0  # a judge's earlier replies to it that could not be read

    @property
    def params(self) -> Mapping[str, Any]:
        """Return sampling parameters by name."""
        return dict(self.head.params)

    def ingredients(self) -> dict[str, Any]:
        """Return the parts of the key, texts as digests: kept with the answer, so that `why` can compare."""
        head = self.head
        found: dict[str, Any] = {
            "model": head.model.use,
            "revision": head.model.revision or head.model.origin,
            "params": {name: _shown(value) for name, value in keyed(head.params).items()},
            "messages": self.prompt.digest.hex(),
            "stream": head.replicate,
            "sample": self.sample,
        }
        if self.tries:
            found["try"] = self.tries
        if head.model.literal_headers:
            found["headers"] = head.model.literal_headers
        return found

    def again(self) -> Query:
        """Return the same request once more, under a key of its own: its reply could not be read."""
        tries = self.tries + 1
        state = self.head.key_state().add(self.prompt.messages).close()
        key = state.key(self.head.replicate, self.sample, tries)
        return Query(self.head, self.prompt, self.sample, key, tries=tries)


def keyed(params: Params) -> dict[str, Any]:
    """Return parameters as they enter a key: by name; in `extra` the order of fields below the top counts.

    A schema whose fields come in another order gets another answer, and `extra` is sent as it is written.
    """
    found = dict(params)
    if isinstance(found.get("extra"), Mapping):
        found["extra"] = {name: _in_order(value) for name, value in found["extra"].items()}
    return found


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
    """Tokens of one answer, as the provider counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None  # reasoning included
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None  # of the input, read from the provider's cache of prefixes
    written_tokens: int | None = None  # of the input, put into it
    cost_usd: float | None = None  # where the provider says what it charged


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back: the only thing that is stored.

    `finish` is one of stop, length, blocked, tool, other. `text` is as sent, a `<think>` block included.
    """

    text: str
    finish: str
    reasoning: str | None = None
    model: str | None = None  # as reported
    fingerprint: str | None = None
    request_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    logprobs: tuple[TokenLogprobs, ...] | None = None
    tokens: tuple[str, ...] | None = None  # chosen at each position of `logprobs`, where the server says
    answered_at: float = 0.0  # seconds since 1970
    elapsed_s: float = 0.0
    run: str = ""  # which run paid for it

    @property
    def simulated(self) -> bool:
        """Whether the simulator says that it made this up, whatever model it stood in for."""
        return self.model is not None and self.model.startswith(SIMULATED)
