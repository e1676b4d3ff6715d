"""`emdsl models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.service import SERVICES
from emdsl.study.compiled import compile_study
from emdsl.study.models import NO_LIST, describe_models, describe_providers, model_named, models_in
from emdsl.study.project import open_project

LEGEND = """\
max temperature, max stops, max logprobs: the maximum of each. prefill: it continues a last message of the assistant.
system first: it accepts system messages only at the beginning. response format: it accepts one in `extra`.
strict: it enforces the `shape` of a reply.
prefix tokens: its cache stores prompt prefixes from this length. batch API: `batch = true` halves the price."""


@click.command("models")
@click.argument("name", required=False)
@options.with_options(options.ENV_FILE, options.AS_JSON)
@options.option("--server", is_flag=True, help="Ask each server for its list of models: one free request each.")
@options.option("--insecure", is_flag=True, help="Allow http to other machines.")
def command(name: str | None, env_file: Path | None, as_json: bool, server: bool, insecure: bool) -> int:
    """Show the models of an `.em` file or one `provider/model`: parameters, price, what is missing.

    Without NAME it shows all providers.

    \b
    Examples:
      emdsl models study.em --server
      emdsl models openai/gpt-4.1
    """
    console.expect_json(wanted=as_json)
    is_file = name is not None and (name.endswith(".em") or Path(name).is_file())
    project = open_project(Path(name) if name is not None and is_file else Path.cwd(), None, env_file)
    if name is None or name in SERVICES:
        if server:
            raise UsageError("--server needs an .em file or provider/model")
        _show_providers(describe_providers(project, name), as_json=as_json)
        return 0
    models = models_in(compile_study(project, Path(name)).program) if is_file else [model_named(name, project)]
    entries = describe_models(project, models, ask_servers=server, insecure=insecure)
    failed = any(str(e["server"] or "").startswith(NO_LIST) for e in entries)
    if as_json:
        console.show_json({"models": entries})
    else:
        for entry in entries:
            use, declared = entry.pop("use"), entry.pop("name")
            _show(use + (f"   `{declared}`" if declared != use else ""), entry)
    return 1 if failed else 0


def _show_providers(entries: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        console.show_json({"providers": entries})
        return
    for entry in entries:
        _show(entry.pop("provider"), entry)
    console.say(LEGEND)


def _show(head: str, entry: dict[str, Any]) -> None:
    console.say(head)
    for field, value in entry.items():
        if field == "known":
            for row in value:
                condition = f", while {row['while']}" if row["while"] else ""
                console.say(
                    f"  {', '.join(row['parameters'])}: {row['takes']}{condition}"
                    f"{'' if row['sure'] else ' (unconfirmed)'}   [{row['source']}, {row['date']}]"
                )
        elif value not in (None, {}, []):
            console.say(f"  {field.replace('_', ' '):<18}{_text(value)}")
    console.say()


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{k} = {v}" for k, v in value.items())
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
