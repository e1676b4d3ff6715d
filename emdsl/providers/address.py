"""Where a server is and how it is reached: base URLs, the proxy on the way, the certificates that are trusted."""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINTS = ("/chat/completions", "/responses", "/messages", ":generateContent")  # what is added to a base URL
CA_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA_FOLDER = "SSL_CERT_DIR"

_ENTRY = re.compile(  # of NO_PROXY: `.b`, `*.b` and `b` are one; an address of version 6 may stand in brackets
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|\*?\.?(?P<name>[^:]+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f.]*))(?::(?P<port>\d+))?"
)


class NoWay(ValueError):
    """The environment names a proxy or certificates that cannot be used; the text says which variable."""


def at(base: str, path: str) -> str:
    """Return the URL of a path behind a base URL, whose query stays at the end.

    >>> at("https://host/v1/?api-version=1", "/messages")
    'https://host/v1/messages?api-version=1'
    """
    parts = urlsplit(base)
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


def fault_of(url: str, *, insecure: bool) -> str:
    """Return what is wrong with a base URL, without showing it: it may hold what is nobody's business."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "is no URL; write http://host:port/v1"
        if parts.username or parts.password:
            return "holds a user or password; use `key = env.NAME`"
        if parts.fragment:
            return "holds a `#`: what follows it is never sent; leave it out"
        if ending := next((e for e in ENDPOINTS if parts.path.rstrip("/").endswith(e)), ""):
            return f"ends in `{ending}`, which is added to it: leave that out"
        _ = parts.port
        if parts.scheme == "http" and not insecure and not on_this_machine(parts.hostname):
            return "is not https: prompts and API keys would travel unencrypted; `--insecure` allows it"
    except ValueError:
        return "is no URL; write http://host:port/v1"
    return ""


def on_this_machine(host: str) -> bool:
    """Whether a host is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_of(url: str) -> str:
    """Return a server's URL for messages: without path, user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def proxy_of(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy that the environment names for a server, None for none and for this machine; raises NoWay."""
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or on_this_machine(host) or _bypassed(parts, _variable("no_proxy", environment)[1]):
        return None
    known = getproxies()  # those of the system too, where it keeps some
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, found = _variable(name, environment)
        found = found or known.get(name.removesuffix("_proxy"), "")
        if not found:
            continue
        if "://" not in found:
            found = f"http://{found}"
        try:
            scheme = urlsplit(found).scheme.lower()
            _ = urlsplit(found).port
        except ValueError:
            raise NoWay(f"{variable} names no proxy: write http://host:port") from None
        if scheme not in ("http", "https"):
            raise NoWay(
                f"{variable} names a proxy of the kind `{scheme}`, and only http proxies are spoken to; give one "
                f"that speaks http, or put {host} into NO_PROXY"
            )
        return found
    return None


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable, in lower case first as other tools have it, and its value."""
    for spelling in (name, name.upper()):
        if found := environment.get(spelling, "").strip():
            return spelling, found
    return name.upper(), ""


def _bypassed(parts: SplitResult, without: str) -> bool:
    """Whether a server is among those that no proxy stands before: hosts, domains, addresses, networks, with a port."""
    host = (parts.hostname or "").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in without.lower().replace(",", " ").split():
        if entry == "*":
            return True
        if address is not None and "/" in entry:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                pass
            continue
        found = _ENTRY.fullmatch(entry)
        if found is None or (found["port"] and int(found["port"]) != port):
            continue
        name = found["address"] or found["name"]
        if host == name or (address is None and host.endswith(f".{name}")):
            return True
    return False


def trusted(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return the certificates that the environment adds to the system's, None where it adds none; raises NoWay."""
    named = [(n, p, True) for n in CA_FILES if (p := environment.get(n, "").strip())]
    named += [(CA_FOLDER, p, False) for p in environment.get(CA_FOLDER, "").strip().split(":") if p]
    if not named:
        return None
    context = ssl.create_default_context()
    for variable, text, wants_file in named:
        path = Path(text).expanduser()
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            elif wants_file and path.is_file():
                context.load_verify_locations(cafile=path)
            else:
                raise NoWay(f"{variable} names certificates that are not there; correct it, or take it back")
        except (ssl.SSLError, OSError):
            raise NoWay(f"{variable} names a file that holds no certificates; correct it, or take it back") from None
    return context
