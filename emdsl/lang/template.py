"""Strings to parts: margins, escapes and placeholders, each with its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emdsl.lang import ast
from emdsl.source import Diagnostic, Edit, Label, Severity, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.source import Source

_PIECE = re.compile(
    r"(?P<plain>[^{}\\]+)"
    r"|(?P<open>\{\{)|(?P<close>\}\})"
    r"|\{[ \t]*(?P<path>[A-Za-z_]\w*(?:\.\w+)*)[ \t]*\}"
    r"|(?P<braced>\{[^{}\n]*\}?)"
    r"|(?P<brace>\})"
    r"|\\u\{(?P<code>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<escape>.?)",
    re.ASCII,
)
_INVISIBLE = re.compile(
    "[\u00a0\u00ad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_MAX_CODE = 0x10FFFF


class TextReader:
    """Reads the strings of one source; adds errors to `diagnostics`."""

    def __init__(self, source: Source, diagnostics: list[Diagnostic]) -> None:
        self._source = source
        self._diagnostics = diagnostics

    def string(self, start: int, end: int) -> tuple[str | ast.Path, ...]:
        """Return the parts of a `"..."` between these offsets, quotes included."""
        return _joined(self._pieces(start + 1, end - 1))

    def text(self, start: int, end: int, *, raw: bool) -> tuple[str | ast.Path, ...]:
        '''Return the parts of a `"""` text, without its margin; `raw` has no placeholders and no escapes.'''
        whole = self._source.text
        opening = whole.index('"""', start) + 3
        line_end = whole.find("\n", opening, end - 3)
        if line_end < 0 or whole[opening:line_end].strip():
            self._add_error(
                "E110",
                'a text in `"""` must start on a new line',
                opening - 3,
                opening,
                help='start the text on the line below `"""`, and put the closing `"""` on its own line',
            )
            return ()
        lines = list(_lines(whole, line_end + 1, end - 3))
        last_start, last_end = lines.pop()
        margin = whole[last_start:last_end]
        if margin.strip():
            self._add_error(
                "E111",
                'the closing `"""` must be on its own line',
                end - 3,
                end,
                note="its indentation is removed from every line of the text",
                help='move `"""` to the next line',
            )
            return ()
        written = [whole[a:b] for a, b in lines if whole[a:b].strip(" \t")]
        if written and all(x.startswith((margin + " ", margin + "\t")) for x in written):
            self._diagnostics.append(
                Diagnostic(
                    code="W324",
                    message="every line of this text starts with spaces that are sent",
                    span=Span(self._source, opening - 3, opening),
                    labels=(Label(span=Span(self._source, end - 3, end), text="this margin is removed"),),
                    help='indent the closing `"""` as far as the text',
                    severity=Severity.WARNING,
                )
            )
        parts: list[str | ast.Path] = []
        for i, (line_start, stop) in enumerate(lines):
            parts += ["\n"] if i else []
            parts += self._line(line_start, stop, margin, raw=raw, closing=end)
        return _joined(iter(parts))

    def _line(self, start: int, end: int, margin: str, *, raw: bool, closing: int) -> Iterator[str | ast.Path]:
        line = self._source.text[start:end]
        if not line.strip(" \t"):
            if len(line) > len(margin):
                self._add_error("E114", "trailing spaces", start, end, help="remove them: they would be sent", put="")
            return
        if not line.startswith(margin):
            indent = len(line) - len(line.lstrip(" \t"))
            mixed = "\t" in line[:indent] + margin and " " in line[:indent] + margin
            self._diagnostics.append(
                Diagnostic(
                    code="E113" if mixed else "E112",
                    message="this line and the closing quotes are indented with different tabs and spaces"
                    if mixed
                    else "this line is indented less than the margin",
                    span=Span(self._source, start, start + max(indent, 1)),
                    labels=(
                        Label(
                            span=Span(self._source, closing - 3, closing),
                            text=f'the closing `"""` is indented with {_blanks(margin)}',
                        ),
                    ),
                    help=f"indent the line with {_blanks(margin)}, too"
                    if mixed
                    else 'indent the line, or move the closing `"""` to the left',
                )
            )
            return
        kept = line.rstrip(" \t")
        if len(kept) < len(line):
            at = start + len(kept)
            self._add_error("E114", "trailing spaces", at, end, help="remove them: they would be sent", put="")
        if raw:
            self._check_visible(start + len(margin), end)
            yield line[len(margin) :]
        else:
            yield from self._pieces(start + len(margin), end)

    def _pieces(self, start: int, end: int) -> Iterator[str | ast.Path]:
        for match in _PIECE.finditer(self._source.text, start, end):
            at, stop = match.span()
            match match.lastgroup:
                case "plain":
                    self._check_visible(at, stop)
                    yield match["plain"]
                case "open":
                    yield "{"
                case "close":
                    yield "}"
                case "path":
                    yield ast.Path(names=tuple(match["path"].split(".")), span=Span(self._source, at, stop))
                case "braced":
                    self._add_error(
                        "E120",
                        "only a name is allowed in braces",
                        at,
                        stop,
                        note="a placeholder is `{name}` or `{name.field}`",
                        help="compute the value with `let`, or write `{{` and `}}` to send braces",
                    )
                case "brace":
                    self._add_error(
                        "E121", "`}` without an opening `{`", at, stop, help="write `}}` to send a brace", put="}}"
                    )
                case "code" if int(match["code"], 16) <= _MAX_CODE and not 0xD800 <= int(match["code"], 16) <= 0xDFFF:
                    yield chr(int(match["code"], 16))
                case "escape" if match["escape"] in _ESCAPES:
                    yield _ESCAPES[match["escape"]]
                case "code":
                    self._add_error(
                        "E122", f"`{match[0]}` is not the code of a character", at, stop,
                        help=r"write a character's code in hexadecimal, such as `\u{1f600}`: at most `10ffff`, not "
                        "`d800` to `dfff`",
                    )  # fmt: skip
                case _:
                    self._add_error(
                        "E122",
                        f"unknown escape `{match[0]}`",
                        at,
                        stop,
                        help=r"write `\n`, `\t`, `\"`, `\u{...}`, or `\\` for a backslash; a `raw` text has no escapes",
                    )

    def _check_visible(self, start: int, end: int) -> None:
        """Warn of invisible characters: two texts that look the same would be two requests."""
        for match in _INVISIBLE.finditer(self._source.text, start, end):
            self._diagnostics.append(
                Diagnostic(
                    code="W322",
                    message=f"this text contains an invisible character (U+{ord(match[0]):04X})",
                    span=Span(self._source, match.start(), match.end()),
                    note="it is sent to the model: the same text without it is another request",
                    help=rf"remove it, or write `\u{{{ord(match[0]):x}}}` if it is intended",
                    severity=Severity.WARNING,
                )
            )

    def _add_error(
        self, code: str, message: str, start: int, end: int, *, note: str = "", help: str = "", put: str | None = None
    ) -> None:
        span = Span(self._source, start, end)
        fix = (Edit(span=span, text=put),) if put is not None else ()
        self._diagnostics.append(Diagnostic(code=code, message=message, span=span, note=note, help=help, fix=fix))


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets of each line without its end; a CR before the LF is not part of the line."""
    while True:
        stop = text.find("\n", start, end)
        if stop < 0:
            yield start, end
            return
        yield start, stop - (text[stop - 1] == "\r" and stop > start)
        start = stop + 1


def _joined(parts: Iterator[str | ast.Path]) -> tuple[str | ast.Path, ...]:
    """Join adjacent literal parts."""
    joined: list[str | ast.Path] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def _blanks(margin: str) -> str:
    """Return the blanks of a margin in words: `2 spaces`, `1 tab and 2 spaces`, `nothing`."""
    counts = [(margin.count(c), word) for c, word in (("\t", "tab"), (" ", "space"))]
    return " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "nothing"
