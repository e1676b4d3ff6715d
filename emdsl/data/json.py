"""JSON and JSON lines: numbers are exact, types are never guessed."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from emdsl.data.cells import frozen
from emdsl.data.records import DataError
from emdsl.data.rows import rows_of
from emdsl.value import number

if TYPE_CHECKING:
    from emdsl.data.records import File, Layout, Record

_SPACE = " \t\r\n"
_BLANK = re.compile(f"[{_SPACE}]*")
_TO_JSON = "python -c \"import ast, json; [print(json.dumps(ast.literal_eval(x))) for x in open('{0}')]\" > 'json-{0}'"


def read_jsonl(file: File, layout: Layout) -> list[Record]:
    """Read a file with one value on each line; raises DataError.

    A list by itself, or values that go over several lines, are read as in a JSON file.
    """
    values: list[Any] = []
    lines: list[int] = []
    text = file.text
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            values.append(_line(part, file.name, f"row {len(values) + 1} (line {line})"))
        except DataError as error:
            if values:
                raise
            try:
                values = _values(text, file.name)
            except DataError:
                raise error from None
            break
        lines.append(line)
    if len(values) == 1 and isinstance(values[0], tuple):
        return rows_of(values[0], file.name, layout, _row)
    in_lines = len(lines) == len(values) and not layout.rows
    return rows_of(
        tuple(values), file.name, layout, lambda i, x: f"row {i} (line {lines[i - 1]})" if in_lines else _row(i, x)
    )


def read_json(file: File, layout: Layout) -> list[Record]:
    """Read a file that holds a list or an object, or several values one after the other; raises DataError."""
    values = _values(file.text, file.name)
    return rows_of(values[0] if len(values) == 1 else tuple(values), file.name, layout, _row)


def _row(i: int, _: Any) -> str:
    return f"row {i}"


def _values(text: str, name: str) -> list[Any]:
    """Return the values of a text, one after the other."""
    values: list[Any] = []
    at, end = 0, len(text.rstrip(_SPACE))
    while (at := _BLANK.match(text, at).end()) < end:  # type: ignore[union-attr]  # no text fails to match
        place = f"row {len(values) + 1}" if values and isinstance(values[-1], dict) else ""
        value, at = _value(text, at, name, place, lines=True)
        values.append(value)
    return values


def _line(text: str, name: str, place: str) -> Any:
    """Return the one value of a line."""
    start = len(text) - len(text.lstrip(_SPACE))
    value, end = _value(text, start, name, place, lines=False)
    if text[end:].strip(_SPACE):
        raise DataError(f"`{name}`, {place}: not valid JSON at column {end + 1}: extra data",
                        help="write each row on a line of its own")  # fmt: skip
    return value


def _value(text: str, start: int, name: str, place: str, *, lines: bool) -> tuple[Any, int]:
    """Return the value that begins at a position, and where it ends; raises DataError."""
    where = f"`{name}`" + (f", {place}" if place else "")

    def constant(word: str) -> None:
        if word != "NaN":  # a missing value, as pandas writes it
            raise DataError(f"{where}: `{word}` is not a JSON number", help="write null for a missing value")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(items)
        if len(fields) != len(items):
            counts = Counter(k for k, _ in items)
            doubled = next(k for k, n in counts.items() if n > 1)
            raise DataError(f"{where}: the field `{doubled}` appears twice in one object", help="remove one of them")
        return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}

    decoder = json.JSONDecoder(
        parse_float=number, parse_int=number, parse_constant=constant, object_pairs_hook=pairs
    )  # fmt: skip
    try:
        value, end = decoder.raw_decode(text, start)
        return frozen(value), end
    except json.JSONDecodeError as error:
        column = f"line {error.lineno}, column {error.colno}" if lines else f"column {error.colno}"
        raise DataError(
            f"{where}: not valid JSON at {column}: {error.msg.lower()}", help=_help(text, error.pos, name)
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    except RecursionError:
        raise DataError(f"{where}: nested too deeply") from None


def _help(text: str, at: int, name: str) -> str:
    """Return what to change where a text stops being JSON, by the characters around the place."""
    before, after = text[max(0, at - 200) : at].rstrip(), text[at : at + 2]
    if after.startswith("'"):
        return f"JSON has double quotes; lines as Python prints them: `{_TO_JSON.format(name)}`"
    if after.startswith(("#", "//", "/*")):
        return "JSON has no comments: delete it"
    if before.endswith(",") and after[:1] in ("]", "}", ""):
        return "delete the comma in front of it"
    if after.startswith(","):  # of a comma at the end, as Python 3.13 reports it
        return "delete the comma"
    return ""
