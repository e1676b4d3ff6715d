"""Projects: the folder of a study, with its cache, imports and hook files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS, RUNS = "answers", "runs"  # folders inside a cache: the store, and the records of runs
HOOKS = "hooks"  # another one: values of functions in Python
REMOTES = "remotes.json"  # a file there: the remotes that the cache looks up


def find_project(folder: Path) -> Path:
    """Return the nearest parent folder with an emdsl cache, `.git` or `pyproject.toml`; else the folder itself."""
    for candidate in (folder, *folder.parents):
        if (candidate / "cache" / ANSWERS).is_dir() or any(
            (candidate / n).exists() for n in (".git", "pyproject.toml")
        ):
            return candidate
    return folder
