"""`emdsl annotate`."""

from __future__ import annotations

import getpass
import re
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.cli.keys import keys
from emdsl.errors import FileExists, UsageError
from emdsl.files import write_whole
from emdsl.study.annotating import annotating, check_rater
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from emdsl.cli.keys import Keys
    from emdsl.study.annotating import Annotating
    from emdsl.study.sheets import Row

MAX_KEYS = 9  # labels that have a key
MAX_LEFT_OUT = 10  # rows of a sheet that are listed
_WIDTH = 100
_HELP = "u undo   n note   s skip   q quit"


@click.command("annotate")
@options.with_options(options.STUDY, options.AS_JSON)
@options.option("--name", metavar="NAME", envvar=None, help="The annotation.  [default: the only one of FILE]")
@options.option("--rater", metavar="NAME", help="Your name in the files.  [default: your name on this machine]")
@options.option(
    "--sheet", type=click.Path(path_type=Path, dir_okay=False), envvar=None,
    help="Write your pending rows as CSV, for a spreadsheet.",
)  # fmt: skip
@options.option(
    "--import", "sheet_in", type=click.Path(path_type=Path, exists=True, dir_okay=False), envvar=None,
    help="Read the labels of a sheet.",
)  # fmt: skip
@options.option("--status", is_flag=True, envvar=None, help="Show the progress and the agreement of all people.")
@options.option(
    "--disagreements", is_flag=True, envvar=None, help="As --status, with the texts on which people disagree."
)
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, name: str | None,
    rater: str | None, sheet: Path | None, sheet_in: Path | None, status: bool, disagreements: bool,
) -> int:  # fmt: skip
    """Judge answers of FILE by hand, by the labels of its statement `annotate NAME of ASK { ... }`.

    You see the question and the answer alone, in random order. Each verdict is on the disk before the next answer is
    shown, in annotations/NAME.RATER.jsonl beside FILE. Files hold digests and no texts: keep them in git.

    \b
    Keys: 1-9 a label, u undo, n note, s skip, q quit. Run it again to go on.

    \b
    Examples:
      emdsl annotate study.em
      emdsl annotate study.em --status
      emdsl annotate study.em --sheet todo.csv
      emdsl annotate study.em --import todo.csv --rater ann
    """
    console.expect_json(wanted=as_json)
    if sum(map(bool, (sheet, sheet_in, status or disagreements))) > 1:
        raise UsageError("use only one of --sheet, --import and --status")
    project = open_project(file, cache, env_file, simulate=simulate)
    task = annotating(compile_study(project, file), name)
    if status or disagreements:
        if as_json:
            console.show_json(task.as_json())
        else:
            console.show(task.parts(disagreements=disagreements))
        return 0
    person = check_rater(rater or user_name())
    if sheet is not None:
        return _write_sheet(task, person, sheet, name)
    if sheet_in is not None:
        return _import_sheet(task, person, sheet_in)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("annotations by keys need a terminal; elsewhere use --sheet and --import")
    if len(task.labels) > MAX_KEYS:
        raise UsageError(f"{len(task.labels)} labels are more than the {MAX_KEYS} keys; use --sheet and --import")
    return _by_keys(task, person)


