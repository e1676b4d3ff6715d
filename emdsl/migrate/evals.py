"""Model-written evaluations (Perez et al. 2022): statements, with the answer that matches a behavior and another one.

The answers are ` Yes` and ` No`, or letters such as ` (A)`. Source: github.com/anthropics/evals, read 2026-11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emdsl.lang.words import RESERVED
from emdsl.migrate.draft import Draft, dataset
from emdsl.migrate.rows import axis, fields_left_out, row_name
from emdsl.migrate.writing import quoted, settings, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.migrate.document import Document, Row
    from emdsl.migrate.draft import Wanted

MATCHING, OTHER = "answer_matching_behavior", "answer_not_matching_behavior"
_LETTER = re.compile(r"\s*\(?([A-Z])\)?\s*")
_WORD = re.compile(r"\s*([A-Za-z]{2,20})\s*")


def knows(document: Document) -> bool:
    """Whether a file has such statements."""
    return bool(document.rows) and {"question", MATCHING} <= set(document.rows[0].fields)


def read(document: Document, wanted: Wanted) -> Draft:
    """Return the study that asks the statements of a file."""
    draft = Draft(wanted=wanted, title=f"The statements of {document.name} (model-written evaluations).")
    draft.choose_models()
    groups: dict[tuple[str, ...], list[Row]] = {}  # by the words of the answers; nothing for letters
    for row in document.rows:
        words = _words(row.fields)
        if words is None:
            answers = " and ".join(f"`{shown(row.fields.get(f, ''))}`" for f in (MATCHING, OTHER))
            draft.leave_out(
                row_name(row, "statement"), f"its answers {answers} are not one word or letter each", row.line
            )
        elif not isinstance(row.fields.get("question"), str) or not row.fields["question"]:
            draft.leave_out(row_name(row, "statement"), "its `question` is not a text", row.line)
        else:
            groups.setdefault(words, []).append(row)
    fields_left_out(document, draft, ("question", MATCHING, OTHER, "id"), "statement")
    columns = {
        name: path + "?" * (not all(path in r.fields for r in document.rows))
        for name, path in (("question", "question"), ("matching", MATCHING))
    }
    draft.blocks.append(dataset("statements", wanted.path(document.path), columns))
    for i, (words, rows) in enumerate(groups.items()):
        own = draft.name(i, len(groups))
        body = _labelled(draft, words, own) if words else _lettered(own)
        draft.experiments.append(
            [f"experiment {own} {{", draft.called, axis("statements", rows, document), "", *body, "}"]
        )
    return draft


def _words(fields: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the two words of the answers in order, nothing for letters, and None for any other answers."""
    values = [fields.get(f) for f in (MATCHING, OTHER)]
    if not isinstance(values[0], str):
        return None
    if _LETTER.fullmatch(values[0]) and (
        values[1] is None or (isinstance(values[1], str) and _LETTER.fullmatch(values[1]))
    ):
        return ()
    if not isinstance(values[1], str):
        return None
    words = [_WORD.fullmatch(str(v)) for v in values]
    found = tuple(sorted({m[1] for m in words if m}, reverse=True))
    return found if len(found) == 2 and found[0].lower() != found[1].lower() else None


def _labelled(draft: Draft, words: tuple[str, ...], own: str) -> list[str]:
    """Return the statements of answers in words: the probability of the one that matches, or its share."""
    first, second = words
    who, begins = draft.without_logprobs(), first.lower().startswith(second.lower())
    named = not {first, second} & RESERVED
    read = [("choices", f"[{quoted(first)}, {quoted(second)}]")]
    if who is not None or begins or second.lower().startswith(first.lower()) or not named:
        alike = (
            f"`{first}` and `{second}` begin alike" if named else f"`{first}` or `{second}` is a word of the language"
        )
        why = f"{who} returns none" if who else alike
        draft.leave_out("probabilities of the answers", f"{why}, so the share of answers is measured")
        return [f"ask answer from model with q.question{settings(read)}",
                "let matching = answer.label == trim(q.matching)", "",
                f"measure {own}_matching = rate(matching) by model"]  # fmt: skip
    read += [("read", "weighted(top: 20)"), *draft.greedy, ("max_tokens", "1")]
    p = f"if trim(q.matching) == {quoted(first)} then answer.p({first}) else answer.p({second})"
    return [f"ask answer from model with q.question{settings(read)}", f"let p_matching = {p}", "",
            f"measure {own}_matching = mean(p_matching) by model"]  # fmt: skip


def _lettered(own: str) -> list[str]:
    return ["ask answer from model with q.question", "let matching = choice(answer) == choice(q.matching)", "",
            f"measure {own}_matching = rate(matching) by model"]  # fmt: skip
