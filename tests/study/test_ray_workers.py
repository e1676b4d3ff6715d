"""Workers on the nodes of a Ray cluster, without Ray: the files of a study on a node that lacks them."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from emdsl.errors import SetupError
from emdsl.study.child import study_of, study_task
from emdsl.study.compiled import compile_study
from emdsl.study.options import RunOptions
from emdsl.study.project import open_project
from emdsl.study.ray_workers import WorkerNode
from emdsl.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import question from "parts.em"
dataset topics { file = "data/*.csv", columns = { topic: "topic" } }
model m { use = "sim/subject" }
experiment e {
  for row in topics
  ask answer from m with "{question} {row.topic}"
}
"""


def node() -> WorkerNode:
    return WorkerNode(lambda: "10.0.0.5", lambda: None)


def test_a_node_gets_the_files_that_it_lacks(tmp_path: Path) -> None:
    """The study compiles there to the same program: imports, and data by a pattern."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (folder / "s.em").write_text(STUDY)
    (folder / "parts.em").write_text('em 1\nlet question = "tell me of"\n')
    (folder / "data" / "a.csv").write_text("topic\ncats\n")
    (folder / "data" / "b.csv").write_text("topic\ndogs\n")
    study = compile_study(open_project(folder / "s.em"), folder / "s.em")
    task = study_task(study, RunOptions())
    files = dict(study.program.files)
    copies = {name: (tmp_path / name).read_bytes() for name in files}
    worker = node()
    assert worker.lacks(__version__, files) == []
    (folder / "parts.em").write_text("em 1\n")
    assert worker.lacks(__version__, files) == [str(folder / "parts.em")]
    shutil.rmtree(folder)
    assert worker.lacks(__version__, files) == list(files)
    worker.work(task | {"link": {"path": str(tmp_path / "nobody")}, "worker": 0}, copies, None)
    there = study_of(task | {"instead": worker.written(copies)})
    assert there is not None
    assert there.program.digest == study.program.digest
    end = time.monotonic() + 30
    while worker.poll(0).code is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert worker.poll(0).output == b""  # nobody listens at its link: it ends without a word
    assert worker.unsent() == []
    assert worker.folder is not None
    assert worker.folder.stat().st_mode & 0o777 == 0o700
    worker.stop()
    assert not worker.folder.exists()


def test_another_version_of_emdsl() -> None:
    worker = node()
    with pytest.raises(SetupError, match=r"the node 10\.0\.0\.5 has emdsl"):
        worker.lacks("0.0.0", {})
    worker.stop()
