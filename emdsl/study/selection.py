"""Selections: the first samples of each cell, and some levels of some axes."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import UnknownAxis, UnknownLevel, UsageError
from emdsl.run.rows import Rows, Selection
from emdsl.source import listed, near, one_of
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.experiment import Axis, Experiment, Program

    Only = Mapping[str, Any | Sequence[Any]]


def only_texts(only: Only | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return a selection of levels in its written form, `AXIS=VALUE[,VALUE]`, from either form."""
    if only is None:
        return ()
    if isinstance(only, list | tuple) and all(isinstance(text, str) for text in only):
        return tuple(only)
    if not isinstance(only, Mapping):
        raise UsageError(f'expected levels by axis, as in {{"k": [0, 16]}}, not {only!r}', parameter="only")
    texts: list[str] = []
    for axis, levels in only.items():
        several = levels if isinstance(levels, list | tuple | set | frozenset | range) else [levels]
        texts += [f"{axis}={render(level) or level}" for level in several] or [f"{axis}="]  # none: an error
    return tuple(texts)


def whole(number: int, least: int, parameter: str, most: float = math.inf) -> int:
    """Return an argument that is a whole number from `least` to `most`; else raise UsageError."""
    try:
        value = operator.index(number)
    except TypeError:
        value = least - 1
    if not least <= value <= most:
        to = f"to {most:,}" if most < math.inf else "up"
        raise UsageError(f"expected a whole number from {least} {to}, not {number!r}", parameter=parameter)
    return value


def selections(program: Program, samples: int | None, only: Sequence[str], *, pilot: bool = False) -> list[Selection]:
    """Return the selection of each experiment; an axis need only belong to one of them.

    Args:
        program: The compiled study.
        samples: Take only this many samples of each cell; None takes all.
        only: Texts `AXIS=VALUE[,VALUE]`.
        pilot: Of these, take only a balanced sample of rows.

    Raises:
        UnknownAxis: No experiment has the axis.
        UnknownLevel: The axis has no such level.
        UsageError: `samples` is no whole number from 1 up, or a text has another form.
    """
    samples = None if samples is None else whole(samples, 1, "samples")
    axes = {a.name for e in program.experiments for a in e.axes}
    for text in only:
        name, _, levels = text.partition("=")
        if not levels:
            raise UsageError(f"expected AXIS=VALUE[,VALUE], not `{text}`", parameter="only")
        if name not in axes:
            hint = near(name, axes) or listed("axis", "axes", _in_order(program))
            raise UnknownAxis(f"unknown axis `{name}`; {hint}", parameter="only")
    chosen = [_selection(e, samples, only, program.experiments) for e in program.experiments]
    return [_pilot(e, s) for e, s in zip(program.experiments, chosen, strict=True)] if pilot else chosen


def _pilot(experiment: Experiment, selection: Selection) -> Selection:
    from emdsl.run.pilot import pilot_rows  # noqa: PLC0415 - few runs are pilots

    samples = Rows(experiment, selection).samples
    rows = pilot_rows(experiment, samples, selection.takes)
    return replace(selection, samples=max(rows.values(), default=samples), pilot=rows)


def _in_order(program: Program) -> list[str]:
    return list(dict.fromkeys(a.name for e in program.experiments for a in e.axes))


def _selection(
    experiment: Experiment, samples: int | None, only: Sequence[str], others: Sequence[Experiment]
) -> Selection:
    axes = {a.name: i for i, a in enumerate(experiment.axes)}
    chosen: dict[int, frozenset[int]] = {}
    for text in only:
        name, _, levels = text.partition("=")
        if name in axes:
            positions = _positions(experiment.axes[axes[name]], levels, others)
            chosen[axes[name]] = chosen.get(axes[name], frozenset()) | positions
    return Selection(samples=samples, only=chosen)


def _positions(axis: Axis, levels: str, others: Sequence[Experiment]) -> frozenset[int]:
    """Return the positions of levels; a level of the same axis in another experiment selects no cell of this one."""
    positions, places = set[int](), axis.places
    for level in [levels] if levels in places else levels.split(","):
        positions.update(places.get(level, ()))
        if level not in places and not any(a.name == axis.name and level in a.places for e in others for a in e.axes):
            names = list(places)
            hint = near(level, names) or f"it has {one_of(names)}"
            raise UnknownLevel(f"`{axis.name}` has no level `{level}`; {hint}", parameter="only")
    return frozenset(positions)


def level_names(program: Program, only: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the selected levels by axis, as people call them."""
    names: dict[str, set[str]] = {}
    for experiment, selection in zip(program.experiments, selections(program, None, only), strict=True):
        for position, levels in selection.only.items():
            axis = experiment.axes[position]
            names.setdefault(axis.name, set()).update(axis.levels[i].shown for i in levels)
    return {name: frozenset(levels) for name, levels in names.items()}
