"""The version, in one place; and which files are installed, for an edited checkout keeps its version."""

from __future__ import annotations

import os

__version__ = "0.1.0"


def installed() -> str:
    """Return what tells this installation from another of its version: each file's path, size and time of change."""
    found: list[str] = []
    folders = [os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120 - `pathlib` is what this path avoids
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders += [entry.path] if entry.name != "__pycache__" else []
                elif entry.name.endswith((".py", ".em", ".lark", ".md")):
                    stat = entry.stat()
                    found.append(f"{entry.path} {stat.st_size} {stat.st_mtime_ns}")
    return " ".join(sorted(found))
