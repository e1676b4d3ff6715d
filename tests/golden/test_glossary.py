"""Every word of the language and of its results has an entry, and each example of the glossary compiles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from corpus import found_in, whole

from emdsl.compiler import settings
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import INTERVAL_METHODS, MEASURES, RESULT_COLUMNS, VIA
from emdsl.compiler.reference import REASONS
from emdsl.compiler.types import ANSWER_FIELDS
from emdsl.experiment import CORRECTED_COLUMNS
from emdsl.lang.explain import entry, pages, suggestion, words
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS
from emdsl.outcomes.measure_views import TOO_FEW
from emdsl.reply_format import MASSES
from emdsl.value import ENGINE_REASONS

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {
    name
    for table in (
        settings.MODEL, settings.DATASET, settings.RUBRIC, settings.EXPERIMENT, settings.ASK, settings.JUDGE,
        settings.ANNOTATION,
    )
    for name in table
}  # fmt: skip
NEED_AN_EXAMPLE = {
    *VIA, *BUILTINS, *MEASURES, *INTERVAL_METHODS, *DECLARATIONS, *STATEMENTS, *SETTINGS,
}  # fmt: skip
WORDS = {
    *NEED_AN_EXAMPLE, *settings.SHAPE_WORDS, *RESERVED, *ROLES, *ENGINE_REASONS, *REASONS, *RESULT_COLUMNS,
    *ANSWER_FIELDS, *MASSES, TOO_FEW, *CORRECTED_COLUMNS,
}  # fmt: skip
EXAMPLES = [
    (heading, example)
    for heading, section in {section.split("\n", 1)[0]: section for section in words().values()}.items()
    for example in re.findall(r"^```em\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_has_an_entry(word: str) -> None:
    """A new function, setting, reason or column fails here until the glossary explains it."""
    assert entry(word)


@pytest.mark.parametrize("word", sorted(NEED_AN_EXAMPLE))
def test_the_words_of_the_language_have_an_example(word: str) -> None:
    """And name what can go wrong, by code."""
    text = entry(word) or ""
    assert "```em\n" in text
    assert re.search(r"\b[EW]\d{3}\b", text)


@pytest.mark.parametrize(("heading", "example"), EXAMPLES, ids=[h for h, _ in EXAMPLES])
def test_an_example_compiles(heading: str, example: str, tmp_path: Path) -> None:
    """Without an error, and without a warning."""
    shown = found_in(whole(example), tmp_path)
    assert not shown, "\n\n".join(d.render() for d in shown) + "\n\n" + whole(example)


def test_entries_are_in_order_and_name_codes_that_exist() -> None:
    """Alphabetical, each word once."""
    headings = list(dict.fromkeys(section.split("\n", 1)[0] for section in words().values()))
    assert headings == sorted(headings, key=lambda h: h.split(",")[0].lower().replace("_", " "))
    listed = [word for heading in headings for word in heading.split(", ")]
    assert len(listed) == len(set(listed)) == len(words())
    assert {code for section in words().values() for code in re.findall(r"\b[EW]\d{3}\b", section)} <= set(pages())


def test_words_are_found_however_they_are_written() -> None:
    """Case, hyphens and spaces do not matter; a near miss is suggested; codes too."""
    assert entry("Clopper-Pearson") == entry("clopper_pearson") == entry("CLOPPER")
    assert entry("nonsense") is None
    assert suggestion("wilsen") == "did you mean `wilson`?"
    assert suggestion("e999") == "" or suggestion("e999").startswith("did you mean `E")
    assert suggestion("qqqqqq") == ""
