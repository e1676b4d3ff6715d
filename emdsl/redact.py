"""Secrets: which values are secret, and texts without them. Nothing else decides what is masked.

Answers and errors of a server lose the API keys that it may know; printed texts lose all secrets of the environment;
excerpts of a source lose the keys that somebody wrote into it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK = "[API key]"
MIN_SECRET = 6  # characters: masking a shorter one would mask ordinary words
LONG_SECRET = 20  # from which one without digits is no word
MIN_PRINTED = 12  # characters: in all that is printed, a shorter value may be a word of someone's data
_API_KEY_NAME = re.compile(r"API_KEY(?:_\d+)?$")
_SECRET_NAME = re.compile(  # of buckets and PostgreSQL, too
    r"(?:API_KEY(?:_\d+)?|_(?:ACCESS|ACCOUNT|SAS)_KEY|_TOKEN|_SECRET|_PASSWORD|_PASSPHRASE|^PGPASSWORD)$"
)
_PASSWORD_OPTION = re.compile(r"(?<=[?&])(?:ssl)?password=[^&]*&?")  # of a URL of PostgreSQL
_IN_SOURCE = re.compile(
    r"""(?P<before>(?<!let )\bkey\s*=\s*)(?P<value>["'`\u2018\u201c][^,}#]*)|\b(?:sk|gsk|xai|hf)[-_][A-Za-z0-9_-]{8,}"""
)


@dataclass(frozen=True, slots=True)
class Secret:
    """An API key or another secret; only `reveal` shows it."""

    _text: str = field(repr=False)
    sure: bool = False  # declared secret: masked even if it is a short word of letters

    def __str__(self) -> str:
        return MASK

    def reveal(self) -> str:
        """Return the secret itself, for the one header that it belongs in."""
        return self._text


class Redactor:
    """Masks secrets in texts: verbatim, and as JSON and URLs write them, in any case."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Mask these secrets too."""
        for secret in secrets:
            text = secret.reveal()
            # Words such as `ollama` or `not-needed` are no secrets, and parts of ordinary answers.
            sure = secret.sure or len(text) >= LONG_SECRET or any(c.isdigit() for c in text)
            if sure and len(text) >= MIN_SECRET:
                self._forms |= {text, json.dumps(text)[1:-1], quote(text, safe="")}
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None

    def mask(self, text: str) -> str:
        """Return a text without the secrets."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def mask_optional(self, text: str | None) -> str | None:
        """Return an optional text without the secrets."""
        return self.mask(text) if text is not None else None


_printed = Redactor()  # of this process: all that it prints and writes for people


def register(environment: Mapping[str, str]) -> None:
    """Mask the secrets of an environment in all that this process prints: API keys, tokens and passwords."""
    secrets = (v.strip() for n, v in environment.items() if _SECRET_NAME.search(n.upper()))
    _printed.add(Secret(s, sure=True) for s in secrets if len(s) >= MIN_PRINTED and not s.isdigit())


def register_url(url: str) -> None:
    """Mask the passwords of a URL in all that this process prints."""
    secrets = [s for written in _passwords(url) for s in (written, unquote(written))]
    _printed.add(Secret(s, sure=True) for s in secrets if len(s) >= MIN_PRINTED and not s.isdigit())


def mask(text: str) -> str:
    """Return a text without the registered secrets."""
    return _printed.mask(text)


def api_keys(environment: Mapping[str, str]) -> list[Secret]:
    """Return the API keys of an environment, by the names of its variables."""
    values = (v.strip() for n, v in environment.items() if _API_KEY_NAME.search(n.upper()))
    return [Secret(v) for v in values if len(v) >= MIN_SECRET and not v.isdigit()]


def mask_source(line: str) -> str:
    """Return a line of a source with stars for API keys that somebody wrote into it; its length stays.

    >>> mask_source('model m { key = "sk-12345678" }')
    'model m { key = **************}'
    """
    return _IN_SOURCE.sub(_stars, line)


def _stars(match: re.Match[str]) -> str:
    before: str = match["before"] or ""
    return before + "*" * (len(match[0]) - len(before))


def without_password(url: str) -> str:
    """Return a URL without its passwords, with its user; it may be an invalid one.

    >>> without_password("postgresql://joe:hunter2@db.lab/answers?sslmode=require&password=hunter2")
    'postgresql://joe@db.lab/answers?sslmode=require'
    >>> without_password("postgresql://joe:a@b/c#d@db.lab/answers")
    'postgresql://joe@db.lab/answers'
    """
    scheme, separator, rest = _PASSWORD_OPTION.sub("", url).partition("://")
    if not separator:
        return "(no URL)" if "password" in url else url
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}".rstrip("?&")


def _passwords(url: str) -> list[str]:
    """Return the passwords in a URL, as they are written there."""
    user = _PASSWORD_OPTION.sub("", url).partition("://")[2].rpartition("@")[0].partition(":")[2]
    options = [found.strip("&").partition("=")[2] for found in _PASSWORD_OPTION.findall(url)]
    return [written for written in (user, *options) if written]


def mask_password(url: str) -> str:
    """Return a URL without its user and password.

    >>> mask_password("http://joe:hunter2@localhost:8000/v1")
    'http://[API key]@localhost:8000/v1'
    """
    try:
        parts = urlsplit(url)
        if parts.username is None and parts.password is None:
            return url
        return parts._replace(netloc=f"{MASK}@{parts.netloc.rpartition('@')[2]}").geturl()
    except ValueError:
        return "(no URL)"
