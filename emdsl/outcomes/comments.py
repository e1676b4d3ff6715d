"""Comments in the database: what each column of a measure holds, by the glossary, and each relation."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from emdsl.lang.explain import entry
from emdsl.outcomes.draws import group_columns
from emdsl.outcomes.sql import literal, name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from emdsl.experiment import Experiment, Measure


@cache
def meaning(column: str) -> str:
    """Return the first sentence of the glossary about a column of measures; "" for a word that it lacks."""
    text = " ".join((entry(column) or "").partition("\n\n")[2].partition("\n\n")[0].split())
    return re.split(r"(?<=[\w`)])\. ", text)[0].rstrip(".")


def measure_comments(
    experiment: Experiment,
    measure: Measure,
    relation: str,
    kind: str,
    columns: Sequence[str],
    of_table: Mapping[str, str],
) -> Iterator[str]:
    """Yield the statements that comment the relation of a measure and its columns.

    Args:
        experiment: The experiment.
        measure: The measure.
        relation: Its relation, as SQL.
        kind: TABLE or VIEW.
        columns: The columns of the relation.
        of_table: The contents of the columns of the experiment's table: a measure's groups are among them.
    """
    groups = [c for c in columns if c in group_columns(measure)]
    rows = f"one row per {' and '.join(groups)}" if groups else "one row"
    text = f"measure {measure.name} of {experiment.name}: {measure.function.replace('_', ' ')}, {rows}"
    yield f"COMMENT ON {kind} {relation} IS {literal(text)}"
    for column in columns:
        contents = of_table.get(column, "") if column in groups else meaning(column) or of_table.get(column, "")
        if contents:
            yield f"COMMENT ON COLUMN {relation}.{name(column)} IS {literal(contents)}"
