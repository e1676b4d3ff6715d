"""What tests share: programs from text, a provider without a network, runs in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, AnyStr

from forked import call
from speed import HANG_S

from emdsl.compiler.compile import compile_source
from emdsl.judge import read
from emdsl.providers.openai import encode, read_reply
from emdsl.reasoning import split
from emdsl.run.executor import Executor
from emdsl.run.passes import collect
from emdsl.run.probes import PROMPT as PROBE_PROMPT
from emdsl.run.retries import RetryPolicy
from emdsl.run.rows import Rows, Selection
from emdsl.sim.server import complete
from emdsl.source import Source
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from emdsl.experiment import Experiment, Program
    from emdsl.judge import Verdict
    from emdsl.outcome import Outcome
    from emdsl.query import Model, Query, Response
    from emdsl.reply_format import ReplyFormat
    from emdsl.run.progress import Report
    from emdsl.store.store import Store

ROOT = Path(__file__).parents[1]
THOROUGH = "THOROUGH" in os.environ  # `make stress` tries every case of tests that else try some
SHOTS = "q,a\n" + "".join(f"q{i},a{i}\n" for i in range(12))  # shots.csv of the study below
SHOTS_STUDY = """em 1
import alignment, coherence from "std:judges@1"
model subject { use = "sim/subject", temperature = 1 }
dataset data { file = "shots.csv", columns = { user: "q", assistant: "a" } }
prompt shots_then(shots, question) {
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
experiment e {
  for k in [0, 2]
  for q in ["one", "two"]
  samples = 10
  let shots = draw(data, k, seed: sample)
  ask answer from subject with shots_then(shots, q)
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 30) by k
}
"""


def source(text: str, folder: Path | None = None) -> Source:
    """Return a program's text with its edition, its margin taken off."""
    text = textwrap.dedent(text).lstrip("\n")
    if not text.startswith("em "):
        text = "em 1\n" + text
    return Source("test.em", text, (folder / "test.em") if folder else None)


def program(text: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Program:
    """Compile a text; raises SourceError."""
    return compile_source(source(text, folder), {} if environment is None else environment)


def experiment(text: str, folder: Path | None = None) -> Experiment:
    """Compile a text that holds one experiment."""
    (only,) = program(text, folder).experiments
    return only


class InProcess:
    """The simulator without a socket: a provider that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()  # by model, without the probes of judges
        self.probes = 0
        self.keys: list[bytes] = []

    @property
    def n(self) -> int:
        return self.asked.total()

    def accounts(self, _: Model) -> int:
        return 1

    def usable(self, _: Model, __: int) -> bool:
        return True

    async def ask(self, query: Query, *_: Any) -> Response:
        if query.prompt.messages == PROBE_PROMPT.messages:
            self.probes += 1
        else:
            self.asked[query.settings.model.wire_name] += 1
            self.keys.append(query.key)
        body = json.loads(encode(query))
        found = read_reply(complete(body, f"{query.sample}:{query.settings.replicate}"))
        return dataclasses.replace(found, answered_at=time.time())


def run(
    found: Program | str,
    store: Store | None = None,
    provider: Any = None,
    *,
    selection: Selection | None = None,
    folder: Path | None = None,
) -> tuple[Any, Report]:
    """Run a program in memory; return the provider that was asked, and the report."""
    compiled = program(found, folder) if isinstance(found, str) else found
    provider = provider or InProcess()
    walks = [Rows(e, selection) for e in compiled.experiments]

    async def main() -> Report:
        executor = Executor(
            walks,
            store if store is not None else MemoryStore(),
            provider,
            connections=16,
            retry_policy=RetryPolicy(max_wait_s=5),
            run="test",
        )
        return await executor.run()

    return provider, asyncio.run(main())


def outcomes(found: Experiment, store: Store) -> list[Outcome]:
    """Return all rows of an experiment, settled from a store."""
    return [row for rows in collect(Rows(found), store, {}) for row in rows]


def keys(found: Program | str, folder: Path | None = None) -> list[str]:
    """Return the keys of all requests that need no answer, sorted."""
    compiled = program(found, folder) if isinstance(found, str) else found
    all_keys = set()
    for e in compiled.experiments:
        walk = Rows(e)
        for row in walk.selected():
            all_keys |= {query.key.hex() for _, query in walk.advance(row)}
    return sorted(all_keys)


def emdsl(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
    timeout: float = HANG_S,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, forked from one that has imported it; check its exit code."""
    done = call([*map(str, args)], cwd=cwd, env=clean_environment(env), stdin=stdin, timeout_s=timeout)
    if code is not None:
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without what could change a test's outcome."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EMDSL_") and "API_KEY" not in k}
    return kept | {"PYTHONPATH": str(ROOT)} | dict(env or {})


@contextmanager
def simulator(*args: str) -> Iterator[str]:
    """Serve the simulator in a process of its own; yield its URL."""
    server = subprocess.Popen(
        [sys.executable, "-m", "emdsl", "sim", "serve", *args],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(HANG_S)
        assert server.stdout is not None
        server.stdout.close()


def communicated(process: subprocess.Popen[AnyStr], timeout_s: float = HANG_S) -> tuple[AnyStr, AnyStr]:
    """Wait until a process ends; return its output and its errors. One that hangs is killed, and none is left over.

    Raises:
        AssertionError: It did not end in time; with what it has printed.
    """
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the process did not end within {timeout_s:g} s:\n{out!s}\n{err!s}") from None
    return out, err


def until(condition: Callable[[], Any], timeout_s: float = HANG_S) -> Any:
    """Wait until a condition holds; return its value.

    Raises:
        AssertionError: It does not hold in time.
    """
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout_s:g} s in vain"
        time.sleep(0.01)
    return value


def verdict_of(reply: Response, reply_format: ReplyFormat) -> Verdict:
    """Read a judge's whole reply: its reasoning is split off first, as a run does."""
    return read(reply, split(reply)[0], reply_format)


def stats(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as reply:
        found: dict[str, int] = json.load(reply)
        return found
