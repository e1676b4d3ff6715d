"""`emdsl plan`: what a run would ask."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.main import EXIT_INCOMPLETE
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError
from emdsl.frame import EvalFault
from emdsl.run.planner import ExperimentCount, plan
from emdsl.run.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emdsl.experiment import Program


@click.command("plan")
@session.with_options(
    session.FILE, session.CACHE, session.ENV_FILE, session.SAMPLES, session.ONLY, session.SIM, session.AS_JSON,
    session.CONNECTIONS, session.OFFLINE, session.DISPLAY, session.MAX_WAIT, session.MAX_RETRIES,
)  # fmt: skip
@session.option("--exit-code", is_flag=True, help="Exit 3 when there is work to do.")
def command(
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    simulate: bool,
    as_json: bool,
    exit_code: bool,
    **_of_run: object,
) -> int:
    """Show what a run of FILE would ask, and what is stored; asks nothing, changes nothing.

    It takes the options of `run`, so that the one call can become the other.
    """
    console.expect_json(wanted=as_json)
    start = time.monotonic()
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    store = here.store(create=False)
    try:
        counts = [
            plan(Walk(experiment, selection), store)
            for experiment, selection in zip(
                program.experiments, session.selections(program, samples, only), strict=True
            )
        ]
        corrupt = len(store.corrupt)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()
    if as_json:
        console.show_json(plan_json(counts, time.monotonic() - start) | warnings_json(program))
    else:
        show_warnings(program)
        show_counts(counts)
        show_corrupt(corrupt)
        left = total(counts)
        unknown = any(s.unknown for c in counts for s in c.steps)
        done = "Nothing that is known is left to ask." if unknown else "Nothing to ask: every answer is stored."
        console.say(f"Run: emdsl run {shlex.quote(str(file))}" if left else done)
    return EXIT_INCOMPLETE if exit_code and total(counts) else 0


def plan_json(counts: list[ExperimentCount], wall_s: float) -> dict[str, Any]:
    """Return the counts as the CLI contract names them."""
    return {
        "experiments": [
            {
                "name": c.experiment.name,
                "cells": c.cells,
                "samples": c.samples,
                "steps": [s.as_json() for s in c.steps],
            }
            for c in counts
        ],
        "requests": total(counts),
        "wall_s": round(wall_s, 3),
    }


def total(counts: list[ExperimentCount]) -> int:
    """Return how many distinct requests are left, at most: experiments of one file share what is equal."""
    left: set[Any] = set()
    for count in counts:
        for step in count.steps:
            left |= step.ready
            left |= {(count.experiment.name, r) for r in (*step.recipes, *step.maybe)}
    return len(left)


def warnings_json(program: Program, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is to be said beside the counts, if anything is."""
    found: dict[str, Any] = {}
    if program.warnings:
        found["warnings"] = [w.as_json() for w in program.warnings]
    if notices:
        found["notices"] = list(notices)
    return found


def show_warnings(program: Program) -> None:
    """Print what the compiler warns of."""
    for warning in program.warnings:
        console.say(warning.render() + "\n", err=True)


def show_corrupt(n: int) -> None:
    """Say how many stored entries were not believed."""
    if n:
        console.say(f"{n:,} stored entries are damaged; they are not believed, and will be asked again", err=True)


def show_counts(counts: list[ExperimentCount]) -> None:
    """Print one screen: cells by axis, and each step's requests."""
    for count in counts:
        experiment = count.experiment
        axes = "  ".join(f"{a.name} {len(a.levels)}" for a in experiment.axes)
        skipped = f"  ({experiment.n_skipped:,} skipped)" if experiment.n_skipped else ""
        console.say(
            f"{experiment.name}   {count.cells:,} cell{'' if count.cells == 1 else 's'} x {count.samples:,} "
            f"sample{'' if count.samples == 1 else 's'}   {axes}{skipped}"
        )
        open_steps = any(s.maybe for s in count.steps)
        rows = [
            (
                f"  {s.step.kind} {s.step.name}",
                ("<=" if s.maybe or s.recipes else "") + f"{s.needed:,}",
                f"{s.cached:,}",
                _to_run(s.expected, s.at_most) if s.maybe else f"{s.to_run:,}",
            )
            for s in count.steps
        ]
        console.show_table(("  step", "needed", "cached", "to run"), rows, numeric=("needed", "cached", "to run"))
        if unknown := max((s.unknown for s in count.steps), default=0):
            console.say(f"  {unknown:,} of {count.cells * count.samples:,} rows are unknown: a dataset is not here yet")
        if count.beyond_budget:
            console.say(f"  {count.beyond_budget}: `emdsl run` would refuse (E733)")
        if open_steps:
            console.say("  * known only after judging; ~ is an estimate from what is stored")
        console.say()


def _to_run(expected: int | None, at_most: int) -> str:
    return f"<={at_most:,} *" if expected is None else f"~{expected:,} (<={at_most:,}) *"
