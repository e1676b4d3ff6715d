"""Which values of a setting each model supports: the rows of parameters.tsv, each with its source.

A row is about some models (names with `*`) and some settings, and lists the supported values: `no`, `yes`, `ignored`,
`default` (the model's own value only), words, or numbers (`0 512..24576`). `while` is a condition on the other settings
of a request. The first row that fits a model, a setting and a condition holds. A row that is not sure is about models
newer than the table, or its sources contradict each other.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NO, YES, IGNORED, DEFAULT = "no", "yes", "ignored", "default"
PREFILL = "prefill"  # a last message of the assistant, which the answer continues
_DEFAULTS = {"temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """The values of some settings that some models support; `condition` is one of the words of `_holds`."""

    provider: str
    models: tuple[str, ...]
    parameters: tuple[str, ...]
    takes: str
    condition: str
    sure: bool
    source: str
    date: str

    def refuses(self, parameter: str, value: Any) -> bool:
        """Whether a value of a setting is not supported."""
        match self.takes:
            case "yes":
                return False
            case "no" | "ignored":
                return True
            case "default":
                return bool(value != _DEFAULTS[parameter])
            case _ if isinstance(value, str):
                return value not in self.takes.split()
            case _:
                return not any(_within(value, part) for part in self.takes.split())

    @property
    def values(self) -> str:
        """The supported values, for people."""
        return self.takes.replace("..", " to ").replace(" ", ", ").replace(",to,", " to ").removesuffix(" to ")


def _within(value: Any, part: str) -> bool:
    low, dots, high = part.partition("..")
    if not dots:
        return bool(value == float(low))
    return float(low) <= value and (not high or value <= float(high))


@cache
def _rows() -> tuple[Row, ...]:
    text = Path(__file__).with_name("parameters.tsv").read_text(encoding="utf-8")
    return tuple(
        Row(
            provider=row["provider"], models=tuple(row["models"].split()), parameters=tuple(row["parameters"].split()),
            takes=row["takes"], condition=row["while"], sure=row["sure"] == "yes", source=row["source"],
            date=row["date"],
        )
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    )  # fmt: skip


@cache
def rows_of(provider: str, model: str) -> tuple[Row, ...]:
    """Return the rows of a model in order, each with the settings that no earlier row decides."""
    rows: list[Row] = []
    decided: set[str] = set()
    for row in _rows():
        undecided = tuple(p for p in row.parameters if p not in decided)
        if row.provider == provider and undecided and any(fnmatchcase(model, glob) for glob in row.models):
            rows.append(replace(row, parameters=undecided))
            decided |= set(undecided) if not row.condition else set()
    return tuple(rows)


def row_of(
    provider: str, model: str, parameter: str, params: Mapping[str, Any], *, thinking: bool = False
) -> Row | None:
    """Return the row for a setting of a request; `thinking`: the model reasons in it."""
    return next(
        (
            row
            for row in rows_of(provider, model)
            if parameter in row.parameters and _holds(row.condition, params, thinking=thinking)
        ),
        None,
    )


def refusals(provider: str, model: str, params: Mapping[str, Any], *, thinking: bool) -> Iterator[tuple[str, Any, Row]]:
    """Yield the settings of a request that a model does not support, each with its value and its row."""
    for parameter, value in params.items():
        row = row_of(provider, model, parameter, params, thinking=thinking)
        if row is not None and row.refuses(parameter, value):
            yield parameter, value, row


def _holds(condition: str, params: Mapping[str, Any], *, thinking: bool) -> bool:
    effort = params.get("reasoning_effort")
    match condition:
        case "":
            return True
        case "effort set":
            return effort not in (None, "none")
        case "effort not none":
            return effort != "none"
        case "temperature given":
            return "temperature" in params
        case "thinking":
            return thinking
        case _:
            raise ValueError(f"parameters.tsv has no condition `{condition}`")
