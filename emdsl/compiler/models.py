"""Models: the service and the model that `use = "provider/model"` names, and the identity of each."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emdsl.compiler import settings as tables
from emdsl.compiler.served import read_serve
from emdsl.compiler.written import written
from emdsl.frame import EvalFault, fail
from emdsl.query import Model, Params
from emdsl.service import (
    OPENAI_API,
    SERVICES,
    SIM,
    SIM_FACTORS,
    SIM_HABITS,
    SIM_MODELS,
    SIM_PARAMS,
    Service,
    openai_api,
    suggest_spelling,
)
from emdsl.source import Diagnostic, Label, Span, near, one_of
from emdsl.value import EnvVar, is_exact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.serve import Serve

SIM_VERSION = "1"  # of the simulator's ground truth: the revision of every `sim/` model
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4}|\d{6,8})(?:$|[-:@])")
_MOVING = re.compile(r"(?:^|/)(?:gpt-(?!oss)|chatgpt-|o\d(?:$|-))|latest(?:$|:)|claude-(?:opus|sonnet|haiku)-4-[015]$")
_PORTS = {"http": 80, "https": 443}


class Models:
    """Makes the models of one program; two that could be taken for each other are an error."""

    def __init__(
        self, faults: Faults, environment: Mapping[str, str], read: dict[str, str | None], *, simulate: bool
    ) -> None:
        self.simulate = simulate
        self._faults = faults
        self._environment = environment
        self._read = read  # takes the variables that are read
        self._places: dict[str, tuple[Model, Span]] = {}

    def of_text(self, use: str, span: Span) -> Model:
        """Return the model that a text `"provider/model"` names, without settings."""
        return self.built(use, use, {}, None, span)

    def built(
        self,
        name: str,
        use: str,
        own: dict[str, Any],
        base: Model | None,
        span: Span,
        places: Mapping[str, Span] = MappingProxyType({}),
    ) -> Model:
        """Return a model with its own settings over those of the model that it copies; raises EvalFault."""
        service, wire_name = parse_use(use, span)
        same = base is not None and base.service.name == service.name
        inherited = base if base is not None and (same or "use" not in own) else None
        params = dict(base.params) if base else {}
        for key in tables.PARAMS:
            if key in own:
                params[key] = own[key]
        if params.get("sim") is not None and service.name != SIM:
            raise fail("E704", "`sim` is only allowed for `sim/` models", places.get("sim", span),
                       help='remove `sim`, or write `use = "sim/subject"`')  # fmt: skip
        revision = own.get("revision", inherited.revision if inherited and "use" not in own else None)
        if service.name == SIM:
            _known_to_simulator(wire_name, params.get("sim") or {}, span, places)
            if revision is not None and "revision" in own:
                raise fail("E705", "a `sim/` model cannot set `revision`: it is the version of the simulator",
                           places.get("revision", span),
                           help="remove `revision`")  # fmt: skip
            revision = SIM_VERSION
        url = own.get("url", inherited.url if inherited and "serve" not in own else None)
        serve = inherited.serve if inherited and "url" not in own else None
        if "serve" in own:
            serve = read_serve(own["serve"], service, places.get("serve", span), places)
        _check_served(serve, use, revision, own, places, span)
        model = Model(
            name=name,
            use=use,
            service=service,
            wire_name=f"{wire_name}@{revision}" if service.names_revision and revision else wire_name,
            revision=revision,
            server_id=self._server_id(service, url, revision, places.get("url", span)),
            params=tuple(sorted((k, v) for k, v in params.items() if v is not None)),
            headers=own.get("headers", inherited.headers if inherited else ()),
            url=url,
            key=own.get("key", inherited.key if inherited else None),
            price=own.get("price", base.price if base and "use" not in own else None),
            context=own.get("context", base.context if base and "use" not in own else None),
            timeout_s=own.get("timeout", base.timeout_s if base else None),
            parallel=own.get("parallel", inherited.parallel if inherited else None),
            rpm=own.get("rpm", inherited.rpm if inherited else None),
            tpm=own.get("tpm", inherited.tpm if inherited else None),
            serve=serve,
            batch=_batch(own.get("batch", inherited.batch if inherited else None), service, places.get("batch", span)),
            places={**(base.places if base else {}), **places},
        )
        self._warn(model, span)
        first = self._places.setdefault(repr(model.identity), (model, span))
        if first[0].url != model.url and not self.simulate:
            raise EvalFault(
                Diagnostic(
                    code="E723",
                    message=f"`{use}` has two different `url`s",
                    span=span,
                    labels=(Label(span=first[1], text="the same model with another `url`"),),
                    note="the `url` does not identify a model, so the answers of both would be mixed up",
                    help='give each its own `revision = "..."`, or both the same `url`',
                )
            )
        if first[0].serve != model.serve and not self.simulate:
            raise EvalFault(
                Diagnostic(
                    code="E730",
                    message=f"`{use}` has two different `serve`",
                    span=places.get("serve", span),
                    labels=(Label(span=first[1], text="the same model with other servers"),),
                    note="both have the same `revision`, so they are one model, with the same servers",
                    help="give both the same `serve`: derive one from the other with `model NAME from BASE { ... }`",
                )
            )
        return model

    def _warn(self, model: Model, span: Span) -> None:
        """Warn if stored answers could be those of another model."""
        if model.service.self_hosted and model.revision is None:
            self._faults.warning(
                "W701", f"the weights of `{model.use}` are not pinned: if they change, old answers are reused", span,
                help='add `revision = "..."`: a text that you change with the weights, e.g. their commit',
            )  # fmt: skip
        elif not model.service.self_hosted and _MOVING.search(model.wire_name) and not _DATED.search(model.wire_name):
            self._faults.warning(
                "W702", f"`{model.use}` is an alias that its provider moves to newer models", span,
                note="answers from before and after such a move would count as answers of one model",
                help="use a dated version from the provider's list of models",
            )  # fmt: skip

    def _server_id(self, service: Service, url: str | EnvVar | None, revision: str | None, span: Span) -> str | None:
        """Return the address that identifies a self-hosted server; None if the name alone identifies the model."""
        if not service.self_hosted or revision is not None or self.simulate:
            return None
        address = self.address(service, url)
        if address is None:
            variable = url.name if isinstance(url, EnvVar) else service.url_variable
            raise fail(
                "E706",
                f"the server of `{service.name}` is unknown: `{variable}` is not set",
                span,
                note="without a `revision`, the address of the server identifies the model",
                help=f'set {variable}, write `url = "http://..."`, or name the weights with `revision = "..."`',
            )
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in _PORTS or not host:
            raise fail("E707", f"the `url` of `{service.name}` is not a valid URL", span,
                       help='write it as `"http://host:port/v1"`')  # fmt: skip
        path = parts.path.rstrip("/")  # behind one address may be several servers, by a path or a query
        more = (path if path != "/v1" else "") + (f"?{parts.query}" if parts.query else "")
        return f"{parts.scheme}://{host.lower()}:{port or _PORTS[parts.scheme]}{more}"

    def address(self, service: Service, url: str | EnvVar | None) -> str | None:
        """Return the base URL that a model uses, or None if a variable is not set."""
        if isinstance(url, EnvVar):
            return self._variable(url.name)
        if url is not None:
            return url
        return self._variable(service.url_variable or "") or service.url

    def _variable(self, name: str) -> str | None:
        value = self._environment.get(name) if name else None
        if name:
            self._read[name] = value
        return value

    def simulated(self, model: Model, params: Params, truth: Mapping[str, Any], *, judge: bool) -> tuple[Model, Params]:
        """Return the simulator in a model's place, with its ground truth; it knows whose, so two models stay two."""
        if model.simulated:
            return model, params
        use = f"{SIM}/judge" if judge else f"{SIM}/subject"
        stand_in = Model(
            name=model.name, use=use, service=SERVICES[SIM], wire_name=use.removeprefix(f"{SIM}/"),
            revision=SIM_VERSION, context=model.context,
        )  # fmt: skip
        place = {"as": model.use} | ({"headers": model.literal_headers} if model.literal_headers else {})
        return stand_in, merged(params, {"sim": {**truth, **place}, "extra": None})


