"""The click group. Verbs are imported when they are called: start-up pays for what is used."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from emdsl.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS = {
    "init": ("emdsl.cli.init", "Create a new study."),
    "run": ("emdsl.cli.run", "Send pending requests and load the results."),
    "runs": ("emdsl.cli.runs", "List, change and stop the runs that are under way."),
    "plan": ("emdsl.cli.plan", "Preview a run: cached and pending requests, reasons and cost."),
    "batch": ("emdsl.cli.batch", "List, wait for and cancel batches of requests."),
    "check": ("emdsl.cli.check", "Find errors and warnings in studies, and fix the certain ones."),
    "explain": ("emdsl.cli.explain", "Explain an error code, a warning code or a word."),
    "fmt": ("emdsl.cli.fmt", "Format files."),
    "render": ("emdsl.cli.render", "Show requests exactly as they are sent."),
    "why": ("emdsl.cli.why", "Explain why a request is cached or pending."),
    "diff": ("emdsl.cli.diff", "Compare two studies: cells, requests, cost, or results."),
    "freeze": ("emdsl.cli.freeze", "Register a study before its data: requests, measures, stored answers."),
    "show": ("emdsl.cli.show", "Show the measures of a study."),
    "query": ("emdsl.cli.query", "Query the results with SQL."),
    "view": ("emdsl.cli.view", "Browse a study in a browser: measures, rows, transcripts."),
    "annotate": ("emdsl.cli.annotate", "Judge answers by hand, to correct a judge."),
    "power": ("emdsl.cli.power", "Compute the sample size needed to detect an effect."),
    "plot": ("emdsl.cli.plot", "Draw a measure as a figure."),
    "report": ("emdsl.cli.report", "Write a study as one HTML page with charts and transcripts."),
    "export": ("emdsl.cli.export", "Write results as Parquet files that need no emdsl."),
    "cache": ("emdsl.cli.cache", "Inspect, verify, clean up and share the answer store."),
    "models": ("emdsl.cli.models", "Show models and providers: parameters, prices, missing API keys."),
    "doctor": ("emdsl.cli.doctor", "Test each model of a study with one cheap request."),
    "sim": ("emdsl.cli.sim", "Run the embedded simulator as a server."),
    "docs": ("emdsl.cli.docs", "Open the documentation."),
}
GC_THRESHOLDS = (100_000, 20, 100)  # rows are short-lived and acyclic: collections took a third of a plan's time
COMPLETE = "_EMDSL_COMPLETE"  # the variable by which a shell asks for completion
EXIT_ERROR, EXIT_USAGE, EXIT_INCOMPLETE = 1, 2, 3
EXIT_STALE = EXIT_ERROR  # every answer is stored, and the tables are stale


class LazyGroup(click.Group):
    """A group whose verbs are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of their use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb, with the options that all have."""
        if cmd_name not in VERBS:
            return None
        if ctx.resilient_parsing and "--help" in sys.argv:
            return None
        from emdsl.cli.options import add_common  # noqa: PLC0415 - keeps `--version` at click's own speed

        command = importlib.import_module(VERBS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return add_common(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs without importing them, and the options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - click loads it only to complete a word

        verbs = [CompletionItem(name, help=text) for name, (_, text) in VERBS.items() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the called verb; an unknown one gets the nearest word."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from emdsl.source import near  # noqa: PLC0415 - only a misspelt verb needs it

            if args[0] == "fix":
                ctx.fail("there is no verb 'fix': use 'emdsl check --fix FILE'")
            hint = near(args[0], VERBS) or f"the verbs are {', '.join(VERBS)}"
            ctx.fail(f"there is no verb '{args[0]}'; {hint.replace('`', '')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emdsl")
def cli() -> None:
    """Experiment grids for LLM-safety research: each request is sent once, results are in DuckDB.

    \b
    Start:   emdsl init study.em, then emdsl run study.em
    Learn:   emdsl docs, emdsl explain WORD

    Exit codes: 0 done, 1 error, 2 usage, 3 incomplete.
    """


class _NoPandas:
    """Hides pandas from pyarrow, which imports it, if it is installed, to test whether a list is a Series."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Raise ImportError for pandas: that takes 0.2 s, and no command needs it."""
        if name == "pandas":
            raise ModuleNotFoundError("no command uses pandas", name=name)


