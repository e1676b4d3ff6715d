"""Questions that stand among their own demonstrations: found in rendered prompts and drawn pools, whatever the layout.

A prompt that shows a question more often than the question is put holds it elsewhere. How often it is put is found by
putting a mark in its place. A pool that a `draw` chooses from is compared too, for a draw may miss the row by chance.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emdsl.compiler.shots import pools
from emdsl.experiment import ASK
from emdsl.frame import EvalFault, Frame, MissingInput
from emdsl.value import Level, Row, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Experiment, Step
    from emdsl.prompt import Prompt

MIN_SHARED = 12  # characters of a text that is no coincidence
MAX_FRAMES = 120  # prompts of each ask that are rendered
MAX_SEEN = 20_000  # combinations among which those are chosen
MAX_ROWS = 20_000  # of a pool, or levels of an axis, that are compared
MARK = "\ue000question\ue001"  # private characters: no text holds them

_Rendered = tuple[tuple[int, ...], str, list[tuple[Row, ...]]]  # the levels of a prompt, its text, what it draws from


@dataclass(frozen=True, slots=True)
class Leak:
    """Levels of an axis that are among the demonstrations of their own prompts."""

    axis: int
    step: Step
    levels: frozenset[int]
    text: str  # of one of them


def leaks(experiment: Experiment) -> Iterator[Leak]:
    """Yield what leaks into the asks that need no answer, for each axis of questions."""
    for step in experiment.steps:
        if step.kind == ASK and not step.needs:
            axes = [(a, texts) for a in step.prompt_axes if (texts := _own_texts(experiment.axes[a].levels))]
            rendered = list(_all_rendered(experiment, step)) if axes else []
            for axis, texts in axes:
                yield from _of_axis(experiment, step, axis, texts, rendered)


def _all_rendered(experiment: Experiment, step: Step) -> Iterator[_Rendered]:
    for levels in _some(experiment, step.prompt_axes):
        with pools() as used:
            prompt = _rendered(step, experiment.frame(step.prompt_axes, levels))
        if prompt is not None:
            yield levels, _joined(prompt), list({id(p): p for p in used}.values())


def _of_axis(
    experiment: Experiment, step: Step, axis: int, texts: dict[int, frozenset[str]], rendered: list[_Rendered]
) -> Iterator[Leak]:
    leaked: dict[int, str] = {}
    shared: Counter[int] = Counter()  # pools by identity: one that several levels draw from does not depend on them
    drawn: dict[int, frozenset[str]] = {}  # their texts
    at = step.prompt_axes.index(axis)
    for levels, whole, used in rendered:
        own = texts.get(levels[at], frozenset())
        for pool in used if own else ():
            if id(pool) not in drawn:
                drawn[id(pool)] = texts_of_rows(pool)
            shared[id(pool)] += 1
            if twice := own & drawn[id(pool)]:
                leaked.setdefault(levels[at], min(twice))
        for text in own:
            if whole.count(text) > 1 and whole.count(text) > _put(experiment, step, levels, at, text):
                leaked.setdefault(levels[at], text)
    for identity, n in shared.items():
        if n > 1:
            for level, own in texts.items():
                if twice := own & drawn[identity]:
                    leaked.setdefault(level, min(twice))
    if leaked:
        first = min(leaked)
        yield Leak(axis, step, frozenset(leaked), leaked[first])


def _some(experiment: Experiment, axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return some combinations of levels, spread over all."""
    seen = list(itertools.islice(experiment.projected(axes), MAX_SEEN))
    step = max(1, len(seen) // MAX_FRAMES)
    return seen[::step][:MAX_FRAMES] + seen[-1:]


def _rendered(step: Step, frame: Frame) -> Prompt | None:
    try:
        return step.prompt(frame)
    except (MissingInput, EvalFault):
        return None


def _put(experiment: Experiment, step: Step, levels: tuple[int, ...], at: int, text: str) -> int:
    """Return how often a prompt puts a question: with a mark in its place, how often the mark stands there."""
    axis = experiment.axes[step.prompt_axes[at]]
    frame = experiment.frame(step.prompt_axes, levels)
    marked = _marked(axis.levels[levels[at]].value, text)
    frame[axis.name] = marked
    frame.levels[axis.name] = Level(axis.levels[levels[at]].label, marked)
    prompt = _rendered(step, frame)
    return _joined(prompt).count(MARK) if prompt is not None else MAX_ROWS


def _marked(value: Value, text: str) -> Value:
    if isinstance(value, Row):
        columns = {c: MARK if isinstance(v, str) and folded(v) == text else v for c, v in value.columns.items()}
        return replace(value, columns=columns)
    return MARK


def _joined(prompt: Prompt) -> str:
    return folded("\n".join(m.text for m in prompt.messages))


def _own_texts(levels: tuple[Level, ...]) -> dict[int, frozenset[str]]:
    """Return for each level the texts that stand in no other: a category that many share makes no two alike."""
    texts = {i: _texts(x.value) for i, x in enumerate(levels[:MAX_ROWS])}
    counted = Counter(t for i, own_texts in texts.items() for t in own_texts)
    return {i: own for i, own_texts in texts.items() if (own := frozenset(t for t in own_texts if counted[t] == 1))}


def texts_of_rows(rows: tuple[Row, ...]) -> frozenset[str]:
    """Return the texts of a pool that tell one of its rows; equal rows are one."""
    unlike = {frozenset(_texts(row)) for row in rows[:MAX_ROWS]}
    counted = Counter(t for row_texts in unlike for t in row_texts)
    return frozenset(t for t, n in counted.items() if n == 1)


def _texts(value: Value) -> frozenset[str]:
    values = value.columns.values() if isinstance(value, Row) else (value,)
    return frozenset(folded(v) for v in values if isinstance(v, str) and len(v) >= MIN_SHARED)


def folded(text: str) -> str:
    """Return a text as it is compared: in one case, its blanks alike."""
    return " ".join(text.casefold().split())
