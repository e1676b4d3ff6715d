"""One row as a program: the text of its study, cut down to one cell and sample, with the same request keys."""

from __future__ import annotations

import json
import shlex
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import EmdslError
from emdsl.lang import ast
from emdsl.lang.format import format_source
from emdsl.lang.parser import parse
from emdsl.run.passes import settle_from_store
from emdsl.run.rows import Rows
from emdsl.source import Source
from emdsl.study.compiled import compile_study
from emdsl.study.one_row import settled_row
from emdsl.study.rendering import query_of
from emdsl.value import Row, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Axis, Cell, Experiment
    from emdsl.study.compiled import Compiled
    from emdsl.value import Level, Value


class OneCell(NamedTuple):
    """A row as a program, or if there is none as a command that selects its cell; `text` is either."""

    text: str
    is_program: bool


def one_cell(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> OneCell:
    """Return a program that sends the requests of one row and no other, under the keys that they have in the study.

    The program is compiled before it is returned. If its keys differ, as with a level that no condition can name, the
    result is the command that runs the cell within the study.
    """
    program = _program(study, experiment, cell, sample)
    if program and _keys_of(study, program) == _keys_of_row(study, experiment, cell, sample):
        return OneCell(program, is_program=True)
    levels = [
        f"--only {shlex.quote(f'{a.name}={a.levels[i].shown}')}"
        for a, i in zip(experiment.axes, cell, strict=True) if len(a.levels) > 1
    ]  # fmt: skip
    file = shlex.quote(study.project.relative(study.file))
    return OneCell(" ".join(["emdsl run", file, *levels, f"--samples {sample + 1}"]), is_program=False)


def _program(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> str:
    """Return the text of a study, with one experiment of one row; "" if there is none."""
    source = study.program.sources.get(str(study.file.resolve()))
    if source is None:
        return ""
    edits = sorted(_edits(source, experiment, list(_conditions(experiment, cell)), sample), reverse=True)
    text = source.text
    for start, end, new in edits:
        text = text[:start] + new + text[end:]
    levels = (f"{a.name} {a.levels[i].shown}" for a, i in zip(experiment.axes, cell, strict=True))
    where = " ".join(", ".join((experiment.name, *levels, f"sample {sample}")).split())
    text = f"# One row of {study.file.name}: {where}\n# Save it beside {study.file.name}.\n{text}"
    try:
        return format_source(Source(study.file.name, text))
    except EmdslError:
        return ""


def _edits(
    source: Source, experiment: Experiment, conditions: list[str], sample: int
) -> Iterator[tuple[int, int, str]]:
    """Yield replacements of ranges of a text, that leave one row of one experiment."""
    for decl in parse(source)[0].decls:
        if not isinstance(decl, ast.Experiment):
            continue
        if decl.name.text != experiment.name:
            yield decl.span.start, decl.span.end, ""
            continue
        if conditions:
            first = decl.body[0].span.start
            yield first, first, f"skip when not ({' and '.join(conditions)})\n  "
        for kind, statements in groupby(decl.body, _kind):
            spans = [s.span for s in statements]
            if kind == "of many rows":
                yield from ((span.start, span.end, "") for span in spans)
            elif kind == "step" and experiment.samples > 1:
                start, end = spans[0].start, spans[-1].end
                yield start, end, f"when sample == {sample} {{\n{source.text[start:end]}\n}}"


def _kind(statement: ast.Stmt) -> str:
    if isinstance(statement, ast.Measure | ast.Annotate):
        return "of many rows"
    return "step" if isinstance(statement, ast.Ask | ast.Judge | ast.When) else "other"


def _conditions(experiment: Experiment, cell: Cell) -> Iterator[str]:
    """Yield conditions that a row has the levels of a cell; one that cannot be written is left out."""
    for axis, i in zip(experiment.axes, cell, strict=True):
        if len(axis.levels) > 1:
            yield from _conditions_of(axis, axis.levels[i])


def _conditions_of(axis: Axis, level: Level) -> Iterator[str]:
    if isinstance(level.value, Row):
        columns = level.value.columns
        for column in ("id",) if "id" in columns else columns:
            yield from _equals(f"{axis.name}.{column}", columns[column])
    elif level.label is not None:
        yield f"{axis.name} is {json.dumps(level.label, ensure_ascii=False)}"
    else:
        yield from _equals(axis.name, level.value)


def _equals(name: str, value: Value) -> Iterator[str]:
    """Yield the condition that a name has a value, for a value that can be written."""
    match value:
        case bool():
            yield name if value else f"not {name}"
        case int() | Decimal() | float():
            yield f"{name} == {render(value)}"
        case str():
            braces = value.replace("{", "{{").replace("}", "}}")
            yield f"{name} == {json.dumps(braces, ensure_ascii=False)}"


# ---------------------------------------------------------------- the same requests


def _keys_of(study: Compiled, program: str) -> set[bytes] | None:
    """Return the keys of all requests of a program in place of the study; None if it has errors."""
    with TemporaryDirectory(prefix="emdsl-cell-") as folder:
        file = Path(folder) / study.file.name
        file.write_text(program, encoding="utf-8")
        try:
            (experiment,) = compile_study(study.project, study.file, {study.file.resolve(): file}).program.experiments
            walk = Rows(experiment)
            rows = list(walk.everything())
            with study.store() as store:
                settle_from_store(walk, rows, store)
        except (EmdslError, ValueError):
            return None
    return {q.key for row in rows for step in experiment.steps if (q := query_of(row, step)) is not None}


def _keys_of_row(study: Compiled, experiment: Experiment, cell: Cell, sample: int) -> set[bytes]:
    row = settled_row(study, experiment, cell, sample)
    return {q.key for step in experiment.steps if (q := query_of(row, step)) is not None}
