"""CSV; every cell is text as written. The first line names the columns, unless the dataset does."""

from __future__ import annotations

import csv
import io
from collections import Counter
from operator import eq
from typing import TYPE_CHECKING

from emdsl.data.records import DataError, Record
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from emdsl.data.records import File, Layout

csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents
COMMA, TAB = ",", "\t"
_OTHERS = {";": '";"', TAB: '"\\t"', "|": '"|"'}  # other common delimiters, as written in a study
_QUOTES = 'a cell that begins with a quote ends with one, and a quote within it is doubled: ""'


def read_csv(file: File, layout: Layout, default: str = COMMA) -> list[Record]:
    """Read the rows of a file of separated values; raises DataError.

    Columns without a name (e.g. the index of pandas) and rows without content are ignored.
    """
    records: list[Record] = []
    delimiter = layout.delimiter or default
    header: list[str] = []
    lines = csv.reader(io.StringIO(file.text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells) and (header or not cells):
                continue
            if not header:
                header, named = _header(file.name, cells, layout.names, delimiter)
                if not named:
                    continue
            place = f"row {len(records) + 1} (line {lines.line_num})"
            if len(cells) != len(header):
                raise DataError(
                    f"`{file.name}`, {place}: expected {len(header)} cells as in the "
                    f"{'first row' if layout.names else 'header'}, got {len(cells)}",
                    help="quote a cell that contains a delimiter or a line end",
                )
            records.append(Record({n: c for n, c in zip(header, cells, strict=True) if n.strip()}, place))
    except csv.Error as error:
        raise DataError(f"`{file.name}`, after row {len(records)}: not valid CSV: {error}", help=_QUOTES) from error
    if not header:
        raise DataError(f"`{file.name}` is empty", help="the first line is the header")
    return records


def read_tsv(file: File, layout: Layout) -> list[Record]:
    """Read the rows of a tab-separated file; raises DataError."""
    return read_csv(file, layout, TAB)


def _header(name: str, cells: list[str], names: tuple[str, ...], delimiter: str) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the first line is a row: a dataset that names all of them has one.

    If the first line holds the names, it is the header all the same, and they choose among its columns.
    """
    absent = [n for n in names if n not in cells]
    if absent and len(names) == len(cells) and not any(map(eq, names, cells)):
        return list(names), True
    if absent and len(absent) == len(names):
        raise DataError(f"`{name}`: {len(names)} names in `columns`, but {len(cells)} cells in the first line",
                        help='name every column, or write a map: `{ name: "column" }`')  # fmt: skip
    if absent:
        raise DataError(f"`{name}`: the header has no column `{absent[0]}`",
                        help=near(absent[0], cells) or f"available: {one_of(cells)}")  # fmt: skip
    _check_header(name, cells, delimiter)
    return cells, False


def _check_header(name: str, header: list[str], delimiter: str) -> None:
    names = [x for x in header if x.strip()]
    doubled = [x for x, n in Counter(names).items() if n > 1]
    if doubled:
        raise DataError(f"`{name}` has two columns called `{doubled[0]}`", help="rename one of them")
    if not names:
        raise DataError(f"`{name}` has no column names", help="the first line is the header")
    for other, written in _OTHERS.items():
        if other != delimiter and len(header) == 1 and other in header[0]:
            raise DataError(
                f"`{name}` has only one column, `{header[0][:60]}`: it seems to use another delimiter",
                help=f"add `delimiter = {written}` to the dataset",
            )
