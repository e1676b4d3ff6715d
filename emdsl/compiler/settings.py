"""Every setting: where it stands, its type and its default; the checker and the reference read these tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler.written import describe, written
from emdsl.price import Price
from emdsl.reply_format import ReplyField
from emdsl.source import Diagnostic, Edit, near, one_of
from emdsl.value import ENGINE_REASONS, EnvVar, LabelledMap, Money, Value, is_exact, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.source import Span

MAX_SAMPLES = 1_000_000
MAX_JUDGE_SAMPLES = 100
MAX_AGAIN = 20
MAX_RATERS = 100
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "default")
PRICES = ("input", "output", "cached_input", "cache_write")


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~-]+")
_OUR_HEADERS = frozenset(
    ("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host",
     "transfer-encoding", "x-emdsl-sample")
)  # fmt: skip
_SECRET_HEADER = re.compile(r"authorization|cookie|secret|token|password|api-?key|-key$", re.IGNORECASE)


class Refused(ValueError):
    """A setting's value that is not of its kind; the text names the kind."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that means something in one setting: a kind of field in a `shape`, or `auto`."""

    text: str


AUTO = "auto"
SHAPE_WORDS = ("bool", "number", "text")
WORDS = {"shape": SHAPE_WORDS, "batch": (AUTO,)}  # by setting; the names of a program go before them
LABELLED = ("choices", "shape")  # settings with lists of labels: a word in one is a text
# what every judgement has a column for
TAKEN_PARTS = frozenset(
    ("missing", "reply", "finish", "model", "reported", "input_tokens", "output_tokens", "reasoning_tokens",
     "cost_usd", "key", "answered_at", "cached", "error", "tries")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spec:
    """One setting: `read` returns its value for the nouns, or raises Refused."""

    name: str
    kind: str
    doc: str
    read: Callable[[Value], Any]
    default: str = ""  # as the reference shows it; nothing where it is not sent, or must be given


def _text(value: Value) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(f"a text, got {describe(value) if value != '' else 'an empty text'}")
    return value


def _whole(low: int, high: int = 2**53) -> Callable[[Value], int]:
    def read(value: Value) -> int:
        if type(value) is not int or not low <= value <= high:
            wanted = f"from {low} to {high:,}" if high < 2**53 else f"of {low} or more"
            raise Refused(f"a whole number {wanted}, got {_shown(value)}")
        return value

    return read


def _between(low: int, high: int | None) -> Callable[[Value], Any]:
    def read(value: Value) -> Any:
        if not is_exact(value) or value < low or (high is not None and value > high):
            wanted = f"a number from {low} to {high}" if high is not None else f"a number of {low} or more"
            raise Refused(f"{wanted}, got {_shown(value)}")
        return value

    return read


def _shown(value: Value) -> str:
    return written(value) if is_exact(value) else describe(value)


def _effort(value: Value) -> str:
    if value not in EFFORTS:
        raise Refused(f"one of {', '.join(EFFORTS)}, got {written(value)}")
    assert isinstance(value, str)
    return value


def _bool(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"true or false, got {_shown(value)}")
    return value


def _batch(value: Value) -> bool | str:
    if isinstance(value, Word):
        return value.text
    if not isinstance(value, bool):
        raise Refused(f"true, false or auto, got {_shown(value)}")
    return value


def _texts(value: Value) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, tuple) or not texts or not all(isinstance(x, str) and x for x in texts):
        raise Refused(f"a text or a list of texts, got {describe(value)}")
    return texts


def _character(value: Value) -> str:
    if not isinstance(value, str) or len(value) != 1 or value in '\r\n"':
        raise Refused(f'one character such as ";" or "\\t", got {describe(value)}')
    return value


def _env(value: Value) -> EnvVar:
    if not isinstance(value, EnvVar):
        raise Refused("env.NAME: an API key must not be in an `.em` file")
    return value


def _text_or_env(value: Value) -> str | EnvVar:
    return value if isinstance(value, EnvVar) else _text(value)


def _headers(value: Value) -> tuple[tuple[str, str | EnvVar], ...]:
    if not isinstance(value, LabelledMap) or not value.entries:
        raise Refused('a map such as { "X-Team": "a", "X-Token": env.NAME }')
    for name, text in value.entries:
        if not _HEADER_NAME.fullmatch(name):
            raise Refused(f"a map of HTTP headers: `{name}` is not a valid name")
        if name.lower() in _OUR_HEADERS:
            raise Refused(f"a map without `{name}`: emdsl sets this header itself")
        if isinstance(text, EnvVar):
            continue
        if _SECRET_HEADER.search(name):
            raise Refused(f"a map with env.NAME for `{name}`: a secret must not be in an `.em` file")
        if not isinstance(text, str) or not text or not (text.isascii() and text.isprintable()):
            raise Refused(f"a map of ASCII texts or env.NAME, got {describe(text)} for `{name}`")
    if len({name.lower() for name in value.labels}) < len(value.labels):
        raise Refused("a map of HTTP headers with distinct names, ignoring case")
    return tuple(sorted((name, text) for name, text in value.entries if isinstance(text, str | EnvVar)))


