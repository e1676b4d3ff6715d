"""Screens as HTML for notebooks: no script, no style sheet, nothing to load, and the colors of the page around it."""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING, Any

from emdsl.colors import ERROR, HELP, PLACE, WARNING, painted
from emdsl.redact import mask
from emdsl.source import together
from emdsl.study.latex import is_number
from emdsl.study.screen import Aside, Table, counted, short
from emdsl.surrogates import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from emdsl.source import Diagnostic
    from emdsl.study.screen import Part

MAX_ROWS = 20  # of a table of results
MAX_MESSAGES = 6  # of a request; the others are folded
LINE = "rgba(128,128,128,.35)"
COLORS = {  # mixed with the color of the page's text: darker on a light page, lighter on a dark one
    ERROR: "color:color-mix(in srgb,#e02b36 70%,currentColor);font-weight:bold",
    WARNING: "color:color-mix(in srgb,#b87a00 70%,currentColor);font-weight:bold",
    HELP: "color:color-mix(in srgb,#0b868d 70%,currentColor)",
    PLACE: "opacity:.75",
}
PRE = (
    "margin:.3em 0;padding:0;border:0;background:none;color:inherit;font-family:ui-monospace,Menlo,Consolas,monospace;"
    "font-size:.92em;line-height:1.35;white-space:pre-wrap;overflow-wrap:anywhere;text-align:left"
)
CELL = "padding:.15em .8em .15em 0"


def html_of(parts: Iterable[Part]) -> str:
    """Return a screen as HTML; texts are escaped, and free of API keys."""
    return _box("".join(_blocks(parts)))


def diagnostics_html(diagnostics: Sequence[Diagnostic]) -> str:
    """Return errors and warnings with their places and carets."""
    if not diagnostics:
        return _box(_pre("no errors, no warnings"))
    return _box(
        "".join(f'<pre style="{PRE};white-space:pre">{_colored(d.render())}</pre>' for d in together(diagnostics))
    )


def error_html(message: str) -> str:
    """Return the message of an error."""
    return _box(f'<pre style="{PRE}">{_colored(message if message.startswith("error") else f"error: {message}")}</pre>')


def table_html(table: Any) -> str:
    """Return the first rows of an Arrow table, and how many it has."""
    columns, n_rows = list(table.column_names), table.num_rows
    by_column = [table.column(i).slice(0, MAX_ROWS).to_pylist() for i in range(len(columns))]
    numeric = [c for c, values in zip(columns, by_column, strict=True) if all(map(is_number, values))]
    rows = [[_value(v) for v in row] for row in zip(*by_column, strict=True)]
    more = f", the first {MAX_ROWS} rows are shown" if n_rows > MAX_ROWS else ""
    size = f"{counted(n_rows, 'row')}, {counted(len(columns), 'column')}{more}"
    return _box(
        _table(Table(columns, rows, numeric=numeric), wrap=False) + f'<div style="{COLORS[PLACE]}">{size}</div>'
    )


def _value(value: Any) -> Any:
    """Return a value of a table as its cell shows it; a map has its pairs."""
    if isinstance(value, list) and value and all(isinstance(v, tuple) for v in value):
        return ", ".join(f"{k}: {v}" for k, v in value)
    return short(value) if isinstance(value, str) else value


def requests_html(requests: Sequence[Mapping[str, Any]]) -> str:
    """Return requests as they are sent, each with its messages."""
    return _box("".join(map(_request, requests)))


def stories_html(stories: Sequence[Mapping[str, Any]], n_rows: int) -> str:
    """Return the stories of rows: requests, answers, verdicts, and where they count."""
    more = f"showing {len(stories):,} of {n_rows:,} matching rows" if len(stories) < n_rows else ""
    return _box("".join(map(_story, stories)) + (_pre(more) if more or not stories else ""))


