"""Which tool wrote a file, by its content, and the study that it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.migrate import evals, lm_eval, promptfoo, questions, samples, table
from emdsl.migrate.document import read_document
from emdsl.migrate.folder import read_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.migrate.document import Document
    from emdsl.migrate.draft import Draft, Wanted

FORMS: dict[str, tuple[Callable[[Document], bool], Callable[[Document, Wanted], Draft]]] = {
    "questions of Betley et al. or llmcomp (`paraphrases`)": (questions.knows, questions.read),
    "a config of promptfoo (`prompts` with `providers` or `tests`)": (promptfoo.knows, promptfoo.read),
    "a task of lm-eval (`dataset_path` with `doc_to_text`)": (lm_eval.knows, lm_eval.read),
    "samples of Inspect (`input` with `target` or `choices`)": (samples.knows, samples.read),
    "model-written evaluations (`question`, `answer_matching_behavior`)": (evals.knows, evals.read),
}
OTHERS = ("a folder of a Hugging Face dataset", "rows with questions in a column (`--column NAME`)")


def study_of(path: Path, wanted: Wanted) -> tuple[str, list[str]]:
    """Return the text of the study that a file becomes, and what it leaves out, one line each.

    Raises:
        UsageError: The file cannot be read, is of no known form, or has nothing that can be carried over.
    """
    draft = _read(path, wanted)
    if not draft.experiments:
        raise UsageError("\n  ".join([f"nothing in {path.name} can be carried over", *draft.listing]))
    return draft.text(), draft.listing


def _read(path: Path, wanted: Wanted) -> Draft:
    is_folder = path.is_dir()
    document, left_out = read_folder(path) if is_folder else (read_document(path), [])
    if wanted.column is not None:
        if not document.rows:
            raise UsageError(f"{document.name} has no rows, so it has no column `{wanted.column}`")
        draft = table.read(document, wanted)
    else:
        reader = next((read for knows, read in FORMS.values() if knows(document)), None)
        if reader is None and not (is_folder and document.rows):
            raise UsageError(
                "\n  ".join([f"{document.name} has none of the forms that --from reads:", *FORMS, *OTHERS])
            )
        draft = (reader or table.read)(document, wanted)
    draft.left_out[:0] = left_out
    return draft
