"""What every verb needs: the project, its cache, the environment, the program, the selection."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console
from emdsl.errors import UsageError
from emdsl.files import PRIVATE_FOLDER, write_private
from emdsl.project import ANSWERS, find_project
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from emdsl.experiment import Experiment, Program
    from emdsl.run.walk import Selection
    from emdsl.store.disk import DiskStore

RESERVED_SCHEMAS = ("main", "temp", "system", "emdsl", "information_schema", "pg_catalog")  # DuckDB's, and ours
SIMULATED = "sim"  # the cache within the cache for `--sim`: nothing simulated mixes with what was paid for
_IGNORE = "# emdsl: answers that were paid for. Not for version control: share them as files.\n*\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where one call works: the project's folder, the cache, and the variables it may read."""

    project: Path
    cache: Path
    environment: Mapping[str, str]
    env_files: tuple[Path, ...] = ()  # where it was looked for variables
    simulate: bool = False

    def store(self, *, create: bool) -> DiskStore:
        """Open the store; one that is not created is read only."""
        from emdsl.store.disk import DiskStore  # noqa: PLC0415 - imports wait for their verb

        if create:
            prepare(self.cache)
        return DiskStore(self.cache / ANSWERS, read_only=not create)

    def relative(self, file: Path) -> str:
        """Return the path of a file as in the project."""
        path = file.resolve()
        return path.relative_to(self.project).as_posix() if path.is_relative_to(self.project) else str(path)

    def study(self, file: Path) -> str:
        """Return the schema of an `.em` file: its path in the project, without ending."""
        try:
            relative = file.resolve().relative_to(self.project)
        except ValueError:
            relative = Path(file.name)
        name = os.fsencode(relative.with_suffix("").as_posix()).decode("utf-8", "replace")
        return f"{name}.em" if name.lower() in RESERVED_SCHEMAS else name


def open_session(near_path: Path, cache: Path | None, env_file: Path | None, *, simulate: bool = False) -> Session:
    """Return where a call about a file (or a folder) works."""
    folder = near_path.resolve() if near_path.is_dir() else near_path.resolve().parent
    project = find_project(folder)
    environment = read_environment(folder, env_file)
    console.keep_secret(environment)
    chosen = cache.resolve() if cache is not None else project / "cache"
    return Session(
        project=project,
        cache=chosen / SIMULATED if simulate else chosen,
        environment=environment,
        env_files=_env_files(folder, env_file),
        simulate=simulate,
    )


def read_environment(folder: Path, env_file: Path | None) -> dict[str, str]:
    """Return the environment with `.env` files of the folder and its parents; the environment wins."""
    found: dict[str, str] = {}
    for file in _env_files(folder, env_file):
        try:
            if file.is_file():
                from dotenv import dotenv_values  # noqa: PLC0415 - only who has a `.env` waits for it

                found |= {k: v for k, v in dotenv_values(file, interpolate=False).items() if v is not None}
        except UnicodeDecodeError:
            raise UsageError(f"cannot read {file}: it is no text in UTF-8") from None
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from error
    return found | dict(os.environ)


def _env_files(folder: Path, env_file: Path | None) -> tuple[Path, ...]:
    return (env_file,) if env_file is not None else tuple(p / ".env" for p in reversed((folder, *folder.parents)))


def cache_from_here(here: Session) -> Path | None:
    """Return the cache that a call in the working folder must name, for its own project has another; else None."""
    cache = here.cache.parent if here.simulate else here.cache
    return None if find_project(Path.cwd()) / "cache" == cache else Path(os.path.relpath(cache))


def prepare(cache: Path) -> None:
    """Make a cache folder that version control leaves alone."""
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        ignore = cache / ".gitignore"
        if not ignore.exists():
            write_private(ignore, _IGNORE)
    except OSError as error:
        raise UsageError(f"cannot write to {cache}: {error.strerror}; choose another place with --cache") from error


def select(
    experiment: Experiment, samples: int | None, only: tuple[str, ...], others: Sequence[Experiment] = ()
) -> Selection:
    """Return what `--samples` and `--only` restrict an experiment to; raises UsageError.

    An axis that it does not have, or a level, may be one of `others`: then it takes no cell by that level.
    """
    from emdsl.run.walk import Selection  # noqa: PLC0415 - imports wait for their verb

    if samples is not None and samples < 1:
        raise UsageError("--samples takes a number from 1 up")
    axes = {a.name: i for i, a in enumerate(experiment.axes)}
    chosen: dict[int, frozenset[int]] = {}
    for part in only:
        name, equals, values = part.partition("=")
        if not equals or not values:
            raise UsageError(f"--only takes AXIS=VALUE[,VALUE], not `{part}`")
        if name not in axes:
            continue
        axis = experiment.axes[axes[name]]
        positions = set()
        rest = [values] if axis.position(values) is not None else values.split(",")
        for value in rest:
            position = axis.position(value)
            if position is None and any(
                a.name == name and a.position(value) is not None for e in others for a in e.axes
            ):
                continue
            if position is None:
                known = [x.shown for x in axis.levels]
                raise UsageError(
                    f"--only: `{name}` has no level `{value}`; " + (near(value, known) or f"it has {one_of(known)}")
                )
            positions.add(position)
        chosen[axes[name]] = chosen.get(axes[name], frozenset()) | positions
    return Selection(samples=samples, only=chosen)


