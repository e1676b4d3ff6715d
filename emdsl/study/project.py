"""Where a study works: the project folder, its cache, and the variables that it may read."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl import redact
from emdsl.errors import StoreError, UsageError
from emdsl.files import PRIVATE_FOLDER, write_whole
from emdsl.project import ANSWERS, HOOKS, REMOTES, find_project
from emdsl.surrogates import as_text, is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.store.postgres_budgets import PostgresLedger
    from emdsl.store.removals import StoreVersion
    from emdsl.store.store import AnswerStore, AnyClaims

RESERVED_SCHEMAS = ("main", "temp", "system", "emdsl", "information_schema", "pg_catalog")  # DuckDB's, and ours
WITHOUT_REMOTES = "EMDSL_WITHOUT_REMOTES"  # a variable: nothing is looked up in the remotes of a cache
SIMULATED = "sim"  # the cache within the cache for `--sim`: simulated and paid answers never mix
STORE = "EMDSL_STORE"  # the variable with the URL of a team's store
LOCAL = "local"  # in place of that URL: the store of this machine alone
_IGNORE = "# emdsl: paid answers. Not for version control: share them with `emdsl cache export`.\n*\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The project folder, its cache and its environment, as one call sees them."""

    root: Path
    cache: Path
    environment: Mapping[str, str] = field(repr=False)  # it holds the API keys
    env_files: tuple[Path, ...] = ()  # where variables were looked up
    simulate: bool = False
    remotes: bool = True  # whether missing answers are looked up in the cache's remotes
    instead: Mapping[Path, Path] = field(default_factory=dict)  # copies to read in place of files, by resolved path
    team: str | None = field(default=None, repr=False)  # URL of the team's store; it may hold a password
    notices: list[str] = field(default_factory=list, repr=False, compare=False)  # of opening the store

    @property
    def answers(self) -> Path:
        """The folder of the store."""
        return self.cache / ANSWERS

    @property
    def hook_values(self) -> Path:
        """The folder with values of functions in Python."""
        return self.cache / HOOKS

    @property
    def has_store(self) -> bool:
        """Whether there is a store to read."""
        return self.team is not None or (self.answers / "cache.db").exists()

    @property
    def has_remotes(self) -> bool:
        """Whether missing answers are looked up in remotes; simulated ones never are."""
        return self.remotes and not self.simulate and (self.cache / REMOTES).exists()

    def store(self, *, create: bool) -> AnswerStore:
        """Open the store, read-only unless it may be created, with the remotes of the cache behind it.

        Raises StoreError; StoreAway if the server of the team's store does not answer.
        """
        if not self.has_remotes:
            return self._opened_store(create=create)
        from emdsl.store.attached import read_through, writable  # noqa: PLC0415 - few caches have remotes

        keeps = create or (self.team is None and writable(self.cache))  # a plan keeps answers of remotes, too
        store = self._opened_store(create=keeps)
        return read_through(store, self.cache, self.environment, keeps=keeps, sends=create)

    def _opened_store(self, *, create: bool) -> AnswerStore:
        from emdsl.store.disk import DiskStore  # noqa: PLC0415 - imports wait for their verb

        if create:
            if why := self.unwritable():
                raise StoreError(why)
            prepare(self.cache)
        local = DiskStore(self.answers, read_only=not create)
        if self.team is None:
            return local
        from emdsl.study.team import team_store  # noqa: PLC0415 - only a team needs it

        team = team_store(self.team, local, send=create)
        if team.n_sent:
            self.notices.append(f"{team.n_sent:,} answers that only this machine had were sent to {self.place}")
        return team

    def unwritable(self) -> str:
        """Return why this call cannot write to the cache, and the remedy; "" if it can, or if the cache is to be made.

        Everything that only reads works: plans, and the tables of the last load.
        """
        if not self.cache.exists() or os.access(self.cache, os.W_OK):
            return ""
        whole = os.path.relpath(self.cache.parent if self.simulate else self.cache)
        return (
            f"{self.cache} is read-only, and new answers and tables are written there. Copy it, and name the copy: "
            f"cp -r {shlex.quote(whole)} COPY, then the same command with --cache COPY"
        )

    def claims(self, run: str) -> AnyClaims:
        """Return the claims of a run on the requests of the store; raises OSError and StoreError."""
        from emdsl.store.claims import Claims  # noqa: PLC0415 - a run alone claims requests

        here = Claims(self.answers, run)
        if self.team is None:
            return here
        from emdsl.study.team import team_claims  # noqa: PLC0415 - only a team needs it

        return team_claims(self.team, here, run)

    def ledger(self, budget: str, claims: AnyClaims) -> PostgresLedger:
        """Return the ledger of a run that spends a budget of the team, and has these claims; raises StoreError."""
        from emdsl.study.team import team_ledger  # noqa: PLC0415 - only a team has budgets

        assert self.team is not None  # the budget was found there
        return team_ledger(self.team, budget, claims)

    def store_version(self) -> StoreVersion | None:
        """Return the version of the store, which changes with each answer; None if it cannot be read."""
        if self.team is not None:
            from emdsl.study.team import team_version  # noqa: PLC0415 - only a team needs it

            return team_version(self.team)
        from emdsl.store.removals import store_version  # noqa: PLC0415 - imports wait for their verb

        return store_version(self.answers)

    def in_use(self) -> bool:
        """Whether a run uses the store right now, on any machine of the team."""
        if self.team is not None:
            from emdsl.study.team import team_in_use  # noqa: PLC0415 - only a team needs it

            return team_in_use(self.team)
        from emdsl.store.claims import live_owners  # noqa: PLC0415 - imports wait for their verb

        return live_owners(self.answers) > 0

    @property
    def place(self) -> str:
        """Where the store is, for a message."""
        return redact.without_password(self.team) if self.team is not None else str(self.answers)

    def offline(self) -> Project:
        """Return the project with the store of this machine alone: without its team's, and without remotes."""
        return replace(self, team=None, remotes=False)

    def relative(self, file: Path) -> str:
        """Return the path of a file within the project."""
        path = file.resolve()
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def study(self, file: Path) -> str:
        """Return the schema of an `.em` file: its path in the project, without its suffix."""
        try:
            relative = file.resolve().relative_to(self.root)
        except ValueError:
            relative = Path(file.name)
        if not relative.name:
            raise UsageError(f"{file} is a folder, not a study")
        name = os.fsencode(relative.with_suffix("").as_posix()).decode("utf-8", "replace")
        return f"{name}.em" if name.lower() in RESERVED_SCHEMAS else name


