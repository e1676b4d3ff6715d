"""The functions of the language: one table, which the evaluator, the checker and the reference read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

from emdsl.compiler.measure_specs import MEASURES
from emdsl.compiler.operations import MAX_TEXT, elements
from emdsl.compiler.shots import draw, mix, pick, shuffle
from emdsl.compiler.written import describe
from emdsl.digest import digest
from emdsl.frame import fail
from emdsl.value import (
    MAX_DIGITS,
    Missing,
    Row,
    Value,
    canonical,
    is_exact,
    is_number,
    name_of,
    plain,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from emdsl.source import Span


@dataclass(frozen=True, eq=False, slots=True)
class Builtin:
    """A function of the language; `required` of its `params` must be given."""

    name: str
    params: tuple[str, ...]
    required: int
    body: Callable[[Span, list[Value]], Value]
    doc: str
    rest: bool = False  # the last parameter takes any number of arguments
    takes: tuple[str, ...] = ()  # the kind of each parameter, checked without running: see `call_types`
    result: str = ""  # the kind of its value, if that does not depend on the arguments
    weak: bool = False  # whether a name of the program that is equal to its name wins: it is newer than edition 1


def built_in(name: str, own: Container[str], n_args: int) -> Builtin | None:
    """Return the function that a call means; None if the program defines its name, or nothing does.

    `count` of one argument is the measure; of two, the function of a text.
    """
    function = BUILTINS.get(name)
    if function is None or (function.weak and name in own) or (name in MEASURES and n_args < function.required):
        return None
    return function


def _texts(values: Value, span: Span) -> list[str]:
    texts = []
    for value in elements(values, span):
        text = render(value)
        if text is None:
            raise fail("E506", f"`join` expects texts, got {describe(value)}", span)
        texts.append(text)
    return texts


def _join(span: Span, args: list[Value]) -> Value:
    between = args[1] if args[1] is not None else ""
    if not isinstance(between, str):
        raise fail("E506", f"`between` must be a text, got {describe(between)}", span)
    texts = _texts(args[0], span)
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT:
        raise fail("E518", f"this text has more than {MAX_TEXT:,} characters", span)
    return between.join(texts)


def _len(span: Span, args: list[Value]) -> Value:
    return len(args[0]) if isinstance(args[0], str) else len(tuple(elements(args[0], span)))


def _of_text(change: Callable[[str], str]) -> Callable[[Span, list[Value]], Value]:
    def apply(span: Span, args: list[Value]) -> Value:
        if not isinstance(args[0], str):
            raise fail("E506", f"expected a text, got {describe(args[0])}", span)
        return change(args[0])

    return apply


def _replace(span: Span, args: list[Value]) -> Value:
    if not all(isinstance(a, str) for a in args):
        raise fail("E506", "`replace` expects three texts", span)
    text, old, new = args
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise fail("E518", f"this text has more than {MAX_TEXT:,} characters", span)
    return text.replace(old, new)


def _extreme(choose: Callable[..., Any]) -> Callable[[Span, list[Value]], Value]:
    def apply(span: Span, args: list[Value]) -> Value:
        values = elements(args[0], span) if len(args) == 1 else args
        if missing := next((v for v in values if isinstance(v, Missing)), None):
            return missing
        if not values or not all(is_number(v) for v in values):
            raise fail("E506", "expected one or more numbers", span)
        return choose(values)

    return apply


def _round(span: Span, args: list[Value]) -> Value:
    digits = args[1] if args[1] is not None else 0
    if not is_number(args[0]) or type(digits) is not int:
        raise fail("E506", "`round` expects a number, and a whole number of digits", span)
    if isinstance(args[0], float):
        return round(args[0], digits)
    if abs(digits) > MAX_DIGITS:
        raise fail("E506", f"`round` supports at most {MAX_DIGITS} digits", span)
    with localcontext() as context:
        context.prec = 3 * MAX_DIGITS
        return canonical(round(Decimal(args[0]), digits))


def _content(value: Value, what: str, span: Span) -> Any:
    """Return a value as it enters a digest; raises EvalFault for one without content, such as a function."""
    try:
        content = plain(value)
        digest("value", content)
    except TypeError:
        inner = next((x for x in value if not _has_content(x)), value) if isinstance(value, tuple | list) else value
        raise fail(
            "E513", f"{what} must consist of numbers, texts, lists and rows, got {describe(inner)}", span
        ) from None
    return content


def _has_content(value: Value) -> bool:
    try:
        digest("value", plain(value))
    except TypeError:
        return False
    return True


def _draw(span: Span, args: list[Value]) -> Value:
    data, k, seed, by = args
    if k == 0 and name_of(data):
        return ()  # whatever rows there are, or are not here yet
    rows = elements(data, span)
    if type(k) is not int or k < 0:
        raise fail("E513", f"`draw` expects a number of rows, got {describe(k)}", span)
    if isinstance(data, tuple) and not all(isinstance(r, Row) for r in data):  # a dataset holds nothing else
        raise fail(
            "E513", "`draw` expects rows of a dataset, got a list of other values", span,
            help="use a dataset, or `pick(list, seed: 1)` for one value of a list",
        )  # fmt: skip
    rows = rows if isinstance(rows, tuple) else tuple(rows)
    if k > len(rows):
        name = name_of(data)
        raise fail(
            "E514",
            f"cannot draw {k} rows: " + (f"`{name}` has only {len(rows)}" if name else f"there are only {len(rows)}"),
            span,
            help="draw fewer rows; if the number depends on an axis, exclude such cells with `skip when`",
        )
    seed = _content(seed, "a seed", span)
    try:
        return draw(data if name_of(data) else rows, rows, k, seed, by)
    except TypeError as error:
        raise fail("E513", "`by` must give values that can be compared, e.g. numbers or texts", span) from error


def _pick(span: Span, args: list[Value]) -> Value:
    values = tuple(elements(args[0], span))
    if not values:
        raise fail("E513", "`pick` cannot choose from an empty list", span, help="give it at least one item")
    seed = _content(args[1], "a seed", span)
    for value in values:
        _content(value, "the list of `pick`", span)
    return pick(values, seed)


def _shuffle(span: Span, args: list[Value]) -> Value:
    values = tuple(elements(args[0], span))
    for value in values:
        _content(value, "the list of `shuffle`", span)
    return shuffle(values, _content(args[1], "a seed", span))


def _mix(span: Span, args: list[Value]) -> Value:
    first, second = (tuple(elements(a, span)) for a in args[:2])
    share = args[2]
    if len(first) != len(second):
        raise fail("E517", f"`mix` expects two lists of equal length, got {len(first)} and {len(second)} items", span,
                   help="shorten the longer list")  # fmt: skip
    if not is_exact(share) or not 0 <= share <= 1:
        raise fail("E517", "`share` must be a number from 0 to 1", span, help="e.g. `share: 0.5`")
    n = canonical(Decimal(share) * len(first))
    if not isinstance(n, int):
        raise fail(
            "E517",
            f"a share of {render(share)} of {len(first)} items is {render(n)}, not a whole number",
            span,
            help="choose a share that gives a whole number, or exclude these cells with `skip when`",
        )
    return mix(first, second, n, _content(args[3], "a seed", span))


def _text_function(
    name: str, params: tuple[str, ...], required: int, takes: tuple[str, ...], result: str, doc: str
) -> Builtin:
    """Return a function whose body is in `text_functions`."""

    def body(span: Span, args: list[Value]) -> Value:
        from emdsl.compiler.text_functions import FUNCTIONS  # noqa: PLC0415 - start-up: most studies call none

        return FUNCTIONS[name](span, args)

    return Builtin(name, params, required, body, doc, takes=takes, result=result, weak=True)


_EDITION_1 = (
    Builtin("join", ("list", "between"), 1, _join, "one text from the texts of a list"),
    Builtin("len", ("of",), 1, _len, "number of items or characters"),
    Builtin("lower", ("text",), 1, _of_text(str.lower), "the text in lower case"),
    Builtin("upper", ("text",), 1, _of_text(str.upper), "the text in upper case"),
    Builtin("trim", ("text",), 1, _of_text(str.strip), "the text without surrounding white space"),
    Builtin("replace", ("text", "old", "new"), 3, _replace, "the text with every `old` replaced by `new`"),
    Builtin("min", ("values",), 1, _extreme(min), "smallest number", rest=True),
    Builtin("max", ("values",), 1, _extreme(max), "largest number", rest=True),
    Builtin("draw", ("dataset", "k", "seed", "by"), 2, _draw, "k rows of a dataset, chosen by the seed"),
    Builtin("pick", ("list", "seed"), 2, _pick, "one item of a list, chosen by the seed"),
    Builtin(
        "mix",
        ("first", "second", "share", "seed"),
        4,
        _mix,
        "the first list with a share of its items replaced by those of the second",
    ),
    Builtin("round", ("number", "digits"), 1, _round, "rounded number, halves to even"),
)
_NEWER = (
    _text_function("matches", ("text", "pattern"), 2, ("text", "text"), "bool", "whether a pattern (RE2) matches"),
    _text_function(
        "find", ("text", "pattern", "last"), 2, ("text", "text", "bool"), "text",
        "the first match of a pattern (RE2), or its first group; the last one with `last: true`",
    ),
    _text_function(
        "number", ("text", "after", "last"), 1, ("text", "text", "bool"), "number",
        "the first number in a text, or the first one right after a name; the last one with `last: true`",
    ),
    _text_function("split", ("text", "between"), 2, ("text", "text"), "texts", "the parts of a text, as a list"),
    _text_function("starts", ("text", "part"), 2, ("text", "texts"), "bool", "whether a text starts with another one"),
    _text_function("ends", ("text", "part"), 2, ("text", "texts"), "bool", "whether a text ends with another one"),
    _text_function("words", ("text",), 1, ("text",), "number", "number of words"),
    _text_function("sentences", ("text",), 1, ("text",), "number", "number of sentences"),
    _text_function("count", ("text", "part"), 2, ("text", "texts"), "number", "how often a part occurs in a text"),
    _text_function(
        "exact", ("text", "target", "ignore"), 2, ("text", "texts", "texts"), "bool", "whether a text equals a target"
    ),
    _text_function(
        "includes", ("text", "target", "ignore"), 2, ("text", "texts", "texts"), "bool",
        "whether a text contains a target",
    ),
    _text_function(
        "close", ("x", "y", "within"), 3, ("value", "value", "value"), "bool", "whether two numbers differ by no more"
    ),
    _text_function(
        "choice", ("text", "list"), 1, ("text", "list"), "text",
        "the letter that an answer chooses; with a list, the item of this letter",
    ),
    _text_function("letter", ("list", "item"), 2, ("list", "any"), "text", "the letter of an item of a list"),
    _text_function(
        "lettered", ("list", "style"), 1, ("list", "text"), "text", "the items of a list as lines `A) item`"
    ),
    _text_function("cycle", ("list", "position"), 2, ("list", "number"), "", "the item at a position, round and round"),
    Builtin(
        "shuffle", ("list", "seed"), 2, _shuffle, "the list in an order chosen by the seed", takes=("list", "any"),
        weak=True,
    ),
)  # fmt: skip
BUILTINS: dict[str, Builtin] = {b.name: b for b in (*_EDITION_1, *_NEWER)}
