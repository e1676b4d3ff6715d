"""The runs of a project, for Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.study.running import active_parts, active_runs, ended_json, ended_parts, ended_runs
from emdsl.study.self_shown import SelfShown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.run.history import Record
    from emdsl.study.project import Project
    from emdsl.study.running import ActiveRun
    from emdsl.study.screen import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs(SelfShown):
    """Runs of a project, in any process; `print(...)` shows them as `emdsl runs` does."""

    active: tuple[ActiveRun, ...]  # under way, oldest first
    ended: tuple[Record, ...] | None = None  # the last ones, last first, if wanted

    def as_json(self) -> dict[str, Any]:
        """Return them as `emdsl runs --json` prints them."""
        ended = {"ended": [ended_json(r) for r in self.ended]} if self.ended is not None else {}
        return {"runs": [r.as_json() for r in self.active]} | ended

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl runs`."""
        yield from active_parts(list(self.active))
        if self.ended is not None:
            yield ""
            yield from ended_parts(list(self.ended))


def runs_of(project: Project, *, ended: bool) -> Runs:
    """Return the runs of a project that are under way, and if wanted the last ones that have ended.

    Raises:
        SetupError: This system has no Unix sockets.
    """
    active = active_runs(project)
    return Runs(active=tuple(active), ended=tuple(ended_runs(project, active)) if ended else None)
