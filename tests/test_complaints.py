"""What users of other tools complain of, about grids and keys: each complaint is a test here."""

from __future__ import annotations

import pytest
from support import experiment, keys, program, run

from emdsl.errors import SourceError
from emdsl.store.store import MemoryStore

ASK = '\n  ask answer from "sim/subject" with "{a} {b}"\n}'


def cells(body: str) -> list[str]:
    found = experiment("experiment e {\n" + body + ASK)
    return sorted("".join(x.levels[i].shown for x, i in zip(found.axes, c, strict=True)) for c in found.cells())


def codes(text: str) -> set[str]:
    try:
        return {d.code for d in program(text).warnings}
    except SourceError as error:
        return {d.code for d in error.diagnostics}


def test_inspect_flow_20_a_grid_is_readable() -> None:
    """A sweep is one statement an axis, and says how many cells it makes."""
    found = experiment("experiment e {\n for a in [1, 2, 3]\n for b in [1, 2]\n skip when a == b" + ASK)
    assert (found.n_cells, found.n_skipped) == (4, 2)


def test_hydra_1258_zip() -> None:
    """Two lists side by side are one axis, not a product."""
    assert cells("for a, b in [(1, 2), (3, 4)]") == ["12", "34"]


def test_hydra_3082_an_axis_that_depends_on_another() -> None:
    """Which levels one axis has may depend on another."""
    assert cells("for a in [1, 2]\nfor b in if a == 1 then [0] else [5, 6]") == ["10", "25", "26"]


def test_wandb_1487_conditions() -> None:
    """Cells that make no sense are left out by a condition, and counted."""
    assert cells("for a in [1, 2]\nfor b in [1, 2]\nskip when a == 2 and b == 2") == ["11", "12", "21"]


def test_wandb_11445_duplicates() -> None:
    """A cell stands once, however many grids hold it; a level that stands twice is an error."""
    assert cells("grid { for a in [1, 2]\n for b in [1] }\ngrid { for a in [2]\n for b in [1, 2] }") == [
        "11",
        "21",
        "22",
    ]
    assert codes("experiment e {\n for a in [1, 1]\n for b in [1]" + ASK) == {"E405"}


def test_lm_eval_3930_braces_that_ruin_a_task() -> None:
    """A placeholder that would print itself is told."""
    text = 'prompt p(answer) { user "{{answer}} {answer}" }\nexperiment e { ask answer from "sim/subject" with p("x") }'
    assert codes(text) == {"W321"}
    assert codes('prompt p(q) { user "{qq}" }\nexperiment e { ask a from "sim/subject" with p("x") }') >= {"E310"}


MODEL = 'model m { use = "openai-api/lab/llama", SETTINGS }\nexperiment e { ask answer from m with "x" }'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('revision = "1"', 'revision = "2"'),
        ('url = "http://a:1/v1"', 'url = "http://b:1/v1"'),
        ('revision = "1", temperature = 0', 'revision = "1", temperature = 1'),
        ('revision = "1", seed = 0', 'revision = "1", seed = 1'),
        ('revision = "1", extra = { a: 1 }', 'revision = "1", extra = { a: 2 }'),
        ('revision = "1", stop = ["ab", "c"]', 'revision = "1", stop = ["a", "bc"]'),
        ('revision = "1", stop = ["1"]', 'revision = "1", extra = { stop: "1" }'),
    ],
)
def test_lm_eval_4063_3881_what_changes_an_answer_is_in_the_key(one: str, other: str) -> None:
    """The model, its server, every parameter and the seed; fields never run into each other."""
    assert not set(keys(MODEL.replace("SETTINGS", one))) & set(keys(MODEL.replace("SETTINGS", other)))


def test_inspect_ai_1478_what_is_not_sent_is_not_in_the_key() -> None:
    """A price, a context length, a timeout, a budget or a key's variable ask nothing anew."""
    bare = keys(MODEL.replace("SETTINGS", 'revision = "1", max_tokens = 5'))
    more = 'revision = "1", max_tokens = 5, price = { input: $1, output: $2 }, context = 4096, timeout = 9, key = env.X'
    text = MODEL.replace("SETTINGS", more).replace(
        "experiment e {", "experiment other {\n budget = $5\n parallel = 3\n"
    )
    assert keys(text) == bare


def test_edsl_2583_two_questions_that_look_alike_stay_two() -> None:
    """One invisible character makes another question; it is kept apart, and told."""
    text = 'experiment e {\n for q in ["what?", "what?\u200b"]\n ask answer from "sim/subject" with q\n}'
    assert codes(text) == {"W322"}
    provider, _ = run(text)
    assert provider.n == 2


def test_inspect_flow_511_more_samples_ask_the_new_ones() -> None:
    """n 10 -> 30 sends exactly 20 a cell."""
    text = 'experiment e {\n for q in ["a", "b"]\n samples = N\n ask answer from "sim/subject" with q\n}'
    store = MemoryStore()
    first, _ = run(text.replace("N", "10"), store)
    more, _ = run(text.replace("N", "30"), store)
    assert (first.n, more.n) == (20, 40)
