"""`annotate` statements: the labels that people give to the answers of an ask, and their verdicts in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.annotation import FOLDER, REASONS, Annotation, Unreadable, choices_digest, last_labels, verdicts_in
from emdsl.compiler import settings as tables
from emdsl.compiler.free_names import free_names
from emdsl.compiler.measure_specs import VIA, called_function
from emdsl.compiler.read_settings import read_settings
from emdsl.compiler.types import ANY, Type
from emdsl.digest import digest_bytes
from emdsl.errors import AnnotationError
from emdsl.files import matches, read_whole
from emdsl.lang import ast
from emdsl.source import Label, listed, near, one_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from emdsl.annotation import Verdict
    from emdsl.compiler.datasets import Inputs
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.compiler.statements import Statements
    from emdsl.lang.walk import Tree

WITHIN = "within"
PATTERN = f"{FOLDER}/*.jsonl"


def annotations_of(
    statements: Statements, axes: Collection[str], seed: Any, scope: Scope, inputs: Inputs, faults: Faults
) -> tuple[Annotation, ...]:
    """Return the annotations of an experiment with the verdicts so far; one with an error is reported and left out.

    Args:
        statements: The experiment as written.
        axes: The names of its axes.
        seed: Its setting `seed`.
        scope: The names of its file.
        inputs: Takes the files that are read.
        faults: Takes the faults.
    """
    if not statements.annotations:
        return ()
    asks = [s.name for s in statements.steps if isinstance(s.decl, ast.Ask)]
    verdicts = _verdicts(scope, inputs)
    found = tuple(
        annotation for decl in statements.annotations
        if (annotation := _annotation(decl, asks, axes, seed, scope, verdicts, faults)) is not None
    )  # fmt: skip
    _check_apart(found, faults)
    return found


def _check_apart(annotations: Iterable[Annotation], faults: Faults) -> None:
    """Verdicts are kept by the choices, not by a name: labels alone do not tell two questions apart."""
    asked: dict[tuple[str, str], Annotation] = {}
    for annotation in annotations:
        first = asked.setdefault((annotation.ask, annotation.choices_digest), annotation)
        if first is not annotation and not any(annotation.choices.values()):
            faults.error(
                "E435", f"`{annotation.name}` has the choices of `{first.name}`: a verdict would be one of both",
                annotation.span, help='add what each label means: `choices = { LABEL: "what it means", ... }`',
                labels=(Label(span=first.span, text="the other one"),),
            )  # fmt: skip


def _annotation(
    decl: ast.Annotate, asks: Sequence[str], axes: Collection[str], seed: Any, scope: Scope,
    verdicts: Sequence[Verdict], faults: Faults,
) -> Annotation | None:  # fmt: skip
    before = faults.n_errors
    written = tuple(s for s in decl.settings if s.name.text != WITHIN)
    values = read_settings(written, tables.ANNOTATION, "annotation", scope, faults)
    of = decl.answer.name if isinstance(decl.answer, ast.Ref) else ""
    if of not in asks:
        faults.error("E430", "expected an `ask` after `of`: people judge its answers", decl.answer.span,
                     help=near(of, asks) or listed("ask", "asks", asks))  # fmt: skip
    if "choices" not in values and faults.n_errors == before:
        faults.error("E431", f"the annotation `{decl.name.text}` has no `choices`", decl.name.span,
                     help='add `choices = { LABEL: "what it means", ... }`')  # fmt: skip
    within = tuple(_within(decl, axes, faults))
    if faults.n_errors > before:
        return None
    choices = values["choices"]
    return Annotation(
        name=decl.name.text, ask=of, choices=choices, draw=values.get("draw"), within=within,
        raters=values.get("raters", 1), split=float(values.get("split", 0)), seed=seed,
        labels=last_labels(verdicts, choices_digest(choices)),
        latest=max((v.at for v in verdicts), default=0.0), span=decl.name.span,
    )  # fmt: skip


def _within(decl: ast.Annotate, axes: Collection[str], faults: Faults) -> Iterator[str]:
    """Yield the axes whose levels are groups of the draw."""
    for setting in (s for s in decl.settings if s.name.text == WITHIN):
        nodes = setting.value.items if isinstance(setting.value, ast.Sequence) else (setting.value,)
        for node in nodes:
            if isinstance(node, ast.Ref) and node.name in axes:
                yield node.name
            else:
                faults.error("E433", "expected an axis, or a list of axes, as `within`", node.span,
                             help=near(node.span.text, axes) or listed("axis", "axes", axes))  # fmt: skip


def _verdicts(scope: Scope, inputs: Inputs) -> list[Verdict]:
    """Return all verdicts in the files beside a study.

    Raises:
        AnnotationError: A file cannot be read.
    """
    folder = scope.module.folder
    verdicts: list[Verdict] = []
    paths = matches(folder, PATTERN)
    inputs.watch(folder, PATTERN, paths)
    for path in paths:
        try:
            content = read_whole(path)
            verdicts += verdicts_in(content)
        except Unreadable as error:
            help_ = "mend the line, or restore the file from its last version"
            raise AnnotationError(f"{path}: {error}; {help_}") from error
        inputs.annotations[str(path.resolve())] = digest_bytes(content).hex()
    return verdicts


def check_use(statements: Statements, faults: Faults) -> None:
    """Report each part of an experiment that reads a verdict of people, unknown until after the run."""
    for part in _before_the_run(statements) if statements.people else ():
        if used := sorted(statements.people & free_names(part)):
            span = part.span if isinstance(part, ast.Node) else statements.decl.name.span
            faults.error("E432", f"`{used[0]}` is the verdict of people: only measures can read it", span,
                         help=f"use it in a `measure`, as in `rate({used[0]} is LABEL)`")  # fmt: skip


def _before_the_run(statements: Statements) -> Iterator[Tree]:
    yield from statements.fors
    yield from statements.skips
    yield from statements.sets
    yield from statements.lets
    yield from (s.value for s in statements.settings)
    for step in statements.steps:
        yield step.decl
        yield from step.conditions


def annotation_types(statements: Statements, annotations: Iterable[Annotation]) -> dict[str, Type]:
    """Return the types of annotations in measures; one with an error fits everywhere."""
    lost = {a.name.text: ANY for a in statements.annotations}
    return lost | {a.name: Type("label", labels=frozenset(a.choices), words=REASONS) for a in annotations}


def corrected_by(node: ast.Expr, annotations: Mapping[str, Annotation], faults: Faults) -> dict[str, Any]:
    """Return the fields of a measure that `via: ppi(harm is harmful)` sets; nothing after a reported error."""
    method = called_function(node)
    args = node.args if isinstance(node, ast.Call) else ()
    if method not in VIA or len(args) != 1 or args[0].name is not None:
        faults.error("E434", f"expected {one_of([f'{v}(CONDITION)' for v in VIA])} after `via:`", node.span,
                     help="write `via: ppi(NAME is LABEL)`, of an `annotate NAME of ASK`")  # fmt: skip
        return {}
    person = args[0].value
    read = free_names(person)
    if len(read) != 1 or not read <= annotations.keys():
        faults.error("E434", f"expected a condition on one annotation in `{method}(...)`", person.span,
                     help=listed("annotation", "annotations", annotations) if annotations
                     else "add `annotate NAME of ASK { choices = ... }` to the experiment")  # fmt: skip
        return {}
    return {"via": method, "person": person, "strata": annotations[next(iter(read))].within}
