"""The reference and the editors' grammars follow the grammar, the compiler's tables and the glossary."""

from __future__ import annotations

import json
import re

import pytest
from pygments.token import Error, Keyword, Token
from support import ROOT

from emdsl.compiler import settings
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import INTERVAL_METHODS, MEASURES
from emdsl.compiler.reference import files, reference
from emdsl.highlight import STARTING, EmLexer, textmate
from emdsl.lang.explain import entry, words
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS

EXAMPLE = re.compile(r"^```em\n.*?^```", re.DOTALL | re.MULTILINE)
PROGRAMS = [*(ROOT / "experiments").glob("*.em"), *(ROOT / "emdsl" / "std").glob("*.em")]


@pytest.mark.parametrize("name", files())
def test_what_is_made_is_up_to_date(name: str) -> None:
    """`make reference` would change nothing."""
    assert (ROOT / "grammar" / name).read_text(encoding="utf-8") == files()[name]


def test_each_word_of_the_language_has_its_text_and_example() -> None:
    """Text, example and codes are those of the glossary, whose examples are compiled in `golden/test_glossary.py`."""
    text = reference()
    described = {
        *DECLARATIONS, *STATEMENTS, *BUILTINS, *MEASURES, *INTERVAL_METHODS, *settings.MODEL,
        *settings.DATASET, *settings.RUBRIC, *settings.EXPERIMENT, *settings.ASK, *settings.JUDGE,
    }  # fmt: skip
    for word in described:
        assert re.search(rf"^####? {word}$", text, re.MULTILINE), word
        assert (entry(word) or "").partition("\n\n")[2] in text
    assert set(EXAMPLE.findall(text)) <= {x for section in words().values() for x in EXAMPLE.findall(section)}


def test_the_words_are_those_of_the_design() -> None:
    """Read off the grammar: declarations, statements, roles and what is reserved."""
    assert DECLARATIONS == ("import", "model", "dataset", "prompt", "rubric", "let", "python", "experiment")
    assert STATEMENTS == ("for", "grid", "skip", "set", "let", "ask", "judge", "annotate", "when", "measure")
    assert ROLES == ("system", "user", "assistant", "tool")
    reserved = "and or not in is if then else for from with by given when true false none env"
    assert reserved.split() == sorted(RESERVED, key=reserved.split().index)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_programs_are_coloured(path: object) -> None:
    """No token of a good program is an error, none is lost, and statements stand out."""
    text = (ROOT / str(path)).read_text(encoding="utf-8")
    tokens = list(EmLexer().get_tokens(text))
    assert "".join(value for _, value in tokens) == text
    assert not [value for kind, value in tokens if kind in Error or kind is Token]
    declared = [value for kind, value in tokens if kind is Keyword.Declaration]
    assert declared.count("experiment") == len(re.findall(r"^experiment ", text, re.MULTILINE))


def test_names_are_no_keywords() -> None:
    """`for model in` names an axis: only what starts a statement is a word of it."""
    tokens = list(EmLexer().get_tokens("experiment e {\n  for model in [a]\n  ask data from model with user\n}\n"))
    assert [v for k, v in tokens if k is Keyword.Declaration] == ["experiment", "for", "ask"]
    tokens = list(EmLexer().get_tokens("let over = f(over) over q\nlet b = over\n"))
    assert [v for k, v in tokens if k is Keyword] == ["over"]


def test_the_textmate_grammar_holds_every_word() -> None:
    """Its patterns compile, and name every statement."""
    found = json.loads(textmate())
    patterns = [p["match"] for p in found["patterns"] if "match" in p]
    assert all(re.compile(p) for p in patterns)
    assert all(any(re.search(rf"\b{word}\b", p) for p in patterns) for word in STARTING)
