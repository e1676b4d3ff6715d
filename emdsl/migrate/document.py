"""Document, a file of another tool as it was read: one object, or rows, with the line of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.data.reading import content_of, contents_of, ending_of, read
from emdsl.data.records import Budget, DataError, File, Layout
from emdsl.errors import UsageError
from emdsl.files import read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LINE = re.compile(r"\(line (\d+)\)")
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its fields and its line."""

    position: int  # from 0, as the language counts it
    fields: Mapping[str, Any]
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file: `tree` is the object of a file with one, `rows` are the rows of any other file."""

    path: Path
    title: str = ""  # its name for people, if it is not that of the path
    tree: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)  # of the parts of the tree

    @property
    def name(self) -> str:
        """Its name for messages."""
        return self.title or self.path.name

    def line(self, *path: str | int) -> int | None:
        """Return the line of a part of the tree, or of the part that holds it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)


def read_document(path: Path) -> Document:
    """Read a file; raises UsageError."""
    try:
        files = contents_of([path], {})
        if not files:
            raise UsageError(f"no such file: {path}")
        (file,) = files
        ending = ending_of(path)
        if ending in _YAML:
            return _yaml(path, File(file.name, file.place, content_of(file, Budget()), Budget()))
        is_json = ending == ".json"
        records = read(file, Layout(rows=".") if is_json else Layout(), Budget())
        if is_json and content_of(file, Budget()).lstrip()[:1] == b"{" and len(records) == 1:
            return Document(path=path, tree=records[0].fields)
    except DataError as error:
        raise UsageError(str(error) + (f"; {error.help}" if error.help else "")) from None
    places = [_LINE.search(r.place) for r in records]
    return Document(
        path=path,
        rows=tuple(
            Row(i, r.fields, int(m[1]) if m else None) for i, (r, m) in enumerate(zip(records, places, strict=True))
        ),
    )


def within(folder: Path, name: str) -> Path | None:
    """Return the path of a file that another file names; None outside of the folder, where secrets may be."""
    path = folder / name.removeprefix("file://")
    try:
        return path if path.resolve().is_relative_to(folder.resolve()) else None
    except (OSError, ValueError):  # a name that no file can have
        return None


def read_yaml(path: Path) -> Document:
    """Read a YAML file, whatever its name ends in; raises UsageError."""
    try:
        return _yaml(path, File(path.name, path, read_whole(path), Budget()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except DataError as error:
        raise UsageError(str(error) + (f"; {error.help}" if error.help else "")) from None


def _yaml(path: Path, file: File) -> Document:
    from emdsl.data.yaml import read_tree  # noqa: PLC0415 - 15 ms, for YAML files only

    tree, lines = read_tree(file)
    if isinstance(tree, dict):
        return Document(path=path, tree=tree, lines=lines)
    if not isinstance(tree, tuple) or not all(isinstance(x, dict) for x in tree):
        raise DataError(f"`{file.name}`: expected an object or a list of objects")
    return Document(path=path, rows=tuple(Row(i, x, lines.get((i,))) for i, x in enumerate(tree)), lines=lines)
