"""Workers of a run on the nodes of a Ray cluster: each in an actor, with the study's files and a store of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError, SetupError, StoreError
from emdsl.files import PRIVATE_FOLDER, file_digest
from emdsl.project import ANSWERS, REMOTES
from emdsl.redact import mask
from emdsl.serving.local import last_lines
from emdsl.serving.node_process import NodeProcess, first_line
from emdsl.serving.ray import RayCluster
from emdsl.store.journal import Journal
from emdsl.study.child import program
from emdsl.study.options import RAY
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from emdsl.digest import Digest
    from emdsl.serving.node_process import Call, RemoteProcess
    from emdsl.study.compiled import Compiled
    from emdsl.study.workers_plan import Handle, WorkersPlan

TAKE_S = 60.0  # for answers that come from a node
CPUS = 0.01  # of each worker: a node without CPUs gets none, and one that takes the place of another has always room


class WorkerNode(NodeProcess):
    """A worker on this node, with a private folder for files of the study and a cache.

    The folder stays while it has answers that only this node has.
    """

    folder: Path | None = None  # made when it is first needed
    _taken = False  # the run has stored the answers

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

    def work(self, task: Mapping[str, Any], copies: Mapping[str, bytes] | None, remotes: bytes | None) -> str:
        """Start the worker, and return its cache folder.

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
        return str(own["cache"])

    def unsent(self) -> list[tuple[Digest, bytes]]:
        """Return answers that the team's store has not acknowledged, with their keys: only this node has them."""
        self._called_s = time.monotonic()
        from emdsl.store.shared import unshared  # noqa: PLC0415 - only a team's store is away

        answers = self.folder / "cache" / ANSWERS if self.folder is not None else None
        return [entry for part in unshared(answers) for entry in part] if answers and answers.is_dir() else []

    def taken(self) -> None:
        """Note that the run has stored the unsent answers."""
        self._taken = True

    def stop(self) -> None:
        """End the worker, and remove its folder unless it has, or may have, answers that only this node has."""
        super().stop()
        if self.folder is None:
            return
        with suppress(Exception):  # this node cannot read its store, which may have such answers
            if self._taken or not self.unsent():
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
        """Make a private folder of this worker, if it is missing, and return it."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="emdsl-"))
        folder = self.folder / name
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        return folder


class _RayWorker:
    """The handle of a worker on a node."""

    def __init__(self, workers: RayWorkers, process: RemoteProcess) -> None:
        self._workers = workers
        self._process = process
        self._ending: asyncio.Task[None] | None = None

    async def wait(self) -> str:
        """See Handle."""
        code = await self._process.wait()
        await self._process.stop()
        if self._process.lost:
            return f"was lost with its node {self._process.node}"
        if (error := self._workers.unkept.get(self._process)) is not None:
            raise error
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
        self.unkept: dict[RemoteProcess, StoreError] = {}  # workers whose answers could not be stored here
        self._unreached: list[
            tuple[RemoteProcess, str]
        ] = []  # workers that did not answer at the end, and their caches
        self._cluster = cluster
        self._study = study
        self._host = host  # the address of this machine
        self._logs = logs

    async def start(self, task: Mapping[str, Any]) -> Handle:
        """Start a worker on some node; raises SetupError."""
        number = task["worker"]
        placed = {**task, "file": str(self._study.file.absolute())}  # an actor has another working folder

        async def begin(call: Call, node: str) -> str:
            if node == self._host:
                return str(await call("work", placed, None, None))
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
            return str(await call("work", placed, copies, listed))

        process, cache = await self._cluster.start(
            f"worker {number + 1}", self._logs / f"worker-{number + 1}.log", begin, kind=WorkerNode, cpus=CPUS
        )
        if process.node != self._host:
            process.on_end = partial(self._bring_back, process, cache)
        return _RayWorker(self, process)

    async def _bring_back(self, process: RemoteProcess, cache: str) -> None:
        """Keep answers on this machine that a worker could not store, as the server of the team's store is away.

        Answers that cannot be kept stay in the folder of the node, which is named to the user.
        """
        try:
            async with asyncio.timeout(0 if process.lost else TAKE_S):
                entries = await process.call("unsent")
        except Exception:  # noqa: BLE001 - of Ray, of the network or of the node: the answers stay there
            self._unreached.append((process, cache))
            return
        if not entries:
            return
        try:
            with closing(self._study.project.offline().store(create=True)) as store:
                store.adopt(entries)
        except Exception as error:  # noqa: BLE001 - the node must keep answers that were paid for, at any error
            self.unkept[process] = StoreError(
                f"{len(entries):,} answers of a worker could not be stored on this machine: {first_line(error)}. The "
                f"server of the team's store has not got them either. They stay on {process.node}, in {cache}: copy "
                "that folder here, then add them with `emdsl cache merge FOLDER`"
            )
            return
        with suppress(Exception):  # else the node keeps copies
            await process.call("taken")

    def left_behind(self, *, failed: bool) -> list[str]:
        """Return the places of answers of ended workers that this machine has not got.

        If the run has not failed, others have sent the requests of lost nodes.
        """
        texts = [str(error) for error in self.unkept.values()]
        if folders := [f"{p.node}:{cache}" for p, cache in self._unreached if failed or not p.lost]:
            texts.append(
                "answers that the server of the team's store has not got may be on nodes that did not answer: in "
                + ", ".join(folders)
            )
        return texts

    def _files(self) -> dict[str, str]:
        program = self._study.program
        return {name: sha256 for name, sha256 in {**program.files, **program.annotations}.items() if sha256}

    def _content(self, name: str) -> bytes:
        return Path(self._study.project.instead.get(Path(name), name)).read_bytes()


@asynccontextmanager
async def on_cluster(
    plan: WorkersPlan, on: str, study: Compiled, logs: Path, notice: Callable[[str], None]
) -> AsyncIterator[WorkersPlan]:
    """Give the plan of a run whose workers start on the nodes of a Ray cluster, and leave the cluster at the end.

    Args:
        plan: Without the start of workers.
        on: The cluster, as in `RunOptions`.
        study: The study.
        logs: The folder of the logs of workers.
        notice: Gets messages for the user.

    Raises:
        SetupError: The cluster cannot be reached, or its machines share no store.
    """
    project, cluster = study.project, RayCluster(on if on != RAY else None, notice)
    workers, shown = None, ""
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
    except EmdslError as error:
        shown = str(error)
        raise
    finally:
        await cluster.close()
        for text in workers.left_behind(failed=bool(shown)) if workers is not None else ():
            if text != shown:
                notice(text)


def _has(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path).hex() == sha256
    except OSError:
        return False
