"""The manual is true: commands print what its pages show, programs run, links lead somewhere."""

from __future__ import annotations

import posixpath
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from pages import FENCE, blocks, check_page
from support import ROOT, emdsl

from emdsl.cli.docs import help_texts
from emdsl.cli.main import VERBS
from emdsl.compiler.reference import reference
from emdsl.lang.explain import pages as diagnostics
from emdsl.manual.html import one_page, slug
from emdsl.manual.pages import INDEX, manual

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
WRITTEN = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
PAGES = manual(help_texts())
OTHERS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "ARCHITECTURE", "CHANGELOG")]
MARKDOWN = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in OTHERS}
MARKDOWN |= {
    p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in ROOT.glob("experiments/**/README.md")
}
MARKDOWN |= {f"docs/{path}": text for path, text in PAGES.items()}
CODE = re.compile(r"`[^`\n]+`")


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_and_programs_run(page: str, tmp_path: Path) -> None:
    """From top to bottom, in a folder with the checkout's experiments."""
    check_page(DOCS / page, tmp_path)


def test_the_table_of_contents_has_every_page() -> None:
    """Once, in `docs/index.md`; the site's navigation is the same."""
    assert set(WRITTEN) <= set(PAGES)
    site: Any = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    groups = [value for entry in site["project"]["nav"] for value in entry.values()]
    assert groups[0] == INDEX
    assert [path for group in groups[1:] for entry in group for path in entry.values()] == list(PAGES)[1:]


def test_references_are_made_from_the_code() -> None:
    """Every verb, diagnostic and method has its place; a page in the folder of the same name would hide it."""
    assert PAGES["reference/language.md"] == reference()
    assert all(f"\n## emdsl {verb}\n" in PAGES["reference/cli.md"] for verb in VERBS)
    assert all(f"\n## {code} " in PAGES["reference/diagnostics.md"] for code in diagnostics())
    assert "\n## study.plan\n" in PAGES["reference/python.md"]
    assert "| `gpt-4*` `gpt-3.5*`" in PAGES["reference/providers.md"]


def test_every_verb_is_shown_at_work() -> None:
    """In a block of commands, of the README or of a page."""
    shown = "".join(
        block.body
        for text in (MARKDOWN["README.md"], *(PAGES[p] for p in WRITTEN))
        for block in blocks(text)
        if block.language in ("console", "sh")
    )
    in_the_text = {"explain", "docs", "sim"}
    assert not [v for v in VERBS if f"emdsl {v} " not in shown and v not in in_the_text]


@pytest.mark.parametrize("path", sorted(MARKDOWN))
def test_links_lead_somewhere(path: str) -> None:
    """To a file of the checkout, and to a heading that is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", FENCE.sub("", MARKDOWN[path]))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        to = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        assert to in MARKDOWN or (ROOT / to).exists(), target
        headings = re.findall(r"^#+ (.*)$", FENCE.sub("", MARKDOWN[to]), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(slug, headings), target


@pytest.mark.parametrize("folder", ["", *sorted(p.parent.name for p in (ROOT / "emdsl").glob("*/__init__.py"))])
def test_the_map_of_the_code_has_every_file(folder: str) -> None:
    """In the section of its folder in ARCHITECTURE.md."""
    heading = f"### `{folder}/`" if folder else "### The root"
    section = MARKDOWN["ARCHITECTURE.md"].partition(f"\n{heading}\n")[2].partition("\n##")[0]
    files = {p.stem for p in (ROOT / "emdsl" / folder).glob("*.py")} - {"__init__"}
    assert files <= set(re.findall(r"`(\w+)`", section))


def test_the_offline_manual_is_whole() -> None:
    """One page of HTML: every link within it leads somewhere, and it loads nothing."""
    page = one_page(PAGES, "1.0")
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert not re.findall(r"<script|<link|<img|url\(", page)


def test_docs_writes_the_pages(tmp_path: Path) -> None:
    """As Markdown, with `llms.txt` for language models: the table of contents, and all of it as one text."""
    emdsl("docs", "-o", "pages", cwd=tmp_path)
    written = {p.relative_to(tmp_path / "pages").as_posix() for p in (tmp_path / "pages").rglob("*.*")}
    pages = manual(help_texts())  # as they are now: with UPDATE_GOLDEN the tests above have rewritten them
    assert written == {*pages, "llms.txt", "llms-full.txt"}
    assert (tmp_path / "pages/llms.txt").read_text(encoding="utf-8") == pages[INDEX]
    full = (tmp_path / "pages/llms-full.txt").read_text(encoding="utf-8")
    assert all(text in full for text in pages.values())
