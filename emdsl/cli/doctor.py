"""`emdsl doctor`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, options
from emdsl.study.compiled import compile_study
from emdsl.study.cost import usd
from emdsl.study.doctor import TIMEOUT_S, check_models
from emdsl.study.project import open_project
from emdsl.study.screen import Table

if TYPE_CHECKING:
    from pathlib import Path


@click.command("doctor")
@options.with_options(options.FILE, options.ENV_FILE, options.AS_JSON, options.INSECURE)
def command(file: Path, env_file: Path | None, as_json: bool, insecure: bool) -> int:
    """Test each model of FILE with one cheap request, with the parameters of the study. Nothing is stored.

    Exits with 1 if a model does not answer.

    \b
    Example:
      emdsl doctor study.em
    """
    console.expect_json(wanted=as_json)
    study = compile_study(open_project(file, None, env_file), file)
    if not (as_json or console.settings.quiet):
        console.say(f"one request to each model, timeout {TIMEOUT_S:g} s", err=True)
    models = check_models(study, insecure=insecure)
    if as_json:
        console.show_json({"models": models})
    else:
        columns = ["model", "steps", "answers", "seconds", "reported", "tokens in", "out", "cost", "note"]
        rows = [[_cell(field, value) for field, value in m.items()] for m in models]
        console.show([Table(columns, rows, numeric=["seconds", "tokens in", "out", "cost"])])
    return 1 if any(m["answers"] is False for m in models) else 0


def _cell(field: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case float() if field == "cost_usd":
            return usd(Decimal(value))
        case float():
            return f"{value:.2f}"
        case _:
            return str(value)
