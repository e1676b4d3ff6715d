"""Files are written whole or not at all, private unless they replace a public one; a lock has one holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emdsl.files import Busy, locked, replacing, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_private_unless_it_replaces_a_public_one(tmp_path: Path) -> None:
    """A public file keeps its permissions, a private one loses those that let others read it."""
    file = tmp_path / "file"
    write_whole(file, "answers")
    assert mode(file) == 0o600
    file.chmod(0o750)
    write_whole(file, b"page", public=True)
    assert (mode(file), file.read_text()) == (0o750, "page")
    write_whole(file, "answers")
    assert mode(file) == 0o600


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The old content stays, and no new file is left behind."""
    file = tmp_path / "file"
    write_whole(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half a pair: \ud800")
    with pytest.raises(UnicodeEncodeError), replacing(file) as fresh:
        fresh.write_text("written, then half a pair: \ud800", encoding="utf-8")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """Whoever does not get it in time is told so; at the end of the block it is free."""
    lock = tmp_path / "lock"
    with locked(lock, wait_s=0):
        for wait_s in (0, 0.05):
            with pytest.raises(Busy), locked(lock, wait_s=wait_s):
                pass
    with locked(lock, wait_s=0):
        pass
