"""The rendered prompts of rows, and the demonstrations that they drew, as temporary tables beside the results.

Each text is held once, however many rows have it. Nothing of it is in the file of the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.outcomes.column_values import clean, column_values
from emdsl.outcomes.sql import inner, literal, name
from emdsl.outcomes.table import Field, fields_of, joined, of_rows
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome
    from emdsl.outcomes.database import Connection

PROMPTS, DRAWS = "prompts", "draws"  # the ends of the names of the tables, after that of the experiment
CONTENTS = {  # of their columns, beside axes and sample
    "step": "ask or judge", "key": "key of the request, as in `STEP_key`", "text": "text of all messages",
    "messages": "the messages in order, each with `role` and `content`",
    "list": "the `let` that holds the rows", "place": "place in the list, from 1", "dataset": "the dataset",
    "position": "position in the dataset, from 0", "columns": "the columns of the row, as texts",
}  # fmt: skip
STEP, KEY, PROMPT, MESSAGES = map(inner, ("step", "key", "prompt", "messages"))
LIST, PLACE, DATASET, POSITION, COLUMNS = map(inner, ("list", "place", "dataset", "position", "columns"))
_MESSAGES = "list_transform(list_zip(roles, texts), lambda m: {'role': m[1], 'content': m[2]})"


def add_prompts(connection: Connection, experiment: Experiment, chunks: Iterable[list[Outcome]]) -> None:
    """Create `EXPERIMENT_prompts`, and `EXPERIMENT_draws` if it draws rows, from all rows, settled."""
    tables = _Tables(connection, experiment)
    tables.create()
    for rows in chunks:
        tables.add_requests(rows)
        if experiment.drawn:
            tables.add_draws(rows)
    tables.create_views()


class _Tables:
    """The tables of one experiment: requests with digests of prompts, each prompt once, and the same for draws."""

    def __init__(self, connection: Connection, experiment: Experiment) -> None:
        self._connection, self._experiment = connection, experiment
        self._place = list(_place(experiment))
        # no name of a study has a blank
        self._requests, self._prompts, self._draws, self._rows = (
            f"temp.{name(f'{experiment.name} {kind}')}" for kind in ("requests", "prompts", "draws", "rows")
        )
        self._known: set[Any] = set()  # digests of prompts, and rows by dataset and position

    def create(self) -> None:
        """Create the tables, empty."""
        place = ", ".join(f"{name(f.name)} {f.sql}" for f in self._place)
        for table, columns in (
            (self._requests, f"{place}, {STEP} VARCHAR, {KEY} VARCHAR, {PROMPT} BLOB"),
            (self._prompts, f"{PROMPT} BLOB, {MESSAGES} STRUCT(role VARCHAR, content VARCHAR)[]"),
            (self._draws, f"{place}, {LIST} VARCHAR, {PLACE} BIGINT, {DATASET} VARCHAR, {POSITION} BIGINT"),
            (self._rows, f"{DATASET} VARCHAR, {POSITION} BIGINT, {COLUMNS} MAP(VARCHAR, VARCHAR)"),
        ):
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({columns})")

    def add_requests(self, rows: list[Outcome]) -> None:
        """Add the requests of rows, as far as they are known."""
        for step in self._experiment.steps:
            asked = [(row, query) for row in rows if (query := row.results[step.name].query) is not None]
            prompts = {query.prompt.digest: query.prompt for _, query in asked}
            more: dict[str, list[Any]] = {
                STEP: [step.name] * len(asked), KEY: [query.key.hex() for _, query in asked],
                PROMPT: [query.prompt.digest for _, query in asked],
            }  # fmt: skip
            self._insert(self._requests, joined(self._place, self._experiment, [row for row, _ in asked], more))
            fresh = [
                (key, [m.role for m in prompt.messages], [clean(m.text) for m in prompt.messages])
                for key, prompt in prompts.items() if key not in self._known
            ]  # fmt: skip
            self._insert(self._prompts, of_rows(("prompt", "roles", "texts"), fresh), f"prompt, {_MESSAGES}")
            self._known |= prompts.keys()

    def add_draws(self, rows: list[Outcome]) -> None:
        """Add the rows of datasets that some rows drew."""
        items = [
            (row, at, i, x) for row in rows for at in self._experiment.drawn for i, x in enumerate(_drawn(row, at), 1)
        ]
        more: dict[str, list[Any]] = {
            LIST: [at for _, at, _, _ in items], PLACE: [i for _, _, i, _ in items],
            DATASET: [x.dataset for *_, x in items], POSITION: [x.position for *_, x in items],
        }  # fmt: skip
        self._insert(self._draws, joined(self._place, self._experiment, [row for row, *_ in items], more))
        held = {(x.dataset, x.position): x.columns for *_, x in items}
        fresh = [
            (*at, list(columns), [_text(x) for x in columns.values()])
            for at, columns in held.items() if at not in self._known
        ]  # fmt: skip
        self._insert(
            self._rows, of_rows(("dataset", "position", "names", "texts"), fresh),
            "dataset, position, map(names, texts)",
        )  # fmt: skip
        self._known |= held.keys()

    def create_views(self) -> None:
        """Create the views that people query: over requests and prompts, and over draws and rows."""
        text = f"array_to_string(list_transform({MESSAGES}, lambda m: m.content), chr(10) || chr(10))"
        self._view(PROMPTS, {STEP: "step", KEY: "key", text: "text", MESSAGES: "messages"},
                   f"{self._requests} JOIN {self._prompts} USING ({PROMPT})")  # fmt: skip
        if self._experiment.drawn:
            shown = {LIST: "list", PLACE: "place", DATASET: "dataset", POSITION: "position", COLUMNS: "columns"}
            self._view(DRAWS, shown, f"{self._draws} JOIN {self._rows} USING ({DATASET}, {POSITION})")

    def _view(self, kind: str, columns: dict[str, str], source: str) -> None:
        taken = {f.name.lower() for f in self._place}
        own = [f"{sql} AS {name(_free(called, kind, taken))}" for sql, called in columns.items()]
        selected = ", ".join([*(name(f.name) for f in self._place), *own])
        called = name(f"{self._experiment.name}_{kind}")
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {called} AS SELECT {selected} FROM {source}")

    def _insert(self, table: str, part: Any, select: str = "*") -> None:
        if part is not None:
            self._connection.register("part", part)
            self._connection.execute(f"INSERT INTO {table} SELECT {select} FROM part")
            self._connection.unregister("part")


def schema_of_prompts(connection: Connection, experiment: Experiment) -> list[tuple[str, str, str, str]]:
    """Return the columns of an experiment's views: relation, column, type and contents."""
    views = [literal(f"{experiment.name}_{kind}") for kind in (PROMPTS, DRAWS)]
    columns = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'temp' "
        f"AND table_name IN ({', '.join(views)}) ORDER BY table_name DESC, column_index"
    ).fetchall()
    place = {f.name: f.comment for f in _place(experiment)}
    taken = {column.lower() for column in place}
    own = {
        (f"{experiment.name}_{kind}", _free(called, kind, taken)): contents
        for kind in (PROMPTS, DRAWS) for called, contents in CONTENTS.items()
    }  # fmt: skip
    return [(relation, column, kind, place.get(column) or own[relation, column]) for relation, column, kind in columns]


def _free(called: str, kind: str, taken: Collection[str]) -> str:
    """Return the name of a column: with the kind of its table before it if an axis has this name."""
    while called in taken:
        called = f"{kind}_{called}"
    return called


def _place(experiment: Experiment) -> Iterator[Field]:
    """Yield the columns that tell the rows of an experiment apart: its axes, and the sample."""
    for field in fields_of(experiment, ""):
        yield field
        if field.name == "sample":
            return


def _drawn(row: Outcome, at: str) -> list[Row]:
    value = row.frame[at]
    return [x for x in value if isinstance(x, Row)] if isinstance(value, tuple) else []


def _text(value: Any) -> str | None:
    (held,) = column_values([value])
    return clean(str(held)) if held is not None else None
