"""Text to syntax tree: the whole file at once, or, where that fails, statement by statement.

A statement that does not parse is dropped with one diagnostic, and everything else is still read, so that
one fault never hides another. The door to lark.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from emdsl.digest import digest
from emdsl.lang import ast
from emdsl.lang.scan import Piece, scan
from emdsl.lang.tree import TreeReader
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS, grammar_text
from emdsl.source import Diagnostic, Edit, Source, Span, near, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITION = 1
STARTS = ("file", "decl", "stmt", "rubric_item")

_BOM = "\ufeff"
_EDITION_LINE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*em[ \t]+(?P<edition>[0-9]+)[ \t]*(?=[\r\n#]|$)")
_ODD_EDITION = re.compile(r"[ \t]*em(?:[ \t]+v?\d[\w.]*|\d[\w.]*)(?=[ \t]*(?:[\r\n#]|$))")
_NOTHING = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*")  # blanks and comments
_BLOCK = re.compile(r"\s*(?P<word>experiment|grid|when|prompt|rubric|each)\b")
_BINDS = re.compile(
    r"\s*(?:import|model|dataset|prompt|rubric|let|python|experiment|ask|judge|measure|grid|for|each)\s+"
    r"(?P<names>[A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)"
    r"|^\s*(?P<setting>[A-Za-z_]\w*)\s*="
)
_INSIDE = {
    "experiment": "stmt",
    "grid": "stmt",
    "when": "stmt",
    "prompt": "rubric_item",
    "rubric": "rubric_item",
    "each": "rubric_item",
}
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


def parse(source: Source) -> tuple[ast.File, tuple[Diagnostic, ...]]:
    """Return what a source says, and every fault of its text."""
    diagnostics: list[Diagnostic] = []
    text = source.text
    if text.startswith(_BOM):
        text = " " + text[1:]  # one character for one: offsets stay
    pieces, faults = scan(source, text, DECLARATIONS)
    diagnostics += faults
    head = _edition(source, text, diagnostics)
    if head is None:
        return ast.File(source=source, decls=(), lost=_bound(text)), tuple(diagnostics)
    decls: tuple[ast.Decl, ...]
    lost: set[str] = set()
    if not faults:
        try:
            tree = grammar().parse(text, start="file")
            decls = TreeReader(source, diagnostics).read(tree)
            return ast.File(source=source, decls=decls), tuple(diagnostics)
        except UnexpectedInput:
            pass  # read again, piece by piece, to say what is wrong
        except RecursionError:
            diagnostics.append(_too_deep(source))
            return ast.File(source=source, decls=(), lost=_bound(text)), tuple(diagnostics)
    reader = _PieceReader(source, text, diagnostics, lost)
    rest = [Piece(head, p.end, p.closed, p.body, p.inner) if p.start < head < p.end else p for p in pieces]
    decls = tuple(reader.read([p for p in rest if p.start >= head], "decl"))
    return ast.File(source=source, decls=decls, lost=frozenset(lost)), tuple(diagnostics)


def _edition(source: Source, text: str, diagnostics: list[Diagnostic]) -> int | None:
    """Return where the edition line ends; a file of another edition is not read at all."""
    found = _EDITION_LINE.match(text)
    start = 1 if source.text.startswith(_BOM) else 0
    if not found:
        odd = _ODD_EDITION.match(text)  # `em 1.0`, `em v1`
        end = odd.end() if odd else start
        line_end = "\r\n" if "\r\n" in text else "\n"
        put = f"em {EDITION}" + ("" if odd else line_end)
        diagnostics.append(
            Diagnostic(
                code="E101",
                message="the first line names the edition",
                span=Span(source, start, end if odd else min(len(text), text.find("\n") % (len(text) + 1))),
                help=f"write `em {EDITION}` on the first line",
                fix=(Edit(span=Span(source, start, end), text=put),),
            )
        )
        return end if odd else 0
    if found["edition"].lstrip("0") != str(EDITION):
        diagnostics.append(
            Diagnostic(
                code="E102",
                message=f"edition {found['edition'][:20]} is not known",
                span=Span(source, *found.span("edition")),
                help=f"this emdsl reads edition {EDITION}: upgrade emdsl, or write `em {EDITION}`",
            )
        )
        return None
    return found.end()


def _bound(text: str) -> frozenset[str]:
    return frozenset(
        n for found in _BINDS.finditer(text) for n in re.findall(r"[A-Za-z_]\w*", found["names"] or found["setting"])
    )


def _too_deep(source: Source) -> Diagnostic:
    return Diagnostic(
        code="E103",
        message="this program is nested too deeply to read",
        span=Span(source, 0, 0),
        help="give parts of it names with `let`",
    )


class _PieceReader:
    """Reads statements one by one; what does not parse is dropped, and its names become `lost`."""

    def __init__(self, source: Source, text: str, diagnostics: list[Diagnostic], lost: set[str]) -> None:
        self._source = source
        self._text = text
        self._diagnostics = diagnostics
        self._lost = lost

    def read(self, pieces: list[Piece], start: str) -> Iterator[Any]:
        for piece in pieces:
            yield from self._piece(piece, start)

    def _piece(self, piece: Piece, start: str) -> Iterator[Any]:
        text = self._text[piece.start : piece.end]
        if _NOTHING.fullmatch(text):
            return
        block = _BLOCK.match(text)
        if piece.body is None or not piece.inner or block is None:
            yield from self._single(piece, text, start)
            return
        yield from self._block(piece, text, start, block["word"])

    def _single(self, piece: Piece, text: str, start: str) -> Iterator[Any]:
        if not piece.closed:  # said where it was scanned
            self._lost |= _bound(text)
            return
        try:
            yield self._parsed(text, piece.start, start)
        except UnexpectedInput as error:
            self._drop(piece, text, error, start)

    def _block(self, piece: Piece, text: str, start: str, word: str) -> Iterator[Any]:
        """Read a block's head and each of its statements apart."""
        assert piece.body is not None
        body_start, body_end = piece.body
        with suppress(UnexpectedInput):
            whole = self._parsed(text, piece.start, start)
            yield whole
            return
        head = self._text[piece.start : body_start]
        inside = list(self.read(list(piece.inner), _INSIDE[word]))
        try:
            node = self._parsed(head + "}", piece.start, start)
        except UnexpectedInput as error:
            self._drop(Piece(piece.start, body_start), head, error, start)
            return
        if piece.closed:
            self._after(body_end + 1, piece.end)
        body = tuple(x for x in inside if not isinstance(x, ast.Setting) or word in ("experiment", "grid", "when"))
        if word == "rubric":
            settings = tuple(x for x in inside if isinstance(x, ast.Setting))
            yield dataclasses.replace(node, body=body, settings=settings)
        else:
            yield dataclasses.replace(node, body=body)

    def _after(self, start: int, end: int) -> None:
        rest = self._text[start:end]
        if rest.strip() and not rest.strip().startswith("#"):
            at = start + len(rest) - len(rest.lstrip())
            self._diagnostics.append(
                Diagnostic(
                    code="E104",
                    message="a block ends with its `}`",
                    span=Span(self._source, at, end),
                    help="put the next statement on a line of its own",
                )
            )

    def _parsed(self, text: str, offset: int, start: str) -> Any:
        tree = grammar().parse(text, start=start)
        return TreeReader(self._source, self._diagnostics, offset).read(tree)

    def _drop(self, piece: Piece, text: str, error: UnexpectedInput, start: str) -> None:
        self._lost |= _bound(text)
        self._diagnostics.append(explain(self._source, text, piece.start, error, start))


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


