"""`emdsl render`: the exact messages of a cell, as they would be sent."""

from __future__ import annotations

import itertools
import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.compiler.compile import compile_file
from emdsl.errors import ProviderError, SourceError, UsageError
from emdsl.frame import EvalFault
from emdsl.run.walk import Walk, resolve
from emdsl.source import near, one_of
from emdsl.value import EnvVar, render

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query


@click.command("render")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.ONLY, session.SIM, session.AS_JSON)
@session.option("--step", metavar="NAME", envvar=None, help="Show this ask or judge alone.")
@session.option("--sample", type=click.IntRange(0), default=0, envvar=None, help="Which draw.  [default: 0]")
@session.option("--limit", type=click.IntRange(1), default=1, envvar=None, help="Show so many cells.  [default: 1]")
@session.option("--curl", is_flag=True, envvar=None, help="Show the request as a curl call, with the key's variable.")
def command(
    file: Path, cache: Path | None, env_file: Path | None, only: tuple[str, ...], simulate: bool, as_json: bool,
    step: str | None, sample: int, limit: int, curl: bool,
) -> int:  # fmt: skip
    """Show the messages of a cell of FILE exactly as they are sent; asks nothing.

    What depends on an answer is shown where the answer is stored.
    """
    console.expect_json(wanted=as_json)
    here = session.open_session(file, cache, env_file, simulate=simulate)
    program = compile_file(file, here.environment, simulate=simulate)
    known = [s.name for e in program.experiments for s in e.steps]
    if step is not None and step not in known:
        raise UsageError(f"--step: no step is called `{step}`; {near(step, known) or f'the steps are {one_of(known)}'}")
    shown: list[dict[str, Any]] = []
    store = here.store(create=False)
    try:
        for experiment, chosen in zip(program.experiments, session.selections(program, None, only), strict=True):
            walk = Walk(experiment, chosen)
            cells = (c for c in experiment.cells() if chosen.takes(c))
            for cell in itertools.islice(cells, limit):
                row = walk.row(cell, sample)
                resolve(walk, [row], store)
                for one in (s for s in experiment.steps if step in (None, s.name)):
                    found: dict[str, Any] = {"experiment": experiment.name, "cell": _cell(walk, row)}
                    found["sample"] = sample
                    query = _query(row, one)
                    found |= {"curl": _curl(query, here)} if curl and query is not None else {}
                    shown.append(found | request(row, one))
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    finally:
        store.close()
    if as_json:
        console.show_json({"requests": [{k: v for k, v in x.items() if k != "curl"} for x in shown]})
        return 0
    for found in shown:
        console.say(found["curl"] + "\n" if curl and "curl" in found else _text(found))
    return 0


def request(row: Outcome, step: Step) -> dict[str, Any]:
    """Return the request of a step of a row as it is sent, or why it is not known."""
    query = _query(row, step)
    found: dict[str, Any] = {"step": step.name, "kind": step.kind}
    if query is None:
        return found | {"unknown": _why(step, row)}
    result = row.results.get(step.name)
    return found | {
        "model": query.head.model.use,
        "parameters": {k: _shown(v) for k, v in query.head.params},
        "key": query.key.hex(),
        "stored": result is not None and result.response is not None,
        "messages": [{"role": m.role, "content": m.text} for m in query.prompt.messages],
    }


def _query(row: Outcome, step: Step) -> Query | None:
    result = row.results.get(step.name)
    return row.open.get(step.name) or (result.query if result is not None else None)


def _why(step: Step, row: Outcome) -> str:
    result = row.results.get(step.name)
    if result is not None:
        return f"not asked: {getattr(result.value, 'reason', 'settled')}"
    waits = [n for n in (*step.condition_needs, *step.needs) if n not in row.results]
    return f"known once `{waits[0]}` is answered" if waits else "not known yet"


def _cell(walk: Walk, row: Outcome) -> dict[str, str]:
    return {a.name: a.levels[i].shown for a, i in zip(walk.experiment.axes, row.cell, strict=True)}


def _shown(value: Any) -> Any:
    return value if isinstance(value, tuple | list | dict) or render(value) is None else render(value)


def _text(found: dict[str, Any]) -> str:
    at = "  ".join(f"{k}={v}" for k, v in found["cell"].items())
    return f"{found['experiment']}   {at}   sample {found['sample']}\n" + request_text(found)


def request_text(found: dict[str, Any]) -> str:
    """Return a request as people read it."""
    head = f"{found['kind']} {found['step']}"
    if "unknown" in found:
        return f"{head}   {found['unknown']}\n"
    settings = "  ".join(
        f"{k}={v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)}"
        for k, v in found["parameters"].items()
    )
    stored = "stored" if found["stored"] else "not stored"
    lines = [head + f"   {found['model']}   {settings}", f"key {found['key']}   {stored}"]
    for message in found["messages"]:
        lines += [f"--- {message['role']}", message["content"]]
    return "\n".join([*lines, "---", ""])


def _curl(query: Query, here: Session) -> str:
    """Return a shell command that sends a request; the API key is its variable, never its value."""
    from emdsl.providers.address import at  # noqa: PLC0415 - as below
    from emdsl.providers.client import FORMATS, format_of  # noqa: PLC0415 - pydantic waits for who needs a body
    from emdsl.providers.secret import find_keys, find_url, without_password  # noqa: PLC0415 - as above

    model = query.head.model
    url = without_password(find_url(model, here.environment)[0] or "http://127.0.0.1:PORT/v1")
    _, variable = find_keys(model, here.environment)
    form = FORMATS[format_of(query)]
    headers = {"Content-Type": "application/json"} | dict(form.headers(f"${variable}" if variable else None))
    own = {name: f"${value.name}" if isinstance(value, EnvVar) else value for name, value in model.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in {n.lower() for n in own}} | own
    shown = [f'-H "{name}: {value}"' for name, value in headers.items()]
    try:
        body = form.encode(query).decode("utf-8", "replace")
    except ProviderError as error:
        raise UsageError(str(error)) from None
    return " \\\n  ".join([f"curl {shlex.quote(at(url, form.path(query)))}", *shown, f"-d {shlex.quote(body)}"])
