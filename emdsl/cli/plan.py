"""`emdsl plan`."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.cli.main import EXIT_INCOMPLETE
from emdsl.errors import UsageError
from emdsl.outcomes.load_ids import load_id
from emdsl.store.removals import store_version
from emdsl.study import uptodate
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from emdsl.study.compiled import Compiled
    from emdsl.study.options import NamedBudget
    from emdsl.study.planfile import PlanFile
    from emdsl.study.request_files import RequestFiles
    from emdsl.study.screen import Part


HELD = {"samples", "only", "pilot", "simulate"}  # parameters that a written plan holds


@click.command("plan")
@options.OF_RUN
@options.option("--exit-code", is_flag=True, help="Exit with 3 if requests are pending.")
@options.option("--by", metavar="AXIS[,AXIS]", help="Count by the levels of these axes, too.")
@options.option("--list", "as_list", is_flag=True, help="List every pending request.")
@options.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan, to be run.")
@options.option(
    "--requests", type=click.Path(path_type=Path, file_okay=False), envvar=None,
    help="Write the pending requests to this new folder, for engines that answer files.",
)  # fmt: skip
@options.option(
    "--shard", type=click.IntRange(1), envvar=None,
    help="With --requests: maximum requests per file.  [default: 50,000]",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    pilot: bool,
    simulate: bool,
    as_json: bool,
    budget: Decimal | NamedBudget | None,
    insecure: bool,
    batch: bool | None = None,
    exit_code: bool = False,
    by: str | None = None,
    as_list: bool = False,
    output: Path | None = None,
    requests: Path | None = None,
    shard: int | None = None,
    plan_file: PlanFile | None = None,
    offline: bool = False,
    alone: bool = False,
    serve: bool = False,
    on: str | None = None,
    workers: int | None = None,
    **_of_run: object,
) -> int:
    """Preview a run of FILE: cached and pending requests, reasons and cost. Nothing is sent.

    It has the options of `run`, so that one call can become the other.

    \b
    Examples:
      emdsl plan study.em
      emdsl plan study.em --by model,k --samples 3
      emdsl plan study.em -o plan.json && emdsl run plan.json
      emdsl plan study.em --requests gpu --shard 5000
    """
    console.expect_json(wanted=as_json)
    if file.suffix.lower() == ".json":
        raise UsageError(f"{file} is a plan: run it with `emdsl run {file}`, or plan the .em file again")
    if pilot and output is not None:
        raise UsageError("a pilot is not written to a file: use `emdsl run FILE --pilot`", parameter="pilot")
    project = open_project(file, cache, env_file, simulate=simulate)
    project = project.offline() if offline else project
    marks = (
        "plan", cache, samples, only, pilot, budget, insecure, by, as_list, as_json, serve, on,
        *console.layout_marks(),
    )  # fmt: skip
    kept = output is None and plan_file is None and requests is None
    if kept and (screen := uptodate.find(project, file, marks)) is not None:
        console.say_screen(screen)
        return 0
    from emdsl.study.compiled import compile_study, without_remotes
    from emdsl.study.options import behind, place_of, place_options
    from emdsl.study.plan import make_plan
    from emdsl.study.team_budgets import resolved

    cap, _ = resolved(project, None if offline else budget, make=False)

    place_of(on, serve=serve)  # it refuses an unknown place
    before, load = store_version(project.answers), load_id(project.cache, project.study(file))
    study = compile_study(project, file)
    if offline or alone:
        study = without_remotes(study)
    files = _request_files(study, requests, shard)
    with files or nullcontext():
        plan = make_plan(
            study, samples=samples, only=only, budget=cap, insecure=insecure, listed=as_list, pilot=pilot,
            batch=batch, by=[n.strip() for n in by.split(",")] if by else (), on_pending=files.add if files else None,
            workers=workers,
        )  # fmt: skip
    if plan_file is not None:  # `emdsl run plan.json --dry-run`
        plan_file.check(plan.walks)
        plan_file.check_pending(plan.requests, plan.counts)
    if output is not None:
        plan.write(output, samples, only)
    if as_json:
        listed = ({"list": list(plan.listed)} if as_list else {}) | ({"written": files.as_json()} if files else {})
        console.show_json(plan.as_json() | listed)
        screen = [(console.json_text(plan.as_json() | listed | {"wall_s": 0.0}), False)]
    else:
        held = output or (plan_file.written if plan_file is not None else None)
        rest = held is None
        given = options.given(ctx)
        again = behind(given if rest else {name: words for name, words in given.items() if name not in HELD})
        detailed = bool(by or as_list or plan_file)
        next_step: Iterable[Part] = plan.next_step(held or file, again, written=output is not None, detailed=detailed)
        if files:
            parts = files.parts(place_options(simulate=simulate, cache=cache), shlex.quote(str(held or file)) + again)
            next_step = parts if output is None else (f"Written: {output}", *parts)
        screen = list(console.rendered((*plan.parts(), *next_step)))
        console.say_screen(screen)
    if kept and plan.complete and plan.unused is None:  # what is unused depends on other studies, too
        uptodate.keep(project, file, marks, study.program, load, before, screen, exact=True)
    return EXIT_INCOMPLETE if exit_code and plan.requests else 0


def _request_files(study: Compiled, folder: Path | None, shard: int | None) -> RequestFiles | None:
    """Return the writer of request files, if they are wanted."""
    if folder is None:
        if shard is not None:
            raise UsageError("needs --requests DIR", parameter="shard")
        return None
    from emdsl.study.request_files import MAX_REQUESTS, RequestFiles

    return RequestFiles(study, folder, shard or MAX_REQUESTS)
