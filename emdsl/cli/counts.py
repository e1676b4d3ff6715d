"""What `plan` and `run` say of counts: one screen of text, or JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from emdsl.cli import console
from emdsl.cli.money import show_cost, total_usd, usd
from emdsl.outcomes.odd import Odd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from emdsl.cli.session import Session
    from emdsl.experiment import Program
    from emdsl.run.planner import ExperimentCount, StepCount
    from emdsl.run.reasons import Reason
    from emdsl.store.disk import DiskStore

MOST_ITEMS = 8  # levels named in one reason
MOST_CHARS = 50  # of each


def plan_json(counts: list[ExperimentCount], wall_s: float) -> dict[str, Any]:
    """Return the counts as the CLI contract names them."""
    return {
        "experiments": [
            {
                "name": c.experiment.name,
                "cells": c.cells,
                "samples": c.samples,
                "steps": [s.as_json() for s in c.steps],
            }
            | ({"why": _why_json(c)} if c.comparison is not None else {})
            | ({"by": _by_json(c)} if c.by else {})
            for c in counts
        ],
        "requests": total(counts),
        "wall_s": round(wall_s, 3),
    }


def total(counts: list[ExperimentCount]) -> int:
    """Return how many distinct requests are left, at most: experiments of one file share what is equal."""
    left: set[Any] = set()
    for count in counts:
        for step in count.steps:
            left |= step.ready
            left |= step.probes
            left |= {(count.experiment.name, r) for r in (*step.recipes, *step.maybe)}
    return len(left)


def warnings_json(program: Program, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Return what is to be said beside the counts, if anything is."""
    found: dict[str, Any] = {}
    if program.warnings:
        found["warnings"] = [w.as_json() for w in program.warnings]
    if notices:
        found["notices"] = list(notices)
    return found


def show_warnings(program: Program) -> None:
    """Print what the compiler warns of."""
    for warning in program.warnings:
        console.say(warning.render() + "\n", err=True)


def show_corrupt(n: int) -> None:
    """Say how many stored entries were not believed."""
    if n:
        console.say(f"{n:,} stored entries are damaged; they are not believed, and will be asked again", err=True)


def show_place(here: Session, store: DiskStore) -> None:
    """Warn of a store that lies on a network file system."""
    if store.network:
        console.say(
            f"warning: {here.cache} lies on a network file system, where one machine alone may use it, and a power cut "
            "may harm it. Better: --cache on a disk of this machine, and `emdsl cache merge` to bring two together\n",
            err=True,
        )


def _why_json(count: ExperimentCount) -> list[dict[str, Any]]:
    return [{"reason": text, "place": place, "requests": n} for text, place, n in grouped(count.reasons)]


def _by_json(count: ExperimentCount) -> list[dict[str, Any]]:
    axes = [count.experiment.axes[i] for i in count.by]
    return [
        {a.name: a.levels[x].shown for a, x in zip(axes, levels, strict=True)} | {"cached": stored, "to_run": left}
        for levels, (stored, left) in sorted(count.by_levels.items())
    ]


def grouped(reasons: Counter[Reason]) -> list[tuple[str, str, int]]:
    """Return reasons as text, with their place and how many requests each has, most first: `new values k = 64, 256`."""
    groups: dict[tuple[str, str], tuple[list[str], int]] = {}
    for reason, n in reasons.items():
        items, so_far = groups.get(reason.group, ([], 0))
        groups[reason.group] = [*items, reason.item] if reason.item not in items else items, so_far + n
    found = []
    for (what, place), (items, n) in groups.items():
        shown = [short(x) for x in items if x]
        more = f" and {len(shown) - MOST_ITEMS:,} more" if len(shown) > MOST_ITEMS else ""
        plural = what.replace("new value ", "new values ").replace("new model ", "new models ")
        text = " ".join([plural if len(shown) > 1 else what, ", ".join(shown[:MOST_ITEMS])]).strip() + more
        found.append((text, place, n))
    return sorted(found, key=lambda x: -x[2])


