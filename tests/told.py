"""Studies whose replies a test dictates, run and loaded in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from support import InProcess, program, run

from emdsl.outcomes import database, loading
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.query import Query

LOAD = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
RUBRICS = """
rubric score(answer) from "sim/judge" { scale = 0..100, refusal = "REFUSAL", user "score|{answer}" }
rubric kind(answer) from "sim/judge" { choices = { good: "g", bad: "b", odd: "o" }, user "kind|{answer}" }
"""
Row = dict[str, Any]


class Told(InProcess):
    """An answer is its prompt with the sample; a judge's reply comes from a function of both and the judge's sample."""

    def __init__(self, reply: Callable[..., Any]) -> None:
        super().__init__()
        self.reply = reply

    async def ask(self, query: Query, *_: Any) -> Response:
        text = query.prompt.messages[0].text
        if query.settings.model.wire_name != "judge":
            return Response(text=f"{text}|{query.sample}", finish="stop")
        return Response(text=str(self.reply(*text.split("|"), query.sample)), finish="stop")


@dataclass(frozen=True)
class Loaded:
    """A loaded study: the rows of each measure, those of the experiment, and the notices."""

    experiment: Experiment
    measures: dict[str, list[Row]]
    table: list[Row]
    notices: list[str]


def loaded(text: str, reply: Callable[..., Any], folder: Path | None = None) -> Loaded:
    """Run and load a text with one experiment; `reply` gets the rubric, the parts of the prompt and both samples."""
    found, store = program(RUBRICS + text, folder), MemoryStore()
    run(found, store, Told(reply), folder=folder)
    (only,) = found.experiments
    with duckdb.connect(":memory:") as connection:
        notices = loading._fill(connection, LOAD, [(only, collect(Rows(only), store, {}))])
        measures = {}
        for measure in only.measures:
            result = database.measure_rows(connection, "s", measure.name)
            assert result is not None, notices
            measures[measure.name] = [dict(zip(result.columns, r, strict=True)) for r in result.rows]
        cursor = connection.execute(f'SELECT * FROM s."{only.name}"')
        columns = [c[0] for c in cursor.description or ()]
        table = [dict(zip(columns, r, strict=True)) for r in cursor.fetchall()]
    return Loaded(only, measures, table, notices)
