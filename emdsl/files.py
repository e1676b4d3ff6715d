"""Files: read within bounds, written whole or not at all, private where they hold answers, and locked."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from emdsl.digest import digest_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emdsl.digest import Digest

MAX_FILE = 2**30  # bytes of a data file; its rows take several times as much memory
MAX_MATCHES = 10_000  # files of one pattern
MAX_WINDOW = 2**27  # bytes that a packed file may refer back to: what zstd itself allows by default
PRIVATE, PRIVATE_FOLDER = 0o600, 0o700  # of all that holds answers or prompts, whatever a process' mask allows
CHUNK = 2**20  # bytes of a large file that are read at once
PIECE = 1024  # bytes of a packed file that are unpacked at once: each may become a hundred thousand
MAX_LINE = 64 * 2**20  # bytes of a line of JSON: no answer is this long
PACKED = (".gz", ".zst")  # endings of packed files
PATTERN = frozenset("*?[")  # characters that make a path a pattern
POLL_S = 0.02  # between two tries for a lock
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)  # fmt: skip


def read_whole(path: Path, limit: int = MAX_FILE) -> bytes:
    """Return the content of a file; raises OSError unless it is a regular file within the limit: others may not end."""
    _check_regular(path.stat(), path)  # a device may do something when it is opened
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _check_regular(status, path)  # the file may have been replaced since
        content = file.read(limit + 1) if status.st_size <= limit else b""
        if status.st_size > limit or len(content) > limit:
            raise OSError(errno.EFBIG, f"it is larger than {_size(limit)}", str(path))
        return content


def unpacked(content: bytes, ending: str, limit: int) -> bytes:
    """Return the content of a packed file, of one stream or several.

    Args:
        content: The packed bytes.
        ending: One of PACKED.
        limit: The maximum size of the unpacked content, in bytes.

    Raises:
        OSError: It unpacks to more than the limit.
        ValueError: It is damaged, or not packed by this format.
    """
    parts, size = list[bytes](), 0
    for part in _unpack(io.BytesIO(content), ending):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise OSError(errno.EFBIG, f"it unpacks to more than the maximum of {_size(limit)}")
    return b"".join(parts)


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading from its beginning, and unpack a packed one meanwhile. Raises OSError.

    Reading a damaged packed file raises ValueError after the content before the damage.
    """
    _check_regular(path.stat(), path)
    ending = path.suffix.lower()
    file = path.open("rb")
    return io.BufferedReader(_Unpacked(file, ending), CHUNK) if ending in PACKED else file


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; a longer line is cut to MAX_LINE bytes.

    Raises OSError or ValueError at the first place that cannot be read.
    """
    with open_unpacked(path) as file:
        while line := file.readline(MAX_LINE):
            yield line
            while len(line) == MAX_LINE and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)


class _Unpacked(io.RawIOBase):
    """The content of a packed file as a stream; closing it closes the file."""

    def __init__(self, file: IO[bytes], ending: str) -> None:
        self._file, self._parts, self._left = file, _unpack(file, ending), b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._left:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._left = part
        n = min(len(target), len(self._left))
        target[:n], self._left = self._left[:n], self._left[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def _unpack(file: IO[bytes], ending: str) -> Iterator[bytes]:
    """Yield the content of packed bytes, of one stream or several; raises ValueError if they are damaged."""
    import zlib  # noqa: PLC0415 - packed files only: an up-to-date run imports this module

    import zstandard  # noqa: PLC0415 - a library in C that only packed files need

    stream = None
    while left := file.read(PIECE):
        while left:
            if stream is None:
                stream = (
                    zlib.decompressobj(zlib.MAX_WBITS | 16)
                    if ending == ".gz"
                    else zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
                )
            try:
                yield stream.decompress(left)
            except (zlib.error, zstandard.ZstdError) as error:
                raise ValueError(str(error)) from error
            left = stream.unused_data if stream.eof else b""
            stream = None if stream.eof else stream
    if stream is not None:
        raise ValueError("it ends too early")


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern, such as `data/train-*.parquet`."""
    return any(char in PATTERN for char in path)


def matches(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, by their paths within the folder; raises OSError.

    As in a shell, `*` stops at the border of a folder and leaves out hidden files. The order is that of code points.
    """
    import glob  # noqa: PLC0415 - patterns only: an up-to-date run imports this module
    from itertools import islice  # noqa: PLC0415 - beside `glob`, for patterns only

    found = glob.iglob(pattern, root_dir=folder)  # noqa: PTH207 - Path.glob finds hidden files too
    names = sorted(islice(found, MAX_MATCHES + 1))
    if len(names) > MAX_MATCHES:
        raise OSError(errno.E2BIG, f"more than {MAX_MATCHES:,} files match it", pattern)
    return [path for path in (folder / name for name in names) if not path.is_dir()]


def file_digest(path: Path) -> Digest:
    """Return the SHA-256 of a file of any size; raises OSError."""
    with path.open("rb") as file:
        return digest_parts(iter(lambda: file.read(CHUNK), b""))


def private(path: str, flags: int) -> int:
    """Open a file that others may not read: an `opener` for `open`."""
    descriptor = os.open(path, flags, PRIVATE)
    status = os.fstat(descriptor)
    if flags & os.O_CREAT and status.st_mode & 0o177 and status.st_uid == os.geteuid():  # it was there before
        os.fchmod(descriptor, PRIVATE)
    return descriptor


def write_whole(path: Path, content: str | bytes, *, public: bool = False) -> None:
    """Write a file whole or not at all, with permissions as in `replacing`; raises OSError."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path, public=public) as fresh, open(fresh, "wb", opener=None if public else private) as file:
        file.write(data)


def beside(path: Path) -> Path:
    """Return the name of a new file beside `path` that no other process and no other thread writes."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident():x}.new")


@contextmanager
def replacing(path: Path, *, public: bool = False) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which takes its place when the block ends well; raises OSError.

    It is private; a `public` one keeps the permissions of the file that it replaces.
    """
    fresh = beside(path)
    try:
        yield fresh
        if not public:
            fresh.chmod(PRIVATE)
        elif path.exists():
            fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the lock of a file during the block; raises Busy after `wait_s`. A process that dies releases its locks."""
    with open(path, "a", opener=private) as file:
        end = time.monotonic() + wait_s
        while not try_lock(file):
            if time.monotonic() >= end:
                raise Busy
            time.sleep(POLL_S)
        try:
            yield
        finally:
            _unlock(file)  # closing is not enough: a process forked meanwhile has the file, and with it the lock


def wait_for_lock(file: IO[Any]) -> None:
    """Lock an open file until it is closed, as soon as no other process holds its lock."""
    while os.name == "posix" and not try_lock(file):
        time.sleep(POLL_S)


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed; return False at once if another process holds its lock."""
    import fcntl  # noqa: PLC0415 - Windows has none, and checking a study needs no lock

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(file: IO[Any]) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none, and checking a study needs no lock

    fcntl.flock(file, fcntl.LOCK_UN)


def _check_regular(status: os.stat_result, path: Path) -> None:
    kind = next((noun for is_kind, noun in _KINDS if is_kind(status.st_mode)), "")
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def _size(n: int) -> str:
    return f"{n // 2**20:,} MiB" if n >= 2**20 else f"{n:,} bytes"
