"""Files of other tools become studies: exact texts, without a warning, that run on the simulator."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import zstandard
from support import InProcess, emdsl, outcomes, run

from emdsl.compiler.compile import compile_file, compile_source
from emdsl.lang.format import format_source
from emdsl.query import Response
from emdsl.run.rows import Rows
from emdsl.source import Source
from emdsl.store.store import MemoryStore
from emdsl.study.new_study import write_study

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Query

CASES = Path(__file__).parent / "cases"
CLAUDE = ("anthropic/claude-sonnet-4-5-20250929",)
FILES: Mapping[str, tuple[str, dict[str, Any]]] = {  # the file of each case, and what the caller adds
    "llmcomp": ("questions.yaml", {}),
    "betley": ("questions.yaml", {"models": ("openai/gpt-4.1-2025-04-14",)}),
    "no_logprobs": ("questions.yaml", {"models": CLAUDE}),
    "promptfoo": ("config.yaml", {}),
    "promptfoo_table": ("promptfooconfig.yaml", {}),
    "promptfoo_expected": ("config.yaml", {"models": ("openai/gpt-4.1-2025-04-14",)}),
    "lm_eval": ("task.yaml", {}),
    "lm_eval_choices": ("task.yaml", {}),
    "lm_eval_hub": ("task.yaml", {}),
    "inspect": ("samples.jsonl", {}),
    "evals": ("statements.jsonl", {}),
    "folder": ("", {}),
    "named_splits": ("", {}),
    "column": ("rows.csv", {"column": "text"}),
}
RUN = [n for n in FILES if n != "lm_eval_hub"]  # whose data are not in the repository

AWKWARD = [
    'He said "no" and \\left.', "a {b} c}", "{", "two\nlines ", "\n  indented\n  twice", "tab\there",
    'three """ quotes',
    "\u00a0non\u200bbreaking", "carriage\r\nreturn", "${x}", "a $", "last line\n", "\u2028", "{answer} {t}",
    "{{ x }}", " ",
]  # fmt: skip
VALUES = [t for t in AWKWARD if "{{" not in t and t.strip()]  # with a blank value, a message of the prompt is empty
PLAIN = {"{{ x }}": AWKWARD[0]}  # what a template becomes in the first test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def written(case: str, folder: Path) -> tuple[str, list[str]]:
    """Return the study of a case, written beside its data, and what it leaves out."""
    name, options = FILES[case]
    shutil.copytree(CASES / case, folder / "data", ignore=shutil.ignore_patterns("study.em"))
    left_out = write_study(folder / "study.em", source=folder / "data" / name, **options)
    return (folder / "study.em").read_text(encoding="utf-8"), left_out


@pytest.mark.parametrize("case", FILES)
def test_a_file_becomes_exactly_this_study(case: str, folder: Path) -> None:
    """In the canonical layout; whatever it leaves out is a comment too; `UPDATE_GOLDEN=1` writes the text."""
    text, left_out = written(case, folder)
    golden = CASES / case / "study.em"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    assert [x.removeprefix("# ") for x in text.splitlines() if x.startswith("# Left out")] == left_out
    source = Source("study.em", text, folder / "study.em")
    assert format_source(source) == text
    assert compile_source(source, {}).experiments


def test_the_studies_have_no_warnings(folder: Path) -> None:
    """All at once: the checker finds nothing, not even a warning."""
    for case in FILES:
        (folder / case).mkdir()
        written(case, folder / case)
    studies = [f"{case}/study.em" for case in FILES]
    assert emdsl("check", *studies, cwd=folder).stdout == f"{len(FILES)} files: 0 errors, 0 warnings\n"


@pytest.mark.parametrize("case", RUN)
def test_a_study_runs(case: str, folder: Path) -> None:
    """In memory, with the simulator in every model's place: each request is answered, each row settled."""
    written(case, folder)
    study, store = compile_file(folder / "study.em", {}, simulate=True), MemoryStore()
    provider, report = run(study, store)
    assert not report.failures
    assert provider.n > 0
    for experiment in study.experiments:
        for row in outcomes(experiment, store):
            assert not row.blocked


def test_asserts_with_other_values_are_no_one_assert(folder: Path) -> None:
    """Texts become a column; numbers of words and patterns that the language lacks keep tests apart."""
    (folder / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "data").mkdir()
    tests = [
        {"vars": {"x": "1"}, "assert": [{"type": "word-count", "value": "5"}]},
        {"vars": {"x": "2"}, "assert": [{"type": "word-count", "value": "6"}]},
        {"vars": {"x": "3"}, "assert": [{"type": "regex", "value": "a"}]},
        {"vars": {"x": "4"}, "assert": [{"type": "regex", "value": "(?=a)"}]},
        {"vars": {"x": "5"}, "assert": [{"type": "regex", "value": "b"}], "options": {"transform": "output"}},
        {"vars": {"x": "file://../secret.txt"}},
    ]
    config = {"prompts": ["{{x}}", "file://../secret.txt"], "tests": tests}
    (folder / "data/config.json").write_text(json.dumps(config), encoding="utf-8")
    left_out = write_study(folder / "study.em", source=folder / "data/config.json")
    text = (folder / "study.em").read_text(encoding="utf-8")
    assert [x for x in text.splitlines() if "words(" in x or "matches(" in x] == [
        "  let word_count = words(answer) == 5", "  let word_count = words(answer) == 6",
        "  let regex = matches(answer, t.regex)",
    ]  # fmt: skip
    assert '{ id: "5", x: "5", regex: "b" },' in text
    assert left_out == [
        "Left out: prompt 2: `file://../secret.txt` is outside of the folder of the config",
        "Left out: `options.transform` of test 5: a study has no such setting",
        "Left out: test 6: its variable `x` is outside of the folder of the config",
        "Left out: assert `regex` of test 4: invalid pattern: perl operator `(?=`",
    ]


