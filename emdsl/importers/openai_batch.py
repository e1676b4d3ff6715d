"""Files of batches in OpenAI's format: requests in one file, their results in others, joined by `custom_id`.

A request is `{"custom_id", "method", "url", "body"}`, a result `{"id", "custom_id", "response", "error"}`. Results are
in any order, and errors in a file of their own. Source: the reference of OpenAI's batch API.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from emdsl.files import MAX_LINE, PACKED, open_unpacked
from emdsl.importers.answer import CannotImport, ImportedAnswer, NotImported, Sent, renamed, wire_messages
from emdsl.importers.reading import CUT, Entry, imported, parse, unreadable
from emdsl.service import SERVICES, SIM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from emdsl.query import Response

    ResultReader = Callable[[Mapping[str, Any]], Response | str]  # of a result: its answer, or why it has none

CHAT = "/chat/completions"
PARAMS = {
    "temperature": "temperature", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "top_p": "top_p",
    "top_k": "top_k", "min_p": "min_p", "stop": "stop", "seed": "seed", "random_seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty", "top_logprobs": "top_logprobs", "reasoning_effort": "reasoning_effort",
}  # fmt: skip
WITHOUT_EFFECT = frozenset((  # fields that change no answer
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "stream", "stream_options", "parallel_tool_calls", "logprobs",
))  # fmt: skip
_COMPARED = frozenset(  # fields that a study adds for some servers
    ("model", "messages", "continue_final_message", "add_generation_prompt", "provider")
)
DEFAULTS: dict[str, Any] = {"n": 1, "tools": [], "response_format": {"type": "text"}, "tool_choice": "none"}
_IGNORED = WITHOUT_EFFECT | _COMPARED | frozenset(DEFAULTS)


class _Line(NamedTuple):
    file: int
    at: int  # bytes from the beginning of the content
    place: str


@dataclass(slots=True)
class _Files:
    """The files of a folder, with the lines of each `custom_id`."""

    files: list[IO[bytes]] = field(default_factory=list)
    requests: dict[str, list[_Line]] = field(default_factory=dict)
    results: dict[str, list[_Line]] = field(default_factory=dict)

    def add(self, value: Any, line: _Line) -> None:
        """Add a line; raises CannotImport for one that is neither a request nor a result."""
        custom_id = value.get("custom_id") if isinstance(value, dict) else None
        if not isinstance(custom_id, str):
            raise CannotImport("the line has no `custom_id`")
        if isinstance(value.get("body"), dict):
            self.requests.setdefault(custom_id, []).append(line)
        elif "response" in value or "error" in value:
            self.results.setdefault(custom_id, []).append(line)
        else:
            raise CannotImport("the line is neither a request nor a result of a batch")

    def request(self, lines: Sequence[_Line]) -> tuple[dict[str, Any], str]:
        """Return the body of a request and its URL, "" if unknown; raises CannotImport if they are not certain."""
        first, *others = map(self._value, lines)
        if any((x["body"], x.get("url")) != (first["body"], first.get("url")) for x in others):
            raise CannotImport("several requests have this `custom_id`: import the files of each batch alone")
        url = first.get("url") or ""
        if url and not str(url).endswith(CHAT):
            raise CannotImport(f"requests to `{url}` are not chats")
        return first["body"], str(url)

    def answer(self, lines: Sequence[_Line], result_of: ResultReader) -> Response:
        """Return the only answer among the results of a request; raises CannotImport."""
        results = [result_of(self._value(line)) for line in lines]
        answers = [r for r in results if not isinstance(r, str)]
        if not answers:
            raise CannotImport(str(results[0]) if results else "the request has no result")
        if any((r.text, r.request_id) != (answers[0].text, answers[0].request_id) for r in answers):
            raise CannotImport("several answers have this `custom_id`: import the files of each batch alone")
        return answers[0]

    def _value(self, line: _Line) -> dict[str, Any]:
        """Read a line again."""
        file = self.files[line.file]
        file.seek(line.at)
        value: dict[str, Any] = parse(file.readline())
        return value


def read(paths: Sequence[Path], service: str, result_of: ResultReader) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers to the requests of all files, in the order of the requests.

    Args:
        paths: Files of requests and files of results, in any order.
        service: The service that answered, which the files do not name.
        result_of: Returns the answer of a result, or why it has none.

    Raises:
        UsageError: A file cannot be opened.
    """
    with ExitStack() as stack:
        files = _Files()
        for path in paths:
            yield from _index(path, files, stack)
        for custom_id, lines in files.requests.items():
            answer = files.results.pop(custom_id, [])
            entry = Entry((answer or lines)[0].place, (lines, answer))
            yield from imported([entry], lambda pair: _answer(files, pair[0], pair[1], service, result_of))
        for lines in files.results.values():
            for line in lines:
                yield NotImported("the request is unknown: no line has its `custom_id` and a `body`", line.place)


def _index(path: Path, files: _Files, stack: ExitStack) -> Iterator[NotImported]:
    """Find the lines of a file; yield those that are neither a request nor a result."""
    try:
        file, whole = stack.enter_context(_seekable(path))
    except OSError as error:
        raise unreadable(path, error) from error
    files.files.append(file)
    at = number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        place = _Line(len(files.files) - 1, at, f"{path}:{number}")
        at += len(line)
        try:
            if line.strip():
                files.add(parse(line), place)
        except CannotImport as reason:
            yield NotImported(str(reason), place.place)
    if not whole:
        yield NotImported(CUT, f"{path}:{number + 1}")


@contextmanager
def _seekable(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """Open a file that can seek, a packed one as a copy; yield it, and whether it is complete."""
    with open_unpacked(path) as file:
        if path.suffix.lower() not in PACKED:
            yield file, True
            return
        with tempfile.TemporaryFile() as copy:
            yield copy, _copied(file, copy)


def _copied(source: IO[bytes], copy: IO[bytes]) -> bool:
    """Copy a file up to the first damage; return whether the copy is complete."""
    try:
        shutil.copyfileobj(source, copy)
        whole = True
    except (OSError, ValueError):
        whole = False
    copy.seek(0)
    return whole


def _answer(
    files: _Files, requests: list[_Line], results: list[_Line], service: str, result_of: ResultReader
) -> ImportedAnswer:
    """Return the answer to a request; raises CannotImport."""
    body, url = files.request(requests)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise CannotImport("the request has no `model`")
    response = files.answer(results, result_of)
    if response.simulated and service != SIM:
        raise CannotImport("an answer of the simulator")
    hosted = service in SERVICES and not SERVICES[service].self_hosted  # a provider reports the version behind a name
    if not hosted and response.model is not None and _last(response.model) != _last(model):
        raise CannotImport(f"another model than `{model}` answered")
    if unusual := [n for n, usual in DEFAULTS.items() if body.get(n) not in (None, usual)]:
        raise CannotImport(f"the effect of `{unusual[0]}` on the answer is unknown")
    if not isinstance(body.get("logprobs"), bool | None):
        raise CannotImport("the effect of `logprobs` on the answer is unknown")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise CannotImport("the request has both `max_tokens` and `max_completion_tokens`")
    return ImportedAnswer(
        model=f"{service}/{model}", messages=wire_messages(body.get("messages")), response=response,
        params=renamed(body, PARAMS, _IGNORED), sent=Sent(url, body),
    )  # fmt: skip


def _last(model: str) -> str:
    """Return the name of a model without the folder or the organization of its weights."""
    return model.rstrip("/").rpartition("/")[2].casefold()
