"""`emdsl show`: the measures of a study."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, session
from emdsl.cli.counts import show_warnings, warnings_json
from emdsl.cli.results import bring_up_to_date, drift_of, measures_json, show_measures
from emdsl.compiler.compile import compile_file
from emdsl.errors import OutcomesError
from emdsl.outcomes import database
from emdsl.outcomes.loads import note_last
from emdsl.run.executor import Report
from emdsl.run.walk import Walk

if TYPE_CHECKING:
    from pathlib import Path


@click.command("show")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM, session.AS_JSON)
def command(file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool) -> int:
    """Show the measures of FILE as tables, computed from what is stored; asks nothing."""
    console.expect_json(wanted=as_json)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    store = here.store(create=False)
    notices: list[str] = []
    try:
        loaded = database.state(here.cache, here.study(file))
        if loaded != (program.digest.hex(), store.state()):
            walks = [Walk(e) for e in program.experiments]
            _, notices, unloaded = bring_up_to_date(
                here, file, program, walks, store, report=Report(), run=secrets.token_hex(8)
            )
            if unloaded:
                raise OutcomesError(unloaded)
    finally:
        store.close()
    note_last(here.cache, here.study(file))
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
    show_measures(here, file, program.experiments)
    return 0