def short(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARS else line[: MOST_CHARS - 1] + "…"


def show_why(counts: list[ExperimentCount], not_known: str) -> None:
    """Print why what is ready to be asked is left, or why that is not known."""
    ready = sum(len(s.ready) for c in counts for s in c.steps)
    if not_known:
        if ready:
            console.say(f"why to run: {not_known}\n")
        return
    together: Counter[Reason] = sum((c.reasons for c in counts), Counter())
    rows = [(f"  {n:,}", text, place) for text, place, n in grouped(together)]
    follow = sum(len(s.recipes) + len(s.maybe) for c in counts for s in c.steps)
    if follow and rows:
        rows.append((f"  {follow:,}", "judge or ask again what is new above, at most", ""))
    if rows:
        console.show_table(("  why to run", "", ""), rows, numeric=("  why to run",))
        console.say()


def show_counts(counts: list[ExperimentCount]) -> None:
    """Print one screen: cells by axis, and each step's requests."""
    if len(counts) > 1:
        console.say(f"in all: {total(counts):,} requests at most; what is equal is asked once\n")
    for count in counts:
        experiment = count.experiment
        chosen = count.only
        axes = "  ".join(
            f"{a.name} {len(chosen[i]) if i in chosen else len(a.levels)}" for i, a in enumerate(experiment.axes)
        )
        skipped = f"  ({experiment.n_skipped:,} skipped)" if experiment.n_skipped else ""
        console.say(
            f"{experiment.name}   {count.cells:,} cell{'' if count.cells == 1 else 's'} x {count.samples:,} "
            f"sample{'' if count.samples == 1 else 's'}   {axes}{skipped}"
        )
        left = count.at_most > 0
        columns = ["  step", "needed", "cached", "to run", *(["est. tokens in/out", "est. cost"] if left else [])]
        rows = [_step_row(s, wide=left) for s in count.steps]
        if left and len(count.steps) > 1:
            rows.append(_total_row(count))
        console.show_table(columns, rows, numeric=columns[1:])
        if any(s.maybe for s in count.steps):
            console.say("  * known only after judging; ~ is an estimate from what is stored")
        show_cost(count)
        show_unread(count)
        show_odd(count)
        _show_shared(count)
        if by := _by_json(count) if count.by else []:
            console.show_table([f"  {k}" for k in by[0]], [[f"  {short(str(v))}" for v in x.values()] for x in by])
        if unknown := max((s.unknown for s in count.steps), default=0):
            console.say(f"  {unknown:,} of {count.cells * count.samples:,} rows are unknown: a dataset is not here yet")
        if count.beyond_budget:
            console.say(f"  {count.beyond_budget}: `emdsl run` would refuse (E733)")
        console.say()


def show_odd(count: ExperimentCount) -> None:
    """Say how many stored answers are cut, empty or blocked."""
    for step in count.steps:
        odd = Odd(step=step.step.name, n=step.cached, cut=step.cut, empty=step.empty, blocked=step.blocked)
        if odd.said:
            console.say(f"  {odd.said}")


def show_unread(count: ExperimentCount) -> None:
    """Say which judges are tested first, and which replies cannot be read."""
    for step in count.steps:
        name = step.step.name
        if step.probes:
            console.say(
                f"  + {_requests(len(step.probes))} to test that the judge of `{name}` writes numbers as one token"
            )
        if step.split:
            console.say(
                f"  {len(step.split):,} verdicts of `{name}` are missing (split_number): {_who(step)} writes numbers "
                "digit by digit.\n  Import the rubric from `std:judges@2`, or use `read = number` with `max_tokens = 8`"
            )
        if step.step.again and step.ready:
            console.say(
                f"  a reply of `{name}` that cannot be read is asked for again, up to {step.step.again} times: "
                "not in the counts above"
            )
        if step.unread:
            console.say(f"  {len(step.unread):,} replies of `{name}` could not be read, and were asked for again")


def _who(step: StepCount) -> str:
    """Return the judges of a step whose numbers are split."""
    return ", ".join(f"`{use}`" for use in sorted(step.splitters)) or "its judge"


def _requests(n: int) -> str:
    return f"{n:,} request" + ("" if n == 1 else "s")


def _step_row(step: StepCount, *, wide: bool) -> list[str]:
    estimate = step.estimate
    row = [
        f"  {step.step.kind} {step.step.name}",
        ("<=" if step.maybe or step.recipes else "") + f"{step.needed:,}",
        f"{step.cached:,}",
        _to_run(step.expected, step.at_most) if step.maybe else f"{step.to_run:,}",
    ]
    if wide:
        row += [
            _tokens(estimate.input_tokens, estimate.output_tokens, most=estimate.most),
            _cost(estimate.usd, most=estimate.most),
        ]
    return row


def _total_row(count: ExperimentCount) -> list[str]:
    estimates = [s.estimate for s in count.steps]
    into = [e.input_tokens for e in estimates]
    out = [e.output_tokens for e in estimates]
    tokens = _tokens(
        None if None in into else sum(x or 0 for x in into), None if None in out else sum(x or 0 for x in out),
        most=any(e.most for e in estimates),
    )  # fmt: skip
    return [
        "  total", "", f"{sum(s.cached for s in count.steps):,}",
        ("<=" if any(s.maybe for s in count.steps) else "") + f"{count.at_most:,}", tokens,
        _cost(total_usd(e.usd for e in estimates), most=any(e.most for e in estimates)),
    ]  # fmt: skip


def _show_shared(count: ExperimentCount) -> None:
    for step in count.steps:
        if step.n_rows > step.needed:
            console.say(f"  shared: {step.needed:,} requests of `{step.step.name}` serve {step.n_rows:,} rows")
    chars = sum(s.estimate.chars for s in count.steps)
    prefix = sum(s.estimate.prefix_chars for s in count.steps)
    if chars and prefix * 10 > chars:
        console.say(
            f"  prompt prefix reusable for {100 * prefix // chars} % of the text that is known and left to send"
        )


def _tokens(into: float | None, out: float | None, *, most: bool) -> str:
    return f"{_count(into)} / {'<=' if most and out is not None else ''}{_count(out)}"


def _cost(amount: Decimal | None, *, most: bool) -> str:
    return ("<=" if most and amount else "") + usd(amount)


def _count(n: float | None) -> str:
    if n is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:.0f}"


def _to_run(expected: int | None, at_most: int) -> str:
    return f"<={at_most:,} *" if expected is None else f"~{expected:,} (<={at_most:,}) *"
