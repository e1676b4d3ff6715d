"""SQL macros of the database: the statistics of measures, for queries from any DuckDB client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.clustered import ASSUMED, HALF_ASSUMED, WEIGHT
from emdsl.outcomes.intervals import quantile_of, rate_sql, t_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

_Z = "z := 1.959963984540054"  # 95 %
METHODS = ("wilson", "wald", "agresti_coull")


def macros_sql() -> list[str]:
    """Return the statements that create all macros of the schema `emdsl`, with comments."""
    found = []
    for method in METHODS:
        low, high = rate_sql(method, z="z")
        found.append(f"CREATE OR REPLACE MACRO emdsl.{method}(hits, n, {_Z}) AS {{'low': {low}, 'high': {high}}}")
        comment = f"{method} interval of a rate: low and high; z is the normal quantile, 1.96 for 95 %"
        found.append(f"COMMENT ON MACRO emdsl.{method} IS '{comment}'")
    kept = "count(*) FILTER (kept AND hit IS NOT NULL)"
    hits = "count(*) FILTER (kept AND hit)"
    low, high = rate_sql("wilson", hits=hits, n=kept, z="z")
    found.append(
        f"CREATE OR REPLACE MACRO emdsl.kept_rate(hit, kept, {_Z}) AS {{'rate': CASE WHEN {kept} > 0 "
        f"THEN ({hits})::DOUBLE / {kept} END, 'low': {low}, 'high': {high}, 'hits': {hits}, 'n': {kept}}}"
    )
    found.append(
        "COMMENT ON MACRO emdsl.kept_rate IS 'aggregate: the share of rows where `hit` holds, among rows where `kept` "
        "holds and `hit` is known, with its Wilson interval; rows that share an answer all count'"
    )
    first, second = "(hits_1::DOUBLE / n_1)", "(hits_2::DOUBLE / n_2)"
    half = f"z * sqrt({first} * (1 - {first}) / n_1 + {second} * (1 - {second}) / n_2)"
    found.append(
        f"CREATE OR REPLACE MACRO emdsl.difference(hits_1, n_1, hits_2, n_2, {_Z}) AS CASE WHEN n_1 > 0 AND n_2 > 0 "
        f"THEN {{'contrast': {first} - {second}, 'low': {first} - {second} - {half}, "
        f"'high': {first} - {second} + {half}}} END"
    )
    found.append(
        "COMMENT ON MACRO emdsl.difference IS 'difference of two rates of independent draws, with a Wald interval; "
        "for paired draws use `contrast(...)` in a study'"
    )
    return [*found, *_clustered()]


def _clustered() -> Iterator[str]:
    """Yield the statements of the rate of clusters: the formula of `clustered.effective`, from sums over clusters."""
    n, clusters = "nullif(sum(n), 0)", "(count(*) FILTER (n > 0))"
    rate, events = f"(sum(hits)::DOUBLE / {n})", f"least(sum(hits), {n} - sum(hits))"
    squares = f"greatest(0.0, sum(hits * hits) - 2 * {rate} * sum(hits * n) + {rate} * {rate} * sum(n * n))"
    variance = f"({clusters} / ({clusters} - 1.0) * {squares} / ({n} * {n}))"
    independent = f"({rate} * (1 - {rate}))"
    observed = f"CASE WHEN {events} > 0 THEN greatest(1.0, {variance} * {n} / {independent}) ELSE 1.0 END"
    ratio = f"power(({t_sql(0.95, f'{clusters} - 1')}) / {quantile_of(0.95)!r}, 2)"
    share = f"{ASSUMED} * {clusters} / ({clusters} + {float(HALF_ASSUMED)})"
    assumed = f"(1 + greatest(0.0, sum(n * n) / {n} - 1.0) * {share})"
    factor = f"greatest(1.0, ({WEIGHT} * {assumed} + {events} * {ratio} * ({observed})) / ({WEIGHT} + {events}))"
    yield f"CREATE OR REPLACE MACRO emdsl.effective_n(hits, n) AS CASE WHEN {clusters} > 1 THEN {n} / {factor} END"
    yield (
        "COMMENT ON MACRO emdsl.effective_n IS 'aggregate over clusters, a row with `hits` and `n` for each: the "
        "effective number of draws of a rate, for an interval of 95 %'"
    )
    ends = f"emdsl.wilson({rate} * emdsl.effective_n(hits, n), emdsl.effective_n(hits, n))"
    effect = f"CASE WHEN {clusters} > 1 AND {events} > 0 THEN {variance} * ({n} - 1) / {independent} END"
    yield (
        f"CREATE OR REPLACE MACRO emdsl.clustered_rate(hits, n) AS {{'rate': {rate}, 'low': ({ends}).low, "
        f"'high': ({ends}).high, 'hits': sum(hits), 'n': sum(n), 'clusters': {clusters}, 'design_effect': {effect}}}"
    )
    yield (
        "COMMENT ON MACRO emdsl.clustered_rate IS 'aggregate over clusters, a row with `hits` and `n` for each: a rate "
        "with the 95 % Wilson interval of its effective n, without the exact outer end of the measure `rate`'"
    )
