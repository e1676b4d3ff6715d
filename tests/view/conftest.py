"""The study of these tests, run once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from viewed import made

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("view"))