def _money(value: Value) -> Any:
    if not isinstance(value, Money):
        raise Refused(f"an amount such as $40, got {_shown(value)}")
    return value.usd


def _price(value: Value) -> Price:
    labels = set(value.labels) if isinstance(value, LabelledMap) else set()
    if not isinstance(value, LabelledMap) or not {"input", "output"} <= labels <= set(PRICES):
        raise Refused(
            "a map such as { input: $1.00, output: $2.00 } in USD per million tokens; "
            "cached_input and cache_write are optional"
        )
    if not all(isinstance(v, Money) for _, v in value.entries):
        raise Refused("a map of amounts such as $2.50, in USD per million tokens")
    return Price(**{label: v.usd for label, v in value.entries})


def _columns(value: Value) -> dict[str, str] | tuple[str, ...]:
    if isinstance(value, tuple) and value and all(isinstance(v, str) and v for v in value):
        if len(set(value)) < len(value):
            raise Refused("a list of distinct names")
        return value
    if not isinstance(value, LabelledMap) or not value.entries:
        raise Refused('a map such as { name: "path" }, or a list such as ["name"] for rows without names')
    return {label: _text(v) for label, v in value.entries}


def _map(value: Value) -> dict[str, Any]:
    if not isinstance(value, LabelledMap):
        raise Refused(f"a map, got {describe(value)}")
    return {label: json_like(v) for label, v in value.entries}


def json_like(value: Value) -> Any:
    """Return a value as JSON would hold it; raises Refused for one that JSON cannot."""
    if isinstance(value, LabelledMap):
        return {label: json_like(v) for label, v in value.entries}
    if isinstance(value, tuple):
        return tuple(json_like(v) for v in value)
    if value is None or isinstance(value, bool | str) or is_exact(value):
        return value
    raise Refused(f"made of texts, numbers, lists and maps, got {describe(value)}")


def _scale(value: Value) -> tuple[float, float]:
    whole = isinstance(value, tuple) and len(value) >= 2 and all(type(x) is int for x in value)
    if not whole or value != tuple(range(value[0], value[-1] + 1)):
        raise Refused("a range such as 0..100")
    return float(value[0]), float(value[-1])


def _shape(value: Value) -> tuple[ReplyField, ...]:
    if not isinstance(value, LabelledMap) or not value.entries:
        raise Refused("a map of fields, each bool, number, text, a range or a list of labels")
    parts = []
    if len({label.casefold() for label in value.labels}) < len(value.labels):
        raise Refused("a map of fields with distinct names, ignoring case")
    for label, kind in value.entries:
        if label.lower() in TAKEN_PARTS:
            raise Refused(f"a map without `{label}`: every verdict has a field of this name")
        parts.append(_part(label, kind))
    return tuple(parts)


def _part(label: str, kind: Value) -> ReplyField:
    if isinstance(kind, Word):
        return ReplyField(name=label, kind=kind.text)
    if isinstance(kind, tuple) and all(isinstance(x, str) for x in kind):
        return ReplyField(name=label, kind="label", choices=tuple(_choices(kind)))
    try:
        return ReplyField(name=label, kind="number", scale=_scale(kind))
    except Refused:
        raise Refused(
            f"a map of fields: expected bool, number, text, a range or a list of labels for `{label}`, "
            f"got {describe(kind)}"
        ) from None


def _choices(value: Value) -> dict[str, str]:
    if isinstance(value, LabelledMap) and value.entries and all(isinstance(v, str) for _, v in value.entries):
        return _unlike(dict(value.entries))
    if isinstance(value, tuple) and value and all(isinstance(v, str) and v for v in value):
        if len(set(value)) < len(value):
            raise Refused("a list of distinct labels")
        return _unlike(dict.fromkeys(value, ""))
    raise Refused('a map such as { label: "description" } or a list such as [label, "other label"]')


def _unlike(choices: dict[str, str]) -> dict[str, str]:
    """Return labels that identify a reply: they differ in more than case, and are no words of the language."""
    if len({c.casefold().strip() for c in choices}) < len(choices):
        raise Refused("distinct labels, ignoring case")
    taken = [c for c in choices if c == "missing" or c in ENGINE_REASONS]
    if taken:
        raise Refused(f"labels without the reserved word `{taken[0]}`")
    return choices


