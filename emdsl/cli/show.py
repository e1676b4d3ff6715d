"""`emdsl show`: the measures of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.counts import show_warnings, warnings_json
from emdsl.cli.results import drift_of, loaded, measures_json, measures_latex, show_measures
from emdsl.cli.story import stories, story_text
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError
from emdsl.frame import EvalFault

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Program


@click.command("show")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM, session.AS_JSON)
@session.option(
    "--row", "where", metavar="WHERE", envvar=None, help="Tell the whole story of an outcome, by a condition in SQL."
)
@session.option("--limit", type=click.IntRange(1), default=1, envvar=None, help="With --row: of so many.  [default: 1]")
@session.option("--format", "form", type=click.Choice(("table", "latex")), default="table", help="[default: table]")
@session.option("--bars/--no-bars", default=None, help="Draw values and intervals.  [default: on a terminal]")
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, where: str | None, limit: int,
    form: str, bars: bool | None,
) -> int:  # fmt: skip
    """Show the measures of FILE as tables, computed from what is stored; asks nothing.

    With --row "aligned < 30 AND k = 16" it shows the first such outcome instead: every request as it was sent, with its
    demonstrations, what came back, how it was read, and in which measures it counts.
    """
    console.expect_json(wanted=as_json)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    notices = loaded(here, file, program)
    if where is not None:
        for notice in notices if not as_json else ():
            console.say(f"note: {notice}\n", err=True)
        _tell(*_stories(here, file, program, where, limit), as_json=as_json)
        return 0
    notices += drift_of(here, file, program.experiments)
    if as_json:
        console.show_json(
            {"experiments": [{"name": e.name, "measures": measures_json(here, file, e)} for e in program.experiments]}
            | warnings_json(program, notices)
        )
        return 0
    show_warnings(program)
    for notice in notices:
        console.say(f"note: {notice}\n", err=True)
    if form == "latex":
        console.say(measures_latex(here, file, program.experiments), nl=False)
    else:
        show_measures(here, file, program.experiments, bars=bars)
    return 0


def _stories(here: Session, file: Path, program: Program, where: str, limit: int) -> tuple[list[dict[str, Any]], int]:
    store = here.store(create=False)
    try:
        return stories(here, file, program, store, where, limit)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()


def _tell(found: list[dict[str, Any]], n: int, *, as_json: bool) -> None:
    if as_json:
        console.show_json({"rows": n, "stories": found})
        return
    console.say("\n".join(story_text(s) for s in found))
    more = f"; the first {len(found):,}: --limit N shows more" if n > len(found) else ""
    console.say(f"({n:,} such outcome{'' if n == 1 else 's'}{more})", err=True)
