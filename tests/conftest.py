"""The marker `thorough`: tests that `make stress` runs again, with THOROUGH=1, since they then try more.

A test with `@pytest.mark.thorough` tries some cases by default, and all of them with THOROUGH=1. A test or a case with
`thorough(only=REASON)` is skipped by default. `pytest -m thorough` selects both. No other test differs with THOROUGH=1.
"""

from __future__ import annotations

import os
import sys

import pytest
from support import THOROUGH

# else each of some thousand processes compiles the package again, and each worker the tests
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough(only=REASON): tries more with THOROUGH=1, or is skipped without it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reasons = [mark.kwargs["only"] for mark in item.iter_markers("thorough") if "only" in mark.kwargs]
        if reasons and not THOROUGH:
            item.add_marker(pytest.mark.skip(reason=f"{reasons[0]}: THOROUGH=1"))
