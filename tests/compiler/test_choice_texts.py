"""The texts of a rubric's `choices` read its parameters; its labels are those of every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import experiment, keys, program

from emdsl.run.rows import Rows

if TYPE_CHECKING:
    from emdsl.experiment import Experiment

RUBRIC = """
let scale_end = 7
let loud(text) = "{{text}}!"
rubric shows(trait, level, answer) from "sim/judge" {{
  choices = {}
  user "{{trait}} {{level}} {{answer}}: {{choices}}"
}}
experiment e {{
  for trait in ["evil", "kind"]
  judge v with shows(trait, 3, "x")
}}
"""
SHOWN = [  # `choices`, and what its text is for the first trait
    ('{ YES: "is {trait}", NO: "is not" }', "YES: is evil\nNO: is not"),
    ('{ YES: "{level} of {scale_end} {trait}", NO: "" }', "YES: 3 of 7 evil\nNO"),
    ('{ YES: loud(trait), NO: if level > 2 then "low" else trait }', "YES: evil!\nNO: low"),
    ('{ YES: "is {scale_end}", NO: "is not" }', "YES: is 7\nNO: is not"),
    ('["YES", "NO"]', "YES\nNO"),
]


def prompts(e: Experiment) -> list[str]:
    walk = Rows(e)
    return [q.prompt.messages[0].text for row in walk.selected() for _, q in walk.advance(row)]


@pytest.mark.parametrize(("choices", "wanted"), SHOWN)
def test_a_text_has_the_values_of_the_call(choices: str, wanted: str) -> None:
    """And the labels are the same in all calls, so that a measure can test them."""
    e = experiment(RUBRIC.format(choices))
    assert prompts(e) == [f"evil 3 x: {wanted}", f"kind 3 x: {wanted.replace('evil', 'kind')}"]
    assert e.steps[0].labels == ("YES", "NO")


def test_a_text_is_sent_as_if_it_were_in_the_message() -> None:
    """The key is that of the rendered prompt: the way it is written does not count."""
    by_choices = RUBRIC.format('{ YES: "is {trait}", NO: "is not" }')
    by_hand = RUBRIC.format('["YES", "NO"]').replace(": {choices}", ": YES: is {trait}\\nNO: is not")
    assert keys(by_choices) == keys(by_hand)


def test_a_name_of_the_file_goes_first() -> None:
    """As before parameters could be read: such a rubric keeps its keys, with the warning W325."""
    text = RUBRIC.format('{ YES: "is {trait}", NO: "is not" }').replace("shows(trait, 3", "shows(t, 3")
    text = text.replace("for trait", "for t").replace("let scale_end", 'let trait = "odd"\nlet scale_end')
    assert prompts(experiment(text))[0] == "evil 3 x: YES: is odd\nNO: is not"
    assert [d.code for d in program(text).warnings] == ["W325"]
    both = text.replace('"is {trait}"', '"{level} is {trait}"')
    assert prompts(experiment(both))[0] == "evil 3 x: YES: 3 is odd\nNO: is not"
