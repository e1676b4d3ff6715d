"""Studies whose judge gives the scores of a function, run and loaded in memory: rows and measures as dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
from support import InProcess, program, run

from emdsl.outcomes import loading
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.query import Query
    from emdsl.store.store import Store

RUBRIC = 'rubric score(place) from "sim/judge" { scale = 0..100, user "score {place}" }\n'


class Scored(InProcess):
    """A judge whose replies are a function of what its prompt names; subjects answer anything."""

    def __init__(self, reply: Callable[..., str]) -> None:
        super().__init__()
        self.reply = reply

    async def ask(self, query: Query, *_: Any) -> Response:
        word, *place = query.prompt.messages[-1].text.split()
        return Response(text=self.reply(*place) if word == "score" else "answer", finish="stop")


def measured(
    text: str, reply: Callable[..., str], folder: Path | None = None
) -> tuple[Experiment, dict[str, list[dict[str, Any]]], list[str]]:
    """Run and load a study; return its experiment, the rows of its tables by name, and the notices of the load.

    Args:
        text: The study, without the rubric `score`, which its judges use.
        reply: Returns a judge's reply for the words of its prompt after `score`.
        folder: Where the files of the study are.
    """
    found, store = program(RUBRIC + text, folder), MemoryStore()
    run(found, store, Scored(reply))
    (only,) = found.experiments
    return only, *tables_of(only, store)


def tables_of(only: Experiment, store: Store) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Load an experiment from a store; return the rows of its tables by name, and the notices of the load."""
    load = loading.Load(study="s", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    tables = {}
    with duckdb.connect(":memory:") as connection:
        notices = loading._fill(connection, load, [(only, collect(Rows(only), store, {}))])
        for name in (only.name, *(m.name for m in only.measures)):
            result = connection.execute(f'FROM s."{name}"')
            columns = [c[0] for c in result.description or ()]
            tables[name] = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    return tables, notices
