"""Parquet through DuckDB; numbers become exact, dates and times ISO text."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.data.records import DataError, Record
from emdsl.value import canonical

if TYPE_CHECKING:
    from pathlib import Path


MAX_UNPACKED = 2**30  # bytes of what a file unpacks to: some kilobytes can hold a value a billion times
ROWS = 256  # looked at together
FLAT = 8  # bytes of a value that is no text


def read_parquet(path: Path) -> list[Record]:
    """Return the rows of a Parquet file; raises DataError."""
    import duckdb  # noqa: PLC0415 - 100 ms that only a Parquet file should cost

    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as database:
            database.execute(f"SET memory_limit = '{MAX_UNPACKED // 2**20} MiB'")
            found = database.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in found.description or ()]
            rows: list[tuple[Any, ...]] = []
            left = MAX_UNPACKED
            while part := found.fetchmany(ROWS):
                left -= sum(len(v) if isinstance(v, str | bytes) else FLAT for row in part for v in row)
                if left < 0:
                    raise DataError(f"{path.name} unpacks to more than {MAX_UNPACKED // 2**20:,} MiB")
                rows += part
    except duckdb.Error as error:
        raise DataError(f"{path.name}: {str(error).splitlines()[0]}") from error
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
            if math.isnan(value):  # how pandas writes that there is nothing
                return None
            if math.isinf(value):
                raise DataError(f"{path.name}, row {row}: {value} is no number of the language")
            return canonical(Decimal(repr(value)))
        case list() | tuple():
            return tuple(_plain(x, path, row) for x in value)
        case dict():
            return {str(k): _plain(v, path, row) for k, v in value.items()}
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)
