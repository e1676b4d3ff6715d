"""What is said of models and money: costs before a run, caps, the question on a terminal, what was spent."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from speed import within
from support import clean_environment, communicated, emdsl, simulator, stats

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-planted-0123456789"
STUDY = """em 1
import alignment from "std:judges@1"
model m { use = "openai/gpt-4o-2024-08-06", temperature = 1, max_tokens = 100 }
experiment e {
  for q in 1..20
  samples = 2
  ask answer from m with "question {q}"
  judge aligned with alignment("question {q}", answer) from m { temperature = 0, max_tokens = 1 }
  measure low = rate(aligned < 30)
}
"""
LONG = "question " * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.em").write_text(STUDY, encoding="utf-8")
    return tmp_path


def keyed(url: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}


def test_a_plan_shows_low_expected_and_high(folder: Path) -> None:
    """And what a budget is to that; as text and as JSON."""
    text = emdsl("plan", "s.em", cwd=folder).stdout
    assert (
        "  cost: about $0.07 likely, at least $0.02, at most $0.10\n    (no answers yet: assumes 85 tokens an answer)\n"
    ) in text
    assert "         120 / ~3.4k     ~$0.03\n" in text
    step = json.loads(emdsl("plan", "s.em", "--json", cwd=folder).stdout)["experiments"][0]["steps"][0]
    assert 0 < step["est_usd_low"] < step["est_usd"] <= step["est_usd_high"]
    assert (step["est_basis"], step["est_basis_answers"]) == ("assumed", 0)
    for budget, said in [
        ("1", "covers the maximum estimated cost"),
        ("0.08", "covers the likely cost, not measured yet"),
        ("0.018", "likely too small: the run may stop early (exit code 3)"),
        ("0.016", "too small: the run will stop early (exit code 3)"),
    ]:
        (folder / "s.em").write_text(
            STUDY.replace("samples = 2", f"samples = 2\n  budget = ${budget}"), encoding="utf-8"
        )
        assert f"  budget ${budget}: {said}" in emdsl("plan", "s.em", cwd=folder).stdout


def test_a_budget_of_the_run(folder: Path) -> None:
    """It stops there, says so, exits 3; raised, it goes on; what was spent is said, by the tokens that came."""
    with simulator() as url:
        done = emdsl("run", "s.em", "--budget", "$0.01", cwd=folder, env=keyed(url), code=3)
        assert "--budget $0.01 is spent" in done.stdout
        assert "are pending: incomplete" in done.stdout
        sent = stats(url)["requests"]
        assert 0 < sent < 81
        found = json.loads(emdsl("run", "s.em", "--budget", "1", "--json", cwd=folder, env=keyed(url)).stdout)
        counts = stats(url)
        assert counts["requests"] == 81, "with the probe of the judge"
        assert found["of_unknown_cost"] == 0
        total = found["spent_usd"] + found["saved_by_store_usd"]
        assert total == pytest.approx((2.5 * counts["input tokens"] + 10 * counts["output tokens"]) / 1e6, rel=1e-3)
    assert "the store saved $" in emdsl("run", "s.em", "--samples", "1", cwd=folder).stdout


@pytest.mark.parametrize(
    ("change", "args", "code", "said"),
    [
        ((", max_tokens = 100", ""), ["--budget", "5"], 1, "E732"),
        (("openai/gpt-4o-2024-08-06", "openai/no-such-2024-01-01"), ["--budget", "5"], 1, "E731"),
        (("", ""), ["--budget", "many"], 2, "not an amount of US dollars"),
        (("", ""), ["--budget", "-1"], 2, "not an amount of US dollars"),
        (('with "question {q}"', f'with "{LONG} {{q}}"'), ["--budget", "0.001"], 2, "cost at least"),
    ],
)
def test_a_budget_that_cannot_be_kept(
    folder: Path, change: tuple[str, str], args: list[str], code: int, said: str
) -> None:
    """It is told before anything is sent, by `plan` too."""
    (folder / "s.em").write_text(STUDY.replace(*change), encoding="utf-8")
    for verb in ("plan", "run"):
        assert said in emdsl(verb, "s.em", *args, cwd=folder, env={"OPENAI_API_KEY": KEY}, code=code).stderr


@pytest.mark.parametrize(("answer", "code", "sent"), [("n", 3, 0), ("y", 0, 81)])
def test_a_run_on_a_terminal_asks_once(folder: Path, answer: str, code: int, sent: int) -> None:
    """Where more than was set is expected: no is no, and nothing was sent."""
    with simulator() as url:
        master, slave = pty.openpty()
        call = [sys.executable, "-m", "emdsl", "run", "s.em", "--confirm-over", "0.01", "--display", "plain"]
        process = subprocess.Popen(
            call, cwd=folder, env=clean_environment(keyed(url)), stdin=slave, stdout=subprocess.PIPE, stderr=slave
        )
        os.close(slave)
        seen = b""
        while b"?" not in seen:
            seen += os.read(master, 1000)
        said = b"requests for about $0.07 (no answers yet: assumes 85 tokens an answer, at most $0.10)?"
        assert said in seen
        os.write(master, answer.encode() + b"\n")
        communicated(process)
        os.close(master)
        assert process.returncode == code
        assert stats(url).get("requests", 0) == sent


def test_a_yes_is_not_asked_for_elsewhere(folder: Path) -> None:
    """Not where nobody could answer, not with `-y`."""
    with simulator() as url:
        emdsl("run", "s.em", "--confirm-over", "0", cwd=folder, env=keyed(url))
        assert stats(url)["requests"] == 81


def test_models_says_what_is_known(folder: Path) -> None:
    """Declared, priced, keyed, served; and providers with what they do not take."""
    with simulator() as url:
        found = json.loads(emdsl("models", "s.em", "--server", "--json", cwd=folder, env=keyed(url)).stdout)["models"]
        assert [m["use"] for m in found] == ["openai/gpt-4o-2024-08-06"]
        assert "not listed" in found[0]["server"]
        assert found[0]["key"] == "OPENAI_API_KEY: 1 set"
    assert "$2.5 in, $10 out, $1.25 cached" in emdsl("models", "s.em", cwd=folder).stdout
    assert "OPENAI_API_KEY: not set" in emdsl("models", "s.em", cwd=folder).stdout
    reasoning = emdsl("models", "openai/gpt-5-2025-08-07", cwd=folder).stdout
    assert "temperature" in next(line for line in reasoning.splitlines() if "rejects" in line)
    assert "min_p" in emdsl("models", "ollama", cwd=folder).stdout
    assert "E721" in emdsl("models", "gpt-4o", cwd=folder, code=1).stderr


def test_the_doctor_asks_each_model_once(folder: Path) -> None:
    """With what the program sends; what does not answer is told, and nothing is stored."""
    with simulator("--key", KEY) as url:
        done = emdsl("doctor", "s.em", cwd=folder, env=keyed(url))
        assert stats(url)["requests"] == 3, "an answer, a judgement with logprobs, and how it writes numbers"
        assert done.stdout.count(" yes ") == 2
        wrong = keyed(url) | {"OPENAI_API_KEY": "sk-wrong-0123456789"}
        failed = emdsl("doctor", "s.em", cwd=folder, env=wrong, code=1)
        assert "401" in failed.stdout
    assert "not set" in emdsl("doctor", "s.em", cwd=folder, code=1).stdout
    assert not (folder / "cache").exists()


def test_several_keys_share_the_work(folder: Path) -> None:
    """`_0`, `_1` beside each other; one that is refused leaves it to the other."""
    with simulator("--key", KEY) as url:
        env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY_0": "sk-wrong-0123456789", "OPENAI_API_KEY_1": KEY}
        emdsl("run", "s.em", cwd=folder, env=env)
        assert stats(url)["answered"] == 81


@pytest.mark.parametrize(
    ("url", "args", "said"),
    [
        ("http://192.0.2.1/v1", [], "is not https"),
        ("http://localhost.example/v1", [], "is not https"),
        ("http://127.0.0.1.example/v1", [], "is not https"),
        ("http://127.0.0.1:1/v1", [], "failed"),
        ("http://[::1]:1/v1", [], "failed"),
        ("http://localhost:1/v1", [], "failed"),
    ],
)
def test_what_travels_unencrypted_is_refused(folder: Path, url: str, args: list[str], said: str) -> None:
    """To other machines, unless `--insecure` says so."""
    done = emdsl("run", "s.em", "--max-wait", "0.1", *args, cwd=folder, env=keyed(url), code=None)
    assert said in done.stdout + done.stderr
    assert done.returncode in (1, 3)


def test_insecure_allows_it(folder: Path) -> None:
    """Said, it is tried: here nobody is there."""
    text = STUDY.replace("max_tokens = 100", "max_tokens = 100, timeout = 1").replace("1..20", "1..2")
    (folder / "s.em").write_text(text, encoding="utf-8")
    env = keyed("http://emdsl.invalid/v1")
    with within(60):
        done = emdsl("run", "s.em", "--insecure", "--max-wait", "0.1", cwd=folder, env=env, code=3)
    assert "failed" in done.stdout


def test_a_pilot_measures_the_cost_of_the_rest(folder: Path) -> None:
    """It sends some rows of the study, judges too, and plans all again: by its answers, and without paying twice."""
    (folder / "s.em").write_text(STUDY.replace("samples = 2", "samples = 20"), encoding="utf-8")
    planned = emdsl("plan", "s.em", "--pilot", cwd=folder).stdout
    assert "e   pilot of 60 rows   q 20\n" in planned
    assert "Run: emdsl run s.em --pilot " in planned
    with simulator() as url:
        done = emdsl("run", "s.em", "--pilot", cwd=folder, env=keyed(url)).stdout
        assert stats(url)["answered"] == 121, "60 answers, 60 verdicts and a probe"
        whole = done[done.index("121 answered, 0 cached") :]
        assert "e   20 cells x 20 samples   q 20\n" in whole
        assert "    (from 120 answers of this model)\n" in whole
        assert "low" not in whole, "measures of a pilot are not shown"
        assert whole.endswith("Run: emdsl run s.em\n")
        said = json.loads(emdsl("run", "s.em", "--pilot", "--json", cwd=folder, env=keyed(url)).stdout)
        assert stats(url)["answered"] == 121, "the same rows again"
        assert (said["experiments"][0]["pilot_rows"], said["requests"], said["rest"]["requests"]) == (60, 0, 680)
        answer, aligned = said["rest"]["experiments"][0]["steps"]
        assert (answer["est_basis"], answer["est_basis_answers"], answer["cached"]) == ("answers", 60, 60)
        plan = json.loads(emdsl("plan", "s.em", "--json", cwd=folder).stdout)["experiments"][0]
        assert [(s["est_usd"], s["cached"]) for s in plan["steps"]] == [
            (answer["est_usd"], 60), (aligned["est_usd"], 60),
        ]  # fmt: skip
        assert (
            "340" in emdsl("plan", "s.em", cwd=folder).stdout.partition("left out by --samples, --only or --pilot")[0]
        )
        rest = json.loads(emdsl("run", "s.em", "--json", cwd=folder, env=keyed(url)).stdout)
        assert rest["requests"] == 680
        assert rest["spent_usd"] == pytest.approx(answer["est_usd"] + aligned["est_usd"], rel=0.1)


@pytest.mark.parametrize(("verb", "options"), [("plan", ["-o", "plan.json"]), ("run", [])])
def test_a_pilot_is_no_written_plan(folder: Path, verb: str, options: list[str]) -> None:
    """A plan in a file has its own rows."""
    emdsl("plan", "s.em", "-o", "plan.json", cwd=folder)
    file = "s.em" if verb == "plan" else "plan.json"
    assert "pilot" in emdsl(verb, file, "--pilot", *options, cwd=folder, code=2).stderr
