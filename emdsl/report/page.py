"""One self-contained page: the viewer's application with its data. No network, and no script but its own."""

from __future__ import annotations

import json
import re
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.digest import integrity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATIC = Path(__file__).parents[1] / "view" / "static"
ENTRY = "report.js"
_START = Path(__file__).with_name("start.js")
_POLICY = (
    "default-src 'none'; script-src '{start}' blob:; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
_MODULE = re.compile(r'"/static/([\w./-]+\.js)"')
_STYLE = re.compile(r'<link rel="stylesheet" href="/static/([\w./-]+\.css)">')
_SCRIPTS = re.compile(r'<link rel="modulepreload"[^>]*>\n|<script type="module"[^>]*></script>\n')


def html(title: str, first: str, columns: str, texts: Sequence[str]) -> str:
    """Return the page: `index.html` of the viewer with its styles and modules, and encoded data.

    `first` holds the answers that the first screen needs. The page is drawn before the rest is read.
    """
    start = _START.read_text(encoding="utf-8")
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    page = re.sub(r"<title>.*?</title>", lambda _: f"<title>{escape(title)}</title>", page)
    page = _STYLE.sub(
        lambda m: f"<style>\n{(STATIC / m[1]).read_text(encoding='utf-8')}</style>", _SCRIPTS.sub("", page)
    )
    policy = _POLICY.format(start=integrity(start))
    page = page.replace("<head>\n", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n', 1)
    inlined = json.dumps(list(modules().items()), ensure_ascii=False).replace("<", "\\u003c")
    scripts = [
        f'<script type="application/json" id="modules">{inlined}</script>',
        _data("first", first),
        f"<script>{start}</script>",
        _data("columns", columns),
        *(_data(f"texts-{i}", block) for i, block in enumerate(texts)),
    ]
    return page.replace("</body>", "\n".join([*scripts, "</body>"]))


def _data(called: str, content: str) -> str:
    return f'<script type="application/octet-stream" id="{called}">{content}</script>'


def modules(folder: Path = STATIC, entry: str = ENTRY) -> Mapping[str, str]:
    """Return the modules that the page needs, each after those that it imports.

    Raises:
        ValueError: Modules import each other in a ring: a page in one file cannot have that.
        OSError: A module does not exist.
    """
    texts: dict[str, str] = {}
    graph: dict[str, list[str]] = {}
    pending = [entry]
    while pending:
        name = pending.pop()
        texts[name] = (folder / name).read_text(encoding="utf-8")
        graph[name] = _MODULE.findall(texts[name])
        pending += [n for n in graph[name] if n not in texts]
    try:
        return {name: texts[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        raise ValueError(f"modules of the page import each other: {' -> '.join(error.args[1])}") from None
