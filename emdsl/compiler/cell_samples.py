"""`samples` that differ from cell to cell: `samples = r.n` of an axis of rows, computed before the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.free_names import free_names
from emdsl.compiler.infer import Checker
from emdsl.compiler.settings import EXPERIMENT, Refused
from emdsl.compiler.types import ANY
from emdsl.compiler.written import called
from emdsl.experiment import CellSamples
from emdsl.frame import Frame, MissingInput, fail
from emdsl.value import NOT_OBTAINED, Missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.grid import Grid
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.statements import Statements
    from emdsl.experiment import Axis
    from emdsl.frame import Fn
    from emdsl.lang import ast

SAMPLES = "samples"


def written_by_cell(statements: Statements) -> ast.Setting | None:
    """Return the setting `samples` of an experiment if it reads names of the experiment."""
    written = [s for s in statements.settings if s.name.text == SAMPLES]
    local = {*statements.axes, *(x.name.text for x in statements.lets), *(s.name for s in statements.steps), "sample"}
    return written[0] if len(written) == 1 and free_names(written[0].value) & local else None


def cell_samples_of(
    setting: ast.Setting, local: LocalScope, lets: Mapping[str, Fn], axes: tuple[Axis, ...], grid: Grid, faults: Faults
) -> CellSamples | None:
    """Return the number of samples of each cell; None for a fault, which is reported.

    Args:
        setting: `samples`, as written.
        local: The names of the experiment.
        lets: Its `let`s.
        axes: Its axes.
        grid: Its cells.
        faults: Takes the faults.
    """
    node = setting.value
    before = faults.n_errors
    reads = local.reads(node)
    unknown = next((n for n in reads if n in local.steps or n == "sample"), None)
    if unknown is not None:
        faults.error("E401", f"`samples` cannot depend on `{unknown}`: the rows are fixed before the run", node.span,
                     help="use axes and constants only; to run a step in some samples only, write "
                     "`when sample < 3 { ask ... }`")  # fmt: skip
        return None
    Checker(local.file, faults, dict.fromkeys(local.names, ANY)).infer(node)
    if faults.n_errors > before:
        return None
    places = tuple(i for i, axis in enumerate(axes) if axis.name in reads)
    compute = local.compiler.expr(node)
    numbers: dict[tuple[int, ...], int] = {}
    with faults.caught():
        for levels in grid.projected(places):
            numbers[levels] = _number(
                compute, local, lets, [(axes[i], x) for i, x in zip(places, levels, strict=True)], node
            )
    return CellSamples(axes=places, numbers=numbers) if faults.n_errors == before else None


def _number(
    compute: Fn, local: LocalScope, lets: Mapping[str, Fn], place: list[tuple[Axis, int]], node: ast.Expr
) -> int:
    """Return the number of samples at some levels; raises EvalFault."""
    frame = Frame(local.constants, lets)
    for axis, position in place:
        frame[axis.name] = axis.levels[position].value
        frame.levels[axis.name] = axis.levels[position]
    try:
        value = compute(frame)
    except MissingInput as missing:
        value = missing.missing
    if value == NOT_OBTAINED:  # its dataset is missing: no row has a request
        return 1
    where = ", ".join(f"{axis.name}={called(axis.levels[i])[:40]}" for axis, i in place)
    if isinstance(value, Missing):
        raise fail("E520", f"`samples` is missing where {where}: {value.reason}", node.span,
                   help=f"give another number there: `samples = {node.span.text} else 1`")  # fmt: skip
    try:
        number: int = EXPERIMENT[SAMPLES].read(value)
    except Refused as refused:
        help_ = (
            f"a cell of a CSV file is a text: `samples = number({node.span.text})`" if isinstance(value, str) else ""
        )
        raise fail("E520", f"`samples` must be {refused} ({where})", node.span, help=help_) from None
    return number
