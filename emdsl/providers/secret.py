"""API keys: where they come from, and how texts are masked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from emdsl.providers.address import BadNetworkSettings, certificates, proxy_of, server_of, why_invalid
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.query import Model

MASK = "[API key]"
MAX_KEYS = 100  # of one service, numbered from 0
MIN_SECRET = 6  # characters: masking a shorter one would mask ordinary words
LONG_SECRET = 20  # characters; a shorter one without digits may be an ordinary word
_SECRET_NAME = re.compile(r"API_KEY(?:_\d+)?$")


@dataclass(frozen=True, slots=True)
class Secret:
    """An API key; only `reveal` returns its text."""

    _text: str = field(repr=False)
    sure: bool = False  # declared as a secret, so masked even if it looks like an ordinary word

    def __str__(self) -> str:
        return MASK

    def reveal(self) -> str:
        """Return the text of the key, for the one header that carries it."""
        return self._text


class Masker:
    """Masks API keys in texts, in plain form and as escaped in JSON and URLs."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            text = secret.reveal()
            # Words such as `ollama` or `not-needed` are not secrets, and occur in ordinary answers.
            sure = secret.sure or len(text) >= LONG_SECRET or any(c.isdigit() for c in text)
            if sure and len(text) >= MIN_SECRET:
                forms |= {text, json.dumps(text)[1:-1], quote(text, safe="")}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None

    def mask(self, text: str) -> str:
        """Return a text without any of the keys."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def mask_all(self, text: str | None) -> str | None:
        """Return a text without any of the keys; None stays None."""
        return self.mask(text) if text is not None else None


def secrets_in(environment: Mapping[str, str]) -> list[Secret]:
    """Return the API keys of an environment, by the names of its variables."""
    values = [v.strip() for n, v in environment.items() if _SECRET_NAME.search(n.upper())]
    return [Secret(v) for v in values if len(v) >= MIN_SECRET and not v.isdigit()]


def without_password(url: str) -> str:
    """Return a URL with its user name and password masked."""
    try:
        parts = urlsplit(url)
        if parts.username is None and parts.password is None:
            return url
        return parts._replace(netloc=f"{MASK}@{parts.netloc.rpartition('@')[2]}").geturl()
    except ValueError:
        return "(not a URL)"


def find_keys(model: Model, environment: Mapping[str, str]) -> tuple[tuple[Secret, ...], str]:
    """Return a model's API keys, and the variable that they come from.

    Several are used side by side: `OPENAI_API_KEY`, `OPENAI_API_KEY_0`, `OPENAI_API_KEY_1` ...
    """
    if isinstance(model.key, EnvVar):
        variables = [model.key.name]
    else:
        variables = [v for v in (model.service.key_variable, model.service.other_variable) if v]
    for variable in variables:
        names = [variable, *(f"{variable}_{i}" for i in range(MAX_KEYS))]
        texts = dict.fromkeys(t for n in names if (t := environment.get(n, "").strip()))
        if texts:
            return tuple(Secret(t) for t in texts), variable
    return (), variables[0] if variables else ""


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


def server(model: Model, environment: Mapping[str, str]) -> str:
    """Return the URL of a model's server for messages; "" for a simulated model."""
    url, _ = find_url(model, environment)
    return server_of(url) if url and not model.simulated else ""


def why_unusable(model: Model, environment: Mapping[str, str], *, insecure: bool = False) -> str | None:
    """Return why a model cannot be used, None if its setup is complete; the text contains no secret.

    `insecure` allows prompts and keys to be sent unencrypted to other machines.
    """
    url, variable = find_url(model, environment)
    if url is None and not model.simulated:
        return f"`{model.name}`: `{model.service.name}` has no URL: set `{variable}` or write `url = ...`"
    if url is not None and (reason := why_invalid(url, insecure=insecure)):
        return f"`{model.name}`: {f'`{variable}`' if variable else 'its `url`'} {reason}"
    try:
        if url is not None:
            proxy_of(url, environment)
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
