"""Deviations: a study beside its registration, and the mark of each measure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.run.planner import planners
from emdsl.run.rows import Rows, Selection
from emdsl.run.symbolic import requests_by_step
from emdsl.study.compiled import by_present_name
from emdsl.study.design import Design, design, levels_of
from emdsl.study.registration import Registration, registration_of
from emdsl.study.screen import Part, Table, counted, short
from emdsl.study.self_shown import SelfShown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from emdsl.experiment import Experiment, Measure
    from emdsl.run.symbolic import StepRequests
    from emdsl.study.compiled import Compiled

REGISTERED, CHANGED, ADDED, REMOVED = "registered", "changed", "added", "removed"
MAX_LEVELS = 4  # that are named
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\w.]+|[^\w\s]+')
_COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A measure beside its registration; `name` is the registered one if the study lacks it."""

    name: str
    state: str  # registered, changed, added or removed
    changes: tuple[str, ...] = ()
    stored: int = 0  # of its answers, when it was frozen; of an added measure those stored now
    day: str = ""  # on which it was frozen

    @property
    def text(self) -> str:
        """The mark of the measure."""
        after = f"frozen after data ({counted(self.stored, 'answer')})" if self.stored else ""
        match self.state:
            case "registered":
                return after or f"registered {self.day}"
            case "changed":
                return f"changed: {'; '.join(self.changes)}" + (f"; {after}" if after else "")
            case "added":
                return "added after the data" if self.stored else "not registered"
            case _:
                return "registered, and not in the study"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviations(SelfShown):
    """A study beside its registration."""

    frozen_at: str  # the time, in ISO 8601
    emdsl: str  # the version that wrote it
    experiments: tuple[dict[str, Any], ...]  # name, changes, and the number of answers that were stored
    measures: tuple[Standing, ...]

    @property
    def marks(self) -> dict[str, str]:
        """The marks of the study's measures, by name."""
        return {m.name: m.text for m in self.measures if m.state != REMOVED}

    @property
    def notices(self) -> list[str]:
        """A notice about registered measures that the study lacks, if any."""
        names = [m.name for m in self.measures if m.state == REMOVED]
        return [f"registered, and not in the study: {', '.join(names)}"] if names else []

    def as_json(self) -> dict[str, Any]:
        """Return it as `emdsl diff --json` prints it."""
        measures = [
            {"name": m.name, "state": m.state, "changes": list(m.changes), "stored": m.stored, "mark": m.text}
            for m in self.measures
        ]
        return {"frozen_at": self.frozen_at, "emdsl": self.emdsl, "experiments": list(self.experiments),
                "measures": measures}  # fmt: skip

    def parts(self) -> Iterator[Part]:
        """Yield the screen of `emdsl diff`."""
        yield f"frozen {self.frozen_at} by emdsl {self.emdsl}"
        for entry in self.experiments:
            changes = "; ".join(entry["changes"]) or "unchanged"
            yield f"experiment {entry['name']}: {changes}; {counted(entry['stored'], 'answer')} stored when frozen"
        if self.measures:
            yield ""
            yield Table(("measure", "registration"), [(m.name, m.text) for m in self.measures])


def marked(study: Compiled, path: Path | None = None) -> tuple[dict[str, str], list[str]]:
    """Return the mark of each measure, and notices; nothing if there is no registration.

    Args:
        study: The study.
        path: Its registration; by default the one beside it.

    Raises:
        FileMissing: The file cannot be read.
        UsageError: It is not a registration of this study.
    """
    registration = registration_of(study, path)
    if registration is None:
        return {}, []
    found = deviations(study, registration)
    return found.marks, found.notices


