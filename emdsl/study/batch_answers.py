"""Answers to written requests: the results of a batch come in under the keys of the folder of their requests.

Nothing but the folder is read, so the study may have changed since. Whatever came back is taken, a missing answer stays
pending, and a line that does not match is reported, never stored.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest
from emdsl.errors import FileMissing, UsageError
from emdsl.files import file_digest, read_lines, read_whole
from emdsl.providers.batch_lines import parse_line, read_line
from emdsl.providers.batches import key_of
from emdsl.providers.http_errors import OK
from emdsl.query import SIMULATED
from emdsl.redact import Redactor, Secret, api_keys
from emdsl.service import SIM
from emdsl.store.codec import encode_with
from emdsl.study.answers import open_store
from emdsl.study.request_files import FORMAT, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from emdsl.digest import Digest
    from emdsl.providers.batches import Line
    from emdsl.query import Response
    from emdsl.study.project import Project

RESULTS = (".jsonl", ".jsonl.gz", ".jsonl.zst")  # endings of files of results
MAX_SHOWN = 200  # characters of an example
OF_BATCH = "import"  # in place of the id of a batch, which most results do not name
MAX_STATUS = 599  # of HTTP
_KEY = slice(8, 72)  # of a line of keys: {"key":"...


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Lines that are not stored, for one reason; `example` is the place of the first, and its message."""

    n: int
    reason: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Result of an import: answers that are new, and requests by what became of them."""

    study: str
    file: str  # of the study, as in its project
    requests: int
    new: int
    known: int  # cached already, and kept
    repeated: int  # lines with an answer that another line has, too
    pending: int  # requests without an answer in the store
    unmatched: tuple[Unmatched, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    wire_name: str
    self_hosted: bool
    batch_price: bool
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    study: str
    file: str
    simulate: bool
    models: Mapping[str, _Model]  # by `use`
    files: frozenset[str]  # of requests and keys, within the folder
    keys: str
    keys_sha256: str


class _NotTaken(Exception):
    """Why a line is not stored; `detail` is one example's own."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def import_batch(project: Project, folder: Path, served_as: Sequence[str] = ()) -> Collected:
    """Import the answers in a folder that `emdsl plan --requests` wrote.

    Args:
        project: The project.
        folder: The folder; results are in any `.jsonl` file within it, packed (`.gz`, `.zst`) or not.
        served_as: More names under which the right models were served.

    Raises:
        FileMissing: The folder has no manifest.
        UsageError: The manifest or the keys are damaged, or the answers are simulated and the project's are not.
    """
    manifest = _read_manifest(folder)
    if manifest.simulate != project.simulate:
        raise UsageError(f"the requests of {folder} are {_SIM[manifest.simulate]} --sim")
    with (folder / manifest.keys).open("rb") as keys, open_store(project, write=True) as store:
        redactor, run = _redactor(manifest, project.environment), secrets.token_hex(8)
        reader = _Reader(folder, manifest, keys, redactor, run, frozenset(served_as))
        new, known = store.adopt(reader.entries())
        missing = [key for key in reader.offsets if key not in reader.texts]
        stored = sum(1 for _ in store.entries(missing))
    return Collected(
        study=manifest.study, file=manifest.file, requests=len(reader.offsets), new=new, known=known,
        repeated=reader.repeated, pending=len(missing) - stored, unmatched=tuple(reader.unmatched()),
    )  # fmt: skip


_SIM = {True: "simulated: import them with", False: "not simulated: import them without"}


