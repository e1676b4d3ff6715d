"""A run that Python calls: its options, its progress below a notebook's cell, and its question before it spends."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from emdsl.redact import mask
from emdsl.study.frontend import Frontend, confirm, output
from emdsl.study.notebook_view import NotebookView
from emdsl.study.options import MAX_CONNECTIONS, MAX_WORKERS, NamedBudget, RunOptions, budget_of, usd_of
from emdsl.study.progress_view import NONE, PLAIN, ProgressView, choose_display
from emdsl.study.run import Run, run_study
from emdsl.study.selection import only_texts, whole
from emdsl.study.team_budgets import resolved

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from emdsl.study.asking import Interrupter
    from emdsl.study.compiled import Compiled
    from emdsl.study.foreground import Foreground
    from emdsl.study.project import Project
    from emdsl.study.selection import Only

CONFIRM_OVER_USD = 10  # as of `emdsl run --confirm-over`


def run_options(
    samples: int | None, only: Only | None, budget: Decimal | float | str | None, *, offline: bool,
    connections: int | None, workers: int | None, pilot: bool, yes: bool, confirm_over: Decimal | float, on: str | None,
) -> RunOptions:  # fmt: skip
    """Return the options of a run; raises UsageError for a wrong one."""
    if connections is not None:
        connections = whole(connections, 1, "connections", MAX_CONNECTIONS)
    if workers is not None:
        workers = whole(workers, 1, "workers", MAX_WORKERS)
    cap = budget_of(budget) if budget is not None and not offline else None
    usd, named = (None, cap) if isinstance(cap, NamedBudget) else (cap, None)
    return RunOptions(
        samples=samples, only=only_texts(only), budget=usd, named=named, offline=offline,
        connections=connections, workers=workers, pilot=pilot,
        confirm_over=None if yes else usd_of(confirm_over, "confirm_over"), on=on,
    )  # fmt: skip


def cap_of(project: Project, budget: Decimal | float | str | None) -> Decimal | None:
    """Return the US dollars that a run with this budget may spend now; raises UsageError and StoreError."""
    return resolved(project, budget_of(budget) if budget is not None else None, make=False)[0]


def run_for(
    compiled: Callable[[], Compiled], options: RunOptions, display: str | None, interrupter: Interrupter,
    foreground: Foreground, where: Frontend,
) -> Run:  # fmt: skip
    """Run a study in a thread without an event loop.

    Args:
        compiled: Compiles the study.
        options: Of the run; without anybody who could answer, its question is left out.
        display: As `Study.run` takes it.
        interrupter: Interrupts the run.
        foreground: The calling thread.
        where: The calling code runs there.
    """
    chosen, place = choose_display(display), output(where)
    in_notebook = place is not None and chosen != NONE and display != PLAIN

    def view(pending: int) -> ProgressView:
        if in_notebook and place is not None:
            return NotebookView(pending, place, foreground)
        return ProgressView(chosen, pending, lambda line: foreground.post(lambda: _say(line)))

    study = compiled()
    if options.named is not None:
        cap, named = resolved(study.project, options.named, make=True)
        options = replace(options, budget=cap, named=named)
    return run_study(
        study.offline() if options.offline else study, options, view=view, interrupter=interrupter,
        confirm=lambda question: (
            where is Frontend.SCRIPT or foreground.call(lambda: confirm(question, where))
        ),
    )  # fmt: skip


def _say(line: str) -> None:
    sys.stderr.write(f"{mask(line)}\n")