def selections(program: Program, samples: int | None, only: tuple[str, ...]) -> list[Selection]:
    """Return the selection of each experiment; an axis must be known to one of them."""
    known = {a.name for e in program.experiments for a in e.axes}
    for part in only:
        name = part.partition("=")[0]
        if name not in known:
            raise UsageError(
                f"--only: no axis is called `{name}`; " + (near(name, known) or f"the axes are {one_of(known)}")
            )
    return [select(e, samples, only, program.experiments) for e in program.experiments]


def repeated(
    *, samples: int | None = None, only: tuple[str, ...] = (), simulate: bool = False, cache: Path | None = None,
    budget: Decimal | None = None, insecure: bool = False, env_file: Path | None = None,
) -> str:  # fmt: skip
    """Return the options of a call, to be written behind a command that goes on with it."""
    parts = ["--sim"] if simulate else []
    parts += [x for part in only for x in ("--only", part)]
    parts += ["--samples", str(samples)] if samples is not None else []
    parts += ["--cache", str(cache)] if cache is not None else []
    parts += ["--env-file", str(env_file)] if env_file is not None else []
    parts += ["--budget", f"{budget:f}"] if budget is not None else []
    parts += ["--insecure"] if insecure else []
    return "".join(" " + shlex.quote(p) for p in parts)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, **settings: Any) -> Decorator:
    """Return a click option that reads `EMDSL_...` too, named after its long form."""
    long = next(n for n in names if n.startswith("--")).removeprefix("--").replace("-", "_").upper()
    settings.setdefault("envvar", f"EMDSL_{long}")
    return click.option(*names, **settings)


class _Usd(click.ParamType[Decimal]):
    """An amount in US dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Return an amount of 0 or more."""
        if isinstance(value, Decimal):
            return value
        try:
            found = Decimal(str(value).strip().removeprefix("$").replace("_", ""))
        except ArithmeticError:
            found = Decimal(-1)
        if not (found.is_finite() and found >= 0):
            self.fail(f"{value!r} is no amount of US dollars such as 40 or $2.50", param, ctx)
        return found


USD = _Usd()
FILE = click.argument("file", type=click.Path(path_type=Path))
CACHE = option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="The cache folder.  [default: the project's cache/]",
)
ENV_FILE = option(
    "--env-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read this file in place of `.env` files; the environment wins.",
)
AS_JSON = option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
SAMPLES = option("--samples", type=int, help="Take only the first N samples of each cell.")
ONLY = click.option(  # not from the environment: click would split a level at its blanks
    "--only",
    multiple=True,
    metavar="AXIS=VALUE[,VALUE]",
    help="Take only these levels; repeat for more axes.",
)
SIM = option(
    "--sim",
    "simulate",
    is_flag=True,
    help="Rehearse with the simulator in every model's place, in a store of its own.",
)

CONNECTIONS = option(
    "-j",
    "--max-connections",
    "connections",
    type=click.IntRange(1, 10_000),
    help="Most requests in flight.  [default: the program's `parallel`, or 64]",
)
OFFLINE = option("--offline", is_flag=True, help="Ask nothing; compute everything from the store.")
DISPLAY = option(
    "--display",
    type=click.Choice([console.RICH, console.PLAIN, console.NONE]),
    help="How progress is shown.  [default: rich on a terminal]",
)

MAX_WAIT = option(
    "--max-wait",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds that one request may spend waiting to be sent again.",
)
MAX_RETRIES = option(
    "--max-retries",
    type=click.IntRange(0),
    help="How often one request is sent again.  [default: as --max-wait allows]",
)


BUDGET = option(
    "--budget",
    type=USD,
    help="A hard cap on what this run may spend, in US dollars: 40 or $40.",
)
INSECURE = option(
    "--insecure", is_flag=True, help="Allow http to other machines: prompts and API keys travel unencrypted."
)
YES = option("-y", "--yes", is_flag=True, help="Do not ask before spending.")
CONFIRM = option(
    "--confirm-over",
    type=USD,
    default="10",
    help="On a terminal, ask before a run whose expected cost is more than this, or not known.  [default: $10]",
)


def with_options(*options: Decorator) -> Decorator:
    """Return one decorator for several options, in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda f, o: o(f), reversed(options), function)

    return decorate


OF_RUN = with_options(  # `plan` takes the options of `run`, so that the one call can become the other
    FILE, CACHE, ENV_FILE, SAMPLES, ONLY, SIM, AS_JSON, CONNECTIONS, OFFLINE, DISPLAY, MAX_WAIT, MAX_RETRIES, BUDGET,
    YES, CONFIRM, INSECURE,
)  # fmt: skip
