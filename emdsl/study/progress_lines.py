"""The state of a run under way as texts: its steps, its cost, the time left. A terminal draws them, a page may too."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.run.progress import INTERRUPT
from emdsl.study.cost import usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.run.eta import TimeLeft
    from emdsl.run.metering import StepProgress
    from emdsl.run.progress import Progress

MAX_STEPS = 8  # lines for steps
MAX_PLAIN = 4  # steps in one plain line
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MAX_ERROR = 80  # characters


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step: its name, how far it is, and what went wrong."""

    name: str
    done: int
    total: int
    count: str
    note: str


def step_lines(steps: Sequence[StepProgress]) -> tuple[list[StepLine], str]:
    """Return a line for each step, at most MAX_STEPS, and how many more there are: first those under way."""
    wanted = [s for s in steps if s.total or s.answered or s.failed]
    if len(wanted) <= MAX_STEPS:
        return [_line(s) for s in wanted], ""
    under_way = [s for s in wanted if s.left and (s.answered or s.failed)]
    order = [*under_way, *(s for s in wanted if s not in under_way and s.left), *(s for s in wanted if not s.left)]
    kept = order[: MAX_STEPS - 1]
    rest = order[MAX_STEPS - 1 :]
    ended = sum(not s.left for s in rest)
    return [_line(s) for s in wanted if s in kept], f"{len(rest)} more steps, {ended} of them done"


def _line(step: StepProgress) -> StepLine:
    notes = [f"{step.failed:,} failed"] if step.failed else []
    notes += [f"{step.retried:,} retried"] if step.retried else []
    done = step.answered + step.failed
    total = max(step.total, done)
    at_most = "<=" if step.open_ended and done < total else ""
    return StepLine(step.name, done, total, f"{step.answered:,}/{at_most}{total:,}", ", ".join(notes))


def spent(progress: Progress) -> str:
    """Return what was spent, of the budget if there is one; empty for a run that costs nothing."""
    budgets = progress.budgets
    if budgets is None:
        return ""
    paid, limit = budgets.spent_usd, budgets.limit_usd
    if not paid and limit is None and not budgets.n_unpriced:
        return ""
    unknown = " + ?" if budgets.n_unpriced else ""
    return usd(Decimal(paid)) + unknown + (f" of {usd(limit)}" if limit is not None else " spent")


def time_left(left: TimeLeft) -> str:
    """Return the time left as people say it; empty if it is unknown."""
    if left.seconds is None:
        return f"at least {duration(left.least_s)} left" if left.least_s >= MINUTE_S else ""
    return f"about {duration(left.seconds)} left" + (f" ({left.why})" if left.why else "")


def unknown_time(left: TimeLeft) -> str:
    """Return why the time left is unknown; empty if it is known."""
    return f"time left unknown: {left.why}" if left.seconds is None else ""


def duration(seconds: float) -> str:
    """Return seconds in short: `35 s`, `12 min`, `2 h 10 min`, `3 days`."""
    if seconds < 1.5 * MINUTE_S:
        return f"{max(5 * round(seconds / 5), 5)} s" if seconds > 10 else f"{max(round(seconds), 1)} s"
    if seconds < 1.5 * HOUR_S:
        return f"{round(seconds / MINUTE_S)} min"
    if seconds < 2 * DAY_S:
        hours, minutes = divmod(10 * round(seconds / MINUTE_S / 10), 60)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{round(seconds / HOUR_S)} h"
    return f"{round(seconds / DAY_S)} days"


def waiting(progress: Progress, stop: str = "Ctrl-C", stop_again: str = "Ctrl-C again") -> list[str]:
    """Return what a run waits for, or why it stops; `stop` stops that at once, `stop_again` after an interrupt."""
    notes = [progress.batches] if progress.batches else []
    if progress.waiting or progress.paused_s >= 1:
        until = f", next in {progress.paused_s:,.0f} s" if progress.paused_s >= 1 else ""
        notes.append(f"{progress.waiting:,} waiting{until} ({progress.last_error[:MAX_ERROR]})")
    if progress.elsewhere:
        notes.append(f"{progress.elsewhere:,} are sent by another process")
    if progress.draining:
        notes += _stopping(progress, stop, stop_again)
    return notes


def _stopping(progress: Progress, stop: str, stop_again: str) -> list[str]:
    if progress.stopping == INTERRUPT:
        return [f"finishing the requests in flight; {stop_again} stops at once"]
    cause = progress.stopping if len(progress.stopping) <= MAX_ERROR else f"{progress.stopping[: MAX_ERROR - 3]}..."
    return [f"stopping: {cause}", f"finishing the requests in flight; {stop} stops at once"]


def plain_line(progress: Progress, total: int, left: TimeLeft) -> str:
    """Return the whole state in one line, for a log."""
    done = progress.answered + progress.failed
    steps = [_line(s) for s in progress.meter.steps if s.left and (s.answered or s.failed)]
    by_step = ", ".join(f"{s.name} {s.count}" for s in steps[:MAX_PLAIN])
    more = f" and {len(steps) - MAX_PLAIN} more steps" if len(steps) > MAX_PLAIN else ""
    notes = [f"{progress.failed:,} failed"] if progress.failed else []
    notes += [f"{progress.retried:,} retried"] if progress.retried else []
    notes += [spent(progress)]
    notes += waiting(progress) if progress.draining else [time_left(left) or unknown_time(left), *waiting(progress)]
    parts = [f"{done:,} of at most {total:,} requests done", *([by_step + more] if by_step else [])]
    return "  ".join([*parts, f"({', '.join(filter(None, notes))})"] if any(notes) else parts)
