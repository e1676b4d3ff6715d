"""`emdsl plan`: what a run would ask."""

from __future__ import annotations

import shlex
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.counts import plan_json, short, show_corrupt, show_counts, show_warnings, show_why, total, warnings_json
from emdsl.cli.earlier import NEW, earlier, from_elsewhere, new_here
from emdsl.cli.main import EXIT_INCOMPLETE
from emdsl.cli.money import budgets_json, show_budget, within
from emdsl.cli.planfile import ENDING, Planned, digests, known_requests, write_plan
from emdsl.cli.power import power_notes
from emdsl.cli.results import drift_of
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError, UsageError
from emdsl.frame import EvalFault
from emdsl.outcomes.loads import DATABASE, check_name, known_loads
from emdsl.providers.secret import problem
from emdsl.run.planner import ExperimentCount, plan, started
from emdsl.run.walk import Walk
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from decimal import Decimal

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query


@click.command("plan")
@session.OF_RUN
@session.option("--exit-code", is_flag=True, help="Exit 3 when there is work to do.")
@session.option("--by", metavar="AXIS[,AXIS]", help="Count by the levels of these axes too.")
@session.option("--list", "as_list", is_flag=True, help="List every request that is left.")
@session.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan, to be run.")
def command(
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    simulate: bool,
    as_json: bool,
    exit_code: bool,
    by: str | None,
    as_list: bool,
    output: Path | None,
    budget: Decimal | None,
    insecure: bool,
    **_of_run: object,
) -> int:
    """Show what a run of FILE would ask, what is stored, and why; asks nothing, changes nothing.

    It takes the options of `run`, so that the one call can become the other.
    """
    console.expect_json(wanted=as_json)
    if file.suffix.lower() == ENDING:
        raise UsageError(f"{file} is a plan already: `emdsl run {file}` runs it; plan the .em file to plan again")
    start_s = time.monotonic()
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    check_name(here.study(file), known_loads(here.cache))
    chosen = session.selections(program, samples, only)
    walks = [Walk(e, s) for e, s in zip(program.experiments, chosen, strict=True)]
    store = here.store(create=False)
    before, not_known = earlier(here, file, program)
    listed: list[dict[str, Any]] = []
    try:
        counts = started(walks, budget)
        for walk, count in zip(walks, counts, strict=True):
            count.comparison = before.of(walk.experiment) if before is not None else None
            count.by = _axes(walk.experiment, by, program)
            if as_list:
                count.on_open = partial(_listed, listed, walk.experiment)
            plan(walk, store, count)
        corrupt = len(store.corrupt)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()
    drift = drift_of(here, file, program.experiments) if (here.cache / DATABASE).exists() else []
    drift += from_elsewhere(here, counts) + power_notes(here, file, counts, budget)
    found = plan_json(counts, time.monotonic() - start_s) | budgets_json(counts, budget) | warnings_json(program, drift)
    lacks = _lacks(counts, here, insecure=insecure)
    if lacks:
        found["lacks"] = lacks
    if output is not None:
        planned = Planned(
            file=file, samples=samples, only=only, simulate=simulate, digests=digests(walks), requests=total(counts),
            ready=known_requests(counts), written=output,
        )  # fmt: skip
        write_plan(output, planned, found, program.files)
    if budget is not None:
        within(counts, budget)
    if as_json:
        console.show_json(found | ({"list": listed} if as_list else {}))
    else:
        show_warnings(program)
        show_counts(counts)
        show_budget(counts, budget)
        show_why(counts, new_here(here, counts) if not_known == NEW else not_known)
        show_corrupt(corrupt)
        _show_beside(lacks, drift, listed)
        options = session.repeated(cache=cache, budget=budget, insecure=insecure, env_file=env_file)
        if output is None:  # a plan that is written holds the rest
            options = session.repeated(samples=samples, only=only, simulate=simulate) + options
        _show_next(counts, output or file, options, written=output is not None, detailed=bool(by or as_list))
    return EXIT_INCOMPLETE if exit_code and total(counts) else 0


def _lacks(counts: list[ExperimentCount], here: Session, *, insecure: bool) -> list[str]:
    """Return what a run would miss: API keys, addresses."""
    models = [m for c in counts for m in c.models.values()]
    return sorted({p for m in models if (p := problem(m, here.environment, insecure=insecure)) is not None})


def _show_beside(lacks: list[str], drift: list[str], listed: list[dict[str, Any]]) -> None:
    for lack in lacks:
        console.say(f"note: before a run: {lack}", err=True)
    for notice in drift:
        console.say(f"note: {notice}\n", err=True)
    if listed:
        console.show_table(list(listed[0]), [[short(str(v)) for v in x.values()] for x in listed])
        console.say()


def _show_next(counts: list[ExperimentCount], file: Path, options: str, *, written: bool, detailed: bool) -> None:
    """Print what to do next."""
    if written:
        console.say(f"Written: {file}")
    if not total(counts):
        unknown = any(s.unknown for c in counts for s in c.steps)
        console.say("Nothing that is known is left to ask." if unknown else "Nothing to ask: every answer is stored.")
        return
    more = "" if detailed or written else "      Details: --by AXIS,...   --list   --json   -o plan.json"
    console.say(f"Run: emdsl run {shlex.quote(str(file))}{options}{more}")


def _axes(experiment: Experiment, by: str | None, program: Program) -> tuple[int, ...]:
    """Return the positions of the axes of `--by` that an experiment has; raises UsageError for one that none has."""
    names = [n.strip() for n in by.split(",")] if by else []
    known = {a.name for e in program.experiments for a in e.axes}
    for name in names:
        if name not in known:
            raise UsageError(f"--by: no axis is called `{name}`; " + (near(name, known) or f"they are {one_of(known)}"))
    own = [a.name for a in experiment.axes]
    return tuple(own.index(n) for n in names if n in own)


def _listed(
    listed: list[dict[str, Any]], experiment: Experiment, step: Step, row: Outcome, query: Query | None
) -> None:
    levels = [f"{a.name}={a.levels[i].shown}" for a, i in zip(experiment.axes, row.cell, strict=True)]
    listed.append(
        {
            "experiment": experiment.name,
            "step": f"{step.kind} {step.name}",
            "cell": ", ".join(levels),
            "sample": row.sample,
            "key": query.key.hex()[:16] if query is not None else "known after an answer",
        }
    )
