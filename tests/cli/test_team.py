"""A team's store by the command line: paid once, replayed anywhere, and nothing lost while its server is away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pg
import pytest
from support import clean_environment, communicated, emdsl, simulator, stats

import emdsl as emdsl_
from emdsl.errors import UsageError
from emdsl.store.postgres_schema import roles_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = {"OPENAI_API_KEY": "sk-planted-0123456789"}
PASSWORD = "planted-password-42"
STUDY = """em 1
model m {{ use = "openai/gpt-4o-2024-08-06", url = "{url}", max_tokens = 50, price = {{ input: $10, output: $100 }} }}
experiment e {{
  for q in 1..{n}
  ask answer from m with "question {{q}}"
}}
"""
pytestmark = pg.NEEDED
thorough = pytest.mark.thorough(only="it takes seconds")


class Team:
    """Machines with one store and one server of models."""

    def __init__(self, folder: Path, url: str, models: str) -> None:
        self.folder, self.url, self.models = folder, url, models

    def machine(self, name: str, n: int = 4) -> Path:
        """Return the project folder of a machine, with a study of n requests."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").touch()
        (folder / "s.em").write_text(STUDY.format(url=self.models, n=n), encoding="utf-8")
        (folder / ".env").write_text(f"EMDSL_STORE={self.url}\n", encoding="utf-8")
        return folder

    def json(self, machine: Path, *args: str, code: int = 0) -> Any:
        return json.loads(emdsl(*args, "--json", cwd=machine, env=KEY, code=code).stdout)

    def start(self, machine: Path, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "emdsl", "run", "s.em", "--yes", *args], cwd=machine, text=True,
            env=clean_environment(KEY), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with simulator("--latency", "0.2") as models:
        yield Team(tmp_path, pg.new_database(), models)


def test_a_team_pays_once_and_replays_without_its_server(team: Team) -> None:
    a, b = team.machine("a"), team.machine("b")
    assert team.json(a, "run", "s.em", "--store", "local")["requests"] == 4
    pushed = emdsl("cache", "push", cwd=a, env=KEY)
    assert pushed.stdout == "4 answers sent\n"
    assert team.json(b, "run", "s.em")["requests"] == 0
    for machine, study in ((a, "s"), (b, "(another machine)")):
        assert f"\n{study} " in emdsl("cache", "stats", cwd=machine, env=KEY).stdout
    pg.server().stop()
    try:
        team.machine("b", 5)
        away = emdsl("run", "s.em", cwd=b, env=KEY, code=3)
        assert "cannot be reached" in away.stderr
        assert "emdsl run --offline" in away.stderr
        team.machine("b", 4)
        assert team.json(b, "run", "s.em", "--offline")["experiments"][0]["steps"][0]["cached"] == 4
    finally:
        pg.server().start()
    assert stats(team.models)["requests"] == 4


def test_a_store_of_the_command_line_is_repeated_once_and_not_empty(team: Team) -> None:
    a = team.machine("a", 1)
    planned = emdsl("plan", "s.em", "--samples", "1", "--pilot", "--store", team.url, cwd=a, env=KEY)
    (line,) = [line for line in planned.stdout.splitlines() if "Run: " in line]
    assert line.split("      ")[0] == f"Run: emdsl run s.em --store {team.url} --samples 1 --pilot"
    assert "it is empty" in emdsl("plan", "s.em", "--store", "", cwd=a, env=KEY, code=2).stderr


