"""`emdsl batch`: requests that a provider answers together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.main import EXIT_INCOMPLETE
from emdsl.cli.options import option
from emdsl.study import batches
from emdsl.study.screen import Table

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.store.journal import BatchRecord

EVERY_S = 30.0  # between two lines about the progress


@click.group("batch")
def command() -> None:
    """List, wait for and cancel batches of requests.

    With `batch = true` in a model, or `run --batch`, requests go by the provider's batch API. Batches go on when the
    run that submitted them has ended: any run of the project collects them.
    """


@command.command("list")
@CACHE_SIM
@option("--all", "ended", is_flag=True, envvar=None, help="Batches that have ended, too.")
def list_(cache: Path | None, simulate: bool, as_json: bool, ended: bool) -> int:
    """List open batches.

    \b
    Example:
      emdsl batch list --all
    """
    found = batches.batches(open_cache(cache, simulate=simulate, as_json=as_json), ended=ended)
    if as_json:
        console.show_json({"batches": [batches.as_json(r) for r in found]})
        return 0
    if not found:
        console.say("no batches" if ended else "no open batches (--all lists those that have ended)")
        return 0
    rows = [
        (r.name, batches.state_of(r), r.place["use"], r.study, f"{r.n:,}", f"{r.answered + r.failed:,}",
         batches.expected(r))
        for r in found
    ]  # fmt: skip
    columns = ("batch", "state", "model", "study", "requests", "done", "end")
    console.show([Table(columns, rows, numeric=("requests", "done"), optional=("study", "done"))])
    for record in found:
        if record.note:
            console.say(f"{record.name}: {record.note}")
    return 0


@command.command("show")
@click.argument("name")
@CACHE_SIM
def show(name: str, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Show the batch NAME: its state, and what came of its requests. The beginning of a name is enough.

    \b
    Example:
      emdsl batch show emdsl-1f3a
    """
    record, counts = batches.results(open_cache(cache, simulate=simulate, as_json=as_json), name)
    if as_json:
        console.show_json(batches.as_json(record) | {"results": counts})
        return 0
    console.say(f"{record.name}: {batches.state_of(record)}")
    console.say(f"  {record.n:,} requests to {record.place['use']}, {record.size:,} bytes, of the study {record.study}")
    if record.id:
        console.say(f"  its provider calls it {record.id}")
    if when := batches.expected(record):
        console.say(f"  {'ended' if record.ended_at is not None else 'ends by'} {when}")
    if record.note:
        console.say(f"  {record.note}")
    for result, n in sorted(counts.items(), key=lambda item: -item[1]):
        console.say(f"  {n:,} {result}")
    return 0


@command.command("wait")
@click.argument("names", nargs=-1)
@CACHE_SIM
@option("--once", is_flag=True, envvar=None, help="Collect what has ended, and do not wait.")
def wait(names: tuple[str, ...], cache: Path | None, simulate: bool, as_json: bool, once: bool) -> int:
    """Wait for the batches NAMES, or all that are open, and collect their answers.

    Ctrl-C ends the wait, and nothing is lost. The tables are loaded by the next `emdsl run`.

    \b
    Examples:
      emdsl batch wait
      emdsl batch wait --once
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json)
    last = 0.0

    def on_poll(open_: list[BatchRecord]) -> None:
        nonlocal last
        if not as_json and time.monotonic() - last > EVERY_S:
            last = time.monotonic()
            done, n = sum(r.answered + r.failed for r in open_), sum(r.n for r in open_)
            console.say(f"{done:,} of {n:,} requests in {counted_batches(len(open_))} done", err=True)

    def on_notice(notice: str) -> None:
        if not as_json:
            console.say(f"note: {notice}", err=True)

    waited = batches.wait(project, names, on_poll=on_poll, on_notice=on_notice, once=once)
    if as_json:
        console.show_json(
            {"collected": waited.collected, "answers": waited.answers, "open": [r.name for r in waited.open],
             "notices": list(waited.notices)}
        )  # fmt: skip
    else:
        if not (waited.collected or waited.open):
            console.say("no open batches")
            return 0
        left = f"; {counted_batches(len(waited.open))} still open" if waited.open else ""
        console.say(f"{waited.answers:,} answers of {counted_batches(waited.collected)} collected{left}")
    return EXIT_INCOMPLETE if waited.open else 0


@command.command("cancel")
@click.argument("name")
@CACHE_SIM
@option(
    "--forget", is_flag=True, envvar=None,
    help="Do not ask the provider. The requests are pending at once; if it still answers them, they are paid twice.",
)  # fmt: skip
def cancel(name: str, cache: Path | None, simulate: bool, as_json: bool, forget: bool) -> int:
    """Cancel the batch NAME. Its provider may take minutes; answers that it has by then are kept.

    \b
    Example:
      emdsl batch cancel emdsl-1f3a
    """
    record = batches.cancel(open_cache(cache, simulate=simulate, as_json=as_json), name, forget=forget)
    if as_json:
        console.show_json(batches.as_json(record))
        return 0
    console.say(f"{record.name}: {batches.state_of(record)}")
    if batches.state_of(record) == "cancelling":
        console.say("its requests are pending when `emdsl run` or `emdsl batch wait` has seen it end")
    return 0


def counted_batches(n: int) -> str:
    """Return a number of batches with its noun."""
    return "1 batch" if n == 1 else f"{n:,} batches"
