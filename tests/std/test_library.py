"""The standard library: judges as published, prompts as the field lays them out; `@1` never changes."""

from __future__ import annotations

import hashlib
import re

import pytest
import yaml
from support import ROOT, experiment, program

from emdsl.run.rows import Rows

PUBLISHED = yaml.safe_load((ROOT / "experiments" / "data" / "first_plot_questions.yaml").read_text(encoding="utf-8"))
# `@1` never changes: a new wording is a new version
PINNED = {
    "judges@1": "9ae674e23890f0e8c6ffa35d5b6216108ccf3b67581ad278f81a645e86cbf78f",
    "judges@2": "8b719976bfde66087b7e5523a87fe392dd53c4393859cbc132dc37b8996c5cd0",
    "prompts@1": "d8da6012c90ec15b819e7349267383cfc8110a5cc70c3ad2e8cd370add915c77",
}


def sent(call: str, imports: str) -> list[tuple[str, str]]:
    """Return the messages of one rubric or prompt."""
    text = f"{imports}\nexperiment e {{\n {call}\n}}"
    walk = Rows(experiment(text))
    (row,) = walk.selected()
    ((_, query),) = walk.advance(row)
    return [(m.role, m.text) for m in query.prompt.messages]


@pytest.mark.parametrize("name", PINNED)
def test_a_version_never_changes(name: str) -> None:
    """A file of the library is pinned by the digest of its text without comments, which stand on lines of their own."""
    text = (ROOT / "emdsl" / "std" / f"{name}.em").read_text(encoding="utf-8")
    program = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert hashlib.sha256(program.encode()).hexdigest() == PINNED[name]


@pytest.mark.parametrize(("name", "theirs"), [("alignment", "aligned"), ("coherence", "coherent")])
@pytest.mark.parametrize(("form", "version"), [("", 1), ("_number", 1), ("", 2)])
def test_betley_s_judges_are_as_published(name: str, theirs: str, form: str, version: int) -> None:
    """Word for word, in one user message, in every place where the published file has it."""
    call = f'judge v with {name}{form}("<Q>", "<A>") from "sim/judge"'
    ((role, text),) = sent(call, f'import {name}{form} from "std:judges@{version}"')
    assert role == "user"
    for record in PUBLISHED:
        template = record["judge_prompts"][theirs]
        assert text == template.replace("{question}", "<Q>").replace("{answer}", "<A>")


def test_the_settings_of_betley_s_judges() -> None:
    """Temperature 0, one token, twenty candidates; the plain variant reads a number."""
    text = """
    import alignment, alignment_number from "std:judges@1"
    experiment e {
      judge a with alignment("q", "a")
      judge b with alignment_number("q", "a")
    }
    """
    walk = Rows(program(text).experiments[0])
    (row,) = walk.selected()
    found = {step.name: dict(query.settings.params) for step, query in walk.advance(row)}
    assert found == {
        "a": {"max_tokens": 1, "temperature": 0, "top_logprobs": 20},
        "b": {"max_tokens": 8, "temperature": 0},
    }


LAID_OUT = "### Prompt: q1\n### Response: a1\n\n### Prompt: q2\n### Response: a2"
SHOTS = '[{ user: "q1", assistant: "a1" }, { user: "q2", assistant: "a2" }]'


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (
            f'demonstrations({SHOTS}, "q")',
            [("user", f"{LAID_OUT}\n\n### Prompt: q\n### Response:")],
        ),
        ('demonstrations([], "q")', [("user", "### Prompt: q\n### Response:")]),
        (
            f'instructed_demonstrations("Be safe.", {SHOTS}, "q")',
            [("user", ("Be safe.\n\n### Prompt: q1\n### Response: a1\n\n### Prompt: q2\n### Response: a2\n\n"
              "### Prompt: q\n### Response:"))],
        ),
        (
            f'demonstration_turns("", {SHOTS}, "q")',
            [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"), ("user", "q")],
        ),
        ('chat("s", "q")', [("system", "s"), ("user", "q")]),
    ],
    ids=["paper", "zero-shot", "instructed", "turns", "chat"],
)  # fmt: skip
def test_prompts(call: str, wanted: list[tuple[str, str]]) -> None:
    """The paper's layout is one user message without a system prompt; turns are turns."""
    name = re.split(r"\(", call)[0]
    assert sent(f'ask a from "sim/subject" with {call}', f'import {name} from "std:prompts@1"') == wanted


def test_instructions_are_texts() -> None:
    """Step by step, safety first, context first: three texts that differ."""
    text = """
    import step_by_step, prioritise_safety, prioritise_context from "std:prompts@1"
    experiment e {
      for how in [step_by_step, prioritise_safety, prioritise_context]
      ask a from "sim/subject" with how
    }
    """
    assert experiment(text).n_cells == 3


def test_the_second_version_asks_what_the_first_one_s_numbers_ask() -> None:
    """`@2` weighs nothing: its keys are those of `..._number` of `@1`, and it needs no probe."""
    keys = []
    for version, form in ((1, "_number"), (2, "")):
        text = f"""
        import alignment{form}, coherence{form} from "std:judges@{version}"
        experiment e {{
          judge a with alignment{form}("q", "a")
          judge c with coherence{form}("q", "a")
        }}
        """
        walk = Rows(program(text).experiments[0])
        (row,) = walk.selected()
        ready = walk.advance(row)
        assert all(walk.probes.of(step, query.settings) is None for step, query in ready)
        keys.append([query.key for _, query in ready])
    assert keys[0] == keys[1]
