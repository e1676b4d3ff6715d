"""Tests of a promptfoo config: inline, or in CSV, JSON and YAML files; lists of values become one test for each."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.data.reading import READERS
from emdsl.errors import UsageError
from emdsl.migrate.document import read_document, within
from emdsl.migrate.templates import NotSimple
from emdsl.migrate.writing import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from emdsl.migrate.document import Document
    from emdsl.migrate.draft import Draft

MAX_TESTS = 500  # that are written into a study
_READ = ("vars", "assert", "description", "options", "metadata")
_EXPECTED = re.compile(r"__expected\d*")
_TYPED = re.compile(r"\s*((?:not-)?[a-z][a-z-]*)(?:\(([\d.]+)\))?:\s?(.*)", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Test:
    """A test: its variables as texts, and its asserts with those of all tests."""

    number: int  # from 1, after lists of values became tests
    origin: int  # its number in the file; 0 for all rows of a table
    line: int | None
    description: str
    variables: dict[str, str]
    asserts: list[dict[str, Any]] = field(default_factory=list)
    repeat: int = 1


def tests_of(document: Document, draft: Draft) -> tuple[list[Test], str | None]:
    """Return the tests, and the path of the data file if the study can read them from there."""
    default = document.tree.get("defaultTest") or {}
    if not isinstance(default, dict):
        draft.leave_out("`defaultTest`", "it is in another file", document.line("defaultTest"))
        default = {}
    folder = document.path.parent
    try:
        default = _with_texts(default, folder)
        next(_tests({}, (1, 1, None), default, 1))
    except NotSimple as reason:
        draft.leave_out("`defaultTest`", str(reason), document.line("defaultTest"))
        default = {}
    repeat = _repeat(document, draft)
    tests: list[Test] = []
    value = document.tree.get("tests")
    items = value if isinstance(value, tuple) else () if value in (None, "") else (value,)
    if len(items) == 1 and isinstance(items[0], str):
        file = _table(items[0], document)
        if file is not None and not default.get("vars"):
            made = list(_tests({"vars": {}}, (1, 0, None), default, repeat, draft, "all tests"))
            return made, draft.wanted.path(document.path.parent / file)
    for i, (place, line, item) in enumerate(_items(items, document, draft), start=1):
        try:
            tests += _tests(_with_texts(item, folder), (len(tests) + 1, i, line), default, repeat, draft, place)
            if len(tests) > MAX_TESTS:
                raise UsageError(
                    f"{document.name} has more than {MAX_TESTS} tests; put their variables into a CSV file"
                )
        except NotSimple as reason:
            draft.leave_out(place, str(reason), line)
    if not items:
        tests = list(_tests({"vars": {}}, (1, 1, None), default, repeat))
    return tests, None


def _with_texts(item: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return a test whose variables have the content of the text files that they name."""
    variables = item.get("vars")
    if not isinstance(variables, dict):
        return item
    texts: dict[str, Any] = {}
    for name, value in variables.items():
        if isinstance(value, str) and value.startswith("file://") and value.lower().endswith((".txt", ".md")):
            path = within(folder, value)
            if path is None:
                raise NotSimple(f"its variable `{shown(name)}` is outside of the folder of the config")
            try:
                texts[name] = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise NotSimple(f"its variable `{shown(name)}` is in a file that cannot be read") from None
    return {**item, "vars": {**variables, **texts}}


def _repeat(document: Document, draft: Draft) -> int:
    repeat = 1
    for name in ("evaluateOptions", "commandLineOptions"):
        options = document.tree.get(name)
        value = str(options.get("repeat", 1)) if isinstance(options, dict) else "1"
        if re.fullmatch(r"[1-9]\d{0,5}", value):
            repeat = max(repeat, int(value))
        else:
            draft.leave_out(f"`{name}.repeat`", "it is not a number", document.line(name))
    return repeat


def _table(item: str, document: Document) -> str | None:
    """Return the path of a data file with variables alone; None for any other."""
    name = item.removeprefix("file://")
    path = document.path.parent / name
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return None
    rows = read_document(path).rows
    return name if rows and not any(k.startswith("__") for k in rows[0].fields) else None


