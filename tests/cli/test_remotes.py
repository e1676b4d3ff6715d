"""`cache push`, `pull`, `add`, `remotes` and `remove` over S3's wire and a web server, as users call them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support import clean_environment, emdsl, simulator, stats
from web_folder import served

from emdsl.errors import UsageError
from emdsl.study.project import open_project
from emdsl.study.remotes import add, pull, push, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STUDY = """em 1
model m { use = "sim/subject", temperature = 1 }
experiment e {
  for q in ["one", "two"]
  samples = 5
  ask answer from m with "{q}?"
  measure n = rate(answer == "no") by q
}
"""
OF_SERVER = STUDY.replace('"sim/subject"', '"openai-api/lab/m", url = "URL", key = env.LAB_API_KEY')
SECRET = "do-not-tell-anybody-0123"
thorough = pytest.mark.thorough(only="a real server of S3, kills and passphrases")


@pytest.fixture
def paid(tmp_path: Path) -> Path:
    """Return the folder of a project whose answers are there."""
    folder = tmp_path / "paid"
    folder.mkdir()
    (folder / "study.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "study.em", cwd=folder)
    return folder


def copied(paid: Path, name: str) -> Path:
    """Return another machine's folder: with the study, without answers."""
    folder = paid.parent / name
    folder.mkdir()
    shutil.copy(paid / "study.em", folder)
    return folder


def counts(folder: Path, *args: str, env: dict[str, str] | None = None) -> tuple[int, int]:
    """Return how many requests of a run were sent, and how many were cached."""
    (step,) = found(folder, *args, env=env)["experiments"][0]["steps"]
    return step["answered"], step["cached"]


def found(folder: Path, *args: str, env: dict[str, str] | None = None) -> Any:
    return json.loads(emdsl(*args, "--json", cwd=folder, env=env).stdout)


def test_reviewers_replay_a_study_from_a_web_server(paid: Path) -> None:
    """They add it once; plan, show and run take its answers, nothing is sent, and nothing is fetched twice."""
    packs, reviewer = paid.parent / "packs", copied(paid, "reviewer")
    assert emdsl("cache", "push", "../packs", "study.em", cwd=paid).stdout == "10 answers sent\n"
    with served(packs) as web:
        added = emdsl("cache", "add", web.url, "--name", "paper", cwd=reviewer).stdout
        assert added.startswith(f"paper: 10 answers in 1 pack at {web.url}\n")
        assert "Nothing is pending" in emdsl("plan", "study.em", cwd=reviewer).stdout
        sent = web.sent
        assert counts(reviewer, "run", "study.em") == (0, 10)
        assert web.sent == sent
        (reviewer / "study.em").write_text(STUDY.replace("samples = 5", "samples = 6"), encoding="utf-8")
        assert counts(reviewer, "run", "study.em") == (2, 10)
        (remote,) = found(reviewer, "cache", "remotes")["remotes"]
        assert (remote["name"], remote["url"], remote["answers"]) == ("paper", web.url, 10)
    assert "\n(no record here) " in emdsl("cache", "stats", cwd=reviewer).stdout, "a machine elsewhere has paid"
    emdsl("cache", "remove", "paper", cwd=reviewer)
    assert emdsl("cache", "remotes", cwd=reviewer).stdout == "no remotes; `emdsl cache add URL` adds one\n"
    assert emdsl("run", "--offline", "study.em", cwd=reviewer)


@thorough
def test_nothing_is_paid_for_while_a_remote_is_away(paid: Path) -> None:
    """A run stops with 3 before it sends; a plan warns; both go on without the remote if the user wants that."""
    packs, other = paid.parent / "packs", copied(paid, "other")
    push(open_project(paid), str(packs))
    with served(packs) as web:
        emdsl("cache", "add", web.url, cwd=other)
        name = web.url.removeprefix("http://").replace(":", "-")
    refused = emdsl("run", "study.em", cwd=other, code=3)
    assert f"the remote `{name}` may hold answers that are missing here" in refused.stderr
    assert "Nothing was written" in emdsl("cache", "export", "study.em", "-o", "x", cwd=other, code=3).stderr
    planned = emdsl("plan", "study.em", cwd=other)
    assert f"warning: the remote `{name}` may hold answers that are shown as pending" in planned.stderr
    assert "--by AXIS" in planned.stdout
    assert emdsl("run", "study.em", "--offline", cwd=other, code=3).stderr.count("remote") == 0
    assert emdsl("plan", "study.em", "--without-remotes", cwd=other).stderr.count("remote") == 0
    assert counts(other, "run", "study.em", "--without-remotes") == (10, 0)
    assert counts(other, "run", "study.em") == (0, 10), "nothing is missing, so no remote is needed"


