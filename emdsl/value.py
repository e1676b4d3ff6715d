"""Values of the language: exact numbers, texts, rows, maps, and missing values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation, localcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

Number = int | Decimal
Value = Any  # text, Number, float (a score), bool, None, tuple, LabelledMap, Row, Missing, or a noun

MAX_NODES = 1_000_000  # parts of a compared value: lists of shared lists grow exponentially
MAX_DIGITS = 400  # a literal such as 1e999999999 must not fill the memory


def number(text: str) -> Number:
    """Return an exact number in canonical form; raises ValueError if it is too long.

    >>> number("1.00"), number("1_000"), number("0.50")
    (1, 1000, Decimal('0.5'))
    """
    try:
        value = Decimal(text.replace("_", ""))
    except InvalidOperation:  # an exponent past all bounds
        raise ValueError(f"a number can have at most {MAX_DIGITS} digits") from None
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"a number can have at most {MAX_DIGITS} digits")
    return canonical(value)


def canonical(value: Number) -> Number:
    """Return a whole number as int, another one as a decimal without trailing zeros."""
    if isinstance(value, int):
        return value
    if value == value.to_integral_value():
        return int(value)
    with localcontext() as context:
        context.prec = 2 * MAX_DIGITS  # normalize rounds to the context: never lose a digit
        return value.normalize()


def is_number(value: Value) -> bool:
    """Whether a value is a number; `true` is not."""
    return isinstance(value, int | Decimal | float) and not isinstance(value, bool)


def is_exact(value: Value) -> bool:
    """Whether a value is a number of the language, not a score."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def render(value: Value) -> str | None:
    """Return the text of a value in a prompt, or None for a value without one.

    >>> render(1), render(Decimal("0.5")), render("a")
    ('1', '0.5', 'a')
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case float():
            return repr(value).removesuffix(".0")
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Missing:
    """A missing value with its reason: a word of the rubric (`REFUSAL`), or a reason of the engine, as below."""

    reason: str


UNREADABLE = Missing("unreadable")  # the judge's reply states neither number nor label
NO_MASS = Missing("no_mass")  # too little probability on numbers or labels
FAILED = Missing("failed")  # the request failed in this run
NO_ANSWER = Missing("no_answer")  # a step that it reads has no answer
UNDECIDED = Missing("undecided")  # its condition is missing
NOT_NEEDED = Missing("not_needed")  # its condition is false
NOT_ASKED = Missing("not_asked")  # pending: not in the store, and not sent in this run
INCOMPLETE = Missing("incomplete")  # computed over many rows, of which one is pending
NO_REASONING = Missing("no_reasoning")  # the answer has no reasoning
NOT_REPORTED = Missing("not_reported")  # by the provider: token counts, logprobs
UNKNOWN_LABEL = Missing("unknown_label")  # the probability of a text that is not among the labels

BLOCKED = Missing("blocked")  # by the provider's content policy
INVALID = Missing("invalid")  # an expression without a value, such as an index past the end
UNDEFINED = Missing("undefined")  # division by zero
NO_LOGPROBS = Missing("no_logprobs")  # a weighted verdict, but no probabilities for the answer's first token
SPLIT_NUMBER = Missing("split_number")  # the model writes numbers digit by digit: the first token is not the score
SPLIT_LABEL = Missing("split_label")  # the model splits labels after a beginning that several of them share

NULL = Missing("null")  # an empty value in the data
NOT_OBTAINED = Missing("not_obtained")  # its dataset is missing: `obtain` tells how to get it

ABSENT = frozenset(
    ("failed", "no_answer", "undecided", "not_needed", "not_asked", "incomplete", "not_obtained", "null")
)  # no reply at all
UNSETTLED = frozenset(
    ("failed", "not_asked", "incomplete")
)  # of these, those that another run may answer: `else` does not replace them
ENGINE_REASONS = (
    "unreadable",
    "no_mass",
    "no_logprobs",
    "split_number",
    "split_label",
    "blocked",
    "invalid",
    "undefined",
    *sorted(ABSENT),
)


@dataclass(frozen=True, slots=True)
class Money:
    """US dollars."""

    usd: Number


@dataclass(frozen=True, slots=True)
class EnvVar:
    """`env.NAME`, before its lookup."""

    name: str


@dataclass(frozen=True, slots=True)
class LabelledMap:
    """`{ label: value, ... }`, in order."""

    entries: tuple[tuple[str, Value], ...]

    def get(self, label: str) -> Value:
        """Return the value under a label; raises KeyError."""
        for name, value in self.entries:
            if name == label:
                return value
        raise KeyError(label)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in order."""
        return tuple(label for label, _ in self.entries)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a dataset: its mapped columns, and its position from 0.

    Rows are equal if they are the same row of the same dataset; `content` compares their values.
    """

    dataset: str
    position: int
    columns: Mapping[str, Value] = field(repr=False)

    @cached_property
    def content(self) -> bytes:
        """The digest of the mapped values, without column names."""
        return digest("row", *sorted(digest("value", plain(v)) for v in self.columns.values()))


@dataclass(frozen=True, slots=True)
class Level:
    """One value of an axis; `label` is its name for people, or None."""

    label: str | None
    value: Value

    @property
    def shown(self) -> str:
        """Its name in tables and `--only`; a record or a list is shown as JSON, as in its column of the results."""
        if self.label is not None:
            return self.label
        return render(self.value) or name_of(self.value) or _json_text(self.value)


def _json_text(value: Value) -> str:
    """Return a list or a record as JSON, with exact numbers; any other value as Python shows it."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case None:
            return "null"
        case tuple() | list():
            return f"[{', '.join(map(_json_text, value))}]"
        case LabelledMap():
            entries = (f"{json.dumps(k, ensure_ascii=False)}: {_json_text(v)}" for k, v in value.entries)
            return f"{{{', '.join(entries)}}}"
        case _:
            return render(value) or name_of(value) or str(value)


