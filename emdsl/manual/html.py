"""The manual as one page of HTML that needs no network: the browser's own search finds everything in it."""

from __future__ import annotations

import html
import posixpath
import re
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTED, _NOTE = re.compile(r"^\[\^([\w-]+)\]: ", re.MULTILINE), re.compile(r"\[\^([\w-]+)\]")  # footnotes
_ENTRY = re.compile(r"^## (.+)$|^- \[([^\]]+)\]\(([^)#]+\.md)\)", re.MULTILINE)  # of the table of contents
_TITLED = re.compile(r'^```(\w+) title="([^"]+)"', re.MULTILINE)
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: grid; gap: 2rem }
body { grid-template-columns: 16rem minmax(0, 52rem) }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; box-sizing: border-box; font-size: 14px }
nav a { display: block; padding: .1rem 0; text-decoration: none }
nav strong { display: block; margin-top: .8rem }
main { padding: 1rem }
h1 { font-size: 1.8rem } h2 { font-size: 1.35rem } h3 { font-size: 1.1rem }
section { border-bottom: 1px solid #8888; padding-bottom: 2rem }
blockquote { border-left: 3px solid #8888; margin: 1rem 0; padding-left: 1rem }
code { background: #8881; padding: 0 .2em }
pre, code { font: 13px/1.45 ui-monospace, monospace }
pre { background: #8881; padding: .7rem; overflow: auto }
pre code { background: none; padding: 0 }
table { border-collapse: collapse; display: block; overflow: auto; font-size: 14px }
td, th { border: 1px solid #8886; padding: .2rem .5rem; text-align: left; vertical-align: top }
@media (max-width: 50rem) {
  body { display: block }
  nav { position: static; height: auto; columns: 2 }
  nav strong { break-after: avoid }
}
"""


def one_page(pages: Mapping[str, str], version: str) -> str:
    """Return all pages as sections of one HTML page, the table of contents first; links lead within it."""
    parser = MarkdownIt("commonmark").enable("table")
    sections = "".join(
        f'<section id="{_name(path)}">{_anchored(parser.render(_prepared(text)), path)}</section>'
        for path, text in pages.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>emdsl {version}</title><style>{_STYLE}</style><nav>{_navigation(pages)}</nav>"
        f"<main>{sections}</main></html>\n"
    )


def _navigation(pages: Mapping[str, str]) -> str:
    start, text = next(iter(pages.items()))
    return f'<a href="#{_name(start)}">Start</a>' + "".join(
        f"<strong>{html.escape(group)}</strong>" if group else f'<a href="#{_name(path)}">{html.escape(title)}</a>'
        for group, title, path in _ENTRY.findall(text)
    )


def _prepared(text: str) -> str:
    """Return a page with the titles of its blocks before them, and its footnotes as a numbered list at its end."""
    numbers = {name: n for n, name in enumerate(_NOTED.findall(text), start=1)}
    text = _TITLED.sub(r"<p><strong>\2</strong></p>\n\n```\1", text)
    text = _NOTED.sub(lambda m: f'{numbers[m[1]]}. <span id="note-{numbers[m[1]]}"></span>', text)
    return _NOTE.sub(lambda m: _reference(numbers[m[1]]) if m[1] in numbers else m[0], text)


def _reference(n: int) -> str:
    return f'<sup><a href="#note-{n}">{n}</a></sup>'


def _name(path: str) -> str:
    return path.removesuffix(".md").replace("/", "-")


def slug(heading: str) -> str:
    """Return the anchor of a heading, as the built site and code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _anchored(rendered: str, path: str) -> str:
    """Return HTML whose headings have ids, and whose links to other pages lead to their sections."""

    def heading(match: re.Match[str]) -> str:
        text = html.unescape(re.sub(r"<[^>]+>", "", match[2]))
        return f'<h{match[1]} id="{_name(path)}--{slug(text)}">{match[2]}</h{match[1]}>'

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
        return f'href="#{_name(page)}{f"--{anchor}" if anchor else ""}"'

    rendered = re.sub(r"<h([2-6])>(.*?)</h\1>", heading, rendered, flags=re.DOTALL)
    rendered = re.sub(r'<span id="(note-\d+)">', rf'<span id="{_name(path)}--\1">', rendered)
    return re.sub(r'href="((?!https?:)[^"]*)"', link, rendered)
