"""Workers of a run on the nodes of a Ray cluster: each in an actor, with the study's files and a store of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import SetupError
from emdsl.files import PRIVATE_FOLDER, file_digest
from emdsl.project import ANSWERS, REMOTES
from emdsl.redact import mask
from emdsl.serving.local import last_lines
from emdsl.serving.node_process import NodeProcess
from emdsl.serving.ray import RayCluster
from emdsl.store.journal import Journal
from emdsl.study.child import program
from emdsl.study.options import RAY
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from emdsl.serving.ray import Call, RemoteProcess
    from emdsl.study.compiled import Compiled
    from emdsl.study.workers_plan import Handle, WorkersPlan

CPUS = 0.01  # of each worker: a node without CPUs gets none, and one that takes the place of another has always room


class WorkerNode(NodeProcess):
    """A worker on this node, with a private folder for files of the study and a cache. See NodeProcess."""

    folder: Path | None = None  # once it is needed

    def lacks(self, version: str, files: Mapping[str, str]) -> list[str]:
        """Return which files this node does not have, or has with another content.

        Args:
            version: Of emdsl, in the run.
            files: The files of the study, with the SHA-256 of each.

        Raises:
            SetupError: This node has another version of emdsl.
        """
        if version != __version__:
            raise SetupError(
                f"the node {self.address()} has emdsl {__version__}, and this run {version}: install the same version"
            )
        return [name for name, sha256 in files.items() if not _has(Path(name), sha256)]

    def work(self, task: Mapping[str, Any], copies: Mapping[str, bytes] | None, remotes: bytes | None) -> None:
        """Start the worker.

        Args:
            task: For `study/worker.py`. It contains API keys.
            copies: Files to read in place of those of the study, by path; None on the machine of the run, whose files
                and cache are used.
            remotes: The list of remotes of the run's cache.
        """
        own = dict(task)
        if copies is not None:
            own["instead"] = {**task["instead"], **self.written(copies)}
            cache = self._folder("cache")
            own["cache"] = str(cache)
            if remotes is not None:
                (cache / REMOTES).write_bytes(remotes)
        argv, variables = program("emdsl.study.worker")
        self.run(argv, variables, line=json.dumps(own))

    def unsent(self) -> list[tuple[bytes, bytes]]:
        """Return answers that the team's store has not acknowledged, with their keys: only this node has them."""
        from emdsl.store.shared import unshared  # noqa: PLC0415 - only a team's store is away

        answers = self._folder("cache") / ANSWERS
        return [entry for part in unshared(answers) for entry in part] if answers.is_dir() else []

    def stop(self) -> None:
        """End the worker, and remove its files."""
        super().stop()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def written(self, copies: Mapping[str, bytes]) -> dict[str, str]:
        """Write copies of files; return their paths."""
        folder = self._folder("study")
        paths = {}
        for i, (name, content) in enumerate(copies.items()):
            copy = folder / f"{i}{Path(name).suffix}"
            copy.write_bytes(content)
            paths[name] = str(copy)
        return paths

    def _folder(self, name: str) -> Path:
        """Return a private folder of this worker; it is made."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="emdsl-"))
        folder = self.folder / name
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        return folder


class _RayWorker:
    """The handle of a worker on a node."""

    def __init__(self, process: RemoteProcess) -> None:
        self._process = process
        self._ending: asyncio.Task[None] | None = None

    async def wait(self) -> str:
        """See Handle."""
        code = await self._process.wait()
        await self._process.stop()
        if self._process.lost:
            return f"was lost with its node {self._process.node}"
        if code < 0:
            return f"on {self._process.node} was killed by {signal.Signals(-code).name}"
        last = last_lines(self._process.log, 1)
        return f"on {self._process.node} ended with exit code {code}" + (f": {mask(last[0])}" if last else "")

    def kill(self) -> None:
        """See Handle."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._process.stop())


class RayWorkers:
    """Starts the workers of a run on the nodes of a cluster."""

    def __init__(self, cluster: RayCluster, study: Compiled, host: str, logs: Path) -> None:
        self._cluster = cluster
        self._study = study
        self._host = host  # the address of this machine
        self._logs = logs

    async def start(self, task: Mapping[str, Any]) -> Handle:
        """Start a worker on some node; raises SetupError."""
        number = task["worker"]
        placed = {**task, "file": str(self._study.file.absolute())}  # an actor has another working folder

        async def begin(call: Call, node: str) -> None:
            if node == self._host:
                await call("work", placed, None, None)
                return
            files, remotes = self._files(), self._study.project.cache / REMOTES
            lacking = set(await call("lacks", __version__, files))
            copies = {name: await asyncio.to_thread(self._content, name) for name in files if name in lacking}
            for link, real in self._study.program.links.items():
                if real in copies:  # its rows are named after the target of the link
                    raise SetupError(
                        f"the node {node} lacks `{real}`, which the study reads by the link `{link}`: replace it by "
                        "the file, or use a file system that all nodes have"
                    )
            listed = remotes.read_bytes() if task["remotes"] and remotes.exists() else None
            await call("work", placed, copies, listed)

        process, _ = await self._cluster.start(
            f"worker {number + 1}", self._logs / f"worker-{number + 1}.log", begin, kind=WorkerNode, cpus=CPUS,
            on_end=self._bring_back,
        )  # fmt: skip
        return _RayWorker(process)

    async def _bring_back(self, node: str, call: Call) -> None:
        """Keep answers on this machine that a worker could not store, as the server of the team's store is away."""
        if node == self._host:
            return
        entries: list[tuple[bytes, bytes]] = []
        with suppress(Exception):  # the node is lost, and with it the answers that it alone had
            entries = await call("unsent")
        if entries:
            with closing(self._study.project.offline().store(create=True)) as store:
                store.adopt(entries)

    def _files(self) -> dict[str, str]:
        program = self._study.program
        return {name: sha256 for name, sha256 in {**program.files, **program.annotations}.items() if sha256}

    def _content(self, name: str) -> bytes:
        return Path(self._study.project.instead.get(Path(name), name)).read_bytes()


@asynccontextmanager
async def on_cluster(plan: WorkersPlan, on: str, study: Compiled, logs: Path) -> AsyncIterator[WorkersPlan]:
    """Give the plan of a run whose workers start on the nodes of a Ray cluster, and leave the cluster at the end.

    Raises:
        SetupError: The cluster cannot be reached, or its machines share no store.
    """
    project, cluster = study.project, RayCluster(on if on != RAY else None)
    try:
        nodes = {n["NodeManagerAddress"] for n in await cluster.nodes()}
        host = cluster.own_address()
        if nodes != {host}:
            if project.team is None:
                raise SetupError(
                    f"workers on {len(nodes)} machines of the Ray cluster need a store that all of them reach: set "
                    "EMDSL_STORE to the URL of a PostgreSQL server, or use `--workers 1`"
                )
            with closing(Journal(project.answers)) as journal:
                if journal.all_held():
                    raise SetupError(
                        "requests wait for batches, which workers on other machines do not know: "
                        "use `--workers 1`, or wait for them with `emdsl batch wait`"
                    )
        workers = RayWorkers(cluster, study, host, logs)
        yield replace(plan, start=workers.start, host=host)
    finally:
        await cluster.close()


def _has(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path).hex() == sha256
    except OSError:
        return False
