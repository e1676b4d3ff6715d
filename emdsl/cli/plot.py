"""`emdsl plot`: a measure as a figure for a paper."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console, session
from emdsl.cli.charted import table_of
from emdsl.cli.results import chosen_measure, loaded, relations
from emdsl.compiler.compile import compile_file
from emdsl.errors import UsageError
from emdsl.report import charts


@click.command("plot")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM)
@session.option("--measure", "wanted", metavar="NAME", envvar=None, help="Which measure.  [default: the first]")
@session.option(
    "--kind", type=click.Choice(("curve", "dots", "heat")), help="[default: a curve over numbers, else dots]"
)
@session.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="A file that ends in .svg, .png, .pdf, or .json (Vega-Lite).",
)  # fmt: skip
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, wanted: str | None, kind: str | None,
    output: Path,
) -> int:  # fmt: skip
    """Draw a measure of FILE with its intervals, from what is stored; asks nothing."""
    if output.suffix.lower() not in charts.FORMATS:
        raise UsageError(f"-o takes a file that ends in {', '.join(charts.FORMATS)}")
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    _, measure = chosen_measure(program, wanted)
    chosen = measure.name
    for notice in loaded(here, file, program):
        console.say(f"note: {notice}", err=True)
    result = {m.name: r for m, r in relations(here, file, program.experiments)}[chosen]
    if result is None:
        raise UsageError(f"measure `{chosen}` is left out, as `emdsl show {file}` says")
    table = table_of(measure, result)
    kinds = charts.kinds_of(table)
    if not kinds:
        raise UsageError(f"measure `{chosen}` has fewer than two values: there is nothing to draw")
    if kind == charts.HEAT and charts.HEAT not in kinds:
        raise UsageError(f"measure `{chosen}` does not cross two axes: a map of heat needs `by` two")
    if kind == charts.CURVE and charts.CURVE not in kinds:
        raise UsageError(f"measure `{chosen}` has no axis of numbers in its `by`: no curve")
    try:
        charts.write(charts.chart_of(table, kind or kinds[0]), output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    console.say(f"Written: {output}" + ("   (SIMULATED)" if table.simulated else ""))
    return 0
