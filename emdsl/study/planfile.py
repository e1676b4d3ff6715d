"""Written plans: `emdsl plan -o plan.json`, and `emdsl run plan.json`, which refuses to send any other request."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import FileExists, FileMissing, PlanOutdated, UsageError
from emdsl.files import read_whole, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.run.count import ExperimentCount
    from emdsl.run.rows import Rows

FORMAT = 1
SUFFIX = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A written plan: the selection, and the digest of all requests of each experiment."""

    file: Path
    samples: int | None
    only: tuple[str, ...]
    simulate: bool
    digests: Mapping[str, str]  # of all requests, by experiment
    requests: int  # that were pending, at most
    ready: Mapping[str, str]  # those known then, by step: the first digits of their keys
    written: Path

    def check_pending(self, pending: int, counts: list[ExperimentCount]) -> None:
        """Raise PlanOutdated if more is pending than was planned: answers are gone, or verdicts are different."""
        now = known_requests(counts)
        asks = {s.step.name for c in counts for s in c.steps if not s.step.needs}
        new = any(not set(now[n].split()) <= set(self.ready.get(n, "").split()) for n in now if n in asks)
        if pending > self.requests or new:
            raise PlanOutdated(
                f"{self.written}: {pending:,} requests are pending, {self.requests:,} were planned: answers were "
                f"removed from the store since, or have other values. Write the plan again with -o, or run {self.file}"
            )

    def check(self, walks: list[Rows]) -> None:
        """Raise PlanOutdated if the study makes other requests than were planned."""
        now = digests(walks)
        changed = sorted(n for n in {*now, *self.digests} if now.get(n) != self.digests.get(n))
        if changed:
            raise PlanOutdated(
                f"{self.written}: the requests of {', '.join(changed)} have changed since the plan was written. "
                f"`emdsl plan {self.file}` shows the changes; write the plan again with -o, or run {self.file}"
            )


def known_requests(counts: list[ExperimentCount]) -> dict[str, str]:
    """Return the requests of each step that are ready to be sent, as the first digits of their keys."""
    keys: dict[str, set[str]] = {}
    for count in counts:
        for step in count.steps:
            keys.setdefault(step.step.name, set()).update(key.hex()[:16] for key in step.pending)
    return {name: " ".join(sorted(some)) for name, some in keys.items()}


def digests(walks: list[Rows]) -> dict[str, str]:
    """Return the digest of all requests of each experiment, cached or not."""
    from emdsl.run.symbolic import requests_digest  # noqa: PLC0415 - what an up-to-date run does not need

    return {w.experiment.name: requests_digest(w).hex() for w in walks}


def write_plan(path: Path, plan: PlanFile, shown: dict[str, Any], files: Iterable[str]) -> None:
    """Write a plan with its counts and reasons, whole or not at all.

    Args:
        path: Where to; a file that is not a plan is never overwritten.
        plan: The plan.
        shown: The JSON of `emdsl plan --json`, written beside it for people.
        files: The files of the study; none is ever overwritten.

    Raises:
        UsageError: The path has another suffix, or cannot be written.
        FileExists: There is a file that is not a plan.
    """
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"expected a file name that ends in {SUFFIX}, not {path}", parameter="output")
    if str(path.resolve()) in files or (path.exists() and not _is_plan(path)):
        raise FileExists(f"{path} exists and is not a plan; it is not overwritten", parameter="output")
    held = asdict(plan) | {"file": os.path.relpath(plan.file, path.resolve().parent), "written": None}
    text = json.dumps({"emdsl_plan": FORMAT} | {k: v for k, v in held.items() if v is not None} | shown, indent=1)
    try:
        write_whole(path, text + "\n", public=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", parameter="output") from error


def _is_plan(path: Path) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(value, dict) and "emdsl_plan" in value and "digests" in value
    except (OSError, ValueError, TypeError):
        return False


def read_plan(path: Path, samples: int | None, only: tuple[str, ...], *, simulate: bool) -> PlanFile:
    """Return a written plan; it holds its own selection.

    Args:
        path: The file.
        samples: As given beside the plan: None, or the plan's own.
        only: The same.
        simulate: The same.

    Raises:
        FileMissing: The file cannot be read.
        UsageError: It is not a plan, or another selection was given.
    """
    try:
        value: Any = json.loads(read_whole(path))
        if int(value["emdsl_plan"]) != FORMAT:
            raise PlanOutdated(f"another version of emdsl wrote {path}: plan again")
        own = value.get("samples")
        plan = PlanFile(
            file=_from_here(path.parent / _text(value["file"])), samples=None if own is None else int(own),
            only=tuple(map(_text, value["only"])), simulate=value["simulate"] is True, digests=_texts(value["digests"]),
            requests=int(value["requests"]), ready=_texts(value["ready"]), written=path,
        )  # fmt: skip
    except OSError as error:
        raise FileMissing(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is not a plan; `emdsl plan FILE.em -o plan.json` writes one") from error
    if (samples, only, simulate) not in ((None, (), False), (plan.samples, plan.only, plan.simulate)):
        raise UsageError("a plan has its own --samples, --only and --sim: leave them out, or run the study")
    return plan


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("expected a text")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in value.items()}


def _from_here(path: Path) -> Path:
    return Path(os.path.relpath(path.resolve()))