def deviations(study: Compiled, registration: Registration) -> Deviations:
    """Return how a study deviates from a registration; nothing is sent."""
    news = {e.name: e for e in study.program.experiments}
    olds = by_present_name(registration.experiments, news)
    entries: list[dict[str, Any]] = []
    measures: list[Standing] = []
    stored = _StoredNow(study)
    for name, experiment in news.items():
        if name not in olds:
            entries.append({"name": name, "changes": ["added"], "stored": 0})
            measures += [Standing(name=m.name, state=ADDED, stored=stored.of(experiment, m))
                         for m in experiment.measures]  # fmt: skip
            continue
        pair = _Pair(experiment, olds.pop(name), same=registration.program == study.program.digest.hex())
        entries.append({"name": name, "changes": pair.changes, "stored": pair.old["stored"]})
        measures += _standings(pair, registration.day, stored)
    for name, old in olds.items():
        entries.append({"name": name, "changes": ["removed"], "stored": old["stored"]})
        measures += [Standing(name=m, state=REMOVED) for m in old["measures"]]
    frozen_at = registration.frozen_at.isoformat(timespec="seconds")
    return Deviations(
        frozen_at=frozen_at, emdsl=registration.emdsl, experiments=tuple(entries), measures=tuple(measures)
    )


def _standings(pair: _Pair, day: str, stored: _StoredNow) -> Iterator[Standing]:
    """Yield how each measure of an experiment stands; one that was renamed is known by its meaning."""
    olds = {n: {k: v for k, v in m.items() if k != "stored"} for n, m in pair.old["measures"].items()}
    news: dict[str, Any] = pair.new["measures"]
    former = {new: old for old, new in _renames(olds, news).items()} | {n: n for n in news if n in olds}
    for measure in pair.experiment.measures:
        if measure.name not in former:
            yield Standing(name=measure.name, state=ADDED, stored=stored.of(pair.experiment, measure))
            continue
        old = former[measure.name]
        changes = changes_of("", olds[old], news[measure.name]) + pair.size
        changes += [c for s in measure.steps for c in pair.steps.get(pair.names.get(s, s), ())]
        yield Standing(
            name=measure.name, state=CHANGED if changes else REGISTERED, changes=tuple(changes),
            stored=pair.old["measures"][old]["stored"], day=day,
        )  # fmt: skip
    yield from (Standing(name=n, state=REMOVED) for n in olds if n not in former.values())


class _StoredNow:
    """How many answers of a measure are stored; they are counted for the first measure that needs it."""

    def __init__(self, study: Compiled) -> None:
        self._study = study
        self._keys: dict[tuple[str, str], set[bytes]] = {}

    def of(self, experiment: Experiment, measure: Measure) -> int:
        if not self._keys:
            with self._study.store() as store:
                counts = [p.plan(store) for p in planners([Rows(e) for e in self._study.program.experiments])]
            self._keys = {(c.experiment.name, s.step.name): s.stored for c in counts for s in c.steps}
        return len(set[bytes]().union(*(self._keys[experiment.name, name] for name in measure.steps)))


