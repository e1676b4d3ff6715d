"""Strings as written to their parts: margins, escapes, placeholders, each with its place."""

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
    """Reads the strings of one source; faults gather in `diagnostics`."""

    def __init__(self, source: Source, diagnostics: list[Diagnostic]) -> None:
        self._source = source
        self._diagnostics = diagnostics

    def string(self, start: int, end: int) -> tuple[str | ast.Path, ...]:
        """Return the parts of a `"..."` that stands at these offsets, quotes included."""
        return _joined(self._pieces(start + 1, end - 1))

    def text(self, start: int, end: int, *, raw: bool) -> tuple[str | ast.Path, ...]:
        '''Return the parts of a `"""` text, without its margin; `raw` has no placeholders and no escapes.'''
        whole = self._source.text
        opening = whole.index('"""', start) + 3
        line_end = whole.find("\n", opening, end - 3)
        if line_end < 0 or whole[opening:line_end].strip():
            self._fault(
                "E110",
                'a `"""` text opens on a new line',
                opening - 3,
                opening,
                help='put the text on the lines below `"""`, and the closing `"""` on a line of its own',
            )
            return ()
        lines = list(_lines(whole, line_end + 1, end - 3))
        last_start, last_end = lines.pop()
        margin = whole[last_start:last_end]
        if margin.strip():
            self._fault(
                "E111",
                'the closing `"""` stands on a line of its own',
                end - 3,
                end,
                note="its indentation is the margin that is taken off every line",
            )
            return ()
        written = [whole[a:b] for a, b in lines if whole[a:b].strip(" \t")]
        if written and all(x.startswith((margin + " ", margin + "\t")) for x in written):
            self._diagnostics.append(
                Diagnostic(
                    code="W324",
                    message="every line of this text starts with blanks that are sent",
                    span=Span(self._source, opening - 3, opening),
                    labels=(Label(span=Span(self._source, end - 3, end), text="this margin is taken off"),),
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
                self._fault("E114", "trailing blanks", start, end, help="delete them: they would be sent", put="")
            return
        if not line.startswith(margin):
            indent = len(line) - len(line.lstrip(" \t"))
            mixed = "\t" in line[:indent] + margin and " " in line[:indent] + margin
            self._diagnostics.append(
                Diagnostic(
                    code="E113" if mixed else "E112",
                    message="tabs and blanks are mixed in the margin"
                    if mixed
                    else "this line is indented less than the margin",
                    span=Span(self._source, start, start + max(indent, 1)),
                    labels=(
                        Label(
                            span=Span(self._source, closing - 3, closing),
                            text=f'the closing `"""` sets the margin: {len(margin)} columns',
                        ),
                    ),
                    help='indent the line, or move the closing `"""` to the left',
                )
            )
            return
        kept = line.rstrip(" \t")
        if len(kept) < len(line):
            at = start + len(kept)
            self._fault("E114", "trailing blanks", at, end, help="delete them: they would be sent", put="")
        if raw:
            self._look(start + len(margin), end)
            yield line[len(margin) :]
        else:
            yield from self._pieces(start + len(margin), end)

    def _pieces(self, start: int, end: int) -> Iterator[str | ast.Path]:
        for found in _PIECE.finditer(self._source.text, start, end):
            at, stop = found.span()
            match found.lastgroup:
                case "plain":
                    self._look(at, stop)
                    yield found["plain"]
                case "open":
                    yield "{"
                case "close":
                    yield "}"
                case "path":
                    yield ast.Path(names=tuple(found["path"].split(".")), span=Span(self._source, at, stop))
                case "braced":
                    self._fault(
                        "E120",
                        "only a name may stand in braces",
                        at,
                        stop,
                        note="a placeholder is `{name}` or `{name.field}`, without logic",
                        help="compute it with `let`, or write `{{` and `}}` for braces that are sent",
                    )
                case "brace":
                    self._fault("E121", "stray `}`", at, stop, help="write `}}` for a brace that is sent", put="}}")
                case "code" if int(found["code"], 16) <= _MAX_CODE and not 0xD800 <= int(found["code"], 16) <= 0xDFFF:
                    yield chr(int(found["code"], 16))
                case "escape" if found["escape"] in _ESCAPES:
                    yield _ESCAPES[found["escape"]]
                case _:
                    self._fault(
                        "E122",
                        f"unknown escape `{found[0]}`",
                        at,
                        stop,
                        help=r"escapes are \n \t \" \\ \u{...}; write \\ for a backslash, or use a `raw` text",
                    )

    def _look(self, start: int, end: int) -> None:
        """Warn of characters that nobody sees: two texts that look alike are two requests."""
        for found in _INVISIBLE.finditer(self._source.text, start, end):
            self._diagnostics.append(
                Diagnostic(
                    code="W322",
                    message=f"an invisible character (U+{ord(found[0]):04X}) stands in this text",
                    span=Span(self._source, found.start(), found.end()),
                    note="it is sent, and texts that look alike are two requests",
                    help=rf"delete it, or write `\u{{{ord(found[0]):x}}}` where it is meant",
                    severity=Severity.WARNING,
                )
            )

    def _fault(
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
    """Return parts with neighbouring literal stretches made one."""
    joined: list[str | ast.Path] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)
