"""Files that only grow: whole lines, each on the disk before it is acknowledged, and merged without conflict."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emdsl.files import wait_for_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    IsWhole = Callable[[bytes], bool]  # whether a last line without an end is one, and not cut off by a crash

_CONFLICTS = (b"<<<<<<<", b"=======", b">>>>>>>")  # what git writes around lines of both sides
_ATTRIBUTES = "*.jsonl merge=union\n"  # lines of two people, or of one on two machines, never conflict


def append(path: Path, lines: Iterable[bytes], is_whole: IsWhole) -> None:
    """Add lines, each with its end, to a file, and wait until they are on the disk.

    A last line that was cut off by a crash is removed first. Only one process writes at a time: what another one has
    written so far is not taken for such a line.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("ab+") as file:
        wait_for_lock(file)
        file.seek(0)
        content = file.read()
        kept = _whole(content, is_whole)
        if len(kept) < len(content):
            file.truncate(len(kept))
        begin = b"" if not kept or kept.endswith(b"\n") else b"\n"
        file.write(begin + b"".join(lines))
        file.flush()
        os.fsync(file.fileno())


def _whole(content: bytes, is_whole: IsWhole) -> bytes:
    """Return the content of a file without a last line that was cut off."""
    start = content.rfind(b"\n") + 1
    return content if is_whole(content[start:]) else content[:start]


def why_not_json(line: bytes) -> str:
    """Return why a line of such a file is not JSON, for a message."""
    if line.startswith(_CONFLICTS):
        return "it is a conflict marker of git: keep the lines of both sides"
    return "it is not JSON"


def merged(mine: bytes, theirs: bytes, is_whole: IsWhole) -> bytes:
    """Return the lines of two files, each once.

    A last line that was cut off by a crash is left out: within a file it would be an error.
    """
    contents = (_whole(content, is_whole) for content in (mine, theirs))
    lines = dict.fromkeys(line for content in contents for line in content.split(b"\n") if line.strip())
    return b"".join(line + b"\n" for line in lines)


def make_folder(folder: Path) -> None:
    """Make a folder for such files, whose lines git merges without conflict. Raises OSError."""
    folder.mkdir(exist_ok=True)
    if not (attributes := folder / ".gitattributes").exists():  # a bundle brings files without it
        attributes.write_text(_ATTRIBUTES, encoding="utf-8")
