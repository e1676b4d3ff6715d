"""Lark's errors as diagnostics: what was expected, and what to write."""

from __future__ import annotations

import re

from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from emdsl.lang.habit_statements import RULES
from emdsl.lang.habits import habit, missing_comma
from emdsl.lang.lark_grammar import grammar
from emdsl.lang.scan import end_of_code
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS
from emdsl.source import Diagnostic, Edit, Source, Span, near, one_of

_CURLY = "expected straight double quotes, got curly quotes"
_QUOTES = 'a text needs double quotes: `"..."`'
_OTHER_LANGUAGES = {  # by first character: message, code, and the pattern and replacement of a certain fix
    "&": ("`&&` is not an operator: use `and`", "E140", r"&&?", "and"),
    "|": ("`||` is not an operator: use `or`", "E140", r"\|\|?", "or"),
    "!": ("`!` is not an operator: use `not`", "E140", r"!", "not "),
    "'": (_QUOTES, "E141", r"'([^'\"\n\\{}]+)'(?![\w'])", r'"\1"'),
    "`": (_QUOTES, "E141", r"`([^`\"\n\\{}]+)`(?![\w`])", r'"\1"'),
    "\u2018": (_CURLY, "E141", '[\u2018\u2019]([^\u2018\u2019"\\n\\\\]*)[\u2018\u2019]', r'"\1"'),
    "\u2019": (_CURLY, "E141", '[\u2018\u2019]([^\u2018\u2019"\\n\\\\]*)[\u2018\u2019]', r'"\1"'),
    "\u201c": (_CURLY, "E141", '[\u201c\u201d]([^\u201c\u201d"\\n\\\\]*)[\u201c\u201d]', r'"\1"'),
    "\u201d": (_CURLY, "E141", '[\u201c\u201d]([^\u201c\u201d"\\n\\\\]*)[\u201c\u201d]', r'"\1"'),
    ";": ("`;` is not allowed: a statement ends with its line", "E140", r";(?=[ \t]*(?:#|\r?\n|$))", ""),
    "\\": ("`\\` does not continue a line: use `( )` or `[ ]` over several lines", "E140", "", ""),
    "%": ("`%` is not an operator: a remainder needs a `python` function", "E140", "", ""),
    "@": ("`@` is not supported: the language has no decorators", "E140", "", ""),
    "?": ("`?` is not an operator: use `if a then b else c`", "E140", "", ""),
}
_OPERAND = r'((?<!\w)[\w.]+(?:\([^()]*\))?|"[^"\n]*"|\([^()]*\))'
SETTINGS = {  # of the blocks in which a statement can be taken for one: see the tables of `compiler/settings.py`
    "experiment": ("samples", "seed", "parallel", "budget", "cluster"),
    "rubric": ("scale", "choices", "shape", "read", "strict", "refusal", "other"),
}
_LABELS = frozenset(("FALSE", "NAME", "NONE", "STRING", "TRUE"))
_VALUES = _LABELS | {"DEC", "ENV", "IF", "INT", "LBRACE", "LONG", "LPAR", "LSQB", "MONEY", "NOT", "RAW", "SIGN"}
_OPERATORS = frozenset(
    ("AND", "CMP", "DOT", "ELSE", "GIVEN", "IN", "IS", "LPAR", "LSQB", "NOT", "OR", "SIGN", "TIMES", "__ANON_1")
)  # with calls, items, fields and `..`
_NOUNS = {  # of a value, by the word before it, or by the first word of the statement and the word before it
    "from": "a model", "in": "a list", "when": "a condition", "if": "a condition", "given": "a condition",
    "not": "a condition", "and": "a condition", "or": "a condition",
    "ask with": "a prompt", "judge with": "a rubric", "user": "a text", "system": "a text", "assistant": "a text",
}  # fmt: skip
MAX_LISTED = 10  # alternatives
_STARTS = {"decl": DECLARATIONS, "stmt": STATEMENTS, "rubric_item": (*ROLES, "each", "when")}
_TERMINALS = {
    "NAME": "a name",
    "INT": "a number",
    "DEC": "a number",
    "MONEY": "an amount of money",
    "STRING": "a text",
    "LONG": "a text",
    "RAW": "a text",
    "_NL": "the end of the line",
    "$END": "the end of the line",
    "CMP": "a comparison",
    "SIGN": "`+` or `-`",
    "TIMES": "`*` or `/`",
}


