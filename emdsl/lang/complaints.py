"""What lark says of a text, in words that say what to do."""

from __future__ import annotations

import re

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from emdsl.lang.grammar import grammar
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS
from emdsl.source import Diagnostic, Edit, Source, Span, near, one_of

_CURLY = 'curly quotes: texts stand in straight double quotes, `"..."`'
_FOREIGN = {  # by the first character: what is said, the code, what is replaced and by what where that is certain
    "&": ("`&&` is written `and`", "E140", r"&&?", "and"),
    "|": ("`||` is written `or`", "E140", r"\|\|?", "or"),
    "!": ("`!` is written `not`", "E140", r"!", "not "),
    "'": ('texts stand in double quotes: `"..."`', "E141", r"'([^'\"\n\\{}]+)'(?![\w'])", r'"\1"'),
    "`": ('texts stand in double quotes: `"..."`', "E141", r"`([^`\"\n\\{}]+)`(?![\w`])", r'"\1"'),
    "\u2018": (_CURLY, "E141", '[\u2018\u2019]([^\u2018\u2019"\\n\\\\]*)[\u2018\u2019]', r'"\1"'),
    "\u2019": (_CURLY, "E141", '[\u2018\u2019]([^\u2018\u2019"\\n\\\\]*)[\u2018\u2019]', r'"\1"'),
    "\u201c": (_CURLY, "E141", '[\u201c\u201d]([^\u201c\u201d"\\n\\\\]*)[\u201c\u201d]', r'"\1"'),
    "\u201d": (_CURLY, "E141", '[\u201c\u201d]([^\u201c\u201d"\\n\\\\]*)[\u201c\u201d]', r'"\1"'),
    ";": ("a statement ends with its line: no `;`", "E140", r";(?=[ \t]*(?:#|\r?\n|$))", ""),
    "\\": ("a line goes on inside `( )` and `[ ]`, without `\\`", "E140", "", ""),
    "%": ("there is no `%`: `//` and remainders are not part of the language", "E140", "", ""),
    "@": ("there are no decorators: a statement starts with a word that says what it is", "E140", "", ""),
    "?": ("`a ? b : c` is written `if a then b else c`", "E140", "", ""),
}
_TERMINALS = {
    "NAME": "a name",
    "INT": "a number",
    "DEC": "a number",
    "MONEY": "an amount",
    "STRING": "a text",
    "LONG": "a text",
    "RAW": "a text",
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "CMP": "a comparison",
    "SIGN": "`+` or `-`",
    "TIMES": "`*` or `/`",
}


def explain(source: Source, text: str, offset: int, error: UnexpectedInput, start: str) -> Diagnostic:
    """Return lark's complaint about a stretch of text in words that say what to do."""
    first = re.match(r"\s*([A-Za-z_]\w*)", text)
    word, word_span = "", Span(source, offset, offset)
    if first:
        word, word_span = first[1], Span(source, offset + first.start(1), offset + first.end(1))
    words = {"decl": DECLARATIONS, "stmt": STATEMENTS, "rubric_item": (*ROLES, "each", "when")}[start]
    rest = text[first.end() :].lstrip(" \t") if first else ""
    if first and word not in words and not (rest.startswith("=") and start != "decl"):
        if start == "decl" and word in STATEMENTS:
            return Diagnostic(
                code="E106",
                message=f"`{word}` stands inside an experiment",
                span=word_span,
                help="put it between the braces of `experiment NAME { ... }`",
            )
        return Diagnostic(
            code="E105",
            message=f"no statement starts with `{word}`",
            span=word_span,
            help=near(word, words) or _start_help(word, rest, start, words),
        )
    if isinstance(error, UnexpectedCharacters):
        return _bad_character(source, text, offset, error)
    if isinstance(error, UnexpectedToken):
        return _bad_token(source, text, offset, error)
    end = offset + len(text.rstrip())
    return Diagnostic(code="E107", message="something is missing here", span=Span(source, end, end))


def _start_help(word: str, rest: str, start: str, words: tuple[str, ...]) -> str:
    """Return what to write in place of a statement that starts with no word of ours."""
    if word == "from" and (found := re.match(r'("[^"\n]*")\s+import\s+([\w, ]+)', rest)):
        return f"write `import {found[2].strip()} from {found[1]}`"
    if start != "decl" and re.match(r':|[\d"$\[]', rest):
        return f"a setting is written `{word} = ...`"
    return f"a statement starts with one of {one_of(words)}"


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
                    message="a value is missing after `=`",
                    span=Span(source, span.start, span.end),
                )
            return _reserved(word, span)
        return Diagnostic(code="E109", message=f"`{word}` cannot stand here", span=span)
    span = Span(source, offset + at, offset + at + 1)
    if text.startswith(("//", "/*", "--"), at):
        return Diagnostic(code="E140", message="a comment starts with `#`", span=span, help="write `# ...`")
    if char in _FOREIGN:
        said, code, wrong, right = _FOREIGN[char]
        found = re.compile(wrong).match(source.text, offset + at) if wrong else None
        if found is None:
            return Diagnostic(code=code, message=said, span=span)
        span = Span(source, found.start(), found.end())
        return Diagnostic(code=code, message=said, span=span, fix=(Edit(span=span, text=found.expand(right)),))
    return Diagnostic(
        code="E109", message=f"`{char}` (U+{ord(char):04X}) cannot stand here", span=span,
        note=f"here can stand {_listed(error.allowed)}" if error.allowed else "",
    )  # fmt: skip


