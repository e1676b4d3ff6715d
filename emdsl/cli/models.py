"""`emdsl models`: what is declared of models, what their providers take, what they cost, and what they lack."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.capability import objections, plain_name
from emdsl.cli import console, session
from emdsl.compiler.compile import compile_file, model_of
from emdsl.errors import ProviderError, UsageError
from emdsl.experiment import heads
from emdsl.parameters import NO, PREFILL, row_of, rows_of
from emdsl.price import price_of
from emdsl.providers.secret import find_keys, find_url, problem, without_password
from emdsl.query import Model
from emdsl.service import SERVICES

if TYPE_CHECKING:
    from emdsl.cli.session import Session
    from emdsl.price import Price
    from emdsl.service import Service

TRIED: dict[str, Any] = {  # a value of each parameter that every service which takes it would take
    "temperature": Decimal("0.5"), "max_tokens": 100, "top_p": Decimal("0.5"), "top_k": 5, "min_p": Decimal("0.5"),
    "frequency_penalty": 1, "presence_penalty": 1, "repetition_penalty": 1, "stop": ("x",), "seed": 0,
    "top_logprobs": 5, "reasoning_effort": "low", "reasoning_tokens": 1_024, "reasoning_summary": "auto",
}  # fmt: skip
BOUNDS = {"temperature": "most_temperature", "stop": "most_stops", "top_logprobs": "most_logprobs"}
EXAMPLE = {"max_tokens": 4_096}
LEGEND = """\
most temperature, most stops, most logprobs: the most that it takes of each. prefill: goes on from a last message of the
assistant. system first: takes system messages at the beginning only. response format: takes it in `extra`.
prefix tokens: its cache keeps beginnings of prompts from so many on."""


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
        if server:
            raise UsageError("--server asks about models: give an .em file, or provider/model")
        found = [_service(s, here) for s in SERVICES.values() if name in (None, s.name)]
        if as_json:
            console.show_json({"providers": found})
            return 0
        for entry in found:
            _show(entry.pop("provider"), entry)
        console.say(LEGEND)
        return 0
    if is_file:
        program = compile_file(Path(name), here.environment)
        models = list({(h.model.use, h.model.url): h.model for e in program.experiments for _, h in heads(e)}.values())
    else:
        models = [model_of(name, here.environment)]
    served = _served(models, here, insecure=insecure) if server else {}
    entries = [_model(m, here, served.get(m.use), insecure=insecure) for m in models]
    if as_json:
        console.show_json({"models": entries})
    else:
        for entry in entries:
            use, called = entry.pop("use"), entry.pop("name")
            _show(use + (f"   `{called}`" if called != use else ""), entry)
    return 1 if any(s.startswith("does not say") for s in served.values()) else 0


def _service(service: Service, here: Session) -> dict[str, Any]:
    variables = [v for v in (service.key_variable, service.other_variable) if v]
    keys, _ = find_keys(Model(name="", use="", service=service, wire_name=""), here.environment)
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
        "takes_no": [p for p in TRIED if not takes(p) and p not in BOUNDS],
        "most_temperature": float(service.temperature),
        "most_stops": service.stops,
        "most_logprobs": service.top_logprobs if takes("top_logprobs") else None,
        "prefill": service.prefill,
        "system_first": service.system_first,
        "response_format": service.json_schema,
        "prefix_tokens": service.prefix_tokens,
    }


def _of_model(model: Model) -> dict[str, Any]:
    """Return what a model does not take, each parameter tried alone; a bound of what it does not take is none."""
    refused = [p for p in TRIED if any(o.param == p for o in objections(model, EXAMPLE | {p: TRIED[p]}))]
    found: dict[str, Any] = {"takes_no": [p for p in refused if p != "top_logprobs"]}
    prefill = row_of(model.service.name, plain_name(model), PREFILL, {})
    if prefill is not None and prefill.takes == NO:
        found["prefill"] = False
    found["known"] = [
        {
            "parameters": list(row.parameters), "takes": row.takes, "while": row.condition or None, "sure": row.sure,
            "models": list(row.models), "source": row.source, "date": row.date,
        }
        for row in rows_of(model.service.name, plain_name(model))
    ]  # fmt: skip
    return found | {bound: None for param, bound in BOUNDS.items() if param in refused}


def _model(model: Model, here: Session, served: Any, *, insecure: bool) -> dict[str, Any]:
    keys, variable = find_keys(model, here.environment)
    lacks = problem(model, here.environment, insecure=insecure)
    return (
        {
            "name": model.name,
            "use": model.use,
            "revision": model.revision,
            "url": without_password(find_url(model, here.environment)[0] or "") or None,
            "key": f"{variable}: {f'{len(keys)} set' if keys else 'not set'}" if variable else "none needed",
            "settings": {k: console.plain_json(v) for k, v in model.params},
            "price": _said_of_price(model),
            "context": model.context,
            "limits": {k: v for k in ("parallel", "rpm", "tpm") if (v := getattr(model, k)) is not None},
            "server": served,
            "lacks": lacks.partition(": ")[2] if lacks and (keys or not variable) else None,
        }
        | _capabilities(model.service)
        | _of_model(model)
    )


def _said_of_price(model: Model) -> str:
    if model.simulated:
        return "free: it is simulated"
    price = price_of(model)
    if price is None:
        return "not known: `price = { input: $1, output: $2 }` gives one"
    return f"{_price(price)}; a million tokens, {'as declared' if model.price is not None else 'as listed'}"


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
        http = Http(len(models), here.environment)
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


def _show(head: str, entry: dict[str, Any]) -> None:
    console.say(head)
    for field, value in entry.items():
        if field == "known":
            for row in value:
                while_ = f", while {row['while']}" if row["while"] else ""
                console.say(
                    f"  {', '.join(row['parameters'])}: {row['takes']}{while_}{'' if row['sure'] else ' (a guess)'}"
                    f"   [{row['source']}, {row['date']}]"
                )
        elif value not in (None, {}, []):
            console.say(f"  {field.replace('_', ' '):<18}{_shown(value)}")
    console.say()


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{k} = {v}" for k, v in value.items())
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
