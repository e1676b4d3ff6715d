"""A team on three machines (network namespaces), with cut links, `kill -9` and a restarted server: `make stress`.

    team_network.py [ROUNDS]      of disturbances, 1 by default

Four processes on each machine run overlapping studies against one PostgreSQL and one server of models, which counts the
requests for each prompt. No request is sent twice, unless it was on its way when its machine lost its process or its
server; no answer that the server had is lost; a budget of the team is never exceeded; every machine replays all studies
offline in the end. Needs root, `ip` and PostgreSQL. Exits 1 at the first promise that does not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pg
from speed import HANG_S, SLACK, slowdown
from support import clean_environment

from emdsl.store.postgres import PostgresStore
from emdsl.store.shared import unshared

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = ("kill", "cut", "kill", "restart", "kill", "cut", "kill", "restart")
BETWEEN, PATIENCE_S = 60, 10.0  # requests from one disturbance to the next, and how long they are waited for
MACHINES, STUDIES = 3, 4
DATABASE_NET, MODEL_NET = "10.213.1", "10.213.2"  # of two bridges, whose first address is this machine's
N, OVERLAP = 700, 300  # questions of a study, and of those that the next study has too
JOBS = 8  # requests in flight of one process
LATENCY_S = (0.3, 0.6)
COST_USD = 0.02  # of one answer: 10 tokens in and 10 out at $1,000 per million
FIRST_BUDGET_USD = 12.0
CUT_S = (4.0, 16.0)  # a process notices a cut link after 11 s
SLOW = SLACK * slowdown().wall
LOST_S = 11.0 + 3.0 * SLOW  # how long a process may send on after its link is cut
ON_ITS_WAY_S = max(LATENCY_S) + 1.5 * SLOW  # from a request to its committed answer
STUDY = """em 1
model m {{
  use = "openai/gpt-4o-2024-08-06", url = "{url}", max_tokens = 20, price = {{ input: $1000, output: $1000 }}
}}
experiment e {{
  for q in {first}..{last}
  ask answer from m with "question {{q}}"
}}
"""


class Sent(NamedTuple):
    """A request that the server of models has received."""

    at: float
    machine: int
    prompt: str


class Event(NamedTuple):
    """A disturbance of some machines; what they send until `end` may be sent again."""

    begin: float
    end: float
    machines: tuple[int, ...]


class Models:
    """A server of models in a thread: it answers after a while, and keeps what it was asked."""

    def __init__(self, host: str) -> None:
        self.sent: list[Sent] = []
        self._host, self._port = host, 0
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        assert self._ready.wait(HANG_S)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    @property
    def charged_usd(self) -> float:
        return COST_USD * len(self.sent)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, self._host, 0, backlog=1_000)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine = int(writer.get_extra_info("peername")[0].rpartition(".")[2]) - 10
        rng = random.Random(machine)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next(int(x.partition(":")[2]) for x in lines if x.startswith("content-length:"))
                prompt = json.loads(await reader.readexactly(length))["messages"][-1]["content"]
                self.sent.append(Sent(time.time(), machine, prompt))
                await asyncio.sleep(rng.uniform(*LATENCY_S))
                usage = {"prompt_tokens": 10, "completion_tokens": 10}
                message = {"role": "assistant", "content": f"answer to {prompt}"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = json.dumps({"id": "1", "model": "m", "choices": [choice], "usage": usage}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                             % (len(body), body))  # fmt: skip
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Machine:
    """A network namespace with a link to the server of the store and one to the server of models."""

    def __init__(self, number: int, folder: Path, models: Models, url: str) -> None:
        self.number, self.folder = number, folder / f"machine{number}"
        self.name = f"emdsl{number}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: dict[str, list[tuple[int, str]]] = {}
        self.environment = clean_environment({
            "OPENAI_API_KEY": "sk-planted-0123456789", "EMDSL_STORE": url, "EMDSL_DISPLAY": "none",
        })  # fmt: skip
        self.folder.mkdir()
        (self.folder / "pyproject.toml").touch()
        for i in range(STUDIES):
            first = 1 + i * (N - OVERLAP)
            text = STUDY.format(url=models.url, first=first, last=first + N - 1)
            (self.folder / f"s{i}.em").write_text(text, encoding="utf-8")
        ip("netns", "add", self.name)
        for net, bridge in ((DATABASE_NET, "emdsldb"), (MODEL_NET, "emdslweb")):
            here, there = f"{bridge}{number}", f"e{number}"
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
            ip("link", "set", here, "master", bridge, "up")
            ip("-n", self.name, "link", "set", there, "name", f"to-{bridge}")
            ip("-n", self.name, "addr", "add", f"{net}.{10 + number}/24", "dev", f"to-{bridge}")
            ip("-n", self.name, "link", "set", f"to-{bridge}", "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def command(self, *args: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, sys.executable, "-m", "emdsl", *args]

    def start(self, study: str, *args: str) -> None:
        with (self.folder / f"{study}.err").open("wb") as errors:
            self.processes[study] = subprocess.Popen(
                self.command("run", f"{study}.em", "-j", str(JOBS), "--yes", "--no-batch", "--insecure", *args),
                cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip

    def look(self) -> None:
        """Note the processes that have ended."""
        for study, process in list(self.processes.items()):
            if process.poll() is not None:
                error = (self.folder / f"{study}.err").read_text(encoding="utf-8")
                assert "Traceback" not in error, error
                self.ended.setdefault(study, []).append((process.returncode, error))
                del self.processes[study]

    def is_done(self, study: str) -> bool:
        return any(code == 0 for code, _ in self.ended.get(study, ()))

    def start_missing(self) -> None:
        """Start the runs that are not under way, and have not ended whole."""
        for i in range(STUDIES):
            if f"s{i}" not in self.processes and not self.is_done(f"s{i}"):
                self.start(f"s{i}")

    def kill_one(self, rng: random.Random) -> None:
        for process in rng.sample(list(self.processes.values()), min(1, len(self.processes))):
            process.send_signal(signal.SIGKILL)

    def link(self, state: str) -> None:
        ip("link", "set", f"emdsldb{self.number}", state)

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def ip(*args: str) -> None:
    """Configure the network; raises CalledProcessError."""
    subprocess.run(["ip", *args], check=True, capture_output=True)


@contextmanager
def network() -> Iterator[None]:
    """Make two bridges; at the end, remove them and all namespaces."""
    try:
        for net, bridge in ((DATABASE_NET, "emdsldb"), (MODEL_NET, "emdslweb")):
            ip("link", "add", bridge, "type", "bridge")
            ip("addr", "add", f"{net}.1/24", "dev", bridge)
            ip("link", "set", bridge, "up")
        yield
    finally:
        for kind in (["netns", "del", f"emdsl{i}"] for i in range(MACHINES)):
            subprocess.run(["ip", *kind], check=False, capture_output=True)
        for bridge in ("emdsldb", "emdslweb"):
            subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


def main(rounds: int) -> None:
    """Disturb the team, then let it finish, and check what it promises."""
    begin = time.monotonic()
    pg.SETTINGS["max_connections"] = 400
    with tempfile.TemporaryDirectory() as folder, network():
        server = pg.Server(listen=f"{DATABASE_NET}.1")
        models = Models(f"{MODEL_NET}.1")
        url = server.new_database()
        machines = [Machine(i, Path(folder), models, url) for i in range(MACHINES)]
        try:
            kills = spend_a_budget(machines, models)
            events, seen = disturb(machines, models, server, url, rounds)
            finish(machines, models)
            check(machines, models, url, kills + events, seen)
        finally:
            for machine in machines:
                machine.kill()
            server.remove()
    print(f"the whole test took {time.monotonic() - begin:.0f} s")


def spend_a_budget(machines: list[Machine], models: Models) -> list[Event]:
    """Let all processes spend one budget until nothing is left of it, and kill some of them."""
    called = machines[0].command("cache", "budget", "lab", str(FIRST_BUDGET_USD))
    subprocess.run(called, check=True, cwd=machines[0].folder, env=machines[0].environment, stdout=subprocess.DEVNULL)
    for machine in machines:
        for i in range(STUDIES):
            machine.start(f"s{i}", "--budget", "lab")
    rng, kills, end = random.Random(1), list[Event](), time.monotonic() + 2 * HANG_S
    while any(m.processes for m in machines):
        assert time.monotonic() < end, "the runs do not end with their budget"
        time.sleep(0.2)
        if len(kills) < 2 and models.charged_usd > FIRST_BUDGET_USD * (len(kills) + 1) / 4:
            machine = rng.choice([m for m in machines if m.processes])
            machine.kill_one(rng)
            kills.append(Event(time.time(), time.time(), (machine.number,)))
        for machine in machines:
            machine.look()
    assert models.charged_usd <= FIRST_BUDGET_USD, f"{models.charged_usd} of {FIRST_BUDGET_USD} dollars"
    wrong = [ended for m in machines for all_ in m.ended.values() for ended in all_ if ended[0] not in {3, -9}]
    assert not wrong, wrong[0]
    print(f"{MACHINES * STUDIES} runs spent ${models.charged_usd:.2f} of ${FIRST_BUDGET_USD:.2f}, {len(kills)} killed")
    for machine in machines:
        machine.ended.clear()
    return kills


def disturb(
    machines: list[Machine], models: Models, server: pg.Server, url: str, rounds: int
) -> tuple[list[Event], dict[bytes, bytes]]:
    """Kill processes, cut links and restart the server, while runs that have ended are started again."""
    rng, events, seen = random.Random(7), list[Event](), dict[bytes, bytes]()
    cut: dict[int, float] = {}  # machines without a link, and until when
    left, n_sent, patience = list(EVENTS * rounds), len(models.sent), time.monotonic() + PATIENCE_S
    while left or cut:
        for machine in machines:
            machine.look()
            if machine.number in cut and cut[machine.number] < time.monotonic():
                machine.link("up")
                del cut[machine.number]
            if machine.number not in cut:
                machine.start_missing()
        time.sleep(0.05)
        if not left or (len(models.sent) < n_sent + BETWEEN and time.monotonic() < patience):
            continue
        now, kind = time.time(), left.pop(0)
        machine = rng.choice([m for m in machines if m.number not in cut and m.processes] or machines)
        seen |= stored(url)
        if kind == "kill":
            machine.kill_one(rng)
            events.append(Event(now, now, (machine.number,)))
        elif kind == "cut":
            machine.link("down")
            cut[machine.number] = time.monotonic() + rng.uniform(*CUT_S)
            events.append(Event(now, now + LOST_S, (machine.number,)))
        else:
            rng.choice([server.stop, server.kill])()
            time.sleep(rng.uniform(0.0, 1.0))
            server.start()
            events.append(Event(now, time.time() + 1.0, tuple(range(MACHINES))))
        n_sent, patience = len(models.sent), time.monotonic() + PATIENCE_S
    n = Counter(EVENTS * rounds)
    print(f"disturbed by {n['kill']} kills -9, {n['cut']} cut links and {n['restart']} restarts of the server")
    return events, seen


def finish(machines: list[Machine], models: Models) -> None:
    """Let each study end on each machine."""
    end = time.monotonic() + 2 * HANG_S
    while not all(m.is_done(f"s{i}") for m in machines for i in range(STUDIES)):
        assert time.monotonic() < end, "some runs do not end"
        for machine in machines:
            machine.look()
            machine.start_missing()
        time.sleep(0.2)
    wrong = [ended for m in machines for all_ in m.ended.values() for ended in all_ if ended[0] not in {0, 3, -9}]
    assert not wrong, wrong[0]
    print(f"all runs have ended whole, {len(models.sent):,} requests were sent")


def check(machines: list[Machine], models: Models, url: str, events: list[Event], seen: dict[bytes, bytes]) -> None:
    """Compare what was sent with what is stored."""
    n_questions = N + (STUDIES - 1) * (N - OVERLAP)
    there = stored(url)
    lost = [key.hex()[:16] for key, entry in seen.items() if there.get(key) != entry]
    assert not lost, f"acknowledged answers are gone: {lost}"
    assert len(there) == n_questions, (len(there), n_questions)
    sent: dict[str, list[Sent]] = {}
    for request in models.sent:
        sent.setdefault(request.prompt, []).append(request)
    assert len(sent) == n_questions
    excused = 0
    for requests in sent.values():
        for request in sorted(requests)[:-1]:
            assert any(_on_its_way(request, event) for event in events), f"{request} was sent twice"
            excused += 1
    for machine in machines:
        kept = sum(len(part) for part in unshared(machine.folder / "cache" / "answers"))
        assert not kept, f"machine {machine.number} keeps {kept} answers from the team"
        for i in range(STUDIES):
            called = machine.command("run", f"s{i}.em", "--offline", "--json")
            done = subprocess.run(called, cwd=machine.folder, env=machine.environment, check=True, capture_output=True)
            assert json.loads(done.stdout)["requests"] == 0
    print(f"{n_questions:,} answers: none was sent twice but {excused} that were on their way, none is lost, "
          f"and {MACHINES} machines replay {STUDIES} studies offline")  # fmt: skip


def _on_its_way(request: Sent, event: Event) -> bool:
    """Whether the server may not have had the answer to a request when its machine was disturbed."""
    return request.machine in event.machines and event.begin - ON_ITS_WAY_S <= request.at <= event.end


def stored(url: str) -> dict[bytes, bytes]:
    """Return the entries of the team's store."""
    with closing(PostgresStore(url, read_only=True)) as store:
        return {key: entry for key, entry in store.each() if entry is not None}


if __name__ == "__main__":
    if os.getuid():
        sys.exit("network namespaces need root")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
