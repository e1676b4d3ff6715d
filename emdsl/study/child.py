"""Other processes that work on the same study as this one: how they start, and their task."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emdsl
from emdsl.files import file_digest
from emdsl.run.rows import Rows
from emdsl.study.compiled import Compiled, compile_study
from emdsl.study.project import Project
from emdsl.study.selection import selections

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from typing import IO

    from emdsl.study.options import RunOptions


def program(module: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line of a program of ours, in the Python of this process, and its variables."""
    package = str(Path(emdsl.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return [sys.executable, "-P", "-X", "utf8", "-m", module], variables


def started(module: str, stderr: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a program of ours, in the Python of this process: it reads and writes lines of text. Raises OSError."""
    argv, variables = program(module)
    return subprocess.Popen(  # noqa: S603 - the module is one of ours, named in our code
        argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=variables,
        start_new_session=True,  # Ctrl-C is the run's
    )  # fmt: skip


def end(process: subprocess.Popen[str] | None, reader: threading.Thread) -> None:
    """Kill a program of ours, if it was started, and wait for it and for the thread that reads its output."""
    if process is not None:
        process.kill()
    reader.join()
    if process is not None:
        with suppress(OSError), process:  # closes its pipes, and waits
            pass


def study_task(study: Compiled, options: RunOptions) -> dict[str, Any]:
    """Return a study and a selection as JSON. It contains API keys: it goes through pipes, never into a file."""
    project = study.project
    return {
        "root": str(project.root), "cache": str(project.cache), "environment": dict(project.environment),
        "simulate": project.simulate, "remotes": project.remotes, "team": project.team, "file": str(study.file),
        "program": study.program.digest.hex(), "samples": options.samples, "only": list(options.only),
        "pilot": options.pilot, "files": dict(study.program.files),
        "instead": {str(path): str(copy) for path, copy in project.instead.items()},
    }  # fmt: skip


def study_of(task: Mapping[str, Any]) -> Compiled | None:
    """Compile the study of a task; None if it differs from that of the run: see `was_edited`."""
    project = Project(
        root=Path(task["root"]), cache=Path(task["cache"]), environment=task["environment"],
        simulate=task["simulate"], remotes=task["remotes"], team=task["team"],
        instead={Path(path): Path(copy) for path, copy in task["instead"].items()},
    )  # fmt: skip
    study = compile_study(project, Path(task["file"]))
    return study if study.program.digest.hex() == task["program"] else None


def was_edited(task: Mapping[str, Any]) -> bool:
    """Whether a file of a task's study on this machine differs from the content that the run has read."""
    for name, sha256 in task["files"].items():
        try:
            if file_digest(Path(task["instead"].get(name, name))).hex() != sha256:
                return True
        except OSError:  # this machine lacks it, which has an error of its own
            continue
    return False


def rows_of(study: Compiled, task: Mapping[str, Any]) -> list[Rows]:
    """Return the selected rows of a task, by experiment."""
    chosen = selections(study.program, task["samples"], tuple(task["only"]), pilot=task["pilot"])
    return [Rows(e, s) for e, s in zip(study.program.experiments, chosen, strict=True)]
