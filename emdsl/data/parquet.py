"""Parquet, read by DuckDB: numbers become exact, dates and times ISO text."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.data import records
from emdsl.data.records import DataError, Record
from emdsl.value import canonical

if TYPE_CHECKING:
    from emdsl.data.records import File, Layout

BATCH = 256  # rows
FLAT = 8  # bytes of a value other than a text


def read_parquet(file: File, _: Layout) -> list[Record]:
    """Read the rows of a Parquet file; raises DataError."""
    import duckdb  # noqa: PLC0415 - 100 ms, for Parquet files only

    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as database:
            database.execute(f"SET memory_limit = '{records.MAX_UNPACKED // 2**20} MiB'")
            cursor = database.execute("SELECT * FROM read_parquet(?)", [str(file.place)])
            names = [column[0] for column in cursor.description or ()]
            rows: list[tuple[Any, ...]] = []
            while part := cursor.fetchmany(BATCH):
                size = sum(len(v) if isinstance(v, str | bytes) else FLAT for row in part for v in row)
                file.budget.spend(size, file.name)
                rows += part
    except duckdb.Error as error:
        raise DataError(f"`{file.name}` cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return [
        Record({n: _plain(v, file.name, i) for n, v in zip(names, row, strict=True)}, f"row {i}")
        for i, row in enumerate(rows, start=1)
    ]


def _plain(value: Any, name: str, row: int) -> Any:
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
                raise DataError(f"`{name}`, row {row}: `{sign}Infinity` is not a number of the language")
            return canonical(Decimal(repr(value)))
        case list() | tuple():
            return tuple(_plain(x, name, row) for x in value)
        case dict():
            return {str(k): _plain(v, name, row) for k, v in value.items()}
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)