def _batch(batch: bool | str | None, service: Service, span: Span) -> bool | str | None:
    """Return the setting `batch`; raises EvalFault if the service has no batch API."""
    if batch and service.batch is None:
        raise fail(
            "E726", f"`{service.name}` has no batch API", span,
            help="remove `batch`; for a server of your own, `emdsl plan --requests DIR` writes files of requests",
        )  # fmt: skip
    return batch


def _check_served(
    serve: Serve | None, use: str, revision: str | None, own: Mapping[str, Any], places: Mapping[str, Span], span: Span
) -> None:
    """Raise EvalFault for a served model that has another server too, or whose weights no key would name."""
    if serve is None:
        return
    place = places.get("serve", span)
    if "url" in own:
        raise EvalFault(
            Diagnostic(
                code="E730",
                message=f"`{use}` has `serve` and `url`",
                span=place,
                labels=(Label(span=places.get("url", span), text="the address of a server that runs already"),),
                help="remove one: `serve` starts servers, `url` uses one that runs",
            )
        )
    if revision is None:
        raise fail(
            "E729", f"`{use}` has `serve`, but no `revision`", place,
            note="the address of its servers changes with each run, so only a revision can name the weights in keys",
            help='add `revision = "..."`: the commit of the weights',
        )  # fmt: skip


