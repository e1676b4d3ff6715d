"""Workers on the nodes of a Ray cluster, without Ray: the files of a study on a node that lacks them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from speed import HANG_S
from store.test_disk import put, query

from emdsl.errors import SetupError, StoreError
from emdsl.project import ANSWERS
from emdsl.serving.node_process import RemoteProcess
from emdsl.store.disk import DiskStore
from emdsl.store.removals import StoreVersion, prepare
from emdsl.store.shared import note_seen
from emdsl.study.child import study_of, study_task
from emdsl.study.compiled import compile_study
from emdsl.study.options import RunOptions
from emdsl.study.project import open_project
from emdsl.study.ray_workers import RayWorkers, WorkerNode
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from emdsl.serving.node_process import Call
    from emdsl.study.compiled import Compiled

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
    end = time.monotonic() + HANG_S
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


class Unreadable(WorkerNode):
    """A worker on a node that cannot read its store."""

    def unsent(self) -> list[tuple[bytes, bytes]]:
        raise SetupError("a package is missing")


def test_a_node_that_cannot_read_its_store_keeps_it_and_ends(tmp_path: Path) -> None:
    """Its actor ends with its lease all the same."""
    ended = threading.Event()
    worker = Unreadable(lambda: "10.0.0.5", ended.set, lease_s=0.1)
    worker.folder = tmp_path / "node"
    worker.folder.mkdir()
    assert ended.wait(HANG_S)
    assert worker.folder.is_dir()


class Node(WorkerNode):
    """A worker that stores five answers, which the server of the team's store does not get."""

    def work(self, *_: Any) -> str:
        cache = self._folder("cache")
        with closing(DiskStore(cache / ANSWERS)) as store:
            put(store, 5)
        prepare(cache / ANSWERS)
        note_seen(cache / ANSWERS, StoreVersion(1, 0, 0, 0, 0))
        self.run([sys.executable, "-c", "input(); input()"], os.environ, line="{}")
        return str(cache)


class Cluster:
    """A cluster of one node, in this process."""

    lost = False

    def __init__(self) -> None:
        self.node = Node(lambda: "10.0.0.5", lambda: None)
        self.refused = ""  # a method that does not answer

    async def start(
        self, _: str, log: Path, begin: Callable[[Call, str], Awaitable[str]], **__: Any
    ) -> tuple[RemoteProcess, str]:
        async def call(method: str, *arguments: Any) -> Any:
            if method == self.refused:
                raise ConnectionError
            return {} if method == "lacks" else await asyncio.to_thread(getattr(self.node, method), *arguments)

        begun = await begin(call, "10.0.0.5")
        self.process = RemoteProcess(self, None, call, log, "10.0.0.5")
        return self.process, begun

    def free(self, _: object) -> None:
        pass

    def notice_unwritten(self, log: Path, error: OSError) -> None:
        raise AssertionError(log) from error


def compiled(folder: Path) -> Compiled:
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "s.em").write_text(STUDY.replace("import", "#").replace("data/*.csv", "a.csv").replace("{question}", ""))
    (folder / "a.csv").write_text("topic\ncats\n")
    return compile_study(open_project(folder / "s.em"), folder / "s.em")


def workers_on(cluster: Cluster, study: Compiled, folder: Path) -> RayWorkers:
    return RayWorkers(cluster, study, "10.0.0.4", folder / "logs")  # type: ignore[arg-type]  # they only start processes


@pytest.mark.parametrize("how", ["ended", "killed", "closed"])
@pytest.mark.parametrize("full", [False, True])
def test_no_answer_is_lost_however_a_worker_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, full: bool
) -> None:
    """Its answers are kept on this machine, else on the node, and the error names the folder."""
    study, adopt = compiled(tmp_path / "project"), DiskStore.adopt

    def adopted(store: DiskStore, entries: Any) -> tuple[int, int]:
        if full:
            raise StoreError("database or disk is full")
        return adopt(store, entries)

    monkeypatch.setattr(DiskStore, "adopt", adopted)

    async def end(cluster: Cluster, workers: RayWorkers) -> str:
        handle = await workers.start(study_task(study, RunOptions()) | {"worker": 0, "remotes": False})
        if how == "killed":
            handle.kill()
        elif how == "ended":
            await asyncio.to_thread(cluster.node.end)
        else:
            await cluster.process.stop()
        return await handle.wait()

    cluster = Cluster()
    workers = workers_on(cluster, study, tmp_path)
    if full:
        with pytest.raises(StoreError) as error:
            asyncio.run(end(cluster, workers))
        assert cluster.node.folder is not None
        cache = cluster.node.folder / "cache"
        assert str(error.value) == (
            "5 answers of a worker could not be stored on this machine: database or disk is full. The server of the "
            f"team's store has not got them either. They stay on 10.0.0.5, in {cache}: copy that folder here, then add "
            "them with `emdsl cache merge FOLDER`"
        )
        assert workers.left_behind(failed=True) == [str(error.value)]
        with closing(DiskStore(cache / ANSWERS, read_only=True)) as store:
            assert len(store.get_many(query(i).key for i in range(5))) == 5
        shutil.rmtree(cluster.node.folder)
    else:
        assert asyncio.run(end(cluster, workers)).startswith("on 10.0.0.5")
        with closing(study.project.store(create=False)) as kept:
            assert len(kept.get_many(query(i).key for i in range(5))) == 5
        assert cluster.node.folder is not None
        assert not cluster.node.folder.exists()
        assert workers.left_behind(failed=True) == []


def test_a_node_that_does_not_answer_at_the_end(tmp_path: Path) -> None:
    """The user reads where answers may be, and the node keeps them."""
    cluster = Cluster()
    workers = workers_on(cluster, compiled(tmp_path / "project"), tmp_path)

    async def run() -> None:
        handle = await workers.start({"worker": 0, "remotes": False})
        cluster.refused = "unsent"
        handle.kill()
        await handle.wait()

    asyncio.run(run())
    assert cluster.node.folder is not None
    assert (cluster.node.folder / "cache" / ANSWERS).is_dir()
    there = f"10.0.0.5:{cluster.node.folder / 'cache'}"
    assert workers.left_behind(failed=False) == [
        f"answers that the server of the team's store has not got may be on nodes that did not answer: in {there}"
    ]
    shutil.rmtree(cluster.node.folder)
