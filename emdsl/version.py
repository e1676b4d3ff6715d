"""The version, and a fingerprint of the installed files, as an edited checkout keeps its version."""

from __future__ import annotations

import os

__version__ = "0.1.0"


def installed() -> str:
    """Return a fingerprint of this installation: the path, size and modification time of each file."""
    files: list[str] = []
    folders = [os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120 - `pathlib` is what this path avoids
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders += [entry.path] if entry.name != "__pycache__" else []
                elif entry.name.endswith((".py", ".em", ".lark", ".md")):
                    stat = entry.stat()
                    files.append(f"{entry.path} {stat.st_size} {stat.st_mtime_ns}")
    return " ".join(sorted(files))
