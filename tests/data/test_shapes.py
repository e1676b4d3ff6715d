"""What researchers publish is read as it is, or the message names a way that works when its words are applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from file_shapes import WITH_A_WAY, WORKING, Shape, apply, fault, rows, set_to, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("shape", WORKING, ids=lambda s: s.name)
def test_a_file_is_read_as_published(shape: Shape, tmp_path: Path) -> None:
    """By the shortest declaration."""
    write(tmp_path, shape)
    assert rows(tmp_path, shape.settings) == shape.rows


@pytest.mark.parametrize("shape", WITH_A_WAY, ids=lambda s: s.name)
def test_a_message_names_a_way_that_works(shape: Shape, tmp_path: Path) -> None:
    """Its words, applied by a machine, give the rows."""
    write(tmp_path, shape)
    found = fault(tmp_path, shape.settings)
    assert shape.message in found.message + found.help
    settings = apply(tmp_path, shape.settings, found.help)
    if shape.written:
        settings = set_to(settings, f'file = "{shape.written}"')
    assert rows(tmp_path, settings) == shape.rows


def test_65_of_75_shapes_are_read_as_published() -> None:
    """The figure that the changelog states."""
    assert len(WORKING) >= 65
    assert len(WORKING) + len(WITH_A_WAY) == 75
    assert len({s.name for s in WORKING + WITH_A_WAY}) == 75
