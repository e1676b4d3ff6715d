"""Requests as they are sent: messages, parameters, key, and as a curl call."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import ProviderError, UnknownStep, UsageError
from emdsl.experiment import ASK
from emdsl.outcome import Result
from emdsl.redact import mask, mask_password
from emdsl.run.passes import settle_from_store
from emdsl.run.rows import Rows, settle
from emdsl.study.compiled import unknown
from emdsl.study.selection import selections, whole
from emdsl.study.self_shown import SelfShown
from emdsl.value import NOT_ASKED, EnvVar, render

if TYPE_CHECKING:
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.query import Query, RequestSettings
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project


@dataclass(frozen=True, slots=True)
class Rendered(SelfShown):
    """Requests of some cells, as they are sent; `print(...)` shows them as `emdsl render` does."""

    requests: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        """Return the requests as people read them."""
        return mask("\n".join(map(_text, self.requests)))

    def _text(self) -> str:
        return str(self)

    def _html(self) -> str:
        from emdsl.study.html import requests_html  # noqa: PLC0415 - `render` prints text

        return requests_html(self.requests)


def render_cells(
    study: Compiled, *, only: tuple[str, ...] = (), step: str | None = None, sample: int = 0, limit: int = 1,
    answer: str | None = None,
) -> Rendered:  # fmt: skip
    """Return the requests of the first cells of each experiment; nothing is sent.

    A request that depends on an answer is shown if the answer is cached, or with another text in its place: `answer`,
    or for the request of a chosen step a placeholder. Such a request has no key.

    Args:
        study: The compiled study.
        only: Select cells by level, each text `AXIS=VALUE[,VALUE]`.
        step: Show only this ask or judge.
        sample: Which sample of the cell, from 0.
        limit: Show at most this many cells of each experiment.
        answer: The text in place of each answer that is not cached.

    Raises:
        UsageError: The axis, level or step does not exist, or a number is out of range.
        SourceError: A prompt has no value in the cell.
    """
    program = study.program
    steps = [s.name for e in program.experiments for s in e.steps]
    if step is not None and step not in steps:
        raise UnknownStep(unknown("step", step, steps), parameter="step")
    sample, limit = whole(sample, 0, "sample"), whole(limit, 1, "limit")
    requests: list[dict[str, Any]] = []
    with study.store() as store:
        for experiment, selection in zip(program.experiments, selections(program, None, only), strict=True):
            walk = Rows(experiment, selection)
            for cell in itertools.islice((c for c in experiment.cells() if selection.takes(c)), limit):
                row = walk.row(cell, sample)
                settle_from_store(walk, [row], store)
                assumed = _assume(walk, row, answer) if answer is not None or step is not None else frozenset()
                levels = {a.name: a.levels[i].shown for a, i in zip(experiment.axes, row.cell, strict=True)}
                at = {"experiment": experiment.name, "cell": levels, "sample": sample}
                requests += [
                    at | _assuming(request(row, s), s, assumed) | {"query": query_of(row, s)}
                    for s in experiment.steps
                    if step in (None, s.name)
                ]
    return Rendered(tuple(requests))


def _assume(walk: Rows, row: Outcome, answer: str | None) -> frozenset[str]:
    """Settle the pending asks of a row by a text, or by placeholders; return the steps that read them."""
    assumed: set[str] = set()
    while pending := [s for s in walk.experiment.steps if s.kind == ASK and s.name in row.ready]:
        for step in pending:
            text = answer if answer is not None else f"[the answer of `{step.name}`]"
            settle(row, step, Result(text, row.ready[step.name], reading=NOT_ASKED))
            assumed.add(step.name)
        walk.advance(row)
    return frozenset(s.name for s in walk.experiment.steps if assumed & {*s.needs, *s.condition_needs})


def _assuming(shown: dict[str, Any], step: Step, assumed: frozenset[str]) -> dict[str, Any]:
    """Return a request without its key if it contains a text in place of an answer."""
    return shown | {"key": None} if step.name in assumed and "key" in shown else shown


def request(row: Outcome, step: Step, *, whole: bool = True) -> dict[str, Any]:
    """Return the request of a step of a row as it is sent, or why it is unknown.

    What it has in common with other requests is left out if it is not `whole`: `settings_of`, messages, and the key.
    """
    query = query_of(row, step)
    shown: dict[str, Any] = {"step": step.name, "kind": step.kind}
    if query is None:
        return shown | {"unknown": _why_unknown(step, row)}
    result = row.results.get(step.name)
    cached = result is not None and result.response is not None
    if not whole:
        return shown | {"cached": cached}
    return (
        shown
        | settings_of(query.settings)
        | {
            "key": query.key.hex(),
            "cached": cached,
            "messages": [{"role": m.role, "content": m.text} for m in query.prompt.messages],
        }
    )


def settings_of(settings: RequestSettings) -> dict[str, Any]:
    """Return the model and the parameters of a request."""
    return {"model": settings.model.use, "parameters": {k: _plain(v) for k, v in settings.params}}


def query_of(row: Outcome, step: Step) -> Query | None:
    """Return the request of a step of a row, pending or answered; None if it is unknown."""
    result = row.results.get(step.name)
    return row.ready.get(step.name) or (result.query if result is not None else None)


def _why_unknown(step: Step, row: Outcome) -> str:
    result = row.results.get(step.name)
    if result is not None:
        return f"no request: {getattr(result.value, 'reason', 'settled')}"
    waits = [n for n in (*step.condition_needs, *step.needs) if n not in row.results]
    return f"depends on the answer of `{waits[0]}`" if waits else "unknown"


def _plain(value: Any) -> Any:
    return value if isinstance(value, tuple | list | dict) or render(value) is None else render(value)


def _text(shown: dict[str, Any]) -> str:
    at = "  ".join(f"{k}={v}" for k, v in shown["cell"].items())
    return f"{shown['experiment']}   {at}   sample {shown['sample']}\n" + request_text(shown)


def request_text(shown: dict[str, Any]) -> str:
    """Return a request as people read it."""
    head = f"{shown['kind']} {shown['step']}"
    if "unknown" in shown:
        return f"{head}   {shown['unknown']}\n"
    settings = "  ".join(
        f"{k}={v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str)}"
        for k, v in shown["parameters"].items()
    )
    cached = "cached" if shown["cached"] else "pending"
    key = f"key {shown['key']}   {cached}" if shown["key"] else "no key: an answer that it contains is not cached"
    lines = [head + f"   {shown['model']}   {settings}", key]
    for message in shown["messages"]:
        lines += [f"--- {message['role']}", message["content"]]
    return "\n".join([*lines, "---", ""])


def curl(query: Query, project: Project) -> str:
    """Return a shell command that sends a request; it names the variable of the API key, never its value."""
    from emdsl.providers.address import join_url  # noqa: PLC0415 - pydantic waits for who needs a body
    from emdsl.providers.client import FORMATS, format_of  # noqa: PLC0415 - pydantic waits for who needs a body
    from emdsl.providers.secret import find_keys, find_url  # noqa: PLC0415 - pydantic waits for who needs a body

    model = query.settings.model
    url = mask_password(find_url(model, project.environment)[0] or "http://127.0.0.1:PORT/v1")
    _, variable = find_keys(model, project.environment)
    form = FORMATS[format_of(query)]
    headers = {"Content-Type": "application/json"} | dict(form.headers(f"${variable}" if variable else None))
    own = {name: f"${value.name}" if isinstance(value, EnvVar) else value for name, value in model.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in {n.lower() for n in own}} | own
    options = [f'-H "{name}: {value}"' for name, value in headers.items()]
    try:
        body = form.encode(query).decode("utf-8", "replace")
    except ProviderError as error:
        raise UsageError(str(error)) from None
    return " \\\n  ".join([f"curl {shlex.quote(join_url(url, form.path(query)))}", *options, f"-d {shlex.quote(body)}"])