def _seed(value: Value) -> Any:
    try:
        return plain(value)
    except TypeError:
        raise Refused(f"made of numbers and texts, got {describe(value)}") from None


SYNONYMS = {  # what other tools call a setting
    "n": "samples", "num_samples": "samples", "n_samples": "samples", "nsamples": "samples", "draws": "samples",
    "epochs": "samples", "repeat": "samples", "repeats": "samples", "repetitions": "samples", "runs": "samples",
    "trials": "samples", "temp": "temperature", "commit": "revision", "version": "revision", "maxtokens": "max_tokens",
    "stop_sequences": "stop", "stop_words": "stop", "max_concurrency": "parallel", "workers": "parallel",
    "cost_limit": "budget", "max_cost": "budget", "categories": "choices", "baseurl": "url", "apikey": "key",
    "provider": "use", "model": "use", "name": "use", "path": "file", "filename": "file", "data": "file",
    "sep": "delimiter", "separator": "delimiter", "base_url": "url", "endpoint": "url", "api_key": "key",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens", "labels": "choices", "options": "choices", "range": "scale",
    "concurrency": "parallel", "max_connections": "parallel", "fields": "columns", "schema": "shape", "json": "shape",
    "names": "columns", "field": "rows", "records": "rows", "files": "file", "data_files": "file",
    "requests_per_minute": "rpm", "tokens_per_minute": "tpm", "thinking_budget": "reasoning_tokens",
    "budget_tokens": "reasoning_tokens", "effort": "reasoning_effort",
}  # fmt: skip


def meant(name: str, table: Mapping[str, Spec]) -> str:
    """Return help for a setting that other tools call otherwise; an empty text for an unknown one."""
    known = SYNONYMS.get(name.lower(), "")
    return f"use `{known}`" if known in table else ""


RENAMED = {"stream": "replicate"}  # settings by an earlier name: `check --fix` writes the new one


def unknown_setting(name: str, span: Span, kind: str, table: Mapping[str, Spec]) -> Diagnostic:
    """Return the error of a setting that a declaration or a step does not have."""
    current = RENAMED.get(name, "")
    fix = (Edit(span=span, text=current),) if current in table else ()
    if fix:
        help_ = f"`{name}` is now called `{current}`: write `{current}`"
    else:
        help_ = meant(name, table) or near(name, table) or f"available: {one_of(table, 30)}"
    article = "an" if kind[0] in "aeiou" else "a"
    return Diagnostic(
        code="E202", message=f"{article} `{kind}` has no setting `{name}`", span=span, help=help_, fix=fix
    )


def _table(*specs: Spec) -> dict[str, Spec]:
    return {s.name: s for s in specs}


