"""Corrected p-values: over the groups of a contrast, or over all contrasts of a family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes.distributions import benjamini_hochberg, holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Measure

METHODS = {"holm": holm, "bh": benjamini_hochberg}


def correct(measures: Sequence[tuple[Measure, list[tuple[int, dict[str, Any]]]]]) -> None:
    """Add the corrected p-value to each computed row of the contrasts that ask for it."""
    families: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}
    for measure, rows in measures:
        if measure.correct:
            family = ("family", measure.family) if measure.family else ("measure", measure.name)
            families.setdefault(family, []).extend((measure.correct, row) for _, row in rows)
    for members in (m for m in families.values() if m):
        method = members[0][0]  # one for a family: see the compiler
        corrected = METHODS[method]([row.get("p") for _, row in members])
        for (_, row), p in zip(members, corrected, strict=True):
            row[f"p_{method}"] = p
