"""The options of a run, and how they are written behind a command."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.study.project import store_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emdsl.study.planfile import PlanFile

MAX_CONNECTIONS = 10_000  # maximum of `connections`
MAX_WORKERS = 1_000  # maximum of `workers`
MAX_USD = Decimal(1_000_000_000)  # a larger amount is a slip
MAX_DECIMALS = 18  # of an amount, until its first digit that is not 0
BUDGET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
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
    cache: Path | None = None  # as given, to be named in the next command
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # words of the command line, by parameter
    batch: bool | None = None  # whether models with a batch API are asked by it; None: as the study says
    detach: bool = False  # submit batches, and do not wait for them
    workers: int | None = None  # processes that send; None: by the number of requests
    pilot: bool = False  # send a balanced sample of each kind of cell alone
    on: str | None = None  # where the servers of models with `serve` run: LOCAL, RAY or a Ray cluster; None: nowhere

    def repeated(self) -> str:
        """Return the options of a command that continues this run, which the command line has started."""
        words = dict(self.given)
        if self.named is not None:
            words["budget"] = ("--budget", self.named.name)  # it exists already
        elif self.budget is not None:  # it may have been changed on the way
            words["budget"] = ("--budget", f"{self.budget:f}")
        if not self.pilot:
            words.pop("pilot", None)
        return behind(words)


def usd_of(amount: object, parameter: str | None = None) -> Decimal:
    """Return an amount of US dollars, from a number or from a text such as `$2.50`; raises UsageError."""
    try:
        usd = Decimal(str(amount).strip().removeprefix("$").replace("_", ""))
    except ArithmeticError:
        usd = Decimal("nan")
    if not (usd.is_finite() and usd >= 0):
        raise UsageError(f"{amount!r} is not an amount of US dollars, such as 40 or $2.50", parameter=parameter)
    if usd > MAX_USD:
        raise UsageError(f"{amount!r} is more than a billion US dollars", parameter=parameter)
    if usd and usd.adjusted() < -MAX_DECIMALS:
        raise UsageError(f"{amount!r} is less than any price in US dollars", parameter=parameter)
    return usd


def budget_of(budget: object, parameter: str | None = "budget") -> Decimal | NamedBudget:
    """Return an amount of US dollars, or a budget of the team from its name, with or without `=` and its amount.

    Raises UsageError.
    """
    name, equals, amount = str(budget).strip().partition("=")
    if not BUDGET_NAME.fullmatch(name) or not isinstance(budget, str):
        return usd_of(budget, parameter)
    return NamedBudget(name, usd_of(amount, parameter) if equals else None)


def behind(words: Mapping[str, Sequence[str]]) -> str:
    """Return options, by parameter, as they are written behind a command."""
    return "".join(f" {shlex.quote(word)}" for option in words.values() for word in option)


def place_options(*, simulate: bool, cache: Path | None) -> str:
    """Return the options that name a store, which all verbs have, as they are written behind a command."""
    words = {"simulate": ["--sim"] if simulate else [], "cache": ["--cache", str(cache)] if cache is not None else []}
    store = store_option() if not simulate else None
    return behind(words | {"store": ["--store", store] if store is not None else []})


def place_of(on: str | None, *, serve: bool) -> str | None:
    """Return where a run starts servers, by its options `serve` and `on`; None: nowhere. Raises UsageError."""
    if on is None:
        return LOCAL if serve else None
    if on not in (LOCAL, RAY) and not on.startswith(f"{RAY}://"):
        raise UsageError(f"`{on}` is not a place for servers: use {LOCAL}, {RAY} or {RAY}://HEAD", parameter="on")
    return on
