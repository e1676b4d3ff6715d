"""Models and providers: declared settings, supported parameters, prices, and what is missing."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.capability import plain_name, unsupported
from emdsl.compiler.compile import model_of
from emdsl.errors import ProviderError
from emdsl.experiment import request_settings
from emdsl.parameters import NO, PREFILL, row_of, rows_of
from emdsl.price_list import price_of
from emdsl.providers.secret import find_keys, find_url, needs_servers, why_unusable
from emdsl.query import Model
from emdsl.redact import mask_password
from emdsl.service import SERVICES
from emdsl.study.screen import plain_json

if TYPE_CHECKING:
    from emdsl.experiment import Program
    from emdsl.price import Price
    from emdsl.service import Service
    from emdsl.study.project import Project

TRIED: dict[str, Any] = {  # a value of each parameter that every service which takes it would take
    "temperature": Decimal("0.5"), "max_tokens": 100, "top_p": Decimal("0.5"), "top_k": 5, "min_p": Decimal("0.5"),
    "frequency_penalty": 1, "presence_penalty": 1, "repetition_penalty": 1, "stop": ("x",), "seed": 0,
    "top_logprobs": 5, "reasoning_effort": "low", "reasoning_tokens": 1_024, "reasoning_summary": "auto",
}  # fmt: skip
BOUNDS = {"temperature": "max_temperature", "stop": "max_stops", "top_logprobs": "max_logprobs"}
EXAMPLE = {"max_tokens": 4_096}
NO_LIST = "no list of models"


def describe_providers(project: Project, name: str | None = None) -> list[dict[str, Any]]:
    """Return what all providers support, or one of them."""
    return [_service(s, project) for s in SERVICES.values() if name in (None, s.name)]


def models_in(program: Program) -> list[Model]:
    """Return the models of a study."""
    return list(
        {(h.model.use, h.model.url): h.model for e in program.experiments for _, h in request_settings(e)}.values()
    )


def describe_models(
    project: Project, models: list[Model], *, ask_servers: bool = False, insecure: bool = False
) -> list[dict[str, Any]]:
    """Describe models: declared settings and known limits. `ask_servers` sends one free request to each server."""
    served = _served(models, project, insecure=insecure) if ask_servers else {}
    return [_model(m, project, served.get(m.use), insecure=insecure) for m in models]


def model_named(use: str, project: Project) -> Model:
    """Return the model that `provider/model` names; raises SourceError."""
    return model_of(use, project.environment)


def _service(service: Service, project: Project) -> dict[str, Any]:
    variables = [v for v in (service.key_variable, service.fallback_variable) if v]
    keys, _ = find_keys(Model(name="", use="", service=service, wire_name=""), project.environment)
    return {
        "provider": service.name,
        "url": service.url,
        "url_variable": service.url_variable,
        "key": f"{' or '.join(variables)}: {f'{len(keys)} set' if keys else 'not set'}" if variables else "none needed",
    } | _capabilities(service)


def _capabilities(service: Service) -> dict[str, Any]:
    def takes(param: str) -> bool:
        return service.params is None or param in service.params

    return {
        "rejects": [p for p in TRIED if not takes(p) and p not in BOUNDS],
        "max_temperature": float(service.temperature),
        "max_stops": service.stops,
        "max_logprobs": service.top_logprobs if takes("top_logprobs") else None,
        "prefill": service.prefill,
        "system_first": service.system_first,
        "response_format": service.json_schema,
        "strict": takes("json_schema"),
        "prefix_tokens": service.prefix_tokens,
        "batch_API": service.batch is not None,
    }


def _of_model(model: Model) -> dict[str, Any]:
    """Return the parameters that a model rejects, each tried alone; a rejected one has no bound."""
    rejected = [p for p in TRIED if any(o.param == p for o in unsupported(model, EXAMPLE | {p: TRIED[p]}))]
    entry: dict[str, Any] = {"rejects": [p for p in rejected if p != "top_logprobs"]}
    prefill = row_of(model.service.name, plain_name(model), PREFILL, {})
    if prefill is not None and prefill.takes == NO:
        entry["prefill"] = False
    if any(o.param == "json_schema" for o in unsupported(model, EXAMPLE | {"json_schema": {}})):
        entry["strict"] = False
    entry["known"] = [
        {
            "parameters": list(row.parameters), "takes": row.takes, "while": row.condition or None, "sure": row.sure,
            "models": list(row.models), "source": row.source, "date": row.date,
        }
        for row in rows_of(model.service.name, plain_name(model))
    ]  # fmt: skip
    return entry | {bound: None for param, bound in BOUNDS.items() if param in rejected}


def _model(model: Model, project: Project, served: Any, *, insecure: bool) -> dict[str, Any]:
    keys, variable = find_keys(model, project.environment)
    missing = why_unusable(model, project.environment, insecure=insecure)
    return (
        {
            "name": model.name,
            "use": model.use,
            "revision": model.revision,
            "url": _url(model, project),
            "key": f"{variable}: {f'{len(keys)} set' if keys else 'not set'}" if variable else "none needed",
            "settings": {k: plain_json(v) for k, v in model.params},
            "price": _price_text(model),
            "context": model.context,
            "serve": _serve_text(model),
            "limits": {k: v for k in ("parallel", "rpm", "tpm") if (v := getattr(model, k)) is not None},
            "server": served,
            "missing": missing.partition(": ")[2] if missing and (keys or not variable) else None,
        }
        | _capabilities(model.service)
        | _of_model(model)
    )


def _url(model: Model, project: Project) -> str | None:
    """Return the address of a model without a password; None if a run starts its servers."""
    if needs_servers(model, project.environment):
        return None
    return mask_password(find_url(model, project.environment)[0] or "") or None


def _serve_text(model: Model) -> str | None:
    """Return the servers that a run starts for a model."""
    if model.serve is None:
        return None
    return model.serve.shown + (f": {' '.join(model.serve.args)}" if model.serve.args else "")


def _price_text(model: Model) -> str:
    if model.simulated:
        return "free (simulated)"
    price = price_of(model)
    if price is None:
        return "unknown; declare it: `price = { input: $1, output: $2 }`"
    together = price_of(model, batch=True) if model.service.batch is not None else None
    batch = f"; by batch {_price(together)}" if together is not None else ""
    return f"{_price(price)} per million tokens ({'declared' if model.price is not None else 'listed'}){batch}"


def _price(price: Price) -> str:
    text = f"${price.input:f} in, ${price.output:f} out"
    if price.cached_input is not None:
        text += f", ${price.cached_input:f} cached"
    if price.cache_write is not None:
        text += f", ${price.cache_write:f} cache write"
    return text + "".join(f"; over {n:,} tokens {_price(p)}" for n, p in price.above)


def _served(models: list[Model], project: Project, *, insecure: bool) -> dict[str, str]:
    """Return whether each model's server lists it."""
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only sending should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - 0.2 s that only sending should cost

    async def ask_all() -> dict[str, str]:
        http = Http(len(models), project.environment)
        client = Client(http, project.environment)

        async def one(model: Model) -> str:
            if why_unusable(model, project.environment, insecure=insecure) or model.simulated:
                return "no request sent"
            try:
                names = await client.models(model)
            except ProviderError as error:
                return f"{NO_LIST}: {error}"
            return "available" if model.wire_name in names else f"not listed (it lists {len(names):,} models)"

        try:
            return dict(zip([m.use for m in models], await asyncio.gather(*map(one, models)), strict=True))
        finally:
            await http.close()

    return asyncio.run(ask_all())
