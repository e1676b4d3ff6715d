"""The reference of the language: made from the grammar, the compiler's tables and the glossary.

`python -m emdsl.compiler.reference grammar` writes it, with the TextMate grammar beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.annotation import REASONS as PEOPLE
from emdsl.compiler import settings as tables
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import COMMON_COLUMNS, INTERVAL_METHODS, MEASURES
from emdsl.highlight import textmate
from emdsl.lang import ast
from emdsl.lang.explain import entry, pages, title
from emdsl.lang.loader import STD
from emdsl.lang.parser import EDITION, parse
from emdsl.lang.words import DECLARATIONS, RESERVED, ROLES, STATEMENTS, grammar_text, rule
from emdsl.service import OPENAI_API, SERVICES
from emdsl.source import Source
from emdsl.value import ENGINE_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

FILES = ("REFERENCE.md", "em.tmLanguage.json")
_MADE = (
    "Made from the grammar, the compiler's tables and the glossary by `make reference`; do not edit. "
    "Every example is tested. Examples of statements belong to an experiment with an `ask answer` and a "
    "`judge aligned`."
)
_STRICT = (
    "An expression that uses a missing value is missing too, except for `x is missing`, `x is WORD` and `x else v`. "
    "`else` never replaces a value that is pending or failed (`not_asked`, `failed`), because another run may bring it."
)
_ALLOW = (
    "`emdsl explain CODE` shows the page of a diagnostic. A comment `# allow W402` on the line of a warning, or on the "
    "line above, allows it."
)
_EXPRESSIONS = '''## Expressions

| form | meaning |
| --- | --- |
| `1`, `0.5`, `1_000`, `$40` | exact numbers, and amounts in US dollars; `1.0` equals `1` |
| `"text {name}"` | a text; `{name}` and `{row.column}` insert values, `{{` and `}}` are literal braces |
| `\\n \\t \\" \\\\ \\u{...}` | escape sequences |
| `"""` on lines of its own | a long text; the indentation of the closing `"""` is removed from every line |
| `raw """` | a long text without placeholders and escapes |
| `0..100` | a range of whole numbers, both ends included |
| `[a, b]`, `{ label: value }` | a list; a map of labeled values |
| `[e for x in xs if c]` | a list made from another one |
| `if c then a else b` | one of two values |
| `x == y`, `<`, `x in xs`, `not in` | comparisons of values |
| `x is label`, `is not` | a test for a label of an axis or a verdict, or for a name |
| `and or not` | if one side is missing, the result is missing |
| `judged.p(LABEL)` | the probability of a label, of a judge with `choices` and `read = weighted(top: 20)` |
| `answer.p(q.key)` | the probability of the label that an expression names |
| `answer.tokens`, `answer.cost` | the output tokens of an answer; its cost in US dollars |
| `judged.mass` | the probability behind a weighted verdict |
| `x else v`, `x is missing` | a replacement, and a test, for a missing value |
| `p given q` | in a measure: `p` among the rows where `q` holds |
| `sample`, `seed` | the number of the draw, from 0; the setting of the experiment |
| `row.position` | the place of a row in its dataset, from 0 |
'''
REASONS = (
    *ENGINE_REASONS,
    "no_reasoning",
    "not_reported",
    "not_given",
    "too_few",
    "unknown_label",
    "unlabelled",
    *PEOPLE,
)
_FORMS = {  # of statements; their rules in the grammar are exact
    "import": 'import a, b as c from "path"',
    "model": "model NAME from BASE { settings }",
    "dataset": "dataset NAME from BASE { settings }",
    "prompt": "prompt NAME(parameters) { messages }",
    "rubric": "rubric NAME(parameters) from MODEL { settings and messages }",
    "let": "let NAME = value` or `let NAME(parameters) = value",
    "python": 'python NAME(parameters) -> TYPE from "file.py"',
    "experiment": "experiment NAME { statements }",
    "for": "for NAMES in levels",
    "grid": "grid NAME { for ... skip ... }",
    "skip": "skip when condition",
    "set": "set STEP.PARAMETER = value when condition",
    "ask": "ask NAME from MODEL with PROMPT { settings }",
    "judge": "judge NAME with RUBRIC(...) from MODEL { settings }",
    "annotate": "annotate NAME of ASK { settings }",
    "when": "when condition { ask ... judge ... let ... }",
    "measure": "measure NAME = FUNCTION(...) by AXIS, ...",
}
_RULES = {"import": "import_", "for": "for_", "set": "set_"}
_TABLES = {
    "model": tables.MODEL, "dataset": tables.DATASET, "rubric": tables.RUBRIC, "experiment": tables.EXPERIMENT,
    "ask": tables.ASK, "judge": tables.JUDGE, "annotation": tables.ANNOTATION,
}  # fmt: skip


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [
        f"# The `.em` language, edition {EDITION}\n\n{_MADE}\n",
        *_statements("Declarations", DECLARATIONS),
        *_statements("Statements of an experiment", STATEMENTS),
        "## Words\n\nReserved words: " + _code(sorted(RESERVED)) + ".\nRoles of messages: " + _code(ROLES) + ".\n",
        _settings(),
        _functions(),
        _measures(),
        _EXPRESSIONS,
        "## Missing values\n\nThe reason is a word of the rubric (`refusal`, `other`), or one of these:\n\n"
        + _table(("reason", "meaning"), ((f"`{reason}`", _summary(reason)) for reason in REASONS))
        + f"\n{_STRICT}\n",
        _providers(),
        *_standard_library(),
        f"## Diagnostics\n\n{_ALLOW}\n\n" + _table(("code", "title"), ((c, title(c)) for c in pages())),
        f"## Grammar\n\n```lark\n{grammar_text()}```\n",
    ]
    return "\n".join(parts)


def _statements(heading: str, words: Iterable[str]) -> list[str]:
    form = "### {}\n\n`{}`\n\n{}\n```lark\n{}\n```\n".format
    return [f"## {heading}\n", *(form(w, _FORMS[w], _text(w), rule(_RULES.get(w, w))) for w in words)]


def _settings() -> str:
    parts = ["## Settings\n"]
    for name, table in _TABLES.items():
        rows = ((f"`{s.name}`", s.kind, s.default, s.doc) for s in table.values())
        parts.append(
            f"### Settings of {'an' if name[0] in 'ae' else 'a'} {name}\n\n"
            + _table(("setting", "type", "default", "meaning"), rows)
        )
    parts.append("### Each setting\n\n" + _entries(sorted({name for table in _TABLES.values() for name in table})))
    return "\n".join(parts)


def _functions() -> str:
    rows = []
    for function in BUILTINS.values():
        params = [p if i < function.required else f"[{p}]" for i, p in enumerate(function.params)]
        rows.append((f"`{function.name}({', '.join(params)}{', ...' if function.rest else ''})`", function.doc))
    return (
        "## Functions\n\nParameters in brackets are optional. Every parameter can be given by name.\n\n"
        + _table(("function", "result"), rows)
        + "\n"
        + _entries(name for name in BUILTINS if name not in MEASURES)
    )


def _measures() -> str:
    rows = [(f"`{spec.signature}`", _code(spec.intervals) or "none") for spec in MEASURES.values()]
    return (
        "## Measures\n\n"
        + _table(("measure", "intervals, default first"), rows)
        + "\nEvery measure also has these columns:\n\n"
        + _table(("column", "meaning"), ((f"`{name}`", _summary(name)) for name in COMMON_COLUMNS))
        + "\n"
        + _entries([*MEASURES, *INTERVAL_METHODS])
    )


def _entries(words: Iterable[str]) -> str:
    return "\n".join(f"#### {word}\n\n{_text(word)}" for word in words)


def _text(word: str) -> str:
    """Return the entry of a word in the glossary, without its heading."""
    return (entry(word) or "").partition("\n\n")[2]


def _summary(word: str) -> str:
    """Return the first paragraph of an entry as one line."""
    return " ".join(_text(word).partition("\n\n")[0].split())


def _providers() -> str:
    def yes(value: object) -> str:
        return "yes" if value else "no"

    where = [
        (f"`{s.name}/`", s.url or "`url` of the model",
         _code(v for v in (s.key_variable, s.fallback_variable) if v) or "none", s.format)
        for s in SERVICES.values()
    ]  # fmt: skip
    sent = [p for p in tables.PARAMS if p not in ("sim", "extra")]
    takes = [
        (f"`{s.name}/`", _code(p for p in sent if s.params is not None and p not in s.params) or "",
         f"0 - {s.temperature}", str(s.stops or "any"),
         str(s.top_logprobs) if s.params is None or "top_logprobs" in s.params else "none", yes(s.prefill),
         "first" if s.system_first else "anywhere", str(s.prefix_tokens or "none"), yes(s.batch),
         yes(s.params is None or "json_schema" in s.params))
        for s in SERVICES.values()
    ]  # fmt: skip
    return (
        f"## Providers\n\nA model is `provider/model`. Other servers with an OpenAI-compatible API are "
        f"`{OPENAI_API}/<service>/<model>` with a `url`.\n\n"
        + _table(("provider", "address", "API key", "format"), where)
        + "\nAn unsupported parameter or message is an error (E735, E736): the provider would reject it or silently "
        "ignore it.\nThe prefix is the minimum length, in tokens, of a prompt prefix in the provider's cache.\n\n"
        + _table(
            (
                "provider",
                "unsupported parameters",
                "temperature",
                "maximum `stop` texts",
                "logprobs",
                "prefill",
                "system messages",
                "cached prefix",
                "batch API",
                "`strict`",
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
        parts.append(f"### {name}\n\n" + _table(("name", "kind"), rows))
    return parts


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |\n" for line in lines)


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{w}`" for w in words)


def files() -> dict[str, str]:
    """Return the contents of the generated files, by name."""
    return dict(zip(FILES, (reference(), textmate()), strict=True))


if __name__ == "__main__":
    for file_name, text in files().items():
        (Path(sys.argv[1]) / file_name).write_text(text, encoding="utf-8")