def syntax_error(
    source: Source, text: str, offset: int, error: Exception, start: str, *, habits: bool = True
) -> Diagnostic:
    """Turn an error of lark into a diagnostic.

    Args:
        source: The file.
        text: The statement that does not parse.
        offset: Its offset in the file.
        error: Lark's error.
        start: The rule of the grammar that the statement was parsed as.
        habits: Whether habits of other languages are looked for.
    """
    if habits:
        at = _place(text, error, start)
        known = habit(source, text, offset, at, start, RULES) or missing_comma(source, text, offset, at, start)
        if known is not None:
            return known
    first = re.match(r"\s*([A-Za-z_]\w*)", text)
    word, word_span = "", Span(source, offset, offset)
    if first:
        word, word_span = first[1], Span(source, offset + first.start(1), offset + first.end(1))
    words = _STARTS[start]
    rest = text[first.end() :].lstrip(" \t") if first else ""
    if first and word not in words and not (rest.startswith("=") and start != "decl"):
        if start == "decl" and word in STATEMENTS:
            return Diagnostic(
                code="E106",
                message=f"`{word}` is only allowed inside an experiment",
                span=word_span,
                help="move it into `experiment NAME { ... }`",
            )
        return Diagnostic(
            code="E105",
            message=f"unknown statement `{word}`",
            span=word_span,
            help=near(word, words) or _start_help(word, rest, start, words),
        )
    if isinstance(error, UnexpectedCharacters):
        return _bad_character(source, text, offset, error)
    if isinstance(error, UnexpectedToken):
        return _bad_token(source, text, offset, error)
    end = offset + len(text.rstrip())
    return Diagnostic(code="E107", message="the statement is incomplete", span=Span(source, end, end))


def _place(text: str, error: Exception, start: str) -> int:
    """Return the offset of an error in a statement; of one that starts with an unknown word, that of the word."""
    first = re.match(r"\s*([A-Za-z_]\w*)(?!\w)(?![ \t]*=)" if start != "decl" else r"\s*([A-Za-z_]\w*)", text)
    if first and first[1] not in _STARTS[start]:
        return first.start(1)
    if isinstance(error, UnexpectedCharacters):
        return error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken) and error.token.type not in ("$END", "_NL"):
        return error.token.start_pos or 0
    return len(text.rstrip())


def _start_help(word: str, rest: str, start: str, words: tuple[str, ...]) -> str:
    """Return what to write instead of a statement that starts with an unknown word."""
    if word == "from" and (match := re.match(r'("[^"\n]*")\s+import\s+([\w, ]+)', rest)):
        return f"write `import {match[2].strip()} from {match[1]}`"
    if start != "decl" and re.match(r':|[\d"$\[]', rest):
        return f"write a setting as `{word} = ...`"
    return f"start the statement with one of {one_of(words)}"


def _bad_character(source: Source, text: str, offset: int, error: UnexpectedCharacters) -> Diagnostic:
    at = error.pos_in_stream or 0
    char = text[at]
    if reserved := re.match(r"[A-Za-z_]\w*", text[at:]):
        word = reserved[0]
        span = Span(source, offset + at, offset + at + len(word))
        if word in RESERVED:
            before = text[:at].rstrip()
            if before.endswith("="):
                return Diagnostic(
                    code="E107",
                    message="expected a value after `=`",
                    span=Span(source, span.start, span.end),
                )
            return _reserved(word, span, _expected(error.allowed, before))
        return _unexpected(word, span, _expected(error.allowed, text[:at].rstrip()))
    span = Span(source, offset + at, offset + at + 1)
    if text.startswith(("//", "/*", "--"), at):
        return Diagnostic(
            code="E140", message=f"`{text[at : at + 2]}` does not start a comment", span=span, help="write `# ...`"
        )
    if char in _OTHER_LANGUAGES:
        message, code, pattern, replacement = _OTHER_LANGUAGES[char]
        match = re.compile(pattern).match(source.text, offset + at) if pattern else None
        if char == "&" and (text[:at].rstrip().endswith('"') or text[at + 1 :].lstrip(" &").startswith('"')):
            return Diagnostic(
                code="E140",
                message="`&` does not join texts",
                span=span,
                help='write a placeholder: `"... {name} ..."`',
            )
        if match is None:
            return Diagnostic(code=code, message=message, span=span, help=_without(char, text[:at], text[at + 1 :]))
        span = Span(source, match.start(), match.end())
        new = match.expand(replacement)
        help_ = f"write `{new}`" if '"' in new else ""
        return Diagnostic(code=code, message=message, span=span, help=help_, fix=(Edit(span=span, text=new),))
    shown = char if " " < char <= "~" else f"U+{ord(char):04X}"
    return _unexpected(shown, span, _expected(error.allowed, text[:at].rstrip()))