class _Gaps:
    """Keeps the line ends that end statements; drops those inside `( )` and `[ ]`, and doubled ones."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        brackets: list[str] = []
        last = "LBRACE"  # blank lines before the first statement mean nothing either
        before: Token | None = None
        for token in stream:
            glued = before is not None and before.end_pos == token.start_pos
            if before is not None and glued and _wordy(before[-1:]) and _wordy(token[:1]):
                whole = Token("WORD", before + token, before.start_pos, end_pos=token.end_pos)
                raise UnexpectedToken(whole, set())  # type: ignore[no-untyped-call]  # `experimente` is one word, and none of ours
            before = token
            if token.type == "_NL" and (last in ("_NL", "LBRACE") or (brackets and brackets[-1] != "LBRACE")):
                continue
            if token.type in ("LPAR", "LSQB", "LBRACE"):
                brackets.append(token.type)
            elif token.type in ("RPAR", "RSQB", "RBRACE") and brackets:
                brackets.pop()
            last = token.type
            yield token


def _wordy(char: str) -> bool:
    return char.isalnum() or char == "_"


@functools.cache
def grammar() -> Lark:
    """Return the parser of `grammar/em.lark`, made once a process; its tables are kept for the next one."""
    kept = _kept_tables()
    if kept is None:
        return _made(cache=False)
    if kept.exists():
        return _made(cache=str(kept))
    fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        made = _made(cache=str(fresh))
        fresh.replace(kept)  # whole or not at all: others may be starting
    except OSError:
        return _made(cache=False)
    return made


def _made(*, cache: str | bool) -> Lark:
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        postlex=_Gaps(),
        start=list(STARTS),
        propagate_positions=True,
        maybe_placeholders=True,
        cache=cache,
    )


def _kept_tables() -> Path | None:
    """Return where the tables are kept, 250 ms of work: a folder that nobody else can write; None where there is none.

    Lark checks that they are those of this grammar and version; reading them unpickles, hence the folder.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if not home or not hasattr(os, "getuid"):
        return None
    folder = Path(home) / ("emdsl" if os.environ.get("XDG_CACHE_HOME") else ".cache/emdsl")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError:
        return None
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        return None
    return folder / f"grammar-{digest('grammar', grammar_text()).hex()[:16]}.lark"
