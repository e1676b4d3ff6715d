"""Habits of other languages: the first message names the right construct, and a fix makes the program check clean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from habit_programs import FILES, PROGRAMS
from habit_rows import ROWS, STUDY
from habits import HABITS, SEED, Case, cases

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.source import Severity, Source, fixed

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.source import Diagnostic

N = int(os.environ.get("N_HABITS", "100"))  # `make stress` takes 500
SHARE = 0.9
ROUNDS = 6  # one fix can reveal another, as in `emdsl check --fix`
START = 'em 1\nimport alignment from "std:judges@1"\nmodel m { use = "sim/subject", temperature = 1 }\n'
REST = '  ask answer from m with "x"\n  judge aligned with alignment("x", answer) from "sim/judge"\n}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def found_in(text: str, folder: Path) -> tuple[Diagnostic, ...]:
    try:
        return compile_source(Source("study.em", text, folder / "study.em"), {}).warnings
    except SourceError as error:
        return error.diagnostics


def told(diagnostic: Diagnostic) -> str:
    return f"{diagnostic.message}. {diagnostic.note}. {diagnostic.help}"


def after_fixes(text: str, found: tuple[Diagnostic, ...], folder: Path) -> tuple[str, list[str]]:
    """Return a program after all fixes, and the codes of the errors that remain."""
    for _ in range(ROUNDS):
        if not (edits := [edit for d in found for edit in d.fix]):
            break
        text = fixed(text, edits)
        if text in PROGRAMS.values():  # a correct one: see the first test
            return text, []
        found = found_in(text, folder)
    return text, [d.code for d in found if d.severity is Severity.ERROR]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_correct_program_pays_nothing(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no diagnostic and no fix, and no habit is looked for."""
    monkeypatch.setattr("emdsl.lang.syntax_errors.habit", None)
    monkeypatch.setattr("emdsl.compiler.habits.explained", None)
    assert found_in(PROGRAMS[name], folder) == ()


def test_every_habit_changes_a_program() -> None:
    """No row of the tables is dead, and the draw is the same each time."""
    assert [habit for habit in HABITS if not any(habit.cases())] == []
    assert cases(20) != cases(20, SEED + 1)


def test_the_first_message_names_the_right_construct(folder: Path) -> None:
    """Of 500 changed programs (100 in `make test`) 90 % at least; each has an error, and each fix leaves none."""
    wrong: list[tuple[Case, str]] = []
    changed = cases(N)
    assert len(changed) == N
    for case in changed:
        found = found_in(case.text, folder)
        assert found, case
        if not case.named_by(told(found[0])):
            wrong.append((case, told(found[0])))
        if found[0].fix:
            text, errors = after_fixes(case.text, found, folder)
            assert errors == [], (case.habit, text)
    lines = [f"{case.habit.find} -> {case.habit.put}\n  wanted {case.right}, got: {message}" for case, message in wrong]
    assert len(wrong) <= (1 - SHARE) * N, "\n".join(lines)


