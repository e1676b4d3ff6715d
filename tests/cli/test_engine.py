"""`plan -o`, `why`, `diff`, `cache`: as they are called."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support import emdsl, simulator

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
model subject { use = "sim/subject", temperature = 1, price = { input: $1, output: $2 } }
let think = "Think step by step."
experiment e {
  for k in [0, 4]
  for q in ["one", "two"]
  samples = 3
  ask answer from subject with "{q} {k} {think}"
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 30) by k
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "study.em", cwd=tmp_path)
    return tmp_path


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "study.em").read_text(encoding="utf-8")
    assert old in text
    (folder / "study.em").write_text(text.replace(old, new), encoding="utf-8")


def found(folder: Path, *args: str, code: int = 0, env: dict[str, str] | None = None) -> Any:
    return json.loads(emdsl(*args, "--json", cwd=folder, code=code, env=env).stdout)


def test_a_plan_says_why_and_by_what(folder: Path) -> None:
    """By axis, one by one, and as a file that runs while its requests are the same."""
    edit(folder, "[0, 4]", "[0, 4, 8]")
    plan = found(folder, "plan", "study.em", "--by", "k", "--list", "-o", "plan.json")
    (entry,) = plan["experiments"]
    assert entry["why"] == [{"reason": "new value k = 8", "place": "study.em:6", "requests": 6}]
    assert entry["by"] == [
        {"k": "0", "cached": 12, "pending": 0},
        {"k": "4", "cached": 12, "pending": 0},
        {"k": "8", "cached": 0, "pending": 12},
    ]
    assert len(plan["list"]) == plan["requests"] == 12
    assert {x["cell"].partition(",")[0] for x in plan["list"]} == {"k=8"}
    edit(folder, "rate(aligned < 30)", "rate(aligned < 40)")
    assert found(folder, "run", "plan.json")["requests"] == 12


@pytest.mark.parametrize(
    ("old", "new"), [("samples = 3", "samples = 4"), ("step by step", "step-by-step"), ("[0, 4]", "[0]")]
)
def test_a_plan_of_other_requests_is_refused(folder: Path, old: str, new: str) -> None:
    """Before anything is asked."""
    emdsl("plan", "study.em", "-o", "plan.json", cwd=folder)
    edit(folder, old, new)
    (error,) = found(folder, "run", "plan.json", code=2)["error"]
    assert "have changed since the plan was written" in error["message"]


def test_a_plan_is_written_over_nothing_else(folder: Path) -> None:
    """Neither the program nor data, whatever it is called; and it asks what it named, not as many others."""
    (folder / "notes.json").write_text('["emdsl_plan"]', encoding="utf-8")
    for name in ("study.em", "notes.json", "plan.txt"):
        assert found(folder, "plan", "study.em", "-o", name, code=2)["error"]
    assert (folder / "notes.json").read_text(encoding="utf-8") == '["emdsl_plan"]'
    for sample in ("0", "1"):
        emdsl("cache", "drop", "--where", f"sample = {sample} and model = 'sim/subject'", "--yes", cwd=folder)
        if sample == "0":
            found(folder, "plan", "study.em", "-o", "plan.json")
            found(folder, "run", "study.em")
    (error,) = found(folder, "run", "plan.json", code=2)["error"]
    assert "answers were removed from the store since" in error["message"]


def test_a_plan_estimates_the_cost_of_what_is_left(folder: Path) -> None:
    """From the lengths of stored answers; what is simulated costs nothing."""
    edit(folder, "samples = 3", "samples = 6")
    answer, aligned = found(folder, "plan", "study.em")["experiments"][0]["steps"]
    assert answer["est_input_tokens"] > 0
    assert answer["est_output_tokens"] > 0
    assert answer["est_usd"] == aligned["est_usd"] == 0


def test_why_goes_down_to_the_text(folder: Path) -> None:
    """The nearest stored step, what differs, and where it was edited."""
    (answer, aligned) = found(folder, "why", "study.em", "--only", "k=4", "--sample", "2")["steps"]
    assert answer["cached"] is True
    assert answer["file"] == "study.em"
    edit(folder, "step by step", "step-by-step")
    why = found(folder, "why", "study.em", "--only", "k=4", "--only", "q=two", "--sample", "2")
    answer, aligned = why["steps"]
    assert answer["cached"] is False
    (difference,) = answer["differences"]
    assert difference["name"] == "messages[0].user"
    assert (difference["old"], difference["new"]) == ("two 4 Think step by step.", "two 4 Think step-by-step.")
    assert difference["place"] == "study.em:4"
    assert aligned["no_request"] == "depends on `answer`"
    assert why["effect"] == [["prompt text changed (4 characters)", "study.em:4", 12]]
    text = emdsl("why", "study.em", "--only", "k=4", cwd=folder).stdout
    assert "- ...one 4 Think step by step...." in text
    assert "equal: model, revision, replicate, sample, temperature" in text


def test_why_says_what_it_cannot_find(folder: Path) -> None:
    """A step, a sample, a cell that is not there."""
    for args in (["--step", "anser"], ["--sample", "3"], ["--only", "k=5"]):
        assert emdsl("why", "study.em", *args, cwd=folder, code=2).stderr.startswith("error: ")


def test_diff_of_files_and_of_git(folder: Path) -> None:
    """Cells and requests gained and lost, and lines that say the same."""
    (folder / "old.em").write_text(STUDY, encoding="utf-8")
    edit(folder, "[0, 4]", "[0, 4, 8]  # more")
    (entry,) = found(folder, "diff", "old.em", "study.em")["experiments"]
    assert (entry["cells_gained"], entry["cells_lost"]) == (2, 0)
    assert (entry["requests_gained"], entry["requests_lost"], entry["pending"]) == (12, 0, 12)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    edit(folder, "for q in", "# a comment\n  for q in")
    assert found(folder, "diff", "git:HEAD", "study.em") == {
        "experiments": [entry | {"cells_gained": 0, "requests_gained": 0}],
        "lines": {"changed": 1, "meaning_free": 1},
    }
    (error,) = found(folder, "diff", "git:nowhere", "study.em", code=2)["error"]
    assert "git has no study.em at `nowhere`" in error["message"]


def test_stats_verify_drop_restore(folder: Path) -> None:
    """Answers in the trash are requested again, or restored."""
    stats = found(folder, "cache", "stats")
    assert [(e["study"], e["model"], e["entries"]) for e in stats["entries"]] == [
        ("study", "sim/judge", 13), ("study", "sim/subject", 12),
    ]  # fmt: skip
    where = ("cache", "drop", "--where", "model = 'sim/judge' and sample = 0")
    assert found(folder, *where) == {"matching": 13, "moved": 0, "removal": ""}, "the probe too"
    removal = found(folder, *where, "--yes")["removal"]
    assert found(folder, "plan", "study.em")["requests"] == 13
    assert found(folder, "cache", "restore", removal) == {"restored": 13, "answered_since": 0}
    assert found(folder, "plan", "study.em")["requests"] == 0
    assert found(folder, "cache", "verify")["damaged"] == []
    (error,) = found(folder, "cache", "drop", "--where", "modell = 'x'", code=1)["error"]
    assert "modell" in error["message"]


def test_gc_goes_by_what_programs_reach(folder: Path) -> None:
    """Neither by age nor by size; dry unless told, and undone like a drop."""
    edit(folder, "[0, 4]", "[0]")
    assert found(folder, "cache", "gc", "study.em") | {"usd": None} == {
        "reachable": 13, "unreachable": 12, "usd": None, "moved": 0, "removal": "", "hook_values": 0,
    }  # fmt: skip
    done = found(folder, "cache", "gc", "study.em", "--yes")
    assert done["moved"] == 12
    assert found(folder, "run", "study.em")["requests"] == 0
    edit(folder, "[0]", "[0, 4]")
    assert found(folder, "plan", "study.em")["requests"] == 12
    found(folder, "cache", "restore", done["removal"])
    assert found(folder, "run", "study.em")["requests"] == 0
    assert found(folder, "cache", "purge", "--yes")["entries"] == 0


IN_THE_MANUAL = pytest.mark.thorough(only="docs/howto/share.md does the same")


@pytest.mark.parametrize("passphrase", [pytest.param(None, marks=IN_THE_MANUAL), "correct horse"])
def test_a_study_travels_in_one_file(folder: Path, tmp_path: Path, passphrase: str | None) -> None:
    """Elsewhere, offline, without keys: every number comes out the same; what is missing is named."""
    env = {"EMDSL_PASSPHRASE": passphrase} if passphrase else {}
    more = ["--encrypt"] if passphrase else []
    found(folder, "cache", "export", "study.em", "-o", "s.emcache", *more, env=env)
    there = tmp_path / "there"
    there.mkdir()
    (there / ".git").mkdir()
    taken = found(there, "cache", "import", str(folder / "s.emcache"), "--files", ".", env=env)
    assert taken == {"new": 25, "known": 0, "files": ["study.em"], "compared": 25}
    here, other = (found(f, "run", "--offline", "study.em")["experiments"][0]["measures"] for f in (folder, there))
    assert here == other
    edit(there, "samples = 3", "samples = 4")
    done = emdsl("run", "--offline", "study.em", cwd=there, code=3)
    assert "8 requests are not in the store (--offline)" in done.stdout
    assert "  ask answer of e: k=0, q=one, sample 3\n" in done.stdout
    (entry,) = found(there, "run", "--offline", "study.em", code=3)["experiments"]
    assert all(s["est_input_tokens"] > 0 for s in entry["steps"])


def test_two_caches_become_one(folder: Path, tmp_path: Path) -> None:
    """The way out where a network file system is refused."""
    other = tmp_path / "other"
    other.mkdir()
    (other / ".git").mkdir()
    (other / "study.em").write_text(STUDY.replace("[0, 4]", "[4, 8]"), encoding="utf-8")
    emdsl("run", "study.em", cwd=other)
    assert found(folder, "cache", "merge", "other/cache") == {"new": 12, "known": 13, "damaged": 0}
    edit(folder, "[0, 4]", "[0, 4, 8]")
    assert found(folder, "run", "study.em")["requests"] == 0
    assert found(folder, "cache", "push", "other") == {"new": 12, "known": 25, "damaged": 0}
    opens = {"EMDSL_PASSPHRASE": "of a remote"}  # not used for a cache folder
    assert found(folder, "cache", "pull", "other/cache", env=opens) == {"new": 0, "known": 37, "damaged": 0}


def test_answers_of_another_server_are_told(tmp_path: Path) -> None:
    """A hosted model behind a proxy, then without it: they would be taken for answers of one model."""
    text = 'em 1\nmodel m {{ use = "openai/gpt-4o-2024-08-06", {} }}\nexperiment e {{ ask a from m with "x" }}\n'
    (tmp_path / "pyproject.toml").touch()
    env = {"OPENAI_API_KEY": "sk-planted-0123456789"}
    with simulator() as url:
        (tmp_path / "s.em").write_text(text.format(f'url = "{url}"'), encoding="utf-8")
        emdsl("run", "s.em", cwd=tmp_path, env=env)
        assert "came from" not in emdsl("plan", "s.em", cwd=tmp_path, env=env).stdout
        (tmp_path / "s.em").write_text(text.format("max_tokens = none"), encoding="utf-8")
        said = emdsl("plan", "s.em", cwd=tmp_path, env=env)
    server = url.removesuffix("/v1")
    assert (
        f"cached answers of `openai/gpt-4o-2024-08-06` came from `{server}`; the study now uses "
        "https://api.openai.com. Both count as the same model"
    ) in said.stdout + said.stderr
