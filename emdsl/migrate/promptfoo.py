"""Configs of promptfoo: prompts, providers, tests with variables, and asserts that need no program.

Source: promptfoo's documentation, "Configuration reference", "Prompts" and "Test cases", read 2026-11.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.migrate import asserts
from emdsl.migrate.document import read_document, within
from emdsl.migrate.draft import NAMES, Draft, dataset
from emdsl.migrate.promptfoo_tests import Test, tests_of
from emdsl.migrate.providers import models_of, use_of
from emdsl.migrate.templates import NotSimple, Translation, translated
from emdsl.migrate.writing import Field, message, name_of, quoted, shown, unique

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.migrate.document import Document
    from emdsl.migrate.draft import Wanted

MAX_DEPTH = 5  # of references to references
GRADER = "openai/gpt-4.1-2025-04-14"  # promptfoo's default
_READ = (
    "prompts",
    "providers",
    "targets",
    "tests",
    "defaultTest",
    "evaluateOptions",
    "commandLineOptions",
    "assertionTemplates",
)
_HARMLESS = ("description", "tags", "outputPath", "sharing", "env", "$schema", "metadata", "writeLatestResults")
_RUBRIC = [
    "rubric meets(criterion, answer) {", "shape = { reason: text, score: number, pass: bool }", "temperature = 0",
    "max_tokens = 600", 'user """', "    Grade an output by a criterion.", "", "    Criterion:", "    {criterion}", "",
    "    Output:", "    {answer}", "", "    Reply as JSON: {shape}", "    The score is a number from 0 to 1.",
    '    """', "}",
]  # fmt: skip


@dataclass(slots=True)
class _Prompt:
    name: str
    messages: list[tuple[str, Translation]]

    @property
    def values(self) -> dict[str, str]:
        """The expression of each parameter."""
        return {n: v for _, t in self.messages for n, v in t.values.items()}


@dataclass(slots=True)
class _Columns:
    """The variables that prompts and asserts use, by their names in the study."""

    names: dict[str, str] = field(default_factory=dict)

    def value_of(self, path: str) -> str:
        """Return the expression of a variable; raises NotSimple."""
        if "." in path:
            raise NotSimple(f"`{shown(path)}` is a part of a variable")
        if path not in self.names:
            self.names[path] = unique(name_of(path, "var"), ("id", *self.names.values()))
        return f"t.{self.names[path]}"

    def text_of(self, value: str) -> str:
        """Return a text with templates as an expression; raises NotSimple."""
        translation = translated(value, self.value_of)
        if len(translation.parts) == 1 and isinstance(translation.parts[0], Field):
            return translation.values[translation.parts[0].path]
        parts: list[str | Field] = []
        for part in translation.parts:
            expression = translation.values[part.path] if isinstance(part, Field) else ""
            if isinstance(part, Field) and not re.fullmatch(r"t\.\w+", expression):
                raise NotSimple(f"`{shown(value)}` has a filter")
            parts.append(Field(expression) if expression else part)
        return quoted(*parts)


def knows(document: Document) -> bool:
    """Whether a file is a config."""
    fields = set(document.tree)
    return "prompts" in fields and bool(fields & {"providers", "targets", "tests", "defaultTest"})


def read(document: Document, wanted: Wanted) -> Draft:
    """Return the study of a config; parts without a counterpart are listed."""
    tree = _resolved(document.tree, document.tree)
    document = replace(document, tree=tree)
    draft = Draft(wanted=wanted, title=f"The prompts and tests of {document.name} (promptfoo).")
    models = [] if wanted.models else models_of(tree.get("providers") or tree.get("targets") or (), draft)
    draft.models += models
    if not models:
        draft.choose_models()
    for name in tree:
        if name not in (*_READ, *_HARMLESS):
            draft.leave_out(f"`{shown(name)}`", "a study has no such setting", document.line(name))
    columns = _Columns()
    prompts = list(_prompts(document, columns, draft))
    tests, file = tests_of(document, draft)
    if not prompts:
        return draft
    for prompt in prompts:
        lines = [x for role, t in prompt.messages for x in message(role, t.parts, prompt.values)]
        draft.blocks.append([f"prompt {prompt.name}({', '.join(prompt.values)}) {{", *lines, "}"])
    if file is None:
        tests = [t for t in tests if not _is_blank(t, prompts, columns, draft)]
    _experiments(draft, prompts, tests, columns, file)
    return draft


