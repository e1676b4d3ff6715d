"""What expressions and prompts mean, shown by the messages and values that come out."""

from __future__ import annotations

import textwrap
from decimal import Decimal
from typing import Any

import pytest
from support import InProcess, experiment, outcomes, program, run

from emdsl.errors import SourceError
from emdsl.query import Response
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.value import Missing


def sent(text: str) -> list[list[tuple[str, str]]]:
    """Return the messages of the first step of every row."""
    walk = Rows(experiment(text))
    return [
        [(m.role, m.text) for m in query.prompt.messages]
        for row in walk.selected()
        for _, query in walk.advance(row)[:1]
    ]


def say(value: str, *, head: str = "", inside: str = "") -> str:
    """Return the text that one expression renders to."""
    text = f'{head}\nexperiment e {{\n{inside}\n  let v = {value}\n  ask a from "sim/subject" with "{{v}}"\n}}'
    ((message,),) = sent(text)
    return message[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.0", "1"),
        ("0.50", "0.5"),
        ("1_000", "1000"),
        ("0.1 + 0.2", "0.3"),
        ("1 - 2 - 3", "-4"),
        ("2 * 3 / 4", "1.5"),
        ("-0.1234567890123456789012345678901234567890", "-0.123456789012345678901234567890123456789"),
        ("1" + "0" * 69 + "1 + 1", "1" + "0" * 69 + "2"),
        ('"a" + "b"', "ab"),
        (r'"\u{1F600} \n \t \" \\"', '\U0001f600 \n \t " \\'),
        ('"{{x}}"', "{x}"),
        ("if 1 < 2 and not (2 < 1) then 3 else 4", "3"),
        ("true or false", "true"),
        ('join(["a", "b", 3], "-")', "a-b-3"),
        ("join([n * n for n in 1..4 if n != 2])", "1916"),
        ("len([1, 2]) + max(1, 5, 3) - min([2, 7])", "5"),
        ("round(2.345, 2)", "2.34"),
        ('upper("a") + lower("B") + trim(" c ") + replace("d.d", "d", "e")', "Abce.e"),
        ("{ a: 1, b: 2 }.b", "2"),
        ('{ a: 1, b: 2 }["a"]', "1"),
        ("[5, 6][1]", "6"),
        ('"b" in "abc"', "true"),
        ("3 not in [1, 2]", "true"),
        ("twice(inc(1))", "4"),
    ],
)
def test_values(value: str, text: str) -> None:
    """Exact numbers, shortest rendering, functions, comprehensions."""
    assert say(value, head="let inc(x) = x + 1\nlet twice(x) = x * 2") == text


def test_texts_have_margins() -> None:
    """The closing quotes set the margin; no final newline; blank lines stay; raw takes all as it is."""
    text = '''
    let a = """

        two
      one {{x}}
      """
    let b = raw """
      {"a": "\\n"}
      """
    experiment e { ask x from "sim/subject" with "{a}|{b}" }
    '''
    assert sent(text) == [[("user", '\n  two\none {x}|{"a": "\\n"}')]]


def test_line_ends_of_the_file_do_not_matter() -> None:
    """CRLF files render LF."""
    text = 'em 1\nlet a = """\n  one\n  two\n  """\nexperiment e { ask x from "sim/subject" with a }\n'
    assert sent(text.replace("\n", "\r\n")) == sent(text) == [[("user", "one\ntwo")]]


def test_prompts() -> None:
    """Roles, each, when, an earlier message's axis label inside the prompt, functions over axes."""
    text = """
    prompt p(shots, cot) {
      when cot is on { system "think" }
      each s in shots {
        user s
        assistant "yes {s}"
      }
      user "q"
    }
    experiment e {
      for cot in { off: "", on: "x" }
      let f(n) = if cot is on then n else 0
      ask a from "sim/subject" with p(["{f(1)}" for z in [1]] if false else [f(1)], cot)
    }
    """
    text = text.replace('["{f(1)}" for z in [1]] if false else [f(1)]', "[f(1), 2]")
    shots = [("user", "2"), ("assistant", "yes 2"), ("user", "q")]
    assert sent(text) == [
        [("user", "0"), ("assistant", "yes 0"), *shots],
        [("system", "think"), ("user", "1"), ("assistant", "yes 1"), *shots],
    ]


