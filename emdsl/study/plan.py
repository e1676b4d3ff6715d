"""Plans: the pending requests of a study, their reasons and their cost; nothing is sent."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from emdsl.errors import UnknownAxis
from emdsl.outcomes.load_ids import DATABASE, check_name, known_loads
from emdsl.providers.secret import why_unusable
from emdsl.run.merging import Merger, NotMergeable
from emdsl.run.planner import plan_all
from emdsl.run.rows import Rows
from emdsl.study.batch_choice import choose_ways, in_batches, ways_json
from emdsl.study.compiled import unknown
from emdsl.study.cost import budget_parts, budgets_json, check_budgets, costs
from emdsl.study.counts import (
    count_parts,
    n_pending,
    plan_json,
    reason_parts,
    store_parts,
    warning_parts,
    warnings_json,
)
from emdsl.study.data_parts import data_json, data_parts
from emdsl.study.options import RunOptions
from emdsl.study.planfile import PlanFile, digests, known_requests, write_plan
from emdsl.study.previous import FIRST_RUN, first_run, last_run, server_notices
from emdsl.study.row_making import Making
from emdsl.study.row_processes import counts_of, processes_for, row_processes
from emdsl.study.screen import Aside, Part, Table, short
from emdsl.study.selection import selections
from emdsl.study.self_shown import SelfShown
from emdsl.study.served import served_json, served_models, served_parts
from emdsl.study.unused import unused_of, unused_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from emdsl.experiment import Experiment, Program, Step
    from emdsl.outcome import Outcome
    from emdsl.query import Model, Query
    from emdsl.run.count import ExperimentCount, Way
    from emdsl.run.data_edits import DataEdit
    from emdsl.study.compiled import Compiled
    from emdsl.study.unused import Unused

    OnPending = Callable[[Rows, Step, Outcome, Query | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(SelfShown):
    """The pending requests of a study.

    `print(plan)` shows it as `emdsl plan` does. Amounts are in US dollars, None if a price is unknown.
    """

    requests: int  # distinct pending requests, at most
    expected_usd: float | None
    at_most_usd: float | None
    steps: tuple[dict[str, Any], ...]  # of each experiment and step: needed, cached and pending requests
    missing: tuple[str, ...]  # what a run lacks: API keys, addresses
    notices: tuple[str, ...]
    listed: tuple[dict[str, Any], ...] = ()  # each pending request, if wanted
    budget: Decimal | None = None
    wall_s: float = 0.0
    study: Compiled = field(repr=False)
    counts: list[ExperimentCount] = field(repr=False)
    walks: list[Rows] = field(repr=False)
    data_edits: tuple[DataEdit, ...] = field(default=(), repr=False)  # since the last run
    unused: Unused | None = field(default=None, repr=False)  # cached answers that the study used before
    reasons_unknown: str = field(default="", repr=False)  # why reasons are not known, if so
    store_parts: tuple[Part, ...] = field(default=(), repr=False)
    ways: tuple[Way, ...] = field(default=(), repr=False)  # of the models with a batch API
    served: tuple[Model, ...] = field(default=(), repr=False)  # whose servers a run must start
    in_batches: dict[str, int] = field(default_factory=dict, repr=False)  # pending requests by open batch

    @property
    def complete(self) -> bool:
        """Whether nothing is pending, and no row depends on a dataset that is missing."""
        return not self.requests and not any(s.unknown for c in self.counts for s in c.steps)

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl plan`."""
        yield from warning_parts(self.study.program)
        yield from count_parts(self.counts)
        yield from budget_parts(self.counts, self.budget)
        yield from reason_parts(self.counts, self.reasons_unknown)
        yield from data_parts(self.data_edits)
        yield from unused_parts(self.unused)
        if self.in_batches:
            n, held = len(self.in_batches), sum(self.in_batches.values())
            requests = "1 pending request is" if held == 1 else f"{held:,} pending requests are"
            again = "it is" if held == 1 else "they are"
            yield f"{requests} in {n} open batch{'es' if n > 1 else ''}: {again} not sent again\n"
        yield from self.store_parts
        yield from served_parts(self.served)
        yield from (Aside(f"note: needed before a run: {what}") for what in self.missing)
        yield from (Aside(f"note: {notice}\n") for notice in self.notices)
        if self.listed:
            yield Table(list(self.listed[0]), [[short(str(v)) for v in x.values()] for x in self.listed])
            yield ""

    def as_json(self) -> dict[str, Any]:
        """Return the plan as `emdsl plan --json` prints it."""
        shown = plan_json(self.counts, self.wall_s) | budgets_json(self.counts, self.budget)
        shown |= warnings_json(self.study.program, self.notices)
        shown |= ways_json(self.ways)
        shown |= {"data_edits": data_json(self.data_edits)} if self.data_edits else {}
        shown |= {"unused": self.unused.as_json()} if self.unused is not None else {}
        shown |= {"in_batches": self.in_batches} if self.in_batches else {}
        shown |= {"serve": served_json(self.served)} if self.served else {}
        return shown | ({"missing": list(self.missing)} if self.missing else {})

    def next_step(self, file: Path, options: str, *, written: bool, detailed: bool) -> Iterator[Part]:
        """Yield the next command."""
        if written:
            yield f"Written: {file}"
        if not self.requests:
            unknown_rows = any(s.unknown for c in self.counts for s in c.steps)
            yield "No known request is pending." if unknown_rows else "Nothing is pending: every answer is cached."
            return
        if self.served and not {"--on", "--serve"} & set(shlex.split(options)):
            options += " --serve"
        more = "" if detailed or written else "      Details: --by AXIS,...   --list   --json   -o plan.json"
        yield f"Run: emdsl run {shlex.quote(str(file))}{options}{more}"

    def write(self, path: Path, samples: int | None = None, only: tuple[str, ...] = ()) -> None:
        """Write the plan to a file that `emdsl run` accepts; raises UsageError."""
        held = PlanFile(
            file=self.study.file, samples=samples, only=only, simulate=self.study.project.simulate,
            digests=digests(self.walks), requests=self.requests, ready=known_requests(self.counts), written=path,
        )  # fmt: skip
        write_plan(path, held, self.as_json(), self.study.program.files)


