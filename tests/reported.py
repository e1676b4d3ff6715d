"""What is packed in the page of a report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import zstandard

from emdsl.report.packing import UNSAFE

if TYPE_CHECKING:
    from pathlib import Path


def unpacked(text: str) -> bytes:
    """Return the bytes that `packing.encoded` has packed."""
    for unsafe, safe in UNSAFE.items():
        text = text.replace(safe, unsafe)
    bits = "".join(f"{ord(letter):07b}" for letter in text)
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - len(bits) % 8, 8))
    content: bytes = zstandard.ZstdDecompressor().decompress(packed)
    return content


def parts_of(page: Path) -> dict[str, bytes]:
    """Return the packed parts of a page by their names."""
    text = page.read_text(encoding="utf-8")
    parts = re.findall(r'<script type="application/octet-stream" id="([\w-]+)">([^<]*)</script>', text)
    return {called: unpacked(content) for called, content in parts}


def first_of(page: Path) -> dict[str, Any]:
    """Return the answers that the first screen of a page needs, by endpoint."""
    answers: dict[str, Any] = json.loads(parts_of(page)["first"])
    return answers
