"""Compressed replies: the encodings that servers use, undone for a whole body or while it arrives."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

from emdsl.errors import Rejected, Unavailable
from emdsl.providers.http_errors import OK, short

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY = 64 * 2**20  # bytes of a reply, and of one line of results
ENCODINGS = ("gzip", "deflate", "zstd")  # supported compression of replies
PIECE = 2**18  # bytes of unpacked gzip and deflate at a time
CHUNK = 1024  # compressed bytes of zstd at a time: each may unpack to a hundred thousand
_NONE = ("", "identity", "none", "utf-8")


class _Stage(Protocol):
    """Undoes one encoding of a body."""

    ended: bool  # whether it stands at the end of a member or frame

    def feed(self, raw: bytes) -> Iterator[bytes]: ...


class Unpacker:
    """Undoes the encodings of one body, the last one first; raises Rejected for an unsupported one."""

    def __init__(self, encodings: str) -> None:
        names = [e.strip().lower() for e in encodings.split(",")]
        self._stages = [(name, _stage(name)) for name in reversed(names) if name not in _NONE]
        self._begun = False
        self._plain = False  # declared as compressed, but JSON: neither format can begin like that

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Yield pieces of bounded size; raises Unavailable."""
        if not self._begun and raw:
            self._begun, self._plain = True, raw.lstrip()[:1] in (b"{", b"[")
        yield from self._through(raw, len(self._stages) if self._plain else 0)

    def _through(self, raw: bytes, at: int) -> Iterator[bytes]:
        if at == len(self._stages):
            yield raw
            return
        name, stage = self._stages[at]
        pieces = stage.feed(raw)
        while (piece := _next(pieces, name)) is not None:
            yield from self._through(piece, at + 1)

    def end(self) -> None:
        """Raise Unavailable if the body was cut."""
        if self._begun and not self._plain:
            for name, stage in self._stages:
                if not stage.ended:
                    raise _invalid(name)


def decompress(raw: bytes, encodings: str) -> bytes:
    """Undo the encodings of a body, the last one first; raises Unavailable, Rejected."""
    if not raw:
        return raw
    unpacker, content = Unpacker(encodings), bytearray()
    for piece in unpacker.feed(raw):
        content += piece
        if len(content) > MAX_BODY:
            raise too_large(OK)
    unpacker.end()
    return bytes(content)


def too_large(status: int) -> Rejected:
    """Return the error for a reply that is larger than MAX_BODY."""
    return Rejected(f"the reply is larger than {MAX_BODY // 2**20} MiB", status=status)


def _next(pieces: Iterator[bytes], name: str) -> bytes | None:
    try:
        return next(pieces, None)
    except (zlib.error, zstandard.ZstdError):
        raise _invalid(name) from None


def _invalid(name: str) -> Unavailable:
    return Unavailable(f"the reply is not valid `{name}`, the encoding that it declares", status=OK)


def _stage(name: str) -> _Stage:
    match name.removeprefix("x-"):
        case "gzip" | "deflate":
            return _Zlib()
        case "zstd":
            return _Zstd()
        case _:
            raise Rejected(f"the reply has the unsupported encoding `{short(name)}`", status=OK)


class _Zlib:
    """Gzip or deflate, with either header or none."""

    def __init__(self) -> None:
        self.ended = False
        self._head = b""  # until the header is known
        self._bits = 0
        self._stream: Any = None

    def feed(self, raw: bytes) -> Iterator[bytes]:
        if not self._bits:
            raw = self._head = self._head + raw
            if len(raw) < 2:
                return
            self._bits = zlib.MAX_WBITS | 32 if _has_header(raw) else -zlib.MAX_WBITS
        more = bool(raw)
        while more:
            if self._stream is None:  # gzip may come in several members
                self._stream = zlib.decompressobj(self._bits)
            piece = self._stream.decompress(raw, PIECE)
            self.ended = self._stream.eof
            raw = self._stream.unused_data if self.ended else self._stream.unconsumed_tail
            more = bool(raw) or (not self.ended and len(piece) == PIECE)  # output may wait without input
            if self.ended:
                self._stream = None
            if piece:
                yield piece


def _has_header(raw: bytes) -> bool:
    """Whether a body begins with the header of gzip or of zlib."""
    return raw.startswith(b"\x1f\x8b") or (raw[0] & 15 == 8 and int.from_bytes(raw[:2], "big") % 31 == 0)


class _Zstd:
    """Zstd, one frame or several."""

    def __init__(self) -> None:
        self.ended = False
        self._stream: Any = None

    def feed(self, raw: bytes) -> Iterator[bytes]:
        for start in range(0, len(raw), CHUNK):
            left = raw[start : start + CHUNK]
            while left:
                if self._stream is None:
                    self._stream = zstandard.ZstdDecompressor(max_window_size=MAX_BODY).decompressobj()
                piece = self._stream.decompress(left)
                self.ended = self._stream.eof
                left = self._stream.unused_data if self.ended else b""
                if self.ended:
                    self._stream = None
                if piece:
                    yield piece
