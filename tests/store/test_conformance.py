"""Every kind of store keeps every promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pg
import pytest
from store.conformance import HEAVY, KINDS, LASTING, ON_A_SERVER, STORES

from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.conformance import Kind

    from emdsl.store.store import Store

ONLY_THOROUGH = [pytest.param(p, marks=pytest.mark.thorough(only="a second of several processes")) for p in HEAVY]
EACH = [pytest.param(name, marks=pg.NEEDED if name in ON_A_SERVER else ()) for name in KINDS]


@pytest.mark.parametrize("promise", STORES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("name", ["memory", *EACH])
def test_every_store(name: str, promise: Callable[[Store], None], tmp_path: Path) -> None:
    """Those that end with the process too."""
    store: Store = MemoryStore() if name == "memory" else KINDS[name].open(KINDS[name].place(tmp_path))
    try:
        promise(store)
    finally:
        store.close()


@pytest.mark.parametrize("promise", [*LASTING, *ONLY_THOROUGH], ids=lambda p: p.__name__)
@pytest.mark.parametrize("name", EACH)
def test_every_store_that_lasts(name: str, promise: Callable[[Kind, str, Path], None], tmp_path: Path) -> None:
    """Answers, trash, versions, damage, copies, claims."""
    promise(KINDS[name], KINDS[name].place(tmp_path), tmp_path)