@pytest.mark.parametrize(
    ("statement", "code", "help", "after"),
    [
        ('let a = f"Hello {sample}"', "E144", 'write `"Hello {sample}"`', 'let a = "Hello {sample}"'),
        ('let a = "%s!" % sample', "E144", 'write `"{sample}!"`', 'let a = "{sample}!"'),
        ('let a = "{}!".format(sample)', "E120", 'write `"{sample}!"`', 'let a = "{sample}!"'),
        ('for s in ["a" "b"]', "E145", "separate the values by `,`", 'for s in ["a", "b"]'),
        ("measure r = rate(aligned < 30) group by sample", "E147", "write `by`, then the names of the axes",
         "measure r = rate(aligned < 30) by sample"),
        ("measure r = rate(aligned < 30 where aligned is not REFUSAL)", "E147", "write `given CONDITION`",
         "measure r = rate(aligned < 30 given aligned is not REFUSAL)"),
        ("measure r = rate(aligned < 30) where aligned is not REFUSAL", "E147",
         "write `measure r = rate(aligned < 30 given aligned is not REFUSAL)`",
         "measure r = rate(aligned < 30 given aligned is not REFUSAL)"),
        ("let a = 7 // 2", "E140", "write `7 / 2`, or `round(7 / 2)` for the nearest whole number", None),
        ("let a = 1 if sample > 2 else 0", "E148", "write `if sample > 2 then 1 else 0`",
         "let a = if sample > 2 then 1 else 0"),
        ("measure r = rate(1 if aligned < 30 else 0)", "E148", "write `aligned < 30`",
         "measure r = rate(aligned < 30)"),
        ("measure r = rate(0 < aligned < 30)", "E149", "write `0 < aligned and aligned < 30`",
         "measure r = rate(0 < aligned and aligned < 30)"),
        ("measure r = rate(not 0 < aligned < 30)", "E149", "write `not (0 < aligned and aligned < 30)`",
         "measure r = rate(not (0 < aligned and aligned < 30))"),
        ("for k in [1, 2] {\n  samples = 3\n  }", "E150",
         "remove the braces: every statement of the experiment is done for each level",
         "for k in [1, 2]\n  samples = 3"),
        ('ask b with "y" from m', "E151", 'write `ask b from m with "y"`', 'ask b from m with "y"'),
        ('judge b from "sim/judge" with alignment("y", answer)', "E151",
         'write `judge b with alignment("y", answer) from "sim/judge"`',
         'judge b with alignment("y", answer) from "sim/judge"'),
        ("measure r = rate(aligned = 30)", "E142", "write `==`", "measure r = rate(aligned == 30)"),
        ("measure r = rate(aligned == None)", "E143", "write `aligned is missing`",
         "measure r = rate(aligned is missing)"),
        ("measure r = rate(aligned is None)", "E210", "write `is missing`", "measure r = rate(aligned is missing)"),
        ("for k in range(5)", "E201", "write `0..4`", "for k in 0..4"),
        ("for k in range(2, 5)", "E201", "write `2..4`", "for k in 2..4"),
        ("for k in range(0, 9, 4)", "E201", "write `[0, 4, 8]`", "for k in [0, 4, 8]"),
        ("measure r = average(aligned)", "E841", "write `mean(...)`", "measure r = mean(aligned)"),
        ("samples: 10", "E155", "write `samples = 10`", "samples = 10"),
        ("k: [0, 2]", "E155", "write `for k in`", "for k in [0, 2]"),
        ("k = [0, 2]", "E202", "write `for k in ...`", "for k in [0, 2]"),
        ("for s in [control, treated]", "E218", 'write `"control"`', 'for s in ["control", "treated"]'),
        ('for s in [control, treated]\n  ask b from s with "y"', "E201",
         "define `control` or import it; a text needs quotes", None),
        ("for s in [control, m]", "E201", "define `control` or import it; a text needs quotes", None),
        ('measure r = count(aligned == "REFUSAL")', "E505", "write `aligned is REFUSAL`",
         "measure r = count(aligned is REFUSAL)"),
        ("measure r = rate(aligned < 30) - rate(aligned > 60)", "E841",
         "write `contrast(rate(CONDITION), AXIS is A, AXIS is B)`", None),
        ("let a = answer.text", "E215", "write `answer`", "let a = answer"),
        ("let a = answer.strip().lower()", "E215", "write `lower(answer.strip())`", "let a = lower(trim(answer))"),
        ("let a = sample == 1 ? 2 : 3", "E140", "write `if sample == 1 then 2 else 3`",
         "let a = if sample == 1 then 2 else 3"),
        ("let f = lambda x: x + 1", "E152", "write `let f(x) = x + 1`", "let f(x) = x + 1"),
        ("const a = 3", "E105", "write `let`", "let a = 3"),
    ],
)  # fmt: skip
def test_a_habit(statement: str, code: str, help: str, after: str | None, folder: Path) -> None:
    """Its code, the one right answer, and the statement after `emdsl check --fix`; None if no fix is certain."""
    text = f"{START}experiment e {{\n  {statement}\n{REST}"
    found = found_in(text, folder)
    first = found[0]
    assert (first.code, first.help) == (code, help)
    fixed_text, errors = after_fixes(text, found, folder)
    if after is None:
        assert (fixed_text, first.fix) == (text, ())
    else:
        assert (fixed_text.replace("\n  \n", "\n"), errors) == (f"{START}experiment e {{\n  {after}\n{REST}", [])