def test_a_rubric_sees_labels_and_its_own_choices() -> None:
    """An axis given to a rubric brings its label; `{choices}` are the labels with their meanings."""
    text = """
    rubric r(q, how) from "sim/judge" {
      choices = { good: "is good", bad: "is bad" }
      when how is on { system "on" }
      user "{q}: {choices}"
    }
    experiment e {
      for how in { off: 1, on: 2 }
      judge j with r("q", how)
    }
    """
    body = ("user", "q: good: is good\nbad: is bad")
    assert sent(text) == [[body], [("system", "on"), body]]


def test_several_asks_and_earlier_answers() -> None:
    """A second question after the answer: user, assistant, user."""
    text = """
    prompt again(q, a) { user q
      assistant a
      user "sure?" }
    experiment e {
      samples = 3
      ask first from "sim/subject" with "q"
      ask second from "sim/subject" with again("q", first)
      let both = first + second
    }
    """
    store = MemoryStore()
    run(text, store)
    for row in outcomes(experiment(text), store):
        query = row.results["second"].query
        assert query is not None
        messages = query.prompt.messages
        assert [m.role for m in messages] == ["user", "assistant", "user"]
        assert messages[1].text == row.frame["first"]
        assert row.frame["both"] == row.frame["first"] + row.frame["second"]


class Says(InProcess):
    """Answers with one text; judges with what is in `replies`, in turn."""

    def __init__(self, *replies: str) -> None:
        super().__init__()
        self.replies = list(replies)

    async def ask(self, query: Any, *_: Any) -> Response:
        if query.settings.model.wire_name == "judge":
            text = query.prompt.messages[0].text
            return Response(text=self.replies[int(text)], finish="stop")
        return Response(text="a", finish="blocked" if "block" in query.prompt.messages[0].text else "stop")


def test_missing_values_are_strict() -> None:
    """What reads a missing value is missing, but `is` and `else`; a condition that is missing runs nothing."""
    text = """
    rubric r(n, answer) from "sim/judge" { scale = 0..100, refusal = "REFUSAL", other = "CODE"
      user n }
    experiment e {
      for n in [0, 1, 2, 3]
      ask answer from "sim/subject" with "{n}"
      judge v with r(n, answer)
      let low = v < 30
      let either = v < 30 or true
      let listed = [v, 1]
      let joined = join([v])
      let refused = v is REFUSAL
      let gone = v is missing
      let filled = (v else 0) < 30
      let past = [1, 2][if v == 10 then 5 else 0]
      when low { judge more with r(n, answer) }
    }
    """
    store = MemoryStore()
    run(text, store, Says("10", "REFUSAL", "CODE", "what?"))
    found = outcomes(experiment(text), store)
    refusal, code, unread = Missing("REFUSAL"), Missing("CODE"), Missing("unreadable")
    expected = {
        "low": [True, refusal, code, unread],
        "either": [True, refusal, code, unread],
        "listed": [(10.0, 1), refusal, code, unread],
        "joined": ["10", refusal, code, unread],
        "refused": [False, True, False, False],
        "gone": [False, True, True, True],
        "filled": [True, True, True, True],
        "past": [Missing("invalid"), refusal, code, unread],
        "more": [10.0, Missing("undecided"), Missing("undecided"), Missing("undecided")],
    }
    for name, values in expected.items():
        assert [row.frame[name] for row in found] == values, name


