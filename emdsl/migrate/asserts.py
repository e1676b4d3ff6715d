"""Asserts of promptfoo as expressions; those that need a program, a network or another model are refused by name.

Source: promptfoo's documentation, "Deterministic metrics" and "LLM Rubric", read 2026-11.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.compiler.patterns import check_pattern
from emdsl.frame import EvalFault
from emdsl.migrate.templates import NotSimple
from emdsl.migrate.writing import shown
from emdsl.source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RUBRIC = "llm-rubric"
_ONE = {  # with one text
    "equals": "exact(answer, {0}, ignore: [])", "contains": "includes(answer, {0}, ignore: [])",
    "icontains": "includes(answer, {0})", "starts-with": "starts(answer, {0})", "regex": "matches(answer, {0})",
}  # fmt: skip
_ANY = {"contains-any": ", ignore: []", "icontains-any": ""}
_ALL = {"contains-all": ", ignore: []", "icontains-all": ""}
_USED = {
    "type",
    "value",
    "threshold",
    "metric",
    "weight",
    "description",
    "provider",
    "transform",
    "rubricPrompt",
    "config",
}
_UNUSED = ("transform", "rubricPrompt", "config")


def expression(assertion: Mapping[str, Any], text_of: Callable[[str], str]) -> str:
    """Return the condition of an assert other than a rubric.

    Args:
        assertion: The assert, with `type` and `value`.
        text_of: Returns a value of the file as an expression: a text, or what its template inserts.

    Raises:
        NotSimple: It has no counterpart.
    """
    kind, value = str(assertion.get("type", "")), assertion.get("value")
    negated = kind.startswith("not-")
    name = kind.removeprefix("not-")
    check_fields(assertion)
    if isinstance(value, str) and value.startswith("file://"):
        raise NotSimple("its value is in another file")
    if name in _ONE and isinstance(value, str):
        if name == "regex":
            check_regex(value)
        condition = _ONE[name].format(text_of(value))
    elif name in (*_ANY, *_ALL):
        condition = _several(name, _texts(value), text_of)
    elif name == "word-count":
        condition = _words(value)
    else:
        raise NotSimple(f"asserts of type `{shown(kind)}` have no counterpart" if name not in _ONE
                        else "its value is not a text")  # fmt: skip
    return f"not ({condition})" if negated else condition


def takes_text(assertion: Mapping[str, Any]) -> bool:
    """Whether the value of an assert is a plain text that may differ from test to test."""
    kind, value = str(assertion.get("type", "")), assertion.get("value")
    if not isinstance(value, str) or "{{" in value or "{%" in value or value.startswith("file://"):
        return False
    name = kind.removeprefix("not-")
    if name == "regex":
        with suppress(NotSimple):
            check_regex(value)
            return True
        return False
    return name in _ONE or kind == RUBRIC


def check_fields(assertion: Mapping[str, Any]) -> None:
    """Raise NotSimple for a setting that changes what an assert tests."""
    for field in assertion:
        if field in _UNUSED or field not in _USED:
            raise NotSimple(f"its `{shown(field)}` has no counterpart")


def check_regex(pattern: str) -> None:
    """Raise NotSimple for a pattern that the language does not have."""
    if "{{" in pattern:
        raise NotSimple("a pattern with placeholders has no counterpart")
    try:
        check_pattern(pattern, Span(Source("the pattern", pattern), 0, len(pattern)))
    except EvalFault as fault:
        raise NotSimple(fault.diagnostic.message) from None


def _several(name: str, texts: list[str], text_of: Callable[[str], str]) -> str:
    if name in _ANY:
        return f"includes(answer, [{', '.join(map(text_of, texts))}]{_ANY[name]})"
    return " and ".join(f"includes(answer, {text_of(t)}{_ALL[name]})" for t in texts)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, tuple) or not value or not all(isinstance(t, str) for t in value):
        raise NotSimple("its value is not a list of texts")
    return list(value)


def _words(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
        return f"words(answer) == {value}"
    if isinstance(value, dict) and value and set(value) <= {"min", "max"}:
        bounds = {k: str(v) for k, v in value.items()}
        if all(re.fullmatch(r"\d{1,6}", v) for v in bounds.values()):
            signs = {"min": ">=", "max": "<="}
            return " and ".join(f"words(answer) {signs[k]} {v}" for k, v in bounds.items())
    raise NotSimple("its value is neither a number of words nor a range")


def threshold(assertion: Mapping[str, Any], verdict: str) -> str:
    """Return the condition of a rubric: the verdict passes, and its score reaches the threshold."""
    least = assertion.get("threshold")
    if least in (None, ""):
        return f"{verdict}.pass"
    if not re.fullmatch(r"\d*\.?\d+", str(least)):
        raise NotSimple(f"its threshold `{shown(least)}` is not a number")
    written = str(least) if str(least)[0] != "." else f"0{least}"
    return f"{verdict}.pass and {verdict}.score >= {written}"
