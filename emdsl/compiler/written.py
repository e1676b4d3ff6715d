"""Values in messages: as the language writes them, or by their kind; never as Python would print them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emdsl import value as values
from emdsl.compiler.callables import Function, HookFunction, PromptMaker, RubricMaker
from emdsl.value import EnvVar, LabelledMap, Money, name_of, render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.value import Level, Value

MAX_CHARACTERS = 60
_NOUNS: dict[type, str] = {
    Function: "a function", HookFunction: "a function", PromptMaker: "a prompt", RubricMaker: "a rubric",
}  # fmt: skip


def describe(value: Value) -> str:
    """Return the kind of a value, and its name if it is declared.

    >>> describe("a"), describe((1, 2)), describe(None)
    ('a text', 'a list', 'none')
    """
    noun = _NOUNS.get(type(value))
    return f"{noun} (`{name_of(value)}`)" if noun else values.describe(value)


def written(value: Any) -> str:
    """Return a value as a program writes it, cut if it is long.

    >>> written(("a", 1, None)), written({"on": True}), written("x")
    ('["a", 1, none]', '{ on: true }', '"x"')
    """
    text = _written(value)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "..."


def _written(value: Any) -> str:
    match value:
        case None:
            return "none"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case tuple() | list():
            return f"[{', '.join(_written(x) for x in value)}]"
        case LabelledMap():
            return _map(value.entries)
        case Mapping():
            return _map(value.items())
        case Money():
            return f"${render(value.usd)}"
        case EnvVar():
            return f"env.{value.name}"
        case _:
            return render(value) or name_of(value) or describe(value)


def _map(entries: Iterable[tuple[str, Any]]) -> str:
    return f"{{ {', '.join(f'{label}: {_written(x)}' for label, x in entries)} }}"


def called(level: Level) -> str:
    """Return what a message calls a level: its label, or its value."""
    return level.label if level.label is not None else render(level.value) or written(level.value)
