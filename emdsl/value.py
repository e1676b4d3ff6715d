"""Values of the language: exact numbers, texts, rows, maps, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation, localcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

Number = int | Decimal
Value = Any  # text, Number, float (a score), bool, None, tuple, LabelledMap, Row, Missing, or a noun

MAX_NODES = 1_000_000  # parts of a value that is compared: lists that share lists double and double
MAX_DIGITS = 400  # a literal such as 1e999999999 must not fill the memory


def number(text: str) -> Number:
    """Return an exact number in its one canonical form; raises ValueError for one too long.

    >>> number("1.00"), number("1_000"), number("0.50")
    (1, 1000, Decimal('0.5'))
    """
    try:
        value = Decimal(text.replace("_", ""))
    except InvalidOperation:  # an exponent past all bounds
        raise ValueError(f"a number takes at most {MAX_DIGITS} digits") from None
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        raise ValueError(f"a number takes at most {MAX_DIGITS} digits")
    return canonical(value)


def canonical(value: Number) -> Number:
    """Return a number as int where it is whole, else as a decimal without trailing zeros."""
    if isinstance(value, int):
        return value
    if value == value.to_integral_value():
        return int(value)
    with localcontext() as context:
        context.prec = 2 * MAX_DIGITS  # normalize rounds to the context: never lose a digit
        return value.normalize()


def is_number(value: Value) -> bool:
    """Whether a value is a number; `true` is none."""
    return isinstance(value, int | Decimal | float) and not isinstance(value, bool)


def is_exact(value: Value) -> bool:
    """Whether a value is a number of the language, not a score."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def render(value: Value) -> str | None:
    """Return the text of a value in a message, or None for a value that has none.

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
    """No value, and why: a word of the rubric (`REFUSAL`), or one of the engine's reasons below."""

    reason: str


UNREADABLE = Missing("unreadable")  # the judge replied, and the reply says neither number nor label
NO_MASS = Missing("no_mass")  # too little of the probability lay on numbers
FAILED = Missing("failed")  # the query failed for good in this run
NO_ANSWER = Missing("no_answer")  # what it reads was not answered
UNDECIDED = Missing("undecided")  # the condition it stands under is itself missing
NOT_NEEDED = Missing("not_needed")  # the condition it stands under is false
NOT_ASKED = Missing("not_asked")  # not in the store, and not asked in this run
NO_REASONING = Missing("no_reasoning")  # the answer came without reasoning

BLOCKED = Missing("blocked")  # the provider's content policy refused it
INVALID = Missing("invalid")  # what it is computed from gives no value: an index past the end, say
UNDEFINED = Missing("undefined")  # a division by zero
NO_LOGPROBS = Missing("no_logprobs")  # the score is read from probabilities, and none came for the answer's first token
SPLIT_NUMBER = Missing("split_number")  # the judge's model writes a number digit by digit: its first token is no score

NULL = Missing("null")  # there is nothing in this place of the data
NOT_OBTAINED = Missing("not_obtained")  # the dataset that it is made of is not here yet: `obtain` says how to get it

ABSENT = frozenset(
    ("failed", "no_answer", "undecided", "not_needed", "not_asked", "not_obtained", "null")
)  # there is no reply at all
UNSETTLED = frozenset(("failed", "not_asked"))  # of these, what another run may still answer: no `else` stands for it
ENGINE_REASONS = (
    "unreadable",
    "no_mass",
    "no_logprobs",
    "split_number",
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
    """`env.NAME`, not looked up yet."""

    name: str


@dataclass(frozen=True, slots=True)
class LabelledMap:
    """`{ label: value, ... }` in the order written."""

    entries: tuple[tuple[str, Value], ...]

    def get(self, label: str) -> Value:
        """Return the value under a label; raises KeyError."""
        for known, value in self.entries:
            if known == label:
                return value
        raise KeyError(label)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order written."""
        return tuple(label for label, _ in self.entries)


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a dataset: its mapped columns, and its position counted from 0.

    Rows are equal if they are the same row of the same dataset; what they hold is `content`.
    """

    dataset: str
    position: int
    columns: Mapping[str, Value] = field(repr=False)

    @cached_property
    def content(self) -> bytes:
        """Digest of the mapped values, whatever their columns are called."""
        return digest("row", *sorted(digest("value", plain(v)) for v in self.columns.values()))


@dataclass(frozen=True, slots=True)
class Level:
    """One value of an axis; `label` is its name for people, None where the value is its own."""

    label: str | None
    value: Value

    @property
    def shown(self) -> str:
        """What tables and `--only` call it."""
        if self.label is not None:
            return self.label
        return render(self.value) or name_of(self.value) or str(self.value)


def name_of(value: Value) -> str | None:
    """Return the declared name of a value that has one (a model, a dataset, a prompt)."""
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else None


def plain(value: Value) -> Any:
    """Return a value as what `digest` takes; raises TypeError for one without content (a function).

    Marks are bytes, which no program can write, so that a map is never a list that looks like one.
    """
    return _plain(value, [MAX_NODES])


def _plain(value: Value, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise TypeError(f"more than {MAX_NODES:,} parts")
    match value:
        case Missing(reason="null"):
            return None  # as it stands in the data
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
    """Return what kind of value it is, for a message.

    >>> describe("a"), describe(1), describe(None)
    ('a text', 'a number', 'none')
    """
    match value:
        case None:
            return "none"
        case bool():
            return "true or false"
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
            return "a variable of the environment"
        case Missing():
            return "a missing value"
        case _:
            kind = type(value).__name__.lower()
            article = "an" if kind[0] in "aeiou" else "a"
            return f"{article} {kind}" + (f" (`{name}`)" if (name := name_of(value)) else "")
