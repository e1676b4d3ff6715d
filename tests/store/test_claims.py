"""Claims: one process asks, the others wait; a dead owner's claims are free at once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from speed import HANG_S
from support import clean_environment

from emdsl.files import Busy
from emdsl.store.claims import Claims, live_owners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C = (bytes([n]) * 32 for n in range(3))
OWNER = """
import sys, time
from pathlib import Path
from emdsl.store.claims import Claims
claims = Claims(Path(sys.argv[1]), "other")
claims.take([bytes([0]) * 32, bytes([1]) * 32])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    found = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    yield found
    found.kill()
    found.wait(HANG_S)
    found.stdout.close()


def test_what_another_process_asks_is_not_ours_until_it_dies(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    """Take-over is at once: the operating system lets go of a dead owner's lock."""
    claims = Claims(tmp_path, "this")
    assert not claims.alone
    assert claims.take([A, B, C]) == {C}
    assert live_owners(tmp_path) == 2
    owner.kill()
    owner.wait(HANG_S)
    assert claims.take([A, B]) == {A, B}
    claims.close()
    assert live_owners(tmp_path) == 0


def test_what_is_given_back_is_free(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    """A process that failed to get an answer leaves it to others, once it takes its next claims."""
    del owner
    claims, late = Claims(tmp_path, "this"), Claims(tmp_path, "late")
    assert claims.take([C]) == {C}
    assert late.take([C]) == set()
    claims.release([C])
    assert claims.take([]) == set()
    assert late.take([C]) == {C}
    claims.close()
    late.close()


def test_alone_is_only_who_has_never_met_another(tmp_path: Path) -> None:
    """One that came and went may have answered what was looked for in vain."""
    claims = Claims(tmp_path, "this")
    assert claims.alone
    Claims(tmp_path, "other").close()
    assert not claims.alone
    claims.close()


def test_one_that_has_only_begun_is_met(tmp_path: Path) -> None:
    """It holds no claim yet; what it will answer must be looked for all the same."""
    first = Claims(tmp_path, "first")
    second = Claims(tmp_path, "second")
    assert not second.alone
    assert not first.alone
    first.close()
    second.close()


def test_a_turn_that_another_has_is_not_waited_for(tmp_path: Path) -> None:
    """The event loop goes on; the claim is tried again."""
    claims = Claims(tmp_path, "this")
    with (tmp_path / "claims" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            claims.take([A])
    assert claims.take([A]) == {A}
    claims.close()