def _without(char: str, before: str, after: str) -> str:
    """Return what to write instead of an operator of another language, with the operands of the source."""
    match char:
        case "%" if before.rstrip().endswith('"'):
            return 'insert a value with a placeholder: `"... {name} ..."`'
        case "%":
            left, right = re.search(rf"(?:^|[^\s*/-])\s*{_OPERAND}\s*$", before), re.match(rf"\s*{_OPERAND}", after)
            call = f"mod({left[1]}, {right[1]})" if left and right else "mod(a, b)"
            return (
                "write a Python file `hooks.py` with `def mod(a, b): return a % b`, declare "
                f'`python mod(a, b) from "hooks.py"` at the top of this file, and write `{call}`'
            )
        case "?" if "?" in after:
            return "write `if A then B else if C then D else E`"
        case "?":
            left = re.search(r"(?:^|[^=!<>])=\s+([^=?]+(?:[=!<>]=[^=?]+)?)$", before)
            other = re.match(rf"\s*{_OPERAND}\s*:\s*{_OPERAND}", after)
            condition = left[1].strip() if left else "CONDITION"
            return f"write `if {condition} then {other[1] if other else 'A'} else {other[2] if other else 'B'}`"
        case "\\":
            return "remove it, and put the whole expression into `( )`"
        case "@":
            return 'remove it; a function in Python is declared as `python NAME(a) from "hooks.py"`'
        case _:
            return ""


def _unexpected(text: str, span: Span, expected: str) -> Diagnostic:
    message = f"{expected}, got `{text}`" if expected else f"unexpected `{text}`"
    return Diagnostic(code="E109", message=message, span=span)


def _reserved(word: str, span: Span, expected: str) -> Diagnostic:
    if expected != "expected a name":
        return Diagnostic(code="E108", message=f"{expected}, got the reserved word `{word}`", span=span)
    return Diagnostic(
        code="E108",
        message=f"`{word}` is a reserved word and cannot be a name",
        span=span,
        help=f"use another name, e.g. `{word}_`",
    )


def _bad_token(source: Source, text: str, offset: int, error: UnexpectedToken) -> Diagnostic:
    token = error.token
    allowed = error.expected and error.accepts  # `expected` has tokens that the grammar refuses one step later
    at_end = token.type in ("$END", "_NL")
    stop = len(text.rstrip()) if token.type == "$END" else (token.start_pos or 0)
    before = text[: end_of_code(text, 0, stop)] if at_end else text[:stop].rstrip()
    if at_end:
        last = re.search(r"(?:[A-Za-z_]\w*|==|!=|<=|>=|\.\.|\S)$", before)
        after = f" after `{last[0]}`" if last else ""
        span = Span(source, offset + len(before) - len(last[0] if last else ""), offset + len(before))
        message = (_expected(allowed, before) or "the statement is incomplete") + after
        return Diagnostic(code="E107", message=message, span=span)
    span = Span(source, offset + stop, offset + (token.end_pos or stop + 1))
    if str(token) == "if" and before.split()[:1] in (["skip"], ["set"]):
        return Diagnostic(code="E109", message=f"expected `when` after `{before.split()[0]}`, got `if`", span=span,
                          help=f"write `{before.strip()} when ...`")  # fmt: skip
    if str(token) in RESERVED and ("NAME" in error.expected):
        return _reserved(str(token), span, _expected(allowed, before))
    if token.type == "EQUAL" and re.fullmatch(r"\w+", before.strip()):
        blocks = re.findall(r"^(experiment|prompt|rubric)\b", source.text[:offset], re.MULTILINE) or ["experiment"]
        word = before.strip()
        start = source.text.rfind(word, 0, span.start)
        return Diagnostic(
            code="E109", message=f"`{word}` is a keyword and cannot be a setting of this `{blocks[-1]}`",
            span=Span(source, start, start + len(word)),
            help=_instead_of_setting(word, text[stop + 1 :].strip(), blocks[-1]),
        )  # fmt: skip
    if token.type == "EQUAL":
        return _bad_equal(source, text, stop, span)
    if token.type == "COLON" and "EQUAL" in error.expected:
        return Diagnostic(code="E109", message="expected `=` after the name of a setting, got `:`", span=span,
                          help="`:` is for maps and arguments", fix=(Edit(span=span, text=" ="),))  # fmt: skip
    if token.type in ("INT", "DEC", "MONEY") and re.search(r"\bis(?:\s+not)?$", before):
        return Diagnostic(code="E109", message=f"expected a label after `is`, got `{token}`", span=span,
                          help=f"write `{'!=' if before.endswith('not') else '=='} {token}`")  # fmt: skip
    if token.type == "COLON" and before.split()[:1] in (["experiment"], ["prompt"], ["rubric"], ["grid"]):
        return Diagnostic(
            code="E140",
            message="expected a block in braces, got `:`",
            span=span,
            help=f"write `{before.strip()} {{ ... }}`",
        )
    if token.type == "COLON" and not text[stop + 1 :].lstrip(" \t").partition("#")[0].split("\n")[0].strip():
        return Diagnostic(
            code="E140", message="a statement does not end with `:`", span=span, fix=(Edit(span=span, text=""),)
        )
    return _unexpected(str(token).strip()[:40], span, _expected(allowed, before))


