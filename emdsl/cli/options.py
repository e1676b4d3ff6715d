"""The options that verbs share. Each reads a variable `EMDSL_...`, too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from emdsl.cli import console
from emdsl.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
DISPLAYS = ("rich", "plain", "none")


def completed(what: str, *call: Any) -> list[Any]:
    """Return what completes a parameter, by a function of `emdsl.cli.completion`."""
    from emdsl.cli import completion  # noqa: PLC0415 - verbs are declared in 1 ms without it

    found: list[Any] = getattr(completion, what)(*call)
    return found


def option(*names: str, **settings: Any) -> Decorator:
    """Return a click option that also reads `EMDSL_...`, named after its long form."""
    long = next(n for n in names if n.startswith("--")).removeprefix("--").replace("-", "_").upper()
    settings.setdefault("envvar", f"EMDSL_{long}")
    return click.option(*names, **settings)


class _Usd(click.ParamType[Decimal]):
    """An amount in US dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return an amount of 0 or more."""
        from emdsl.study.options import usd_of  # noqa: PLC0415 - few calls name an amount

        try:
            return usd_of(value)
        except UsageError as error:
            self.fail(error.message, param, ctx)


class _RunBudget(click.ParamType[Any]):
    """An amount in US dollars, or a budget of the team by its name, with or without its amount."""

    name = "[name=]usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an amount, or a NamedBudget."""
        from emdsl.study.options import budget_of  # noqa: PLC0415 - a run without a budget needs no parser of one

        try:
            return budget_of(value, None)
        except UsageError as error:
            self.fail(error.message, param, ctx)


USD = _Usd()
FILE = click.argument("file", type=click.Path(path_type=Path))


def _store(_: click.Context, __: click.Parameter, value: str | None) -> None:
    from emdsl.study.project import choose_store  # noqa: PLC0415 - verbs are declared in 1 ms without it

    if value is not None and not value.strip():  # of a variable that is not set: a run would pay here what others have
        raise click.BadParameter("it is empty: name a URL, or `local` for the cache alone")
    choose_store(value)