# All that can change an answer, and so is part of the key. `none` takes a setting back.
PARAMS = _table(
    Spec("temperature", "number", "randomness of sampling", _between(0, 2)),
    Spec("max_tokens", "number", "maximum length of an answer in tokens, reasoning included", _whole(1)),
    Spec("top_p", "number", "nucleus sampling: total probability of the candidates", _between(0, 1)),
    Spec("top_k", "number", "number of candidates for each token", _whole(1)),
    Spec("min_p", "number", "minimum probability of a candidate, relative to the most probable one", _between(0, 1)),
    Spec("frequency_penalty", "number", "penalty for repeated tokens, by count", _between(-2, 2)),
    Spec("presence_penalty", "number", "penalty for tokens that already occurred", _between(-2, 2)),
    Spec("repetition_penalty", "number", "penalty for tokens that already occurred, as a factor", _between(0, None)),
    Spec("stop", "text or list", "texts that end the answer", _texts),
    Spec("seed", "number", "sent as seed + sample", _whole(0)),
    Spec("reasoning_effort", "text", "amount of reasoning: none, minimal, low, medium, high ...", _effort),
    Spec("reasoning_tokens", "number", "maximum reasoning tokens, for models that accept a number", _whole(0)),
    Spec("reasoning_summary", "text", "form of the reasoning that OpenAI returns: auto, concise or detailed", _text),
    Spec("extra", "map", "further fields of the request, in the provider's names", _map),
    Spec("sim", "map", "ground truth of a simulated model", _map),
)
MODEL = (
    _table(
        Spec("use", "text", '"provider/model"', _text),
        Spec("revision", "text", "commit or version of the weights, for self-hosted models", _text),
        Spec("url", "text or env", "base URL of the server", _text_or_env),
        Spec("key", "env", "environment variable of the API key: env.NAME", _env),
        Spec(
            "headers",
            "map",
            '{ "X-Team": "a", "X-Token": env.NAME }: HTTP headers; texts are part of the key',
            _headers,
        ),
        Spec("context", "number", "maximum tokens of prompt and answer together", _whole(1)),
        Spec("price", "map", "{ input: $1, output: $2 }: US dollars per million tokens", _price, "as listed"),
        Spec(
            "timeout", "number", "seconds until a request without a response is sent again", _between(1, 86400), "600"
        ),
        Spec("parallel", "number", "maximum concurrent requests to this model", _whole(1)),
        Spec("rpm", "number", "maximum requests per minute", _whole(1)),
        Spec("tpm", "number", "maximum tokens per minute, input and output", _whole(1)),
        Spec(
            "batch",
            "true, false or auto",
            "requests go by the provider's batch API: answers within a day, at half the price",
            _batch,
            "false",
        ),
        Spec(
            "serve",
            "map",
            '{ args: ["--max-model-len", "8192"], gpus: 1, replicas: 4 }: the servers that `run --serve` starts',
            _map,
        ),
    )
    | PARAMS
)
DATASET = _table(
    Spec("file", "text", 'path or pattern ("train-*.parquet"), relative to the `.em` file', _text),
    Spec(
        "columns",
        "map or list",
        '{ name: "path.in.row" }, "path?" if some rows lack it, or a list of names for a file without; all top-level '
        "fields by default",
        _columns,
    ),
    Spec("rows", "text", 'path of the rows in a JSON or YAML file; "*" for each field, "." for one row', _text),
    Spec(
        "delimiter",
        "text",
        "character between the cells of a CSV file",
        _character,
        '","; a tab for .tsv',
    ),
    Spec("sha256", "text", "first 8 or more digits of the file's SHA-256", _text),
    Spec("obtain", "text", "instructions for getting the file", _text),
)
READING = _table(  # how a reply is read: of a rubric, and of an ask for its own answer
    Spec("scale", "range", "the reply is a number in this range", _scale),
    Spec("choices", "map or list", "the reply is one of these labels", _choices),
    Spec("shape", "map", "the reply is a JSON object: fields of bool, number, text, a range or labels", _shape),
    Spec(
        "read",
        "number, number(top: n) or weighted(...)",
        "method of reading a score or a label from the reply",
        lambda v: v,
        "number",
    ),
    Spec("strict", "true or false", "the provider enforces the `shape`: its JSON schema is sent", _bool, "false"),
    Spec("refusal", "text or list", "replies that count as missing, under their own word", _texts),
    Spec("other", "text or list", "more such replies", _texts),
)
RUBRIC = READING | {k: v for k, v in PARAMS.items() if k != "sim"}
CLUSTER = "cluster"  # read by `emdsl.compiler.clusters`: its names are those of the experiment
EXPERIMENT = _table(
    Spec(
        "samples", "number", "number of draws of each cell, or an expression of its levels", _whole(1, MAX_SAMPLES), "1"
    ),
    Spec("seed", "value", "a value named `seed`, for `draw(..., seed: seed)`", _seed),
    Spec("parallel", "number", "maximum concurrent requests", _whole(1), "64"),
    Spec("budget", "money", "hard limit on the cost of one run, in US dollars", _money),
    Spec(
        CLUSTER,
        "axis",
        "what draws share that are alike: an axis, `sample`, a `let`, two that cross, or `none`",
        lambda value: value,
        "the axis over dataset rows",
    ),
)
ASK = (
    {k: v for k, v in PARAMS.items() if k != "seed"}
    | _table(
        Spec(
            "replicate", "number", "a second, independent draw of the same request: 1, 2 ...", _whole(0, 2**31 - 1), "0"
        ),
    )
    | READING
)
ANNOTATION = _table(
    Spec("choices", "map or list", "the labels that people choose from, with what they mean", _choices),
    Spec("draw", "number", "number of rows that are drawn in each group", _whole(1), "all rows"),
    Spec(
        "within",
        "axis or list",
        "axes whose levels are groups of the draw",
        lambda value: value,
        "all rows are one group",
    ),
    Spec("raters", "number", "number of people who judge each row", _whole(1, MAX_RATERS), "1"),
    Spec("split", "number", "share of the rows on which a judge is tuned: figures leave them out", _between(0, 1), "0"),
)
JUDGE = {k: v for k, v in PARAMS.items() if k != "seed"} | _table(
    Spec("samples", "number", "number of verdicts: NAME, NAME_2, NAME_3 ...", _whole(1, MAX_JUDGE_SAMPLES), "1"),
    Spec("again", "number", "maximum new requests for an unreadable reply", _whole(0, MAX_AGAIN), "0"),
)