def _reserved(word: str, span: Span) -> Diagnostic:
    return Diagnostic(
        code="E108",
        message=f"`{word}` is a reserved word: it cannot be a name",
        span=span,
        help=f"call it `{word}_` or something that says more",
    )


def _bad_token(source: Source, text: str, offset: int, error: UnexpectedToken) -> Diagnostic:
    token = error.token
    at_end = token.type in ("$END", "_NL")
    stop = len(text.rstrip()) if token.type == "$END" else (token.start_pos or 0)
    before = text[:stop].rstrip()
    if at_end:
        last = re.search(r"(?:[A-Za-z_]\w*|==|!=|<=|>=|\.\.|\S)$", before)
        said = f" after `{last[0]}`" if last else ""
        what = (
            "a value is missing"
            if before.endswith(("=", "<", ">", "+", "-", "*", "/", ","))
            else "something is missing"
        )
        span = Span(source, offset + len(before) - len(last[0] if last else ""), offset + len(before))
        return Diagnostic(code="E107", message=what + said, span=span, note=f"here can stand {_listed(error.expected)}")
    span = Span(source, offset + stop, offset + (token.end_pos or stop + 1))
    if str(token) == "if" and before.split()[:1] in (["skip"], ["set"]):
        return Diagnostic(code="E109", message="a condition of this statement follows `when`", span=span,
                          help="write `when`")  # fmt: skip
    if str(token) in RESERVED and ("NAME" in error.expected):
        return _reserved(str(token), span)
    if token.type == "EQUAL" and re.fullmatch(r"\w+", before.strip()):
        return Diagnostic(
            code="E109", message=f"`{before.strip()}` starts a statement here: it cannot be set", span=span,
            help="settings have other names",
        )  # fmt: skip
    if token.type == "EQUAL":
        return _bad_equal(source, text, stop, span)
    if token.type == "COLON" and "EQUAL" in error.expected:
        return Diagnostic(code="E109", message="a setting is written with `=`", span=span,
                          help="`:` stands in maps and arguments", fix=(Edit(span=span, text=" ="),))  # fmt: skip
    if token.type in ("INT", "DEC", "MONEY") and re.search(r"\bis(?:\s+not)?$", before):
        return Diagnostic(code="E109", message="`is` tests a label or a name; a value is compared", span=span,
                          help=f"write `== {token}`, or `!= {token}`")  # fmt: skip
    if token.type == "COLON" and before.split()[:1] in (["experiment"], ["prompt"], ["rubric"], ["grid"]):
        return Diagnostic(
            code="E140", message="a block stands in braces", span=span, help=f"write `{before.strip()} {{ ... }}`"
        )
    if token.type == "COLON" and not text[stop + 1 :].lstrip(" \t").partition("#")[0].split("\n")[0].strip():
        return Diagnostic(
            code="E140", message="a statement does not end with `:`", span=span, fix=(Edit(span=span, text=""),)
        )
    return Diagnostic(
        code="E109",
        message=f"`{str(token).strip()[:40]}` cannot stand here",
        span=span,
        note=f"here can stand {_listed(error.expected)}",
    )


def _bad_equal(source: Source, text: str, stop: int, span: Span) -> Diagnostic:
    """Return what is said of a `=` that names nothing: only in a condition is `==` certain."""
    before = text[:stop]
    if before.endswith("=") and not before.endswith(("==", "<=", ">=", "!=")) and text[stop] == "=":
        whole = Span(source, span.start - 1, span.end)
        return Diagnostic(
            code="E142", message="`==` compares; `=` gives a name its value", span=whole, help="write `=`",
            fix=(Edit(span=whole, text="="),),
        )  # fmt: skip
    plain = re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda m: "x" * len(m[0]), before)
    opened = [c for c in re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "", plain) if c in "([{"]
    words = re.findall(r"[A-Za-z_]\w*", plain)
    said, help_ = "`=` names a value; it does not compare", "write `==`"
    fix: tuple[Edit, ...] = ()
    if opened and opened[-1] in "({" and words[:1] not in (["skip"], ["when"]):
        said, help_ = "`=` stands in settings only", "an argument or an entry is written `name: value`"
    elif words[:1] == ["for"]:
        said, help_ = "an axis goes through a list", "write `for NAME in [...]`"
    elif words[:1] == ["judge"]:
        said, help_ = "a judge names its rubric", "write `judge NAME with RUBRIC(...)`"
    elif words[:1] == ["ask"]:
        said, help_ = "an ask names its model and its prompt", "write `ask NAME from MODEL with PROMPT`"
    elif words[:1] and words[0] in ("prompt", "rubric", "experiment", "model", "dataset"):
        said, help_ = f"what a {words[0]} holds stands in braces", f"write `{before.strip()} {{ ... }}`"
    elif not opened and {"skip", "when", "if"} & set(words) and source.text[span.end : span.end + 1] != "=":
        fix = (Edit(span=span, text="=="),)
    return Diagnostic(code="E142", message=said, span=span, help=help_, fix=fix)


def _listed(expected: set[str] | frozenset[str] | list[str]) -> str:
    words = set()
    terminals = {t.name: t for t in grammar().terminals}
    for name in expected:
        if name in _TERMINALS:
            words.add(_TERMINALS[name])
        elif name in terminals:
            words.add(f"`{terminals[name].pattern.value}`".replace("\\", ""))
    ordered = sorted(words, key=lambda w: (w.startswith("`"), w))
    return ", ".join(ordered[:10]) + (" ..." if len(ordered) > 10 else "")
