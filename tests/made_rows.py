"""Tables of results that are made up in SQL: as many rows as wanted, without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.outcomes import loading
from emdsl.outcomes.sql import name
from emdsl.outcomes.table import fields_of

if TYPE_CHECKING:
    from emdsl.experiment import Experiment
    from emdsl.outcomes.database import Connection


def made_table(connection: Connection, experiment: Experiment, schema: str, select: str) -> None:
    """Create the table of an experiment in a new schema, with the rows of a SELECT; columns that it lacks are NULL."""
    connection.execute(f"CREATE SCHEMA {name(schema)}")
    table = f"{name(schema)}.{name(experiment.name)}"
    loading._create(connection, table, fields_of(experiment, ""))
    connection.execute(f"INSERT INTO {table} BY NAME {select}")
