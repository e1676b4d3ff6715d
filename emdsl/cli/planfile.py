"""A plan that was written down: `emdsl plan -o plan.json`, and `emdsl run plan.json`, which refuses other keys."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.files import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.run.planner import ExperimentCount
    from emdsl.run.walk import Walk

FORMAT = 1
ENDING = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What was planned: the call, and the digest of all requests of each experiment."""

    file: Path
    samples: int | None
    only: tuple[str, ...]
    simulate: bool
    digests: Mapping[str, str]  # of all requests, by experiment
    requests: int  # that were left, at most
    ready: Mapping[str, str]  # by step: those known by then, as the first digits of their keys
    written: Path

    def check_left(self, left: int, counts: list[ExperimentCount]) -> None:
        """Raise UsageError where more is left to ask than was planned: answers are gone, or judged otherwise."""
        now = known_requests(counts)
        asks = {s.step.name for c in counts for s in c.steps if not s.step.needs}
        new = any(not set(now[n].split()) <= set(self.ready.get(n, "").split()) for n in now if n in asks)
        if left > self.requests or new:
            raise UsageError(
                f"{self.written}: {left:,} requests are left, and {self.requests:,} were planned: answers were taken "
                f"out of the store since, or came out otherwise. Write the plan again with -o, or run {self.file}"
            )

    def check(self, walks: list[Walk]) -> None:
        """Raise UsageError where the program would make other requests than were planned."""
        now = digests(walks)
        changed = sorted(n for n in {*now, *self.digests} if now.get(n) != self.digests.get(n))
        if changed:
            raise UsageError(
                f"{self.written}: the requests of {', '.join(changed)} are no longer those that were planned. "
                f"`emdsl plan {self.file}` shows what has changed; write the plan again with -o, or run {self.file}"
            )


def known_requests(counts: list[ExperimentCount]) -> dict[str, str]:
    """Return the requests of each step that are ready to be asked, as the first digits of their keys."""
    found: dict[str, set[str]] = {}
    for count in counts:
        for step in count.steps:
            found.setdefault(step.step.name, set()).update(key.hex()[:16] for key in step.ready)
    return {name: " ".join(sorted(keys)) for name, keys in found.items()}


def digests(walks: list[Walk]) -> dict[str, str]:
    """Return the digest of all requests of each experiment, whatever is stored."""
    from emdsl.run.recipes import requests_digest  # noqa: PLC0415 - what an up-to-date run does not need

    return {w.experiment.name: requests_digest(w).hex() for w in walks}


def write_plan(path: Path, call: Planned, found: dict[str, Any], files: Iterable[str]) -> None:
    """Write a plan, with the counts and reasons that were shown; raises UsageError, never over what is no plan."""
    if path.suffix.lower() != ENDING:
        raise UsageError(f"-o takes a file that ends in {ENDING}, not {path}: so that `emdsl run` knows it as a plan")
    if str(path.resolve()) in files or (path.exists() and not _is_plan(path)):
        raise UsageError(f"{path} is there, and is no plan: it is not overwritten")
    held = asdict(call) | {"file": os.path.relpath(call.file, path.resolve().parent), "written": None}
    text = json.dumps({"emdsl_plan": FORMAT} | {k: v for k, v in held.items() if v is not None} | found, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _is_plan(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(found, dict) and "emdsl_plan" in found and "digests" in found
    except (OSError, ValueError, TypeError):
        return False


def read_plan(path: Path, samples: int | None, only: tuple[str, ...], *, simulate: bool) -> Planned:
    """Return a plan that was written down; raises UsageError. What it was restricted to is in it."""
    try:
        found: Any = json.loads(read_whole(path))
        if int(found["emdsl_plan"]) != FORMAT:
            raise UsageError(f"{path} was written by another emdsl: plan again")
        own = found.get("samples")
        plan = Planned(
            file=_shown(path.parent / _text(found["file"])), samples=None if own is None else int(own),
            only=tuple(map(_text, found["only"])), simulate=found["simulate"] is True, digests=_texts(found["digests"]),
            requests=int(found["requests"]), ready=_texts(found["ready"]), written=path,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is no plan: `emdsl plan FILE.em -o plan.json` writes one") from error
    if (samples, only, simulate) not in ((None, (), False), (plan.samples, plan.only, plan.simulate)):
        raise UsageError("a plan holds its own --samples, --only and --sim: leave them out, or run the program")
    return plan


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("a text was expected")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(name): _text(said) for name, said in value.items()}


def _shown(path: Path) -> Path:
    return Path(os.path.relpath(path.resolve()))
