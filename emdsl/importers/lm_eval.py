"""Samples of lm-evaluation-harness, `samples_TASK_DATE.jsonl`: the answers of its chat models.

The model and its arguments are in `results_DATE.json` beside the samples. A request with a log-likelihood has no
answer, and a request to another kind of model is a text, not messages. Source: lm_eval 0.4.4 to 0.4.9,
`loggers/evaluation_tracker.py`, `models/openai_completions.py` and `models/api_models.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.importers.answer import CannotImport, ImportedAnswer, NotImported, loads, read_text, renamed, wire_messages
from emdsl.importers.reading import UNKNOWN, Entry, json_lines, parse, plain_name
from emdsl.query import Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

OPENAI, LOCAL = "openai-chat-completions", "local-chat-completions"
OLDEST = (0, 4, 4)  # version whose requests are known
MAX_TOKENS, SEED, MAX_STOPS = 256, 1234, 4  # lm-eval's defaults
EOS = "<|endoftext|>"  # lm-eval may add it to the texts that end an answer
_DATED = re.compile(r"samples_.*_(\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
_PARAMS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
    "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty", "reasoning_effort": "reasoning_effort",
    "max_gen_toks": "max_tokens", "max_tokens": "max_tokens",
}  # fmt: skip
_IGNORED = frozenset(("do_sample", "until"))


@dataclass(slots=True)
class _Run:
    """The evaluation that wrote the samples."""

    model: str  # provider/model
    args: Mapping[str, str]
    local: bool
    date: float  # seconds since 1970
    filters: dict[Any, Any] = field(default_factory=dict)  # by document: the filter whose lines are read


def read(path: Path, service: str | None, stated: Mapping[str, Any]) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a file of samples.

    Args:
        path: The file.
        service: The service of a local model, which the results do not name.
        stated: Parameters that replace those in the files.

    Raises:
        UsageError: The file cannot be opened, or needs a service.
    """
    run: _Run | str | None = None
    for entry in json_lines(path):
        if isinstance(entry.value, NotImported):
            yield entry.value
            continue
        try:
            _check_kind(entry.value)
            run = run or _run_of(path, service)
            yield from _answers(entry, _certain(run), stated)
        except CannotImport as reason:
            yield NotImported(str(reason), entry.place)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # an entry may have any shape
            yield NotImported(UNKNOWN, entry.place)


def _certain(run: _Run | str) -> _Run:
    if isinstance(run, str):
        raise CannotImport(run)
    return run


def _check_kind(sample: Any) -> None:
    """Raise CannotImport for a sample without a written answer."""
    if not isinstance(sample, dict) or "resps" not in sample or "arguments" not in sample:
        raise CannotImport("the line is not a sample of lm-eval: it has no `arguments` or no `resps`")
    for arguments in _arguments(sample):
        if len(arguments) == 1:
            raise CannotImport("a rolling log-likelihood of a text is not an answer")
        if isinstance(arguments[1], str):
            raise CannotImport("the log-likelihood of a choice is not an answer: the model wrote no text")
        if len(arguments) > 2:
            raise CannotImport("a message contains more than text")


def _arguments(sample: dict[str, Any]) -> list[list[Any]]:
    """Return the arguments of each request: a context and its settings."""
    arguments = sample["arguments"]
    if isinstance(arguments, dict):  # {"gen_args_0": {"arg_0": ..., "arg_1": ...}}
        return [[one[f"arg_{i}"] for i in range(len(one))] for one in arguments.values()]
    return [list(one) for one in arguments]


def _answers(entry: Entry, run: _Run, stated: Mapping[str, Any]) -> Iterator[ImportedAnswer | NotImported]:
    """Yield the answers of a sample; each filter repeats its line, and only those of the first are read."""
    sample = entry.value
    if run.filters.setdefault(sample.get("doc_id"), sample.get("filter")) != sample.get("filter"):
        return
    for (context, settings), replies in zip(_arguments(sample), sample["resps"], strict=True):
        messages, params = wire_messages(_chat(context)), _params(settings, run, stated)
        for text in [replies] if isinstance(replies, str) else replies:
            if isinstance(text, str) and text:
                yield ImportedAnswer(
                    model=run.model, messages=messages, params=params, place=entry.place,
                    response=Response(text=text, finish="other", answered_at=run.date),
                )  # fmt: skip
            else:
                yield NotImported("the answer is empty: lm-eval stores failed requests as empty answers", entry.place)


