"""The options that the verbs of `emdsl cache` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.cli import console, options
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from emdsl.study.project import Project

CACHE_SIM = options.with_options(options.CACHE, options.SIM, options.AS_JSON)
YES = options.option("-y", "--yes", is_flag=True, help="Do it. Without this option it is a dry run.")


def open_cache(cache: Path | None, *, simulate: bool, as_json: bool, near: Path | None = None) -> Project:
    """Return the project of the working folder, or of another path."""
    console.expect_json(wanted=as_json)
    return open_project(near or Path(), cache, None, simulate=simulate)
