"""Values that the functions of one hook file returned, in a file of the cache.

The name of the file is a digest of the hook's source and of the Python version, so that an edit starts a new one. A
value is known by the path of its hook file, beside which it may read others, and by the call. It names the files that
the process had read and the folders that it had listed by then, and counts only while these are the same.
Lines are appended, each with a checksum: a damaged or torn line is ignored, and processes may write at the same time.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest, digest_bytes
from emdsl.files import PRIVATE_FOLDER, private

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUFFIX = ".values"
FORMAT = 1
MAX_READ = 16 * 2**20  # bytes of a file whose content is compared; a larger one counts as changed by its size and time
UNKNOWN = "unknown"  # the mark of what no look at a file can tell
_CHECKED = 16  # hex digits of a line's checksum
_PACKAGES = ("site-packages", "dist-packages")
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_SYSTEM = (Path("/dev"), Path("/proc"), Path("/sys"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Contents of one file of values."""

    values: int
    damaged: int  # lines
    bytes: int


class Values:
    """The values of one hook file, shared by all processes of a project.

    Args:
        folder: The folder of all such files. It is made if its parent, the cache, exists.
        root: The project; files inside it are named by their relative path.
        sha256: The SHA-256 of the hook file, in hex.
        file: The hook file. A copy in another folder has other files beside it, and so other values.
    """

    def __init__(self, folder: Path, root: Path, sha256: str, file: Path) -> None:
        self._path = folder / file_name(sha256)
        self._root = root
        self._file = _within(root, str(file))
        self._known: dict[str, str] | None = None  # JSON of values by call; None until the file is read
        self._named: set[str] = set()  # lists of files that the file already has
        self._pending: list[bytes] = []  # lines that wait for the cache to be made
        weakref.finalize(self, _append, self._path, self._pending)  # the cache may be made after the last call

    def get(self, call: str) -> str | None:
        """Return the JSON of a call's value, or None if it is unknown."""
        if self._known is None:
            self._known = self._read()
        return self._known.get(self._key(call))

    def add(self, call: str, value: str, reads: Mapping[str, str]) -> None:
        """Keep the JSON of a call's value, with the marks of all files that its process has read, by path."""
        name = self._named_reads({_within(self._root, path): was for path, was in reads.items()})
        self._pending.append(_line(["value", self._key(call), name, value]))
        if self._known is not None:
            self._known[self._key(call)] = value
        _append(self._path, self._pending)

    def note(self, reads: Mapping[str, str] | None) -> None:
        """Keep what a call without a kept value depends on, for those who ask `files_read`; None if that is unknown."""
        marks = (
            {f"{self._file}/*": UNKNOWN} if reads is None else {_within(self._root, p): was for p, was in reads.items()}
        )
        self._named_reads(marks)
        _append(self._path, self._pending)

    def _named_reads(self, marks: dict[str, str]) -> str:
        """Return the name of a list of files with their marks, and add the list if it is new."""
        name = digest("hook reads", marks).hex()[:_CHECKED]
        if name not in self._named:
            self._named.add(name)
            self._pending.append(_line(["reads", name, marks]))
        return name

    def _key(self, call: str) -> str:
        return digest("hook call", self._file, call).hex()[:32]

    def _read(self) -> dict[str, str]:
        """Return the values that still hold: the files that they depend on have not changed."""
        holds: dict[str, bool] = {}
        values: dict[str, str] = {}
        for entry in _entries(_content(self._path)):
            match entry:
                case ["reads", str(name), dict(reads)]:
                    if name not in holds:
                        holds[name] = all(mark(self._root / file) == was for file, was in reads.items())
                    if holds[name]:
                        self._named.add(name)
                case ["value", str(call), str(name), str(value)] if holds.get(name):
                    values[call] = value
                case _:
                    pass
        return values


def file_name(sha256: str) -> str:
    """Return the name of the file with the values of a hook file, by the SHA-256 of its content."""
    return digest("hook values", FORMAT, sys.version, sha256).hex()[:32] + SUFFIX


def files_read(folder: Path, root: Path, sha256s: Iterable[str]) -> dict[str, str]:
    """Return what values of some hook files depend on, each path with its mark, as far as it has not changed.

    These are files, and folders that were listed; installed packages are not among them. A path below a hook file,
    with the mark UNKNOWN, tells that its calls may depend on something else.

    Args:
        folder: The folder of values.
        root: The project.
        sha256s: The SHA-256 of each hook file, in hex.
    """
    read: dict[str, str] = {}
    for sha256 in sha256s:
        for entry in _entries(_content(folder / file_name(sha256))):
            match entry:
                case ["reads", _, dict(marks)] if all(
                    was in (UNKNOWN, mark(root / name)) for name, was in marks.items()
                ):
                    read |= {str(root / name): was for name, was in marks.items() if Path(name).name not in _PACKAGES}
                case _:
                    pass
    return read


def counts(folder: Path) -> dict[str, Counts]:
    """Return the contents of each file of values in a folder, by name."""
    by_file: dict[str, Counts] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        content = _content(path)
        entries = list(_entries(content))
        n = len({entry[1] for entry in entries if entry is not None and entry[0] == "value"})
        by_file[path.name] = Counts(values=n, damaged=entries.count(None), bytes=len(content))
    return by_file


def mark(path: Path) -> str:
    """Return a text that changes with a file: of its content, or of size and time if it is large or a folder.

    Empty for a file that does not exist.
    """
    try:
        status = path.stat()
        if path.is_file() and status.st_size <= MAX_READ:
            return digest_bytes(path.read_bytes()).hex()
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def dependency(file: str) -> str:
    """Return the path on which a value depends if its process has read a file; empty for system files.

    A link stays one: it may point to another file later.
    """
    try:
        path = Path(file).resolve()
    except (OSError, RuntimeError, ValueError):
        return ""
    if (package := next((i for i, part in enumerate(path.parts) if part in _PACKAGES), None)) is not None:
        return str(Path(*path.parts[: package + 1]))  # every installation changes the time of this folder
    if path.is_relative_to(_STDLIB) or any(path.is_relative_to(folder) for folder in _SYSTEM):
        return ""
    return file


def _within(root: Path, path: str) -> str:
    """Return a path relative to the project, which can move; a path outside of it is unchanged."""
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def _line(entry: list[Any]) -> bytes:
    content = json.dumps(entry).encode()
    return b"%s %s\n" % (digest_bytes(content).hex()[:_CHECKED].encode(), content)


def _entries(content: bytes) -> Iterable[list[Any] | None]:
    """Yield the entries of a file; None for each damaged line."""
    for line in content.split(b"\n"):
        if not line:
            continue
        checksum, _, body = line.partition(b" ")
        if digest_bytes(body).hex()[:_CHECKED].encode() == checksum:
            yield json.loads(body)
        else:
            yield None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _append(path: Path, lines: list[bytes]) -> None:
    """Write lines at the end of a file and forget them; keep them if the cache does not exist yet.

    A line break comes first: it ends a line that a killed process has written in part.
    """
    if not lines or not path.parent.parent.is_dir():
        return
    with suppress(OSError):  # a full disk or a read-only folder: the values are computed again
        path.parent.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
        with open(path, "ab", buffering=0, opener=private) as file:
            file.write(b"\n" + b"".join(lines))
    lines.clear()
