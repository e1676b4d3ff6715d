"""Base URLs, proxies and trusted certificates."""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

ENDPOINTS = ("/chat/completions", "/responses", "/messages", ":generateContent")  # added to a base URL
CA_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA_FOLDER = "SSL_CERT_DIR"

_ENTRY = re.compile(  # of NO_PROXY: `.b`, `*.b` and `b` are equal; an IPv6 address may be in brackets
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|\*?\.?(?P<name>[^:]+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f.]*))(?::(?P<port>\d+))?"
)


class BadNetworkSettings(ValueError):
    """A variable of the environment names a proxy or certificates that cannot be used; the text names the variable."""


def join_url(base: str, path: str) -> str:
    """Append a path to a base URL; its query stays at the end.

    >>> join_url("https://host/v1/?api-version=1", "/messages")
    'https://host/v1/messages?api-version=1'
    """
    parts = urlsplit(base)
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


def why_invalid(url: str, *, insecure: bool) -> str:
    """Return why a base URL cannot be used, "" if it can. The text never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "is not a URL: write `http://host:port/v1`"
        if parts.username or parts.password:
            return "holds a user name or password: use `key = env.NAME` instead"
        if parts.fragment:
            return "contains `#`: remove it and everything after it, which is never sent"
        if ending := next((e for e in ENDPOINTS if parts.path.rstrip("/").endswith(e)), ""):
            return f"ends in `{ending}`: remove that, emdsl adds it"
        _ = parts.port
        if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
            return "is not https, so prompts and API keys would be sent unencrypted: use https or `--insecure`"
    except ValueError:
        return "is not a URL: write `http://host:port/v1`"
    return ""


def is_encrypted(url: str) -> bool:
    """Whether requests to a URL are encrypted."""
    return urlsplit(url).scheme == "https"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_of(url: str) -> str:
    """Return a server's URL for messages, without path, user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def proxy_of(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy that the environment names for a server; None without one, and for this machine.

    Raises BadNetworkSettings.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or is_loopback(host) or _bypassed(parts, _variable("no_proxy", environment)[1]):
        return None
    from urllib.request import getproxies  # noqa: PLC0415 - 8 ms, that a plan of local models need not wait for

    system_proxies = getproxies()  # macOS and Windows keep some outside of the environment
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, proxy = _variable(name, environment)
        proxy = proxy or system_proxies.get(name.removesuffix("_proxy"), "")
        if not proxy:
            continue
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            scheme = urlsplit(proxy).scheme.lower()
            _ = urlsplit(proxy).port
        except ValueError:
            raise BadNetworkSettings(f"`{variable}` is not the URL of a proxy: write `http://host:port`") from None
        if scheme not in ("http", "https"):
            raise BadNetworkSettings(
                f"`{variable}` names a `{scheme}` proxy, but only http proxies are supported: "
                f"name an http proxy, or add `{host}` to `NO_PROXY`"
            )
        return proxy
    return None


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the name and value of a variable: the lower-case spelling first, as in other tools."""
    for spelling in (name, name.upper()):
        if value := environment.get(spelling, "").strip():
            return spelling, value
    return name.upper(), ""


def _bypassed(parts: SplitResult, no_proxy: str) -> bool:
    """Whether `no_proxy` lists a server: by host, domain, address or network, with or without a port."""
    host = (parts.hostname or "").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        if address is not None and "/" in entry:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
            continue
        match = _ENTRY.fullmatch(entry)
        if match is None or (match["port"] and int(match["port"]) != port):
            continue
        name = match["address"] or match["name"]
        if host == name or (address is None and host.endswith(f".{name}")):
            return True
    return False


def certificates(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return the system's certificates and those that the environment adds; None if it adds none.

    Raises BadNetworkSettings.
    """
    places = [(n, p, True) for n in CA_FILES if (p := environment.get(n, "").strip())]
    places += [(CA_FOLDER, p, False) for p in environment.get(CA_FOLDER, "").strip().split(":") if p]
    return _trusting(tuple(places)) if places else None


@cache  # reading all certificates of a system takes 30 ms
def _trusting(places: tuple[tuple[str, str, bool], ...]) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - 20 ms that plain HTTP should not cost

    context = ssl.create_default_context()
    for variable, text, is_file in places:
        path = Path(text).expanduser()
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            elif is_file and path.is_file():
                context.load_verify_locations(cafile=path)
            else:
                raise BadNetworkSettings(f"`{variable}` names certificates that do not exist: correct or unset it")
        except (ssl.SSLError, OSError):
            raise BadNetworkSettings(f"`{variable}` names a file without certificates: correct or unset it") from None
    return context
