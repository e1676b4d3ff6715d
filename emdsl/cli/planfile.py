"""A plan that was written down: `emdsl plan -o plan.json`, and `emdsl run plan.json`, which refuses other keys."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.experiment import Program
    from emdsl.run.walk import Walk

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What was planned: the call, and the digest of all requests of each experiment."""

    file: Path
    samples: int | None
    only: tuple[str, ...]
    simulate: bool
    digests: Mapping[str, str]  # of all requests, by experiment
    written: Path

    def check(self, program: Program, walks: list[Walk]) -> None:
        """Raise UsageError where the program would make other requests than were planned."""
        del program
        now = digests(walks)
        changed = sorted(n for n in {*now, *self.digests} if now.get(n) != self.digests.get(n))
        if changed:
            raise UsageError(
                f"{self.written}: the requests of {', '.join(changed)} are no longer those that were planned. "
                f"`emdsl plan {self.file}` shows what has changed; write the plan again with -o, or run {self.file}"
            )


def digests(walks: list[Walk]) -> dict[str, str]:
    """Return the digest of all requests of each experiment, whatever is stored."""
    from emdsl.run.recipes import requests_digest  # noqa: PLC0415 - what an up-to-date run does not need

    return {w.experiment.name: requests_digest(w).hex() for w in walks}


def write_plan(path: Path, call: Planned, found: dict[str, Any]) -> None:
    """Write a plan, with the counts and reasons that were shown; raises UsageError."""
    held = asdict(call) | {"file": os.path.relpath(call.file, path.resolve().parent), "written": None}
    text = json.dumps({"emdsl_plan": FORMAT} | {k: v for k, v in held.items() if v is not None} | found, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_plan(path: Path, samples: int | None, only: tuple[str, ...], *, simulate: bool) -> Planned:
    """Return a plan that was written down; raises UsageError. What it was restricted to is in it."""
    if samples is not None or only or simulate:
        raise UsageError("a plan holds its own --samples, --only and --sim: leave them out, or run the program")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if found["emdsl_plan"] != FORMAT:
            raise UsageError(f"{path} was written by another emdsl: plan again")
        return Planned(
            file=_shown(path.parent / found["file"]), samples=found.get("samples"), only=tuple(found["only"]),
            simulate=bool(found["simulate"]), digests=dict(found["digests"]), written=path,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no plan: `emdsl plan FILE.em -o plan.json` writes one") from error


def _shown(path: Path) -> Path:
    return Path(os.path.relpath(path.resolve()))
