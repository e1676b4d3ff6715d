"""The options that all verbs have, and the words that verbs once had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from support import emdsl

from emdsl.cli.main import VERBS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY = """em 1
experiment e {
  for q in ["one", "two"]
  samples = 2
  ask answer from "sim/subject" with "{q}"
  measure said = rate(answer == "x")
}
"""


def verbs(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from verbs(command, context) if isinstance(command, click.Group) else [command]


def test_every_verb_has_them() -> None:
    """`-q`, `-v` and `--display`, each once; each help shows an example."""
    commands = list(verbs(cli, click.Context(cli)))
    assert len(commands) > len(VERBS)
    for command in commands:
        options = [o for p in command.params for o in p.opts]
        assert [options.count(o) for o in ("-q", "-v", "--display")] == [1, 1, 1], command.name
        assert "Example" in (command.help or ""), command.name


def test_quiet_leaves_results_and_errors(tmp_path: Path) -> None:
    """No progress, note or warning; an error stays."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    loud = emdsl("run", "study.em", cwd=tmp_path)
    assert "4 of at most 4 requests done" in loud.stderr
    assert "-- study study" in emdsl("query", "FROM e", cwd=tmp_path).stderr
    (tmp_path / "study.em").write_text(STUDY.replace("two", "three"), encoding="utf-8")
    quiet = emdsl("run", "study.em", "-q", cwd=tmp_path)
    assert quiet.stderr == ""
    assert "2 answered" in quiet.stdout
    assert emdsl("query", "FROM e", "-q", cwd=tmp_path).stderr == ""
    assert "no-such" in emdsl("query", "FROM e", "-q", "--study", "no-such", cwd=tmp_path, code=1).stderr


def test_verbose_cuts_no_list(tmp_path: Path) -> None:
    """A hundred errors are enough, unless all are wanted."""
    lines = "".join(f"let a{i} = nothing{i}\n" for i in range(120))
    (tmp_path / "study.em").write_text(f"em 1\n{lines}{STUDY.removeprefix('em 1')}", encoding="utf-8")
    shown = emdsl("check", "study.em", cwd=tmp_path, code=1).stdout
    assert (shown.count("error["), "and 20 more (-v shows all)" in shown) == (100, True)
    assert emdsl("check", "study.em", "-v", cwd=tmp_path, code=1).stdout.count("error[") == 120
    assert emdsl("plan", "study.em", "-v", cwd=tmp_path, code=1).stderr.count("error[") == 120


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (["fix", "study.em"], "use 'emdsl check --fix FILE'"),
        (["cache", "undo", "x"], "did you mean restore?"),
        (["cache", "forget"], "did you mean purge?"),
        (["cache", "verfy"], "did you mean verify?"),
        (["pan", "study.em"], "did you mean plan?"),
    ],
)
def test_a_verb_that_is_none_gets_the_right_one(tmp_path: Path, call: list[str], hint: str) -> None:
    """Those that were renamed too."""
    assert hint in emdsl(*call, cwd=tmp_path, code=2).stderr
