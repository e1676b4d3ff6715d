"""Files of strangers, read within bounds: regular ones, whole, and no larger than what they can be."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE = 2**30  # bytes of a data file; its rows take several times as much memory
PRIVATE, PRIVATE_FOLDER = 0o600, 0o700  # of all that holds answers or prompts, whatever a process' mask allows
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


def read_whole(path: Path, most: int = MAX_FILE) -> bytes:
    """Return what a file holds; raises OSError for one that is larger, or no regular file: it could have no end."""
    _check(path.stat(), path)  # a device may do something when it is opened
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        _check(found, path)  # the file may have been replaced since
        content = file.read(most + 1) if found.st_size <= most else b""
        if found.st_size > most or len(content) > most:
            raise OSError(errno.EFBIG, f"it is larger than {_size(most)}", str(path))
        return content


def private(path: str, flags: int) -> int:
    """Open a file that others may not read: an `opener` for `open`."""
    descriptor = os.open(path, flags, PRIVATE)
    found = os.fstat(descriptor)
    if flags & os.O_CREAT and found.st_mode & 0o177 and found.st_uid == os.geteuid():  # it was there before
        os.fchmod(descriptor, PRIVATE)
    return descriptor


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that others may not read; raises OSError."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with open(path, "wb", opener=private) as file:
        file.write(data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: it takes the place of an older one at once. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(data)
        if path.exists():
            fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _check(found: os.stat_result, path: Path) -> None:
    kind = next((called for is_kind, called in _KINDS if is_kind(found.st_mode)), "")
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def _size(n: int) -> str:
    return f"{n // 2**20:,} MiB" if n >= 2**20 else f"{n:,} bytes"