def _blocks(parts: Iterable[Part]) -> Iterator[str]:
    """Yield lines that follow each other as one block, and each table and aside as its own."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, str):
            lines += part.split("\n")
            continue
        yield _lines(lines)
        lines = []
        if isinstance(part, Table):
            yield _table(part)
        else:
            yield _aside(part)
    yield _lines(lines)


def _lines(lines: list[str]) -> str:
    text = "\n".join(lines).strip("\n")
    return _pre(text) if text.strip() else ""


def _aside(aside: Aside) -> str:
    text = _colored(aside.text.strip("\n"))
    return f'<pre style="{PRE};padding-left:.7em;border-left:3px solid {LINE}">{text}</pre>'


def _table(table: Table, *, wrap: bool = True) -> str:
    styles = [f"{CELL};text-align:{'right' if c in table.numeric else 'left'}" for c in table.columns]
    styles = [s if wrap else f"{s};white-space:nowrap" for s in styles]
    head = "".join(map(_cell, itertools.repeat('th scope="col"'), table.columns, styles))
    rows = ["".join(map(_cell, itertools.repeat("td"), row, styles)) for row in table.cells]
    body = "".join(f'<tr style="background:none;vertical-align:top">{row}</tr>' for row in rows)
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;border:0;margin:.3em 0;color:inherit">'
        f'<thead><tr style="background:none;border-bottom:1px solid {LINE}">{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(tag: str, text: str, style: str) -> str:
    return f'<{tag} style="{style}">{escape(mask(text.strip()))}</{tag[:2]}>'


def _request(request: Mapping[str, Any]) -> str:
    return _place(request) + _step(request)


def _place(row: Mapping[str, Any]) -> str:
    at = "  ".join(f"{k}={v}" for k, v in row["cell"].items())
    title = f"{row['experiment']}   {at}   sample {row['sample']}"
    return f'<div><strong style="white-space:pre-wrap">{escape(mask(title))}</strong></div>'


def _step(step: Mapping[str, Any]) -> str:
    if "unknown" in step:
        return _pre(f"{step['kind']} {step['step']}: {step['unknown']}")
    settings = "  ".join(f"{k}={v}" for k, v in step["parameters"].items())
    state = "cached" if step["cached"] else "pending"
    key = f"key {step['key']}" if step["key"] else "no key: an answer that it contains is not cached"
    messages = [_message(m["role"], m["content"]) for m in step["messages"]]
    if len(messages) > MAX_MESSAGES:
        folded = messages[2:-2]
        summary = f'<summary style="cursor:pointer">{len(folded):,} more messages</summary>'
        messages[2:-2] = [f"<details>{summary}{''.join(folded)}</details>"]
    head = _pre(f"{step['kind']} {step['step']}   {step['model']}   {settings}\n{key}   {state}")
    return head + "".join(messages)


def _message(role: str, text: str) -> str:
    return (
        f'<div style="margin:.2em 0;padding-left:.7em;border-left:3px solid {LINE}">'
        f'<div style="{COLORS[PLACE]}">{escape(mask(role))}</div>{_pre(text)}</div>'
    )


def _story(story: Mapping[str, Any]) -> str:
    blocks = [_place(story)]
    for step in story["steps"]:
        blocks.append(_step(step))
        if "finish" in step:
            blocks += [_message("reasoning", step["reasoning"])] if "reasoning" in step else []
            response = f"response: {step['finish']}, {step['answered_at']}, run {step['run']}"
            blocks.append(_message(response, step.get("reply", step["value"])))
            blocks += [_message("a previous reply, unreadable", text) for text in step.get("unread", ())]
            read = step.get("read", step["value"] if "reply" in step else None)
            blocks += [_pre(f"read as: {read}")] if read is not None else []
    blocks.append(_pre("\n".join(f"let {k} = {v}" for k, v in story["lets"].items())))
    counts = [
        (part["measure"], ", ".join(f"{k} {v}" for k, v in part["group"].items()),
         f"dropped: {part['dropped']}" if part["dropped"] else part["value"])
        for part in story["counted"]
    ]  # fmt: skip
    return "".join(blocks) + (_table(Table(("measure", "group", "counts as"), counts)) if counts else "")


def _pre(text: str) -> str:
    return f'<pre style="{PRE}">{escape(mask(text))}</pre>' if text else ""


def _colored(text: str) -> str:
    def paint(part: str, role: str) -> str:
        return f'<span style="{COLORS[role]}">{escape(part)}</span>' if role and part.strip() else escape(part)

    return painted(mask(text), paint)


def _box(content: str) -> str:
    return f'<div style="color:inherit;text-align:left">{as_text(content)}</div>'