_FIRST = {  # how each block begins
    "prompt": 'user "..."', "rubric": 'scale = 0..100, user "..."', "experiment": "for x in [...]",
    "model": 'use = "provider/model"', "dataset": 'file = "rows.csv"',
}  # fmt: skip


def _instead_of_setting(word: str, value: str, block: str) -> str:
    """Return what to write instead of a setting whose name is a keyword.

    Args:
        word: The keyword.
        value: The rest of the statement, after `=`.
        block: The word that starts the block around the statement.
    """
    settings = f"its settings are {one_of(SETTINGS[block])}" if block in SETTINGS else ""
    if word not in ROLES or block == "experiment":
        return settings or f"a `{block}` has no settings"
    text = value if re.fullmatch(r'"[^"\n]*"|[A-Za-z_][\w.]*', value) else f'"{value}"'
    if not re.fullmatch(r'[\w.]+|"[^"\n]{0,40}"', text):
        text = '"..."'
    message = f"for a message write `{word} {text}`, without `=`"
    return f"{message}; {settings}" if settings else message


def _bad_equal(source: Source, text: str, stop: int, span: Span) -> Diagnostic:
    """Return the diagnostic of a misplaced `=`: only in a condition is the fix `==` certain."""
    before = text[:stop]
    if before.endswith("=") and not before.endswith(("==", "<=", ">=", "!=")) and text[stop] == "=":
        whole = Span(source, span.start - 1, span.end)
        return Diagnostic(
            code="E142", message="`==` compares values: use `=` to define a name", span=whole, help="write `=`",
            fix=(Edit(span=whole, text="="),),
        )  # fmt: skip
    plain = re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda m: "x" * len(m[0]), before)
    opened = [c for c in re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "", plain) if c in "([{"]
    words = re.findall(r"[A-Za-z_]\w*", plain)
    message, help_ = "`=` is not a comparison", "write `==`"
    fix: tuple[Edit, ...] = ()
    if opened and opened[-1] in "({" and words[:1] not in (["skip"], ["when"]):
        message, help_ = "unexpected `=`", "write an argument or entry as `name: value`"
    elif words[:1] == ["for"]:
        message, help_ = "expected `in` and a list, got `=`", "write `for NAME in [...]`"
    elif words[:1] == ["judge"]:
        message, help_ = "expected `with` and a rubric, got `=`", "write `judge NAME with RUBRIC(...)`"
    elif words[:1] == ["ask"]:
        message, help_ = "expected `from` and a model, got `=`", "write `ask NAME from MODEL with PROMPT`"
    elif words[:1] and words[0] in ("prompt", "rubric", "experiment", "model", "dataset"):
        message, help_ = (
            f"expected a block in braces after `{words[0]}`, got `=`",
            f"write `{before.strip()} {{ {_FIRST[words[0]]} }}`",
        )
    elif not opened and {"skip", "when", "if"} & set(words) and source.text[span.end : span.end + 1] != "=":
        fix = (Edit(span=span, text="=="),)
    return Diagnostic(code="E142", message=message, span=span, help=help_, fix=fix)


def _expected(names: set[str] | frozenset[str] | list[str] | None, before: str = "") -> str:
    """Return "expected ..." for the terminals that the grammar allows after a text, "" for none."""
    left = set(names or ())
    words = set()
    if len(left) > 1:  # after every value of a `let`, and few need it
        left.discard("OVER")
    if "NAME" in left:  # the lexer accepts a line end everywhere, the grammar not before a name
        left.discard("_NL")
    if "INT" in left:
        left -= _VALUES
        words.add(_noun_after(before))
    elif left >= _LABELS:
        left -= _LABELS
        words.add("a label")
    if left >= {"CMP", "SIGN", "TIMES"}:
        left -= _OPERATORS
        words.add("an operator")
    terminals = {t.name: t for t in grammar().terminals}
    for name in left:
        if name in _TERMINALS:
            words.add(_TERMINALS[name])
        elif name in terminals:
            words.add(f"`{terminals[name].pattern.value}`".replace("\\", ""))
    ordered = sorted(words, key=lambda w: (w.startswith("`"), w))
    if not ordered:
        return ""
    if len(ordered) > MAX_LISTED:
        return f"expected {', '.join(ordered[:MAX_LISTED])} ..."
    return "expected " + " or ".join(filter(None, (", ".join(ordered[:-1]), ordered[-1])))


def _noun_after(before: str) -> str:
    """Return what a value is called after the text of a statement."""
    words = re.findall(r"[A-Za-z_]\w*", before)
    if not words or not before.endswith(words[-1]):
        return "a value"
    return _NOUNS.get(words[-1]) or _NOUNS.get(f"{words[0]} {words[-1]}") or "a value"
