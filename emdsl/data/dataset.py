"""Datasets: a file, the paths of its columns, and its rows, addressed by content."""

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
    from emdsl.data.yaml import read_yaml  # noqa: PLC0415 - 15 ms, for YAML files only

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
OPTIONAL = "?"  # at the end of the path of an optional column


@dataclass(frozen=True, eq=False)
class Dataset:
    """The rows of a declared dataset; `columns` are their names in the study."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    sha256: str = ""
    obtain: str = ""  # how to get the file, if it does not exist
    paths: tuple[str, ...] = ()  # of each column, within a row

    @property
    def plain(self) -> tuple[bytes, str, tuple[str, ...], tuple[str, ...]]:
        """Its content: the file, and which paths are read under which names; a missing file equals no other."""
        return (b"dataset", self.sha256 or f"{self.name}: {self.obtain}", self.columns, self.paths)


def read_dataset(
    name: str,
    path: Path,
    columns: dict[str, str] | None,
    sha256: str | None,
    obtain: str = "",
    instead: Path | None = None,
    delimiter: str | None = None,
) -> Dataset:
    """Read a dataset from a file.

    Args:
        name: The name of the dataset in the study.
        path: The file; its ending chooses the reader.
        columns: Names of columns, each with a path within a row (`"messages.0.content"`); None: all top-level fields.
        sha256: A pin: the first 8 or more hex digits of the file's digest.
        obtain: How to get the file. If given, a missing file is a dataset without rows.
        instead: A copy to read in place of the file.
        delimiter: The delimiter of a CSV file.

    Raises:
        DataError: The file does not exist, is not of its format, or lacks a column.
    """
    place = instead or path
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        endings = ", ".join(f"`{ending}`" for ending in READERS)
        raise DataError(f"`{path.name}`: `{path.suffix}` files are not supported", help=f"supported: {endings}")
    try:
        content = read_whole(place)
    except IsADirectoryError:
        raise DataError(f"`{path}` is a folder, not a file") from None
    except FileNotFoundError:
        if obtain:
            return Dataset(name, tuple(columns or ()), (), "", obtain)
        raise DataError(f"there is no file `{path}`", missing=True) from None
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise DataError(f"`{path}` is not a possible file name: {error}") from error
    digest = digest_bytes(content).hex()
    if sha256 is not None and not digest.startswith(sha256.lower()):
        raise DataError(
            f"`{path.name}` has changed: its sha256 starts with `{digest[:16]}`, not with `{sha256}`",
            help=f'restore the file, or accept the change with `sha256 = "{digest[:16]}"`',
        )
    if delimiter is not None and reader not in (read_csv, read_tsv):
        raise DataError(f"`{path.name}` has no delimiter", help="remove `delimiter`: it is for CSV files")
    records = read_csv(place, delimiter) if delimiter is not None else reader(place)
    if not records:
        raise DataError(f"`{path.name}` has no rows")
    paths = columns if columns is not None else {k: k for k in records[0].fields}
    for column_path in paths.values():
        _check_optional(records, column_path, path)
    rows = tuple(
        Row(name, i, {column: pick(record, column_path, path) for column, column_path in paths.items()})
        for i, record in enumerate(records)
    )
    return Dataset(name, tuple(paths), rows, digest, paths=tuple(paths.values()))


def _check_optional(records: list[Record], column: str, path: Path) -> None:
    """Raise DataError for an optional column that no row has: its name is misspelt."""
    if column.endswith(OPTIONAL) and all(pick(r, column, path) == "" for r in records):
        pick(records[0], column.removesuffix(OPTIONAL), path)


def pick(record: Record, column: str, path: Path) -> Any:
    """Return the value at the path of a column, e.g. `messages.0.content`; raises DataError naming the row.

    If the path ends in `?`, a missing or null field is an empty text.
    """
    if column in record.fields:  # a field whose name contains a dot
        return record.fields[column]
    if column.endswith(OPTIONAL):
        try:
            optional = pick(record, column.removesuffix(OPTIONAL), path)
        except DataError:
            return ""
        return "" if optional is None else optional
    value: Any = record.fields
    steps = column.split(".")
    for i, step in enumerate(steps):
        place = f"`{path.name}`, {record.place}"
        parent = ".".join(steps[:i])
        if isinstance(value, dict):
            if step not in value:
                raise DataError(
                    f"{place}: no column or field `{step}`" + (f" in `{parent}`" if i else ""),
                    help=near(step, value) or f"available: {one_of(value)}",
                    column=column,
                )
            value = value[step]
        elif isinstance(value, tuple):
            if not re.fullmatch(r"[0-9]{1,9}", step):
                raise DataError(
                    f"{place}: `{parent}` is a list, and `{step}` is not a position",
                    help="positions are counted from 0",
                    column=column,
                )
            if int(step) >= len(value):
                raise DataError(
                    f"{place}: `{parent}` has no item {step}, only {len(value)} item{'s' if len(value) != 1 else ''}",
                    help="positions are counted from 0",
                    column=column,
                )
            value = value[int(step)]
        else:
            raise DataError(f"{place}: `{parent}` is not an object or a list, so it has no `{step}`", column=column)
    return value
