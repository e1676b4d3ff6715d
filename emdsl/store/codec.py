"""Responses to bytes and back: a magic number, a digest, and JSON, compressed if that saves space.

`E1` + kind (`j` JSON, `z` zstd over JSON) + SHA-256 of the JSON + the payload. An entry that fails its digest is
never used.
"""

from __future__ import annotations

import json
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import zstandard

from emdsl.digest import digest_bytes
from emdsl.query import Query, Response, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.digest import Digest

MARK = b"E1"
MIN_COMPRESSED = 512  # bytes of JSON from which zstd saves more than its frame costs
MAX_PLAIN = 256 * 2**20  # bytes: no answer is this long; a forged frame that claims more is refused
MAX_TIME = 2.0**37  # seconds since 1970, and of an answer: some thousand years
MAX_COUNT = 2**63  # tokens: what a database can hold
_HEAD = len(MARK) + 1 + 32
_parsed = json.JSONDecoder().raw_decode


class _Zstd(threading.local):
    """One thread's contexts: making them costs more than an entry does."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(3).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Zstd()


class Corrupt(Exception):
    """A stored entry that is damaged, or was not written by emdsl."""


def encode(query: Query, response: Response) -> bytes:
    """Encode an answer as an entry, with the ingredients of its key."""
    return encode_with(query.ingredients(), response)


def encode_with(ingredients: Mapping[str, Any], response: Response) -> bytes:
    """Encode an answer as an entry; `ingredients` are those of its key, as Query.ingredients returns them."""
    usage = response.usage
    fields = {
        "text": response.text,
        "finish": response.finish,
        "reasoning": response.reasoning,
        "model": response.model,
        "fingerprint": response.fingerprint,
        "request_id": response.request_id,
        "usage": [
            usage.input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.cached_tokens,
            usage.cost_usd,
            *((usage.written_tokens,) if usage.written_tokens is not None else ()),
        ],
        "logprobs": response.logprobs,
        "tokens": response.tokens,
        "answered_at": response.answered_at,
        "elapsed_s": response.elapsed_s,
        "run": response.run,
        "batch": response.batch,
        "of": ingredients,
    }
    plain = _plain({k: v for k, v in fields.items() if v is not None})
    kind, payload = b"j", plain
    if len(plain) >= MIN_COMPRESSED:
        packed = _zstd.compress(plain)
        if len(packed) < len(plain):
            kind, payload = b"z", packed
    return b"".join((MARK, kind, digest_bytes(plain), payload))


def _plain(fields: dict[str, Any]) -> bytes:
    from pydantic_core import to_json  # noqa: PLC0415 - whoever stores answers has it; reading them does not need it

    try:
        return to_json(fields, inf_nan_mode="constants")
    except ValueError:  # a lone surrogate, which has no bytes in UTF-8
        return json.dumps(fields, separators=(",", ":")).encode()


def decode(entry: bytes | None) -> Response:
    """Decode the answer in an entry; raises Corrupt, also for None: an entry that emdsl did not write."""
    if entry is None:
        raise Corrupt("not written by emdsl")
    fields = _fields(entry)
    try:
        logprobs = fields.get("logprobs")
        response = Response(
            text=fields["text"],
            finish=fields["finish"],
            reasoning=fields.get("reasoning"),
            model=fields.get("model"),
            fingerprint=fields.get("fingerprint"),
            request_id=fields.get("request_id"),
            usage=_usage(*fields["usage"]),
            logprobs=tuple(tuple((str(t), float(p)) for t, p in at) for at in logprobs) if logprobs else None,
            tokens=tuple(map(str, tokens)) if isinstance(tokens := fields.get("tokens"), list) else None,
            answered_at=float(fields["answered_at"]),
            elapsed_s=float(fields["elapsed_s"]),
            run=str(fields["run"]),
            batch=fields.get("batch"),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise Corrupt(f"the fields of an answer are missing or invalid: {error}") from error
    if not (0 <= response.answered_at < MAX_TIME and 0 <= response.elapsed_s < MAX_TIME):  # NaN is neither
        raise Corrupt("the time of the answer is invalid")
    if not isinstance(response.text, str):
        raise Corrupt("the fields of an answer are missing or invalid")
    for text in (
        response.finish, response.reasoning, response.model, response.fingerprint, response.request_id, response.batch,
    ):  # fmt: skip
        if text is not None and not isinstance(text, str):
            raise Corrupt("the fields of an answer are missing or invalid")
    return response


def decoded(entries: Iterable[tuple[Digest, bytes]], corrupt: set[Digest]) -> dict[Digest, Response]:
    """Return the answers of entries by key; keys of damaged entries are added to `corrupt`."""
    answers: dict[Digest, Response] = {}
    for key, entry in entries:
        try:
            answers[key] = decode(entry)
        except Corrupt:
            corrupt.add(key)
    return answers


def is_sound(entry: bytes | None) -> bool:
    """Whether the answer in an entry can be decoded."""
    try:
        decode(entry)
    except Corrupt:
        return False
    return True


def ingredients(entry: bytes | None) -> dict[str, Any]:
    """Return the ingredients of an entry's key; raises Corrupt."""
    if entry is None:
        raise Corrupt("not written by emdsl")
    of = _fields(entry).get("of")
    if not isinstance(of, dict):
        raise Corrupt("the ingredients of the key are missing")
    sample = of.get("sample")
    if not isinstance(of.get("model"), str) or type(sample) is not int or not 0 <= sample < MAX_COUNT:
        raise Corrupt("the ingredients of the key are invalid")
    return of


@lru_cache(maxsize=4096, typed=True)  # typed: 1, 1.0 and true are equal, and only one of them is a count
def _usage(into: Any, out: Any, reasoning: Any, cached: Any, cost: Any, written: Any = None, *_: Any) -> Usage:
    return Usage(
        input_tokens=_count(into),
        output_tokens=_count(out),
        reasoning_tokens=_count(reasoning),
        cached_tokens=_count(cached),
        cost_usd=float(cost) if cost is not None else None,
        written_tokens=_count(written),
    )


def _count(tokens: Any) -> int | None:
    return tokens if type(tokens) is int and 0 <= tokens < MAX_COUNT else None


def _fields(entry: bytes) -> dict[str, Any]:
    if entry[: len(MARK)] != MARK or len(entry) < _HEAD:
        raise Corrupt("not an entry of this format")
    kind, wanted, payload = entry[2:3], entry[3:_HEAD], entry[_HEAD:]
    if kind == b"z":
        try:
            if not 0 <= zstandard.frame_content_size(payload) <= MAX_PLAIN:
                raise Corrupt("it claims to be larger than any answer")
            plain = _zstd.decompress(payload)
        except zstandard.ZstdError as error:
            raise Corrupt(f"it cannot be decompressed: {error}") from error
    elif kind == b"j":
        plain = payload
    else:
        raise Corrupt("unknown kind of entry")
    if digest_bytes(plain) != wanted:
        raise Corrupt("it fails its checksum")
    try:
        text = plain.decode().strip(" \t\n\r")
        fields, end = _parsed(text)
        if end != len(text):
            raise Corrupt("invalid JSON")
    except (ValueError, RecursionError) as error:
        raise Corrupt("invalid JSON") from error
    if not isinstance(fields, dict):
        raise Corrupt("not a JSON object")
    return fields
