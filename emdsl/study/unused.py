"""Cached answers that a study does not use any more: earlier runs of it have, and no other study has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import StoreError
from emdsl.price_list import stored_usd
from emdsl.run import history, used
from emdsl.store.codec import Corrupt, decode, ingredients
from emdsl.study.cost import usd
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from emdsl.digest import Digest
    from emdsl.run.count import ExperimentCount
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part

MAX_READ = 100  # answers of which the cost is read; that of more is scaled up


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """Cached answers that a study does not use any more; `usd` is None if none of them has a known cost."""

    n: int
    usd: float | None
    exact: bool  # every answer was read
    n_unknown: int  # of those read, how many have no known cost

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl plan --json` prints it."""
        return {"answers": self.n, "usd": self.usd, "exact": self.exact}


def unused_parts(unused: Unused | None) -> Iterator[Part]:
    """Yield how many answers are not used any more, and what they have cost."""
    if unused is None:
        return
    if unused.usd is None:
        cost = "of unknown cost"
    else:
        cost = ("" if unused.exact else "about ") + usd(_decimal(unused.usd)) + (" + ?" if unused.n_unknown else "")
    verb = "is" if unused.n == 1 else "are"
    yield f"{counted(unused.n, 'cached answer')} of earlier runs of this study {verb} not used now ({cost})"
    yield ""


def unused_of(study: Compiled, counts: list[ExperimentCount], store: AnswerStore) -> Unused | None:
    """Return the cached answers that earlier runs of a study have used, and its program now does not.

    Returns:
        None if there are none, or if it cannot be told: rows of the program are unknown, or the answers of a run of
        another study are not recorded. That run is under way, was killed, or is of an older version.
    """
    if study.program.absent or any(s.unknown for c in counts for s in c.steps):
        return None
    cache = study.project.cache
    keys, version = used.left_out(cache, study.name, used.sets_of(counts))
    if not keys:
        return None
    records = history.by_run(cache)
    if not all(used.has(cache, r.study, r.started_at) for r in records.values() if r.study != study.name):
        return None
    left = list(keys - used.by_others(cache, study.name, keys))
    try:
        if version is None or not store.still_holds(version):
            left = store.stored(left)
        return _with_cost(left, store, records) if left else None
    except StoreError:
        return None


def _with_cost(keys: Sequence[Digest], store: AnswerStore, records: dict[str, history.Record]) -> Unused:
    """Return the number of some answers with their cost, by that of some of them."""
    step = -(-len(keys) // MAX_READ)
    costs: list[float | None] = []
    for _, entry in store.entries(keys[::step]):
        try:
            of, response = ingredients(entry), decode(entry)
        except Corrupt:
            continue
        record = records.get(response.run)
        costs.append(stored_usd(of["model"], response, record.prices.get(of["model"]) if record is not None else None))
    known = [c for c in costs if c is not None]
    total = sum(known) * len(keys) / len(costs) if known else None
    return Unused(n=len(keys), usd=total, exact=step == 1, n_unknown=len(costs) - len(known))


def _decimal(amount: float) -> Decimal:
    from decimal import Decimal  # noqa: PLC0415 - few plans have unused answers

    return Decimal(repr(round(amount, 6)))
