"""The servers of a run: their start, their addresses, and their end."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from emdsl.errors import Rejected
from emdsl.serving.command import command_of
from emdsl.serving.fleet import IDLE_S, TAIL, Fleet
from emdsl.serving.launcher import ReplicaSpec
from emdsl.store.claims import live_runs
from emdsl.study.options import LOCAL, RAY
from emdsl.study.served import LOGS, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from emdsl.query import Model
    from emdsl.run.control import Drains
    from emdsl.run.progress import Progress
    from emdsl.serving.fleet import Replica
    from emdsl.serving.launcher import Launcher
    from emdsl.study.project import Project
    from emdsl.study.served import Serving

KEPT_RUNS = 20  # whose logs are kept
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # for weights that need an account
_SHARED = re.compile(r"^(?:HF|HUGGING_FACE|HUGGINGFACE|TRANSFORMERS|VLLM|SGLANG|SGL|TORCH|NCCL|CUDA)_")
_SECRET = re.compile(r"API_KEY|_TOKEN$|SECRET|PASSWORD")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Served:
    """The servers of a run, as its client uses them. See Servers."""

    def __init__(
        self, serving: Serving, project: Project, run: str, notice: Callable[[str], None], *, shared: bool = False
    ) -> None:
        """Prepare; nothing is started.

        Args:
            serving: The servers to start.
            project: Its cache gets the logs, and its environment may name programs.
            run: The id of the run.
            notice: Gets messages for the user.
            shared: Whether other processes send to the servers, too: only they know which are idle.
        """
        longest_s = max((m.timeout_s or 0.0 for m in serving.models), default=0.0)  # of a request in flight
        self._idle_s = math.inf if shared else IDLE_S + longest_s
        self._serving = serving
        self._project = project
        self._run = run
        self._notice = notice
        self._fleet: Fleet | None = None
        self.on_change: Callable[[], None] = lambda: None  # is called when a server has come up or gone down

    async def start(self, attach: Callable[[Drains], None], progress: Progress) -> None:
        """Start the servers, and return when each model has one that answers, or the run is interrupted.

        Args:
            attach: Gets the start, for interrupts to end it.
            progress: Of the run; an interrupted one drains.

        Raises:
            SetupError: The servers of a model cannot be started.
        """
        specs = replica_specs(self._serving.models, self._project.environment)
        launcher = launcher_for(self._serving.on, self._project, self._run, self._notice)
        self._fleet = Fleet(launcher, specs, self._notice, idle_s=self._idle_s, on_change=self._changed)
        self._notice(f"starting {self._serving.shown}")
        starting = _Starting(asyncio.ensure_future(self._fleet.start()), progress)
        attach(starting)
        await starting.ended()

    async def close(self) -> None:
        """Stop the servers."""
        if self._fleet is not None:
            await self._fleet.close()

    def replicas(self, model: Model) -> int:
        """See Servers."""
        return len(self._of(model))

    def url(self, model: Model, account: int) -> str | None:
        """See Servers."""
        url = self._of(model)[account].url
        if self._fleet is not None:
            self._fleet.use(name_of(model))
        if url is None and (failure := self._failure(name_of(model))):
            raise Rejected(f"not sent: {failure}", for_all=True)
        return url

    def answered(self, model: Model, account: int, _: str) -> None:
        """See Servers."""
        self.answered_by_worker(name_of(model), account)

    async def lost(self, model: Model, account: int, url: str) -> bool:
        """See Servers."""
        return self._fleet is not None and await self._fleet.lost(name_of(model), account, url)

    def state(self) -> dict[str, Any]:
        """Return the state of the servers for workers, see ServerAddresses."""
        models = self._fleet.models.items() if self._fleet is not None else ()
        return {name: {"urls": [r.url for r in replicas], "failure": self._failure(name)} for name, replicas in models}

    def answered_by_worker(self, name: str, account: int) -> None:
        """Note that a server has answered a worker."""
        if self._fleet is not None:
            self._fleet.answered(name, account)

    async def lost_by_worker(self, name: str, account: int, url: str) -> None:
        """Look at a server that a worker has found down."""
        if self._fleet is not None:
            await self._fleet.lost(name, account, url)

    def _changed(self) -> None:
        self.on_change()

    def _failure(self, name: str) -> str:
        """Return why no server of a model comes back, without the lines of its log."""
        return self._fleet.failure(name).partition(f"{TAIL}\n")[0] if self._fleet is not None else ""

    def _of(self, model: Model) -> list[Replica]:
        if self._fleet is None or model.serve is None:
            return []
        return self._fleet.models.get(name_of(model), [])


class _Starting:
    """Servers that are starting; an interrupt ends that. See Drains."""

    def __init__(self, task: asyncio.Future[None], progress: Progress) -> None:
        self.progress = progress
        self._task = task

    def drain(self, cause: str) -> None:
        """Give up the start."""
        self.progress.stop(cause)
        self._task.cancel()

    stop = drain  # nothing is in flight

    async def ended(self) -> None:
        """Return when the servers are up, or the start was interrupted; raises the error of the start."""
        try:
            await self._task
        except asyncio.CancelledError:
            if not self.progress.draining:
                raise


def replica_specs(models: Iterable[Model], environment: Mapping[str, str]) -> dict[str, list[ReplicaSpec]]:
    """Return the servers of models, by the name of each; raises SetupError for an invalid command line."""
    shared = {n: v for n, v in environment.items() if _SHARED.match(n) and (n in _TOKENS or not _SECRET.search(n))}
    specs = {}
    for model in models:
        if model.serve is None:
            continue
        command = command_of(model, environment)
        label = _NO_NAME.sub("-", name_of(model)).strip("-")
        specs[name_of(model)] = [
            ReplicaSpec(
                model=model.use, name=f"{label}-{i + 1}", index=i, command=command, gpus=float(model.serve.gpus),
                environment=shared,
            )
            for i in range(model.serve.replicas)
        ]  # fmt: skip
    return specs


def launcher_for(on: str, project: Project, run: str, notice: Callable[[str], None]) -> Launcher:
    """Return the launcher of a place; raises SetupError if Ray is not installed."""
    logs = project.cache / LOGS
    _forget_old(logs, project.answers)
    if on != LOCAL:
        from emdsl.serving.ray_launcher import RayLauncher  # noqa: PLC0415 - only `--on ray` needs it

        return RayLauncher(on if on != RAY else None, logs / run, project.root, notice)
    from emdsl.serving.local import LocalLauncher  # noqa: PLC0415 - only `--serve` needs it

    return LocalLauncher(logs / run, project.root, project.environment)


def _forget_old(logs: Path, answers: Path) -> None:
    """Remove the logs of all runs but the last ones and those under way, which hold claims on the store `answers`."""
    with suppress(OSError):  # another run forgets them, too
        folders = sorted(logs.glob("*/"), key=lambda folder: folder.stat().st_mtime)
        under_way = live_runs(answers)
        for folder in folders[: -KEPT_RUNS + 1]:
            if folder.name not in under_way:
                shutil.rmtree(folder, ignore_errors=True)
