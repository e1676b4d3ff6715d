"""Pending requests as files in OpenAI's batch format, for engines without a server: `emdsl plan --requests`.

A folder holds `manifest.json`, `keys.jsonl` (each key with its ingredients, for the store), `requests/MODEL-0001.jsonl`
and so on, and `commands.sh` with a command for each file that `vllm run-batch` can answer. Answers belong into
`answers/`. `emdsl cache import DIR --from batch` needs this folder alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.body import format_of
from emdsl.errors import FileExists, UsageError
from emdsl.files import PRIVATE_FOLDER, file_digest, private
from emdsl.providers.openai import Encoder
from emdsl.service import OPENAI
from emdsl.study.screen import Aside, Part, counted
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO, Self

    from emdsl.digest import Digest
    from emdsl.experiment import Step
    from emdsl.outcome import Outcome
    from emdsl.query import Model, Query, RequestSettings
    from emdsl.run.rows import Rows
    from emdsl.study.compiled import Compiled

FORMAT = 1
MAX_REQUESTS = 50_000  # of one file, as OpenAI and most of its imitators accept
MAX_SIZE = 200_000_000  # bytes of one file, the same
MANIFEST, KEYS, COMMANDS = "manifest.json", "keys.jsonl", "commands.sh"
REQUESTS, ANSWERS = "requests", "answers"
URL = "/v1/chat/completions"
MAX_NAME = 80  # characters of a file's name that come from the model's
_COMMIT = re.compile(r"[0-9a-f]{40}")  # a revision that vLLM can load; a shorter one may be any name
_FORMATS = {"responses": "OpenAI's Responses API", "anthropic": "Anthropic's", "google": "Google's"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFile:
    """A written file of requests to one model; `command` answers it, if `vllm run-batch` can."""

    file: str  # within the folder
    use: str
    revision: str | None
    wire_name: str
    requests: int
    size: int  # bytes
    sha256: str
    command: str | None


@dataclass(slots=True)
class _Open:
    """The file of a model that is being written."""

    name: str
    file: IO[bytes]
    requests: int = 0
    size: int = 0


@dataclass(slots=True)
class _ToModel:
    """The requests to one model: what an engine loads once."""

    model: Model
    slug: str
    open: _Open | None = None
    n_files: int = 0


@dataclass(slots=True)
class RequestFiles:
    """Writes the requests of a plan to a new folder, whole or not at all, in the order of their rows.

    Use it as a context around `make_plan`. The folder exists once the context ends well, unless no request was ready.
    """

    study: Compiled
    folder: Path
    maximum: int = MAX_REQUESTS  # requests of one file
    files: list[RequestFile] = field(default_factory=list)
    waiting: int = 0  # requests that read an answer which is not stored, or that of a judge's probe
    left_out: dict[tuple[str, str], int] = field(default_factory=dict)  # by model and reason
    _written: set[Digest] = field(default_factory=set)
    _models: dict[tuple[str, str | None], _ToModel] = field(default_factory=dict)
    _reasons: dict[int, tuple[RequestSettings, str]] = field(default_factory=dict)  # by id(): why it is left out
    _encoder: Encoder = field(default_factory=Encoder)
    _stack: ExitStack = field(default_factory=ExitStack)
    _keys: IO[bytes] | None = None

    @property
    def requests(self) -> int:
        """The number of written requests."""
        return len(self._written)

    @property
    def _fresh(self) -> Path:
        """The folder under its name until it is whole."""
        folder = self.folder.resolve()
        return folder.with_name(f"{folder.name}.{os.getpid()}.new")

    def __enter__(self) -> Self:
        """Begin; raises FileExists if the folder holds anything: answers to its requests may be under way."""
        try:
            if self.folder.exists() and not (self.folder.is_dir() and not any(self.folder.iterdir())):
                raise FileExists(
                    f"{self.folder} is not empty: name a new folder, answers to its requests may be under way",
                    parameter="requests",
                )
            for folder in (self._fresh, self._fresh / REQUESTS, self._fresh / ANSWERS):
                folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
            self._keys = self._stack.enter_context(self._create(KEYS))
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End: the folder takes its name, or nothing of it is left."""
        try:
            with self._stack:  # closes all files
                if kind is None:
                    for to_model in self._models.values():
                        self._close(to_model)
            if kind is None and self._written:
                self._finish()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            shutil.rmtree(self._fresh, ignore_errors=True)

    def add(self, rows: Rows, step: Step, row: Outcome, query: Query | None) -> None:
        """Write a pending request, and a judge's probe before its requests; see `Planner`, `on_pending`."""
        head = query.settings if query is not None else rows.head(step, row)[0]
        if reason := self._why_left_out(head):
            key = head.model.use, reason
            self.left_out[key] = self.left_out.get(key, 0) + 1
            return
        probe = rows.probes.required(step, head)
        if probe is not None:  # a run sends it alone, too: a judge that writes digits gets no other request
            self._write(probe.query)
        if query is None or probe is not None:
            self.waiting += 1
        else:
            self._write(query)

    def parts(self, importing: str, running: str) -> Iterator[Part]:
        """Yield what was written, and the next commands.

        Args:
            importing: the options of the import.
            running: the study and the options of its run.
        """
        for (use, reason), n in self.left_out.items():
            yield Aside(f"note: {counted(n, 'request')} to {use} left out: {reason}\n")
        if not self._written:
            yield "Nothing is written: no pending request is ready for an engine that answers files."
            return
        folder, n_commands = shlex.quote(str(self.folder)), sum(f.command is not None for f in self.files)
        yield f"Written: {counted(self.requests, 'request')} in {counted(len(self.files), 'file')} of {self.folder}"
        if n_commands:
            which = "each file" if n_commands == len(self.files) else f"{n_commands:,} of them"
            yield f"Answer: cd {folder} && sh {COMMANDS}      # `vllm run-batch` for {which}"
        if n_commands < len(self.files):
            yield f"Answer: with any engine for OpenAI's batch format, into {self.folder / ANSWERS}"
        yield f"Then: emdsl cache import {folder} --from batch{importing}"
        if self.waiting:
            yield f"Then: emdsl run {running}      # or `plan --requests` again: {self.waiting:,} requests read these"

    def as_json(self) -> dict[str, Any]:
        """Return what was written, as `emdsl plan --json` prints it."""
        return {
            "folder": str(self.folder) if self._written else None, "requests": self.requests, "waiting": self.waiting,
            "files": [f.file for f in self.files], "left_out": self._left_out_json(),
        }  # fmt: skip

    def _why_left_out(self, head: RequestSettings) -> str:
        """Return why requests with these settings cannot be in the files, or ""."""
        known = self._reasons.get(id(head))
        if known is None:
            name = format_of(head.model, dict(head.params))
            reason = "" if name == OPENAI else f"its format is {_FORMATS.get(name, name)}, not OpenAI's chat"
            known = self._reasons[id(head)] = head, reason
        return known[1]

    def _write(self, query: Query) -> None:
        if query.key in self._written:
            return
        self._written.add(query.key)
        key = query.key.hex().encode()
        body = self._encoder.encode(query)
        line = b'{"custom_id":"%b","method":"POST","url":"%b","body":%b}\n' % (key, URL.encode(), body)
        to_model = self._to_model(query.settings.model)
        shard = to_model.open
        if shard is None or shard.requests >= self.maximum or shard.size + len(line) > MAX_SIZE:
            self._close(to_model)
            shard = self._next(to_model)
        shard.file.write(line)
        shard.requests += 1
        shard.size += len(line)
        assert self._keys is not None
        self._keys.write(b'{"key":"%b","of":%b}\n' % (key, json.dumps(query.ingredients()).encode()))

    def _to_model(self, model: Model) -> _ToModel:
        revision = model.revision or model.server_id
        to_model = self._models.get((model.use, revision))
        if to_model is None:
            slug = re.sub(r"[^A-Za-z0-9._]+", "-", model.use).strip("-.")[:MAX_NAME]
            taken = {m.slug.lower() for m in self._models.values()}
            if slug.lower() in taken:
                slug = f"{slug}-{len(taken) + 1}"
            to_model = self._models[model.use, revision] = _ToModel(model, slug)
        return to_model

    def _next(self, to_model: _ToModel) -> _Open:
        """Start the next file of a model."""
        to_model.n_files += 1
        name = f"{to_model.slug}-{to_model.n_files:04d}.jsonl"
        to_model.open = _Open(name, self._stack.enter_context(self._create(f"{REQUESTS}/{name}")))
        return to_model.open

    def _close(self, to_model: _ToModel) -> None:
        """End the open file of a model, if there is one."""
        shard, model = to_model.open, to_model.model
        if shard is None:
            return
        shard.file.close()
        to_model.open = None
        name = f"{REQUESTS}/{shard.name}"
        sha256 = file_digest(self._fresh / name).hex()
        written = RequestFile(
            file=name, use=model.use, revision=model.revision or model.server_id, wire_name=model.wire_name,
            requests=shard.requests, size=shard.size, sha256=sha256, command=_command(model, shard.name),
        )  # fmt: skip
        self.files.append(written)

    def _create(self, name: str) -> IO[bytes]:
        return open(self._fresh / name, "xb", opener=private)

    def _finish(self) -> None:
        """Write the commands and the manifest, and give the folder its name."""
        self.files.sort(key=lambda f: f.file)
        commands = [f.command for f in self.files if f.command]
        if commands:
            with self._create(COMMANDS) as file:
                file.write("".join(f"{c}\n" for c in commands).encode())
        with self._create(MANIFEST) as file:
            file.write((json.dumps(self._manifest(), indent=1) + "\n").encode())
        if self.folder.exists():  # and is empty
            self.folder.rmdir()
        self._fresh.replace(self.folder)

    def _manifest(self) -> dict[str, Any]:
        project, keys = self.study.project, self._fresh / KEYS
        models = [m.model for m in self._models.values()]
        return {
            "emdsl_requests": FORMAT, "emdsl": __version__, "study": self.study.name,
            "file": project.relative(self.study.file), "program": self.study.program.digest.hex(),
            "simulate": project.simulate, "requests": self.requests, "waiting": self.waiting,
            "models": [_described(m) for m in models],
            "files": [{n: getattr(f, n) for n in RequestFile.__slots__} for f in self.files],
            "keys": {"file": KEYS, "size": keys.stat().st_size, "sha256": file_digest(keys).hex()},
            "left_out": self._left_out_json(),
        }  # fmt: skip

    def _left_out_json(self) -> list[dict[str, Any]]:
        return [{"model": use, "reason": reason, "requests": n} for (use, reason), n in self.left_out.items()]

    def _unwritable(self, error: OSError) -> UsageError:
        shutil.rmtree(self._fresh, ignore_errors=True)
        return UsageError(f"cannot write {self.folder}: {error.strerror}", parameter="requests")


def _command(model: Model, name: str) -> str | None:
    """Return the command that answers a file, in its folder; None if the model is not one of vLLM's."""
    if model.service.name != "vllm":
        return None
    words = ["vllm", "run-batch", "-i", f"{REQUESTS}/{name}", "-o", f"{ANSWERS}/{name}", "--model", model.wire_name]
    if model.revision is not None and _COMMIT.fullmatch(model.revision):
        words += ["--revision", model.revision]
    return shlex.join(words)


def _described(model: Model) -> dict[str, Any]:
    """Return what an import needs to know about a model; `secrets` are variables with its API key and headers."""
    variables = [v for v in (model.key, *(value for _, value in model.headers)) if v is not None]
    return {
        "use": model.use, "wire_name": model.wire_name, "self_hosted": model.service.self_hosted,
        "batch_price": model.service.batch is not None,
        "secrets": [v.name for v in variables if not isinstance(v, str)],
    }  # fmt: skip
