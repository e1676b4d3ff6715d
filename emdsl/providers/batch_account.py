"""The account that batches belong to: calls to its API, and the parts that the batch APIs of all providers share."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from emdsl.errors import ProviderError, Rejected, Unavailable
from emdsl.providers import transfers
from emdsl.providers.address import join_url, server_of
from emdsl.providers.batches import Line, Phase
from emdsl.providers.error_body import find_error
from emdsl.providers.http_errors import Blocked, error_in_200, error_of
from emdsl.providers.wire import as_json, blocked, plain_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence

    from emdsl.providers.batches import Batch
    from emdsl.providers.http import Http, Mask
    from emdsl.providers.transfers import FileBody
    from emdsl.query import Response

CALL_S = 120.0  # for a call without a file
CLOCKS_S = 300.0  # by which the provider's clock may be behind ours
BAD_REQUEST, NOT_FOUND = 400, 404
_ID = re.compile(rb'"(?:custom_id|key)"\s*:\s*"([0-9A-Za-z_-]{1,64})"')  # in a line that cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAccount:
    """How batches of one model reach their provider, with one of its API keys."""

    http: Http = field(repr=False)
    base: str = field(repr=False)  # URL
    headers: Mapping[str, str] = field(repr=False)
    mask: Mask = field(repr=False)
    model: str  # its name in the API
    read: Callable[[Mapping[str, Any]], Response] = field(repr=False)  # of the wire format; raises as Format.read
    complete: Callable[[Response], Response] = field(repr=False)  # masked, and when it was received
    explain: Callable[[ProviderError], None] = field(repr=False)  # masks the text of an error, names the refused key

    def url(self, path: str, *, area: str = "", **query: str | int) -> str:
        """Return the URL of a path; `area` goes before the version of the API, the last part of the base URL."""
        base = self.base
        if area:
            parts = urlsplit(base)
            folder, _, version = parts.path.rstrip("/").rpartition("/")
            base = parts._replace(path=f"{folder}/{area}/{version}").geturl()
        url = join_url(base, path)
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}" if query else url

    async def call(self, method: str, url: str, content: Any = None) -> Any:
        """Return the JSON of a reply, {} if it is empty; raises ProviderError."""
        reply, _ = await self.send(method, url, {}, as_json(content) if content is not None else None)
        return {} if reply is None else reply

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | FileBody | None
    ) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON of a reply and its headers; the account's headers go to its own server only."""
        own = self.headers if server_of(url) == server_of(self.base) else {}
        with self.explained():
            reply, received = await transfers.exchange(
                self.http, method, url, {**own, **headers}, mask=self.mask, body=body, timeout_s=CALL_S
            )
            named = isinstance(reply, dict) and (reply.get("id") or reply.get("name"))  # a batch may have an error
            if isinstance(reply, dict) and not named and (error := find_error(reply)) is not None:
                raise error_in_200(error, received, self.mask)
            return reply, received

    async def results(self, url: str, read: Callable[[dict[str, Any]], Line]) -> AsyncGenerator[Line, None]:
        """Yield the results in a JSONL file, of which `read` reads each object; Rejected with status 404: deleted."""
        try:
            with self.explained():
                async with aclosing(transfers.lines(self.http, url, self.headers, mask=self.mask)) as lines:
                    async for line in lines:
                        row = read_line(line)
                        if row is not None:
                            yield read(row)
                        else:
                            match = _ID.search(line[: transfers.HEAD])
                            yield self.unreadable(match[1].decode() if match else "")
        except Rejected as error:
            if error.status != NOT_FOUND:
                raise
            # says nothing about other requests to the model
            raise Rejected(f"the provider no longer has these results: {error}", status=NOT_FOUND) from None

    async def delete(self, *urls: str) -> None:
        """Delete files; errors are ignored."""
        for url in urls:
            with suppress(ProviderError):
                await self.call("DELETE", url)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Make every error of a call a ProviderError without API keys."""
        try:
            yield
        except Blocked as blocked:
            raise Rejected(self.mask(blocked.reason), status=BAD_REQUEST) from None
        except ProviderError as error:
            self.explain(error)
            raise

    def answered(self, custom_id: str, reply: Any) -> Line:
        """Return the line of a reply of status 200, which may contain an error, as online."""
        if not isinstance(reply, dict):
            return self.unreadable(custom_id)
        try:
            if (error := find_error(reply)) is not None:
                raise error_in_200(error, {}, self.mask)
            return Line(custom_id, response=self.complete(self.read(reply)))
        except (Blocked, ProviderError) as error:
            return self._failed(custom_id, error)

    def failed(self, custom_id: str, status: int | None, error: Any) -> Line:
        """Return the line of an error by its status and body, as online; without a status, its codes decide."""
        return self._failed(custom_id, self.error(status, error))

    def unreadable(self, custom_id: str) -> Line:
        """Return the line of a result that cannot be read."""
        size = transfers.MAX_LINE // 2**20
        error = Unavailable(f"the result is not a JSON object of this format, or larger than {size} MiB", status=200)
        return Line(custom_id, error=error)

    def error(self, status: int | None, error: Any) -> ProviderError | Blocked:
        """Return the error for a status and a body, by the same table as online."""
        if status is None:
            return error_in_200(error, {}, self.mask)
        text = error if isinstance(error, str) else json.dumps(error, default=str)
        return error_of(status, {}, text, self.mask)

    def refusal(self, status: int, error: Any) -> ProviderError:
        """Return why a batch as a whole was refused."""
        cause = self.error(status, error)
        if isinstance(cause, Blocked):
            cause = Rejected(cause.reason, status=status)
        self.explain(cause)
        return cause

    def _failed(self, custom_id: str, error: ProviderError | Blocked) -> Line:
        if isinstance(error, Blocked):
            return Line(custom_id, response=self.complete(blocked(error.reason)))
        self.explain(error)
        return Line(custom_id, error=error)


class AccountBatches(ABC):
    """The parts of BatchApi that all providers share."""

    def __init__(self, account: BatchAccount) -> None:
        self._account = account

    async def get(self, batch: str) -> Batch:
        """See BatchApi."""
        try:
            return self._read(await self._account.call("GET", self._url(batch)))
        except ProviderError as error:
            if error.status != NOT_FOUND:
                raise
            # says nothing about other requests to the model
            raise Rejected(f"no batch `{batch}` in this account: {error}", status=NOT_FOUND) from None

    def list_recent(self, since: float) -> AsyncIterator[Batch]:
        """See BatchApi."""
        return recent(self._pages(since), since)

    async def results(self, batch: Batch) -> AsyncIterator[Line]:
        """See BatchApi."""
        for place in batch.results:
            async with aclosing(self._account.results(self._results_url(place), self._line)) as lines:
                async for line in lines:
                    yield of_batch(line, batch)

    async def cancel(self, batch: str) -> Batch:
        """See BatchApi."""
        try:
            reply = await self._account.call("POST", self._cancel_url(batch))
        except ProviderError:
            ended = await self.get(batch)  # one that has ended cannot be cancelled
            if ended.phase is Phase.RUNNING:
                raise
            return ended
        return self._read(reply) if reply else await self.get(batch)

    def _cancel_url(self, batch: str) -> str:
        return f"{self._url(batch)}/cancel"

    @abstractmethod
    def _url(self, batch: str) -> str:
        """Return the URL of a batch."""

    @abstractmethod
    def _results_url(self, place: str) -> str:
        """Return the URL of one of Batch.results."""

    @abstractmethod
    def _pages(self, since: float) -> AsyncIterator[list[Batch]]:
        """Yield pages of the account's batches, last first."""

    @abstractmethod
    def _read(self, reply: Any) -> Batch:
        """Return a batch from its object; raises Unavailable for one that is not of the format."""

    @abstractmethod
    def _line(self, row: dict[str, Any]) -> Line:
        """Return the result in a line."""


