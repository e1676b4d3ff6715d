"""CSV with a header line; every cell is text as written."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

from emdsl.data.records import DataError, Record

if TYPE_CHECKING:
    from pathlib import Path

csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents


def read_csv(path: Path) -> list[Record]:
    """Return the rows of a comma-separated file; raises DataError."""
    records: list[Record] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, None)
            if header is None:
                raise DataError(f"{path.name} is empty")
            doubled = [name for name, n in Counter(header).items() if n > 1]
            if doubled:
                raise DataError(f"{path.name}: two columns are called `{doubled[0]}`")
            for cells in lines:
                if not cells:
                    continue  # an empty line
                place = f"row {len(records) + 1} (line {lines.line_num})"
                if len(cells) != len(header):
                    raise DataError(
                        f"{path.name}, {place}: {len(cells)} cells, and the header has {len(header)}",
                        help="quote a cell that holds a comma or a line end",
                    )
                records.append(Record(dict(zip(header, cells, strict=True)), place))
    except csv.Error as error:
        raise DataError(f"{path.name}, after row {len(records)}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 text (byte {error.start})", help="save it as UTF-8") from error
    return records
