"""Answers of other tools as entries of the store: keyed as a study would key them, or rejected with the reason."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.compiler.compile import compile_source
from emdsl.compiler.models import merged
from emdsl.compiler.settings import PARAMS, Refused
from emdsl.errors import SourceError, UsageError
from emdsl.experiment import request_settings
from emdsl.importers import inspect, jsonl, llmcomp, lm_eval, openai_batch, promptfoo
from emdsl.importers.answer import NotImported, identity_of, text_identity
from emdsl.importers.reading import plain_name
from emdsl.prompt import Prompt
from emdsl.providers.batch_lines import read_line
from emdsl.query import Query, RequestSettings
from emdsl.redact import Redactor, api_keys
from emdsl.service import SERVICES
from emdsl.source import Source
from emdsl.store.codec import Corrupt, decode, encode
from emdsl.study.batch_answers import OF_BATCH, reason_of
from emdsl.study.same_request import difference
from emdsl.value import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from emdsl.digest import Digest, KeyState
    from emdsl.importers.answer import ImportedAnswer
    from emdsl.query import Model, Params, Response

JSONL, INSPECT, LLMCOMP, LM_EVAL = "jsonl", "inspect", "llmcomp", "lm-eval"
PROMPTFOO, OPENAI_BATCH = "promptfoo", "openai-batch"
ENDINGS = {
    JSONL: (".jsonl",), INSPECT: (".eval", ".json"), PROMPTFOO: (".json",), LM_EVAL: (".jsonl",),
    OPENAI_BATCH: (".jsonl",), LLMCOMP: (".jsonl", ".json"),
}  # fmt: skip
FORMATS = tuple(ENDINGS)
STATED = (PROMPTFOO, LM_EVAL)  # formats that do not record every parameter
MAX_EXAMPLES = 3  # of the places of one reason
TOP_LOGPROBS = 20  # most that any service gives
LOOKED = 64  # draws of a request that are looked up together


@dataclass(slots=True)
class _Draws:
    """The samples of one request: the numbers of each identity, and how many of it this file has had."""

    numbers: dict[tuple[object, ...], list[int]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    in_file: Counter[tuple[object, ...]] = field(default_factory=Counter)
    free: int = 0  # all smaller numbers are used

    def take(self, response: Response, number: int) -> None:
        """Add a sample that has a number."""
        self.used.add(number)
        self.numbers.setdefault(identity_of(response), []).append(number)

    def number(self, response: Response) -> int:
        """Return the number of a draw: the one that it has, else the next that is free.

        Equal answers of one file without names are several draws; one that is stored without its name stays itself.
        """
        identity, text = identity_of(response), text_identity(response)
        if identity != text and identity in self.numbers:
            return self.numbers[identity][0]
        numbers, n = self.numbers.get(text, []), self.in_file[text]
        self.in_file[text] += n < len(numbers) or identity == text
        if n < len(numbers):
            return numbers[n]
        while self.free in self.used:
            self.free += 1
        self.take(response, self.free)
        return self.free


@dataclass(slots=True)
class Rejected:
    """Entries that are not imported for one reason; `examples` are the places of the first."""

    reason: str
    n: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Importer:
    """Makes entries of the answers in files, and counts rejected ones by reason. `stated` replaces parameters."""

    form: str
    environment: Mapping[str, str]
    run: str
    service: str | None = None
    revision: str | None = None
    stated: Mapping[str, Any] = field(default_factory=dict)
    rejected: dict[str, Rejected] = field(default_factory=dict)  # by reason
    _models: dict[tuple[str, str | None], Model | str] = field(default_factory=dict)
    stored: Callable[[Iterable[Digest]], Mapping[Digest, Response]] = lambda _: {}  # answers by key
    _heads: dict[tuple[Model, Params], tuple[RequestSettings, KeyState]] = field(default_factory=dict)
    _redactor: Redactor = field(init=False)
    _draws: dict[Digest, _Draws] = field(default_factory=dict)  # by the key of a request's first draw

    def __post_init__(self) -> None:
        self._redactor = Redactor(api_keys(self.environment))

    def entries(self, path: Path) -> Iterator[tuple[Digest, bytes]]:
        """Yield the entries of a file, or of all files in a folder; raises UsageError.

        A sample is known by its identity, not by its order: one that is stored, or in another file, is the same sample.
        """
        for answers in self._answers(self._files(path)):
            for draws in self._draws.values():
                draws.in_file.clear()
            for answer in answers:
                entry = answer if isinstance(answer, NotImported) else self._entry(answer)
                if isinstance(entry, NotImported):
                    self._reject(entry.reason, entry.place or answer.place)
                else:
                    yield entry

    def _reject(self, reason: str, place: str) -> None:
        rejected = self.rejected.setdefault(reason, Rejected(reason))
        rejected.n += 1
        if place and len(rejected.examples) < MAX_EXAMPLES and place not in rejected.examples:
            rejected.examples.append(place)

    def _files(self, path: Path) -> list[Path]:
        if path.is_dir():
            endings = ENDINGS[self.form]
            files = sorted(f for f in path.rglob("*") if plain_name(f).endswith(endings) and f.is_file())
            if self.form == LM_EVAL:
                files = [f for f in files if lm_eval.is_samples(f)]
            if not files:
                raise UsageError(f"{path} has no file that ends in {' or '.join(endings)}")
            return files
        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        if self.form == OPENAI_BATCH:
            raise UsageError(f"{path} is one file: name the folder with the requests and the results of a batch")
        return [path]

    def _answers(self, files: list[Path]) -> Iterator[Iterator[ImportedAnswer | NotImported]]:
        """Yield the answers of each file, or of all files together if one has the requests of another."""
        if self.stated and self.form not in STATED:
            raise UsageError(f"--param is for {' and '.join(STATED)}, whose files do not record every parameter")
        if self.form == OPENAI_BATCH:
            yield openai_batch.read(files, self._service(), self._result)
            return
        for file in files:
            match self.form:
                case "inspect":
                    yield inspect.read(file)
                case "llmcomp":
                    yield llmcomp.read(file, self._service())
                case "lm-eval":
                    yield lm_eval.read(file, self.service, self.stated)
                case "promptfoo":
                    yield promptfoo.read(file, self.stated)
                case _:
                    yield jsonl.read(file)

    def _service(self) -> str:
        if self.service is None:
            files = "files of llmcomp" if self.form == LLMCOMP else "files of batches"
            raise UsageError(f"{files} do not name the service of a model: add --service openai, or openrouter ...")
        return self.service

    def _result(self, result: Mapping[str, Any]) -> Response | str:
        """Return the answer in a result of a batch, or why it has none."""
        line = read_line(result, self._redactor)
        if line.response is None:
            return f"the request failed: {reason_of(line)}"
        discounted = self.service in SERVICES and SERVICES[self.service].batch is not None
        return replace(line.response, batch=(line.response.batch or OF_BATCH) if discounted else None)

    def _entry(self, answer: ImportedAnswer) -> tuple[Digest, bytes] | NotImported:
        model = self._model(answer.model, answer.revision or self.revision)
        if isinstance(model, str):
            return NotImported(model)
        try:
            own = {name: _param(name, value) for name, value in answer.params.items()}
        except Refused as refused:
            return NotImported(str(refused))
        params = merged(model.service.implied_params, dict(merged(model.params, own)))
        if (model, params) not in self._heads:
            settings = RequestSettings(model, params)
            self._heads[model, params] = settings, settings.key_state()
        (head, started), prompt = self._heads[model, params], Prompt(answer.messages)
        state = started.copy().add(prompt.messages).close()
        sample = answer.sample if answer.sample is not None else self._sample(state, answer)
        if sample and "seed" in own:
            return NotImported("samples after the first have the same seed: a study sends each its own")
        query = Query(head, prompt, sample, state.key(0, sample))
        if answer.sent is not None and (reason := difference(query, answer.sent)) is not None:
            return NotImported(reason)
        try:
            entry = encode(query, replace(answer.response, run=self.run))
            decode(entry)
        except (Corrupt, TypeError, ValueError):  # what another tool wrote may be of any type
            return NotImported("the answer has a field of an unknown type")
        return query.key, entry

    def _sample(self, state: KeyState, answer: ImportedAnswer) -> int:
        """Return the number of a draw: that under which it is stored or came before, else the next one that is free."""
        first = state.key(0, 0)
        if first not in self._draws:
            self._draws[first] = self._known(state)
        return self._draws[first].number(answer.response)

    def _known(self, state: KeyState) -> _Draws:
        """Return the draws of a request that are stored."""
        draws = _Draws()
        for start in itertools.count(0, LOOKED):
            keys = {state.key(0, sample): sample for sample in range(start, start + LOOKED)}
            stored = self.stored(keys)
            for key, sample in keys.items():
                if key in stored:
                    draws.take(stored[key], sample)
            if not stored:
                return draws
        raise AssertionError

    def _model(self, use: str, revision: str | None) -> Model | str:
        """Return the model as a study would declare it, or why there is none."""
        if (use, revision) not in self._models:
            self._models[use, revision] = self._declared(use, revision)
        return self._models[use, revision]

    def _declared(self, use: str, revision: str | None) -> Model | str:
        setting = f", revision = {_quoted(revision)}" if revision is not None else ""
        text = f'em 1\nmodel m {{ use = {_quoted(use)}{setting} }}\nexperiment e {{ ask answer from m with "x" }}\n'
        try:
            (experiment,) = compile_source(Source("the model", text), self.environment).experiments
        except SourceError as error:
            return f"model {use}: {error.diagnostics[0].message}"
        ((_, head),) = request_settings(experiment)
        if head.model.service.self_hosted and revision is None:
            return f"model {use}: its weights are unknown: name them with --revision"
        return head.model


def stated_params(texts: Iterable[str]) -> dict[str, Any]:
    """Return parameters from texts `NAME=VALUE`, values in JSON or plain text; raises UsageError."""
    params: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in PARAMS or name in ("sim", "extra"):
            raise UsageError(f"--param {text}: expected NAME=VALUE, such as temperature=0", parameter="param")
        try:
            params[name] = json.loads(value, parse_float=Decimal)
        except ValueError:
            params[name] = value
    return params


def _param(name: str, value: Any) -> Any:
    """Return a parameter's value as the language reads it; raises Refused."""
    if name == "top_logprobs" and type(value) is int and 1 <= value <= TOP_LOGPROBS:
        return value
    if name not in PARAMS or name in ("sim", "extra"):
        raise Refused(f"`{name}` has an unknown effect on answers")
    given = tuple(value) if isinstance(value, list) else value
    try:
        return PARAMS[name].read(plain(given) if not isinstance(given, tuple) else given)
    except (Refused, TypeError) as refused:
        raise Refused(f"`{name}` is {refused}") from None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("{", "{{").replace("}", "}}")
