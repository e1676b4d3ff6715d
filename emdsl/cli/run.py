"""`emdsl run`: what an up-to-date run needs is all that this imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console, session, uptodate

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path


@click.command("run")
@session.OF_RUN
@session.option("--dry-run", is_flag=True, help="The same as `emdsl plan`.")
def command(
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    simulate: bool,
    as_json: bool,
    connections: int | None,
    offline: bool,
    dry_run: bool,
    max_wait: float,
    max_retries: int | None,
    display: str | None,
    budget: Decimal | None,
    yes: bool,
    confirm_over: Decimal,
    insecure: bool,
) -> int:
    """Ask what FILE needs and the store does not hold, and load the outcomes.

    FILE is a program, or a plan written with `emdsl plan -o plan.json`. The first Ctrl-C finishes what is in flight
    and keeps it; the second stops at once.
    """
    console.expect_json(wanted=as_json)
    expected = None
    if file.suffix.lower() == ".json":
        from emdsl.cli.planfile import read_plan  # noqa: PLC0415 - the short way does without

        expected = read_plan(file, samples, only, simulate=simulate)
        file, samples, only, simulate = expected.file, expected.samples, expected.only, expected.simulate
    here = session.open_session(file, cache, env_file, simulate=simulate)
    marks = ("run", samples, only, as_json)
    if not dry_run and expected is None and (kept := uptodate.find(here, file, marks)) is not None:
        return uptodate.show(here, file, kept)
    from emdsl.cli.running import Call, execute  # noqa: PLC0415 - as above: all the heavy libraries

    call = Call(
        file=file, samples=samples, only=only, as_json=as_json, connections=connections, offline=offline,
        cache=cache, dry_run=dry_run, max_wait=max_wait, max_retries=max_retries, display=display, expected=expected,
        budget=budget, confirm_over=None if yes else confirm_over, insecure=insecure, env_file=env_file,
    )  # fmt: skip
    return execute(here, call, marks)