def make_plan(
    study: Compiled,
    *,
    samples: int | None = None,
    only: tuple[str, ...] = (),
    budget: Decimal | None = None,
    insecure: bool = False,
    by: Sequence[str] = (),
    listed: bool = False,
    on_pending: OnPending | None = None,
    pilot: bool = False,
    batch: bool | None = None,
    reasons: bool = True,
    workers: int | None = None,
) -> Plan:
    """Return the plan of a study.

    Args:
        study: The compiled study.
        samples: Plan only this many samples of each cell.
        only: Plan only these levels, each as `AXIS=VALUE[,VALUE]`.
        budget: A cap on what a run would spend, in US dollars.
        insecure: A run may use http to other machines.
        by: Count by the levels of these axes, too.
        listed: Name each pending request.
        on_pending: Is called with each pending request, in the order of rows; without a query if it reads an answer.
        pilot: Plan only the rows of a pilot.
        batch: Whether all models with a batch API get batches, or none; None: as each says.
        reasons: Compare with the last run.
        workers: The number of processes that count; None: by size.

    Raises:
        SourceError: The study has an error that only evaluating a cell shows.
        UsageError: A selection or an axis does not exist, or the budget is smaller than the least cost.
    """
    start_s = time.monotonic()
    program, project = study.program, study.project
    check_name(study.name, known_loads(project.cache))
    chosen = selections(program, samples, only, pilot=pilot)
    walks = [Rows(e, s) for e, s in zip(program.experiments, chosen, strict=True)]
    previous, no_previous = last_run(study) if reasons else (None, "")
    requests: list[dict[str, Any]] = []
    called: list[OnPending] = [partial(_list_request, requests)] if listed else []
    called += [on_pending] if on_pending is not None else []
    positions = tuple(_positions(e, by, program) for e in program.experiments)
    comparisons = [previous.of(e) if previous is not None else None for e in program.experiments]

    def planners() -> list[Merger]:
        made: list[Merger] = []
        for walk, comparison, axes in zip(walks, comparisons, positions, strict=True):
            made.append(Merger(
                walk, budget=budget, comparison=comparison, by=axes, previous=[p.count for p in made],
                on_pending=partial(_call, called, walk) if called else None,
            ))  # fmt: skip
        return made

    made = planners()
    n = 1 if called else processes_for(sum(p.count.rows for p in made), workers)
    making = Making(budget=budget is not None, by=positions, compared=previous is not None)
    options = RunOptions(samples=samples, only=only, pilot=pilot)
    with study.store() as store, row_processes(study, options, making, n) as processes:
        try:
            counts = counts_of(processes, made, store, comparisons)
        except NotMergeable:
            counts = plan_all(planners(), store)
        of_store = tuple(store_parts(project, store))
        whole = all(s.all_cells and s.samples is None for s in chosen)
        not_used = unused_of(study, counts, store) if whole and reasons else None
    ways = choose_ways(study, counts, batch=batch, pilot=pilot)
    if budget is not None:
        check_budgets(counts, budget)
    notices = _notices(study, counts, budget)
    _, expected, most = costs(counts)
    steps = [{"experiment": c.experiment.name, **s.as_json()} for c in counts for s in c.steps]
    return Plan(
        requests=n_pending(counts), expected_usd=None if expected is None else float(expected),
        at_most_usd=None if most is None else float(most), steps=tuple(steps),
        missing=tuple(missing_setup(study, counts, insecure=insecure, serves=True)), notices=tuple(notices),
        listed=tuple(requests), served=tuple(served_models(counts, project.environment)),
        budget=budget, wall_s=time.monotonic() - start_s, study=study, counts=counts, walks=walks,
        reasons_unknown=first_run(study, counts) if no_previous == FIRST_RUN else no_previous, store_parts=of_store,
        in_batches=in_batches(study, counts), ways=ways, unused=not_used,
        data_edits=tuple(previous.data_edits) if previous is not None else (),
    )  # fmt: skip


