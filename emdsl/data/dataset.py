"""A dataset: a file, its columns by path, and its rows, addressed by content."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.data.csv import read_csv, read_tsv
from emdsl.data.json import read_json, read_jsonl
from emdsl.data.parquet import read_parquet
from emdsl.data.records import DataError, Record
from emdsl.digest import digest_bytes
from emdsl.files import read_whole
from emdsl.source import near, one_of
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _read_yaml(path: Path) -> list[Record]:
    from emdsl.data.yaml import read_yaml  # noqa: PLC0415 - 15 ms that only a YAML file should cost

    return read_yaml(path)


READERS: dict[str, Callable[[Path], list[Record]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".parquet": read_parquet,
}
MIN_SHA256 = 8  # hex digits of a pin


OPTIONAL = "?"  # behind the path of a column that not all rows have


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows under a declared name; `columns` are the names they are read by."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    sha256: str = ""
    obtain: str = ""  # how to get the file, where it is not here
    ways: tuple[str, ...] = ()  # where in a row each column stands

    @property
    def plain(self) -> tuple[bytes, str, tuple[str, ...], tuple[str, ...]]:
        """What it holds: its file, and what is read of it under which names; one that is not here is like no other."""
        return (b"dataset", self.sha256 or f"{self.name}: {self.obtain}", self.columns, self.ways)


def read_dataset(
    name: str,
    path: Path,
    columns: dict[str, str] | None,
    sha256: str | None,
    obtain: str = "",
    instead: Path | None = None,
    delimiter: str | None = None,
) -> Dataset:
    """Return a dataset read from a file; one without rows where it is not here, and `obtain` says how to get it.

    `columns` maps names to paths within a row (`"messages.0.content"`); None takes every top-level field.
    `sha256` is a pin: the first 8 or more hex digits of the file's digest. `instead` is a copy that
    is read in its place; `delimiter` separates the cells of a CSV file. Raises DataError.
    """
    place = instead or path
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path.name}: no reader for `{path.suffix}` files", help=f"known are {', '.join(READERS)}")
    try:
        content = read_whole(place)
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file") from None
    except FileNotFoundError:
        if obtain:
            return Dataset(name, tuple(columns or ()), (), "", obtain)
        raise DataError(f"there is no file {path}", missing=True) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have
        raise DataError(f"no file can be called {str(path)!r}: {error}") from error
    found = digest_bytes(content).hex()
    if sha256 is not None and not found.startswith(sha256.lower()):
        raise DataError(
            f"{path.name} is not the file that is pinned: its sha256 starts with {found[:16]}",
            help=f'if the change is meant, write sha256 = "{found[:16]}"',
        )
    if delimiter is not None and reader not in (read_csv, read_tsv):
        raise DataError(f"{path.name} has no delimiter", help="`delimiter` is for CSV files: leave it out")
    records = read_csv(place, delimiter) if delimiter is not None else reader(place)
    if not records:
        raise DataError(f"{path.name} holds no rows")
    paths = columns if columns is not None else {k: k for k in records[0].fields}
    for way in paths.values():
        _is_anywhere(records, way, path)
    rows = tuple(
        Row(name, i, {column: pick(record, way, path) for column, way in paths.items()})
        for i, record in enumerate(records)
    )
    return Dataset(name, tuple(paths), rows, found, ways=tuple(paths.values()))


def _is_anywhere(records: list[Record], way: str, path: Path) -> None:
    """Raise DataError for an optional column that no row has: its name is misspelt."""
    if way.endswith(OPTIONAL) and all(pick(r, way, path) == "" for r in records):
        pick(records[0], way.removesuffix(OPTIONAL), path)


def pick(record: Record, way: str, path: Path) -> Any:
    """Return what stands at a path such as `messages.0.content`; raises DataError naming the row.

    Behind a path that ends in `?` stands an empty text where a row has no such field, or nothing in it.
    """
    if way in record.fields:  # a column whose name holds a point
        return record.fields[way]
    if way.endswith(OPTIONAL):
        try:
            there = pick(record, way.removesuffix(OPTIONAL), path)
        except DataError:
            return ""
        return "" if there is None else there
    value: Any = record.fields
    for i, step in enumerate(way.split(".")):
        place = f"{path.name}, {record.place}"
        if isinstance(value, dict):
            if step not in value:
                raise DataError(
                    f"{place}: there is no `{step}`" + (f" in `{'.'.join(way.split('.')[:i])}`" if i else ""),
                    help=near(step, value) or f"it has {one_of(value)}",
                    column=way,
                )
            value = value[step]
        elif isinstance(value, tuple):
            if not re.fullmatch(r"[0-9]{1,9}", step):
                raise DataError(
                    f"{place}: `{'.'.join(way.split('.')[:i])}` is a list: `{step}` is no position in it",
                    help="positions are counted from 0",
                    column=way,
                )
            if int(step) >= len(value):
                raise DataError(
                    f"{place}: `{'.'.join(way.split('.')[:i])}` has {len(value)} items; there is no item {step}",
                    help="positions are counted from 0",
                    column=way,
                )
            value = value[int(step)]
        else:
            raise DataError(f"{place}: `{'.'.join(way.split('.')[:i])}` has no parts", column=way)
    return value
