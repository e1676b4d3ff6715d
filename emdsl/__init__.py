"""emdsl: experiment grids for LLM-safety research.

`emdsl.open("study.em")` is a study from Python; the command `emdsl` does the same from a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.version import __version__

if TYPE_CHECKING:
    from emdsl.study.study import open_study as open  # noqa: A004 - read as `emdsl.open`

__all__ = ["__version__", "open"]


def __getattr__(name: str) -> Any:
    if name == "open":
        from emdsl.study.study import open_study  # noqa: PLC0415 - `import emdsl` loads nothing

        return open_study
    raise AttributeError(f"module 'emdsl' has no attribute {name!r}")
