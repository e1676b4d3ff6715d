"""The main program of simulations with promises: each part prints its lines, and marks those that do not hold."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Part = Callable[[ProcessPoolExecutor], Iterator["Line"]]

Line = tuple[str, bool]  # the text to print, and whether its promise holds


def report(*parts: Part) -> int:
    """Print all parts, each under its docstring; return 1 if a promise does not hold, else 0."""
    n_missed = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in parts:
            print(part.__doc__)
            for line, holds in part(pool):
                print(f"  {line}{'' if holds else '  <- MISSED'}", flush=True)
                n_missed += not holds
    return int(n_missed > 0)
