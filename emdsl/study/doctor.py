"""Doctor: one cheap request to each model of a study, to test that it answers as the study needs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.capability import may_reason
from emdsl.errors import ProviderError, SetupError
from emdsl.experiment import request_settings
from emdsl.price_list import cost_usd
from emdsl.prompt import Message, Prompt
from emdsl.providers.secret import needs_servers, why_unusable
from emdsl.query import Query, RequestSettings, Usage
from emdsl.reasoning import split
from emdsl.run.probes import SPLITS, Probes

if TYPE_CHECKING:
    from emdsl.query import Response
    from emdsl.run.probes import Probe
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project

QUESTION = Prompt((Message("user", "Reply with the word OK."),))
FEW_TOKENS, MANY_TOKENS = 16, 2_000  # the least that every provider takes; and room to think first
TIMEOUT_S = 60.0


def check_models(study: Compiled, *, insecure: bool = False) -> list[dict[str, Any]]:
    """Send one cheap request to each model of a study, with the parameters of the study; nothing is stored.

    The current thread must have no running event loop.

    Returns:
        For each model: `use`, steps, whether it answered (None: a run starts its servers), seconds, tokens, cost and a
        note.
    """
    trials: dict[Any, _Trial] = {}
    for experiment in study.program.experiments:
        probes = Probes(experiment)
        for step, head in request_settings(experiment):
            kind = (head.model.use, head.model.url, frozenset(n for n, _ in head.params))
            trial = trials.setdefault(kind, _Trial(head))
            if step.name not in trial.steps:
                trial.steps.append(step.name)
            trial.probe = trial.probe or probes.of(step, head)
    return asyncio.run(_results(list(trials.values()), study.project, insecure=insecure))


@dataclasses.dataclass(slots=True)
class _Trial:
    """A model under test: its steps, and the probe of how it writes numbers, if that matters."""

    head: RequestSettings
    steps: list[str] = dataclasses.field(default_factory=list)
    probe: Probe | None = None


async def _results(trials: list[_Trial], project: Project, *, insecure: bool) -> list[dict[str, Any]]:
    from emdsl.providers.client import Client  # noqa: PLC0415 - 0.2 s that only asking should cost
    from emdsl.providers.http import Http  # noqa: PLC0415 - 0.2 s that only asking should cost
    from emdsl.sim.server import Simulator  # noqa: PLC0415 - only `--sim` starts one

    simulator = Simulator()
    await simulator.start()
    http = Http(len(trials), project.environment)
    client = Client(http, project.environment, simulator.url)

    async def one(trial: _Trial) -> dict[str, Any]:
        head, steps = trial.head, trial.steps
        if needs_servers(head.model, project.environment):
            return _served(head, steps, project)
        lacks = why_unusable(head.model, project.environment, insecure=insecure)
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
            if trial.probe is not None:
                try:
                    trial.probe.take(await client.ask(trial.probe.query, 0, lambda _: None))
                except ProviderError as error:
                    notes.append(str(error))
                notes += [SPLITS] if trial.probe.split else []
        return _entry(head, steps, response, "; ".join(notes))

    try:
        return await asyncio.gather(*map(one, trials))
    finally:
        await http.close()
        await simulator.stop()


def _cheap(head: RequestSettings) -> RequestSettings:
    """Return settings that allow only a short answer, unless the model must reason first."""
    params, few = dict(head.params), MANY_TOKENS if may_reason(head.model) else FEW_TOKENS
    if not params.get("reasoning_tokens"):
        params["max_tokens"] = min(few, params.get("max_tokens", few))
    model = dataclasses.replace(head.model, timeout_s=min(TIMEOUT_S, head.model.timeout_s or TIMEOUT_S))
    return dataclasses.replace(head, model=model, params=tuple(sorted(params.items())))


def _notes(head: RequestSettings, response: Response) -> list[str]:
    """Return notes about an answer that lacks something the study needs."""
    params = dict(head.params)
    notes = []
    if response.usage.output_tokens is None:
        notes.append("no token counts: its cost will be unknown")
    if "top_logprobs" in params and not response.logprobs:
        notes.append("no logprobs: `weighted` is unreadable")
    if response.finish == "blocked":
        notes.append("blocked")
    if split(response)[1] is None and {"reasoning_effort", "reasoning_tokens"} & set(params):
        notes.append("no reasoning in the answer")
    return notes


def _served(head: RequestSettings, steps: list[str], project: Project) -> dict[str, Any]:
    """Return whether a run can start the servers of a model; none is started."""
    from emdsl.serving.command import command_of  # noqa: PLC0415 - few studies have such models
    from emdsl.serving.local import find_program  # noqa: PLC0415 - few studies have such models

    model = head.model
    try:
        path = find_program(command_of(model, project.environment)[0], model.use, project.environment)
    except SetupError as error:
        return _entry(head, steps, None, str(error))
    started = f"`run --serve` starts {model.serve.shown if model.serve is not None else ''} by {path}"
    return _entry(head, steps, None, started) | {"answers": None}


def _entry(head: RequestSettings, steps: list[str], response: Response | None, note: str) -> dict[str, Any]:
    usage = response.usage if response is not None else Usage()
    cost = cost_usd(head.model, response) if response is not None else None
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
