"""Texts that hold lists and objects: JSON, and what pandas writes for a list in a CSV file."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import Any

from emdsl.value import canonical, number

MAX_CELL = 10_000_000  # characters of one text


def in_cell(text: str) -> Any:
    """Return the value that a text holds, with exact numbers; raises ValueError for any other text.

    >>> in_cell('["a", 0.50]'), in_cell("['a', None]")
    (('a', Decimal('0.5')), ('a', None))
    """
    start = text.lstrip()[:1]
    if start not in ("[", "{", "(") or len(text) > MAX_CELL:
        raise ValueError("not a list or an object")
    try:
        return loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        return _python(text)


def loads(text: str) -> Any:
    """Return the value of a JSON text, with exact numbers; raises ValueError, RecursionError."""
    return frozen(json.loads(text, parse_float=number, parse_int=number, parse_constant=_constant))


def _constant(word: str) -> None:
    if word != "NaN":  # a missing value, as pandas writes it
        raise ValueError(f"{word} is not a number")


def frozen(value: Any) -> Any:
    """Return a value of JSON with tuples in place of lists."""
    if isinstance(value, list | tuple):
        return tuple(frozen(x) for x in value)
    if isinstance(value, dict):
        return {k: frozen(v) for k, v in value.items()}
    return value


def _python(text: str) -> Any:
    """Return the value of a Python literal; raises ValueError.

    An array of numpy, `['a' 'b']`, would be read as one text: strings without a comma between them are refused.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        n_strings = sum(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in ast.walk(tree))
        tokens = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
        if sum(token.type == tokenize.STRING for token in tokens) != n_strings:
            raise ValueError("strings without a comma between them")
        return _exact(ast.literal_eval(tree))
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("not a literal of Python") from error


def _exact(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return canonical(value)
        case float():
            return number(repr(value)) if value == value else None  # noqa: PLR0124 - NaN, a missing value
        case list() | tuple():
            return tuple(_exact(x) for x in value)
        case dict() if all(isinstance(k, str) for k in value):
            return {k: _exact(v) for k, v in value.items()}
        case _:
            raise ValueError(f"{type(value).__name__} is not a value of the language")