def _items(
    items: tuple[Any, ...], document: Document, draft: Draft
) -> Iterator[tuple[str, int | None, Mapping[str, Any]]]:
    """Yield the place, the line and the fields of each test, those of files included."""
    n = 0
    for i, item in enumerate(items):
        line = document.line("tests", i)
        if isinstance(item, dict) and "path" not in item:
            n += 1
            yield f"test {n}", line, item
            continue
        name = (
            item.removeprefix("file://")
            if isinstance(item, str)
            else str(item.get("path", ""))
            if isinstance(item, dict)
            else ""
        )
        path = document.path.parent / name
        if path.suffix.lower() not in READERS or not path.is_file():
            draft.leave_out(f"tests of `{shown(name)}`", "it is not a data file here", line)
            continue
        inner = read_document(path)
        rows = [(r.fields, r.line) for r in inner.rows] or [(inner.tree, None)]
        for fields, at in rows:
            n += 1
            test = fields if "vars" in fields or "assert" in fields else _of_table(fields)
            yield f"test {n} of {path.name}", at, test


def _of_table(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table as a test: its columns are variables, and `__expected` an assert."""
    variables = {k: v for k, v in fields.items() if not k.startswith("__")}
    asserts: list[dict[str, Any]] = []
    for name, value in fields.items():
        if _EXPECTED.fullmatch(name) and value not in (None, ""):
            typed = _TYPED.fullmatch(str(value))
            if typed is None:
                asserts.append({"type": "equals", "value": str(value)})
                continue
            listed = typed[1].endswith(("-any", "-all"))
            expected = tuple(x.strip() for x in typed[3].split(",")) if listed else typed[3]
            asserts.append({"type": typed[1], "value": expected} | ({"threshold": typed[2]} if typed[2] else {}))
    others = {k: v for k, v in fields.items() if k in ("__prefix", "__suffix", "__threshold") and v}
    return {"vars": variables, "assert": tuple(asserts), "description": fields.get("__description") or "", **others}


def _tests(
    item: Mapping[str, Any], at: tuple[int, int, int | None], default: Mapping[str, Any], repeat: int,
    draft: Draft | None = None, place: str = "",
) -> Iterator[Test]:  # fmt: skip
    """Yield a test for each combination of its lists of values; raises NotSimple.

    `at` has its first number, its number in the file, and its line; without a `draft`, nothing is listed.
    """
    given = [owner.get("vars") or {} for owner in (default, item)]
    if not all(isinstance(v, dict) for v in given):
        raise NotSimple("its `vars` is not an object")
    variables = {**given[0], **given[1]}
    lists: list[tuple[str, ...]] = []
    for name, value in variables.items():
        values = value if isinstance(value, tuple) else (value,)
        texts = ["" if v is None else v if isinstance(v, str) else str(v) for v in values]
        if any(isinstance(v, dict | tuple) for v in values):
            raise NotSimple(f"its variable `{shown(name)}` is an object")
        if any(t.startswith("file://") for t in texts):
            raise NotSimple(f"its variable `{shown(name)}` is in another file")
        if any("{{" in t or "{%" in t for t in texts):
            raise NotSimple(f"its variable `{shown(name)}` holds a template")
        lists.append(tuple(texts))
    for owner, name in ((item, place), (default, "`defaultTest`")) if draft is not None else ():
        for key in owner:
            if key not in _READ and draft is not None:
                draft.leave_out(f"`{shown(key)}` of {name}", "a study has no such setting")
        options = owner.get("options")
        for key in options if isinstance(options, dict) else ():
            if key != "provider" and draft is not None:
                draft.leave_out(f"`options.{shown(key)}` of {name}", "a study has no such setting")
    grader = _grader(item) or _grader(default)
    asserts = [*_asserts(default), *_asserts(item)]
    if grader:
        asserts = [{"provider": grader, **a} if a.get("type") == "llm-rubric" else a for a in asserts]
    if len(list(itertools.islice(itertools.product(*lists), MAX_TESTS + 1))) > MAX_TESTS:
        raise NotSimple(f"its lists of values make more than {MAX_TESTS} tests")
    for i, values in enumerate(itertools.product(*lists)):
        yield Test(
            number=at[0] + i, origin=at[1], line=at[2], description=shown(item.get("description") or ""),
            asserts=asserts, repeat=repeat, variables=dict(zip(variables, values, strict=True)),
        )  # fmt: skip


def _asserts(owner: Mapping[str, Any]) -> list[dict[str, Any]]:
    value = owner.get("assert") or ()
    if not isinstance(value, tuple) or not all(isinstance(a, dict) for a in value):
        raise NotSimple("its `assert` is not a list of objects")
    return [{k: v for k, v in a.items() if v is not None} for a in value]


def _grader(owner: Mapping[str, Any]) -> Any:
    options = owner.get("options")
    return options.get("provider") if isinstance(options, dict) else None
