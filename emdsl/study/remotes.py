"""Remotes of packs: buckets, web servers and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.study.exchange import Exchanged
    from emdsl.study.project import Project


def push(
    project: Project,  # noqa: ARG001 - a cache folder alone can be named yet
    url: str,
    files: Sequence[Path] = (),  # noqa: ARG001 - no remote takes answers yet
    *,
    passphrase: str | None = None,  # noqa: ARG001 - no remote has encryption yet
) -> Exchanged:
    """Send answers to a remote; see `exchange.push`."""
    raise UsageError(f"`{url}` is not a cache folder: it has no answers/cache.db")


def pull(
    project: Project,  # noqa: ARG001 - no remote gives answers yet
    url: str,
    *,
    passphrase: str | None = None,  # noqa: ARG001 - no pack is read yet
) -> Exchanged:
    """Fetch answers from a remote; see `exchange.pull`."""
    raise UsageError(f"`{url}` is not a cache folder: it has no answers/cache.db")
