"""The remotes that a cache looks up: their names and URLs in a file of the cache, and each with its catalog."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.files import write_whole
from emdsl.project import REMOTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.store.read_through import ReadThroughStore
    from emdsl.store.remote import Remote
    from emdsl.store.store import AnswerStore

CATALOGS = "remotes"  # a folder in the cache
PASSPHRASE = "EMDSL_PASSPHRASE"  # noqa: S105 - the name of a variable


def attached(cache: Path) -> dict[str, str]:
    """Return the URLs of a cache's remotes by their names; raises StoreError if the file cannot be read."""
    path = cache / REMOTES
    try:
        held: Any = json.loads(path.read_bytes())
        return {str(remote["name"]): str(remote["url"]) for remote in held["remotes"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): delete it, and add its remotes again") from error


def attach(cache: Path, remotes: Mapping[str, str]) -> None:
    """Write the remotes of a cache, URLs by names; raises StoreError."""
    held = {"remotes": [{"name": name, "url": url} for name, url in remotes.items()]}
    try:
        if not remotes:  # a cache without remotes opens its store alone
            (cache / REMOTES).unlink(missing_ok=True)
            return
        write_whole(cache / REMOTES, json.dumps(held, indent=1) + "\n")
    except OSError as error:
        raise StoreError(f"{cache / REMOTES} cannot be written: {error.strerror}") from error


def open_remote(
    name: str, url: str, cache: Path, environment: Mapping[str, str], *, passphrase: str | None = None,
    create: bool = False,
) -> Remote:  # fmt: skip
    """Open a remote with the catalog that a cache has of it; `create` makes the folder of a remote in a folder.

    Raises SetupError if its package or a credential is missing, UsageError for a URL of no remote.
    """
    from emdsl.store.buckets import Bucket  # noqa: PLC0415 - a cache without remotes needs no object store
    from emdsl.store.catalog import Catalog  # noqa: PLC0415 - a cache without remotes has no catalog
    from emdsl.store.remote import Remote  # noqa: PLC0415 - it loads packs and encryption

    bucket = Bucket(url, environment, create=create)
    return Remote(name, bucket, Catalog(catalog_of(cache, url)), passphrase or environment.get(PASSPHRASE))


def catalog_of(cache: Path, url: str) -> Path:
    """Return the path of the catalog that a cache has of a remote."""
    return cache / CATALOGS / f"{digest_bytes(url.encode()).hex()[:16]}.db"


def writable(cache: Path) -> bool:
    """Whether a cache can keep answers of its remotes."""
    return os.access(cache, os.W_OK)


def read_through(
    store: AnswerStore, cache: Path, environment: Mapping[str, str], *, keeps: bool, sends: bool
) -> ReadThroughStore:
    """Return a store with the remotes of its cache behind it; see `ReadThroughStore`."""
    from emdsl.store.read_through import ReadThroughStore  # noqa: PLC0415 - few caches have remotes

    def remotes() -> list[Remote]:
        return [open_remote(name, url, cache, environment) for name, url in attached(cache).items()]

    return ReadThroughStore(store, remotes, keeps=keeps, sends=sends)