def of_batch(line: Line, batch: Batch) -> Line:
    """Return a result whose answer names the batch."""
    if line.response is None:
        return line
    return replace(line, response=replace(line.response, batch=batch.id))


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line of JSONL; None if it is not one."""
    row = plain_json(line)
    if row is None:  # lone surrogates, or not UTF-8
        try:
            row = json.loads(line.decode("utf-8-sig", "replace"))
        except (ValueError, RecursionError):
            return None
    return row if isinstance(row, dict) else None


def seconds_of(time: Any) -> float | None:
    """Return a time in seconds since 1970, from a number or an RFC 3339 text; None for anything else.

    >>> seconds_of("2025-09-07T11:55:07.827892252Z"), seconds_of(1_700_000_000), seconds_of("soon")
    (1757246107.827892, 1700000000.0, None)
    """
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            return None
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    return float(time) if isinstance(time, int | float) and not isinstance(time, bool) and time > 0 else None


async def recent(pages: AsyncIterator[Sequence[Batch]], since: float) -> AsyncIterator[Batch]:
    """Yield the batches of pages that were created after a time, last first; stops at a page without any."""
    seen = set[str]()  # a server that ignores the cursor would return one page for ever
    async for page in pages:
        fresh = [b for b in page if b.id not in seen and (b.created_at or since) >= since - CLOCKS_S]
        for batch in sorted(fresh, key=lambda b: -(b.created_at or since)):
            seen.add(batch.id)
            yield batch
        if not fresh:
            return


def entries_of(reply: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list in a reply."""
    entries = reply.get(name) if isinstance(reply, dict) else None
    return [x for x in entries if isinstance(x, dict)] if isinstance(entries, list) else []
