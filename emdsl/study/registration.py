"""Registrations: `emdsl freeze` writes the design and the measures of a study, and which answers were stored then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emdsl.errors import FileExists, FileMissing, UsageError
from emdsl.files import read_whole, write_whole
from emdsl.run.planner import planners
from emdsl.run.rows import Rows
from emdsl.run.symbolic import keys_digest, requests_by_step
from emdsl.study.counts import check_datasets
from emdsl.study.design import Design, design
from emdsl.surrogates import as_text
from emdsl.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.run.count import StepCount
    from emdsl.study.compiled import Compiled

FORMAT = 1
SUFFIX = ".json"
BESIDE = ".prereg.json"  # the end of a registration's name beside its study
MAX_FILE = 2**26  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A written registration; `experiments` are the designs as they were."""

    path: Path
    frozen_at: datetime
    emdsl: str
    program: str  # the digest of the program, in hex
    simulate: bool
    experiments: dict[str, Design]

    @property
    def day(self) -> str:
        """The day on which it was written, in UTC."""
        return self.frozen_at.date().isoformat()


def beside(file: Path) -> Path:
    """Return where the registration of a study is looked up."""
    return file.with_suffix(BESIDE)


def freeze(study: Compiled, output: Path | None = None, *, replace: bool = False) -> Registration:
    """Write the registration of a study, whole or not at all.

    Args:
        study: The study.
        output: The file; by default the one beside the study.
        replace: Replace an older registration; any other file is kept.

    Raises:
        UsageError: The file name does not end in `.json`, or the file cannot be written.
        FileExists: There is such a file.
        SourceError: A dataset is missing, so that not all requests are known.
    """
    path = output or beside(study.file)
    _check_free(study, path, replace=replace)
    walks = [Rows(e) for e in study.program.experiments]
    with study.store() as store:
        counts = [p.plan(store) for p in planners(walks)]
        check_datasets(study.program, counts)
        experiments = {
            w.experiment.name: _with_stored(w, {s.step.name: s for s in c.steps})
            for w, c in zip(walks, counts, strict=True)
        }
    held = {
        "emdsl_registration": FORMAT, "study": study.name, "file": study.project.relative(study.file),
        "frozen_at": datetime.now(UTC).isoformat(timespec="seconds"), "emdsl": __version__,
        "program": study.program.digest.hex(), "simulate": study.project.simulate, "experiments": experiments,
    }  # fmt: skip
    try:
        write_whole(path, as_text(json.dumps(held, ensure_ascii=False, indent=1)) + "\n", public=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", parameter="output") from error
    return read_registration(path)


def _check_free(study: Compiled, path: Path, *, replace: bool) -> None:
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"expected a file name that ends in {SUFFIX}, not {path}", parameter="output")
    if not path.exists():
        return
    if str(path.resolve()) in study.program.files or not _is_registration(path):
        raise FileExists(f"{path} exists and is not a registration; it is not overwritten", parameter="output")
    if not replace:
        raise FileExists(f"{path} exists; choose another name with -o, or replace it with --replace",
                         parameter="output")  # fmt: skip


def _is_registration(path: Path) -> bool:
    try:
        read_registration(path)
    except UsageError:
        return False
    return True


def _with_stored(rows: Rows, counts: dict[str, StepCount]) -> Design:
    """Return a design and which answers are stored: of the experiment their number and digest, of measures a number."""
    experiment = rows.experiment
    plain = design(experiment, requests_by_step(rows))
    keys = set[bytes]().union(*(c.stored for c in counts.values()))
    for measure in experiment.measures:
        stored = set[bytes]().union(*(counts[name].stored for name in measure.steps))
        plain["measures"][measure.name]["stored"] = len(stored)
    return plain | {"stored": len(keys), "stored_digest": keys_digest(keys).hex()}


# ---------------------------------------------------------------- reading


def registration_of(study: Compiled, path: Path | None = None) -> Registration | None:
    """Return the registration of a study: the file named, or the one beside it; None if there is none.

    A registration of real models is not one of a simulated run, and the reverse.

    Raises:
        FileMissing: The file cannot be read.
        UsageError: It is not a registration, or the one named is of the other kind.
    """
    if path is None and not beside(study.file).is_file():
        return None
    found = read_registration(path or beside(study.file))
    if found.simulate == study.project.simulate:
        return found
    if path is None:
        return None
    raise UsageError(f"{path} was written {'with' if found.simulate else 'without'} --sim", parameter="registered")


def read_registration(path: Path) -> Registration:
    """Return a written registration; raises FileMissing, or UsageError for another file."""
    try:
        value: Any = json.loads(read_whole(path, MAX_FILE))
        version = int(value["emdsl_registration"])
        if version == FORMAT:
            return Registration(
                path=path, frozen_at=datetime.fromisoformat(value["frozen_at"]), emdsl=str(value["emdsl"]),
                program=str(value["program"]), simulate=value["simulate"] is True,
                experiments={str(name): _checked(design) for name, design in value["experiments"].items()},
            )  # fmt: skip
    except OSError as error:
        raise FileMissing(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a registration, or it is damaged: `emdsl freeze FILE.em` writes one"
        ) from error
    raise UsageError(f"another version of emdsl wrote {path}: its format is {version}, expected {FORMAT}")


def _checked(value: Any) -> Design:
    """Return the design of an experiment; raises TypeError or KeyError for anything else."""
    parts = [part for name in ("axes", "steps", "measures") for part in value[name].values()]
    numbers = [value["samples"], value["cells"], value["stored"], *(m["stored"] for m in value["measures"].values())]
    texts = [s["digest"] for s in value["steps"].values()]
    for held, kind in ((parts, dict), (numbers, int), (texts, str)):
        if not all(isinstance(x, kind) for x in held):
            raise TypeError(f"expected {kind.__name__}")
    return dict(value)
