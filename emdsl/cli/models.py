"""`emdsl models`: what is declared of models, what their providers take, what they cost, and what they lack."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.capability import objection
from emdsl.cli import console, session
from emdsl.compiler.compile import compile_file, model_of
from emdsl.errors import ProviderError
from emdsl.experiment import heads
from emdsl.price import price_of
from emdsl.providers.secret import find_keys, find_url, problem
from emdsl.service import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.cli.session import Session
    from emdsl.price import Price
    from emdsl.query import Model
    from emdsl.service import Service

TRIED: dict[str, Any] = {  # a value of each parameter that every service which takes it would take
    "temperature": Decimal("0.5"), "max_tokens": 100, "top_p": Decimal("0.5"), "top_k": 5, "min_p": Decimal("0.5"),
    "frequency_penalty": 1, "presence_penalty": 1, "repetition_penalty": 1, "stop": ("x",), "seed": 0,
    "reasoning_effort": "low", "reasoning_tokens": 1_024, "reasoning_summary": "auto",
}  # fmt: skip
_EXAMPLE = {"max_tokens": 4_096}
SENT = tuple(TRIED)


@click.command("models")
@click.argument("name", required=False)
@session.with_options(session.ENV_FILE, session.AS_JSON)
@session.option(
    "--server", is_flag=True, help="Ask each server which models it has: a request to each, free of charge."
)
@session.option("--insecure", is_flag=True, help="Allow http to other machines.")
def command(name: str | None, env_file: Path | None, as_json: bool, server: bool, insecure: bool) -> int:
    """Show the models of an `.em` file, or one `provider/model`; without NAME all providers, and what they take."""
    console.expect_json(wanted=as_json)
    is_file = name is not None and (name.endswith(".em") or Path(name).is_file())
    here = session.open_session(Path(name) if name is not None and is_file else Path.cwd(), None, env_file)
    if name is None or name in SERVICES:
        found = [_service(s, here) for s in SERVICES.values() if name in (None, s.name)]
        if as_json:
            console.show_json({"providers": found})
        else:
            console.show_table(list(found[0]), [[_shown(v) for v in x.values()] for x in found])
        return 0
    if is_file:
        program = compile_file(Path(name), here.environment)
        models = list({(h.model.use, h.model.url): h.model for e in program.experiments for h in heads(e)}.values())
    else:
        models = [model_of(name, here.environment)]
    served = _served(models, here, insecure=insecure) if server else {}
    entries = [_model(m, here, served.get(m.use), insecure=insecure) for m in models]
    if as_json:
        console.show_json({"models": entries})
        return 0
    for entry in entries:
        console.say(str(entry["use"]) + (f"   `{entry['name']}`" if entry["name"] != entry["use"] else ""))
        for field, value in entry.items():
            if field not in ("use", "name") and value not in (None, {}, []):
                console.say(f"  {field:<12}{_shown(value)}")
        console.say()
    return 0


def _service(service: Service, here: Session) -> dict[str, Any]:
    variables = [v for v in (service.key_variable, service.other_variable) if v]
    key = (
        "none" if not variables else "set" if any(here.environment.get(v) for v in _numbered(variables)) else "not set"
    )
    return {"provider": service.name, "key": " or ".join(variables), "is": key} | _capabilities(service)


def _numbered(variables: list[str]) -> Iterable[str]:
    return (x for v in variables for x in (v, f"{v}_0"))


def _capabilities(service: Service) -> dict[str, Any]:
    return {
        "takes no": [p for p in SENT if service.params is not None and p not in service.params],
        "logprobs": service.top_logprobs if service.params is None or "top_logprobs" in service.params else None,
        "temperature": f"0 - {service.temperature}",
        "stop": service.stops,
        "prefill": service.prefill,
        "system": "first" if service.system_first else "anywhere",
        "json": service.json_schema,
        "prefix": service.prefix_tokens,
    }


def _model(model: Model, here: Session, served: Any, *, insecure: bool) -> dict[str, Any]:
    price = price_of(model)
    keys, variable = find_keys(model, here.environment)
    lacks = problem(model, here.environment, insecure=insecure)
    listed = "as declared" if model.price is not None else "as listed"
    return (
        {
            "name": model.name,
            "use": model.use,
            "revision": model.revision,
            "url": find_url(model, here.environment)[0],
            "key": f"{variable}: {f'{len(keys)} set' if keys else 'not set'}" if variable else "none needed",
            "settings": {k: console.plain_json(v) for k, v in model.params},
            "price": f"{_price(price)}; a million tokens, {listed}"
            if price is not None and not model.simulated
            else _unpriced(model),
            "context": model.context,
            "limits": {k: v for k in ("parallel", "rpm", "tpm") if (v := getattr(model, k)) is not None},
            "server": served,
            "lacks": lacks.partition(": ")[2] if lacks else None,
        }
        | _capabilities(model.service)
        | {"takes no": [p for p in SENT if objection(model, _EXAMPLE | {p: TRIED[p]})]}
    )


def _unpriced(model: Model) -> str:
    return "free: it is simulated" if model.simulated else "not known: `price = { input: $1, output: $2 }` gives one"


def _price(price: Price) -> str:
    text = f"${price.input:f} in, ${price.output:f} out"
    if price.cached_input is not None:
        text += f", ${price.cached_input:f} cached"
    if price.cache_write is not None:
        text += f", ${price.cache_write:f} put into the cache"
    return text + "".join(f"; over {n:,} tokens {_price(p)}" for n, p in price.above)


def _served(models: list[Model], here: Session, *, insecure: bool) -> dict[str, str]:
    """Return what each model's server says of it."""
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - as above

    async def ask() -> dict[str, str]:
        http = Http(len(models))
        client = Client(http, here.environment)

        async def one(model: Model) -> str:
            if problem(model, here.environment, insecure=insecure) or model.simulated:
                return "not asked"
            try:
                found = await client.models(model)
            except ProviderError as error:
                return f"does not say: {error}"
            return "has it" if model.wire_name in found else f"does not list it, among {len(found):,} others"

        try:
            return dict(zip([m.use for m in models], await asyncio.gather(*map(one, models)), strict=True))
        finally:
            await http.close()

    return asyncio.run(ask())


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{k} = {v}" for k, v in value.items())
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