def _known_to_simulator(model: str, truth: Mapping[str, Any], span: Span, places: Mapping[str, Span]) -> None:
    if model not in SIM_MODELS:
        hint = near(model, SIM_MODELS) or f"available: {one_of(SIM_MODELS)}"
        raise fail("E724", f"the simulator has no model `{model}`", span.of(model), help=hint)
    check_truth(truth, span, places)


def check_truth(truth: Mapping[str, Any], span: Span, places: Mapping[str, Span] = MappingProxyType({})) -> None:
    """Raise EvalFault for a parameter of the simulator's ground truth that it does not know, or of another kind."""
    for name, value in truth.items():
        entry = places.get(f"sim.{name}", places.get("sim", span))
        if name not in SIM_PARAMS:
            hint = near(name, SIM_PARAMS) or f"available: {one_of(SIM_PARAMS)}"
            raise fail("E725", f"unknown field `{name}` of `sim`", entry.of(name), help=hint)
        if name in SIM_HABITS:
            if not isinstance(value, bool):
                raise fail(
                    "E725", f"`{name}` must be true or false", entry, help=f"write `{name}: true` or `{name}: false`"
                )
            continue
        counts = name in ("half", "thinks", *SIM_FACTORS)
        if not is_exact(value) or value < 0 or (value > 1 and not counts):
            wanted = "a number, 0 or more" if counts else "a probability from 0 to 1"
            raise fail("E725", f"`{name}` must be {wanted}, got {written(value)}", entry,
                       help=f"e.g. `{name}: {'40' if counts else '0.5'}`")  # fmt: skip


def merged(base: Params, own: Mapping[str, Any]) -> Params:
    """Return parameters with some replaced; one that is set to `none` is taken out."""
    params = dict(base) | dict(own)
    return tuple(sorted((k, v) for k, v in params.items() if v is not None))


def parse_use(use: str, span: Span) -> tuple[Service, str]:
    """Return the service and its name for a model from `provider/model`; raises EvalFault."""
    first, _, rest = use.partition("/")
    if ":" in first:
        parts = use.split(":")
        raise fail("E720", f'expected "provider/model", got "{use}"', span, help=f'write "{parts[0]}/{parts[-1]}"',
                   put=f'"{parts[0]}/{parts[-1]}"' if parts[0] in SERVICES else None)  # fmt: skip
    if not rest:
        known = (("gpt", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"), ("claude", "anthropic"),
                 ("gemini", "google"), ("deepseek", "deepseek"), ("mistral", "mistral"), ("grok", "xai"))  # fmt: skip
        guess = next((s for start, s in known if first.startswith(start)), "provider")
        raise fail(
            "E721", f'the model "{use}" has no provider', span,
            help=f'write "{guess}/{use}"; providers are {one_of([*SERVICES, OPENAI_API])}',
        )  # fmt: skip
    if first == OPENAI_API:
        name, _, model = rest.partition("/")
        if not name or not model:
            raise fail("E721", f'"{use}" has no model name', span, help='write "openai-api/<service>/<model>"')
        return openai_api(name), model
    if first in SERVICES:
        return SERVICES[first], rest
    raise fail(
        "E722",
        f"unknown provider `{first}`",
        span.of(first),
        help=suggest_spelling(first, rest)
        or near(first, SERVICES)
        or f'providers are {one_of([*SERVICES, OPENAI_API])}; for others write "openai-api/{first}/{rest}" and `url`',
    )
