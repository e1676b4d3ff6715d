"""The click group. Verbs are imported when they are called: start-up pays for what is used."""

from __future__ import annotations

import gc
import importlib
import os
import sys

import click

from emdsl.version import __version__

VERBS = {
    "init": ("emdsl.cli.init", "Write a study that runs."),
    "run": ("emdsl.cli.run", "Ask what is not stored, and load the outcomes."),
    "plan": ("emdsl.cli.plan", "Show what a run would ask, and what is stored."),
    "check": ("emdsl.cli.check", "Find every fault of a program; asks nothing."),
    "explain": ("emdsl.cli.explain", "Say what a diagnostic means."),
    "fix": ("emdsl.cli.fix", "Put right what is certain."),
    "fmt": ("emdsl.cli.fmt", "Write programs in the one layout."),
    "render": ("emdsl.cli.render", "Show the messages of a cell as they are sent."),
    "why": ("emdsl.cli.why", "Say why a step is stored, or is to run."),
    "diff": ("emdsl.cli.diff", "Compare two programs by what they ask."),
    "show": ("emdsl.cli.show", "Show the measures of a study."),
    "query": ("emdsl.cli.query", "Query outcomes with SQL."),
    "power": ("emdsl.cli.power", "Say how many samples an effect takes."),
    "plot": ("emdsl.cli.plot", "Draw a measure as a figure."),
    "report": ("emdsl.cli.report", "Write a study as one page, with charts and transcripts."),
    "export": ("emdsl.cli.export", "Write outcomes to a folder that needs no emdsl."),
    "cache": ("emdsl.cli.cache", "Look after the answers: stats, verify, gc, drop, export ..."),
    "models": ("emdsl.cli.models", "Show models and providers: what they take, cost, and lack."),
    "doctor": ("emdsl.cli.doctor", "Ask each model of a study one cheap question."),
    "sim": ("emdsl.cli.sim", "The embedded simulator as a server."),
}
GARBAGE = (100_000, 20, 100)  # rows live shortly and hold no circles: looking for some took a third of a plan's time
EXIT_ERROR, EXIT_USAGE, EXIT_INCOMPLETE = 1, 2, 3
EXIT_UNLOADED = EXIT_ERROR  # all is answered, and the tables are not of it


class LazyGroup(click.Group):
    """A group whose verbs are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command."""
        if cmd_name not in VERBS:
            return None
        if ctx.resilient_parsing and "--help" in sys.argv:
            return None
        command = importlib.import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that is called; an unknown one gets the near word."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from emdsl.source import near  # noqa: PLC0415 - only a misspelt verb needs it

            hint = near(args[0], VERBS) or f"the verbs are {', '.join(VERBS)}"
            ctx.fail(f"no verb is called '{args[0]}': {hint.replace('`', '')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emdsl")
def cli() -> None:
    """Experiment grids for LLM-safety research, asked once and queried in DuckDB.

    Exit codes: 0 done, 1 error, 2 usage, 3 incomplete.
    """


def main() -> None:
    """Run the command line; the one place that catches EmdslError."""
    from emdsl.errors import EmdslError, UsageError  # noqa: PLC0415 - keeps `--version` at click's own speed

    gc.set_threshold(*GARBAGE)

    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        from emdsl.cli.console import show_usage_error  # noqa: PLC0415 - as above

        show_usage_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: `emdsl plan | head`
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("stopped; what was answered is kept", err=True)
        sys.exit(EXIT_INCOMPLETE)
    except (EmdslError, OSError, RecursionError) as error:
        from emdsl.cli.console import show_error  # noqa: PLC0415 - as above

        show_error(error)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR)
    sys.exit(code if isinstance(code, int) else 0)