def with_options(*options: Decorator) -> Decorator:
    """Return one decorator for several options, in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda f, o: o(f), reversed(options), function)

    return decorate


CACHE = with_options(
    option(
        "--cache", type=click.Path(path_type=Path, file_okay=False),
        help="Cache folder.  [default: the project's cache/]",
    ),
    option(
        "--store", metavar="URL", envvar=None, expose_value=False, callback=_store,
        help="Store of a team, postgresql://..., or `local` for the cache.  [default: $EMDSL_STORE, also from .env]",
    ),
)  # fmt: skip
ENV_FILE = option(
    "--env-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read this file instead of `.env` files. The environment has precedence.",
)
AS_JSON = option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
SAMPLES = option("--samples", type=int, help="Only the first N samples of each cell.")
ONLY = click.option(  # not from the environment: click would split a level at its blanks
    "--only",
    multiple=True,
    metavar="AXIS=VALUE[,VALUE]",
    help="Only these levels; repeat for more axes.",
    shell_complete=lambda *call: completed("axes", *call),
)
MEASURE = option(
    "--measure", metavar="NAME", envvar=None, help="The measure.  [default: the first]",
    shell_complete=lambda *call: completed("measures", *call),
)  # fmt: skip
PILOT = option(
    "--pilot", is_flag=True, help="Only a small balanced sample of all rows, to measure the cost of the rest."
)
SIM = option(
    "--sim", "simulate", is_flag=True, help="Use the simulator in place of every model, with a separate store."
)
CONNECTIONS = option(
    "-j", "--max-connections", "connections", type=click.IntRange(1, 10_000),
    help="Maximum concurrent requests.  [default: the study's `parallel`, or 64; 64 per server with --serve]",
)  # fmt: skip
WORKERS = option(
    "--workers", type=click.IntRange(1, 1_000),
    help="Processes that send requests, at most one per connection.  [default: 1, or one per core in a large run]",
)  # fmt: skip
OFFLINE = option("--offline", is_flag=True, help="Send nothing; compute the results from the store alone.")
WITHOUT_REMOTES = option(
    "--without-remotes", "alone", is_flag=True, envvar=None,
    help="Ignore the remotes of the cache.  [variable: EMDSL_WITHOUT_REMOTES]",
)  # fmt: skip
MAX_WAIT = option(
    "--max-wait", type=click.FloatRange(0), default=600.0, show_default=True,
    help="Maximum seconds that one request may wait for retries.",
)  # fmt: skip
MAX_RETRIES = option(
    "--max-retries", type=click.IntRange(0), help="Maximum retries per request.  [default: as --max-wait allows]"
)
BUDGET = option(
    "--budget", type=_RunBudget(),
    help="Hard cap on the cost of this run, in US dollars: 40 or $40. NAME=40: one budget of all runs of a team.",
)  # fmt: skip
INSECURE = option("--insecure", is_flag=True, help="Allow http to other machines: prompts and API keys unencrypted.")
BATCH = option(
    "--batch/--no-batch", "batch", default=None,
    help="Ask every model that has a batch API by it, or none.  [default: as each model says]",
)  # fmt: skip
DETACH = option("--detach", is_flag=True, help="Submit batches and do not wait for them: exit with 3.")
SERVE = option("--serve", is_flag=True, help="Start the servers of models with `serve` on this machine.")
ON = option(
    "--on", metavar="PLACE",
    help="Start the servers at PLACE: local, ray (the cluster of this machine) or ray://HEAD.",
)  # fmt: skip
YES = option("-y", "--yes", is_flag=True, help="Do not ask before spending.")
CONFIRM = option(
    "--confirm-over", type=USD, default="10",
    help="On a terminal, ask first if the expected cost is over this, or unknown.  [default: $10]",
)  # fmt: skip


REGISTERED = option(
    "--registered", type=click.Path(path_type=Path, dir_okay=False), envvar=None,
    help="Mark measures by this registration.  [default: STUDY.prereg.json beside the study, if any]",
)  # fmt: skip

STUDY = with_options(FILE, CACHE, ENV_FILE, SIM)
OF_RUN = with_options(  # `plan` has the options of `run`, so that one call can become the other
    FILE, CACHE, ENV_FILE, SAMPLES, ONLY, PILOT, SIM, AS_JSON, CONNECTIONS, WORKERS, OFFLINE, WITHOUT_REMOTES,
    MAX_WAIT, MAX_RETRIES, BUDGET, YES, CONFIRM, INSECURE, BATCH, DETACH, SERVE, ON,
)  # fmt: skip


UNREPEATED = {  # parameters without an effect on the requests and answers of a run
    "as_json", "dry_run", "help", "quiet", "verbose", "display",  # of the screen
    "yes",  # the cost of the rest is confirmed anew
}  # fmt: skip


def given(ctx: click.Context) -> dict[str, tuple[str, ...]]:
    """Return the options of this call that a command of `run` repeats, as words of the command line, by parameter."""
    of_run = {p.name for p in click.command()(OF_RUN(lambda: None)).params}
    found = dict[str, tuple[str, ...]]()
    for param in ctx.command.params:
        name = param.name
        if not isinstance(param, click.Option) or name is None or name not in of_run or name in UNREPEATED:
            continue
        if name == "store":  # no parameter of a verb
            from emdsl.study.project import store_option  # noqa: PLC0415 - only a verb that runs has a project

            value: Any = store_option() if not ctx.params.get("simulate") else None
        else:
            value = ctx.params.get(name)
        unset = value is None or value == () or (value is False and not param.secondary_opts)
        if not unset and str(value) != str(param.default):
            found[name] = tuple(_words(param, value))
    return {n: found[n] for n in sorted(found, key=lambda n: n != "simulate")}


def _words(option: click.Option, value: Any) -> list[str]:
    """Return an option with a value as words of the command line."""
    names = option.secondary_opts if option.secondary_opts and value is False else option.opts
    long = next(n for n in names if n.startswith("--"))
    if option.is_flag:
        return [long]
    values = value if option.multiple else [value]
    return [word for v in values for word in (long, f"{v:f}" if isinstance(v, Decimal) else str(v))]


def add_common(command: click.Command) -> click.Command:
    """Give a command the options that all have: `-q`, `-v` and `--display`."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_common(each)
    elif not any(p.name == "quiet" for p in command.params):
        command.params += [
            click.Option(
                ["-q", "--quiet"], is_flag=True, envvar="EMDSL_QUIET", expose_value=False, callback=_quiet,
                help="Hide notes, warnings and progress.",
            ),
            click.Option(
                ["-v", "--verbose"], is_flag=True, envvar="EMDSL_VERBOSE", expose_value=False, callback=_verbose,
                help="Show all entries of lists that are cut.",
            ),
            click.Option(
                ["--display"], type=click.Choice(DISPLAYS), envvar="EMDSL_DISPLAY", expose_value=False,
                callback=_display, help="How progress is shown.  [default: rich on a terminal]",
            ),
        ]  # fmt: skip
    return command


def _quiet(_: click.Context, __: click.Parameter, value: bool) -> None:
    console.settings.quiet = value


def _verbose(_: click.Context, __: click.Parameter, value: bool) -> None:
    console.settings.verbose = value


def _display(_: click.Context, __: click.Parameter, value: str | None) -> None:
    console.settings.display = value
