"""Every outcome to read, packed for a page: texts once, columns by position, all of it compressed."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.summaries import Readable
    from emdsl.prompt import Message

    Prompts = Mapping[str, Sequence[tuple[Message, ...] | None]]  # of each ask, by row; None where it was not sent

PARAGRAPH = "\n\n"  # prompts are kept by paragraphs: questions behind the same demonstrations share them
MISSING = -1


class _Texts:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        return MISSING if text is None else self.known.setdefault(text, len(self.known))


def packed(parts: Sequence[tuple[Experiment, Readable, Prompts]], mask: Callable[[str], str]) -> str:
    """Return experiments with their outcomes and the prompts of their asks as base64 of gzip of JSON.

    `mask` takes API keys out of the JSON.
    """
    texts = _Texts()
    found: dict[str, Any] = {"experiments": [_experiment(e, r, p, texts) for e, r, p in parts]}
    found["texts"] = list(texts.known)
    data = mask(json.dumps(found, ensure_ascii=False, separators=(",", ":"))).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _experiment(experiment: Experiment, rows: Readable, prompts: Prompts, texts: _Texts) -> dict[str, Any]:
    known: dict[int, int] = {}  # prompts by identity, kept alive in `kept`
    kept: dict[tuple[Message, ...], int] = {}

    def prompt(messages: tuple[Message, ...] | None) -> int:
        if messages is None:
            return MISSING
        place = known.get(id(messages))
        if place is None:
            place = known[id(messages)] = kept.setdefault(messages, len(kept))
        return place

    steps = []
    for step in experiment.steps:
        found = rows.steps[step.name]
        numeric = step.reading is not None and step.reading.scale is not None
        part: dict[str, Any] = {"name": step.name, "kind": step.kind, "missing": _labels(found["missing"])}
        part |= {"finish": _labels(found["finish"])}
        if step.kind == ASK:
            part |= {
                "texts": [texts.place(t) for t in found["value"]],
                "reasoning": [texts.place(t) for t in found["reasoning"]],
                "prompt": [prompt(m) for m in prompts[step.name]],
            }
        else:
            part["reply"] = [texts.place(t) for t in found["reply"]]
            part |= (
                {"numbers": [_rounded(v) for v in found["value"]]} if numeric else {"labels": _labels(found["value"])}
            )
        steps.append(part)
    lets = []
    for column in experiment.columns:
        found = rows.lets[column.name]
        part = {"name": column.name, "kind": "let", "missing": _labels(found["missing"])}
        numeric = column.kind == "double"
        part |= {"numbers": [_rounded(v) for v in found["value"]]} if numeric else {"labels": _labels(found["value"])}
        lets.append(part)
    return {
        "name": experiment.name,
        "n": len(rows.sample),
        "axes": [{"name": a.name, **_labels(rows.axes[a.name], [x.shown for x in a.levels])} for a in experiment.axes],
        "sample": rows.sample,
        "steps": steps,
        "lets": lets,
        "prompts": [
            [[m.role, [texts.place(p) for p in m.text.split(PARAGRAPH)]] for m in messages] for messages in kept
        ],
    }


def _rounded(value: float | None) -> float | None:
    return value if value is None else round(value, 4)


def _labels(values: Sequence[Any], first: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return a column of few values as its values, those of `first` first, and their places."""
    places = {x: i for i, x in enumerate(first)}
    at = []
    for value in values:
        shown = value if isinstance(value, str) else None if value is None else str(value).lower()
        at.append(MISSING if shown is None else places.setdefault(shown, len(places)))
    return {"labels": list(places), "at": at}