def test_data_may_be_packed_or_in_shards_of_parquet(folder: Path) -> None:
    """The study reads them from there, as one dataset; of several splits it asks the test."""
    statements = (CASES / "evals/statements.jsonl").read_bytes()
    (folder / "statements.jsonl.gz").write_bytes(gzip.compress(statements))
    (folder / "statements.jsonl.zst").write_bytes(zstandard.compress(statements))
    shards = folder / "facts" / "data"
    shards.mkdir(parents=True)
    for name in ("train-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002"):
        duckdb.execute(f"COPY (SELECT '{name}?' AS question, 1 AS n) TO '{shards / name}.parquet' (FORMAT parquet)")
    for source, n in (("statements.jsonl.gz", 3), ("statements.jsonl.zst", 3), ("facts", 2)):
        study = folder / f"{source.replace('.', '_')}.em"
        write_study(study, source=folder / source)
        experiments = compile_file(study, {}).experiments
        assert sum(e.n_cells for e in experiments) == n
    assert 'file    = "facts/data/test-*.parquet"' in (folder / "facts.em").read_text(encoding="utf-8")


def test_data_of_the_hub_are_read_when_they_are_there(folder: Path) -> None:
    """From the file that the command in `obtain` writes."""
    written("lm_eval_hub", folder)
    for name in ("dev", "test"):
        rows = "SELECT 'Up?' AS question, ['yes', 'no'] AS choices, 1 AS answer FROM range(3)"
        duckdb.execute(f"COPY ({rows}) TO '{folder}/facts_easy_{name}.parquet' (FORMAT parquet)")
    (experiment,) = compile_file(folder / "study.em", {}).experiments
    ((_, query), *_) = Rows(experiment).advance(next(iter(Rows(experiment).selected())))
    shot = "Up?\nA. yes\nB. no\nAnswer:"
    assert query.prompt.messages[0].text == f"The following are questions.\n\n{shot} B\n\n{shot} B\n\n{shot}"


def answered(case: str, folder: Path, *texts: str) -> list[dict[str, Any]]:
    """Return the values of the `let`s of each row of the first experiment, if the models answer with these texts."""
    written(case, folder)
    study, store = compile_file(folder / "study.em", {}, simulate=True), MemoryStore()
    replies = iter(texts)

    class Says(InProcess):
        async def ask(self, query: Query, *_: Any) -> Response:
            text = given.setdefault(query.key, next(replies, texts[-1]))
            return Response(text=text, finish="stop", answered_at=1.0)

    given: dict[bytes, str] = {}
    run(study, store, Says())
    first = study.experiments[0]
    return [{name: row.frame[name] for name in first.lets} for row in outcomes(first, store)]


@pytest.mark.parametrize(
    ("reply", "strict", "flexible"),
    [
        ("#### 2", 1, 1),
        ("so 1 + 1 = 2\n#### $2.", 0, 1),
        ("It is 1,001", 0, 1),
        ("It is two", 0, 0),
        ("#### 4, or rather 2", 1, 1),
    ],
)
def test_an_exact_match_counts_as_in_lm_eval(folder: Path, reply: str, strict: int, flexible: int) -> None:
    """Its filters, then what its metric ignores; an answer without a number is wrong, not missing."""
    rows = answered("lm_eval", folder, reply)
    assert sum(r["exact_match_strict_match"] is True for r in rows) == strict
    assert sum(r["exact_match_flexible_extract"] is True for r in rows) == flexible
    assert all(isinstance(r["exact_match_strict_match"], bool) for r in rows)


@pytest.mark.parametrize(
    ("case", "reply", "name", "values"),
    [
        ("promptfoo_expected", "4", "equals", [True, False]),
        ("promptfoo_expected", "four", "contains", [True, False]),
        ("promptfoo_expected", "Four", "contains", [False, False]),
        ("inspect", "I think Paris.", "included", [True]),
        ("inspect", "I think Paris.", "matched", [False]),
        ("inspect", "paris", "matched", [True]),
        ("lm_eval_choices", "Answer: A", "correct", [True]),
        ("lm_eval_choices", "red", "correct", [False]),
        ("lm_eval_choices", "neither", "correct", [False]),
    ],
)
def test_what_an_answer_counts_as(folder: Path, case: str, reply: str, name: str, values: list[bool]) -> None:
    """The same as in the tool that the file is of."""
    assert [r[name] for r in answered(case, folder, reply)] == values


def test_texts_of_a_file_are_sent_as_they_are(folder: Path) -> None:
    """Braces, quotes, backslashes, line ends, blanks and invisible characters, in prompts and in values."""
    messages = [{"role": "user", "content": text} for text in AWKWARD]
    config = {"prompts": [json.dumps(messages)], "tests": [
        {"vars": {"x": text}, "assert": [{"type": "equals", "value": text}]} for text in VALUES
    ]}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_study(folder / "study.em", source=folder / "config.json")
    study = compile_file(folder / "study.em", {})
    (row, *rows) = Rows(study.experiments[0]).selected()
    walk = Rows(study.experiments[0])
    ((_, query), *_) = walk.advance(row)
    assert [m.text for m in query.prompt.messages] == [PLAIN.get(t, t) for t in AWKWARD]
    assert [r.frame["t"].get("equals") for r in (row, *rows)] == VALUES
