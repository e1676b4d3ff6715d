"""Studies that are texts, without a file: the cells of a notebook.

Such a study behaves as a file of its name in its folder would: paths in it, keys, results and tables are the same. A
copy of its text is in the cache, where a run keeps the studies that it ran.
"""

from __future__ import annotations

from dataclasses import replace
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.errors import FileExists, UsageError
from emdsl.run import history
from emdsl.study.project import prepare

if TYPE_CHECKING:
    from emdsl.study.project import Project


def file_of(name: str) -> Path:
    """Return the file in the working folder that a study of a text is named after.

    Raises:
        UsageError: The name cannot be that of a variable in Python.
        FileExists: There is such a file: its results have the same name.
    """
    if not str(name).isidentifier() or iskeyword(name):
        raise UsageError(f"expected a name such as `icl`, not {name!r}", parameter="name")
    file = Path.cwd() / f"{name}.em"
    if file.exists():
        raise FileExists(
            f"{file.name} exists: choose another name, or use `emdsl.open({file.name!r})`", parameter="name"
        )
    return file


def with_text(project: Project, file: Path, text: str) -> Project:
    """Return a project that reads a text in place of a file; raises UsageError if the cache cannot be written."""
    prepare(project.cache)
    try:
        copy = history.keep(project.cache, text.encode("utf-8", "surrogatepass"), file.suffix)
    except OSError as error:
        raise UsageError(f"cannot write to {project.cache}: {error.strerror}", parameter="cache") from error
    return replace(project, instead={file.resolve(): copy})
