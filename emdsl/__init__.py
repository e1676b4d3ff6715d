"""emdsl: experiment grids for LLM-safety research.

`emdsl.open("study.em")` is a study from Python; the command `emdsl` does the same from a terminal. In a notebook,
`%load_ext emdsl` adds `%%em`, a cell whose text is a study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.version import __version__

if TYPE_CHECKING:
    from emdsl.study.study import open_study as open  # noqa: A004 - read as `emdsl.open`
    from emdsl.study.study import open_text

__all__ = ["__version__", "load_ipython_extension", "open", "open_text"]


def __getattr__(name: str) -> Any:
    if name in ("open", "open_text"):
        from emdsl.study import study  # noqa: PLC0415 - `import emdsl` loads nothing

        return study.open_study if name == "open" else study.open_text
    raise AttributeError(f"module 'emdsl' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """Add the magic `%%em` to IPython; `%load_ext emdsl` calls it."""
    from emdsl.study.cell_magic import add_magic  # noqa: PLC0415 - only a notebook has cells

    add_magic(shell)
