"""Parquet, read by DuckDB: numbers become exact, dates and times ISO text."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.data.records import DataError, Record
from emdsl.value import canonical

if TYPE_CHECKING:
    from pathlib import Path


MAX_UNPACKED = 2**30  # bytes: a few kilobytes can hold one value a billion times
BATCH = 256  # rows
FLAT = 8  # bytes of a value other than a text


def read_parquet(path: Path) -> list[Record]:
    """Read the rows of a Parquet file; raises DataError."""
    import duckdb  # noqa: PLC0415 - 100 ms, for Parquet files only

    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as database:
            database.execute(f"SET memory_limit = '{MAX_UNPACKED // 2**20} MiB'")
            cursor = database.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in cursor.description or ()]
            rows: list[tuple[Any, ...]] = []
            left = MAX_UNPACKED
            while part := cursor.fetchmany(BATCH):
                left -= sum(len(v) if isinstance(v, str | bytes) else FLAT for row in part for v in row)
                if left < 0:
                    raise DataError(f"`{path.name}` unpacks to more than the maximum of {MAX_UNPACKED // 2**20:,} MiB")
                rows += part
    except duckdb.Error as error:
        raise DataError(f"`{path.name}` cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return [
        Record({n: _plain(v, path, i) for n, v in zip(names, row, strict=True)}, f"row {i}")
        for i, row in enumerate(rows, start=1)
    ]


def _plain(value: Any, path: Path, row: int) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int() | Decimal():
            return canonical(value)
        case float():
            if math.isnan(value):  # a missing value, as pandas writes it
                return None
            if math.isinf(value):
                sign = "-" if value < 0 else ""
                raise DataError(f"`{path.name}`, row {row}: `{sign}Infinity` is not a number of the language")
            return canonical(Decimal(repr(value)))
        case list() | tuple():
            return tuple(_plain(x, path, row) for x in value)
        case dict():
            return {str(k): _plain(v, path, row) for k, v in value.items()}
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)