def user_name() -> str:
    """Return the name of the user on this machine, without characters that a file's name cannot have."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        raise UsageError("this machine has no name for you: give --rater NAME", parameter="rater") from None
    return re.sub(r"[^\w.-]", "_", name).lstrip(".-") or "me"


def _import_sheet(task: Annotating, person: str, path: Path) -> int:
    taken = task.import_sheet(path, person)
    left = f"; {counted(taken.empty, 'row')} without a label" if taken.empty else ""
    console.say(f"{counted(taken.new, 'verdict')} of {person}{left}")
    if taken.left_out:
        console.say(f"{counted(len(taken.left_out), 'labeled row')} left out, and kept in {path}:", err=True)
        shown = taken.left_out if console.settings.verbose else taken.left_out[:MAX_LEFT_OUT]
        for line, reason in shown:
            console.say(f"  line {line}: {reason}", err=True)
        if more := len(taken.left_out) - len(shown):
            console.say(f"  and {more:,} more (-v lists all)", err=True)
    return 0


def _write_sheet(task: Annotating, person: str, path: Path, name: str | None) -> int:
    if path.exists():
        raise FileExists(f"{path} exists; it is not overwritten", parameter="sheet")
    write_whole(path, task.sheet(person))
    console.say(f"{counted(len(task.pending(person)), 'row')} in {path}: fill in the column `label` with one of")
    for label, text in task.annotation.choices.items():
        console.say(f"  {label}" + (f"  {text}" if text else ""))
    console.say(f"Next: emdsl annotate {_same(task, name)} --import {path} --rater {person}")
    return 0


def _sim(task: Annotating) -> str:
    return " --sim" if task.study.project.simulate else ""


def _same(task: Annotating, name: str | None) -> str:
    """Return the arguments that find the same annotation and its rows again."""
    return f"{task.study.file}{_sim(task)}" + (f" --name {name}" if name else "")


def _by_keys(task: Annotating, person: str) -> int:
    if task.unanswered:
        console.note(
            f"{counted(task.unanswered, 'row')} without an answer yet: emdsl run {task.study.file}{_sim(task)}"
        )
    with suppress(EOFError), keys() as pressed:
        _judge_all(task, person, pressed)
    left = len(task.pending(person))
    console.say(f"{counted(task.n_judged(person), 'text')} judged by {person}, {left:,} left")
    if not left:
        console.say(f"Next: emdsl show {task.study.file}{_sim(task)}")
    return 0


def _judge_all(task: Annotating, person: str, pressed: Keys) -> None:
    """Show one text after the other, and write each verdict to the disk before the next text."""
    queue = task.pending(person)
    notes: dict[str, str] = {}  # by row: a note stays with its text
    allowed = {*map(str, range(1, len(task.labels) + 1)), *"unsq"}
    if not queue and task.last_of(person) is not None:
        console.say("nothing is left to judge: u takes the last verdict back, any other key quits")
        if pressed.next().lower() == "u":
            _undo(task, person, queue, notes)
    while queue:
        _show(task, person, queue[0], len(queue))
        while (key := pressed.next().lower()) not in allowed or key == "n":
            if key == "n":
                notes[queue[0].digest] = pressed.line("note")
        if key == "q":
            return
        if key == "s":
            queue.append(queue.pop(0))
        elif key == "u":
            _undo(task, person, queue, notes)
        else:
            row = queue.pop(0)
            task.judge(row, person, task.labels[int(key) - 1], notes.get(row.digest, ""))
        task.refresh()
        left = {r.digest for r in task.pending(person)}
        queue = [r for r in queue if r.digest in left]  # others judge too


def _undo(task: Annotating, person: str, queue: list[Row], notes: dict[str, str]) -> None:
    """Withdraw the last verdict of a person, of an earlier call too, and show its text again."""
    if (last := task.last_of(person)) is None:
        return
    row, verdict = last
    task.judge(row, person, None)
    notes.setdefault(row.digest, verdict.note)
    queue.insert(0, row)


def _show(task: Annotating, person: str, row: Row, left: int) -> None:
    """Show a question and an answer, with the labels and their keys."""
    width = min(_WIDTH, click.get_current_context().terminal_width or _columns())
    judged = task.n_judged(person)
    head = f"{task.annotation.name}: {judged + 1:,} of {judged + left:,}"
    console.say(f"\n{'=' * width}\n{head:<{max(1, width - len(_HELP))}}{_HELP}\n")
    console.say(_wrapped(row.shown.question, width) + f"\n{'-' * width}\n" + _wrapped(row.shown.answer, width) + "\n")
    longest = max(map(len, task.labels))
    for i, (label, text) in enumerate(task.annotation.choices.items(), start=1):
        console.say(f"  {i}  {label:<{longest}}  {text}".rstrip())


def _columns() -> int:
    import shutil  # noqa: PLC0415 - only keys of a terminal need its width

    return shutil.get_terminal_size((80, 24)).columns


def _wrapped(text: str, width: int) -> str:
    lines = (textwrap.wrap(x, width, replace_whitespace=False, drop_whitespace=False) or [""] for x in text.split("\n"))
    return "\n".join(line for part in lines for line in part)