def _notices(study: Compiled, counts: list[ExperimentCount], budget: Decimal | None) -> list[str]:
    """Return notices beside the numbers; DuckDB and the statistics are imported only if they are needed."""
    notices: list[str] = []
    if (study.project.cache / DATABASE).exists():
        from emdsl.study.drift import drift_notices  # noqa: PLC0415 - a new study has no tables

        notices += drift_notices(study)
    notices += server_notices(study, counts)
    if any(m.effect is not None for c in counts for m in c.experiment.measures):
        from emdsl.study.power import power_notices  # noqa: PLC0415 - few measures have an effect

        notices += power_notices(study, counts, budget)
    return notices


def missing_setup(study: Compiled, counts: list[ExperimentCount], *, insecure: bool, serves: bool) -> list[str]:
    """Return the missing API keys and addresses of pending requests. Cached answers need none.

    `serves`: the run starts the servers of models with `serve`.
    """
    environment = study.project.environment
    models = [m for c in counts for m in c.models.values() if not (serves and m.serve is not None)]
    return sorted({p for m in models if (p := why_unusable(m, environment, insecure=insecure)) is not None})


def _positions(experiment: Experiment, names: Sequence[str], program: Program) -> tuple[int, ...]:
    """Return the positions of the named axes that an experiment has; raises UnknownAxis if none has one."""
    axes = list(dict.fromkeys(a.name for e in program.experiments for a in e.axes))
    for name in names:
        if name not in axes:
            raise UnknownAxis(unknown("axis", name, axes), parameter="by")
    own = [a.name for a in experiment.axes]
    return tuple(own.index(n) for n in names if n in own)


def _call(functions: Sequence[OnPending], walk: Rows, step: Step, row: Outcome, query: Query | None) -> None:
    for function in functions:
        function(walk, step, row, query)


def _list_request(requests: list[dict[str, Any]], walk: Rows, step: Step, row: Outcome, query: Query | None) -> None:
    experiment = walk.experiment
    levels = [f"{a.name}={a.levels[i].shown}" for a, i in zip(experiment.axes, row.cell, strict=True)]
    requests.append(
        {
            "experiment": experiment.name,
            "step": f"{step.kind} {step.name}",
            "cell": ", ".join(levels),
            "sample": row.sample,
            "key": query.key.hex()[:16] if query is not None else "depends on an answer",
        }
    )
