"""Source, Span and Diagnostic: places in a text, and the errors and warnings about them."""

from __future__ import annotations

import bisect
import enum
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from emdsl.redact import mask_source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WINDOW = 4_000  # characters of a line that are searched for secrets
MAX_LINE_SHOWN = 160  # columns; a longer line is cut around the caret


@dataclass(frozen=True, eq=False)
class Source:
    """A text and its name in messages; `path` is None for a text that is not a file."""

    name: str
    text: str
    path: Path | None = None

    @cached_property
    def line_starts(self) -> list[int]:
        """The offsets of the line starts, ascending; the first is 0."""
        return [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset, both from 1."""
        line = bisect.bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its line end."""
        start = self.line_starts[number - 1]
        end = self.line_starts[number] - 1 if number < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a source text: offsets in characters, `end` excluded."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        """The text of the range."""
        return self.source.text[self.start : self.end]

    @property
    def place(self) -> str:
        """`file:line:column`, as editors and terminals link it."""
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    @property
    def line_place(self) -> str:
        """`file:line`, for a list of reasons."""
        return f"{self.source.name}:{self.source.position(self.start)[0]}"

    def of(self, word: str) -> Span:
        """Return the place of a word inside the range; the whole range if the word is not written in it."""
        match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self.text)
        return Span(self.source, self.start + match.start(), self.start + match.end()) if match else self

    def to(self, other: Span) -> Span:
        """Return the range from here to the end of another span of the same source."""
        return Span(self.source, self.start, max(self.end, other.end))


class Severity(enum.StrEnum):
    """An error prevents a run, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A second place, which explains the first."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A replacement of the text at a place."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """An error or a warning, as data for a terminal, `--json` and editors."""

    code: str
    message: str
    span: Span | None
    note: str = ""
    help: str = ""
    labels: tuple[Label, ...] = ()
    severity: Severity = Severity.ERROR
    fix: tuple[Edit, ...] = ()  # safe edits, which `emdsl check --fix` applies

    def render(self) -> str:
        """Return the text for a terminal: the message, its place with a caret, a note, and what to do."""
        lines = [f"{self.severity}[{self.code}]: {self.message}"]
        places = ([(self.span, "")] if self.span else []) + [(x.span, x.text) for x in self.labels]
        width = max((len(str(s.source.position(s.start)[0])) for s, _ in places), default=1)
        for i, (span, text) in enumerate(places):
            lines += _excerpt(span, text, width, main=i == 0)
        lines += [f"{' ' * width} = note: {self.note}"] if self.note and places else []
        lines += [f"note: {self.note}"] if self.note and not places else []
        if self.help:
            lines.append(f"help: {self.help}" + (" (`emdsl check --fix` does it)" if self.fix else ""))
        else:
            lines.append("help: `emdsl check --fix` fixes it" if self.fix else f"for more: `emdsl explain {self.code}`")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return the fields of `--json`; positions count from 1."""
        fields: dict[str, object] = {
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
        }
        if self.span:
            fields |= _json_place(self.span)
        if self.labels:
            fields["labels"] = [{"message": x.text} | _json_place(x.span) for x in self.labels]
        if self.fix:
            fields["fix"] = [{"replacement": x.text} | _json_place(x.span) for x in self.fix]
        return fields | {k: v for k, v in (("note", self.note), ("help", self.help)) if v}


def _place_of(other: Diagnostic, first: Diagnostic) -> Label:
    assert other.span is not None
    return Label(span=other.span, text=other.message if other.message != first.message else "")


def together(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics for a reader: those with one code, note and help are one, with all of their places."""
    groups: dict[object, list[Diagnostic]] = {}
    for number, each in enumerate(diagnostics):
        alone = each.span is None or each.labels or each.fix or not each.help
        kind = number if alone else (each.code, each.severity, each.note, each.help)
        groups.setdefault(kind, []).append(each)
    return [
        replace(first, labels=tuple(_place_of(d, first) for d in others)) if others else first
        for first, *others in groups.values()
    ]


def _json_place(span: Span) -> dict[str, object]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _excerpt(span: Span, text: str, width: int, *, main: bool) -> list[str]:
    line, column = span.source.position(span.start)
    shown = span.source.line(line)
    if len(shown) > WINDOW:  # a text without line ends: show the part around the place
        cut = max(0, column - 1 - WINDOW // 2)
        shown, column = shown[cut : cut + WINDOW], column - cut
    shown = mask_source(shown)
    length = max(1, min(span.end - span.start, len(shown) - column + 1))
    if len(shown) > MAX_LINE_SHOWN:
        cut = max(0, column - 1 - MAX_LINE_SHOWN // 3)
        shown, column = shown[cut : cut + MAX_LINE_SHOWN], column - cut
        length = min(length, MAX_LINE_SHOWN - column + 1)
    before = _columns(shown[: column - 1])
    mark = "^" if main else "-"
    under = " " * before + mark * max(1, _columns(shown[column - 1 : column - 1 + length]))
    arrow = "-->" if main else ":::"
    return [
        f"{' ' * width}{arrow} {span.place}",
        f"{' ' * width} |",
        f"{line:>{width}} | {_printable(shown)}",
        f"{' ' * width} | {under}" + (f" {text}" if text else ""),
    ]


def _printable(text: str) -> str:
    """Return a text that cannot move the cursor: tabs as one blank, control characters as a replacement character."""
    return "".join(" " if c == "\t" else c if _is_shown(c) else "\ufffd" for c in text)


def _is_shown(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _columns(text: str) -> int:
    """Return the number of terminal columns of a text; wide East Asian characters take two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fixed(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits to a text, the last first; of two overlapping edits the later one in the text is applied."""
    end = len(text) + 1
    for edit in sorted(set(edits), key=lambda e: (e.span.start, e.span.end), reverse=True):
        if edit.span.end <= end and edit.span.start < end:
            text = text[: edit.span.start] + edit.text + text[edit.span.end :]
            end = edit.span.start
    return text


def near(word: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` with the known word most similar to an unknown one, or "".

    >>> near("modle", ["model", "data"])
    'did you mean `model`?'
    """
    import difflib  # noqa: PLC0415 - only a misspelt word needs it

    matches = difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)
    return f"did you mean `{matches[0]}`?" if matches else ""


def listed(noun: str, plural: str, words: Iterable[str]) -> str:
    """Return the choices of a kind as a sentence.

    >>> listed("axis", "axes", ["k"]), listed("axis", "axes", ["k", "m"])
    ('the only axis is `k`', 'the axes are `k`, `m`')
    """
    choices = tuple(words)
    return f"the only {noun} is {one_of(choices)}" if len(choices) == 1 else f"the {plural} are {one_of(choices)}"


def one_of(words: Iterable[str], limit: int = 12) -> str:
    """Return words as a list to choose from, at most `limit`: in their own order, those of a set sorted."""
    choices = sorted(words) if isinstance(words, set | frozenset) else list(dict.fromkeys(words))
    more = f" and {len(choices) - limit} more" if len(choices) > limit else ""
    return ", ".join(f"`{w}`" for w in choices[:limit]) + more
