"""All rows to read, packed for a page: each text once, columns by position, all compressed."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from emdsl.experiment import ASK
from emdsl.outcomes.report_data import shown_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.experiment import Experiment
    from emdsl.outcomes.report_data import Readable
    from emdsl.prompt import Message

    Prompts = Mapping[str, Sequence[tuple[Message, ...] | None]]  # of each ask, by row; None where it was not sent

PARAGRAPH = "\n\n"  # prompts are stored by paragraph, so that questions after the same demonstrations share them
MISSING = -1


class _Texts:
    """Numbered texts, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        return MISSING if text is None else self.numbers.setdefault(text, len(self.numbers))


def packed(parts: Sequence[tuple[Experiment, Readable, Prompts]], mask: Callable[[str], str]) -> str:
    """Return experiments with their rows and the prompts of their asks as base64 of gzip of JSON.

    `mask` removes secrets from the JSON.
    """
    texts = _Texts()
    page: dict[str, Any] = {"experiments": [_experiment(e, r, p, texts) for e, r, p in parts]}
    page["texts"] = list(texts.numbers)
    data = mask(json.dumps(page, ensure_ascii=False, separators=(",", ":"))).encode("utf-8", "replace")
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
        columns = rows.steps[step.name]
        numeric = step.reply_format is not None and step.reply_format.scale is not None
        part: dict[str, Any] = {"name": step.name, "kind": step.kind, "missing": _labels(columns["missing"])}
        part |= {"finish": _labels(columns["finish"])}
        if step.kind == ASK:
            part |= {
                "texts": [texts.place(t) for t in columns["value"]],
                "reasoning": [texts.place(t) for t in columns["reasoning"]],
                "prompt": [prompt(m) for m in prompts[step.name]],
            }
        else:
            part["reply"] = [texts.place(t) for t in columns["reply"]]
            part |= (
                {"numbers": [_rounded(v) for v in columns["value"]]}
                if numeric
                else {"labels": _labels(columns["value"])}
            )
        steps.append(part)
    lets = []
    for column in shown_columns(experiment):
        held = rows.lets[column.name]
        part = {"name": column.name, "kind": "let", "missing": _labels(held["missing"])}
        numeric = column.kind == "double"
        part |= {"numbers": [_rounded(v) for v in held["value"]]} if numeric else {"labels": _labels(held["value"])}
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
    """Encode a column of few distinct values as these values, those of `first` first, and their places."""
    places = {x: i for i, x in enumerate(first)}
    at = []
    for value in values:
        shown = value if isinstance(value, str) else None if value is None else str(value).lower()
        at.append(MISSING if shown is None else places.setdefault(shown, len(places)))
    return {"labels": list(places), "at": at}
