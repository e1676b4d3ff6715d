"""Functions that read answers, score them, and letter options: the bodies of those in the table of `functions`.

Imported when the first one is called, so that other studies do not wait for its patterns.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.compiler.operations import MAX_TEXT, elements
from emdsl.compiler.patterns import found, searched
from emdsl.compiler.reading import LETTERS, first_number, n_sentences, stated_letter, whole_number
from emdsl.compiler.scoring import IGNORED, is_exact_match, is_included
from emdsl.compiler.written import describe, written
from emdsl.frame import fail
from emdsl.source import near, one_of
from emdsl.value import UNREADABLE, Value, is_number, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.source import Span

_EXACT_IGNORES, _INCLUDES_IGNORES = ("case", "blanks", "punctuation"), ("case",)


def text_of(name: str, value: Value, span: Span) -> str:
    """Return an argument that is a text; raises EvalFault."""
    if not isinstance(value, str):
        raise fail("E506", f"`{name}` expects a text, got {describe(value)}", span)
    return value


def texts_of(name: str, value: Value, span: Span) -> tuple[str, ...]:
    """Return an argument that is a text, a number or a list of them, as texts; raises EvalFault."""
    values = value if isinstance(value, tuple | list) else (value,)
    texts = tuple(render(v) for v in values)
    for text, one in zip(texts, values, strict=True):
        if text is None:
            raise fail("E506", f"`{name}` expects texts, got {describe(one)}", span)
    return tuple(t for t in texts if t is not None)


# ---------------------------------------------------------------- reading


def matches(span: Span, args: list[Value]) -> Value:
    """Whether a pattern matches."""
    text, pattern = (text_of("matches", a, span) for a in args)
    return searched(text, pattern, span)


def find(span: Span, args: list[Value]) -> Value:
    """Return the part of a text that a pattern matches."""
    text, pattern = (text_of("find", a, span) for a in args[:2])
    part = found(text, pattern, span, last=args[2] is True)
    return UNREADABLE if part is None else part


def read_number(span: Span, args: list[Value]) -> Value:
    """Return a number that a text states."""
    text = text_of("number", args[0], span)
    after = None if args[1] is None else text_of("number", args[1], span)
    if after is not None and not after.strip():
        raise fail("E506", "`after` must not be blank", span, help='e.g. `after: "SCORE:"`')
    value = first_number(text, after, last=args[2] is True)
    return UNREADABLE if value is None else value


def split(span: Span, args: list[Value]) -> Value:
    """Return the parts of a text."""
    text, between = (text_of("split", a, span) for a in args)
    if not between:
        raise fail("E506", "`between` must not be empty", span, help='e.g. `split(text, ",")`')
    return tuple(part.strip() for part in text.split(between)) if text.strip() else ()


def starts(span: Span, args: list[Value]) -> Value:
    """Whether a text starts with a part."""
    return text_of("starts", args[0], span).startswith(texts_of("starts", args[1], span))


def ends(span: Span, args: list[Value]) -> Value:
    """Whether a text ends with a part."""
    return text_of("ends", args[0], span).endswith(texts_of("ends", args[1], span))


def words(span: Span, args: list[Value]) -> Value:
    """Return the number of words."""
    return len(text_of("words", args[0], span).split())


def sentences(span: Span, args: list[Value]) -> Value:
    """Return the number of sentences."""
    return n_sentences(text_of("sentences", args[0], span))


def count(span: Span, args: list[Value]) -> Value:
    """Return how often some parts occur in a text."""
    text, parts = text_of("count", args[0], span), texts_of("count", args[1], span)
    if not all(parts):
        raise fail("E506", "`count` cannot count an empty text", span)
    return sum(map(text.count, parts))


# ---------------------------------------------------------------- scoring


def _ignored(value: Value, default: tuple[str, ...], span: Span) -> tuple[str, ...]:
    if value is None:
        return default
    ignored = texts_of("ignore", value, span)
    check_ignored(ignored, span)
    return ignored


def check_ignored(value: Value, span: Span) -> None:
    """Check what a comparison ignores; raises EvalFault for an unknown word."""
    for word in value if isinstance(value, tuple | list) else (value,):
        if isinstance(word, str) and word not in IGNORED:
            raise fail("E506", f"`ignore` has no `{word}`", span, help=near(word, IGNORED) or f"use {one_of(IGNORED)}")


def _targets(name: str, value: Value, span: Span) -> tuple[str, ...]:
    targets = texts_of(name, value, span)
    if not targets or not all(t.strip() for t in targets):
        raise fail("E506", f"`{name}` needs a target that is not blank", span)
    return targets


def exact(span: Span, args: list[Value]) -> Value:
    """Whether an answer equals a target."""
    text, targets = text_of("exact", args[0], span), _targets("exact", args[1], span)
    ignore = _ignored(args[2], _EXACT_IGNORES, span)
    return any(is_exact_match(text, target, ignore) for target in targets)


def includes(span: Span, args: list[Value]) -> Value:
    """Whether an answer contains a target."""
    text, targets = text_of("includes", args[0], span), _targets("includes", args[1], span)
    ignore = _ignored(args[2], _INCLUDES_IGNORES, span)
    return any(is_included(text, target, ignore) for target in targets)


def close(span: Span, args: list[Value]) -> Value:
    """Whether two numbers are equal up to a tolerance; a text counts if it is a number as a whole."""
    numbers = [_as_number(a, span) for a in args]
    if None in numbers:
        return UNREADABLE
    first, second, within = (Decimal(n) for n in numbers)
    if within < 0:
        raise fail("E506", "`within` must not be negative", span)
    return abs(first - second) <= within


def _as_number(value: Value, span: Span) -> Any:
    if isinstance(value, str):
        return whole_number(value)
    if not is_number(value):
        raise fail("E506", f"`close` expects numbers, got {describe(value)}", span)
    return value


# ---------------------------------------------------------------- options


def _options(name: str, value: Value, span: Span) -> tuple[Value, ...]:
    options = tuple(elements(value, span))
    if not 1 <= len(options) <= len(LETTERS):
        raise fail("E513", f"`{name}` expects 1 to {len(LETTERS)} options, got {len(options)}", span)
    return options


def choice(span: Span, args: list[Value]) -> Value:
    """Return the letter that an answer chooses, or the option with this letter."""
    text = text_of("choice", args[0], span)
    if args[1] is None:
        return stated_letter(text) or UNREADABLE
    options = _options("choice", args[1], span)
    letter = stated_letter(text, len(options))
    if letter is not None:
        return options[LETTERS.index(letter)]
    same = [o for o in options if isinstance(o, str) and is_exact_match(text, o, _EXACT_IGNORES)]
    return same[0] if len(same) == 1 else UNREADABLE


def letter(span: Span, args: list[Value]) -> Value:
    """Return the letter of an option."""
    options = _options("letter", args[0], span)
    places = [i for i, option in enumerate(options) if type(option) is type(args[1]) and option == args[1]]
    if not places:
        raise fail("E513", f"`{written(args[1])}` is not among the options of `letter`", span,
                   help="the item must equal one of the list exactly")  # fmt: skip
    return LETTERS[places[0]]


def lettered(span: Span, args: list[Value]) -> Value:
    """Return options as lines, each with its letter."""
    options = texts_of("lettered", _options("lettered", args[0], span), span)
    style = ("A) " if args[1] is None else text_of("lettered", args[1], span)).split("A")
    if len(style) != 2:
        raise fail("E513", "`style` must contain one `A`, in the place of each letter", span, help='e.g. `"(A) "`')
    if sum(map(len, options)) > MAX_TEXT // 2:
        raise fail("E518", f"this text has more than {MAX_TEXT // 2:,} characters", span)
    before, after = style
    return "\n".join(f"{before}{a}{after}{option}" for a, option in zip(LETTERS, options, strict=False))


def cycle(span: Span, args: list[Value]) -> Value:
    """Return the item of a list at a position, from the beginning again after the last one."""
    items, position = tuple(elements(args[0], span)), args[1]
    if not items:
        raise fail("E513", "`cycle` cannot choose from an empty list", span, help="give it at least one item")
    if type(position) is not int:
        raise fail("E513", f"`cycle` expects a whole number as the position, got {describe(position)}", span,
                   help="e.g. `cycle(list, sample)`")  # fmt: skip
    return items[position % len(items)]


FUNCTIONS: dict[str, Callable[[Span, list[Value]], Value]] = {
    "matches": matches, "find": find, "number": read_number, "split": split, "starts": starts, "ends": ends,
    "words": words, "sentences": sentences, "count": count, "exact": exact, "includes": includes, "close": close,
    "choice": choice, "letter": letter, "lettered": lettered, "cycle": cycle,
}  # fmt: skip