def name_of(value: Value) -> str | None:
    """Return the name of a declared value (a model, a dataset, a prompt), or None."""
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else None


def plain(value: Value) -> Any:
    """Return a value in the form that `digest` takes; raises TypeError for one without content (a function).

    Tags are bytes, which no study can write, so that a map never equals a list.
    """
    return _plain(value, [MAX_NODES])


def _plain(value: Value, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise TypeError(f"more than {MAX_NODES:,} parts")
    match value:
        case Missing(reason="null"):
            return None  # as in the data
        case None | bool() | int() | Decimal() | str():
            return value
        case tuple() | list():
            return tuple(_plain(x, left) for x in value)
        case dict():
            return {k: _plain(v, left) for k, v in value.items()}
        case LabelledMap():
            return (b"map", tuple((k, _plain(v, left)) for k, v in value.entries))
        case Row():
            return (b"row", value.content)
        case Money():
            return (b"usd", value.usd)
        case _ if hasattr(value, "plain"):
            return value.plain
        case _:
            raise TypeError(f"{type(value).__name__} has no content to compare")


def describe(value: Value) -> str:
    """Return the kind of a value, for a message.

    >>> describe("a"), describe(1), describe(None)
    ('a text', 'a number', 'none')
    """
    match value:
        case None:
            return "none"
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case int() | Decimal() | float():
            return "a number"
        case tuple() | list():
            return "a list"
        case dict():
            return "a record"
        case LabelledMap():
            return "a map"
        case Row():
            return f"a row of `{value.dataset}`"
        case Money():
            return "an amount of money"
        case EnvVar():
            return "an environment variable"
        case Missing():
            return "a missing value"
        case _:
            kind = type(value).__name__.lower()
            article = "an" if kind[0] in "aeiou" else "a"
            return f"{article} {kind}" + (f" (`{name}`)" if (name := name_of(value)) else "")
