"""Response to bytes and back: a mark, a digest, and JSON, compressed where it pays.

`E1` + kind (`j` JSON, `z` zstd over JSON) + SHA-256 of the JSON + the payload. What does not match its digest
is never believed.
"""

from __future__ import annotations

import json
from typing import Any

import zstandard

from emdsl.digest import digest_bytes
from emdsl.query import Query, Response, Usage

MARK = b"E1"
MIN_COMPRESSED = 512  # bytes of JSON from which zstd saves more than its frame costs
MAX_PLAIN = 256 * 2**20  # bytes: no answer is this long; a forged frame that claims more is refused
_HEAD = len(MARK) + 1 + 32


class Corrupt(Exception):
    """Stored bytes that are not what was stored."""


def encode(query: Query, response: Response) -> bytes:
    """Return the entry of an answer, with the ingredients of its key."""
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
        ],
        "logprobs": response.logprobs,
        "answered_at": response.answered_at,
        "elapsed_s": response.elapsed_s,
        "run": response.run,
        "of": query.ingredients(),
    }
    plain = json.dumps({k: v for k, v in fields.items() if v is not None}, separators=(",", ":")).encode()
    kind, payload = b"j", plain
    if len(plain) >= MIN_COMPRESSED:
        packed = zstandard.compress(plain, 3)
        if len(packed) < len(plain):
            kind, payload = b"z", packed
    return b"".join((MARK, kind, digest_bytes(plain), payload))


def decode(entry: bytes) -> Response:
    """Return the answer in an entry; raises Corrupt."""
    fields = _fields(entry)
    try:
        logprobs = fields.get("logprobs")
        return Response(
            text=fields["text"],
            finish=fields["finish"],
            reasoning=fields.get("reasoning"),
            model=fields.get("model"),
            fingerprint=fields.get("fingerprint"),
            request_id=fields.get("request_id"),
            usage=_usage(fields["usage"]),
            logprobs=tuple(tuple((t, p) for t, p in at) for at in logprobs) if logprobs else None,
            answered_at=fields["answered_at"],
            elapsed_s=fields["elapsed_s"],
            run=fields["run"],
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Corrupt(f"not the fields of an answer: {error}") from error


def ingredients(entry: bytes) -> dict[str, Any]:
    """Return what an entry's key was made of; raises Corrupt."""
    found = _fields(entry).get("of")
    if not isinstance(found, dict):
        raise Corrupt("no ingredients")
    return found


def _usage(counts: list[Any]) -> Usage:
    into, out, reasoning, cached, cost = counts
    return Usage(input_tokens=into, output_tokens=out, reasoning_tokens=reasoning, cached_tokens=cached, cost_usd=cost)


def _fields(entry: bytes) -> dict[str, Any]:
    if entry[: len(MARK)] != MARK or len(entry) < _HEAD:
        raise Corrupt("not an entry of this format")
    kind, wanted, payload = entry[2:3], entry[3:_HEAD], entry[_HEAD:]
    if kind == b"z":
        try:
            plain = zstandard.ZstdDecompressor().decompress(payload, max_output_size=MAX_PLAIN)
        except zstandard.ZstdError as error:
            raise Corrupt(f"cannot be unpacked: {error}") from error
    elif kind == b"j":
        plain = payload
    else:
        raise Corrupt("an unknown kind of entry")
    if digest_bytes(plain) != wanted:
        raise Corrupt("its digest does not match")
    fields = json.loads(plain)
    if not isinstance(fields, dict):
        raise Corrupt("not an object")
    return fields
