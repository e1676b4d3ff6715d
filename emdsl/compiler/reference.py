"""The reference, made from the grammar and the tables that the compiler reads: it cannot say anything else.

`python -m emdsl.compiler.reference grammar` writes it, with the TextMate grammar beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.compiler import settings as tables
from emdsl.compiler.functions import BUILTINS
from emdsl.highlight import textmate
from emdsl.lang import ast
from emdsl.lang.explain import pages, title
from emdsl.lang.loader import STD
from emdsl.lang.parser import EDITION, parse
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS, grammar_text, rule
from emdsl.service import OPENAI_API, SERVICES
from emdsl.source import Source
from emdsl.value import ENGINE_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILES = ("REFERENCE.md", "em.tmLanguage.json")
_MADE = "Made from the grammar and the compiler's tables by `make reference`; do not edit."
_STRICT = (
    "What reads a missing value is missing, but for `x is missing`, `x is WORD` and `x else v`; `else` stands for no "
    "answer that another run may still bring (`not_asked`, `failed`)."
)
_ALLOW = (
    "`emdsl explain CODE` tells more. A comment `# allow W402` on the line of a warning, or right above it, allows it."
)
_EXPRESSIONS = '''## Expressions

| form | is |
| --- | --- |
| `1`, `0.5`, `1_000`, `$40` | exact numbers, and amounts in USD; `1.0` is `1` |
| `"text {name}"` | a text; `{name}` and `{row.column}` are filled in, `{{` and `}}` are braces that are sent |
| `\\n \\t \\" \\\\ \\u{...}` | escapes in a text |
| `"""` on lines of its own | a long text; the closing `"""` sets the margin that is taken off every line |
| `raw """` | the same without placeholders and escapes |
| `0..100` | a range, both ends included |
| `[a, b]`, `{ label: value }` | a list; a labelled map, whose labels are for people |
| `[e for x in xs if c]` | a list of what is made of another |
| `if c then a else b` | one of two |
| `x == y`, `<`, `x in xs`, `not in` | comparisons of values |
| `x is label` | tests a label of an axis or a verdict, or a name; `is not` |
| `and or not` | strict: one that is missing makes all missing |
| `x else v`, `x is missing` | what to take, and whether, where a value is missing |
| `p given q` | in a measure: `p` among the rows where `q` holds |
| `sample`, `seed` | the number of the draw, from 0; the experiment's setting |
| `row.position` | a row's place in its dataset, from 0 |
'''
_REASONS = {
    "unreadable": "the judge replied, and the reply says neither number nor label",
    "no_mass": "too little of the probability lay on numbers",
    "no_logprobs": "the score is read from probabilities, and none came for the token that the answer begins with",
    "null": "the data has nothing in this place: `null` in JSON, an empty value in Parquet",
    "split_number": "the judge's model writes a number digit by digit, so that its first token is no score",
    "blocked": "the provider's content policy refused it",
    "invalid": "what it is computed from gives no value, or a function raised",
    "undefined": "a division by zero, or what a measure cannot compute",
    "failed": "the query failed for good in this run; the next one asks again",
    "no_answer": "what it reads has no value",
    "undecided": "the condition that it stands under is itself missing",
    "not_needed": "the condition that it stands under is false",
    "not_asked": "not in the store, and not asked in this run",
    "not_obtained": "the dataset that it is made of is not here",
    "no_reasoning": "the answer came without reasoning",
    "not_given": "in a measure: the row is outside its `given`",
}
_SAID = {  # what each statement is, beside the form that its class tells
    ast.Import: "Brings names of another file, or of the standard library, here. Importing never runs an experiment.",
    ast.Model: "Who is asked, and how. `from` copies another model; own settings win, `none` takes one back.",
    ast.Dataset: "Rows of a CSV, JSONL, JSON, YAML or Parquet file. Nothing is guessed: CSV cells are texts.",
    ast.Prompt: "Messages in order: a function whose value is sent.",
    ast.Rubric: "A prompt about an answer, and how its reply is read: a `scale`, `choices` or a `shape`.",
    ast.Let: "A value or a function. Costs nothing; in an experiment it is a column of the outcomes.",
    ast.Python: "A pure function of a file of the project, run apart: no variable, and where possible no network.",
    ast.Experiment: "One grid with its steps and measures.",
    ast.For: "An axis: a list, a range, a dataset's rows or a labelled map. Several names are zipped.",
    ast.Grid: "A block of axes; several are united, and each cell counts once.",
    ast.Skip: "Leaves out the cells for which the condition holds.",
    ast.SetRule: "Gives a parameter of a step another value in some cells. Order never decides.",
    ast.Ask: "A step that costs money: a model's answer. `NAME.reasoning`, `.finish`, `.tokens`, `.logprobs`.",
    ast.Judge: "A step that costs money: a judgement of an answer, equal ones asked once.",
    ast.When: "What stands inside is asked only where the condition, which may read judgements, holds.",
    ast.Measure: "Figures over the outcomes, computed in DuckDB, never cached: editing one costs nothing.",
}
_CLASSES = {
    "import": ast.Import, "model": ast.Model, "dataset": ast.Dataset, "prompt": ast.Prompt, "rubric": ast.Rubric,
    "let": ast.Let, "python": ast.Python, "experiment": ast.Experiment, "for": ast.For, "grid": ast.Grid,
    "skip": ast.Skip, "set": ast.SetRule, "ask": ast.Ask, "judge": ast.Judge, "when": ast.When, "measure": ast.Measure,
}  # fmt: skip
_RULES = {"import": "import_", "for": "for_", "set": "set_"}


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [
        f"# The `.em` language, edition {EDITION}\n\n{_MADE}\n",
        *_statements("Declarations", DECLARATIONS),
        *_statements("Statements of an experiment", STATEMENTS),
        "## Words\n\nReserved: " + _code(sorted(RESERVED)) + ".\nRoles of messages: " + _code(ROLES) + ".\n",
        "## Settings\n",
        *(
            f"### Of {name}\n\n{_settings(table)}"
            for name, table in (
                ("a model", tables.MODEL), ("a dataset", tables.DATASET), ("a rubric", tables.RUBRIC),
                ("an experiment", tables.EXPERIMENT), ("an ask", tables.ASK), ("a judge", tables.JUDGE),
            )
        ),
        _functions(),
        _measures(),
        _EXPRESSIONS,
        f"## Why a value is missing\n\nA judge's own words (`refusal`, `other`), and:\n\n{_reasons()}\n{_STRICT}\n",
        _providers(),
        *_standard_library(),
        f"## Diagnostics\n\n{_ALLOW}\n\n" + _table(("code", "what"), ((c, title(c)) for c in pages())),
        f"## Grammar\n\n```lark\n{grammar_text()}```\n",
    ]  # fmt: skip
    return "\n".join(parts)


def _statements(heading: str, words: Iterable[str]) -> list[str]:
    parts = [f"## {heading}\n"]
    for word in words:
        kind = _CLASSES[word]
        form = (kind.__doc__ or "").split("; `params` is")[0].split("; `model` is")[0].rstrip(".").replace("\n", " ")
        parts.append(f"### {word}\n\n{form}.\n{_SAID[kind]}\n\n```lark\n{rule(_RULES.get(word, word))}\n```\n")
    return parts


def _settings(table: Mapping[str, tables.Spec]) -> str:
    rows = ((f"`{s.name}`", s.kind, s.default, s.doc) for s in table.values())
    return _table(("setting", "type", "default", "what"), rows)


def _functions() -> str:
    rows = []
    for function in BUILTINS.values():
        params = [p if i < function.required else f"[{p}]" for i, p in enumerate(function.params)]
        rows.append((f"`{function.name}({', '.join(params)}{', ...' if function.rest else ''})`", function.doc))
    return "## Functions\n\nParameters in brackets may be left out; any can be given by name.\n\n" + _table(
        ("function", "gives"), rows
    )


def _measures() -> str:
    rows = [(f"`{form}`", _code(tables.INTERVALS[name]) or "none") for name, form in tables.MEASURE_FUNCTIONS.items()]
    return (
        "## Measures\n\nBeside its figures every measure has `n`, `n_planned`, `n_dropped`, `dropped` (by reason), "
        "`complete` and `simulated`.\n"
        "The sides of a contrast are conditions on axes, such as `arm is a` and `k == 8`.\n\n"
        + _table(("measure", "intervals, the default first"), rows)
    )


def _reasons() -> str:
    assert set(ENGINE_REASONS) <= set(_REASONS)
    return _table(("reason", "why"), ((f"`{k}`", v) for k, v in _REASONS.items()))


def _providers() -> str:
    def yes(found: object) -> str:
        return "yes" if found else "no"

    where = [
        (f"`{s.name}/`", s.url or "the program's `url`",
         _code(v for v in (s.key_variable, s.other_variable) if v) or "none", s.format)
        for s in SERVICES.values()
    ]  # fmt: skip
    sent = [p for p in tables.PARAMS if p not in ("sim", "extra")]
    takes = [
        (f"`{s.name}/`", _code(p for p in sent if s.params is not None and p not in s.params) or "",
         f"0 - {s.temperature}", str(s.stops or "any"),
         str(s.top_logprobs) if s.params is None or "top_logprobs" in s.params else "none", yes(s.prefill),
         "first" if s.system_first else "anywhere", str(s.prefix_tokens or "none"))
        for s in SERVICES.values()
    ]  # fmt: skip
    return (
        f"## Providers\n\nA model is `provider/model`; any other server that speaks OpenAI's format is "
        f"`{OPENAI_API}/<service>/<model>`.\n\n"
        + _table(("provider", "where", "API key", "format"), where)
        + "\nWhat a provider, or one model of it, does not take is an error (E735, E736): it would be refused, "
        "or ignored without a word.\nA cache of prefixes keeps beginnings of prompts from so many tokens on.\n\n"
        + _table(
            (
                "provider",
                "takes no",
                "temperature",
                "texts in `stop`",
                "logprobs",
                "prefill",
                "system messages",
                "prefixes",
            ),
            takes,
        )
    )


def _standard_library() -> list[str]:
    parts = ["## Standard library\n"]
    for file in sorted((Path(__file__).parents[1] / "std").glob("*.em")):
        name = f"{STD}{file.stem}"
        decls = parse(Source(name, file.read_text(encoding="utf-8")))[0].decls
        rows = []
        for decl in decls:
            if isinstance(decl, ast.Prompt | ast.Rubric):
                params = ", ".join(p.text for p in decl.params)
                rows.append((f"`{decl.name.text}({params})`", type(decl).__name__.lower()))
            elif isinstance(decl, ast.Let):
                rows.append((f"`{decl.name.text}`", "let"))
        parts.append(f"### {name}\n\n" + _table(("name", "is a"), rows))
    return parts


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |\n" for line in lines)


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{w}`" for w in words)


def files() -> dict[str, str]:
    """Return all that is made, by file name."""
    return dict(zip(FILES, (reference(), textmate()), strict=True))


if __name__ == "__main__":
    for file_name, text in files().items():
        (Path(sys.argv[1]) / file_name).write_text(text, encoding="utf-8")
