"""emdsl: experiment grids for LLM-safety research."""

from emdsl.version import __version__

__all__ = ["__version__"]
