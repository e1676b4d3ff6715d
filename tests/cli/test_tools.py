"""init, check, fix, explain, render: the tools that make the language a pleasure."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from speed import HANG_S
from support import clean_environment, emdsl

from emdsl.lang.explain import pages

if TYPE_CHECKING:
    from pathlib import Path

FAULTY = "experiment e {\r\n  ask a from 'sim/subject' with \"x\"\r\n  let z = True && false;\r\n}\r\n"


def test_check_shows_all_faults_and_fixes_what_is_certain(tmp_path: Path) -> None:
    """All at once, as text and as JSON; `--fix` keeps line ends, and what it leaves is right."""
    file = tmp_path / "a.em"
    file.write_bytes(FAULTY.encode())
    shown = emdsl("check", file, cwd=tmp_path, code=1).stdout
    assert "3 errors, 0 warnings, 3 fixable with --fix" in shown
    assert "More: emdsl explain E101" in shown
    found = json.loads(emdsl("check", file, "--json", cwd=tmp_path, code=1).stdout)["diagnostics"]
    assert [d["code"] for d in found] == ["E101", "E141", "E140"]
    assert found[1]["fix"] == [
        {"replacement": '"sim/subject"', "file": "a.em", "line": 2, "column": 14, "end_line": 2, "end_column": 27}
    ]
    assert file.read_bytes() == FAULTY.encode(), "looking changes nothing"
    assert "5 fixed" in emdsl("check", "--fix", file, cwd=tmp_path).stdout
    wanted = 'em 1\r\nexperiment e {\r\n  ask a from "sim/subject" with "x"\r\n  let z = true and false\r\n}\r\n'
    assert file.read_bytes() == wanted.encode()
    assert "0 fixed" in emdsl("check", "--fix", file, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    "line",
    [
        "let a = f(k=1)",
        "measure r = rate(a = 1)",
        "for q = [1, 2]",
        "let a = '''x'''",
        "let a = 'don't'",
        'prompt p(q) = "x"',
    ],
)
def test_what_is_not_certain_is_not_fixed(tmp_path: Path, line: str) -> None:
    """A fix that would guess is a help, and no more."""
    file = tmp_path / "a.em"
    text = f'em 1\nlet f(k) = k\n{line}\nexperiment e {{ ask a from "sim/subject" with "x" }}\n'
    file.write_text(text, encoding="utf-8")
    emdsl("check", "--fix", file, cwd=tmp_path, code=1)
    assert file.read_text(encoding="utf-8") == text


def test_fix_edition_touches_the_edition_alone(tmp_path: Path) -> None:
    """An odd first line is replaced, a missing one written; nothing else is fixed."""
    for first, rest in (("em 1.0\n", "let a = True\n"), ("", "let a = True\n"), ("em v1\n", "let a = True\n")):
        file = tmp_path / "a.em"
        file.write_text(first + rest, encoding="utf-8")
        assert "1 fixed" in emdsl("check", "--edition", file, cwd=tmp_path, code=1).stdout
        assert file.read_text(encoding="utf-8") == "em 1\n" + rest


def test_a_comment_allows_a_warning(tmp_path: Path) -> None:
    """On its line, or right above; another code, or a line further, allows nothing."""
    text = 'em 1\nlet a = 1\nABOVE\nmodel m { use = "vllm/x" }  BEHIND\nexperiment e { ask a1 from m with "x" }\n'
    for above, behind, warnings in (
        ("", "", 1),
        ("", "# allow W701: it is ours", 0),
        ("# allow W702, W701", "", 0),
        ("# why\n# allow W701\n# because", "", 0),
        ("# allow W402", "", 1),
        ("# allow W701\n", "", 1),
    ):
        file = tmp_path / "a.em"
        file.write_text(text.replace("ABOVE", above).replace("BEHIND", behind), encoding="utf-8")
        assert f"0 errors, {warnings} warning" in emdsl("check", file, cwd=tmp_path).stdout, (above, behind)


def test_a_library_can_be_checked(tmp_path: Path) -> None:
    """A file without an experiment has no fault; it cannot be run."""
    (tmp_path / "lib.em").write_text("em 1\nlet a = 1\n", encoding="utf-8")
    assert "0 errors" in emdsl("check", "lib.em", cwd=tmp_path).stdout
    assert "E801" in emdsl("plan", "lib.em", cwd=tmp_path, code=1).stderr


def test_explain(tmp_path: Path) -> None:
    """Every code, whatever its case; an unknown one is a usage error."""
    shown = emdsl("explain", "e201", cwd=tmp_path).stdout
    assert shown.startswith("E201 unknown name")
    assert shown == emdsl("explain", "E201", cwd=tmp_path).stdout
    assert (shown.count("(wrong)"), shown.count("(right)")) == (1, 1)
    assert "E202" not in shown, "one page, and not the next"
    assert len(emdsl("explain", cwd=tmp_path).stdout.partition("\n\n")[0].splitlines()) == len(pages())
    emdsl("explain", "E999", cwd=tmp_path, code=2)


def test_init_from_flags_runs(tmp_path: Path) -> None:
    """Odd questions, several models and system prompts: formatted, without a fault, and it runs."""
    question = 'say {"a": 1}\nand "b" \\ {c}'
    emdsl("init", "my study.em", "--question", question, "--question", "hi", "--model", "openai/gpt-4o-2024-08-06",
          "--model", "sim/subject", "--system", "Be brief.", "--samples", "2", cwd=tmp_path)  # fmt: skip
    assert "0 errors, 0 warnings" in emdsl("check", "my study.em", cwd=tmp_path).stdout
    emdsl("fmt", "--check", "my study.em", cwd=tmp_path)
    found = json.loads(emdsl("run", "my study.em", "--sim", "--json", cwd=tmp_path).stdout)
    assert found["experiments"][0]["cells"] == 8
    asked = json.loads(emdsl("render", "my study.em", "--json", cwd=tmp_path).stdout)["requests"][0]
    assert asked["messages"] == [{"role": "user", "content": question}]
    emdsl("init", "my study.em", cwd=tmp_path, code=2)
    emdsl("init", "study.txt", cwd=tmp_path, code=2)
    assert "E722" in emdsl("init", "x.em", "--model", "opena1/gpt", cwd=tmp_path, code=1).stderr
    assert not (tmp_path / "x.em").exists()


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    """Two questions with defaults; what comes out runs."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "emdsl", "init"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    os.write(leader, b"what is a friend?\n\n")
    shown, end = b"", time.monotonic() + HANG_S
    while time.monotonic() < end and b"Run it" not in shown:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                shown += os.read(leader, 4096)
            except OSError:
                break
    assert process.wait(HANG_S) == 0, shown
    os.close(leader)
    assert b"Question" in shown
    assert '"what is a friend?"' in (tmp_path / "study.em").read_text(encoding="utf-8")
    emdsl("run", "study.em", cwd=tmp_path)


