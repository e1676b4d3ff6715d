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
_PUBLIC_OPTIONS = (  # of a URL of PostgreSQL: any other may hold a password, also under a misspelt name
    "application_name|channel_binding|client_encoding|connect_timeout|dbname|fallback_application_name|gssencmode"
    "|host|hostaddr|keepalives(?:_idle|_interval|_count)?|load_balance_hosts|options|passfile|port|require_auth|service"
    "|ssl(?:mode|cert|crl|crldir|key|negotiation|rootcert|sni)?|target_session_attrs|tcp_user_timeout|user"
)
_PASSWORD_OPTION = re.compile(r"(?<=[?&])(?:ssl)?password=[^&]*&?")
_OTHER_OPTION = re.compile(rf"(?<=[?&])(?!(?:{_PUBLIC_OPTIONS})=)[^&]*(?:&|$)")
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
    >>> without_password("postgresql://joe@db.lab/answers?pasword=hunter2&sslmode=require")
    'postgresql://joe@db.lab/answers?sslmode=require'
    """
    scheme, separator, rest = _PASSWORD_OPTION.sub("", url).partition("://")
    if not separator:
        return "(no URL)" if "password" in url else url
    user, at, host = rest.rpartition("@")
    if "?" in user and "/" not in host:  # the `@` is in the value of an option
        return f"{scheme}://{user.partition('?')[0].partition(':')[0]}"
    return f"{scheme}://{user.partition(':')[0].partition('?')[0]}{at}{_OTHER_OPTION.sub('', host)}".rstrip("?&")


def _passwords(url: str) -> list[str]:
    """Return the parts of a URL that may be passwords, percent-encoded as there."""
    user, _, host = _PASSWORD_OPTION.sub("", url).partition("://")[2].rpartition("@")
    options = [*_PASSWORD_OPTION.findall(url), *_OTHER_OPTION.findall(host)]
    of_user = [user.partition(":")[2], *(option.partition("=")[2] for option in user.split("?")[1:])]
    return [written for written in (*of_user, *(o.strip("&").partition("=")[2] for o in options)) if written]


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
