"""A statement that is broken after a word or sign that needs more: one error, and a fix if nothing is lost by it."""

from __future__ import annotations

import pytest

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.source import Diagnostic, Source, fixed

HEAD = 'em 1\nexperiment e {\n  for q in ["a", "b"]\n'
ASK = '  ask answer from "sim/subject" with q\n'


def errors(body: str) -> tuple[str, tuple[Diagnostic, ...]]:
    """Return a program and its errors."""
    text = HEAD + body + "}\n"
    try:
        compile_source(Source("test.em", text), {})
    except SourceError as error:
        return text, tuple(error.diagnostics)
    return text, ()


@pytest.mark.parametrize(
    ("broken", "word", "right"),
    [
        (
            '  ask answer from "sim/subject" with\n    q { max_tokens = 200 }\n',
            "with",
            '  ask answer from "sim/subject"\n    with q { max_tokens = 200 }\n',
        ),
        (
            '  ask answer from\n      "sim/subject" with\n      q\n',
            "from",
            '  ask answer\n      from "sim/subject"\n      with q\n',
        ),
        (f"{ASK}  let n =\n    words(answer)\n", "=", f"{ASK}  let n = words(answer)\n"),
        (f"{ASK}  let n = words(answer) +\n    2 *\n\n    3\n", "+", f"{ASK}  let n = words(answer) + 2 * 3\n"),
        (
            f"{ASK}  measure m = rate(q is a) by  # each\n    q\n",
            "by",
            f"{ASK}  measure m = rate(q is a)  # each\n    by q\n",
        ),
        (f"{ASK}  measure m = rate(q is a) by\n    q\n", "by", f"{ASK}  measure m = rate(q is a)\n    by q\n"),
        (
            f"{ASK}  let z = if q is a then\n    1 else\n    2\n",
            "then",
            f"{ASK}  let z = if q is a\n    then 1\n    else 2\n",
        ),
    ],
)
def test_a_broken_line_is_one_error_with_a_fix(broken: str, word: str, right: str) -> None:
    """It names the word, and its names stay known to the rest of the program."""
    text, found = errors(broken)
    assert [(d.code, d.message) for d in found] == [("E107", f"the statement is broken after `{word}`")]
    assert fixed(text, found[0].fix) == HEAD + right + "}\n"
    assert errors(right)[1] == ()


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (f"  let a =\n{ASK}", ["expected a value after `=`"]),  # the next line is a statement
        (f"  let a =  # it is\n{ASK}", ["expected a value after `=`"]),  # no word of a comment is the last one
        (
            f"{ASK}  let a =\n    ???\n",
            ["expected a value after `=`", "`?` is not an operator: use `if a then b else c`"],
        ),
        (f"{ASK}  let n = words(answer) +\n    # why\n    2\n", ["the statement is broken after `+`"]),
    ],
)
def test_only_what_parses_is_joined(body: str, messages: list[str]) -> None:
    """And a comment between the lines is never deleted."""
    _, found = errors(body)
    assert [d.message for d in found] == messages
    assert not found[0].fix
