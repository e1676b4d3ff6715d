"""JSON and JSON lines: numbers are exact, types are never guessed."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from emdsl.data.records import DataError, Record
from emdsl.value import number

if TYPE_CHECKING:
    from pathlib import Path


def read_jsonl(path: Path) -> list[Record]:
    """Read a file with one object on each line; raises DataError."""
    records: list[Record] = []
    for number_, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"row {len(records) + 1} (line {number_})"
        records.append(Record(_object(_parse(line, path, place), path, place), place))
    return records


def read_json(path: Path) -> list[Record]:
    """Read a file that holds one list of objects; raises DataError."""
    items = _parse(_text(path), path, "")
    if not isinstance(items, tuple):
        raise DataError(f"`{path.name}`: expected a list of objects, got {_kind(items)}")
    return [Record(_object(item, path, f"row {i}"), f"row {i}") for i, item in enumerate(items, start=1)]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"`{path.name}` is not UTF-8 text (byte {error.start})", help="save it as UTF-8") from error


def _parse(text: str, path: Path, place: str) -> Any:
    where = f"`{path.name}`" + (f", {place}" if place else "")

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

    try:
        return _frozen(
            json.loads(text, parse_float=number, parse_int=number, parse_constant=constant, object_pairs_hook=pairs)
        )
    except json.JSONDecodeError as error:
        column = f"line {error.lineno}, column {error.colno}" if not place else f"column {error.colno}"
        raise DataError(f"{where}: not valid JSON at {column}: {error.msg.lower()}") from error
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    except RecursionError:
        raise DataError(f"{where}: nested too deeply") from None


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(x) for x in value)
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    return value


def _object(value: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"`{path.name}`, {place}: expected an object, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case tuple():
            return "a list"
        case str():
            return "a text"
        case None | bool():
            return f"`{json.dumps(value)}`"
        case _:
            return "a number"
