"""Ray: the connection to a cluster, and processes on its nodes, each in an actor."""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import logging
import os
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from emdsl.errors import SetupError
from emdsl.serving.cluster import check_room, client_address, described, needs
from emdsl.serving.node_process import Call, NodeProcess, RemoteProcess, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

T = TypeVar("T")

REACH_S = 5.0  # until something listens at the address of a head
CONNECT_S = 60.0  # to connect, or to start a cluster on this machine
DYING = ("ActorDiedError", "ActorUnavailableError", "NodeDiedError", "WorkerCrashedError")  # Ray's errors
TRIES, PAUSE_S = 5, 2.0  # to start a process whose node dies; seconds between two of them
PLACE_S = 120.0  # for an actor to get its resources and to start
LEAVE_S = 10.0  # to leave a cluster, or to stop one that was started here
HEAD_S = 30.0  # without a head; from 60 s on, Ray ends every process of the cluster, and this one
OBJECTS = 80 << 20  # bytes of shared memory for Ray's objects: no large object is ever sent
_LOST = (
    "the head of the Ray cluster does not answer any more. Start the cluster again, then repeat the command: all "
    "answers are kept"
)


class RayCluster:
    """The connection of this process to a Ray cluster; several parts of a run share one.

    Args:
        address: `ray://HEAD[:PORT]`, the client server of a cluster; None: the cluster of the variable RAY_ADDRESS, or
            the one that runs on this machine, else one that is started on this machine for this run.
        notice: Gets messages for the user.
    """

    def __init__(self, address: str | None, notice: Callable[[str], None] = lambda _: None) -> None:
        self.lost = False
        self._notice = notice
        self._unwritten = False  # whether the user was told that logs are incomplete
        self._address = address
        self._connecting = asyncio.Lock()
        self._connected = False
        self._ours = False
        self._head = ""  # its address
        self._watching: asyncio.Task[None] | None = None
        self._processes: set[RemoteProcess] = set()
        self._waiting: set[asyncio.Task[Any]] = set()  # for the cluster
        self._gpus: dict[Any, float] = {}  # of each actor

    async def connect(self) -> None:
        """Connect, once; raises SetupError."""
        async with self._connecting:
            if self._connected:
                return
            ray = _ray()
            if not ray.is_initialized():  # a program that uses Ray itself keeps its connection
                await _connected(self._address)
                self._ours = True
            self._connected = True
            if self._address is None:
                self._head = ray.get_runtime_context().gcs_address
                self._watching = asyncio.create_task(self._watch())
            else:
                self._head = client_address(self._address).removeprefix("ray://")

    def own_address(self) -> str:
        """Return the address of this machine, as the nodes of the cluster reach it."""
        host, _, port = self._head.rpartition(":")
        host = host.strip("[]")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))  # sends nothing: it only chooses the way
            address: str = probe.getsockname()[0]
            return address

    async def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive, as Ray describes them; raises SetupError."""
        await self.connect()
        try:
            nodes = await self._unless_lost(_apart(_ray().nodes))
        except SetupError:
            raise
        except Exception as error:
            if not _ray().is_initialized():  # its client has tried for 30 s to reach the head again
                self._lose()
            why = _LOST if self.lost else f"cannot list the nodes of the Ray cluster: {first_line(error)}"
            raise SetupError(why) from error
        return [n for n in nodes if n["Alive"]]

    async def start(
        self, name: str, log: Path, begin: Callable[[Call, str], Coroutine[Any, Any, T]], *,
        kind: type[NodeProcess] = NodeProcess, gpus: float = 0, cpus: float = 1,
    ) -> tuple[RemoteProcess, T]:  # fmt: skip
        """Start a process in an actor of its own, on a node with enough free resources.

        Args:
            name: For people, in errors.
            log: The file that its output is copied into.
            begin: Starts the process by calls of the methods of `kind`; it gets the address of the node too. Arguments
                of methods are in no log of Ray, those of an actor are.
            kind: The class of the actor.
            gpus: GPUs of its own.
            cpus: CPUs of its own.

        Returns:
            The process, and the value of `begin`.

        Raises:
            SetupError: The cluster is lost, has too few resources, or the process cannot be started.
        """
        for left in reversed(range(TRIES)):
            nodes = await self.nodes()
            check_room(nodes, name, gpus=gpus, cpus=cpus, held=sum(self._gpus.values()))
            try:
                async with asyncio.timeout(PLACE_S):
                    return await self._start(log, begin, kind, gpus, cpus)
            except TimeoutError:
                raise SetupError(
                    f"the Ray cluster gave `{name}` no place within {PLACE_S:.0f} s: it needs {needs(gpus, cpus)}; "
                    f"{described(nodes)}. Other jobs may use them: see `ray status`"
                ) from None
            except Exception as error:
                if self.lost:
                    raise SetupError(_LOST) from error
                if not left or type(error).__name__ not in DYING:
                    raise SetupError(f"cannot start `{name}` on the Ray cluster: {_cause(error)}") from error
            await asyncio.sleep(PAUSE_S)  # the node died meanwhile, and others may be there
        raise AssertionError("the last try returns or raises")

    async def _start(
        self, log: Path, begin: Callable[[Call, str], Coroutine[Any, Any, T]], kind: type[NodeProcess], gpus: float,
        cpus: float,
    ) -> tuple[RemoteProcess, T]:  # fmt: skip
        """Start a process once; see `start`."""

        def actor_of() -> Any:
            # Ray restarts no actor: a server that died is counted and replaced by its fleet, a worker by its run.
            options = {"num_gpus": gpus, "num_cpus": cpus, "scheduling_strategy": "SPREAD", "max_restarts": 0}
            return _ray().remote(kind).options(**options).remote(node_address)

        actor = await self._unless_lost(_apart(actor_of))

        def call(method: str, *arguments: Any) -> Coroutine[Any, Any, Any]:
            return _result(getattr(actor, method).remote(*arguments))

        self._gpus[actor] = gpus
        try:
            node: str = await self._unless_lost(call("address"))
        except BaseException:
            self.free(actor)
            raise
        process = RemoteProcess(self, actor, call, log, node)
        self._processes.add(process)
        try:
            return process, await self._unless_lost(begin(call, node))
        except BaseException:
            await process.stop()  # it may have begun
            raise

    def free(self, actor: Any) -> None:
        """Give the resources of an actor back to the cluster."""
        if self._gpus.pop(actor, None) is not None and not self.lost:
            threading.Thread(target=_kill, args=(actor,), daemon=True).start()

    def notice_unwritten(self, log: Path, error: OSError) -> None:
        """Tell the user once that logs cannot be written."""
        if not self._unwritten:
            self._unwritten = True
            self._notice(f"{log} cannot be written: {error.strerror or error}. The run goes on, with incomplete logs")

    async def close(self) -> None:
        """End all processes, and the cluster too if it was started for this run."""
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(p.stop() for p in self._processes), return_exceptions=True)
        if self._ours and self.lost:
            atexit.unregister(_ray().shutdown)  # it would wait for the head
        elif self._ours:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await _apart(_ray().shutdown)
        self._connected = self._ours = False

    async def _watch(self) -> None:
        """Notice that the head is gone, before Ray ends this process without a word."""
        host, _, port = self._head.rpartition(":")
        silent_s = 0.0
        while silent_s < HEAD_S:
            await asyncio.sleep(2.0)
            try:
                async with asyncio.timeout(2.0):
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
                writer.close()
                silent_s = 0.0
            except (OSError, TimeoutError):
                silent_s += 2.0
        self._lose()

    def _lose(self) -> None:
        """Count the cluster and its processes as lost."""
        self.lost = True
        for process in self._processes:
            process.lose()
        for waiting in self._waiting:
            waiting.cancel()

    async def _unless_lost(self, awaited: Coroutine[Any, Any, T]) -> T:
        """Await something of the cluster; raises SetupError when the cluster is lost."""
        if self.lost:
            awaited.close()
            raise SetupError(_LOST)
        task = asyncio.ensure_future(awaited)
        self._waiting.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if not self.lost:
                raise
            raise SetupError(_LOST) from None
        finally:
            self._waiting.discard(task)


def node_address() -> str:
    """Return the address of this node, as other nodes of its cluster reach it."""
    address: str = _ray().util.get_node_ip_address()
    return address


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415 - 0.5 s that only a run on Ray should cost
    except ImportError:
        raise SetupError("`--on ray` needs Ray: pip install 'emdsl[ray]'") from None
    return ray


async def _connected(address: str | None) -> None:
    """Connect to a cluster, or start one; raises SetupError."""
    _ray()
    if address is not None and importlib.util.find_spec("grpc") is None:
        raise SetupError(f"`--on {address}` needs the client of Ray: pip install 'ray[client]'")
    head = client_address(address) if address is not None else os.environ.get("RAY_ADDRESS", "auto")
    if head != "auto":
        await _check_reachable(head)
    try:
        async with asyncio.timeout(CONNECT_S):  # Ray itself waits for minutes for a head that is silent
            await _apart(lambda: _init(head))
    except TimeoutError:
        raise SetupError(f"cannot connect to the Ray cluster `{head}`: no answer within {CONNECT_S:.0f} s") from None


async def _check_reachable(head: str) -> None:
    """Raise SetupError if nothing listens at the address of a head."""
    host, _, port = head.removeprefix("ray://").rpartition(":")
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError, TimeoutError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else first_line(error)
        raise SetupError(
            f"cannot connect to the Ray cluster `{head}`: {why}. Start its head with `ray start --head`, or use `--on "
            "ray` alone for a cluster on this machine"
        ) from None
    writer.close()


def _init(head: str) -> None:
    """Connect to the head of a cluster; "auto": to the cluster of this machine, after starting it if needed.

    Raises SetupError.
    """
    ray = _ray()
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)  # errors come as exceptions, and lost nodes are no news
    ray._private.worker._worker_logs_enabled = False  # noqa: SLF001 - else Ray prints logs of lost nodes among the results
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray warns of it
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.CRITICAL}
    try:
        try:
            ray.init(head, **quiet)
        except ConnectionError:
            if head != "auto":
                raise
            ray.init("local", include_dashboard=False, object_store_memory=OBJECTS, **quiet)
    except Exception as error:
        raise SetupError(f"cannot connect to the Ray cluster `{head}`: {first_line(error)}") from error


async def _apart(function: Callable[[], T]) -> T:
    """Call a function of Ray in a thread that no exit waits for: without a head it may not return."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # nobody takes it back from the thread

    def call() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            done.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return await asyncio.wrap_future(done)


def _kill(actor: Any) -> None:
    with suppress(Exception):  # it has died already, or the cluster is lost
        _ray().kill(actor)


async def _result(reference: Any) -> Any:
    return await asyncio.wrap_future(reference.future())


def _cause(error: Exception) -> str:
    """Return why a call to an actor failed."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, SetupError):
        return str(cause)
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.filename}: {cause.strerror}" if cause.filename else cause.strerror
    text = str(error)
    if "ModuleNotFoundError" in text or "failed to unpickle" in text.lower():
        return "a node lacks this version of emdsl: install it on all nodes of the cluster"
    return first_line(error)
