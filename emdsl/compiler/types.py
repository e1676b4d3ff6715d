"""Types of expressions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.compiler.callables import Function, HookFunction, PromptMaker, RubricMaker
from emdsl.data.dataset import Dataset
from emdsl.prompt import Prompt
from emdsl.query import Model
from emdsl.reply_format import BY_CELL
from emdsl.source import one_of
from emdsl.value import EnvVar, LabelledMap, Missing, Money, Row, Value, name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from emdsl.reply_format import ReplyField, ReplyFormat


@dataclass(frozen=True, slots=True)
class Type:
    """A kind of value; `names` are a row's columns, a map's or a label's labels, a function's parameters."""

    kind: str
    names: tuple[str, ...] = ()
    item: Type | None = None
    labels: frozenset[str] | None = None  # of an axis or a choice: what `is` can test
    words: tuple[str, ...] = ()  # of a verdict: why it can be missing
    scale: tuple[float, float] | None = None
    value: Any = None  # of a constant that can be called
    named: frozenset[str] = frozenset()  # labels of an axis that no level has as its value

    def __str__(self) -> str:
        return _PHRASES.get(self.kind, self.kind)


_PHRASES = {
    "text": "a text",
    "number": "a number",
    "score": "a score",
    "bool": "a boolean",
    "label": "a label",
    "verdict": "a JSON verdict",
    "answer": "an answer",
    "list": "a list",
    "map": "a map",
    "row": "a row of a dataset",
    "dataset": "a dataset",
    "model": "a model",
    "prompt": "a prompt",
    "function": "a function",
    "rubric": "a rubric",
    "money": "an amount of money",
    "env": "an environment variable",
}
ANY = Type("any")
TEXT, NUMBER, BOOL, NONE, MESSAGES = Type("text"), Type("number"), Type("bool"), Type("none"), Type("prompt")
ANSWER = Type("answer")
SHARE = Type("score", scale=(0.0, 1.0))  # the probability of a label
ANSWER_FIELDS = {"reasoning": TEXT, "finish": TEXT, "tokens": NUMBER, "cost": NUMBER, "logprobs": ANY}
RENDERED = {"text", "number", "score", "label", "answer", "bool", "any"}
_READ_BY = {"score": "scale = 0..100", "label": 'choices = ["YES", "NO"]'}  # settings of an ask
TEXTS = {"text", "label", "answer"}
NUMBERS = {"number", "score"}


def verdict_type(reply_format: ReplyFormat) -> Type:
    """Return the type of a verdict."""
    if reply_format.shape:
        return Type("verdict", tuple(p.name for p in reply_format.shape), words=reply_format.words)
    if reply_format.choices:
        return Type("label", labels=frozenset(reply_format.choices), words=reply_format.words)
    return Type("score", words=reply_format.words, scale=reply_format.scale)


def part_type(part: ReplyField) -> Type:
    """Return the type of a field of a JSON verdict."""
    match part.kind:
        case "bool":
            return BOOL
        case "number":
            return Type("score", scale=part.scale)
        case "label":
            return Type("label", labels=frozenset(part.choices) if part.choices != BY_CELL else None)
        case _:
            return TEXT


def unread_help(ask: str, field: str, known: Collection[str]) -> str:
    """Return how an answer gets a field; "" for a field that none has, and for an answer that is read already."""
    if field not in _READ_BY or set(known) != set(ANSWER_FIELDS):
        return ""
    return f"add `{{ {_READ_BY[field]} }}` to `ask {ask}`"


def type_of(value: Value) -> Type:
    """Return the type of a value that is known."""
    match value:
        case None:
            return NONE
        case Missing():
            return ANY
        case bool():
            return BOOL
        case str():
            return TEXT
        case tuple() | list():
            unlike = {id(v): v for v in value}.values()  # a list may hold one list many times over
            return Type("list", item=union(type_of(v) for v in unlike) if value else ANY)
        case LabelledMap():
            return Type("map", value.labels, union(type_of(v) for _, v in value.entries))
        case Row():
            return Type("row", _row_names(value.columns))
        case Dataset():
            known = value.columns or not value.obtain
            return Type("dataset", item=Type("row", _row_names(value.columns)) if known else ANY)
        case Model():
            return Type("model")
        case Prompt():
            return MESSAGES
        case RubricMaker():
            return Type("rubric", value.params, value=value)
        case HookFunction():
            item = {"number": NUMBER, "text": TEXT, "bool": BOOL}.get(value.kind)
            return Type("function", value.params, item, value=value)
        case Function() | PromptMaker():
            return Type("function", value.params, value=value)
        case Money():
            return Type("money")
        case EnvVar():
            return Type("env")
        case dict():
            return ANY
        case _:
            return NUMBER


def _row_names(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names that can be read of a row; a column called `position` hides the built-in one."""
    names = tuple(columns)
    return names if "position" in names else (*names, "position")


def union(types: Iterable[Type]) -> Type:
    """Return the type of a value that has one of several types; rows with unlike columns share the common ones."""
    options = list(types)
    if not options:
        return ANY
    first = options[0]
    if all(t.kind == first.kind for t in options):
        if any(t.labels != first.labels for t in options):
            first = replace(first, labels=None)
        if first.kind == "row":
            names = tuple(n for n in first.names if all(n in t.names for t in options))
            return replace(first, names=names, item=first.item if all(t.item == first.item for t in options) else None)
        if first.item is not None:
            return replace(first, item=union(t.item or ANY for t in options))
        return first
    return ANY


def label_names(values: Iterable[tuple[str | None, Value]]) -> frozenset[str]:
    """Return the names that `is` can test, of levels given as labels and values."""
    names: set[str] = set()
    for label, value in values:
        if label is not None:
            names.add(label)
        if (name := name_of(value)) is not None:
            names.add(name)
        if label is None and isinstance(value, str):
            names.add(value)
    return frozenset(names)


_TEXT_COLUMNS = ("text", "question", "prompt", "content", "input", "user", "query")


def column_hint(form: str, row: str, type_: Type, param: str = "") -> str:
    """Return what to write instead of a row or a list where a text is expected; "" for other types.

    Args:
        form: How a value is written there, with `{}` in its place.
        row: The row or the list as written.
        type_: Its type.
        param: The parameter that it is given as: a column of this name is likely meant.
    """
    if type_.kind == "list":
        return f'join its items: `join({row}, ", ")`'
    if type_.kind != "row" or not type_.names:
        return ""
    likely = next((n for n in (param, *_TEXT_COLUMNS) if n in type_.names), type_.names[0])
    return f"use one of its columns, e.g. `{form.format(f'{row}.{likely}')}`; it has {one_of(type_.names)}"
