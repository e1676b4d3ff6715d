"""The story of one row: its requests, the responses, how they were read, and where they count."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError, UsageError
from emdsl.experiment import ASK
from emdsl.logprobs import LabelWeights
from emdsl.outcomes import database
from emdsl.outcomes.browsing import key_condition
from emdsl.outcomes.draws import part_sql, parts_sql
from emdsl.reasoning import split
from emdsl.redact import mask
from emdsl.run.passes import settle_from_store, settle_missing, with_groups
from emdsl.run.rows import Rows
from emdsl.study.places import check_key, unknown_key
from emdsl.study.rendering import request, request_text
from emdsl.study.self_shown import SelfShown
from emdsl.value import LabelledMap, Missing, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome, Result
    from emdsl.study.compiled import Compiled


@dataclass(frozen=True, slots=True)
class Stories(SelfShown):
    """Some rows with everything about them; `n_rows` is how many rows match in all."""

    stories: tuple[dict[str, Any], ...]
    n_rows: int

    def __str__(self) -> str:
        """Return the stories as people read them."""
        return mask("\n".join(map(_text, self.stories)))

    def _text(self) -> str:
        return str(self)

    def _html(self) -> str:
        from emdsl.study.html import stories_html  # noqa: PLC0415 - `show --row` prints text

        return stories_html(self.stories, self.n_rows)


def tell_rows(study: Compiled, where: str, limit: int = 1) -> Stories:
    """Return the stories of the first rows for which a condition in SQL holds.

    Args:
        study: The compiled study; its tables are loaded.
        where: A condition, such as `aligned < 30 AND sample = 2`.
        limit: Tell at most this many rows.

    Raises:
        UsageError: No experiment has the columns of the condition.
    """
    if not where.strip() or ";" in where or "--" in where:
        raise UsageError("expected one condition in SQL, such as 'aligned < 30 AND sample = 2'", parameter="row")
    return _told(study, lambda _: where, limit)


def tell_key(study: Compiled, key: str, limit: int = 1) -> Stories:
    """Return the stories of the first rows with a request whose key begins with some digits.

    Raises:
        UsageError: The text is not a key, or no row has it.
    """
    digits = check_key(key)
    told = _told(study, lambda experiment: key_condition(experiment, digits), limit)
    if not told.stories:
        raise unknown_key(study, key)
    return told


def _told(study: Compiled, where_of: Callable[[Experiment], str], limit: int) -> Stories:
    stories: list[dict[str, Any]] = []
    n_rows, faults = 0, list[str]()
    with study.store() as store, study.tables() as (connection, _):
        for experiment in study.program.experiments:
            try:
                places = database.places(connection, study.name, experiment, where_of(experiment))
            except OutcomesError as error:
                faults.append(str(error))
                continue
            n_rows += len(places)
            walk = Rows(experiment)
            with_groups(walk, store, {})
            for place, row in _rows_at(walk, places[: limit - len(stories)]):
                settle_from_store(walk, [row], store)
                settle_missing(walk, row, {})
                counted = [
                    {"measure": m.name} | part_of(connection, experiment, m.name, study.name, place)
                    for m in experiment.measures
                ]
                stories.append(story_of(experiment, row) | {"counted": counted})
    if len(faults) == len(study.program.experiments):
        raise UsageError(faults[0], parameter="row")
    return Stories(tuple(stories), n_rows)


def _rows_at(walk: Rows, places: list[int]) -> list[tuple[int, Outcome]]:
    """Return the rows at some places of the table: it holds them as the walk makes them."""
    wanted = set(places)
    rows = islice(enumerate(walk.everything()), max(wanted, default=-1) + 1)
    return [(i, row) for i, row in rows if i in wanted]


def part_of(
    connection: database.Connection, experiment: Experiment, name: str, study: str, place: int
) -> dict[str, Any]:  # fmt: skip
    """Return how a row counts in a measure: its group and value, or the reason why it is dropped."""
    measure = next(m for m in experiment.measures if m.name == name)
    result = database.select(connection, part_sql(experiment, measure, study, place))
    return part(result.columns[1:-2], result.rows[0] if result.rows else None)


def parts_of(
    connection: database.Connection, experiment: Experiment, study: str
) -> Iterator[tuple[str, Sequence[str], list[tuple[Any, ...]]]]:
    """Yield each measure with the columns of its group, and with how rows count in it.

    A row has its place in the table, its group, its value, and why it is dropped. Those on no side are not there.
    """
    for measure in experiment.measures:
        result = database.select(connection, f"{parts_sql(experiment, measure, study)} ORDER BY 1")
        yield measure.name, result.columns[1:-2], result.rows


def part(columns: Sequence[str], row: Sequence[Any] | None) -> dict[str, Any]:
    """Return how a row of `parts_of` counts in a measure."""
    if row is None:
        return {"group": {}, "value": None, "dropped": "not among its rows"}
    _, *group, value, dropped = row
    return {"group": dict(zip(columns, group, strict=True)), "value": value, "dropped": dropped}


def story_of(experiment: Experiment, row: Outcome, *, whole: bool = True) -> dict[str, Any]:
    """Return the story of a settled row, without how it counts in measures; its requests may be not `whole`."""
    cell = {a.name: a.levels[i].shown for a, i in zip(experiment.axes, row.cell, strict=True)}
    lets = {c.name: _value_text(row.frame[c.name]) for c in experiment.columns}
    steps = [request(row, step, whole=whole) | _reply(step, row.results[step.name]) for step in experiment.steps]
    return {"experiment": experiment.name, "cell": cell, "sample": row.sample, "steps": steps, "lets": lets}


def _reply(step: Step, result: Result) -> dict[str, Any]:
    """Return what came back, and how it was read."""
    shown: dict[str, Any] = {"value": _value_text(result.value)}
    if isinstance(result.value, Missing):
        shown["missing"] = result.value.reason
    response = result.response
    if response is None:
        return shown
    reasoning = result.reasoning if step.kind == ASK else split(response, result.query)[1]
    shown |= {"reply": response.text} if step.kind != ASK else {}
    if step.readings and not isinstance(result.value, Missing):
        shown["read"] = _value_text(result.reading)
    shown |= {"reasoning": reasoning} if reasoning is not None else {}
    if result.weights is not None:
        shown |= {"mass": result.weights.mass, "word_mass": result.weights.word_mass}
        if isinstance(result.weights, LabelWeights) and result.weights.mass:
            shown["p"] = {label: result.weights.share(label) for label, _ in result.weights.by_label}
    if result.bad_replies:
        shown["unread"] = [previous.text for _, previous in result.bad_replies]
    shown |= {"batch": response.batch} if response.batch is not None else {}
    return shown | {
        "finish": response.finish,
        "reported": response.model,
        "answered_at": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(response.answered_at)),
        "run": response.run,
    }


def _value_text(value: Any) -> str:
    if isinstance(value, Missing):
        return f"missing: {value.reason}"
    if isinstance(value, LabelledMap):
        return ", ".join(f"{field}: {_value_text(part)}" for field, part in value.entries)
    rendered = render(value)
    return str(value) if rendered is None else rendered


def _text(story: dict[str, Any]) -> str:
    at = "  ".join(f"{k}={v}" for k, v in story["cell"].items())
    lines = [f"{story['experiment']}   {at}   sample {story['sample']}", ""]
    for step in story["steps"]:
        lines.append(request_text(step))
        if "finish" in step:
            lines[-1] = lines[-1].removesuffix("---\n")
            lines += [f"--- reasoning\n{step['reasoning']}"] if "reasoning" in step else []
            batch = f", batch {step['batch']}" if "batch" in step else ""
            lines += [f"--- response: {step['finish']}, {step['answered_at']}, run {step['run']}{batch}"]
            lines += [step.get("reply", step["value"])]
            read = step.get("read", step["value"] if "reply" in step else None)
            lines += [f"--- read as: {read}{_mass(step)}"] if read is not None else []
            lines += [f"--- a previous reply, unreadable:\n{text}" for text in step.get("unread", ())]
            lines += ["---", ""]
    lines += [f"let {k} = {v}" for k, v in story["lets"].items()]
    for part in story["counted"]:
        group = ", ".join(f"{k} {v}" for k, v in part["group"].items())
        how = f"dropped: {part['dropped']}" if part["dropped"] else f"counts as {_number(part['value'])}"
        lines.append(f"measure {part['measure']}" + (f" ({group})" if group else "") + f": {how}")
    return "\n".join(lines)


def _mass(step: dict[str, Any]) -> str:
    """Return the probability mass behind a weighted verdict."""
    if "mass" not in step:
        return ""
    values = "labels" if "p" in step else "numbers"
    shares = "".join(f"; {label} {p:.3f}" for label, p in step.get("p", {}).items())
    return f"   (probability of {values} {step['mass']:.3f}, of declared words {step['word_mass']:.3f}{shares})"


def _number(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}"
