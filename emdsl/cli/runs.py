"""`emdsl runs`: the runs under way, listed, changed and stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.options import option
from emdsl.errors import UsageError
from emdsl.study import running
from emdsl.study.options import MAX_CONNECTIONS, usd_of

if TYPE_CHECKING:
    from emdsl.study.project import Project


class _RunsGroup(click.Group):
    """Without a verb of its own, `emdsl runs` lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` before options."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class _BudgetChange(click.ParamType[str]):
    """An amount in US dollars, or by how much an amount changes."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the amount without its `$`, with its sign."""
        text = str(value).strip().replace("$", "").replace("_", "")
        sign, amount = (text[0], text[1:]) if text.startswith(("+", "-")) else ("", text)
        try:
            usd = usd_of(amount)
        except UsageError as error:
            self.fail(error.message.replace(repr(amount), repr(value), 1), param, ctx)
        if not usd:
            self.fail(
                f"{value!r} is no budget: a shell reads `$2` in `$20` as a variable, so leave out the `$`. To stop a "
                "run: emdsl runs stop",
                param,
                ctx,
            )
        return f"{sign}{usd:f}"


WHICH = click.argument("which", metavar="[RUN|FILE]", required=False)


@click.group("runs", cls=_RunsGroup)
def command() -> None:
    """List, change and stop the runs that are under way.

    RUN is the beginning of a run's id, FILE its study. Neither is needed if only one run is under way.

    \b
    Examples:
      emdsl runs
      emdsl runs set -j 200 --budget +20
      emdsl runs stop study.em
    """


@command.command("list")
@CACHE_SIM
@option("--all", "ended", is_flag=True, envvar=None, help="List the last runs that have ended, too.")
def list_(cache: Path | None, simulate: bool, as_json: bool, ended: bool) -> int:
    """List the runs that are under way: answered requests, cost, settings and changes.

    \b
    Examples:
      emdsl runs
      emdsl runs --all
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json)
    active = running.active_runs(project)
    records = running.ended_runs(project, active, None if console.settings.verbose else running.MAX_ENDED)
    if as_json:
        shown = {"ended": [running.ended_json(r) for r in records]} if ended else {}
        console.show_json({"runs": [r.as_json() for r in active]} | shown)
        return 0
    console.show(running.active_parts(active))
    if ended:
        console.say()
        console.show(running.ended_parts(records))
    return 0


@command.command("set")
@WHICH
@CACHE_SIM
@option(
    "-j", "--max-connections", "connections", type=click.IntRange(1, MAX_CONNECTIONS), envvar=None,
    help="Maximum concurrent requests.",
)  # fmt: skip
@option(
    "--budget", type=_BudgetChange(), envvar=None,
    help="Hard cap on the cost of the run in US dollars: 50, or +20 to raise it by 20.",
)  # fmt: skip
def set_(
    which: str | None, cache: Path | None, simulate: bool, as_json: bool, connections: int | None, budget: str | None
) -> int:
    """Change the connections or the budget of a run that is under way.

    Requests in flight are finished. A `parallel` of a model still limits its requests. Requests that the old budget
    could not pay stay pending: run again to send them. The record of the run keeps each change.

    \b
    Examples:
      emdsl runs set -j 200 --budget +20
      emdsl runs set study.em --budget 50
    """
    project = _project(which, cache, simulate=simulate, as_json=as_json)
    if connections is None and budget is None:
        raise UsageError("choose a change: -j N, --budget USD")
    return _show(running.set_run(project, which, connections=connections, budget=budget), as_json=as_json)


@command.command("stop")
@WHICH
@CACHE_SIM
@option("--now", is_flag=True, envvar=None, help="Stop at once. The requests in flight are lost.")
def stop(which: str | None, cache: Path | None, simulate: bool, as_json: bool, now: bool) -> int:
    """Stop a run that is under way as Ctrl-C does: the requests in flight are finished and their answers kept.

    \b
    Examples:
      emdsl runs stop
      emdsl runs stop study.em --now
    """
    project = _project(which, cache, simulate=simulate, as_json=as_json)
    return _show(running.stop_run(project, which, now=now), as_json=as_json)


def _project(which: str | None, cache: Path | None, *, simulate: bool, as_json: bool) -> Project:
    """Return the project of a file, or of the working folder."""
    near = Path(which) if which is not None and which.endswith(".em") else None
    return open_cache(cache, simulate=simulate, as_json=as_json, near=near)


def _show(run: running.ActiveRun, *, as_json: bool) -> int:
    if as_json:
        console.show_json(run.as_json())
    else:
        console.show(running.changed_parts(run))
    return 0
