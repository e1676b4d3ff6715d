"""Datasets of Inspect: rows in the form of its `Sample`, with an `input` and a `target` or `choices`.

The scorer belongs to a task, not to its data, so both of Inspect's simplest are written: `includes` and `match`.
Source: Inspect's documentation, "Datasets", read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.migrate.draft import CONVERSATION, Draft, dataset
from emdsl.migrate.rows import Odd, axis, fields_left_out, is_message, is_repeated, row_name
from emdsl.migrate.writing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.migrate.document import Document, Row
    from emdsl.migrate.draft import Wanted

MULTIPLE_CHOICE = [
    "prompt multiple_choice(question, options) {", 'user """', "    {question}", "", "    {options}", "",
    '    End with "Answer: LETTER".', '    """', "}",
]  # fmt: skip
_KNOWN = ("input", "target", "choices", "id", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The form that the rows of one experiment share."""

    conversation: bool
    choices: str  # the expression of the options, or nothing
    target: str  # the expression of the target, or nothing


def knows(document: Document) -> bool:
    """Whether a file has samples."""
    some = document.rows[:20]
    return (
        bool(some)
        and all("input" in r.fields for r in some)
        and any({"target", "choices"} & set(r.fields) for r in some)
    )


def read(document: Document, wanted: Wanted) -> Draft:
    """Return the study that asks the samples of a file."""
    draft = Draft(wanted=wanted, title=f"The samples of {document.name} (Inspect).")
    draft.choose_models()
    groups: dict[_Form, list[Row]] = {}
    ids = set[str]()
    for row in document.rows:
        if is_repeated(row, ids):
            draft.leave_out(row_name(row, "sample"), "an earlier sample has the same `id`", row.line)
            continue
        try:
            groups.setdefault(_form(row.fields), []).append(row)
        except Odd as reason:
            draft.leave_out(row_name(row, "sample"), str(reason), row.line)
    fields_left_out(document, draft, _KNOWN, "sample")
    columns = {
        name: name + "?" * (not all(name in r.fields for r in document.rows))
        for name in ("id", "input", "target", "choices")
        if any(name in r.fields for r in document.rows)
    }
    draft.blocks.append(dataset("samples", wanted.path(document.path), columns))
    draft.blocks += [CONVERSATION] if any(f.conversation for f in groups) else []
    draft.blocks += [MULTIPLE_CHOICE] if any(f.choices for f in groups) else []
    if any(f.target and not f.choices for f in groups):
        draft.leave_out("the scorer", "it is in the task, not in the data; `included` is Inspect's `includes()`, "
                        'and `matched` its `match(location="exact")`')  # fmt: skip
    if any(f.choices for f in groups):
        draft.leave_out("the prompt of `multiple_choice()`", "it is in the task, not in the data")
    for i, (form, rows) in enumerate(groups.items()):
        own = draft.name(i, len(groups))
        draft.experiments.append(
            [f"experiment {own} {{", draft.called, axis("samples", rows, document), "", *_body(form, own), "}"]
        )
    return draft


def _form(fields: Mapping[str, Any]) -> _Form:
    value, choices, target = fields.get("input"), fields.get("choices"), fields.get("target")
    if isinstance(value, tuple) and value:
        if not all(map(is_message, value)):
            raise Odd("a message of its `input` has another role, or more than text")
    elif not isinstance(value, str) or not value:
        raise Odd("its `input` is neither a text nor a list of messages")
    if choices not in (None, "", ()):
        options = _options(choices)
        if not isinstance(value, str):
            raise Odd("it has `choices` and a list of messages")
        n = len(choices) if isinstance(choices, tuple) else str(choices).count(",") + 1
        letters = [chr(ord("A") + i) for i in range(n)]
        only = target[0] if isinstance(target, tuple) and len(target) == 1 else target
        if only not in (None, "", *letters):
            raise Odd(f"its `target` `{shown(target)}` is not the letter of one choice")
        letter = "" if only in (None, "") else "q.target[0]" if isinstance(target, tuple) else "q.target"
        return _Form(conversation=False, choices=options, target=letter)
    match target:
        case None | "" | ():
            form = ""
        case str():
            form = "q.target"
        case tuple() if all(isinstance(t, str) and t for t in target):
            form = "q.target"
        case bool() | dict() | tuple():
            raise Odd("its `target` is neither a text, a number nor a list of texts")
        case _:
            form = '"{q.target}"'
    return _Form(conversation=not isinstance(value, str), choices="", target=form)


def _options(choices: Any) -> str:
    if isinstance(choices, str) and "," in choices:
        return 'split(q.choices, ",")'
    if not isinstance(choices, tuple) or not all(isinstance(c, str) for c in choices):
        raise Odd("its `choices` are not texts")
    if len(choices) > 26 or len(set(choices)) < len(choices):
        raise Odd("its `choices` are more than 26, or not distinct")
    return "q.choices"


def _body(form: _Form, own: str) -> list[str]:
    question = "q.input"
    lines: list[str] = []
    if form.choices:
        lines += [f"let options = {form.choices}", "let shown = lettered(options)"]
        lines.append(f"ask answer from model with multiple_choice({question}, shown)")
        scored = [f"let correct = choice(answer, options) == choice({form.target}, options)", "",
                  f"measure {own}_accuracy = rate(correct) by model"]  # fmt: skip
        return [*lines, *(scored if form.target else [])]
    lines.append(f"ask answer from model with {'conversation(q.input)' if form.conversation else question}")
    if not form.target:
        return lines
    return [
        *lines, f"let included = includes(answer, {form.target})", f"let matched = exact(answer, {form.target})", "",
        f"measure {own}_included = rate(included) by model", f"measure {own}_matched = rate(matched) by model",
    ]  # fmt: skip