STUDY = """em 1
model m { use = "openai/gpt-4o-2024-08-06", key = env.MY_KEY, temperature = 0.5 }
prompt p(q) {
  system "It's \\"brief\\"."
  user q
}
experiment e {
  for q in ["one", "two"]
  ask answer from m with p(q)
  ask again from m with "{answer}?"
}
"""


def test_render_shows_what_is_sent_and_never_a_key(tmp_path: Path) -> None:
    """The messages, the parameters, the key; as curl, with the variable in the key's place."""
    (tmp_path / "s.em").write_text(STUDY, encoding="utf-8")
    env = {"MY_KEY": "sk-planted-0123456789"}
    shown = emdsl("render", "s.em", "--only", "q=two", cwd=tmp_path, env=env)
    assert "e   q=two   sample 0\nask answer   openai/gpt-4o-2024-08-06   temperature=0.5" in shown.stdout
    assert '--- system\nIt\'s "brief".\n--- user\ntwo\n---' in shown.stdout
    assert "depends on the answer of `answer`" in shown.stdout
    placed = emdsl("render", "s.em", "--step", "again", cwd=tmp_path, env=env).stdout
    assert "no key: an answer that it contains is not cached\n--- user\n[the answer of `answer`]?\n---" in placed
    given = emdsl("render", "s.em", "--with", "Sell it", "--json", cwd=tmp_path, env=env).stdout
    first, second = json.loads(given)["requests"]
    assert (len(first["key"]), second["key"]) == (64, None)
    assert second["messages"] == [{"role": "user", "content": "Sell it?"}]
    curl = emdsl("render", "s.em", "--step", "answer", "--curl", cwd=tmp_path, env=env)
    words = shlex.split(curl.stdout)
    assert words[:2] == ["curl", "https://api.openai.com/v1/chat/completions"]
    assert "Authorization: Bearer $MY_KEY" in words
    body = json.loads(words[words.index("-d") + 1])
    assert body["messages"][0]["content"] == 'It\'s "brief".'
    assert "planted" not in shown.stdout + curl.stdout + shown.stderr
    assert len(json.loads(emdsl("render", "s.em", "--limit", "9", "--json", cwd=tmp_path).stdout)["requests"]) == 4
    emdsl("render", "s.em", "--step", "anwser", cwd=tmp_path, code=2)


def test_models_shows_what_is_known_of_one_with_its_source(tmp_path: Path) -> None:
    """Each row of the table that holds for it, once; a newer model's are guesses."""
    said = emdsl("models", "openai/gpt-5-2025-08-07", cwd=tmp_path).stdout
    assert "reasoning_effort: minimal low medium high   [pydantic-ai" in said
    assert "(unconfirmed)" not in said
    assert "(unconfirmed)" in emdsl("models", "openai/gpt-9", cwd=tmp_path).stdout
    (found,) = json.loads(emdsl("models", "google/gemini-2.5-pro", "--json", cwd=tmp_path).stdout)["models"]
    (budget,) = [row for row in found["known"] if "reasoning_tokens" in row["parameters"]]
    assert (budget["takes"], budget["sure"], bool(budget["source"] and budget["date"])) == ("128..32768", True, True)
