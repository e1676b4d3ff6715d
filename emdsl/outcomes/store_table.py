"""The entries of a store as an SQL table in memory, for `cache stats` and `cache drop --where`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.errors import OutcomesError
from emdsl.outcomes import database, table
from emdsl.price_list import stored_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.digest import Digest
    from emdsl.query import Response

COLUMNS = {
    "key": "VARCHAR", "study": "VARCHAR", "run": "VARCHAR", "model": "VARCHAR", "reported": "VARCHAR",
    "fingerprint": "VARCHAR", "finish": "VARCHAR", "sample": "BIGINT", "answered_at": "TIMESTAMPTZ",
    "elapsed_s": "DOUBLE", "input_tokens": "BIGINT", "output_tokens": "BIGINT", "cost_usd": "DOUBLE", "bytes": "BIGINT",
    "text": "VARCHAR", "reasoned": "BOOLEAN",
}  # fmt: skip
BATCH = 20_000


class Entries:
    """A table `entries` in memory."""

    def __init__(self, connection: Any) -> None:
        self._database = connection

    def select(self, sql: str) -> database.SqlResult:
        """Return the result of a query; raises OutcomesError."""
        return database.select(self._database, sql)

    def keys(self, where: str) -> list[Digest]:
        """Return the keys of the entries that match a condition; raises OutcomesError."""
        return [bytes.fromhex(k) for (k,) in self._where("key", where, "").rows]

    def counted(self, where: str) -> list[tuple[Any, ...]]:
        """Return the number of entries that match a condition, by study and model; raises OutcomesError."""
        return self._where("study, model, count(*)", where, "GROUP BY ALL ORDER BY ALL").rows

    def _where(self, columns: str, where: str, end: str) -> database.SqlResult:
        if not where.strip() or ";" in where or "--" in where:
            raise OutcomesError("--where takes one SQL condition, without `;` and comments")
        return self.select(f"SELECT {columns} FROM entries WHERE ({where}) {end}")


@contextmanager
def opened(rows: Iterable[tuple[Any, ...]]) -> Iterator[Entries]:
    """Create the table from rows with the values of COLUMNS."""
    with database.in_memory() as connection:
        connection.execute("CREATE TABLE entries (" + ", ".join(f"{n} {t}" for n, t in COLUMNS.items()) + ")")
        remaining = iter(rows)
        while part := list(islice(remaining, BATCH)):
            connection.register("part", table.of_rows(tuple(COLUMNS), part))
            connection.execute("INSERT INTO entries SELECT * FROM part")
            connection.unregister("part")
        yield Entries(connection)


def row(
    key: Digest, size: int, response: Response, ingredients: Mapping[str, Any], study: str | None,
    price: tuple[float, float] | None,
) -> tuple[Any, ...]:  # fmt: skip
    """Return an entry as a row of the table; `price` is in USD per million tokens, of input and output."""
    usage = response.usage
    cost = stored_usd(str(ingredients.get("model")), response, price)
    return (
        key.hex(), study, response.run, ingredients.get("model"), response.model, response.fingerprint,
        response.finish, ingredients.get("sample"), datetime.fromtimestamp(response.answered_at, UTC),
        response.elapsed_s, usage.input_tokens, usage.output_tokens, cost, size, response.text,
        bool(response.reasoning),
    )  # fmt: skip
