"""The rows of `dose(...)`, and of contrasts of k50, from hits by cluster and dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.experiment import MIN_DETECTED
from emdsl.outcomes.dose import DoseFit, fit, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.experiment import Measure

Row = dict[str, Any]
Count = tuple[str, float, float, float]  # cluster, dose, hits and number of draws
N_POINTS = 41  # of a curve
NO_FIT = "the law does not fit these rates"


@dataclass(frozen=True, slots=True)
class Fits:
    """The fits of a group by side, and the cluster that they rest on; "" is each draw."""

    of: dict[int, DoseFit]
    cluster: str

    @property
    def rests_on(self) -> Row:
        """The columns about clusters; of a contrast without a design effect, which is one of a single fit."""
        names = {name for fitted in self.of.values() for name in fitted.counts.clusters}
        only = next(iter(self.of.values())).maximum if len(self.of) == 1 else None
        return {"clusters": len(names), "clustered_by": self.cluster or None,
                "design_effect": only.design_effect if self.cluster and only is not None else None}  # fmt: skip


def dose_rows(select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str) -> list[tuple[int, Row]]:
    """Return the row of each group of a `dose`, by its place."""
    return [(place, _row(found)) for place, found in _fits(select, measure, doses).items()]


def _row(fits: Fits) -> Row:
    fitted = fits.of[1]
    k50 = fitted.k50
    ends = (k50.low, k50.high) if fitted.fits else (None, None)
    row: Row = {
        "dose": k50.value if fitted.fits else None, "low": ends[0], "high": ends[1],
        "reason": (k50.reason if fitted.fits else NO_FIT) or None, "trend": fitted.trend.slope,
        "p_trend": fitted.trend.p, "p_fit": fitted.p_fit, "curve": _curve(fitted), **fits.rests_on,
    }  # fmt: skip
    for part in ("floor", "ceiling", "slope"):
        estimate = getattr(fitted, part)
        row |= {part: estimate.value, f"{part}_low": estimate.low, f"{part}_high": estimate.high}
    return row


def _curve(fitted: DoseFit) -> list[dict[str, float]] | None:
    """Return the fitted rate with its band, at doses as far apart as the study's on a scale of 1 + dose.

    None without a fit or a band, without a trend, whose step has no place, and where the rates contradict the fit.
    """
    if fitted.maximum is None or fitted.slope.value is None or not fitted.fits:
        return None
    least, most = 1 + float(fitted.counts.doses.min()), 1 + float(fitted.counts.doses.max())
    at = [least * (most / least) ** (i / (N_POINTS - 1)) - 1 for i in range(N_POINTS)]
    at[0], at[-1] = float(fitted.counts.doses.min()), float(fitted.counts.doses.max())
    points = [
        {"dose": dose, "rate": rate, "low": low, "high": high}
        for dose, (rate, low, high) in zip(at, fitted.band(at), strict=False)
    ]
    return points or None


def dose_contrasts(
    select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str
) -> list[tuple[int, Row]]:
    """Return the row of each contrast of k50: their ratio, by its place."""
    return [(place, _contrast(found)) for place, found in _fits(select, measure, doses).items()]


def _contrast(fits: Fits) -> Row:
    """Return the ratio of the k50 of two fits, by side, or the reason why there is none."""
    row: Row = dict.fromkeys(("contrast", "first", "second", "low", "high", "p"))
    if len(fits.of) < 2:
        return row | {"reason": "no draw is kept on one side"}
    first, second = fits.of[1], fits.of[2]
    row |= fits.rests_on
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


def _fits(select: Callable[[str], list[tuple[Any, ...]]], measure: Measure, doses: str) -> dict[int, Fits]:
    """Return the fits of each place with a kept draw, by the first of two ways to cluster."""
    assert measure.interval is not None
    level, clusters = measure.interval.level, measure.interval.clusters
    counts: dict[int, dict[int, list[Count]]] = {}
    for place, side, cluster, dose, hits, n in select(doses):
        counts.setdefault(place, {}).setdefault(side, []).append((str(cluster), dose, float(hits), float(n)))
    found = {}
    for place, sides in counts.items():
        n_clusters = len({row[0] for rows in sides.values() for row in rows})
        enough = not clusters.detected or n_clusters >= MIN_DETECTED
        kept = sides if enough else {side: list(_alone(side, rows)) for side, rows in sides.items()}
        fits = {side: fit(rows, level, measure.steepness) for side, rows in kept.items()}
        found[place] = Fits(fits, clusters.names[0] if clusters.names and enough else "")
    return found


def _alone(side: int, rows: list[Count]) -> Iterator[Count]:
    """Yield each draw of counts as a cluster of its own."""
    for cluster, dose, hits, n in rows:
        yield from ((f"{side} {cluster} {dose} {i}", dose, float(i < hits), 1.0) for i in range(round(n)))
