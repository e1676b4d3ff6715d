"""The basis of an estimate, in words: stored answers, or assumed lengths."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.run.estimate import MIN_SHARE
from emdsl.run.token_stats import Basis
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from emdsl.run.count import ExperimentCount

MEASURED = "; `emdsl run --pilot` measures it"
MIN_USD = 1  # likely cost that is worth a pilot


def basis_of(counts: list[ExperimentCount]) -> str:
    """Return where the likely cost comes from, as `from 12 answers of this model`; empty if nothing is pending."""
    estimates = [s.estimate for c in counts for s in c.steps if s.at_most]
    if not estimates:
        return ""
    parts: dict[Basis, Decimal] = {}
    for estimate in estimates:
        for basis, amount in estimate.usd_by_basis().items():
            parts[basis] = parts.get(basis, Decimal(0)) + amount
    total = sum(parts.values(), Decimal(0))
    n = sum(e.n_answers for e in estimates)
    if parts.get(Basis.ASSUMED, Decimal(0)) >= MIN_SHARE * total and Basis.ASSUMED in parts:
        if not n:
            measured = MEASURED if total >= MIN_USD and not any(c.pilot for c in counts) else ""
            return f"no answers yet: assumes {_assumed(counts)}{measured}"
        share = 100 * parts[Basis.ASSUMED] / total if total else Decimal(100)
        return f"from {counted(n, 'answer')}; {share:.0f} % of it assumes {_assumed(counts)}"
    own = [b for b in parts if b is not Basis.ASSUMED]
    best = max(own, key=parts.__getitem__, default=Basis.ANSWERS)
    one = len({t.model.use for e in estimates for t in e.tokens}) == 1
    these = "this model" if one else "these models"
    whose = {
        Basis.MODEL: f"{these} in other steps",
        Basis.STORE: f"{these} in the store",
        Basis.SIMILAR: "other models",
    }.get(best, these)
    return f"from {counted(n, 'answer')} of {whose}"


def assumes(counts: list[ExperimentCount]) -> bool:
    """Whether a tenth of the likely cost, or more, rests on assumed lengths."""
    parts = [s.estimate.usd_by_basis() for c in counts for s in c.steps if s.at_most]
    assumed = sum((p.get(Basis.ASSUMED, Decimal(0)) for p in parts), Decimal(0))
    return bool(assumed) and assumed >= MIN_SHARE * sum((sum(p.values(), Decimal(0)) for p in parts), Decimal(0))


def _assumed(counts: list[ExperimentCount]) -> str:
    """Return the assumed length of an answer, of the step with the most assumed tokens."""
    assumed = [s.estimate.assumed_tokens for c in counts for s in c.steps if s.at_most]
    n, tokens = max(assumed, key=lambda a: a[1])
    return f"{counted(round(tokens / n) if n else 0, 'token')} an answer"
