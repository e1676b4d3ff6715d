"""`emdsl export`: a study as files that need no emdsl: tables as Parquet, the program, a manifest, a citation."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.results import load_apart
from emdsl.compiler.compile import compile_file
from emdsl.digest import digest_bytes
from emdsl.errors import UsageError
from emdsl.experiment import heads
from emdsl.outcomes import database
from emdsl.outcomes.loads import DATABASE
from emdsl.outcomes.sql import name
from emdsl.version import __version__

if TYPE_CHECKING:
    from emdsl.cli.session import Session
    from emdsl.experiment import Program

README = """\
# {title}

Outcomes of an emdsl study, as files.

- `tables/`: a Parquet file for each experiment, a row for each cell and sample; and one for each measure.
- `program/`: the program and the files that it reads, as they were; `emdsl check program/{file}` compiles it.
- `manifest.json`: what made them, the models, how complete each experiment is, and the SHA-256 of every file here.
- `CITATION.cff`: how to cite this, to be filled in.

Each table reads as `SELECT * FROM 'tables/NAME.parquet'` in DuckDB, and in pandas, polars and R by their own readers.
"""
CITATION = """\
cff-version: 1.2.0
message: If you use these outcomes, please cite them as below.
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


@click.command("export")
@session.with_options(session.FILE, session.CACHE, session.ENV_FILE, session.SIM)
@session.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A folder that is not there yet.",
)
def command(file: Path, cache: Path | None, env_file: Path | None, simulate: bool, output: Path) -> int:
    """Write the outcomes of FILE to a folder that needs no emdsl: Parquet, the program, a manifest, a citation file.

    It holds what is stored by now; the manifest says how complete that is.
    """
    here = session.open_session(file, cache, env_file, simulate=simulate)
    if output.exists():
        raise UsageError(f"{output} is there already; choose another name")
    program = compile_file(file, here.environment, simulate=simulate)
    fresh = output.with_name(f"{output.name}.{os.getpid()}.new")
    try:
        fresh.mkdir(parents=True)
        said = load_apart(here, file, fresh, simulate=simulate)
        counts = _tables(fresh, here.study(file), program)
        for left in fresh.glob(f"{DATABASE}*"):
            left.unlink()
        for left in fresh.glob("outcomes.*"):
            left.unlink()
        _program(fresh, here, program)
        title = here.study(file)
        (fresh / "README.md").write_text(README.format(title=title, file=here.relative(file)), encoding="utf-8")
        today = datetime.now(UTC).date().isoformat()
        text = CITATION.format(title=json.dumps(title), date=today, version=__version__)
        (fresh / "CITATION.cff").write_text(text, encoding="utf-8")
        manifest = _manifest(fresh, here, program, counts)
        text = json.dumps(console.plain_json(manifest), ensure_ascii=False, indent=1) + "\n"
        (fresh / "manifest.json").write_text(text, encoding="utf-8")
        fresh.replace(output)  # whole or not at all
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or output}: {error.strerror}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    for notice in said:
        console.say(f"note: {notice}", err=True)
    for found in counts:
        whole = (
            "complete" if found["complete"] else f"{found['incomplete_rows']:,} of {found['rows']:,} rows incomplete"
        )
        console.say(f"{found['experiment']}: {found['rows']:,} rows, {whole}")
    console.say(f"Written: {output}")
    return 0


def _tables(folder: Path, study: str, program: Program) -> list[dict[str, Any]]:
    """Write every table and measure as Parquet; return what each experiment has come to."""
    (folder / "tables").mkdir()
    counts = []
    with database.opened(folder, study) as (connection, _):
        for experiment in program.experiments:
            for called in (experiment.name, *(m.name for m in experiment.measures)):
                if database.measure_rows(connection, study, called) is None:
                    continue  # it was left out, and said
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


def _program(folder: Path, here: Session, program: Program) -> None:
    for path in (Path(p) for p, sha256 in program.files.items() if sha256):
        inside = path.relative_to(here.project) if path.is_relative_to(here.project) else Path("elsewhere") / path.name
        target = folder / "program" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _manifest(folder: Path, here: Session, program: Program, counts: list[dict[str, Any]]) -> dict[str, Any]:
    models = {h.model.use: h.model.revision for e in program.experiments for _, h in heads(e)}
    return {
        "study": program.name,
        "program": program.digest.hex(),
        "emdsl": __version__,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulated": here.simulate or any(c["simulated"] for c in counts),
        "models": [{"use": use, "revision": revision} for use, revision in models.items()],
        "experiments": counts,
        "files": {
            p.relative_to(folder).as_posix(): digest_bytes(p.read_bytes()).hex()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        },
    }
