"""CSV with a header line; every cell is text as written."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

from emdsl.data.records import DataError, Record

if TYPE_CHECKING:
    from pathlib import Path

csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents
COMMA, TAB = ",", "\t"
_OTHERS = {";": '";"', TAB: '"\\t"', "|": '"|"'}  # other common delimiters, as written in a study


def read_csv(path: Path, delimiter: str = COMMA) -> list[Record]:
    """Read the rows of a file of separated values; raises DataError.

    Columns without a name (e.g. the index of pandas) and rows without content are ignored.
    """
    records: list[Record] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(lines, None)
            if header is None:
                raise DataError(f"`{path.name}` is empty", help="the first line is the header")
            _check_header(path, header, delimiter)
            for cells in lines:
                if not any(cell.strip() for cell in cells):
                    continue
                place = f"row {len(records) + 1} (line {lines.line_num})"
                if len(cells) != len(header):
                    raise DataError(
                        f"`{path.name}`, {place}: expected {len(header)} cells as in the header, got {len(cells)}",
                        help="quote a cell that contains a delimiter or a line end",
                    )
                named = {name: cell for name, cell in zip(header, cells, strict=True) if name.strip()}
                records.append(Record(named, place))
    except csv.Error as error:
        raise DataError(f"`{path.name}`, after row {len(records)}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"`{path.name}` is not UTF-8 text (byte {error.start})", help="save it as UTF-8") from error
    return records


def read_tsv(path: Path) -> list[Record]:
    """Read the rows of a tab-separated file; raises DataError."""
    return read_csv(path, TAB)


def _check_header(path: Path, header: list[str], delimiter: str) -> None:
    names = [name for name in header if name.strip()]
    doubled = [name for name, n in Counter(names).items() if n > 1]
    if doubled:
        raise DataError(f"`{path.name}` has two columns called `{doubled[0]}`", help="rename one of them")
    if not names:
        raise DataError(f"`{path.name}` has no column names", help="the first line is the header")
    for other, written in _OTHERS.items():
        if other != delimiter and len(header) == 1 and other in header[0]:
            raise DataError(
                f"`{path.name}` has only one column, `{header[0][:60]}`: it seems to use another delimiter",
                help=f"add `delimiter = {written}` to the dataset",
            )