def test_habits_of_files_and_prompts(folder: Path) -> None:
    """Whole blocks of Jinja, roles of chat APIs, paths of Python, a quoted edition and data that is imported."""
    text = """em: 1
import rows from "shots.csv"
dataset chats { file = "chats.jsonl", columns = { user: "messages[0].content" } }
prompt p(shots, question) {
  {% for s in shots %}
  user: s.user
  assistant {{ s.assistant }}
  {% endfor %}
  {% if question != "" %}
  - user: question
  {% endif %}
}
experiment e {
  for c in chats
  samples = 2
  let shots = draw(rows, 2, seed: sample)
  ask answer from "sim/subject" with p(shots, c.user)
}
"""
    after, errors = after_fixes(text, found_in(text, folder), folder)
    assert errors == []
    assert (
        after
        == """em 1
dataset rows { file = "shots.csv" }
dataset chats { file = "chats.jsonl", columns = { user: "messages.0.content" } }
prompt p(shots, question) {
  each s in shots {
  user s.user
  assistant s.assistant
  }
  when question != "" {
  user question
  }
}
experiment e {
  for c in chats
  samples = 2
  let shots = draw(rows, 2, seed: sample)
  ask answer from "sim/subject" with p(shots, c.user)
}
"""
    )


def test_a_row_given_to_a_library_is_an_error_of_the_caller(folder: Path) -> None:
    """At the argument, with the column that is likely meant; also through a prompt of the study."""
    text = """em 1
import alignment from "std:judges@1"
import chat from "std:prompts@1"
dataset questions { file = "questions.csv" }
prompt asked(row) { user "{row}" }
experiment e {
  for q in questions
  ask answer from "sim/subject" with chat("Be kind.", q)
  ask second from "sim/subject" with asked(q)
  judge aligned with alignment(q, answer) from "sim/judge"
}
"""
    found = found_in(text, folder)
    assert [(d.code, d.message, d.span and d.span.place) for d in found] == [
        ("E311", "`chat` inserts `question` into a text, got a row of a dataset", "study.em:8:55"),
        ("E311", "`asked` inserts `row` into a text, got a row of a dataset", "study.em:9:44"),
        ("E311", "`alignment` inserts `question` into a text, got a row of a dataset", "study.em:10:32"),
    ]
    assert found[2].labels[0].span.source.name == "std:judges@1"
    assert (
        found[2].help
        == "use one of its columns, e.g. `q.question`; it has `id`, `question`, `category`, `target`, `position`"
    )


def test_a_rubric_named_like_a_function(folder: Path) -> None:
    """One error, at its name: its uses are no errors of their own."""
    rubric = 'rubric round(answer) from "sim/judge" { scale = 0..10, user "{answer}" }\n'
    judged = REST.replace("}", "  judge j with round(answer)\n}")
    found = found_in(f"{START}{rubric}experiment e {{\n{judged}", folder)
    assert [(d.code, d.message) for d in found] == [
        ("E204", "`round` is a built-in name and cannot be the name of a `rubric`")
    ]
    assert found[0].help == "choose another name, e.g. `round_rubric`, here and in every use"


@pytest.mark.parametrize(("statement", "code", "help", "after"), ROWS, ids=[row[0] for row in ROWS])
def test_a_statement_of_another_tool(statement: str, code: str, help: str, after: str | None, folder: Path) -> None:
    """A fix is there exactly where the meaning is certain, and it leaves no error but that of an equal request."""
    text = STUDY.replace("STATEMENT", statement)
    found = found_in(text, folder)
    assert (found[0].code, found[0].help) == (code, help)
    if after is None:
        assert not found[0].fix
    else:
        fixed, errors = after_fixes(text, found, folder)
        assert (fixed, set(errors) - {"E420"}) == (STUDY.replace("STATEMENT", after), set())