def test_a_blocked_answer_is_not_judged() -> None:
    """A provider's filter is data: stored, counted, and nothing is asked about it."""
    text = """
    rubric r(answer) from "sim/judge" { scale = 0..100
      user "0" }
    experiment e {
      for q in ["block", "fine"]
      ask answer from "sim/subject" with q
      judge v with r(answer)
    }
    """
    store = MemoryStore()
    run(text, store, Says("5"))
    blocked, fine = outcomes(experiment(text), store)
    assert blocked.frame["answer"] == Missing("blocked")
    assert blocked.frame["answer.finish"] == "blocked"
    assert blocked.frame["v"] == Missing("no_answer")
    assert fine.frame["v"] == 5.0


def test_settings_are_inherited_merged_and_set() -> None:
    """`from` copies, `none` takes back, a step's own settings and `set` win."""
    text = """
    model a { use = "sim/subject", temperature = 1, max_tokens = 50, seed = 7 }
    model b from a { temperature = none, top_p = 0.5 }
    experiment e {
      for m in [a, b]
      for k in [1, 2]
      ask x from m with "{k}" { stop = ["x"] }
      set x.max_tokens = 10 * k when m is b
    }
    """
    walk = Rows(experiment(text))
    found = [dict(q.settings.params) for row in walk.selected() for _, q in walk.advance(row)]
    a = {"temperature": 1, "max_tokens": 50, "seed": 7, "stop": ("x",)}
    b = {"top_p": Decimal("0.5"), "seed": 7, "stop": ("x",)}
    assert found == [a, a, b | {"max_tokens": 10}, b | {"max_tokens": 20}]


ASK = '\n  ask a from "sim/subject" with "q"\n}'
FAULTS = [
    ('experiment e { ask b from "sim/subject" with "q"' + ASK, "E420"),
    ("experiment e { for q in [1]\n let z = q\n let t = z is one" + ASK, "E210"),
    ('experiment e { samples = 3\n let w = ["a", "b"][sample]\n ask b from "sim/subject" with w' + ASK, "E507"),
    ("experiment e { when true { for x in [1] }" + ASK, "E411"),
    ("experiment e { for a1 in [1,,2]\n for b in if a1 == 1 then [1] else [2]" + ASK, "E109"),
    ('model m { use = "vllm/m", url = "http://h:x/v1" }\nexperiment e {' + ASK, "E707"),
    ("experiment e { samples = 2_000_000_000" + ASK, "E520"),
    (
        'model m { use = "openai/m", url = "http://a/v1" }\nmodel n { use = "openai/m", url = "http://b/v1" }\n'
        "experiment e { for x in [m, n]" + ASK,
        "E723",
    ),
    ('rubric r(a) from "sim/judge" { choices = ["yes", "Yes"]\n user a }\nexperiment e {' + ASK, "E520"),
    ("experiment e { for n in [1]\n measure m = rate(n == 1) by n" + ASK, "E846"),
    ("let z = lower()\nexperiment e {" + ASK, "E212"),
    (f"let z = 1{'0' * 500}\nexperiment e {{" + ASK, "E130"),
    (f"let z = ${'1' * 500}\nexperiment e {{" + ASK, "E130"),
]


@pytest.mark.parametrize(("text", "code"), FAULTS, ids=[code for _, code in FAULTS])
def test_faults_found_before_anything_is_asked(text: str, code: str) -> None:
    """Each was once a traceback, a silent wrong answer, or noticed too late."""
    with pytest.raises(SourceError) as caught:
        program(textwrap.dedent(text))
    assert code in {d.code for d in caught.value.diagnostics}


def test_a_model_may_carry_maps_on_an_axis() -> None:
    """Levels are told apart by content, not by hash."""
    text = """
    model a { use = "sim/subject", sim = { ceiling: 0.5 } }
    model b from a { sim = { ceiling: 0.6 } }
    experiment e {
      for m in [a, b]
      ask x from m with "q"
    }
    """
    found = program(text)
    assert found.experiments[0].n_cells == 2
    assert not found.warnings
