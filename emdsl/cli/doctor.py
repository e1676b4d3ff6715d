"""`emdsl doctor`: one cheap request to each model of a study, to see that it answers as the program needs."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from emdsl.capability import may_reason
from emdsl.cli import console, session
from emdsl.cli.money import usd
from emdsl.compiler.compile import compile_file
from emdsl.errors import ProviderError
from emdsl.experiment import heads
from emdsl.price import cost_usd
from emdsl.prompt import Message, Prompt
from emdsl.providers.secret import problem
from emdsl.query import Head, Query, Usage
from emdsl.reasoning import split
from emdsl.run.probes import SPLITS, Probes

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.query import Response
    from emdsl.run.probes import Probe

QUESTION = Prompt((Message("user", "Reply with the word OK."),))
FEW_TOKENS, MANY_TOKENS = 16, 2_000  # the least that every provider takes; and room to think first
TIMEOUT_S = 60.0


@click.command("doctor")
@session.with_options(session.FILE, session.ENV_FILE, session.AS_JSON, session.INSECURE)
def command(file: Path, env_file: Path | None, as_json: bool, insecure: bool) -> int:
    """Ask each model of FILE one cheap question, with the parameters that the program sends; nothing is stored."""
    console.expect_json(wanted=as_json)
    here = session.open_session(file, None, env_file)
    program = compile_file(file, here.environment)
    found: dict[Any, _Asked] = {}
    for experiment in program.experiments:
        probes = Probes(experiment)
        for step, head in heads(experiment):
            kind = (head.model.use, head.model.url, frozenset(n for n, _ in head.params))
            asked = found.setdefault(kind, _Asked(head))
            if step.name not in asked.steps:
                asked.steps.append(step.name)
            asked.probe = asked.probe or probes.of(step, head)
    if not as_json:
        console.say(f"one question each, answered within {TIMEOUT_S:g} s or not at all", err=True)
    entries = asyncio.run(_asked(list(found.values()), here, insecure=insecure))
    if as_json:
        console.show_json({"models": entries})
    else:
        columns = ["model", "steps", "answers", "seconds", "reported", "tokens in", "out", "cost", "note"]
        rows = [[_text(field, value) for field, value in e.items()] for e in entries]
        console.show_table(columns, rows, numeric=["seconds", "tokens in", "out", "cost"])
    return 0 if all(e["answers"] for e in entries) else 1


@dataclasses.dataclass(slots=True)
class _Asked:
    """Who is asked, for which steps, and how it is tested that it writes numbers as one token, if that matters."""

    head: Head
    steps: list[str] = dataclasses.field(default_factory=list)
    probe: Probe | None = None


async def _asked(found: list[_Asked], here: Session, *, insecure: bool) -> list[dict[str, Any]]:
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - as above
    from emdsl.sim.server import Simulator  # noqa: PLC0415 - as above

    simulator = Simulator()
    await simulator.start()
    http = Http(len(found), here.environment)
    client = Client(http, here.environment, simulator.url)

    async def one(asked: _Asked) -> dict[str, Any]:
        head, steps = asked.head, asked.steps
        lacks = problem(head.model, here.environment, insecure=insecure)
        if lacks is not None:
            return _entry(head, steps, None, lacks.partition(": ")[2])
        cheap, notes, response = _cheap(head), list[str](), None
        n = client.accounts(cheap.model)
        for account in range(n):  # each API key
            try:
                response = await client.ask(Query(cheap, QUESTION, 0, b""), account, lambda _: None)
            except ProviderError as error:
                notes.append(str(error) if n == 1 else f"API key {account + 1} of {n}: {error}")
        if response is not None:
            notes += _notes(head, response)
            if asked.probe is not None:
                try:
                    asked.probe.take(await client.ask(asked.probe.query, 0, lambda _: None))
                except ProviderError as error:
                    notes.append(str(error))
                notes += [SPLITS] if asked.probe.split else []
        return _entry(head, steps, response, "; ".join(notes))

    try:
        return await asyncio.gather(*map(one, found))
    finally:
        await http.close()
        await simulator.stop()


def _cheap(head: Head) -> Head:
    """Return a head that allows a short answer only, unless it must think first."""
    params, few = dict(head.params), MANY_TOKENS if may_reason(head.model) else FEW_TOKENS
    if not params.get("reasoning_tokens"):
        params["max_tokens"] = min(few, params.get("max_tokens", few))
    model = dataclasses.replace(head.model, timeout_s=min(TIMEOUT_S, head.model.timeout_s or TIMEOUT_S))
    return dataclasses.replace(head, model=model, params=tuple(sorted(params.items())))


def _notes(head: Head, response: Response) -> list[str]:
    """Return what is odd in an answer, as far as the program will need it."""
    params = dict(head.params)
    notes = []
    if response.usage.output_tokens is None:
        notes.append("it does not count tokens: its cost will not be known")
    if "top_logprobs" in params and not response.logprobs:
        notes.append("no logprobs: `weighted` cannot be read")
    if response.finish == "blocked":
        notes.append("blocked")
    if split(response)[1] is None and {"reasoning_effort", "reasoning_tokens"} & set(params):
        notes.append("its reasoning is not shown")
    return notes


def _entry(head: Head, steps: list[str], response: Response | None, note: str) -> dict[str, Any]:
    usage = response.usage if response is not None else Usage()
    cost = cost_usd(head.model, usage) if response is not None else None
    return {
        "model": head.model.use,
        "steps": steps,
        "answers": response is not None,
        "seconds": response.elapsed_s if response is not None else None,
        "reported": response.model if response is not None else None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": float(cost) if cost is not None else None,
        "note": note,
    }


def _text(field: str, value: Any) -> str:
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
