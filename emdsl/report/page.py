"""One self-contained page: no network, and no script but its own. The door to Jinja."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import UsageError

try:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise UsageError(f"reports need the package {error.name}: pip install 'emdsl[report]'") from None

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A chart as SVG, with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table with its charts; columns in `numeric` are right-aligned, a `mark` is beside the name."""

    name: str
    mark: str = ""
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    numeric: frozenset[str] = frozenset()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of a report; `programs` are highlighted HTML, `transcripts` are packed."""

    title: str
    made: str
    simulated: bool
    notices: Sequence[str]
    programs: Sequence[tuple[str, str]]
    plan: str
    measures: Sequence[Sheet]
    scores: Sequence[Picture]
    dropped: Sequence[Picture]
    costs: Sheet
    transcripts: str


def html(page: Page) -> str:
    """Render the page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    css, script = Markup(_text("page.css")), Markup(_text("page.js"))  # noqa: S704 - our own files
    template = environment.from_string(_text("page.html"))
    return template.render(page=page, css=css, script=script, raw=Markup)


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
