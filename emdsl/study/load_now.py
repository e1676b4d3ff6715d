"""Loading the tables of a study in a process of its own, so that a server goes on answering meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    from emdsl.study.compiled import Compiled

NICE = 10  # a run beside it comes first


def load_now(study: Compiled, apart: Path | None, version: str = "") -> list[str]:
    """Load the cached answers of a study, and return notices.

    Args:
        study: The study; its file is compiled again.
        apart: A folder that gets a database of its own; None for the database of the project, if it is stale.
        version: Another version of the study, by its name in `versions`, whose answers are loaded apart.

    Raises:
        OutcomesError: They cannot be loaded.
    """
    project = study.project
    task = {
        "root": str(project.root), "cache": str(project.cache), "environment": dict(project.environment),
        "simulate": project.simulate, "file": str(study.file), "apart": str(apart) if apart is not None else None,
        "version": version,
    }  # fmt: skip
    package = str(Path(emdsl.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-P", "-X", "utf8", "-m", "emdsl.study.load_now"], input=json.dumps(task), text=True,
        capture_output=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is the server's
    )  # fmt: skip
    try:
        result: Any = json.loads(done.stdout)
    except ValueError:
        raise OutcomesError("the results could not be loaded: the process that loads them has ended") from None
    if "error" in result:
        raise OutcomesError(result["error"])
    notices: list[str] = result["notices"]
    return notices


def main() -> None:
    """Load what standard input names."""
    task: dict[str, Any] = json.load(sys.stdin)
    with suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(NICE)
    project = Project(
        root=Path(task["root"]), cache=Path(task["cache"]), environment=task["environment"],
        simulate=task["simulate"],
    )  # fmt: skip
    try:
        study = compile_study(project, Path(task["file"]))
        if task["version"]:
            with nothing_executed(), as_version(study, task["version"]) as version:
                notices = load_apart(version.study, Path(task["apart"]))
        else:
            notices = load_apart(study, Path(task["apart"])) if task["apart"] else load_if_stale(study)
    except (EmdslError, OSError) as error:
        json.dump({"error": str(error)}, sys.stdout)
    else:
        json.dump({"notices": notices}, sys.stdout)


if __name__ == "__main__":
    main()
