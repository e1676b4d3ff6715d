"""The rows of `dose(...)`, and of contrasts of k50, from hits by cluster and dose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes.dose import DoseFit, fit, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.experiment import Measure

Row = dict[str, Any]
N_POINTS = 41  # of a curve
NO_FIT = "the law does not fit these rates"


def dose_rows(select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str) -> list[tuple[int, Row]]:
    """Return the row of each group of a `dose`, by its place."""
    return [(place, _row(measure, found[1])) for place, found in _fits(select, measure, doses).items() if 1 in found]


def _row(measure: Measure, fitted: DoseFit) -> Row:
    k50 = fitted.k50
    ends = (k50.low, k50.high) if fitted.fits else (None, None)
    row: Row = {
        "dose": k50.value if fitted.fits else None, "low": ends[0], "high": ends[1],
        "reason": (k50.reason if fitted.fits else NO_FIT) or None, "trend": fitted.trend.slope,
        "p_trend": fitted.trend.p, "p_fit": fitted.p_fit, "curve": _curve(fitted), **_resting(measure, fitted),
    }  # fmt: skip
    for part in ("floor", "ceiling", "slope"):
        estimate = getattr(fitted, part)
        row |= {part: estimate.value, f"{part}_low": estimate.low, f"{part}_high": estimate.high}
    return row


def _resting(measure: Measure, fitted: DoseFit) -> Row:
    """Return what the intervals of a fit rest on."""
    names = measure.interval.cluster[:1] if measure.interval is not None else ()
    effect = fitted.maximum.design_effect if names and fitted.maximum is not None else None
    return {"clusters": len(fitted.counts.clusters), "clustered_by": names[0] if names else None,
            "design_effect": effect}  # fmt: skip


def _curve(fitted: DoseFit) -> list[dict[str, float]] | None:
    """Return the fitted rate with its band, at doses as far apart as the study's on a scale of 1 + dose.

    None without a fit, and where the rates contradict it.
    """
    if fitted.maximum is None or not fitted.fits:
        return None
    least, most = 1 + float(fitted.counts.doses.min()), 1 + float(fitted.counts.doses.max())
    at = [least * (most / least) ** (i / (N_POINTS - 1)) - 1 for i in range(N_POINTS)]
    at[0] = float(fitted.counts.doses.min())
    return [
        {"dose": dose, "rate": rate, "low": low, "high": high}
        for dose, (rate, low, high) in zip(at, fitted.band(at), strict=True)
    ]


def dose_contrasts(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str
) -> list[tuple[int, Row]]:
    """Return the row of each contrast of k50: their ratio, by its place."""
    return [(place, _contrast(measure, found)) for place, found in _fits(select, measure, doses).items()]


def _contrast(measure: Measure, fits: Mapping[int, DoseFit]) -> Row:
    """Return the ratio of the k50 of two fits, by side, or the reason why there is none."""
    row: Row = dict.fromkeys(("contrast", "first", "second", "low", "high", "p"))
    if len(fits) < 2:
        return row | {"reason": "no draw is kept on one side"}
    first, second = fits[1], fits[2]
    row |= _resting(measure, first) | {"design_effect": None}
    row |= {side: fitted.k50.value for side, fitted in (("first", first), ("second", second)) if fitted.fits}
    reasons = [_reason(fitted) for fitted in (first, second)]
    if any(reasons):
        sides = zip(("first", "second"), reasons, strict=True)
        return row | {"reason": "; ".join(f"{side}: {reason}" for side, reason in sides if reason)}
    compared = ratio(first, second)
    return row | {"contrast": compared.ratio, "low": compared.low, "high": compared.high, "p": compared.p,
                  "reason": compared.reason or None}  # fmt: skip


def _reason(fitted: DoseFit) -> str:
    """Return why a fit has no k50, or ""."""
    return NO_FIT if not fitted.fits else fitted.k50.reason if fitted.k50.value is None else ""


def _fits(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str
) -> dict[int, dict[int, DoseFit]]:
    """Return the fits of each place and side."""
    assert measure.interval is not None
    counts: dict[int, dict[int, list[tuple[str, float, float, float]]]] = {}
    for place, side, cluster, dose, hits, n in select(doses):
        counts.setdefault(place, {}).setdefault(side, []).append((str(cluster), dose, float(hits), float(n)))
    return {
        place: {side: fit(rows, measure.interval.level, measure.steepness) for side, rows in sides.items()}
        for place, sides in counts.items()
    }
