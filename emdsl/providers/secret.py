"""API keys, headers and URLs of a model: where they are found, and why they cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.providers.address import BadNetworkSettings, certificates, is_encrypted, proxy_of, server_of, why_invalid
from emdsl.redact import Secret
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Model

MAX_KEYS = 100  # of one service, numbered from 0


def find_keys(model: Model, environment: Mapping[str, str]) -> tuple[tuple[Secret, ...], str]:
    """Return a model's API keys, and the variable that they come from.

    Several are used side by side: `OPENAI_API_KEY`, `OPENAI_API_KEY_0`, `OPENAI_API_KEY_1` ...
    """
    named, variable = _named_keys(model, environment)
    return tuple(Secret(text) for text in named), variable


def key_variables(model: Model, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variable of each of a model's API keys, in the order of `find_keys`."""
    return tuple(_named_keys(model, environment)[0].values())


def _named_keys(model: Model, environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the variable of each distinct API key, and the variable that names them all."""
    if isinstance(model.key, EnvVar):
        variables = [model.key.name]
    else:
        variables = [v for v in (model.service.key_variable, model.service.fallback_variable) if v]
    for variable in variables:
        named: dict[str, str] = {}
        for name in (variable, *(f"{variable}_{i}" for i in range(MAX_KEYS))):
            if text := environment.get(name, "").strip():
                named.setdefault(text, name)
        if named:
            return named, variable
    return {}, variables[0] if variables else ""


def find_headers(model: Model, environment: Mapping[str, str]) -> dict[str, str]:
    """Return a model's own headers with their values."""
    return {
        name: environment.get(value.name, "").strip() if isinstance(value, EnvVar) else value
        for name, value in model.headers
    }


def find_url(model: Model, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """Return a model's base URL, and the variable that sets it."""
    service = model.service
    if isinstance(model.url, EnvVar):
        url, variable = environment.get(model.url.name), model.url.name
    elif model.url is not None:
        url, variable = model.url, ""
    else:
        variable = service.url_variable or ""
        url = environment.get(variable) or service.url
    return (url.strip().rstrip("/") or None if url else None), variable


def needs_servers(model: Model, environment: Mapping[str, str]) -> bool:
    """Return whether a run must start the servers of a model: no variable names one that runs already."""
    return model.serve is not None and not environment.get(model.service.url_variable or "", "").strip()


def server(model: Model, environment: Mapping[str, str]) -> str:
    """Return the URL of a model's server for messages; "" for a simulated model."""
    url, _ = find_url(model, environment)
    return server_of(url) if url and not model.simulated else ""


def why_unusable(model: Model, environment: Mapping[str, str], *, insecure: bool = False) -> str | None:
    """Return why a model cannot be used, None if its setup is complete; the text contains no secret.

    `insecure` allows prompts and keys to be sent unencrypted to other machines.
    """
    if model.serve is not None and needs_servers(model, environment):
        return (
            f"`{model.name}` ({model.use}): no server runs: add --serve, which starts {model.serve.shown}, or set "
            f"`{model.service.url_variable}` to the URL of one"
        )
    url, variable = find_url(model, environment)
    if url is None and not model.simulated:
        return f"`{model.name}`: `{model.service.name}` has no URL: set `{variable}` or write `url = ...`"
    if url is not None and (reason := why_invalid(url, insecure=insecure)):
        return f"`{model.name}`: {f'`{variable}`' if variable else 'its `url`'} {reason}"
    try:
        if url is not None and (proxy_of(url, environment) is not None or is_encrypted(url)):
            certificates(environment)
    except BadNetworkSettings as error:
        return f"`{model.name}`: {error}"
    keys, variable = find_keys(model, environment)
    if not keys and (model.key is not None or model.service.key_required) and not model.simulated:
        return (
            f"`{model.name}` ({model.use}): the API key `{variable}` is not set: "
            "add it to the environment or to a `.env` file"
        )
    for name, value in model.headers:
        if isinstance(value, EnvVar) and not _sendable(environment.get(value.name, "")):
            reason = "contains a line end or other control characters" if environment.get(value.name) else "is not set"
            return f"`{model.name}`: `{value.name}`, for its header `{name}`, {reason}: set it in the environment"
    if not all(_sendable(k.reveal()) for k in keys):
        return f"`{model.name}`: `{variable}` is not an API key: it contains a line end or non-ASCII characters"
    return None


def _sendable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()
