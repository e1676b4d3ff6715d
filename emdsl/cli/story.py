"""The whole story of one outcome: what was sent, what came back, how it was read, and where it counts."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.cli.render import request, request_text
from emdsl.errors import OutcomesError, UsageError
from emdsl.experiment import ASK
from emdsl.outcomes import database
from emdsl.outcomes.measures import part_sql
from emdsl.reasoning import split
from emdsl.run.walk import Walk, leave, resolve
from emdsl.value import Missing, render

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.cli.session import Session
    from emdsl.experiment import Experiment, Program, Step
    from emdsl.outcome import Outcome, Result
    from emdsl.store.disk import DiskStore


def stories(
    here: Session, file: Path, program: Program, store: DiskStore, where: str, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return the stories of the first outcomes for which a condition in SQL holds, and of how many it does.

    Raises UsageError where no experiment has the columns that it names.
    """
    if not where.strip() or ";" in where or "--" in where:
        raise UsageError("--row takes one condition in SQL, such as 'aligned < 30 AND sample = 2'")
    found: list[dict[str, Any]] = []
    n, faults = 0, list[str]()
    study = here.study(file)
    with database.opened(here.cache, study) as (connection, _):
        for experiment in program.experiments:
            try:
                all_places = database.places(connection, study, experiment, where)
            except OutcomesError as error:
                faults.append(str(error))
                continue
            n += len(all_places)
            walk = Walk(experiment)
            for place, row in _at(walk, all_places[: limit - len(found)]):
                resolve(walk, [row], store)
                leave(walk, row, {})
                counted = [
                    {"measure": m.name} | _part(connection, experiment, m.name, study, place)
                    for m in experiment.measures
                ]
                found.append(_story(walk, row) | {"counted": counted})
    if len(faults) == len(program.experiments):
        raise UsageError(f"--row: {faults[0]}")
    return found, n


def _at(walk: Walk, places: list[int]) -> list[tuple[int, Outcome]]:
    """Return the rows at some places of the table: it holds them as the walk makes them."""
    wanted = set(places)
    rows = islice(enumerate(walk.rows(everything=True)), max(wanted, default=-1) + 1)
    return [(i, row) for i, row in rows if i in wanted]


def _part(connection: Any, experiment: Experiment, measure: str, study: str, place: int) -> dict[str, Any]:
    found = next(m for m in experiment.measures if m.name == measure)
    result = database.select(connection, part_sql(experiment, found, study, place))
    if not result.rows:
        return {"group": {}, "value": None, "dropped": "not among its rows"}
    *group, value, dropped = result.rows[0]
    return {"group": dict(zip(result.columns, group, strict=False)), "value": value, "dropped": dropped}


def _story(walk: Walk, row: Outcome) -> dict[str, Any]:
    experiment = walk.experiment
    cell = {a.name: a.levels[i].shown for a, i in zip(experiment.axes, row.cell, strict=True)}
    lets = {c.name: _shown(row.frame[c.name]) for c in experiment.columns}
    steps = [request(row, step) | _came(step, row.results[step.name]) for step in experiment.steps]
    return {"experiment": experiment.name, "cell": cell, "sample": row.sample, "steps": steps, "lets": lets}


def _came(step: Step, result: Result) -> dict[str, Any]:
    """Return what came back, and how it was read."""
    found: dict[str, Any] = {"value": _shown(result.value)}
    if isinstance(result.value, Missing):
        found["missing"] = result.value.reason
    response = result.response
    if response is None:
        return found
    reasoning = result.reasoning if step.kind == ASK else split(response, result.query)[1]
    found |= {"reply": response.text} if step.kind != ASK else {}
    found |= {"reasoning": reasoning} if reasoning is not None else {}
    if result.weights is not None:
        found |= {"mass": result.weights.mass, "word_mass": result.weights.word_mass}
    if result.earlier:
        found["unread"] = [earlier.text for _, earlier in result.earlier]
    return found | {
        "finish": response.finish,
        "reported": response.model,
        "answered_at": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(response.answered_at)),
        "run": response.run,
    }


def _shown(value: Any) -> str:
    if isinstance(value, Missing):
        return f"missing: {value.reason}"
    shown = render(value)
    return str(value) if shown is None else shown


def story_text(story: dict[str, Any]) -> str:
    """Return a story as people read it."""
    at = "  ".join(f"{k}={v}" for k, v in story["cell"].items())
    lines = [f"{story['experiment']}   {at}   sample {story['sample']}", ""]
    for step in story["steps"]:
        lines.append(request_text(step))
        if "finish" in step:
            lines[-1] = lines[-1].removesuffix("---\n")
            lines += [f"--- reasoning\n{step['reasoning']}"] if "reasoning" in step else []
            lines += [f"--- came back: {step['finish']}, {step['answered_at']}, run {step['run']}"]
            lines += [step.get("reply", step["value"])]
            lines += [f"--- read as: {step['value']}{_mass(step)}"] if "reply" in step else []
            lines += [f"--- a reply before, that could not be read:\n{text}" for text in step.get("unread", ())]
            lines += ["---", ""]
    lines += [f"let {k} = {v}" for k, v in story["lets"].items()]
    for part in story["counted"]:
        group = ", ".join(f"{k} {v}" for k, v in part["group"].items())
        how = f"dropped: {part['dropped']}" if part["dropped"] else f"counts as {_number(part['value'])}"
        lines.append(f"measure {part['measure']}" + (f" ({group})" if group else "") + f": {how}")
    return "\n".join(lines)


def _mass(step: dict[str, Any]) -> str:
    """Return where the probability of a weighted verdict lies, as people read it."""
    if "mass" not in step:
        return ""
    return f"   (probability of numbers {step['mass']:.3f}, of declared words {step['word_mass']:.3f})"


def _number(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}"
