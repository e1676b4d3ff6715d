"""Operations on values: compare, calculate, iterate, read a part."""

from __future__ import annotations

import operator
from decimal import Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, Any

from emdsl.compiler.written import describe
from emdsl.frame import Frame, MissingInput, fail
from emdsl.source import Span, near, one_of
from emdsl.value import (
    MAX_DIGITS,
    NOT_OBTAINED,
    NULL,
    UNDEFINED,
    LabelledMap,
    Missing,
    Row,
    Value,
    canonical,
    is_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.lang import ast

MAX_TEXT = 2**26  # characters: no request is this long
MAX_ITEMS = 2_000_000  # of a list
MAX_RANGE = 1_000_000  # numbers in a range
MAX_WORK = 3_000_000  # items that the loops of one cell and sample go through
QUOTIENT_DIGITS = 60  # of a division that does not come out even

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_SAME = "compare two values of the same type"
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def same(a: Value, b: Value) -> tuple[Value, Value]:
    """Return two numbers of one kind: a score is binary, so what meets it becomes binary."""
    if isinstance(a, float) or isinstance(b, float):
        return float(a), float(b)
    return a, b


def equal(a: Value, b: Value, span: Span) -> bool:
    """Whether two values are equal; values of different kinds are a fault, but for `none`."""
    if is_number(a) and is_number(b):
        x, y = same(a, b)
        return bool(x == y)
    if a is None or b is None:
        return a is b
    if type(a) is not type(b) and not (isinstance(a, tuple | list) and isinstance(b, tuple | list)):
        raise fail("E505", f"{describe(a)} and {describe(b)} are never equal", span, help=_SAME)
    return bool(a == b)


def compared(op: str, a: Value, b: Value, span: Span) -> bool:
    """Return `a op b` of two numbers or two texts; `==` and `!=` take two values of any one kind."""
    if op in ("==", "!="):
        return equal(a, b, span) is (op == "==")
    if not ((is_number(a) and is_number(b)) or (isinstance(a, str) and isinstance(b, str))):
        raise fail("E505", f"{describe(a)} and {describe(b)} cannot be compared with `{op}`", span, help=_SAME)
    return _ORDER[op](*same(a, b))


def whole_numbers(first: Value, last: Value, span: Span) -> range:
    """Return the numbers of `first..last`, both ends included."""
    if type(first) is not int or type(last) is not int:
        raise fail("E501", "a range needs whole numbers", span, help="for other steps write a list, e.g. `[0, 0.5, 1]`")
    if last - first >= MAX_RANGE:
        raise fail("E502", f"this range has more than {MAX_RANGE:,} numbers", span, help="use a smaller range")
    if last < first:
        raise fail("E503", f"this range is empty: {first} is greater than {last}", span,
                   help="write the smaller number first")  # fmt: skip
    return range(first, last + 1)


def calculate(op: str, a: Value, b: Value, span: Span) -> Value:
    """Return `a op b`: numbers are exact, texts and lists join with `+`."""
    texts, lists = (isinstance(a, kind) and isinstance(b, kind) for kind in (str, tuple))
    if op == "+" and (texts or lists):
        return bounded(a, b, span)
    if not (is_number(a) and is_number(b)):
        help_ = (
            'insert the number into the text: `"... {x}"`'
            if op == "+" and (isinstance(a, str) or isinstance(b, str))
            else ""
        )
        raise fail("E506", f"`{op}` does not work with {describe(a)} and {describe(b)}", span, help=help_)
    if op == "/" and b == 0:
        return UNDEFINED
    a, b = same(a, b)
    try:
        if isinstance(a, float):
            return _ARITHMETIC[op](a, b)
        with localcontext() as context:
            context.prec = QUOTIENT_DIGITS if op == "/" else 3 * MAX_DIGITS
            context.traps[Inexact] = op != "/"  # a sum or a product is exact, or an error
            result = canonical(_ARITHMETIC[op](Decimal(a), Decimal(b)))
    except ArithmeticError:
        result = None
    if result is None or abs(Decimal(result).adjusted()) > MAX_DIGITS:
        raise fail("E515", f"the result has more than {MAX_DIGITS} digits", span, help="use smaller numbers")
    return result


def negated(value: Value, span: Span) -> Value:
    """Return `-value` of a number."""
    if not is_number(value):
        raise fail("E506", f"expected a number after `-`, got {describe(value)}", span)
    return value.copy_negate() if isinstance(value, Decimal) else -value


def bounded(a: Any, b: Any, span: Span) -> Any:
    """Return two texts or lists joined; what doubles and doubles would fill the memory."""
    most, what = (MAX_TEXT, "characters") if isinstance(a, str) else (MAX_ITEMS, "items")
    if len(a) + len(b) > most:
        raise fail("E518", f"the result has more than {most:,} {what}", span)
    return a + b


def truth(value: Value, span: Span) -> bool | Missing:
    """Return a condition's value; raises EvalFault for any other value."""
    if isinstance(value, bool | Missing):
        return value
    raise fail("E511", f"expected a condition (true or false), got {describe(value)}", span)


def elements(value: Value, span: Span) -> tuple[Value, ...] | list[Value]:
    """Return what `for`, `each` and `in` go through; raises MissingInput for rows that are not here."""
    if isinstance(value, tuple | list):
        return value
    rows = getattr(value, "rows", None)
    if isinstance(rows, tuple):
        if getattr(value, "obtain", ""):
            raise MissingInput(NOT_OBTAINED)
        return rows
    if isinstance(value, LabelledMap):
        return tuple(v for _, v in value.entries)
    raise fail("E512", f"expected a list, got {describe(value)}", span, help="e.g. `[1, 2, 3]`")


def get_field(value: Value, name: str, span: Span) -> Value:
    """Return a column of a row, an entry of a map or a record."""
    known: Iterable[str]
    match value:
        case Row():
            if name in value.columns:
                cell = value.columns[name]
                return NULL if cell is None else cell
            if name == "position":
                return value.position
            known, what = (*value.columns, "position"), f"the rows of `{value.dataset}` have no column"
        case LabelledMap():
            if name in value.labels:
                return value.get(name)
            known, what = value.labels, "this map has no label"
        case dict():
            if name in value:
                return NULL if value[name] is None else value[name]
            known, what = value, "this record has no field"
        case _:
            raise fail("E215", f"{describe(value)} has no field `{name}`", span)
    raise fail("E215", f"{what} `{name}`", span, help=near(name, known) or f"available: {one_of(known)}")


def get_item(value: Value, at: Value, node: ast.Index) -> Value:
    """Return an item of a list, counted from 0."""
    if not isinstance(value, tuple | list):
        raise fail("E508", f"{describe(value)} has no items to index", node.span, help="only lists and maps have items")
    if type(at) is not int:
        raise fail("E508", f"expected a whole number as the index, got {describe(at)}", node.key.span)
    if not 0 <= at < len(value):
        raise fail("E507", f"index {at} is out of range: the length of the list is {len(value)}", node.key.span,
                   help="indices start at 0")  # fmt: skip
    return NULL if value[at] is None else value[at]


def charge(frame: Frame, n: int, span: Span) -> None:
    """Count the items that the expressions of one cell and sample go through; raises EvalFault past the bound."""
    root = frame.root
    root.work += n
    if root.work > MAX_WORK:
        raise fail(
            "E518", f"lists within lists make more than {MAX_WORK:,} items in all", span,
            help="shorten this list, or the one around it",
        )  # fmt: skip