class _Pair:
    """An experiment as it was registered, beside the present one in the names of then.

    `size` are the changes of its samples and axes, `steps` those of each step.
    """

    def __init__(self, experiment: Experiment, old: Design, *, same: bool) -> None:
        self.experiment, self.old = experiment, old
        self.names: dict[str, str] = {}  # of axes and steps that were renamed: those of then
        self.new, self.size = old, list[str]()
        self.steps: dict[str, list[str]] = {}
        if same:
            self.new = old | {"measures": {n: {k: v for k, v in m.items() if k != "stored"}
                                           for n, m in old["measures"].items()}}  # fmt: skip
            return
        requests = requests_by_step(Rows(experiment))
        axes = {a.name: levels_of(a) for a in experiment.axes}
        steps = {name: x.digest.hex() for name, x in requests.items()}
        renames = _renames(old["axes"], axes) | _renames({n: s["digest"] for n, s in old["steps"].items()}, steps)
        self.names = {new: was for was, new in renames.items()}
        self.new = design(experiment, requests, self.names)
        self.size = self._size()
        comparable = self._comparable() if self.size else requests
        if comparable is None:
            self.size.append("requests not compared")
        moved: set[str] = set()
        for step in experiment.steps:
            name = self.names.get(step.name, step.name)
            self.steps[name] = self._step(name)
            if comparable is None or name not in old["steps"]:
                continue
            if comparable[step.name].digest.hex() != old["steps"][name]["digest"]:
                moved.add(step.name)
                if not self.steps[name] and not moved & set(step.needs):  # else the change of the other is why
                    self.steps[name] = [f"requests of {name}"]

    @property
    def changes(self) -> list[str]:
        """All changes but those of measures."""
        gone = [f"{name} removed" for name in self.old["steps"] if name not in self.new["steps"]]
        return [*self.size, *(c for changes in self.steps.values() for c in changes), *gone]

    def _size(self) -> list[str]:
        old, new = self.old, self.new
        changes = [f"samples {old['samples']} -> {new['samples']}"] if old["samples"] != new["samples"] else []
        for axis in dict.fromkeys((*old["axes"], *new["axes"])):
            before, after = (x["axes"].get(axis) for x in (old, new))
            if before is None or after is None:
                changes.append(f"axis {axis} {'added' if before is None else 'removed'}")
                continue
            if moved := [*_signed("+", after, before), *_signed("-", before, after)]:
                changes.append(f"levels of {axis} {' '.join(moved)}")
            if other := sum(before[x] != after[x] for x in before if x in after):
                changes.append(f"values of {axis}: {other:,} changed")
        if not changes and old["cells"] != new["cells"]:
            changes.append(f"cells {old['cells']:,} -> {new['cells']:,}")
        return changes

    def _comparable(self) -> Mapping[str, StepRequests] | None:
        """Return the requests of the registered samples and levels; None if some of these are gone."""
        old, axes = self.old["axes"], {self.names.get(a.name, a.name): a for a in self.experiment.axes}
        if set(old) != set(axes) or self.old["samples"] > self.experiment.samples:
            return None
        places = [(old[n], a.places) for n, a in axes.items()]
        if any(x not in now for levels, now in places for x in levels):
            return None
        only = {i: frozenset(p for x in levels for p in now[x]) for i, (levels, now) in enumerate(places)}
        return requests_by_step(Rows(self.experiment, Selection(samples=self.old["samples"], only=only)))

    def _step(self, name: str) -> list[str]:
        old, new = self.old["steps"].get(name), self.new["steps"][name]
        if old is None:
            return [f"{name} added"]
        fields = ("when", "reply", "again") if self.size else ("models", "when", "reply", "again")
        return [c for f in fields for c in changes_of(f"{name} {f}", old.get(f), new.get(f))]


def _signed(sign: str, some: Collection[str], others: Collection[str]) -> list[str]:
    found = [x for x in some if x not in others]
    more = [f"{sign} {len(found) - MAX_LEVELS:,} more"] if len(found) > MAX_LEVELS else []
    return [f"{sign}{x}" for x in found[:MAX_LEVELS]] + more


def _renames(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the present names of what was renamed: it is equal to exactly one that is new."""
    fits = {n: [m for m, x in new.items() if m not in old and x == was] for n, was in old.items() if n not in new}
    return {n: some[0] for n, some in fits.items() if len(some) == 1}


def changes_of(field: str, old: Any, new: Any) -> list[str]:
    """Return the changes of a field in words.

    >>> changes_of("value", "aligned < 30", "aligned < 70")
    ['threshold 30 -> 70']
    >>> changes_of("interval", {"method": "wilson", "level": 0.95}, {"method": "wald", "level": 0.95})
    ['interval method wilson -> wald']
    """
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys((*old, *new))
        return [c for k in keys for c in changes_of(f"{field} {k}".strip(), old.get(k), new.get(k))]
    if isinstance(old, str) and isinstance(new, str):
        before, after = _TOKEN.findall(old), _TOKEN.findall(new)
        moved = [i for i, (x, y) in enumerate(zip(before, after, strict=False)) if x != y]
        if len(before) == len(after) and len(moved) == 1 and moved[0] and before[moved[0] - 1] in _COMPARISONS:
            return [f"threshold {before[moved[0]]} -> {after[moved[0]]}"]
    return [f"{field} {_shown(old)} -> {_shown(new)}"]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(short(str(x)) for x in value)
    return "none" if value is None else short(str(value))
