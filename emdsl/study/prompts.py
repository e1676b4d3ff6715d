"""The prompts of a study in SQL: every row is rendered again, from the program and the stored answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes.prompts import add_prompts
from emdsl.run.passes import collect
from emdsl.run.rows import Rows

if TYPE_CHECKING:
    from emdsl.outcomes.database import Connection
    from emdsl.study.compiled import Compiled


def load_prompts(study: Compiled, connection: Connection) -> None:
    """Add the prompts of all requests that are known, and the drawn demonstrations, to an open database.

    They are temporary tables of the connection, `EXPERIMENT_prompts` and `EXPERIMENT_draws`. Raises SourceError for an
    error that only evaluating a cell shows.
    """
    with study.store() as store:
        for experiment in study.program.experiments:
            add_prompts(connection, experiment, collect(Rows(experiment), store, {}))
