"""The plan of a run: each step's requests, counted by state, with reasons and an estimate of the cost."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from emdsl.experiment import ASK
from emdsl.frame import EvalFault, Frame, MissingInput
from emdsl.run.budget import least_usd
from emdsl.run.count import ExperimentCount, StepCount
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.reasons import BAD_REPLY
from emdsl.run.states import Cached, NotNeeded, Pending, Symbolic, state_of
from emdsl.run.token_stats import strata
from emdsl.value import INVALID, NOT_NEEDED, SPLIT_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome, Result
    from emdsl.query import Query, RequestSettings, Response
    from emdsl.run.estimate import Range
    from emdsl.run.reasons import Comparison, Reason
    from emdsl.run.rows import Rows
    from emdsl.store.store import Store

MAX_EXAMPLES = 5
P = TypeVar("P", bound="Planner")


class Planner:
    """Counts the requests of one experiment, row by row.

    `plan` adds all rows by itself. A caller that settles the rows anyway calls `add` for each row, and then `finish`.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        budget: Decimal | None = None,
        run: str = "",
        comparison: Comparison | None = None,
        by: tuple[int, ...] = (),
        on_pending: Callable[[Step, Outcome, Query | None], None] | None = None,
        previous: Sequence[ExperimentCount] = (),
    ) -> None:
        """Prepare the counts of one experiment.

        Args:
            rows: the experiment, as selected.
            budget: of the whole run, in US dollars.
            run: the run that has just sent requests; its answers are counted as fresh.
            comparison: with the program that ran last, to give each pending request its reason.
            by: positions of axes by which requests are counted too.
            on_pending: is called with each request to send; without a query for a symbolic one.
            previous: counts of other experiments that may share requests, whose cost counts once.
        """
        experiment, selection = rows.experiment, rows.selection
        cells = experiment.n_cells if selection.all_cells else sum(1 for c in experiment.cells() if selection.takes(c))
        self.count = ExperimentCount(
            experiment, cells, rows.samples, [StepCount(s) for s in experiment.steps], only=selection.only, by=by,
            rows=rows.n_rows(cells),
            compared=comparison is not None, pilot=sum(selection.pilot.values()) if selection.pilot is not None else 0,
        )  # fmt: skip
        if previous:
            self.count.tokens = previous[0].tokens
        self._rows = rows
        self._run = run
        self._comparison = comparison
        self._on_pending = on_pending
        self._previous = tuple(previous)
        counts = [s for c in (*previous, self.count) for s in c.steps]
        self._others = {s.step.name: [c for c in counts if c is not s] for s in self.count.steps}
        self._has_budget = budget is not None or experiment.budget is not None
        self._tokens = self.count.tokens
        self._strata = strata(experiment)
        self._n_added = 0

    def plan(self, store: Store) -> ExperimentCount:
        """Add every selected row that was not added yet, finish, and return the counts."""
        return plan_all([self], store)[0]

    def add_all(self, store: Store) -> None:
        """Add every selected row that was not added yet.

        A planner that adds all of them leaves a note in the rows: which of them a run need not look at.
        """
        incomplete, whole = bytearray(), not self._n_added
        for chunk in chunks(islice(self._rows.selected(), self._n_added, None)):
            settle_from_store(self._rows, chunk, store)
            for row in chunk:
                self.add(row)
                incomplete.append(bool(row.ready or row.blocked))
        if whole:
            self._rows.incomplete = incomplete

    def add(self, row: Outcome) -> None:
        """Add a row whose stored answers are settled; rows come in their order."""
        self._n_added += 1
        requests: dict[str, Digest | int] = {}  # by step
        for count in self.count.steps:
            step = count.step
            state = state_of(self._rows, row, step, requests)
            if step.condition is not None:
                _add_condition(count, row)
            match state:
                case Cached():
                    self._add_cached(count, row, state)
                    requests[step.name] = state.query.key
                case Pending():
                    self._add_pending(count, row, state.query)
                    requests[step.name] = state.query.key
                case Symbolic():
                    self._add_symbolic(count, row, state)
                    requests[step.name] = state.id
                case NotNeeded():
                    self._add_not_needed(count, state.result)
                case _:
                    count.unknown += 1

    @property
    def lacks_answers(self) -> bool:
        """Whether a paid model has no stored answer of this program from which its answers can be estimated."""
        return any(c.estimate.lacks(self._tokens, c.step) for c in self.count.steps)

    def finish(self) -> ExperimentCount:
        """Estimate tokens and cost from the stored answers of all experiments so far, and return the counts."""
        answers: dict[str, Range] = {}
        for count in self.count.steps:
            n_symbolic = len(count.symbolic) + len(count.undecided)
            expected = count.expected
            share = None if expected is None else (expected - len(count.pending)) / n_symbolic if n_symbolic else 1.0
            quoted = [answers[need] for need in count.step.needs if need in answers]
            count.estimate.finish(self._tokens, count.step, quoted, share=share)
            if count.step.kind == ASK:
                answers[count.step.name] = count.estimate.answer
        return self.count

    # ------------------------------------------------------------ one state each

    def _add_cached(self, count: StepCount, row: Outcome, state: Cached) -> None:
        query, response, result = state
        if count.step.reply_format is not None:
            self._add_verdict(count, row, query, result)
        self._add_answer(count, row, query, response, empty=result.value == "")

    def _add_verdict(self, count: StepCount, row: Outcome, query: Query, result: Result) -> None:
        self._add_split(count, query, result)
        self._add_probe_answer(count, query.settings)
        for bad_query, bad_reply in result.bad_replies:
            count.bad_replies.add(bad_query.key)
            self._add_answer(count, row, bad_query, bad_reply)

    def _add_answer(
        self, count: StepCount, row: Outcome, query: Query, response: Response, *, empty: bool = False
    ) -> None:
        fresh = bool(self._run) and response.run == self._run
        count.n_rows += 1
        if query.key not in count.stored:
            count.stored.add(query.key)
            self._new_answer(count, row, query, response, empty=empty)
        if fresh:
            count.fresh.add(query.key)

    def _add_pending(self, count: StepCount, row: Outcome, query: Query) -> None:
        count.n_rows += 1
        if count.step.reply_format is not None:
            self._add_probe(count, query.settings)
            self._add_probe_answer(count, query.settings)
            for bad_query, bad_reply in (row.bad_replies or {}).get(count.step.name, ()):
                self._add_answer(count, row, bad_query, bad_reply)
        if query.key not in count.pending:
            count.pending.add(query.key)
            self._new_pending(count, row, query)

    def _add_symbolic(self, count: StepCount, row: Outcome, state: Symbolic) -> None:
        count.n_rows += 1
        if count.step.reply_format is not None:
            self._add_probe(count, state.head)
        same = count.undecided if state.undecided else count.symbolic
        if state.id not in same:
            same.add(state.id)
            self._new_symbolic(count, row, state)

    # ------------------------------------------------------------ requests that are met for the first time

    def _new_answer(self, count: StepCount, row: Outcome, query: Query, response: Response, *, empty: bool) -> None:
        note_finish(count, response, empty=empty)
        self._tokens.add(count.step, query.settings, query.prompt, response, self._strata[count.step.name](row.cell))
        self.count.runs[response.run] += 1
        if not self._is_counted(count, query.key):
            count.money.add(query.settings.model, response, fresh=bool(self._run) and response.run == self._run)
        if self.count.by:
            self._add_by_levels(row, 0)

    def _new_pending(self, count: StepCount, row: Outcome, query: Query) -> None:
        if self._has_budget and not self._is_counted(count, query.key):
            way = query.settings.model.way
            self.count.least[way] = self.count.least.get(way, Decimal(0)) + least_usd(query)
        count.estimate.add(query.settings, query.prompt, self._strata[count.step.name](row.cell))
        if self._comparison is not None:
            self.count.reasons[self._reason(count, row, query)] += 1
        self._add_to_send(count, row, query.settings, query)

    def _new_symbolic(self, count: StepCount, row: Outcome, state: Symbolic) -> None:
        if count.estimate.add_symbolic(state.head, self._strata[count.step.name](row.cell)):
            render_symbolic(count, row)
        self._add_to_send(count, row, state.head, None)

    def _reason(self, count: StepCount, row: Outcome, query: Query) -> Reason:
        assert self._comparison is not None
        return BAD_REPLY if query.tries else self._comparison.reason(row, count.step, query)

    # ------------------------------------------------------------ other states

    def _add_not_needed(self, count: StepCount, result: Result) -> None:
        if result.query is not None:
            self._add_split(count, result.query, result)
            self._add_probe_answer(count, result.query.settings)
        if result.value == INVALID and result.error:
            count.invalid[result.error] += 1

    # ------------------------------------------------------------ parts

    def _add_to_send(self, count: StepCount, row: Outcome, head: RequestSettings, query: Query | None) -> None:
        """Add a request to send, the first time that it is met."""
        total = self.count
        if id(head) not in total.heads:
            total.heads[id(head)] = head, count.step
            weights = head.model.revision if head.model.serve is not None else None  # each has servers of its own
            total.models.setdefault((head.model.use, head.model.url, head.model.batch, weights), head.model)
        if len(total.examples) < MAX_EXAMPLES:
            total.examples.append((count.step, row))
        if total.by:
            self._add_by_levels(row, 1)
        if self._on_pending is not None:
            self._on_pending(count.step, row, query)

    def _add_by_levels(self, row: Outcome, column: int) -> None:
        levels = tuple([row.cell[i] for i in self.count.by])
        self.count.by_levels.setdefault(levels, [0, 0])[column] += 1

    def _add_probe(self, count: StepCount, head: RequestSettings) -> None:
        """Add the probe that must be answered before a judge's requests are sent."""
        probe = self._rows.probes.required(count.step, head)
        if probe is not None:
            count.probes.add(probe.query.key)

    def _add_probe_answer(self, count: StepCount, head: RequestSettings) -> None:
        """Add the cost of the answer to a judge's probe, once."""
        probe = self._rows.probes.of(count.step, head)
        if probe is None or probe.response is None or probe.query.key in self.count.probed:
            return
        fresh = bool(self._run) and probe.response.run == self._run
        self.count.probed[probe.query.key] = fresh
        if not any(probe.query.key in c.probed for c in self._previous):
            count.money.add(head.model, probe.response, fresh=fresh)

    @staticmethod
    def _add_split(count: StepCount, query: Query, result: Result) -> None:
        """Add a score that is missing because its model writes numbers digit by digit."""
        if SPLIT_NUMBER in (result.value, result.reading):
            count.split.add(query.key)
            count.splitters.add(query.settings.model.use)

    def _is_counted(self, count: StepCount, key: Digest) -> bool:
        """Whether another step, or a previous experiment, has the same request: its money counts once."""
        for other in self._others[count.step.name]:  # noqa: SIM110 - a generator costs more than what it looks up
            if key in other.stored or key in other.pending:
                return True
        return False


