"""Files at a git revision, read from git's objects: nothing is checked out, written to the repository or executed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emdsl.errors import FileMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_COMMITS = 50  # listed
# no index is refreshed, and nothing is fetched into a partial clone
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}


class Commit(NamedTuple):
    """One commit: its full name, its time in seconds since 1970, and the first line of its message."""

    sha: str
    at: float
    subject: str


class AtRevision(Mapping[Path, Path]):
    """Copies of files at a revision, by their path now; each is written on its first lookup.

    A file that is the same now has no copy: values that depend on its place still hold. `error` is why git had no file.
    """

    def __init__(self, revision: str, near: Path, folder: Path) -> None:
        """Prepare lookups in the repository of a file; copies are written to `folder`."""
        self._revision, self._near, self._folder = revision, near.resolve(), folder
        self._copies: dict[Path, Path | None] = {}
        self.error = ""

    @cached_property
    def _root(self) -> Path | None:
        """The folder of the repository, or None if there is none."""
        code, out, self.error = git(self._near.parent, "rev-parse", "--show-toplevel")
        return None if code else Path(os.fsdecode(out.removesuffix(b"\n"))).resolve()

    @property
    def missing(self) -> list[Path]:
        """The files that were looked up, lie in the repository, and are not part of the revision."""
        return [p for p, copy in self._copies.items() if copy is None]

    def __getitem__(self, path: Path) -> Path:
        if path not in self._copies:
            if self._root is None or not path.is_relative_to(self._root):
                raise KeyError(path)
            self._copies[path] = self._copy(path, path.relative_to(self._root).as_posix())
        copy = self._copies[path]
        if copy is None:
            raise KeyError(path)
        return copy

    def _copy(self, path: Path, name: str) -> Path | None:
        assert self._root is not None
        code, content, self.error = git(self._root, "cat-file", "blob", f"{self._revision}:{name}")
        if code:
            return None
        if path.is_file() and path.read_bytes() == content:
            return path
        copy = self._folder / f"{len(self._copies)}{path.suffix}"
        copy.write_bytes(content)
        return copy

    def __iter__(self) -> Iterator[Path]:
        return (p for p, copy in self._copies.items() if copy is not None)

    def __len__(self) -> int:
        return max(1, len(self._copies))  # never empty: its files are unknown before they are looked up


def at_revision(revision: str, file: Path, folder: Path) -> AtRevision:
    """Return the files at a revision; copies are written to `folder`. Raises FileMissing if git has no such file."""
    files = AtRevision(revision, file, folder)
    if file.resolve() not in files:
        raise FileMissing(f"git has no {file.name} at `{revision}`: {files.error or 'it is outside of the repository'}")
    return files


def resolved(revision: str, file: Path) -> str:
    """Return the full name of a revision in the repository of a file; raises UsageError."""
    code, out, error = git(
        file.resolve().parent, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if code:
        raise UsageError(f"git has no revision `{revision}`{f': {error}' if error else ''}")
    return out.decode("ascii").strip()


def commits(file: Path, files: Iterable[Path]) -> list[Commit]:
    """Return the last commits that changed some files, the latest first; none outside of a repository."""
    folder = file.resolve().parent
    code, top, _ = git(folder, "rev-parse", "--show-toplevel")
    root = Path(os.fsdecode(top.removesuffix(b"\n"))).resolve() if not code else None
    if root is None:
        return []
    names = [p.relative_to(root).as_posix() for p in map(Path.resolve, files) if p.is_relative_to(root)]
    code, out, _ = git(
        root, "--literal-pathspecs", "rev-list", f"--max-count={MAX_COMMITS}", "--no-commit-header",
        "--format=%H%x1f%ct%x1f%s", "HEAD", "--", *names,
    )  # fmt: skip
    if code or not names:
        return []
    parts = (line.split("\x1f", 2) for line in out.decode("utf-8", "replace").split("\n") if line)
    return [Commit(sha, float(at), subject) for sha, at, subject in parts]


def git(folder: Path, *arguments: str) -> tuple[int, bytes, str]:
    """Return the exit status of a git command, its output, and its error in words; raises UsageError without git."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=os.environ | _QUIET)  # noqa: S603 - git's plumbing, without a shell
    except OSError as error:
        raise UsageError(f"git cannot be run: {error.strerror}") from error
    except ValueError:  # NUL, or half of a character
        raise UsageError("a git revision has characters that no command can have") from None
    error_text = done.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
    return done.returncode, done.stdout, error_text.removeprefix("Fatal: ")
