"""Files are written whole or not at all, private unless they replace a public one; a lock has one holder."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from emdsl.files import Busy, locked, replacing, write_whole
from emdsl.store.claims import Claims

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


def test_threads_write_the_same_file(tmp_path: Path) -> None:
    """Each writes it whole."""
    file = tmp_path / "file"
    with replacing(file) as fresh, ThreadPoolExecutor(1) as pool:
        fresh.write_text("first")
        pool.submit(write_whole, file, "second").result()
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_forked_process_does_not_keep_a_lock(tmp_path: Path) -> None:
    """It inherits the open file; the lock ends with the block all the same."""
    lock = tmp_path / "lock"
    with locked(lock, wait_s=0):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with locked(lock, wait_s=0):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """Whoever does not get it in time is told so; at the end of the block it is free."""
    lock = tmp_path / "lock"
    with locked(lock, wait_s=0):
        for wait_s in (0, 0.05):
            with pytest.raises(Busy), locked(lock, wait_s=wait_s):
                pass
    with locked(lock, wait_s=0):
        pass


def test_a_forked_process_holds_no_claims(tmp_path: Path) -> None:
    """They end with the process that took them, however long its children live."""
    claims = Claims(tmp_path, "run")
    claims.take([b"k" * 32])
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        with closing(Claims(tmp_path, "other")) as other:
            assert other.take([b"k" * 32]) == set()
        claims.let_go()  # as if the process had been killed: its file stays
        time.sleep(0.2)
        with closing(Claims(tmp_path, "third")) as third:
            assert third.take([b"k" * 32]) == {b"k" * 32}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