def planners(rows: Sequence[Rows], *, budget: Decimal | None = None, run: str = "") -> list[Planner]:
    """Return a planner for each experiment of a program; the money of requests that they share counts once."""
    return planners_of(Planner, rows, budget=budget, run=run)


def planners_of(kind: type[P], rows: Sequence[Rows], *, budget: Decimal | None = None, run: str = "") -> list[P]:
    """Return `planners` of one kind."""
    made: list[P] = []
    for one in rows:
        made.append(kind(one, budget=budget, run=run, previous=[p.count for p in made]))
    return made


def plan_all(made: Sequence[Planner], store: Store) -> list[ExperimentCount]:
    """Return the counts of all experiments of a program."""
    for planner in made:
        planner.add_all(store)
    return finish_all(made, store)


def finish_all(made: Sequence[Planner], store: Store) -> list[ExperimentCount]:
    """Return the counts of experiments whose rows are added; each estimate knows the answers of all."""
    if any(planner.lacks_answers for planner in made):
        made[0].count.tokens.look_elsewhere(store)
    return [planner.finish() for planner in made]


def note_finish(count: StepCount, response: Response, *, empty: bool) -> None:
    """Count an answer of an ask that is cut, blocked or empty."""
    if count.step.kind == ASK:
        count.cut += response.finish == "length" and not count.step.weighs  # one token is all that is read
        count.blocked += response.finish == "blocked"
        count.empty += empty


def _add_condition(count: StepCount, row: Outcome) -> None:
    """Add how a condition came out, if it was decided."""
    name = count.step.name
    result = row.results.get(name)
    if result is not None or name in row.ready:
        count.n_decided += 1
        count.n_held += result is None or result.value != NOT_NEEDED


def render_symbolic(count: StepCount, row: Outcome) -> None:
    """Measure a request without the answers that it will quote."""
    frame = Frame(parent=row.frame)
    for need in count.step.needs:
        if need not in row.results:
            frame[need] = frame[f"{need}.reasoning"] = ""
    with suppress(MissingInput, EvalFault, TypeError, KeyError):
        count.estimate.rendered.append(count.step.prompt(frame).chars)
