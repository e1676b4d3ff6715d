"""Datasets: one file or several, the paths of its columns, and its rows, addressed by content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.data.paths import OPTIONAL, pick
from emdsl.data.reading import contents_of, read
from emdsl.data.records import Budget, DataError, Layout, Record
from emdsl.digest import digest_parts
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_SHA256 = 8  # hex digits of a pin
MAX_NAMED = 12  # columns that a message writes out
_Records = Mapping[Path, list[Record]]  # by file
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The rows of a declared dataset; `columns` are their names in the study."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    sha256: str = ""
    obtain: str = ""  # how to get the file, if it does not exist
    paths: tuple[str, ...] = ()  # of each column, within a row
    place: str = ""  # of the rows, within the file
    files: Mapping[Path, str] = field(default_factory=dict)  # that were read, with the SHA-256 of each
    counts: tuple[int, ...] = ()  # rows of each of these

    @property
    def plain(self) -> tuple[Any, ...]:
        """Its content: the file, and which paths are read under which names; a missing file equals no other."""
        whole = (b"dataset", self.sha256 or f"{self.name}: {self.obtain}", self.columns, self.paths)
        return (*whole, self.place) if self.place else whole


def read_dataset(
    name: str,
    path: Path,
    columns: dict[str, str] | tuple[str, ...] | None,
    sha256: str | None,
    obtain: str = "",
    instead: Mapping[Path, Path] | None = None,
    delimiter: str | None = None,
    rows: str = "",
    paths: Sequence[Path] | None = None,
) -> Dataset:
    """Read a dataset from a file or several.

    Args:
        name: The name of the dataset in the study.
        path: The file as declared, or the pattern; the ending of each file chooses its reader.
        columns: Names of columns, each with a path within a row (`"messages.0.content"`), or the names of all columns
            of rows without names; None: all fields of the first row.
        sha256: A pin: the first 8 or more hex digits of the digest of all bytes, file after file.
        obtain: How to get the file. If given, a missing file is a dataset without rows.
        instead: Copies to read in place of files, by resolved path.
        delimiter: The delimiter of a CSV file.
        rows: The path of the rows within a JSON or YAML file.
        paths: The files, in the order of their rows; None: `path` itself.

    Raises:
        DataError: The file does not exist, is not of its format, or lacks a column.
    """
    files = contents_of([path] if paths is None else paths, instead or {})
    if not files:
        if obtain:
            return Dataset(name, tuple(columns or ()), (), "", obtain)
        raise DataError(f"there is no file `{path}`" if paths is None else f"no file matches `{path}`", missing=True)
    digest = digest_parts(file.raw for file in files).hex()
    if sha256 is not None and not digest.startswith(sha256.lower()):
        raise DataError(
            f"`{path.name}` has changed: its sha256 starts with `{digest[:16]}`, not with `{sha256}`",
            help=f'restore the file, or accept the change with `sha256 = "{digest[:16]}"`',
        )
    names = columns if isinstance(columns, tuple) else ()
    layout, budget = Layout(rows, names, delimiter or ""), Budget()
    records = {file.path: read(file, layout, budget) for file in files}
    first = next((record for some in records.values() for record in some), None)
    if first is None:
        raise DataError(f"`{path.name}` has no rows")
    wanted = {n: n for n in columns} if isinstance(columns, tuple) else columns
    column_paths = wanted if wanted is not None else {k: k for k in first.fields}
    _check_optional(records, column_paths)
    return Dataset(
        name, tuple(column_paths), tuple(_rows(name, records, column_paths, declared=columns is not None)), digest,
        paths=tuple(column_paths.values()), place=rows, files={file.path: file.sha256 for file in files},
        counts=tuple(len(records[file.path]) for file in files),
    )  # fmt: skip


def _rows(name: str, records: _Records, paths: Mapping[str, str], *, declared: bool) -> Iterator[Row]:
    """Yield the rows with their columns; raises DataError with the way to declare a column that some rows lack."""
    for i, (file, record) in enumerate(_every(records)):
        fields = record.fields
        try:
            row: dict[str, Any] = {c: fields[p] for c, p in paths.items()}
        except KeyError:  # a path into a field, or a column that this row lacks
            row = {}
        if row:
            yield Row(name, i, row)
            continue
        for column, path in paths.items():
            try:
                row[column] = _cell(record, path, file)
            except DataError as error:
                if i and not path.endswith(OPTIONAL):
                    error.help = _optional(column, records, paths, declared=declared)
                raise
        yield Row(name, i, row)


def _every(records: _Records) -> Iterator[tuple[Path, Record]]:
    """Yield all rows, each with its file."""
    for file, some in records.items():
        for record in some:
            yield file, record


def _cell(record: Record, path: str, file: Path) -> Any:
    fields = record.fields
    return fields[path] if path in fields else pick(fields, path, f"`{file.name}`, {record.place}")


def _optional(column: str, records: _Records, paths: Mapping[str, str], *, declared: bool) -> str:
    """Return the setting that allows rows without a column, and without any other column that some rows lack."""
    if declared or len(paths) > MAX_NAMED:
        others = "" if declared else "the columns that the study reads, and "
        return f"some rows lack it: in `columns`, write {others}`{_entry(column, paths[column] + OPTIONAL)}`"
    lacking = {c for c, p in paths.items() if any(p not in record.fields for _, record in _every(records))}
    entries = (_entry(c, p + OPTIONAL * (c in lacking)) for c, p in paths.items())
    return f"some rows lack it: add `columns = {{ {', '.join(entries)} }}`"


def _entry(column: str, path: str) -> str:
    """Return an entry of `columns` as a study writes it."""
    label = column if _NAME.fullmatch(column) else json.dumps(column, ensure_ascii=False)
    return f"{label}: {json.dumps(path, ensure_ascii=False)}"


def _check_optional(records: _Records, paths: Mapping[str, str]) -> None:
    """Raise DataError for an optional column that no row has: its name is misspelt."""
    for path in paths.values():
        if path.endswith(OPTIONAL) and all(_cell(record, path, file) == "" for file, record in _every(records)):
            file, record = next(_every(records))
            _cell(record, path.removesuffix(OPTIONAL), file)
