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
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: grid; gap: 2rem }
body { grid-template-columns: 16rem minmax(0, 52rem) }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; box-sizing: border-box }
nav a { display: block }
main { padding: 1rem }
section { border-bottom: 1px solid #8888; padding-bottom: 2rem }
pre, code { font: 13px/1.45 ui-monospace, monospace }
pre { background: #8881; padding: .7rem; overflow: auto }
table { border-collapse: collapse; display: block; overflow: auto }
td, th { border: 1px solid #8886; padding: .2rem .5rem; text-align: left; vertical-align: top }
img { max-width: 100% }
@media (max-width: 50rem) { body { display: block } nav { position: static; height: auto } }
"""


def one_page(pages: Mapping[str, str], version: str) -> str:
    """Return all pages as sections of one HTML page; links between pages lead within it."""
    parser = MarkdownIt("commonmark").enable("table")
    texts = {path: _NOTE.sub(r"<sup>\1</sup>", _NOTED.sub(r"- **\1**: ", text)) for path, text in pages.items()}
    links = "".join(f'<a href="#{_name(path)}">{html.escape(_title(text))}</a>' for path, text in pages.items())
    sections = "".join(
        f'<section id="{_name(path)}">{_anchored(parser.render(text), path)}</section>' for path, text in texts.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>emdsl {version}</title><style>{_STYLE}</style><nav>{links}</nav><main>{sections}</main></html>\n"
    )


def _name(path: str) -> str:
    return path.removesuffix(".md").replace("/", "-")


def _title(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("# ").replace("`", "")


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
    return re.sub(r'href="((?!https?:)[^"]*)"', link, rendered)