def _chat(context: Any) -> Any:
    """Return the messages of a chat, which lm-eval keeps as JSON."""
    text = context[0] if isinstance(context, list) and len(context) == 1 else context
    messages = parse(text) if isinstance(text, str) and text.lstrip().startswith("[{") else None
    if not isinstance(messages, list):
        raise CannotImport("the request is a text, not messages: the model was evaluated without a chat API")
    return [{k: v for k, v in m.items() if (k, v) != ("type", "text")} for m in messages]


def _params(settings: Any, run: _Run, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that were sent: those of the task, with lm-eval's defaults."""
    own = renamed(settings, _PARAMS, _IGNORED)
    own.setdefault("temperature", 0)
    own.setdefault("max_tokens", int(run.args.get("max_gen_toks", MAX_TOKENS)))
    own.setdefault("seed", int(run.args.get("seed", SEED)))
    name = run.model.partition("/")[2]
    if not run.local and ("5" in name or "o1" in name) and not {"stop", "temperature"} <= stated.keys():
        raise CannotImport(
            f"lm-eval's versions differ in the `stop` and `temperature` that they send to {name}: state both with "
            "--param, such as --param temperature=1 --param stop=null"
        )
    if "stop" not in stated:
        own["stop"] = _stop(settings.get("until"), run) or None
    return {k: v for k, v in (own | dict(stated)).items() if v is not None}


def _stop(until: Any, run: _Run) -> list[str]:
    """Return the texts that ended an answer; raises CannotImport if a version may have added one."""
    texts = [until] if isinstance(until, str) else list(until or [])
    added = run.args.get("eos_string") or (EOS if not run.local and run.args.get("num_concurrent", "1") != "1" else "")
    if (added and added not in texts[:MAX_STOPS] and len(texts) < MAX_STOPS) or (until is None and not run.local):
        raise CannotImport(
            f"the texts that end an answer are not recorded: some versions add `{added or EOS}`. State them: "
            """--param 'stop=["A", "B"]'"""
        )
    return texts[:MAX_STOPS]


def _run_of(path: Path, service: str | None) -> _Run | str:
    """Return the evaluation of a file, or why its requests are unknown; raises UsageError."""
    try:
        return _read_run(path, service)
    except CannotImport as reason:
        return str(reason)


def _read_run(path: Path, service: str | None) -> _Run:
    dated = _DATED.fullmatch(path.name.removesuffix(".gz").removesuffix(".zst"))
    names = [f"results_{dated[1]}.json"] if dated else ["results.json"]
    beside = next((f for f in (path.with_name(n) for n in names) if f.is_file()), None)
    if beside is None:
        raise CannotImport(f"the model is unknown: `{names[0]}` is not beside the samples")
    results = loads(read_text(beside), f"`{beside}`")
    config = results.get("config") or {}
    version = tuple(int(n) for n in re.findall(r"\d+", str(results.get("lm_eval_version")))[:3])
    if version < OLDEST:
        raise CannotImport(f"the requests of lm-eval before {'.'.join(map(str, OLDEST))} are not known exactly")
    if config.get("use_cache"):
        raise CannotImport("answers may come from lm-eval's cache (`use_cache`), so they may not be new draws")
    kind, args = config.get("model"), _args(config.get("model_args"))
    model = args.get("model") or args.get("pretrained")
    if kind not in (OPENAI, LOCAL) or not model:
        raise CannotImport(f"the request was sent to `{kind}`, not to a chat API that a study uses")
    if kind == OPENAI and "base_url" in args:
        raise CannotImport("the model was served by a custom server (`base_url`)")
    if kind == LOCAL and service is None:
        raise UsageError(f"{beside} does not name the service of {model}: add --service vllm, or sglang ...")
    return _Run(
        model=f"{service if kind == LOCAL else 'openai'}/{model}", args=args, local=kind == LOCAL,
        date=float(results.get("date") or 0),
    )  # fmt: skip


def _args(given: Any) -> dict[str, str]:
    """Return `model_args`: a text `a=1,b=2`, or an object."""
    if isinstance(given, dict):
        return {name: str(value) for name, value in given.items() if value is not None}
    return dict(part.strip().split("=", 1) for part in str(given or "").split(",") if "=" in part)


def is_samples(path: Path) -> bool:
    """Whether a file has the name of a file of samples."""
    name = plain_name(path)
    return name.startswith("samples_") and name.endswith(".jsonl")
