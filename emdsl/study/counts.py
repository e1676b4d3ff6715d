"""The counts of a plan or a run: as one screen of text, and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import SourceError
from emdsl.experiment import ASK
from emdsl.outcomes.odd import Odd
from emdsl.source import Severity, together
from emdsl.store.read_through import away
from emdsl.study.cost import cost_parts, total_usd, usd
from emdsl.study.screen import MAX_LISTED, Aside, Part, Table, counted, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

    from emdsl.experiment import Program
    from emdsl.run.count import ExperimentCount, StepCount
    from emdsl.run.reasons import Reason
    from emdsl.store.store import AnswerStore
    from emdsl.study.project import Project


def plan_json(counts: list[ExperimentCount], wall_s: float) -> dict[str, Any]:
    """Return the counts under the names of the command line's contract."""
    return {
        "experiments": [
            {
                "name": c.experiment.name,
                "cells": c.cells,
                "samples": c.samples,
                "steps": [s.as_json() for s in c.steps],
            }
            | ({"rows": c.rows} if c.experiment.cell_samples is not None else {})
            | ({"pilot_rows": c.pilot} if c.pilot else {})
            | ({"why": _reasons_json(c)} if c.compared else {})
            | ({"by": _by_json(c)} if c.by else {})
            for c in counts
        ],
        "requests": n_pending(counts),
        "wall_s": round(wall_s, 3),
    }


def n_pending(counts: list[ExperimentCount]) -> int:
    """Return how many distinct requests are pending, at most: experiments of one file share equal ones."""
    known = _n_distinct(keys for c in counts for s in c.steps for keys in (s.pending, s.probes))
    return known + sum(_n_distinct(ids for s in c.steps for ids in (s.symbolic, s.undecided)) for c in counts)


def check_datasets(program: Program, counts: list[ExperimentCount]) -> None:
    """Raise SourceError if a row depends on a dataset that is missing."""
    unknown = any(s.unknown for c in counts for s in c.steps) or any(e.reads_absent for e in program.experiments)
    if program.absent and unknown:
        raise SourceError([replace(d, code="E605", severity=Severity.ERROR, note="") for d in program.absent])


def _n_distinct(sets: Iterable[set[Any]]) -> int:
    filled = [x for x in sets if x]
    return len(filled[0]) if len(filled) == 1 else len(set().union(*filled))  # one of millions is not copied


