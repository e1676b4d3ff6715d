"""Loading the tables of a study in a process of its own, so that a server goes on answering meanwhile."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emdsl
from emdsl.errors import EmdslError, OutcomesError
from emdsl.hooks.hook import nothing_executed
from emdsl.study.compiled import compile_study
from emdsl.study.project import Project
from emdsl.study.refresh import load_apart, load_if_stale
from emdsl.study.versions import as_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.study.compiled import Compiled

NICE = 10  # a run beside it comes first
GC_THRESHOLD = 100_000  # objects, as in the loading process of a run


def load_now(study: Compiled, apart: Path, version: str) -> list[str]:
    """Load the answers of another version of a study, by its name in `versions`, and return notices.

    Args:
        study: The study; its file is compiled again.
        apart: A folder that gets a database of its own.
        version: The other version.

    Raises:
        OutcomesError: They cannot be loaded.
    """
    process = LoadProcess()
    try:
        return process.load(study, apart, version=version)
    finally:
        process.close()


class LoadProcess:
    """A process that loads tables whenever it is told to. It starts with the first load, and ends with `close`."""

    def __init__(self) -> None:
        self.cpu_s = 0.0  # of the process under way, in seconds
        self._process: subprocess.Popen[str] | None = None

    @property
    def started(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def load(
        self, study: Compiled, apart: Path | None, most: Sequence[int] | None = None, *, version: str = ""
    ) -> list[str]:
        """Load the cached answers of a study, and return notices; one load at a time.

        Args:
            study: The study; its file is compiled again.
            apart: A folder that gets a database of its own; None for the database of the project, if it is stale.
            most: How many rows of each experiment are loaded apart, in the order of a run; None loads all.
            version: Another version of the study, by its name in `versions`, whose answers are loaded apart.

        Raises:
            OutcomesError: They cannot be loaded.
        """
        project = study.project
        task = {
            "root": str(project.root), "cache": str(project.cache), "environment": dict(project.environment),
            "simulate": project.simulate, "team": project.team, "file": str(study.file),
            "apart": str(apart) if apart is not None else None, "version": version,
            "most": list(most) if most is not None else None,
            "instead": {str(path): str(copy) for path, copy in project.instead.items()},
        }  # fmt: skip
        process = self._process = self._process if self._process is not None and self.started else _started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            result: Any = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            self.close()
            raise OutcomesError("the results could not be loaded: the process that loads them has ended") from None
        self.cpu_s = float(result["cpu_s"])
        if "error" in result:
            raise OutcomesError(result["error"])
        notices: list[str] = result["notices"]
        return notices

    def close(self) -> None:
        """End the process, a load under way too: a database changes whole or not at all."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
            self.cpu_s = 0.0


def _started() -> subprocess.Popen[str]:
    package = str(Path(emdsl.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-m", "emdsl.study.load_now"], text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is the server's
    )  # fmt: skip


def main() -> None:
    """Load what each line of standard input names, until it ends."""
    gc.set_threshold(GC_THRESHOLD)
    with suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(NICE)
    for line in sys.stdin:
        result = _loaded(json.loads(line)) | {"cpu_s": time.process_time()}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def _loaded(task: dict[str, Any]) -> dict[str, Any]:
    project = Project(
        root=Path(task["root"]), cache=Path(task["cache"]), environment=task["environment"],
        simulate=task["simulate"], team=task["team"],
        instead={Path(path): Path(copy) for path, copy in task["instead"].items()},
    )  # fmt: skip
    try:
        study = compile_study(project, Path(task["file"]))
        if task["version"]:
            with nothing_executed(), as_version(study, task["version"]) as version:
                notices = load_apart(version.study, Path(task["apart"]))
        elif task["apart"]:
            notices = load_apart(study, Path(task["apart"]), task["most"])
        else:
            notices = load_if_stale(study)
    except (EmdslError, OSError) as error:
        return {"error": str(error)}
    return {"notices": notices}


if __name__ == "__main__":
    main()
