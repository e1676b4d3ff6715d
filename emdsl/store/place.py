"""The file system of a store: a local disk, or a network file system, where SQLite's locks are not reliable."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from emdsl.errors import StoreError
from emdsl.files import write_whole

HOST = "host"  # a file in the store's folder: the machine that uses it
MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset(
    (
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs", "lustre", "gpfs", "beegfs", "ceph",
        "afs", "9p",
    )
)  # fmt: skip


def file_system(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of a folder's file system, as the kernel names it, or None."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = folder.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if place.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), fields[2])
    return best[1] if best else None


def on_network(folder: Path) -> bool:
    """Whether a folder is on a network file system."""
    return file_system(folder) in NETWORK


def claim_host(folder: Path) -> None:
    """Reserve a store on a network file system for this machine; raises StoreError if another one uses it."""
    file, host = folder / HOST, socket.gethostname()
    try:
        owner = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        if not owner:
            write_whole(file, host + "\n")
            return
    except OSError as error:
        raise StoreError(f"{file} cannot be read or written: {error.strerror}") from error
    if owner != host:
        raise StoreError(
            f"{folder} is on a network file system and in use by the machine `{owner}`: two machines would damage it. "
            "Use a cache on a local disk (--cache), and merge the two with `emdsl cache merge`. "
            f"If `{owner}` no longer uses it, delete {file}"
        )