def _check_arguments(arguments: list[str]) -> None:
    """Raise UsageError for an argument that is not text: Python holds such bytes as lone surrogates."""
    if all(map(str.isascii, arguments)):
        return
    from emdsl.errors import UsageError  # noqa: PLC0415 - keeps `--version` at click's own speed
    from emdsl.surrogates import as_text, is_text  # noqa: PLC0415 - only arguments beyond ASCII need it

    for argument in arguments:
        if not is_text(argument):
            raise UsageError(f"'{as_text(argument)}' is not text in UTF-8: rename the file, or correct the argument")


def _complete() -> None:
    """Answer a shell that completes a word, without a sound: an error offers nothing."""
    from emdsl.cli.completion import register  # noqa: PLC0415 - no verb registers the shells

    register()
    if os.environ[COMPLETE].endswith("_source"):
        return
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it lives as long as this process
    try:
        cli.main(standalone_mode=False)
    except Exception:  # noqa: BLE001 - there is no place for a message within a line that is being typed
        sys.exit(0)


def main() -> None:
    """Run the command line, and exit. Ctrl-C exits with EXIT_INCOMPLETE, however often and whenever it comes."""
    code: int | None = None
    interrupted = told = False
    atexit.register(lambda: _exit_at_once(EXIT_INCOMPLETE) if interrupted else None)  # the first one: it runs last
    while True:
        try:
            if interrupted and not told:
                click.echo("interrupted: all answers are kept", err=True)
                told = True
            if code is None:
                code = EXIT_INCOMPLETE
                code = _code()
            _exit_on_interrupts(code)
            break
        except KeyboardInterrupt:
            interrupted = True
    sys.exit(code)


def _code() -> int:
    """Return the exit code of this call; the one place that catches EmdslError. Raises KeyboardInterrupt."""
    from emdsl.errors import EmdslError, StoreAway, UsageError  # noqa: PLC0415 - keeps `--version` at click's own speed

    gc.set_threshold(*GC_THRESHOLDS)
    sys.meta_path.insert(0, _NoPandas())
    for name in ("stdout", "stderr"):  # the caller may have closed both: `>&-`
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - `pathlib` takes 3 ms
    if COMPLETE in os.environ:
        _complete()
    try:
        _check_arguments(sys.argv[1:])
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        from emdsl.cli.failures import show_usage_error  # noqa: PLC0415 - keeps `--version` at click's own speed

        show_usage_error(error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: `emdsl plan | head`
        return EXIT_ERROR
    except click.exceptions.Abort:  # at a prompt
        raise KeyboardInterrupt from None
    except (EmdslError, OSError, RecursionError) as error:
        from emdsl.cli.failures import show_error  # noqa: PLC0415 - keeps `--version` at click's own speed

        show_error(error)
        usage, away = isinstance(error, UsageError), isinstance(error, StoreAway)
        return EXIT_USAGE if usage else EXIT_INCOMPLETE if away else EXIT_ERROR
    gc.freeze()  # the interpreter's last collection would visit a whole program, only to end
    return code if isinstance(code, int) else 0


def _exit_on_interrupts(code: int) -> None:
    """Let Ctrl-C exit at once with this code: threads and the interpreter take time to end."""
    with suppress(ValueError):  # not the main thread: it gets no signal
        signal.signal(signal.SIGINT, lambda *_: _exit_at_once(code))
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Python removes other handlers after that


def _exit_at_once(code: int) -> None:
    """Exit without the shutdown of the interpreter.

    Python would kill itself by SIGINT in its shutdown if the interrupt had come within `exec`, which makes dataclasses.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it
            stream.flush()
    os._exit(code)