@dataclass(slots=True)
class _Reader:
    """Reads the result files of a folder, line by line."""

    folder: Path
    manifest: _Manifest
    keys: IO[bytes]
    redactor: Redactor
    run: str
    served_as: frozenset[str]
    repeated: int = 0
    texts: dict[Digest, Digest] = field(default_factory=dict)  # of each request with an answer, a digest of it
    offsets: dict[Digest, int] = field(default_factory=dict)  # of each request, its line in the file of keys
    _reasons: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)  # by reason
    _errors: dict[Digest, tuple[str, str]] = field(default_factory=dict)  # of requests: the reason, and an example

    def __post_init__(self) -> None:
        """Index the keys; raises UsageError if they are damaged."""
        at = 0
        for line in self.keys:
            key = key_of(line[_KEY].decode("latin-1"))
            if key is None:
                raise self._damaged()
            self.offsets[key] = at
            at += len(line)

    def entries(self) -> Iterator[tuple[Digest, bytes]]:
        """Yield an entry for each answer; the first answer to a request counts."""
        for path in self._files():
            name = path.relative_to(self.folder).as_posix()
            try:
                for number, line in enumerate(_lines(path), start=1):
                    if line.strip() and (entry := self._read(line, f"{name}:{number}")) is not None:
                        yield entry
            except _NotTaken as cut:
                self._note(None, cut, name)

    def _read(self, line: bytes, place: str) -> tuple[Digest, bytes] | None:
        """Return the entry of a line, None for one that is not stored."""
        key: Digest | None = None
        try:
            key, result = self._parse(line)
            entry = self._entry(key, result)
        except _NotTaken as why:
            self._note(key, why, place)
            return None
        return (key, entry) if entry is not None else None

    def unmatched(self) -> Iterator[Unmatched]:
        """Yield why lines are not stored, the most frequent reason first, without errors of answered requests."""
        reasons, examples = self._reasons.copy(), dict(self._examples)
        for key, (reason, example) in self._errors.items():
            if key not in self.texts:
                reasons[reason] += 1
                examples.setdefault(reason, example)
        for reason, n in reasons.most_common():
            yield Unmatched(n, reason, examples[reason])

    def _files(self) -> list[Path]:
        results = (p for p in self.folder.rglob("*") if p.name.lower().endswith(RESULTS))
        own = self.manifest.files
        return sorted(p for p in results if p.is_file() and p.relative_to(self.folder).as_posix() not in own)

    def _note(self, key: Digest | None, why: _NotTaken, place: str) -> None:
        example = f"{place}: {why.detail}" if why.detail else place
        example = self.redactor.mask(" ".join(example.split()))[:MAX_SHOWN]
        if key is not None and key not in self.texts:
            self._errors.setdefault(key, (why.reason, example))
        else:
            self._reasons[why.reason] += 1
            self._examples.setdefault(why.reason, example)

    def _parse(self, line: bytes) -> tuple[Digest, Line]:
        """Return the key and the result of a line; raises _NotTaken for one that is not of a request of ours."""
        try:
            value = parse_line(line)
        except (ValueError, RecursionError):
            raise _NotTaken("not a line of JSON, or cut") from None
        custom_id = value.get("custom_id") if isinstance(value, dict) else None
        if not isinstance(custom_id, str):
            raise _NotTaken("no `custom_id`")
        key = key_of(custom_id)
        if key is None or key not in self.offsets:
            raise _NotTaken("unknown `custom_id`: not a request of this folder", custom_id)
        if "response" not in value and "error" not in value:
            raise _NotTaken("a request, not an answer")
        return key, read_line(value, self.redactor)

    def _entry(self, key: Digest, result: Line) -> bytes | None:
        """Return the entry of a result, None for an answer that was read before; raises _NotTaken."""
        response = result.response
        if response is None:
            raise _NotTaken(reason_of(result), str(result.error) if result.left is None else "")
        of, model = self._request(key)
        self._check_model(response.model, of["model"], model)
        text = digest("answer", response.text, response.reasoning)
        if key in self.texts:
            if self.texts[key] != text:
                raise _NotTaken("another answer to the same request; the first is kept")
            self.repeated += 1
            return None
        self.texts[key] = text
        return encode_with(of, replace(response, run=self.run, batch=_batch(response, model)))

    def _request(self, key: Digest) -> tuple[dict[str, Any], _Model]:
        """Return the ingredients of a key, and its model."""
        self.keys.seek(self.offsets[key])
        try:
            of: dict[str, Any] = json.loads(self.keys.readline())["of"]
            return of, self.manifest.models[of["model"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._damaged() from None

    def _damaged(self) -> UsageError:
        return UsageError(f"{self.folder / self.manifest.keys} is damaged: it is not a file of keys")

    def _check_model(self, reported: str | None, use: str, model: _Model) -> None:
        """Raise _NotTaken if another model than that of the request answered.

        A provider reports the version behind a name, so any is right. Engines of ours report the name, or the folder of
        the weights.
        """
        if reported is None or reported in self.served_as:
            return
        if reported.startswith(SIMULATED):
            if not (self.manifest.simulate or use.startswith(f"{SIM}/")):
                raise _NotTaken("an answer of the simulator to a request to a model", reported)
        elif model.self_hosted and _last(reported) != _last(model.wire_name):
            raise _NotTaken(f"another model than `{model.wire_name}`, unless it is --served-as NAME", reported)


def reason_of(result: Line) -> str:
    """Return why a result has no answer."""
    if result.left is not None:
        return result.left.value
    status = result.error.status if result.error is not None else 0
    return f"error {status}" if OK < status <= MAX_STATUS else "error"


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].casefold()


def _batch(response: Response, model: _Model) -> str | None:
    """Return the batch of an answer, if its model has a price for batches."""
    return (response.batch or OF_BATCH) if model.batch_price else None


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, a long one as its beginning; raises _NotTaken where it cannot be read further."""
    try:
        yield from read_lines(path)
    except (OSError, ValueError) as error:  # the last: a packed file is cut or damaged
        raise _NotTaken("a file that cannot be read to its end", str(error)) from error


def _redactor(manifest: _Manifest, environment: Mapping[str, str]) -> Redactor:
    names = {name for model in manifest.models.values() for name in model.secrets}
    own = [Secret(text, sure=True) for name in names if (text := environment.get(name, "").strip())]
    return Redactor([*api_keys(environment), *own])


def _read_manifest(folder: Path) -> _Manifest:
    """Read the manifest of a folder, and compare its keys with their digest."""
    path = folder / MANIFEST
    try:
        value: Any = json.loads(read_whole(path))
        if value["emdsl_requests"] != FORMAT:
            raise UsageError(f"another version of emdsl wrote {folder}: import with that version")
        names = [f["file"] for f in value["files"]]
        manifest = _Manifest(
            study=str(value["study"]), file=str(value["file"]), simulate=value["simulate"] is True,
            models={
                m["use"]: _Model(
                    wire_name=str(m["wire_name"]), self_hosted=m["self_hosted"] is True,
                    batch_price=m["batch_price"] is True, secrets=tuple(map(str, m["secrets"])),
                )
                for m in value["models"]
            },
            files=frozenset([value["keys"]["file"], *names]),
            keys=value["keys"]["file"], keys_sha256=value["keys"]["sha256"],
        )  # fmt: skip
        damaged = file_digest(folder / manifest.keys).hex() != manifest.keys_sha256
    except OSError as error:
        raise FileMissing(
            f"cannot read {error.filename or path}: {error.strerror}. Name a folder that "
            "`emdsl plan FILE --requests` wrote, with the answers in it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a manifest of `emdsl plan FILE --requests`") from error
    if damaged:
        raise UsageError(f"{folder / manifest.keys} was changed since `emdsl plan` wrote it: its checksum is another")
    return manifest
