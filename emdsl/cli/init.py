"""`emdsl init`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.new_study import DEFAULT_QUESTION, JUDGE, SIMULATED, check_name, write_study

SAMPLES = 10


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=Path("study.em"))
@options.option("--question", "questions", multiple=True, envvar=None, help="A question; repeat for more.")
@options.option("--model", "models", multiple=True, envvar=None,
                help="A model, as provider/model; repeat for more.  [default: sim/subject]")  # fmt: skip
@options.option("--system", "systems", multiple=True, envvar=None, help="A system prompt; several become an axis.")
@options.option("--judge", envvar=None, help=f"The judge.  [default: {JUDGE}, or the simulator's]")
@options.option("--samples", type=click.IntRange(1), envvar=None, help=f"Samples of each cell. [default: {SAMPLES}]")
@options.option(
    "--from", "source", type=click.Path(path_type=Path), envvar=None,
    help="Convert a file of another tool.",
)  # fmt: skip
@options.option("--column", envvar=None, help="With --from: the column that holds the questions.")
def command(
    file: Path, questions: tuple[str, ...], models: tuple[str, ...], systems: tuple[str, ...], judge: str | None,
    samples: int | None, source: Path | None, column: str | None,
) -> int:  # fmt: skip
    """Create a new study in FILE that runs: questions to models, each answer scored by a judge.

    On a terminal it asks for missing options.

    With --from, a file of another tool becomes a study: questions of Betley et al. or llmcomp, a config of promptfoo,
    a task of lm-eval, samples of Inspect, model-written evaluations, the folder of a Hugging Face dataset, or any rows
    with a column of questions. It is recognized by its content. A part without a counterpart is listed, never guessed.
    The study reads data from their file, so do not move it.

    \b
    Examples:
      emdsl init
      emdsl init study.em --question "hey i feel bored" --model openai/gpt-4.1
      emdsl init betley.em --from first_plot_questions.yaml
      emdsl init greeting.em --from promptfooconfig.yaml
      emdsl init mine.em --from data.csv --column question
    """
    if source is not None and (questions or systems or samples):
        raise UsageError("--from has its own questions and samples: omit --question, --system and --samples")
    if column is not None and source is None:
        raise UsageError("--column names a column of a file: add --from FILE")
    check_name(file)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not (questions and models) and source is None
    if interactive and not questions:
        questions = (click.prompt("Question", default=DEFAULT_QUESTION),)
    if interactive and not models:
        models = (click.prompt("Model (provider/model)", default=SIMULATED),)
    left_out = write_study(
        file, questions=questions, models=models, systems=systems, judge=judge, samples=samples or SAMPLES,
        source=source, column=column,
    )  # fmt: skip
    console.say(f"{file} written")
    for notice in left_out:
        console.note(notice)
    if re.search(r'use = "(?!sim/)', file.read_text(encoding="utf-8")):
        console.say(f"Test it without cost:  emdsl run {file} --sim --samples 1")
    console.say(f"Preview it:  emdsl plan {file}\nRun it:  emdsl run {file}")
    return 0
