"""The engine against a model of it: random edits, runs, kills, runs side by side, drops, gc, bundles.

After each step the requests that were sent are exactly those that the model predicts, and the outcomes are those of a
fresh store.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support import THOROUGH, InProcess, outcomes, program

from emdsl.run.executor import Executor
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows
from emdsl.store.bundle import Bundle, Manifest, write_bundle
from emdsl.store.claims import Claims
from emdsl.store.disk import DiskStore
from emdsl.store.removals import move_to_trash, trash_entries
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.experiment import Experiment, Program
    from emdsl.query import Query, Response

STUDY = """em 1
model subject {{ use = "sim/subject", temperature = {temperature}, sim = {{ ceiling: 0.9, floor: 0.5 }} }}
rubric rating(answer) from "sim/judge" {{
  scale = 0..100
  user "{rubric}: {{answer}}"
}}
experiment e {{
  for k in {ks}
  for q in ["one", "two"]
  samples = {samples}
  ask answer from subject with "{word} {{q}} {{k}}"
  judge rated with rating(answer)
  when rated < {threshold} {{ judge again with rating("again {{answer}}") }}
  measure low = rate(rated < {measure})
}}
"""
EDITS: dict[str, list[str]] = {
    "temperature": ["1", "1.0", "0.5"],
    "rubric": ["Rate", "Score"],
    "ks": ["[0]", "[0, 4]", "[4, 0]", "[0, 4, 8]"],
    "samples": ["1", "3", "4"],
    "word": ["Say", "Tell"],
    "threshold": ["10", "60", "90"],
    "measure": ["20", "70"],
}


class Slow(InProcess):
    """Answers after a while, so that two runs meet; fails from its `limit`-th request on, as a killed run would."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.stop: Any = None

    async def ask(self, query: Query, *_: Any) -> Response:
        if self.limit is not None and self.n >= self.limit:
            self.stop("the test stops it")
            await asyncio.sleep(60)
        found = await super().ask(query, *_)
        await asyncio.sleep(0.001)
        return found


class Engine(RuleBasedStateMachine):
    """What the store should hold is a set of keys: `stored`."""

    @initialize()
    def begin(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.text = {name: values[0] for name, values in EDITS.items()}
        self.stored: set[bytes] = set()
        self.aside: dict[str, set[bytes]] = {}
        self.n_batches = 0
        self.complete = False

    def teardown(self) -> None:
        if hasattr(self, "_temporary"):
            self._temporary.cleanup()

    @property
    def program(self) -> Program:
        return program(STUDY.format(**self.text))

    def needed(self) -> set[bytes]:
        """Return the keys of all requests of the program, by running it on a store of its own."""
        store, provider = MemoryStore(), InProcess()
        asyncio.run(self._run(store, provider, {}))
        assert len(set(provider.keys)) == len(provider.keys), "no request is sent twice"
        return set(provider.keys)

    async def _run(self, store: Any, provider: Any, more: Mapping[str, Any]) -> None:
        walks = [Rows(e) for e in self.program.experiments]
        executor = Executor(walks, store, provider, connections=4, retry_policy=RetryPolicy(), run="r", **more)
        provider.stop = executor.stop
        await executor.run()

    def ask(self, *providers: Slow) -> None:
        """Run the program once for each provider, at the same time, each as a process would."""
        stores = [DiskStore(self.folder / "answers") for _ in providers]
        claims = [Claims(self.folder / "answers", f"run{i}") for i in range(len(providers))]

        async def main() -> None:
            pairs = zip(stores, providers, claims, strict=True)
            await asyncio.gather(*(self._run(s, p, {"claims": c}) for s, p, c in pairs))

        asyncio.run(main())
        for claim in claims:
            claim.close()
        for store in stores:
            assert not store.corrupt
            store.close()

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(EDITS)))
        self.text[name] = data.draw(st.sampled_from(EDITS[name]))
        self.complete = False

    @rule()
    def run(self) -> None:
        needed, provider = self.needed(), Slow()
        self.ask(provider)
        assert sorted(provider.keys) == sorted(needed - self.stored)
        self.stored |= needed
        self.complete = True

    @rule()
    def run_twice_at_once(self) -> None:
        needed, both = self.needed(), (Slow(), Slow())
        self.ask(*both)
        assert sorted(both[0].keys + both[1].keys) == sorted(needed - self.stored)
        self.stored |= needed
        self.complete = True

    @rule(limit=st.integers(0, 12))
    def stop_half_way(self, limit: int) -> None:
        """What was asked and not yet stored may be lost; nothing else is."""
        needed, provider = self.needed(), Slow(limit)
        self.ask(provider)
        assert set(provider.keys) <= needed - self.stored
        store = DiskStore(self.folder / "answers")
        here = set(store.get_many(needed))
        store.close()
        assert here >= self.stored & needed
        assert len(set(provider.keys) - here) <= 4, "no more is lost than was in flight"
        self.stored |= here
        self.complete = False

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if not self.stored:
            return
        keys = data.draw(st.sets(st.sampled_from(sorted(self.stored)), max_size=5))
        self.n_batches += 1
        batch = f"b{self.n_batches}"
        assert move_to_trash(self.folder / "answers", keys, "test", batch) == len(keys)
        self.aside[batch] = keys
        self.stored -= keys
        self.complete = False

    @rule()
    def undo(self) -> None:
        if not self.aside:
            return
        batch, keys = self.aside.popitem()
        store = DiskStore(self.folder / "answers")
        new, old = store.adopt(trash_entries(self.folder / "answers", batch))
        assert (new, old) == (len(keys - self.stored), len(keys & self.stored))
        store.close()
        self.stored |= keys

    @rule()
    def collect_garbage(self) -> None:
        """What the program does not need goes; another version of it asks it again."""
        if not (self.folder / "answers").exists():
            return
        keep = self.needed()
        assert move_to_trash(self.folder / "answers", self.stored - keep, "gc", "gc") == len(self.stored - keep)
        self.stored &= keep

    @rule()
    def travel(self) -> None:
        """Out into a file, and into a store of another place, where the next runs are."""
        if not self.stored:
            return
        store, path = DiskStore(self.folder / "answers"), self.folder / "s.emcache"
        manifest = Manifest(study="s", file="s.em", n_entries=len(self.stored), files={})
        write_bundle(path, manifest, store.entries(sorted(self.stored)), {}, None)
        store.close()
        self.folder = self.folder / "on"
        self.folder.mkdir()
        other = DiskStore(self.folder / "answers")
        assert other.adopt(Bundle(path).entries()) == (len(self.stored), 0)
        other.close()
        self.aside = {}

    @invariant()
    def outcomes_are_those_of_a_fresh_store(self) -> None:
        if not getattr(self, "complete", False):
            return
        (experiment,) = self.program.experiments
        fresh = MemoryStore()
        asyncio.run(self._run(fresh, InProcess(), {}))
        store = DiskStore(self.folder / "answers", read_only=True)
        assert _values(experiment, store) == _values(experiment, fresh)
        store.close()


def _values(experiment: Experiment, store: Any) -> list[Any]:
    rows = outcomes(experiment, store)
    return [(r.cell, r.sample, {n: str(x.value) for n, x in r.results.items()}) for r in rows]


TestEngine = Engine.TestCase
pytest.mark.thorough(TestEngine)
TestEngine.settings = settings(
    max_examples=12 if THOROUGH else 4,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
