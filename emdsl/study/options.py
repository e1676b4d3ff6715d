"""The options of a run, and how they are written behind a command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.study.project import store_option

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from emdsl.study.planfile import PlanFile

MAX_CONNECTIONS = 10_000  # maximum of `connections`
MAX_WORKERS = 1_000  # maximum of `workers`
LOCAL, RAY = "local", "ray"  # where a run starts the servers of its models


@dataclass(frozen=True, slots=True)
class NamedBudget:
    """A budget of the team; without an amount, it exists already."""

    name: str
    usd: Decimal | None = None

    def __str__(self) -> str:
        return self.name if self.usd is None else f"{self.name}={self.usd:f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one run."""

    samples: int | None = None
    only: tuple[str, ...] = ()
    connections: int | None = None  # None: the study's `parallel`
    offline: bool = False
    without_remotes: bool = False  # look up no remote of the cache; `offline` looks up none either
    max_wait: float = 600.0  # seconds
    max_retries: int | None = None
    budget: Decimal | None = None  # of the whole run, in US dollars
    named: NamedBudget | None = None  # the budget of the team that is spent; `budget` is the rest of it
    insecure: bool = False
    confirm_over: Decimal | None = None  # expected cost from which a person is asked first; None: never
    plan_file: PlanFile | None = None  # a written plan: the keys must be those of now
    cache: Path | None = None  # as given, to be repeated in the command that goes on
    env_file: Path | None = None  # the same
    batch: bool | None = None  # whether models with a batch API are asked by it; None: as the study says
    detach: bool = False  # submit batches, and do not wait for them
    workers: int | None = None  # processes that send; None: by the number of requests
    pilot: bool = False  # send a balanced sample of each kind of cell alone
    on: str | None = None  # where the servers of models with `serve` run: LOCAL, RAY or a Ray cluster; None: nowhere

    def repeated(self, project_simulates: bool) -> str:
        """Return the options to write behind a command that goes on with this run."""
        return repeated(
            samples=self.samples, only=self.only, simulate=project_simulates, cache=self.cache,
            budget=self.budget if self.named is None else NamedBudget(self.named.name),  # it exists already
            insecure=self.insecure, env_file=self.env_file, batch=self.batch, pilot=self.pilot,
            without_remotes=self.without_remotes, on=self.on,
        )  # fmt: skip


def repeated(
    *, samples: int | None = None, only: tuple[str, ...] = (), simulate: bool = False, cache: Path | None = None,
    budget: Decimal | NamedBudget | None = None, insecure: bool = False, env_file: Path | None = None,
    batch: bool | None = None, pilot: bool = False, without_remotes: bool = False, on: str | None = None,
) -> str:  # fmt: skip
    """Return options as they are written behind a command."""
    parts = ["--sim"] if simulate else []
    parts += [x for part in only for x in ("--only", part)]
    parts += ["--samples", str(samples)] if samples is not None else []
    parts += ["--cache", str(cache)] if cache is not None else []
    parts += ["--store", store] if not simulate and (store := store_option()) is not None else []
    parts += ["--env-file", str(env_file)] if env_file is not None else []
    named = isinstance(budget, NamedBudget)
    parts += ["--budget", str(budget) if named else f"{budget:f}"] if budget is not None else []
    parts += ["--insecure"] if insecure else []
    parts += [] if batch is None else ["--batch" if batch else "--no-batch"]
    parts += ["--pilot"] if pilot else []
    parts += ["--without-remotes"] if without_remotes else []
    parts += [] if on is None else ["--serve"] if on == LOCAL else ["--on", on]
    return "".join(" " + shlex.quote(p) for p in parts)


def place_of(on: str | None, *, serve: bool) -> str | None:
    """Return where a run starts servers, by its options `serve` and `on`; None: nowhere. Raises UsageError."""
    if on is None:
        return LOCAL if serve else None
    if on not in (LOCAL, RAY) and not on.startswith(f"{RAY}://"):
        raise UsageError(f"`{on}` is not a place for servers: use {LOCAL}, {RAY} or {RAY}://HEAD", parameter="on")
    return on