@thorough
def test_two_machines_share_a_folder(paid: Path) -> None:
    """Each pushes what the other one lacks, and pulls the rest, once."""
    packs, other = str(paid.parent / "packs"), copied(paid, "other")
    (other / "study.em").write_text(STUDY.replace('"two"', '"three"'), encoding="utf-8")
    emdsl("run", "study.em", cwd=other)
    one, two = open_project(paid), open_project(other)
    exchanged = [push(one, packs), push(two, packs), pull(one, packs), pull(two, packs), pull(two, packs)]
    assert [(e.new, e.known) for e in exchanged] == [(10, 0), (5, 5), (5, 10), (5, 10), (0, 15)]
    shutil.rmtree(other / "cache" / "answers")
    assert pull(two, packs).new == 15, "another store has none of them"


@pytest.mark.parametrize(
    ("call", "args", "error"),
    [
        (push, ("https://example.org/x",), "is read-only: push to a bucket or a folder"),
        (pull, ("nowhere",), "is not a folder; a remote is s3://BUCKET/PATH"),
        (pull, ("ftp://x",), "`ftp://x` is not a remote"),
        (add, ("http://example.org/x",), "http://example.org/x is not encrypted: use https"),
        (add, (f"https://joe:{SECRET}@example.org/x",), "credentials belong into the environment or `.env`"),
        (add, (f"https://example.org/x?sig={SECRET}",), "credentials belong into the environment or `.env`"),
        (remove, ("nothing",), "unknown remote `nothing`; the cache looks up no remote"),
    ],
)
def test_calls_that_cannot_work(tmp_path: Path, call: Callable[..., object], args: tuple[str], error: str) -> None:
    """They name the thing, the place and the way, and no password."""
    with pytest.raises(UsageError) as refused:
        call(open_project(tmp_path), *args)
    assert error in str(refused.value)
    assert SECRET not in str(refused.value)
    with pytest.raises(UsageError, match="leave out --sim"):
        call(open_project(tmp_path, simulate=True), *args)


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """Serve buckets on loopback, with one named `lab`; yield the variables of a client."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - half a second, for `make stress`

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server._server.port}"  # type: ignore[union-attr]  # it is started
    for path, method in (("moto-api/reset", "POST"), ("lab", "PUT")):  # its buckets outlive its servers
        urllib.request.urlopen(urllib.request.Request(f"{url}/{path}", method=method)).close()
    try:
        yield {
            "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }  # fmt: skip
    finally:
        server.stop()


@thorough
def test_a_bucket(paid: Path) -> None:
    """Answers go there and come from there; variables may be in `.env`; the secret is in no file and no message."""
    other = copied(paid, "other")
    with s3() as env:
        assert found(paid, "cache", "push", "s3://lab/emdsl", env=env) == {"new": 10, "known": 0, "damaged": 0}
        assert found(paid, "cache", "push", "s3://lab/emdsl", env=env) == {"new": 0, "known": 10, "damaged": 0}
        (other / ".env").write_text("".join(f"{n}={v}\n" for n, v in env.items()), encoding="utf-8")
        emdsl("cache", "add", "s3://lab/emdsl", cwd=other)
        assert counts(other, "run", "study.em") == (0, 10)
        assert found(other, "cache", "pull", "lab")["known"] == 10
        for bucket, error in (("s3://nope/x", "the bucket does not exist"), ("s3://lab/y", "is not a remote")):
            assert error in emdsl("cache", "pull", bucket, cwd=paid, env=env, code=1).stderr
        half = {name: value for name, value in env.items() if name != "AWS_ACCESS_KEY_ID"}
        assert "AWS_SKIP_SIGNATURE=true" in emdsl("cache", "pull", "s3://lab/x", cwd=paid, env=half, code=1).stderr
    away = emdsl("cache", "pull", "s3://lab/emdsl", cwd=paid, env=env, code=3)
    assert away.stderr == "error: s3://lab/emdsl cannot be reached: no connection\n"
    for file in (p for p in (other / "cache").rglob("*") if p.is_file()):
        assert SECRET.encode() not in file.read_bytes()


@thorough
def test_an_encrypted_bucket(paid: Path) -> None:
    """Whoever has the passphrase reads it, and nobody else."""
    other = copied(paid, "other")
    with s3() as env:
        opens = env | {"EMDSL_PASSPHRASE": SECRET}
        assert found(paid, "cache", "push", "s3://lab/sealed", "--encrypt", env=opens)["new"] == 10
        refused = emdsl("cache", "pull", "s3://lab/sealed", cwd=other, env=env, code=1)
        assert "is encrypted: set its passphrase as EMDSL_PASSPHRASE" in refused.stderr
        wrong = emdsl("cache", "pull", "s3://lab/sealed", cwd=other, env=env | {"EMDSL_PASSPHRASE": "no"}, code=1)
        assert "wrong passphrase" in wrong.stderr
        emdsl("cache", "add", "s3://lab/sealed", cwd=other, env=opens)
        assert counts(other, "run", "study.em", env=opens) == (0, 10)
        assert found(paid, "cache", "push", "s3://lab/sealed", env=opens)["known"] == 10


def test_a_passphrase_is_never_ignored(paid: Path) -> None:
    """An option with a passphrase never leads to readable answers. The variable may belong to other remotes."""
    copied(paid, "other")
    shutil.copytree(paid / "cache", paid.parent / "other" / "cache")
    push(open_project(paid), str(paid / "plain"))
    for target, more, error in (
        ("new", [], "new has no answers yet, and its first push decides whether it is encrypted: add --encrypt"),
        ("plain", [], "plain is not encrypted, and its first push decided that: leave out --passphrase"),
        ("plain", ["--encrypt"], "plain is not encrypted, and its first push decided that: leave out --encrypt"),
        ("../other/cache", [], "only packs can be encrypted: leave out --passphrase"),
        ("../other/cache", ["--encrypt"], "only packs can be encrypted: leave out --encrypt"),
    ):
        refused = emdsl("cache", "push", target, *more, "--passphrase", SECRET, cwd=paid, code=2).stderr
        assert refused.startswith(f"error: {more[0] if more else '--passphrase'}: ")
        assert error in refused
        assert SECRET not in refused
        assert target != "new" or not list((paid / "new").rglob("*.*")), "nothing readable is there"
        if not more:
            assert found(paid, "cache", "push", target, env={"EMDSL_PASSPHRASE": SECRET})["damaged"] == 0
    refused = emdsl("cache", "export", "study.em", "-o", "x", "--passphrase", SECRET, cwd=paid, code=2).stderr
    assert refused.startswith("error: --passphrase: it encrypts nothing without --encrypt: add it")
    assert not (paid / "x").exists()


@thorough
def test_a_passphrase_opens_the_remote_of_a_push(paid: Path) -> None:
    """The option alone is enough, as the variable is, and has precedence over it."""
    assert found(paid, "cache", "push", "sealed", "--encrypt", "--passphrase", SECRET)["new"] == 10
    assert "set its passphrase" in emdsl("cache", "push", "sealed", cwd=paid, code=1).stderr
    other = {"EMDSL_PASSPHRASE": "of another remote"}
    assert found(paid, "cache", "push", "sealed", "--passphrase", SECRET, env=other)["known"] == 10
    (paid / "study.em").write_text(STUDY.replace("samples = 5", "samples = 6"), encoding="utf-8")
    emdsl("run", "study.em", cwd=paid)
    assert found(paid, "cache", "push", "sealed", "--passphrase", SECRET, env=other)["new"] == 2


@thorough
def test_pushes_that_meet_and_pushes_that_are_killed(paid: Path) -> None:
    """Pushers lose nothing of each other; a killed one leaves nothing half, and the next one makes it whole."""
    with s3() as env:
        pushers = [copied(paid, f"pusher{i}") for i in range(3)]
        for i, folder in enumerate(pushers):
            text = STUDY.replace('"two"', f'"two{i}"').replace("samples = 5", "samples = 300")
            (folder / "study.em").write_text(text, encoding="utf-8")
            emdsl("run", "study.em", cwd=folder)
        command = [sys.executable, "-m", "emdsl", "cache", "push", "s3://lab/emdsl"]
        environment = clean_environment(env)
        for pause in (0.3, 0.5, 0.6, 0.7, 0.8, 1.0):
            started = [subprocess.Popen(command, cwd=f, env=environment, stderr=-3, stdout=-3) for f in pushers]
            time.sleep(pause)
            for process in started:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        started = [subprocess.Popen(command, cwd=f, env=environment, stdout=-3) for f in pushers]
        assert [process.wait() for process in started] == [0, 0, 0]
        reader = copied(paid, "reader")
        assert found(reader, "cache", "pull", "s3://lab/emdsl", env=env)["new"] == 300 + 3 * 300
        assert found(reader, "cache", "verify")["damaged"] == []


@thorough
def test_a_run_sends_what_no_remote_has(tmp_path: Path) -> None:
    """The server sees the requests that nobody paid for, each once. A replay needs no API key and no server."""
    with simulator("--port", "0") as url, s3() as env:
        first, second = tmp_path / "first", tmp_path / "second"
        keyed = env | {"LAB_API_KEY": "sk-123456789012"}
        for folder, samples in ((first, 3), (second, 5)):
            folder.mkdir()
            text = OF_SERVER.replace("URL", url).replace("samples = 5", f"samples = {samples}")
            (folder / "study.em").write_text(text, encoding="utf-8")
        assert counts(first, "run", "study.em", env=keyed) == (6, 0)
        emdsl("cache", "push", "s3://lab/emdsl", cwd=first, env=env)
        emdsl("cache", "add", "s3://lab/emdsl", cwd=second, env=env)
        assert counts(second, "run", "study.em", env=keyed) == (4, 6)
        assert stats(url)["requests"] == 10
        emdsl("cache", "push", "s3://lab/emdsl", cwd=second, env=env)
        shutil.rmtree(second / "cache" / "answers")
        assert counts(second, "run", "study.em", env=env) == (0, 10)
        assert stats(url)["requests"] == 10