def _resolved(value: Any, tree: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value with the parts of the file that `$ref: "#/path"` names in their places."""
    if isinstance(value, tuple):
        return tuple(_resolved(v, tree, depth) for v in value)
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/") and depth < MAX_DEPTH:
        target: Any = tree
        for step in reference[2:].split("/"):
            target = target.get(step) if isinstance(target, dict) else None
        return value if target is None else _resolved(target, tree, depth + 1)
    return {k: _resolved(v, tree, depth) for k, v in value.items()}


def _is_blank(test: Test, prompts: list[_Prompt], columns: _Columns, draft: Draft) -> bool:
    """Whether a message of a prompt is empty with the variables of a test; such a test is left out."""
    blank = {f"t.{n}" for v, n in columns.names.items() if not test.variables.get(v, "").strip()}
    for prompt in prompts:
        for _, translation in prompt.messages:
            fields = [translation.values[p.path] for p in translation.parts if isinstance(p, Field)]
            texts = [p for p in translation.parts if isinstance(p, str)]
            if fields and not "".join(texts).strip() and all(set(re.findall(r"t\.\w+", f)) <= blank for f in fields):
                draft.leave_out(f"test {test.origin}", f"a message of the prompt `{prompt.name}` is empty", test.line)
                return True
    return False


def _prompts(document: Document, columns: _Columns, draft: Draft) -> Iterator[_Prompt]:
    names: list[str] = []
    value = document.tree["prompts"]
    if isinstance(value, dict):
        value = tuple(value)
    for i, item in enumerate(value if isinstance(value, tuple) else (value,)):
        label, line = f"prompt {i + 1}", document.line("prompts", i)
        if isinstance(item, dict):
            label = str(item.get("label") or label)
            item = item.get("raw") or item.get("id") or ""  # noqa: PLW2901 - an object holds the prompt itself
        try:
            for content in _contents(item, document):
                messages = [(role, translated(text, columns.value_of)) for role, text in _messages(content)]
                name = unique(draft.wanted.free(name_of(label, "prompt"), "prompt"), (*NAMES, *names))
                names.append(name)
                yield _Prompt(name, messages)
        except NotSimple as reason:
            draft.leave_out(f"prompt {i + 1}", str(reason), line)


def _contents(item: Any, document: Document) -> list[Any]:
    """Return the prompts that an item names: itself, or those of a text file; raises NotSimple."""
    if not isinstance(item, str):
        return [item]
    is_name = "\n" not in item and re.search(r"\.\w{1,5}$", item)
    path = within(document.path.parent, item) if is_name or item.startswith("file://") else None
    if not item.startswith("file://") and (path is None or not path.is_file()):
        return [item]
    if path is None or path.suffix.lower() not in (".txt", ".md", ".j2", ".json"):
        raise NotSimple(f"`{shown(item)}` is " + ("not a text file" if path else "outside of the folder of the config"))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise NotSimple(f"`{shown(item)}` cannot be read") from None
    return [t.strip("\n") for t in re.split(r"\n---\n", text)]


def _messages(content: Any) -> list[tuple[str, str]]:
    """Return the messages of a prompt: a conversation, also as JSON, or one of the user; raises NotSimple."""
    if isinstance(content, str) and content.lstrip().startswith("["):
        with suppress(ValueError):
            content = json.loads(content)
    if isinstance(content, str) and content:
        return [("user", content)]
    if not isinstance(content, list | tuple) or not content:
        raise NotSimple("it is neither a text nor a conversation")
    messages: list[tuple[str, str]] = []
    for item in content:
        text = item.get("content") if isinstance(item, dict) else None
        if not isinstance(text, str) or not text or item.get("role") not in ("system", "user", "assistant"):
            raise NotSimple("a message of it has no text, or no role of a conversation")
        messages.append((str(item["role"]), text))
    return messages


@dataclass(slots=True)
class _Check:
    """An assert of a group of tests: its name, its kind, and its value in each test."""

    name: str
    assertion: dict[str, Any]
    values: list[Any] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The name of the assert in the list of parts that are left out."""
        if self.tests[0].origin == 0:
            return f"assert `{shown(self.assertion.get('type', ''))}` of all tests"
        numbers = [str(n) for n in dict.fromkeys(t.origin for t in self.tests)]
        some = ", ".join(numbers[:3]) + (", ..." if len(numbers) > 3 else "")
        return f"assert `{shown(self.assertion.get('type', ''))}` of test{'s' if len(numbers) > 1 else ''} {some}"


def _experiments(draft: Draft, prompts: list[_Prompt], tests: list[Test], columns: _Columns, file: str | None) -> None:
    groups: dict[str, list[Test]] = {}
    for test in tests:
        groups.setdefault(_signature(test), []).append(test)
    graded = False
    bodies: list[tuple[list[Test], list[str], list[_Check]]] = []
    for some in groups.values():
        checks = _checks(some, draft.wanted, (*NAMES, *(p.name for p in prompts)))
        lines, kept = _check_lines(checks, columns, draft)
        graded = graded or any("with meets(" in x for x in lines)
        bodies.append((some, lines, kept))
    if graded:
        draft.blocks.append(_RUBRIC)
        draft.leave_out("promptfoo's grader", "its prompt is not in the file; the study has a rubric of its own")
    if file is not None and columns.names:
        available = read_document(draft.wanted.file.parent / file).rows[0].fields
        if missing := [v for v in columns.names if v not in available]:
            raise UsageError(f"`{file}` has no column `{shown(missing[0])}`, which the config uses as a variable")
        draft.blocks.insert(0, dataset("tests", file, {n: v for v, n in columns.names.items()}))
    for i, (some, lines, kept) in enumerate(bodies):
        own = draft.name(i, len(bodies))
        rows = ["for t in tests"] if file is not None else _rows(some, columns, kept)
        axis = [f"for prompt in [{', '.join(quoted(p.name) for p in prompts)}]"] if len(prompts) > 1 else []
        samples = some[0].repeat
        draft.experiments.append([
            f"experiment {own} {{", draft.called, *axis, *(rows if columns.names or kept else []),
            *([f"samples = {samples}"] if samples > 1 else []), "", f"ask answer from model with {_asked(prompts)}",
            *lines, *_passed(own, lines, by="model, prompt" if axis else "model"), "}",
        ])  # fmt: skip


def _asked(prompts: list[_Prompt]) -> str:
    calls = [f"{p.name}({', '.join(p.values.values())})" if p.values else f"{p.name}()" for p in prompts]
    asked = calls[-1]
    for prompt, call in reversed(list(zip(prompts[:-1], calls[:-1], strict=True))):
        asked = f"if prompt == {quoted(prompt.name)} then {call} else {asked}"
    return asked


def _passed(own: str, lines: list[str], by: str) -> list[str]:
    names = [m[1] for x in lines if (m := re.match(r"let (\w+) = ", x))]
    if not names:
        return []
    passed = [f"let passed = {' and '.join(names)}"] if len(names) > 1 else []
    return [*passed, "", *(f"measure {own}_{n} = rate({n}) by {by}" for n in names),
            *([f"measure {own}_passed = rate(passed) by {by}"] if len(names) > 1 else [])]  # fmt: skip


def _signature(test: Test) -> str:
    """Return a text that is equal for the tests of one experiment: asserts without plain texts, which are a column."""
    return repr([_shape(a) for a in test.asserts])


def _shape(assertion: dict[str, Any]) -> dict[str, Any]:
    return {**assertion, "value": None} if asserts.takes_text(assertion) else assertion


def _checks(tests: list[Test], wanted: Wanted, taken: Iterable[str]) -> list[_Check]:
    checks: list[_Check] = []
    for i, assertion in enumerate(tests[0].asserts):
        name = unique(
            wanted.free(name_of(str(assertion.get("metric") or assertion.get("type") or ""), "check"), "check"),
            (*taken, *(c.name for c in checks)),
        )  # fmt: skip
        checks.append(_Check(name, assertion, [t.asserts[i].get("value") for t in tests], tests))
    return checks


def _check_lines(checks: Iterable[_Check], columns: _Columns, draft: Draft) -> tuple[list[str], list[_Check]]:
    """Return the statements of asserts, and those whose value is a column."""
    lines: list[str] = []
    kept: list[_Check] = []
    for check in checks:
        column = len(set(map(repr, check.values))) > 1

        def text_of(value: str, name: str = check.name, *, column: bool = column) -> str:
            return f"t.{name}" if column else columns.text_of(value)

        try:
            if str(check.assertion.get("type")) == asserts.RUBRIC:
                new = _rubric_lines(check, text_of, draft)
            else:
                for value in check.values[:-1]:  # each must be one that the language has
                    asserts.expression({**check.assertion, "value": value}, text_of)
                condition = asserts.expression({**check.assertion, "value": check.values[-1]}, text_of)
                new = [f"let {check.name} = {condition}"]
        except NotSimple as reason:
            draft.leave_out(check.place, str(reason), check.tests[0].line)
            continue
        lines += new
        kept += [check] if column else []
    return lines, kept


def _rubric_lines(check: _Check, text_of: Any, draft: Draft) -> list[str]:
    asserts.check_fields(check.assertion)
    if not isinstance(check.values[0], str):
        raise NotSimple("its value is not a text")
    provider = check.assertion.get("provider")
    named = provider.get("id") if isinstance(provider, dict) else provider
    use = use_of(str(named)) if named else GRADER
    if use is None:
        raise NotSimple(f"its grader `{shown(named)}` is not a model that a study can use")
    verdict = f"{check.name}_verdict"
    call = f"judge {verdict} with meets({text_of(check.values[0])}, answer) from {quoted(draft.judge(use))}"
    return [call, f"let {check.name} = {asserts.threshold(check.assertion, verdict)}"]


def _rows(tests: list[Test], columns: _Columns, kept: list[_Check]) -> list[str]:
    """Return the axis over tests that are written into the study."""
    lines = ["for t in ["]
    names = [t.description for t in tests]
    for i, test in enumerate(tests):
        id_ = test.description if test.description and names.count(test.description) == 1 else str(test.number)
        fields = {"id": id_} | {n: test.variables.get(v, "") for v, n in columns.names.items()}
        fields |= {check.name: check.values[i] for check in kept}
        lines.append(f"{{ {', '.join(f'{n}: {quoted(v)}' for n, v in fields.items())} }},")
    return [*lines, "]"]