def test_python_spends_a_budget_of_the_team(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget is named as on the command line, and the spending of other machines counts."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY["OPENAI_API_KEY"])
    a, b = (emdsl_.open(team.machine(name, 1) / "s.em") for name in "ab")
    assert a.plan(budget="lab=2").budget == 2
    run = a.run(budget="lab=2", display="none")
    left = b.plan(budget="lab").budget
    assert left is not None
    assert float(left) == pytest.approx(2 - run.spent_usd)
    assert 0 < run.spent_usd < 2
    with pytest.raises(UsageError, match=r"budget `lab` is \$2\.00, not \$3\.00"):
        a.run(budget="lab=3")


@thorough
def test_what_arrives_while_the_server_is_away_is_sent_by_the_next_run(team: Team) -> None:
    a, b = team.machine("a", 400), team.machine("b", 400)
    running = team.start(a, "-j", "20")
    while stats(team.models).get("requests", 0) < 60:
        time.sleep(0.05)
    pg.server().kill()
    try:
        _, error = communicated(running)
        n_sent = stats(team.models)["requests"]
        assert running.returncode == 3, error
        assert "kept on this machine" in error
        assert n_sent < 400
    finally:
        pg.server().start()
    continued = emdsl("run", "s.em", cwd=a, env=KEY)
    assert "answers that only this machine had were sent" in continued.stderr
    assert stats(team.models)["requests"] == 400
    assert team.json(b, "run", "s.em")["requests"] == 0


@thorough
def test_a_budget_is_spent_by_all_runs_that_name_it(team: Team) -> None:
    a, b = team.machine("a", 60), team.machine("b", 60)
    (b / "s.em").write_text((a / "s.em").read_text(encoding="utf-8").replace("question", "other"), encoding="utf-8")
    runs = [team.start(machine, "--no-batch", "--budget", "pilot=0.07") for machine in (a, b)]
    errors = [communicated(run)[1] for run in runs]
    assert [run.returncode for run in runs] == [3, 3], errors
    (budget,) = team.json(a, "cache", "budgets")["budgets"]
    assert 0.05 < budget["spent_usd"] <= budget["limit_usd"] == 0.07  # one run alone costs more
    assert budget["held"] == []
    wrong = emdsl("run", "s.em", "--budget", "pilot=2", cwd=a, env=KEY, code=2)
    assert "`emdsl cache budget pilot 2`" in wrong.stderr
    assert "did you mean `pilot`?" in emdsl("run", "s.em", "--budget", "pilt", cwd=a, env=KEY, code=2).stderr
    assert "of a team" in emdsl("run", "s.em", "--budget", "p=2", "--store", "local", cwd=a, env=KEY, code=2).stderr
    spent = emdsl("run", "s.em", "--no-batch", "--budget", "pilot=0.07", cwd=a, env=KEY, code=3)
    assert "Continue: emdsl run s.em --budget pilot --no-batch\n" in spent.stdout  # whatever its limit is then
    emdsl("cache", "budget", "pilot", "2", cwd=b)
    emdsl("run", "s.em", "--no-batch", "--budget", "pilot", cwd=a, env=KEY)
    (budget,) = team.json(a, "cache", "budgets")["budgets"]
    entries = team.json(a, "cache", "stats")["entries"]
    assert sum(e["entries"] for e in entries) == stats(team.models)["requests"]


@thorough
def test_verbs_of_the_cache_work_on_the_store_of_the_team(team: Team) -> None:
    a, b, alone = team.machine("a"), team.machine("b"), team.machine("alone", 6)
    emdsl("run", "s.em", cwd=a, env=KEY)
    assert team.json(b, "cache", "verify")["entries"] == 4
    assert team.json(b, "cache", "pull") == {"new": 4, "known": 0, "damaged": 0}
    dropped = team.json(b, "cache", "drop", "--where", "true", "--yes")["removal"]
    assert team.json(a, "plan", "s.em")["requests"] == 4
    assert team.json(a, "cache", "restore", dropped) == {"restored": 4, "answered_since": 0}
    assert team.json(b, "plan", "s.em")["requests"] == 0
    emdsl("run", "s.em", "--store", "local", cwd=alone, env=KEY)
    assert team.json(alone, "cache", "push", team.url, "s.em", "--store", "local") == {
        "new": 2, "known": 4, "damaged": 0,
    }  # fmt: skip
    assert team.json(a, "cache", "merge", "../alone/cache") == {"new": 0, "known": 6, "damaged": 0}
    team.machine("b", 2)
    removed = team.json(b, "cache", "gc", "s.em", "--yes")
    assert (removed["reachable"], removed["moved"]) == (2, 4)
    assert team.json(b, "cache", "purge", "--yes") == {"entries": 4, "purged": True}
    assert team.json(a, "plan", "s.em")["requests"] == 2
    assert team.json(a, "run", "s.em", "--sim")["requests"] == 4  # simulated answers stay on this machine
    assert team.json(b, "cache", "verify")["entries"] == 2


@thorough
@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        (f"mysql://ada:{PASSWORD}@db.lab/answers", 2, "`mysql://ada@db.lab/answers` is not a URL of PostgreSQL"),
        (f"postgresql://ada:{PASSWORD}@no-such-host.example/answers", 3, "cannot be reached"),
        (f"postgresql://ada:{PASSWORD}@127.0.0.1:1/answers", 3, "Connection refused"),
        (f"postgresql://ada:{PASSWORD}@HOST/no_such_database", 1, "does not exist"),
        (f"postgresql://nobody:{PASSWORD}@HOST/postgres", 1, "does not exist"),
        ("postgresql://ada@HOST", 1, "names no database"),
    ],
)  # fmt: skip
def test_a_wrong_store_is_told_without_its_password(tmp_path: Path, url: str, code: int, message: str) -> None:
    server = pg.server()
    if not server.sql("SELECT 1 FROM pg_roles WHERE rolname = 'ada'"):
        server.sql("CREATE ROLE ada LOGIN")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.em").write_text(STUDY.format(url="http://127.0.0.1:1/v1", n=1), encoding="utf-8")
    where = url.replace("HOST", f"{server.listen}:{server.port}")
    done = emdsl("run", "s.em", "--store", where, cwd=tmp_path, env=KEY, code=code)
    assert message in done.stderr
    assert PASSWORD not in done.stderr + done.stdout


@thorough
def test_a_reader_replays_and_cannot_pay(team: Team) -> None:
    a, reader = team.machine("a"), team.machine("reader")
    emdsl("run", "s.em", cwd=a, env=KEY)
    database = team.url.rpartition("/")[2]
    server = pg.server()
    server.sql(roles_sql(), database)
    server.sql("CREATE ROLE rita LOGIN IN ROLE emdsl_reader")
    (reader / ".env").write_text(f"EMDSL_STORE={server.url(database, 'rita')}\n", encoding="utf-8")
    assert team.json(reader, "plan", "s.em")["requests"] == 0
    team.machine("reader", 5)
    (reader / ".env").write_text(f"EMDSL_STORE={server.url(database, 'rita')}\n", encoding="utf-8")
    assert "rita" in emdsl("run", "s.em", cwd=reader, env=KEY, code=1).stderr
    assert stats(team.models)["requests"] == 4
