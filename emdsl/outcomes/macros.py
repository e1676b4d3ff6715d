"""SQL macros of the database: the statistics of measures, for queries from any DuckDB client."""

from __future__ import annotations

from emdsl.outcomes.intervals import rate_sql

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
    return found
