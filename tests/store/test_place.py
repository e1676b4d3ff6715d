"""On a network file system one machine may use a store, with a warning; a second is refused, and told the way out."""

from __future__ import annotations

import socket
import sqlite3
from typing import TYPE_CHECKING

import pytest
from store.test_disk import put, query

from emdsl.errors import StoreError
from emdsl.store import disk
from emdsl.store.disk import DiskStore
from emdsl.store.place import file_system

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/", "ext4"), ("/home/me", "nfs4"), ("/home/me/a b/c", "cifs"), ("/homeless", "ext4")],
)
def test_the_longest_mount_point_holds_a_folder(tmp_path: Path, folder: str, kind: str) -> None:
    """As the kernel lists them, blanks as octal numbers."""
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "dev / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\nserver:/x /home/me/a\\040b cifs rw 0 0\n", encoding="utf-8"
    )
    assert file_system(type(tmp_path)(folder), mounts) == kind


def test_a_second_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first goes on with a rollback journal: shared memory does not cross a network."""
    monkeypatch.setattr(disk, "on_network", lambda _: True)
    store = DiskStore(tmp_path / "answers")
    assert store.network
    put(store, 3)
    store.close()
    with sqlite3.connect(tmp_path / "answers" / "cache.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    with pytest.raises(StoreError, match=r"in use by the machine .*emdsl cache merge"):
        DiskStore(tmp_path / "answers")
    reader = DiskStore(tmp_path / "answers", read_only=True)
    assert len(reader.get_many([query(0).key])) == 1
    reader.close()
