"""`emdsl plot`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.figures import FORMATS, KINDS, STYLES, Look, draw, line_of, write_figure
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale
from emdsl.study.tables import chosen_measure

_KINDS = "\n".join(f"      {kind:<11}{what}" for kind, what in KINDS.items())


@click.command(
    "plot",
    help=f"""Draw a measure of FILE with its intervals, from the cached answers. Nothing is sent.

    \b
    Kinds:
{_KINDS}

    \b
    Examples:
      emdsl plot study.em --measure misaligned -o figure.svg
      emdsl plot study.em --kind bars --line 0.5=chance --style slide -o figure.png
      emdsl plot study.em --measure low --measure incoherent --kind scatter -o figure.pdf
    """,
)
@options.STUDY
@options.option(
    "--measure", "measures", metavar="NAME", multiple=True, envvar=None,
    help="The measure; repeat to draw several in one figure.  [default: the first]",
    shell_complete=lambda *call: options.completed("measures", *call),
)  # fmt: skip
@options.option(
    "--kind", type=click.Choice(tuple(KINDS)), metavar="KIND", envvar=None, help="[default: the one that fits best]"
)
@options.option(
    "--line", "lines", metavar="VALUE[=LABEL]", multiple=True, envvar=None,
    help="Draw a reference line at a value; repeat for more.",
)  # fmt: skip
@options.option("--style", type=click.Choice(STYLES), help="Type of 8 points, or 18.  [default: paper]")
@options.option(
    "--width", metavar="WIDTH", help="1col, 2col, or a length: 9cm, 3.5in.  [default: 1col, with panels 2col]"
)
@options.option("--font", metavar="FONT", help="sans, serif, or the name of an installed font.  [default: sans]")
@options.option("--title", metavar="TEXT", envvar=None, help="The title; empty for none.  [default: the measure]")
@options.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="A file that ends in .svg, .png, .pdf, or .json (Vega-Lite).",
)  # fmt: skip
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, measures: tuple[str, ...], kind: str | None,
    lines: tuple[str, ...], style: str | None, width: str | None, font: str | None, title: str | None, output: Path,
) -> int:  # fmt: skip
    """Draw a measure; its help is above."""
    if output.suffix.lower() not in FORMATS:
        raise UsageError(f"expected a file name that ends in {', '.join(FORMATS)}", parameter="output")
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    look = Look(style=style, width=width, font=font, title=title, lines=tuple(map(line_of, lines)))
    for name in measures or (None,):
        chosen_measure(study.program, name)
    for notice in load_if_stale(study):
        console.note(notice)
    chart, simulated = draw(study, measures, kind, look)
    write_figure(chart, output)
    console.say(f"Written: {output}" + ("   (SIMULATED)" if simulated else ""))
    return 0
