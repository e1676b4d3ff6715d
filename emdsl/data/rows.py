"""The rows of a file that holds a tree, JSON or YAML: its list, or the place that the setting `rows` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.data.paths import ALL
from emdsl.data.records import ID, VALUE, DataError, Layout, Record
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOLE = "."  # the file itself, which may be one row
MAX_DEPTH, MAX_WAYS = 3, 3
_TO_ROWS = (  # for an object of columns
    "python -c \"import json; d = json.load(open('{0}')); "
    "c = [list(x.values()) if isinstance(x, dict) else x for x in d.values()]; "
    "json.dump([dict(zip(d, r)) for r in zip(*c)], open('rows-{0}', 'w'))\""
)


def rows_of(tree: Any, name: str, layout: Layout, place: Callable[[int, Any], str]) -> list[Record]:
    """Return the rows of a file as it was read.

    An object is a row with its fields, anything else a row with one column `value`. Rows that are fields of an object
    have the name of their field as `id`, unless they have one of their own.

    Args:
        tree: The content of the file.
        name: Of the file, for messages.
        layout: Where the rows are, and the names of their items if they are lists.
        place: Returns the place of a row for messages, by its number from 1 and its content.

    Raises:
        DataError: There are no rows at this place, or they are of unlike kinds.
    """
    records: list[Record] = []
    first = None
    for key, value in _items(tree, name, layout.rows):
        where = place(len(records) + 1, value)
        if first is None:
            first = isinstance(value, dict)
        elif isinstance(value, dict) is not first:
            wanted = "an object as in row 1" if first else f"{kind(_content(records[0], layout))} as in row 1"
            raise DataError(
                f"`{name}`, {where}: expected {wanted}, got {kind(value)}",
                help="in YAML, put quotes around a text that contains `: `" if isinstance(value, dict) else
                "give all rows one form: only objects, or only texts or lists",
            )  # fmt: skip
        plain = first and (key is None or ID in value)
        records.append(Record(value if plain else _fields(key, value, layout, f"`{name}`, {where}"), where))
    return records


def _content(record: Record, layout: Layout) -> Any:
    return () if layout.names else record.fields[VALUE]


def _fields(key: str | None, value: Any, layout: Layout, where: str) -> dict[str, Any]:
    named = {} if key is None else {ID: key}
    if isinstance(value, dict):
        return named | value
    if not layout.names:
        return named | {VALUE: value}
    items = value if isinstance(value, tuple) else (value,)
    if len(items) != len(layout.names):
        raise DataError(f"{where}: {len(layout.names)} names in `columns`, but {len(items)} items")
    return named | dict(zip(layout.names, items, strict=True))


def _items(tree: Any, name: str, rows: str) -> Iterator[tuple[str | None, Any]]:
    """Return the rows at a place, each with the name of the field that holds it; None for an item of a list."""
    if isinstance(tree, tuple) and rows in ("", WHOLE):
        return ((None, item) for item in tree)
    steps = [] if rows in ("", WHOLE) else rows.split(".")
    return _at(tree, steps, 0, None, name, whole=bool(rows))


def _at(
    value: Any, steps: list[str], i: int, key: str | None, name: str, *, whole: bool
) -> Iterator[tuple[str | None, Any]]:
    if i == len(steps):
        if isinstance(value, tuple) and steps[-1:] != [ALL]:
            yield from ((None, item) for item in value)
        elif steps[-1:] == [ALL] or (whole and isinstance(value, dict)):
            yield key, value
        else:
            raise _no_list(value, name, whole=whole)
        return
    step, parent = steps[i], ".".join(steps[:i])
    if isinstance(value, dict) and ".".join(steps[i:]) in value:  # a field whose name contains a dot
        joined = [*steps[:i], ".".join(steps[i:])]
        yield from _at(value[joined[i]], joined, i + 1, key, name, whole=whole)
    elif step == ALL and isinstance(value, dict):
        for field, item in value.items():
            yield from _at(item, steps, i + 1, field, name, whole=whole)
    elif step == ALL and isinstance(value, tuple):
        for item in value:
            yield from _at(item, steps, i + 1, None, name, whole=whole)
    elif isinstance(value, dict):
        if step not in value:
            where = f" in `{parent}`" if i else ""
            known = near(step, value) or f"available: {one_of(value)}"
            raise DataError(f"`{name}`: no field `{step}`{where}, which `rows` names", help=known, setting="rows")
        yield from _at(value[step], steps, i + 1, None, name, whole=whole)
    elif isinstance(value, tuple):
        path = ".".join([*steps[:i], ALL, *steps[i:]])
        raise DataError(f"`{name}`: {_called(parent)} is a list, and `{step}` is not in it",
                        help=f'write `rows = "{path}"`', setting="rows")  # fmt: skip
    else:
        raise DataError(f"`{name}`: {_called(parent)} is {kind(value)}, so it has no `{step}`", setting="rows")


def _called(path: str) -> str:
    return f"`{path}`" if path else "the file"


def _no_list(value: Any, name: str, *, whole: bool) -> DataError:
    """Return the error of a file without a list of rows, with the ways to read it that its content shows."""
    if not isinstance(value, dict):
        return DataError(f"`{name}`: expected a list of rows, got {kind(value)}", setting="rows" * whole)
    ways = [f'`rows = "{p}"` for the {n} item{"s" * (n != 1)} of `{p}`' for p, n in _lists(value, "", MAX_DEPTH)][
        :MAX_WAYS
    ]
    fields = list(value.values())
    if fields and all(isinstance(x, dict) for x in fields):
        ways.append(f'`rows = "{ALL}"` for a row of each field, with its name as `{ID}`')
    elif fields and not any(isinstance(x, dict) for x in fields):
        ways.append(f'`rows = "{ALL}"` for a row of each field, with the columns `{ID}` and `{VALUE}`')
    ways.append(f'`rows = "{WHOLE}"` for one row')
    help_ = "add " + ", or ".join(ways)
    if _is_columns(fields):
        help_ = f"if each field is a column, run `{_TO_ROWS.format(name)}`; else {help_}"
    return DataError(f"`{name}` holds one object, not a list of rows", help=help_)


def _lists(value: dict[str, Any], path: str, depth: int) -> list[tuple[str, int]]:
    """Return the paths of lists of objects within an object with their lengths, the longest first."""
    lists: list[tuple[str, int]] = []
    for key, inner in value.items():
        if isinstance(inner, tuple) and inner and all(isinstance(x, dict) for x in inner):
            lists.append((f"{path}{key}", len(inner)))
        elif isinstance(inner, dict) and depth > 1:
            lists += _lists(inner, f"{path}{key}.", depth - 1)
    return sorted(lists, key=lambda x: -x[1])


def _is_columns(fields: list[Any]) -> bool:
    """Whether the fields of an object look like columns of equal length, as pandas writes them."""
    if len(fields) < 2:
        return False
    if all(isinstance(x, tuple) and x and not any(isinstance(v, dict) for v in x) for x in fields):
        return len({len(x) for x in fields}) == 1
    return all(isinstance(x, dict) and x and all(k.isdigit() for k in x) for x in fields)


def kind(value: Any) -> str:
    """Return the kind of a value of JSON, for a message."""
    match value:
        case dict():
            return "an object"
        case tuple():
            return "a list"
        case str():
            return "a text"
        case None | bool():
            return "`null`" if value is None else f"`{str(value).lower()}`"
        case _:
            return "a number"
