"""`emdsl run`. An up-to-date run imports only what stands at the top."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.cli.main import EXIT_INCOMPLETE, EXIT_STALE
from emdsl.errors import UsageError
from emdsl.outcomes.load_ids import note_last
from emdsl.redact import mask
from emdsl.study import uptodate
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from emdsl.study.options import NamedBudget, RunOptions
    from emdsl.study.planfile import PlanFile
    from emdsl.study.project import Project
    from emdsl.study.run import Run


@click.command("run")
@options.OF_RUN
@options.option("--dry-run", is_flag=True, help="Only show the plan, as `emdsl plan` does.")
@click.pass_context
def command(
    ctx: click.Context,
    file: Path,
    cache: Path | None,
    env_file: Path | None,
    samples: int | None,
    only: tuple[str, ...],
    pilot: bool,
    simulate: bool,
    as_json: bool,
    connections: int | None,
    workers: int | None,
    offline: bool,
    alone: bool,
    dry_run: bool,
    max_wait: float,
    max_retries: int | None,
    budget: Decimal | NamedBudget | None,
    yes: bool,
    confirm_over: Decimal,
    insecure: bool,
    batch: bool | None,
    detach: bool,
    serve: bool,
    on: str | None,
) -> int:
    """Send the pending requests of FILE and load the results.

    FILE is a study, or a plan from `emdsl plan -o plan.json`. Only requests that are not cached are sent. The first
    Ctrl-C finishes the requests in flight and keeps their answers; the second stops at once.

    \b
    Examples:
      emdsl run study.em
      emdsl run study.em --samples 2 --only k=0,16 --budget 5
      emdsl run study.em --pilot
      emdsl run study.em --sim
      emdsl run study.em --serve
    """
    console.expect_json(wanted=as_json)
    plan_file: PlanFile | None = None
    if file.suffix.lower() == ".json":
        from emdsl.study.planfile import read_plan

        if pilot:
            raise UsageError("a plan has its own rows: use `--pilot` with the .em file", parameter="pilot")
        plan_file = read_plan(file, samples, only, simulate=simulate)
        file, samples, only, simulate = plan_file.file, plan_file.samples, plan_file.only, plan_file.simulate
        ctx.params |= {"samples": samples, "only": only, "simulate": simulate}  # as if they were on the command line
    if dry_run:
        from emdsl.cli.plan import command as plan

        same = {name: value for name, value in ctx.params.items() if name != "dry_run"}
        return int(ctx.invoke(plan, **same | {"file": file, "plan_file": plan_file}))
    project = open_project(file, cache, env_file, simulate=simulate)
    project = project.offline() if offline else project
    marks = ("run", cache, samples, only, as_json, *console.layout_marks())
    if plan_file is None and not pilot and (screen := uptodate.find(project, file, marks)) is not None:
        note_last(project.cache, project.study(file))  # `query` without --study is about the last run
        console.say_screen(screen)
        return 0
    from emdsl.study.options import RunOptions, place_of
    from emdsl.study.team_budgets import resolved

    cap, named = resolved(project, None if offline else budget, make=True)
    chosen = RunOptions(
        samples=samples, only=only, connections=connections, offline=offline, max_wait=max_wait,
        max_retries=max_retries, budget=cap, named=named, insecure=insecure, confirm_over=None if yes else confirm_over,
        plan_file=plan_file, cache=cache, batch=batch, detach=detach, pilot=pilot, workers=workers,
        without_remotes=alone, on=place_of(on, serve=serve), given=options.given(ctx),
    )  # fmt: skip
    return _RunScreen(project, file, chosen, marks, as_json=as_json).run()


@dataclass(frozen=True)
class _RunScreen:
    """Show a run on a terminal, or as JSON."""

    project: Project
    file: Path
    options: RunOptions
    marks: tuple[object, ...]
    as_json: bool

    def run(self) -> int:
        """Run; return the exit code."""
        from emdsl.study.compiled import compile_study, without_remotes
        from emdsl.study.progress_view import NONE, ProgressView, choose_display
        from emdsl.study.run import run_study

        study = compile_study(self.project, self.file)
        if self.options.offline or self.options.without_remotes:
            study = without_remotes(study)
        hidden = console.settings.quiet or self.as_json
        display = NONE if hidden and console.settings.display is None else choose_display(console.settings.display)

        def view(pending: int) -> ProgressView:
            return ProgressView(
                display, pending, lambda line: console.say(line, err=True),
                lambda text: console.printable(mask(text), terminal=True),
            )  # fmt: skip

        run = run_study(
            study, self.options, view=view, confirm=_confirm,
            show=(lambda _: None) if self.as_json else console.show,
        )  # fmt: skip
        if run.declined:
            console.say("nothing was sent", err=True)
            return EXIT_INCOMPLETE
        screen = self._show(run)
        if run.complete and not (run.load_error or run.failed or run.repaired or self.options.pilot):
            restricted = self.options.samples is not None or bool(self.options.only)
            uptodate.keep(
                self.project, self.file, self.marks, study.program, run.id, run.store_before, screen,
                exact=restricted,
            )  # fmt: skip
        return EXIT_STALE if run.load_error else 0 if run.complete else EXIT_INCOMPLETE

    def _show(self, run: Run) -> uptodate.Screen:
        """Print a run; return what would be printed if it were run again and all was cached."""
        if self.as_json:
            console.show_json(run.as_json())
            return [(console.json_text(run.as_json(again=True)), False)]
        bars, verbose = sys.stdout.isatty(), console.settings.verbose
        console.show(run.parts(bars=bars, verbose=verbose))
        return list(console.rendered(run.again_parts(bars=bars)))


def _confirm(question: str) -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    return not (sys.stdin.isatty() and sys.stderr.isatty()) or click.confirm(question, default=False, err=True)
