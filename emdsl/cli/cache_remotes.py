"""`emdsl cache add`, `remotes` and `remove`: the remotes that a cache looks up behind its store."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.options import option
from emdsl.study import remotes
from emdsl.study.screen import Table, counted

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.study.remotes import Attached


@click.command("add")
@click.argument("url")
@option("--name", envvar=None, help="A short name of the remote.  [default: its bucket, host or folder]")
@CACHE_SIM
def add(url: str, name: str | None, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Look up missing answers in the remote at URL from now on.

    Nothing is sent to it. URL is a bucket, a folder of packs, or a web server that shows one.

    \b
    Examples:
      emdsl cache add https://example.org/paper/answers
      emdsl cache add s3://lab/emdsl --name lab
    """
    found = remotes.add(open_cache(cache, simulate=simulate, as_json=as_json), url, name)
    if as_json:
        console.show_json(asdict(found))
        return 0
    console.say(f"{found.name}: {counted(found.answers, 'answer')} in {counted(found.packs, 'pack')} at {found.url}")
    console.say("Next: emdsl run FILE takes its answers from there, and sends only the missing requests")
    return 0


@click.command("remotes")
@CACHE_SIM
def list_(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """List the remotes of the cache, as of the last time that they were read.

    \b
    Example:
      emdsl cache remotes
    """
    found = remotes.remotes_of(open_cache(cache, simulate=simulate, as_json=as_json))
    if as_json:
        console.show_json({"remotes": [asdict(remote) for remote in found]})
    elif found:
        columns = ("name", "answers", "packs", "bytes", "encrypted", "url")
        console.show([Table(columns, [_row(remote) for remote in found], numeric=columns[1:4])])
    else:
        console.say("no remotes; `emdsl cache add URL` adds one")
    return 0


@click.command("remove")
@click.argument("name")
@CACHE_SIM
def remove(name: str, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Look up the remote NAME no longer. Answers that came from it stay in the cache.

    \b
    Example:
      emdsl cache remove lab
    """
    url = remotes.remove(open_cache(cache, simulate=simulate, as_json=as_json), name)
    if as_json:
        console.show_json({"name": name, "url": url})
    else:
        console.say(f"{name} removed: {url}")
    return 0


def _row(remote: Attached) -> tuple[str, ...]:
    url = remote.url if "://" in remote.url else os.path.relpath(remote.url)
    encrypted = "yes" if remote.encrypted else "no"
    return remote.name, f"{remote.answers:,}", f"{remote.packs:,}", f"{remote.bytes:,}", encrypted, url
