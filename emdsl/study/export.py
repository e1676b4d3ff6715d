"""Export: a study as files that need no emdsl: tables as Parquet, the `.em` files, a manifest, a citation file."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.errors import FileExists, UsageError
from emdsl.experiment import request_settings
from emdsl.outcomes import database
from emdsl.outcomes.load_ids import DATABASE
from emdsl.outcomes.sql import name
from emdsl.study.analysis import write_analysis
from emdsl.study.refresh import load_apart
from emdsl.study.screen import Aside, plain_json
from emdsl.surrogates import as_text
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Program
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project
    from emdsl.study.screen import Part

README = """\
# {title}

Results of an emdsl study, as files.

- `tables/`: a Parquet file for each experiment, a row for each cell and sample; and one for each measure.
{analysis}- `program/`: the study and the files that it reads, as they were; `emdsl check program/{file}` compiles it.
- `manifest.json`: versions, models, completeness of each experiment, and the SHA-256 of every file here.
- `CITATION.cff`: the citation, to be filled in.

Each table reads as `SELECT * FROM 'tables/NAME.parquet'` in DuckDB, and in pandas, polars and R by their own readers.
"""
ANALYSIS = """\
- `analysis/`: for each measure of rates or means its draws as CSV, and a script that fits a mixed model to them.
"""
CITATION = """\
cff-version: 1.2.0
message: If you use these results, please cite them as below.
title: {title}
type: dataset
date-released: {date}
authors:
  - name: to be filled in
references:
  - type: software
    title: emdsl
    version: {version}
    authors:
      - name: the emdsl authors
"""


def export_study(study: Compiled, output: Path, analysis: str | None = None) -> Iterator[Part]:
    """Write the results of a study to a new folder, whole or not at all; yield what was written.

    `analysis` adds the data and the script of a mixed model of each measure, in `python` or `r`.

    Raises:
        FileExists: The folder exists.
        UsageError: The folder cannot be written, or no measure has a mixed model.
    """
    if output.exists():
        raise FileExists(f"{output} exists; choose another name", parameter="output")
    fresh = output.with_name(f"{output.name}.{os.getpid()}.new")
    try:
        fresh.mkdir(parents=True)
        notices = load_apart(study, fresh)
        counts = _tables(fresh, study.name, study.program)
        if analysis is not None:
            with database.opened(fresh, study.name) as (connection, _):
                write_analysis(connection, fresh / "analysis", study.name, study.program, analysis)
        for left in (*fresh.glob(f"{DATABASE}*"), *fresh.glob("outcomes.*")):
            left.unlink(missing_ok=True)
        _copy_files(fresh, study.project, study.program)
        _describe(fresh, study, counts, ANALYSIS if analysis is not None else "")
        fresh.replace(output)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or output}: {error.strerror}", parameter="output") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    yield from (Aside(f"note: {notice}") for notice in notices)
    for count in counts:
        n_rows, n_incomplete = count["rows"], count["incomplete_rows"]
        state = "complete" if count["complete"] else f"{n_incomplete:,} of {n_rows:,} rows incomplete"
        yield f"{count['experiment']}: {n_rows:,} rows, {state}"
    yield f"Written: {output}"


def _describe(folder: Path, study: Compiled, counts: list[dict[str, Any]], analysis: str) -> None:
    """Write the README, the citation and the manifest."""
    file = study.project.relative(study.file)
    (folder / "README.md").write_text(README.format(title=study.name, file=file, analysis=analysis), encoding="utf-8")
    today = datetime.now(UTC).date().isoformat()
    citation = CITATION.format(title=json.dumps(study.name), date=today, version=__version__)
    (folder / "CITATION.cff").write_text(citation, encoding="utf-8")
    manifest = plain_json(_manifest(folder, study, counts))
    text = as_text(json.dumps(manifest, ensure_ascii=False, indent=1)) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def _tables(folder: Path, study: str, program: Program) -> list[dict[str, Any]]:
    """Write every table and measure as Parquet; return the counts of each experiment."""
    (folder / "tables").mkdir()
    counts = []
    with database.opened(folder, study) as (connection, _):
        for experiment in program.experiments:
            for called in (experiment.name, *(m.name for m in experiment.measures)):
                if database.measure_rows(connection, study, called) is None:
                    continue  # a notice names it
                sql = f"FROM {name(study)}.{name(called)}"
                database.write_parquet(connection, sql, folder / "tables" / f"{called}.parquet")
            rows, incomplete, simulated = database.completeness(connection, study, experiment)
            counts.append(
                {
                    "experiment": experiment.name, "rows": rows, "incomplete_rows": incomplete,
                    "complete": not incomplete, "simulated": simulated, "cells": experiment.n_cells,
                    "samples": experiment.samples,
                }
            )  # fmt: skip
    return counts


def _copy_files(folder: Path, project: Project, program: Program) -> None:
    for path in (Path(p) for p, sha256 in program.files.items() if sha256):
        inside = path.relative_to(project.root) if path.is_relative_to(project.root) else Path("elsewhere") / path.name
        target = folder / "program" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project.instead.get(path, path), target)


def _manifest(folder: Path, study: Compiled, counts: list[dict[str, Any]]) -> dict[str, Any]:
    program = study.program
    models = {h.model.use: h.model.revision for e in program.experiments for _, h in request_settings(e)}
    return {
        "study": program.name,
        "program": program.digest.hex(),
        "emdsl": __version__,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulated": study.project.simulate or any(c["simulated"] for c in counts),
        "models": [{"use": use, "revision": revision} for use, revision in models.items()],
        "experiments": counts,
        "files": {
            p.relative_to(folder).as_posix(): digest_bytes(p.read_bytes()).hex()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        },
    }
