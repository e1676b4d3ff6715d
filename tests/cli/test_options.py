"""The options that all verbs have, and the words that verbs once had."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click
import pytest
from support import emdsl

from emdsl.cli import console
from emdsl.cli.main import VERBS, cli
from emdsl.cli.options import UNREPEATED, given
from emdsl.study.options import behind
from emdsl.study.project import choose_store

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


VALUES = {  # of options whose value is not any number, by parameter
    "cache": "a cache", "store": "postgresql://me:secret@h/db", "env_file": "test.env", "only": "k=0,16",
    "budget": "lab=2.50", "on": "ray", "display": "none",
}  # fmt: skip


def parsed(verb: str, words: list[str]) -> click.Context:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command.make_context(verb, ["study.em", *words])


def words_of(option: click.Option) -> list[list[str]]:
    """Return the ways to give an option."""
    if option.is_flag:
        return [[name] for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
    values = [VALUES.get(str(option.name), "3")]
    return [[option.opts[0], value] for value in (values * 2 if option.multiple else values)]


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_each_option_is_repeated_in_the_next_command(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All options of `run`, except those of the display. `plan` repeats no option of its own. No password is shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.env").touch()
    for shown in ("quiet", "verbose", "display"):
        monkeypatch.setattr(console.settings, shown, getattr(console.settings, shown))  # restored in the end
    try:
        run, command = cli.get_command(click.Context(cli), "run"), cli.get_command(click.Context(cli), verb)
        assert run is not None
        assert command is not None
        of_run = {p.name for p in run.params}
        tried = 0
        for option in (p for p in command.params if isinstance(p, click.Option)):
            for words in words_of(option) if option.name != "help" else ():
                choose_store(None)
                context = parsed(verb, words)
                again = behind(given(context)).split()
                if option.name in UNREPEATED or option.name not in of_run:
                    assert again == []
                    continue
                tried += 1
                assert again, words
                repeated = parsed(verb, shlex.split(behind(given(context))))
                assert repeated.params == context.params
                assert behind(given(repeated)).split() == again
                assert "secret" not in " ".join(again)
        assert tried > 20
    finally:
        choose_store(None)


def test_a_dry_run_repeats_the_options_of_the_run(tmp_path: Path) -> None:
    """`run --dry-run` is `plan` with all options. `--json` is not repeated."""
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    options = ["--workers", "2", "-j", "7", "--max-retries", "3"]
    shown = emdsl("run", "study.em", "--dry-run", "-y", *options, cwd=tmp_path).stdout
    assert "Run: emdsl run study.em --max-connections 7 --workers 2 --max-retries 3 " in shown
    assert shown.splitlines()[-1] == emdsl("plan", "study.em", *options, cwd=tmp_path).stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "call",
    [
        ["run", "s.em", "--budget"], ["plan", "s.em", "--budget"], ["run", "s.em", "--confirm-over"],
        ["cache", "budget", "lab"], ["runs", "set", "--budget"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_amounts_of_money_are_read_alike(call: list[str], tmp_path: Path) -> None:
    """An amount that no float holds, or that has a billion digits, is an error; it was infinite in JSON."""
    for amount, error in (
        ("1e400", "more than a billion US dollars"),
        ("1e-999999999", "less than any price in US dollars"),
        ("$", "is not an amount of US dollars"),
        ("-x", "is not an amount of US dollars"),
    ):
        refused = emdsl(*call, "--", amount, cwd=tmp_path, code=2).stderr if call[0] == "cache" else (
            emdsl(*call, amount, cwd=tmp_path, code=2).stderr
        )  # fmt: skip
        assert error in " ".join(refused.split()), refused
        assert repr(amount) in refused
