"""Stores and claims against models of them, which are dictionaries: random steps by two that have the store open."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store.conformance import DAMAGED, KINDS, ON_A_SERVER, entry, put, texts
from store.test_disk import query

if TYPE_CHECKING:
    from emdsl.store.removals import StoreVersion
    from emdsl.store.store import AnswerStore, AnyClaims

NUMBERS = st.integers(0, 15)
SOME = st.sets(NUMBERS, max_size=6)
TEXTS = st.dictionaries(NUMBERS, st.sampled_from(["", "a", "b" * 700]), min_size=1, max_size=8)
WHO = st.integers(0, 1)
EACH = [pytest.param(name, marks=pg.NEEDED if name in ON_A_SERVER else ()) for name in KINDS]
pytestmark = pytest.mark.thorough(only="half a minute")
SOME_EXAMPLES = settings(
    max_examples=6, stateful_step_count=40, deadline=None, database=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip


class StoreModel(RuleBasedStateMachine):
    """`answers` has the text of each number, None for a damaged entry; `removed` the entries of each removal."""

    name = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.kind = KINDS[self.name]
        self.place = self.kind.place(Path(self.folder.name))
        self.stores: list[AnswerStore] = [self.kind.open(self.place), self.kind.open(self.place)]
        self.answers: dict[int, str | None] = {}
        self.removed: dict[str, dict[int, str | None]] = {}
        self.versions: list[tuple[StoreVersion, int]] = []  # each with the removals before it
        self.removals = 0

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.folder.cleanup()

    @rule(who=WHO, batch=TEXTS)
    def put(self, who: int, batch: dict[int, str]) -> None:
        self.replace(batch)
        expected = {
            i: self.answers.get(i) or (text if self.answers.get(i) is None else "") for i, text in batch.items()
        }
        self.answers |= expected
        assert put(self.stores[who], batch) == expected

    @rule(who=WHO, batch=TEXTS)
    def adopt(self, who: int, batch: dict[int, str]) -> None:
        self.replace(batch)
        new = {i: text for i, text in batch.items() if self.answers.get(i) is None}
        self.answers |= new
        assert self.stores[who].adopt([entry(i, text) for i, text in batch.items()]) == (
            len(new),
            len(batch) - len(new),
        )

    def replace(self, batch: dict[int, Any]) -> None:
        """Move the damaged entries of a batch to the trash, as the store does before it stores others."""
        for i in batch:
            if i in self.answers and self.answers[i] is None:
                del self.answers[i]
                self.removed.setdefault("", {})
                self.removals += 1

    @rule(numbers=SOME)
    def damage(self, numbers: set[int]) -> None:
        there = numbers & self.answers.keys()
        self.kind.damage(self.place, [query(i).key for i in there])
        self.answers |= dict.fromkeys(there)

    @rule(who=WHO, numbers=SOME)
    def move_to_trash(self, who: int, numbers: set[int]) -> None:
        name = f"b{len(self.removed)}"
        moved = {i: self.answers.pop(i) for i in numbers & self.answers.keys()}
        assert self.stores[who].move_to_trash([query(i).key for i in numbers], "why", name) == len(moved)
        self.removals += len(moved)
        self.removed[name] = moved

    @precondition(lambda self: any(self.removed))
    @rule(who=WHO, data=st.data())
    def restore(self, who: int, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n in self.removed if n]))
        entries = self.removed[name]
        assert len(self.stores[who].trash_entries(name)) == len(entries)
        self.stores[who].adopt(self.stores[who].trash_entries(name))
        self.replace({i: text for i, text in entries.items() if i in self.answers and text is not None})
        self.answers = entries | self.answers
        self.purge(who, name)

    def purge(self, who: int, name: str) -> None:
        assert self.stores[who].purge(name) == len(self.removed[name])
        self.removed[name] = {}

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        self.stores[who].close()
        self.stores[who] = self.kind.open(self.place)

    @rule(who=WHO, numbers=SOME)
    def read(self, who: int, numbers: set[int]) -> None:
        store = self.stores[who]
        there = {i: self.answers[i] for i in numbers & self.answers.keys()}
        assert texts(store, numbers) == {i: text for i, text in there.items() if text is not None}
        assert {query(i).key for i, text in there.items() if text is None} <= store.corrupt
        assert set(store.stored([query(i).key for i in numbers])) == {query(i).key for i in there}

    @rule()
    def remember(self) -> None:
        self.versions.append((self.stores[0].state(), self.removals))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "stores"):
            return
        for store in self.stores:
            assert sorted(store.keys()) == sorted(query(i).key for i in self.answers)
            assert {k for k, e in store.each() if e == DAMAGED} == {
                query(i).key for i, text in self.answers.items() if text is None
            }
            assert (store.state().n, store.state().removals) == (len(self.answers), self.removals)
        for version, removals in self.versions[-3:]:
            assert self.stores[0].still_holds(version) == (removals == self.removals)
        named = {t.name: t.entries for t in self.stores[1].trash() if t.name}
        assert named == {name: len(entries) for name, entries in self.removed.items() if entries and name}


class ClaimsModel(RuleBasedStateMachine):
    """Three owners; what one has released others see after its next claims."""

    name = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.kind = KINDS[self.name]
        self.place = self.kind.place(Path(self.folder.name))
        self.kind.open(self.place).close()
        self.n = 0
        self.owners: list[AnyClaims] = []
        self.held: list[set[int]] = []
        self.released: list[set[int]] = []
        for _ in range(3):
            self.come()

    def come(self) -> None:
        self.n += 1
        self.owners.append(self.kind.claims(self.place, f"run{self.n}"))
        self.held.append(set())
        self.released.append(set())

    def teardown(self) -> None:
        for claims in getattr(self, "owners", []):
            claims.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(who=st.integers(0, 2), numbers=SOME)
    def take(self, who: int, numbers: set[int]) -> None:
        others = set().union(*[held for i, held in enumerate(self.held) if i != who])
        won = numbers - others
        assert self.owners[who].take([bytes([i]) * 32 for i in numbers]) == {bytes([i]) * 32 for i in won}
        self.held[who] = (self.held[who] - self.released[who]) | won
        self.released[who] = set()

    @rule(who=st.integers(0, 2), numbers=SOME)
    def release(self, who: int, numbers: set[int]) -> None:
        self.owners[who].release([bytes([i]) * 32 for i in numbers])
        self.released[who] |= numbers

    @rule(who=st.integers(0, 2))
    def leave(self, who: int) -> None:
        self.owners.pop(who).close()
        self.held.pop(who)
        self.released.pop(who)
        self.come()

    @invariant()
    def nobody_is_alone(self) -> None:
        assert not any(claims.alone for claims in getattr(self, "owners", []))


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("model", [StoreModel, ClaimsModel])
def test_against_a_model(name: str, model: type[StoreModel | ClaimsModel]) -> None:
    """Whatever the order of steps."""
    run_state_machine_as_test(type(model.__name__, (model,), {"name": name}), settings=SOME_EXAMPLES)
