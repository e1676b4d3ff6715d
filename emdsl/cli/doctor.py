"""`emdsl doctor`: one cheap request to each model of a study, to see that it answers as the program needs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.money import usd
from emdsl.compiler.compile import compile_file
from emdsl.errors import ProviderError
from emdsl.experiment import heads
from emdsl.price import cost_usd
from emdsl.prompt import Message, Prompt
from emdsl.providers.secret import problem
from emdsl.query import Head, Query, split_reasoning

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.query import Response

QUESTION = Prompt((Message("user", "Reply with the word OK."),))
FEW_TOKENS = 16  # the least that every provider takes


@click.command("doctor")
@session.with_options(session.FILE, session.ENV_FILE, session.AS_JSON, session.INSECURE)
def command(file: Path, env_file: Path | None, as_json: bool, insecure: bool) -> int:
    """Ask each model of FILE one cheap question, with the parameters that the program sends; nothing is stored."""
    console.expect_json(wanted=as_json)
    here = session.open_session(file, None, env_file)
    program = compile_file(file, here.environment)
    found: dict[Any, Head] = {}
    for experiment in program.experiments:
        for head in heads(experiment):
            found.setdefault((head.model.use, head.model.url, frozenset(n for n, _ in head.params)), head)
    entries = asyncio.run(_asked(list(found.values()), here, insecure=insecure))
    if as_json:
        console.show_json({"models": entries})
    else:
        columns = ["model", "answers", "in", "reported", "tokens in/out", "cost", "note"]
        console.show_table(columns, [[_text(e[c]) for c in columns] for e in entries], numeric=["in", "cost"])
    return 0 if all(e["answers"] for e in entries) else 1


async def _asked(found: list[Head], here: Session, *, insecure: bool) -> list[dict[str, Any]]:
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - as above
    from emdsl.sim.server import Simulator  # noqa: PLC0415 - as above

    simulator = Simulator()
    await simulator.start()
    http = Http(len(found))
    client = Client(http, here.environment, simulator.url)

    async def one(head: Head) -> dict[str, Any]:
        lacks = problem(head.model, here.environment, insecure=insecure)
        if lacks is not None:
            return _entry(head, None, lacks.partition(": ")[2])
        try:
            response = await client.ask(Query(_cheap(head), QUESTION, 0, b""), 0, lambda _: None)
        except ProviderError as error:
            return _entry(head, None, str(error))
        return _entry(head, response, "; ".join(_notes(head, response)))

    try:
        return await asyncio.gather(*map(one, found))
    finally:
        await http.close()
        await simulator.stop()


def _cheap(head: Head) -> Head:
    """Return a head that allows a short answer only, unless it must think first."""
    params = dict(head.params)
    if not params.get("reasoning_tokens"):
        params["max_tokens"] = min(FEW_TOKENS, params.get("max_tokens", FEW_TOKENS))
    return dataclasses.replace(head, params=tuple(sorted(params.items())))


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
    if split_reasoning(response)[1] is None and {"reasoning_effort", "reasoning_tokens"} & set(params):
        notes.append("its reasoning is not shown")
    return notes


def _entry(head: Head, response: Response | None, note: str) -> dict[str, Any]:
    usage = response.usage if response is not None else None
    cost = cost_usd(head.model, usage) if usage is not None else None
    return {
        "model": head.model.use,
        "answers": response is not None,
        "in": f"{response.elapsed_s:.2f} s" if response is not None else None,
        "reported": response.model if response is not None else None,
        "tokens in/out": f"{usage.input_tokens or 0} / {usage.output_tokens or 0}" if usage is not None else None,
        "cost": usd(cost) if usage is not None else None,
        "note": note,
    }


def _text(value: Any) -> str:
    return "yes" if value is True else "no" if value is False else "" if value is None else str(value)
