"""A study in one screen: its axes, steps and measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import EmdslError, SourceError
from emdsl.experiment import request_settings
from emdsl.study.counts import warning_parts
from emdsl.study.html import diagnostics_html, error_html, html_of
from emdsl.study.screen import MAX_LISTED, Table, counted, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emdsl.experiment import Experiment
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part


def study_html(compiled: Callable[[], Compiled]) -> str:
    """Return a study as a notebook shows it: its summary, or its errors."""
    try:
        return html_of(summary_parts(compiled()))
    except SourceError as error:
        return diagnostics_html(error.diagnostics)
    except EmdslError as error:
        return error_html(str(error))


def summary_parts(study: Compiled) -> Iterator[Part]:
    """Yield the screen of a study: no store is read, and no cell is rendered."""
    yield from warning_parts(study.program)
    yield f"{study.file.name}{'   simulated' if study.project.simulate else ''}"
    for experiment in study.program.experiments:
        yield ""
        yield from _experiment_parts(experiment)


def _experiment_parts(experiment: Experiment) -> Iterator[Part]:
    skipped = f"   {experiment.n_skipped:,} skipped" if experiment.n_skipped else ""
    several = "up to " if experiment.cell_samples is not None else ""
    samples = counted(experiment.samples, "sample")
    yield f"experiment {experiment.name}: {counted(experiment.n_cells, 'cell')} x {several}{samples}{skipped}"
    if experiment.axes:
        axes = [(a.name, f"{len(a.places):,}", _listed(list(a.places))) for a in experiment.axes]
        yield Table(("axis", "levels", ""), axes, numeric=("levels",))
    models: dict[str, dict[str, None]] = {}
    for step, settings in request_settings(experiment):
        models.setdefault(step.name, {})[settings.model.use] = None
    steps = [(f"{s.kind} {s.name}", _listed(list(models.get(s.name, {})))) for s in experiment.steps]
    yield Table(("step", "from"), steps)
    if experiment.measures:
        measures = [(m.name, m.function, _listed([".".join(path) for path in m.by])) for m in experiment.measures]
        yield Table(("measure", "function", "by"), measures)


def _listed(words: list[str]) -> str:
    """Return the first words, and how many more there are."""
    more = f" and {len(words) - MAX_LISTED:,} more" if len(words) > MAX_LISTED else ""
    return ", ".join(map(short, words[:MAX_LISTED])) + more