def open_project(
    near_path: Path, cache: Path | None = None, env_file: Path | None = None, *, simulate: bool = False,
    store: str | None = None,
) -> Project:  # fmt: skip
    """Return the project of a file or folder; its API keys are registered for redaction.

    Args:
        near_path: A file or folder inside the project.
        cache: The cache folder; by default `cache/` of the project.
        env_file: Read instead of the `.env` files; the environment has precedence.
        simulate: Use the separate cache of simulated answers, on this machine alone.
        store: URL of a team's store, or `local` for the cache alone; by default the option `--store`, or EMDSL_STORE.

    Raises:
        UsageError: An env file cannot be read, or a path is not text in UTF-8: databases cannot hold it.
    """
    try:
        folder = near_path.resolve() if near_path.is_dir() else near_path.resolve().parent
    except RuntimeError:  # before Python 3.13
        raise UsageError(f"{near_path} is a loop of symbolic links") from None
    root = find_project(folder)
    for path in (near_path.absolute(), folder, *([cache.resolve()] if cache is not None else ())):
        if not is_text(str(path)):
            raise UsageError(f"the path {as_text(str(path))} is not text in UTF-8: rename the file or its folder")
    environment = read_environment(folder, env_file)
    team = next((s for s in (store, _option.store, environment.get(STORE)) if s is not None), "").strip()
    redact.register(environment)
    redact.register_url(team)
    chosen = cache.resolve() if cache is not None else root / "cache"
    return Project(
        root=root,
        cache=chosen / SIMULATED if simulate else chosen,
        environment=environment,
        env_files=_env_files(folder, env_file),
        simulate=simulate,
        remotes=environment.get(WITHOUT_REMOTES, "").strip().lower() not in {"1", "true", "yes", "on"},
        team=team if team not in ("", LOCAL) and not simulate else None,
    )


@dataclass(slots=True)
class _Option:
    """The option `--store` of this call of the command line: verbs do not pass it on."""

    store: str | None = None


_option = _Option()


def choose_store(store: str | None) -> None:
    """Take the store of a command line, for all projects that this process opens."""
    _option.store = store


def store_option() -> str | None:
    """Return the store that the command line has named, without a password, to be repeated in the next command."""
    return redact.without_password(_option.store) if _option.store is not None else None


def read_environment(folder: Path, env_file: Path | None) -> dict[str, str]:
    """Return the environment with the `.env` files of the folder and its parents; the environment has precedence."""
    variables: dict[str, str] = {}
    for file in _env_files(folder, env_file):
        try:
            if file.is_file():
                from dotenv import dotenv_values  # noqa: PLC0415 - only who has a `.env` waits for it

                variables |= {k: v for k, v in dotenv_values(file, interpolate=False).items() if v is not None}
        except UnicodeDecodeError:
            raise UsageError(f"cannot read {file}: it is not UTF-8 text") from None
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from error
    return variables | dict(os.environ)


def _env_files(folder: Path, env_file: Path | None) -> tuple[Path, ...]:
    return (env_file,) if env_file is not None else tuple(p / ".env" for p in reversed((folder, *folder.parents)))


def cache_option(project: Project) -> Path | None:
    """Return the cache that a command in the working folder must name, or None if it finds the same one by itself."""
    cache = project.cache.parent if project.simulate else project.cache
    return None if find_project(Path.cwd()) / "cache" == cache else Path(os.path.relpath(cache))


def prepare(cache: Path) -> None:
    """Make a cache folder that version control ignores."""
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        ignore = cache / ".gitignore"
        if not ignore.exists():
            write_whole(ignore, _IGNORE)
    except OSError as error:
        raise UsageError(
            f"cannot write to {cache}: {error.strerror}; choose another folder", parameter="cache"
        ) from error