def warnings_json(program: Program, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Return warnings and notices, each only if there are any."""
    warnings = {"warnings": [w.as_json() for w in program.warnings]} if program.warnings else {}
    return warnings | ({"notices": list(notices)} if notices else {})


def warning_parts(program: Program) -> Iterator[Part]:
    """Yield the warnings of the compiler."""
    for warning in together(program.warnings):
        yield Aside(warning.render() + "\n")


def store_parts(project: Project, store: AnswerStore) -> Iterator[Part]:
    """Yield notices of opening the store, and warnings of damaged entries, remotes and network file systems."""
    yield from (Aside(f"note: {notice}") for notice in project.notices)
    project.notices.clear()
    if store.corrupt:
        yield Aside(
            f"warning: {len(store.corrupt):,} damaged store entries fail their checksum and will be requested again"
        )
    for name, why in away(store).items():
        yield Aside(f"warning: the remote `{name}` may hold answers that are shown as pending: {why}\n")
    if store.network:
        yield Aside(
            f"warning: {project.cache} is on a network file system. Use it from one machine only; a power cut may "
            "damage it. Better: --cache on a local disk, and `emdsl cache merge` to combine two stores\n"
        )


def _reasons_json(count: ExperimentCount) -> list[dict[str, Any]]:
    return [{"reason": text, "place": place, "requests": n} for text, place, n in grouped(count.reasons)]


def _by_json(count: ExperimentCount) -> list[dict[str, Any]]:
    axes = [count.experiment.axes[i] for i in count.by]
    merged: dict[tuple[str, ...], list[int]] = {}  # a dependent axis can have one label for several values
    for levels, numbers in sorted(count.by_levels.items()):
        labels = tuple(a.levels[x].shown for a, x in zip(axes, levels, strict=True))
        merged[labels] = [sum(n) for n in zip(merged.get(labels, [0, 0]), numbers, strict=True)]
    names = [a.name for a in axes]
    return [
        dict(zip(names, labels, strict=True)) | {"cached": cached, "pending": pending}
        for labels, (cached, pending) in merged.items()
    ]


def grouped(reasons: Counter[Reason]) -> list[tuple[str, str, int]]:
    """Return reasons as text, with their place and number of requests, most first: `new values k = 64, 256`."""
    groups: dict[tuple[str, str], tuple[list[str], int]] = {}
    for reason, n in reasons.items():
        items, so_far = groups.get(reason.group, ([], 0))
        groups[reason.group] = [*items, reason.item] if reason.item not in items else items, so_far + n
    lines = []
    for (what, place), (items, n) in groups.items():
        names = [short(x) for x in items if x]
        more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
        plural = what.replace("new value ", "new values ").replace("new model ", "new models ")
        text = " ".join([plural if len(names) > 1 else what, ", ".join(names[:MAX_LISTED])]).strip() + more
        lines.append((text, place, n))
    return sorted(lines, key=lambda line: -line[2])


def reason_parts(counts: list[ExperimentCount], unknown: str) -> Iterator[Part]:
    """Yield why requests are pending; `unknown` is why that is not known, if it is not."""
    if unknown:
        if any(s.pending for c in counts for s in c.steps):
            yield f"reason: {unknown}\n"
        return
    together: Counter[Reason] = sum((c.reasons for c in counts), Counter())
    rows = [(f"  {n:,}", text, place) for text, place, n in grouped(together)]
    dependent = sum(len(s.symbolic) + len(s.undecided) for c in counts for s in c.steps)
    if dependent and rows:
        rows.append((f"  <={dependent:,}", "depend on the answers to these", ""))
    if rows:
        yield Table(("  pending", "reason", ""), rows, numeric=("  pending",))
        yield ""


def count_parts(counts: list[ExperimentCount]) -> Iterator[Part]:
    """Yield one screen: cells by axis, and the requests of each step."""
    if len(counts) > 1:
        yield f"total: at most {n_pending(counts):,} pending requests; experiments share equal requests\n"
    for count in counts:
        yield from _experiment_parts(count)


def _experiment_parts(count: ExperimentCount) -> Iterator[Part]:
    experiment, chosen = count.experiment, count.only
    axes = "  ".join(
        f"{a.name} {len({a.levels[x].shown for x in chosen.get(i, range(len(a.levels)))})}"
        for i, a in enumerate(experiment.axes)
    )
    skipped = f"  ({experiment.n_skipped:,} skipped)" if experiment.n_skipped else ""
    size = f"{counted(count.cells, 'cell')} x {counted(count.samples, 'sample')}"
    if experiment.cell_samples is not None:
        size = f"{counted(count.cells, 'cell')}, {counted(count.rows, 'row')}"
    if count.pilot:
        size = f"pilot of {counted(count.pilot, 'row')}"
    yield f"{experiment.name}   {size}   {axes}{skipped}"
    pending = count.at_most > 0
    columns = ["  step", "needed", "cached", "pending", *(["est. tokens in/out", "est. cost"] if pending else [])]
    rows = [_step_row(s, wide=pending) for s in count.steps]
    if pending and len(count.steps) > 1:
        rows.append(_total_row(count))
    yield Table(columns, rows, numeric=columns[1:])
    estimated = any(s.undecided and s.expected is not None for s in count.steps)
    if any(s.undecided for s in count.steps):
        yield "  * depends on verdicts" + ("; ~ is an estimate from cached verdicts" if estimated else "")
    yield from cost_parts(count)
    yield from judge_parts(count)
    yield from _odd_parts(count)
    yield from _sharing_parts(count)
    if by := _by_json(count) if count.by else []:
        yield Table([f"  {k}" for k in by[0]], [[f"  {short(str(v))}" for v in x.values()] for x in by])
    if unknown := max((s.unknown for s in count.steps), default=0):
        yield f"  {unknown:,} of {count.rows:,} rows are unknown: a dataset file is missing (see its warning)"
    if count.beyond_budget:
        yield f"  {count.beyond_budget}: `emdsl run` stops with E733"
    yield ""


def _odd_parts(count: ExperimentCount) -> Iterator[Part]:
    """Yield how many cached answers are cut, empty or blocked."""
    for step in count.steps:
        odd = Odd(step=step.step.name, n=step.cached, cut=step.cut, empty=step.empty, blocked=step.blocked)
        if odd.notice:
            yield f"  {odd.notice}"


def judge_parts(count: ExperimentCount) -> Iterator[Part]:
    """Yield which models are tested before they judge or score, and which replies are unreadable."""
    for step in count.steps:
        name = step.step.name
        if step.probes:
            who = "model" if step.step.kind == ASK else "judge"
            yield (
                f"  + {counted(len(step.probes), 'request')} to test that the {who} of `{name}` "
                "writes numbers as one token"
            )
        if step.split and step.step.kind == ASK:
            yield (
                f"  {len(step.split):,} scores of `{name}` are missing (split_number): {_judges(step)} writes "
                "numbers digit by digit.\n  Use `read = number` with `max_tokens = 8`"
            )
        elif step.split:
            yield (
                f"  {len(step.split):,} verdicts of `{name}` are missing (split_number): {_judges(step)} writes "
                "numbers digit by digit.\n  Import the rubric from `std:judges@2`, or use `read = number` with "
                "`max_tokens = 8`"
            )
        if step.step.again and step.pending:
            yield (
                f"  an unreadable reply of `{name}` is requested again, at most {step.step.again} times "
                "(not in the counts above)"
            )
        if step.bad_replies:
            yield f"  {len(step.bad_replies):,} replies of `{name}` were unreadable and were requested again"


def _judges(step: StepCount) -> str:
    """Return the models of a step that split numbers."""
    return ", ".join(f"`{use}`" for use in sorted(step.splitters)) or "its model"


def _step_row(step: StepCount, *, wide: bool) -> list[str]:
    estimate = step.estimate
    row = [
        f"  {step.step.kind} {step.step.name}",
        ("<=" if step.undecided or step.symbolic else "") + f"{step.needed:,}",
        f"{step.cached:,}",
        _pending(step.expected, step.at_most) if step.undecided else f"{step.n_pending:,}",
    ]
    if wide:
        row += [
            _tokens(estimate.input_tokens, estimate.output_tokens, assumed=estimate.assumed),
            _cost(estimate.usd, assumed=estimate.assumed),
        ]
    return row


def _total_row(count: ExperimentCount) -> list[str]:
    estimates = [s.estimate for s in count.steps]
    sent = [e.input_tokens for e in estimates]
    answered = [e.output_tokens for e in estimates]
    tokens = _tokens(
        None if None in sent else sum(x or 0 for x in sent),
        None if None in answered else sum(x or 0 for x in answered),
        assumed=any(e.assumed for e in estimates),
    )
    return [
        "  total", "", f"{sum(s.cached for s in count.steps):,}",
        ("<=" if any(s.undecided for s in count.steps) else "") + f"{count.at_most:,}", tokens,
        _cost(total_usd(e.usd for e in estimates), assumed=any(e.assumed for e in estimates)),
    ]  # fmt: skip


def _sharing_parts(count: ExperimentCount) -> Iterator[Part]:
    for step in count.steps:
        if step.n_rows > step.needed:
            yield f"  shared: {step.needed:,} requests of `{step.step.name}` serve {step.n_rows:,} rows"
    chars = sum(s.estimate.chars for s in count.steps)
    prefix = sum(s.estimate.prefix_chars for s in count.steps)
    if chars and prefix * 10 > chars:
        yield f"  {100 * prefix // chars} % of the pending prompt text is a prefix that requests share"


def _tokens(sent: float | None, answered: float | None, *, assumed: bool) -> str:
    return f"{_rounded(sent)} / {'~' if assumed and answered is not None else ''}{_rounded(answered)}"


def _cost(amount: Decimal | None, *, assumed: bool) -> str:
    shown = usd(amount)
    return "~" + shown if assumed and amount and shown.startswith("$") else shown


def _rounded(n: float | None) -> str:
    if n is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:.0f}"


def _pending(expected: int | None, at_most: int) -> str:
    return f"<={at_most:,} *" if expected is None else f"~{expected:,} (<={at_most:,}) *"
