"""All that something written is made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.lang import ast

if TYPE_CHECKING:
    from collections.abc import Iterator


def nodes(written: Any) -> Iterator[ast.Node]:
    """Yield all that something written is made of, itself included."""
    if isinstance(written, tuple):
        for item in written:
            yield from nodes(item)
    elif isinstance(written, ast.Node):
        yield written
        for field in dataclasses.fields(written):
            if field.name != "span":
                yield from nodes(getattr(written, field.name))
