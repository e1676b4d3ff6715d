"""The order of levels: as the program declares them, in measures of every kind, in charts and in messages."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from told import Loaded, loaded

from emdsl.errors import UnknownLevel
from emdsl.outcomes.database import SqlResult
from emdsl.study.figures import table_of
from emdsl.study.selection import selections

STUDY = """
let people = [
  { name: "zoe", team: "red", age: 30 }, { name: "amy", team: "blue", age: 4 }, { name: "bob", team: "red", age: 20 },
]
rubric graded(answer) from "sim/judge" { choices = ["yes", "maybe", "no"], user "graded|{answer}|x" }
experiment e {
  for style in ["zebra", "apple", "Mango"]
  for k in [8, 0.5, 2]
  for flag in [true, false]
  for side in { west: 1, east: 2 }
  for p in people
  for n in 1..2
  skip when style is zebra and k == 8
  samples = 2
  ask answer from "sim/subject" with "{style}|{k}|{flag}|{side}|{p.name}|{n}"
  judge v with score(answer)
  judge g with graded(answer)
  measure by_style = rate(v < 50) by style, k
  measure by_k = mean(v, interval: wald(0.9, cluster: none)) by k
  measure by_flag = count() by flag
  measure by_side = rate(v < 50, interval: bootstrap(0.9)) by style, side
  measure by_team = mean(v) by p.team
  measure by_age = at_least(v < 50, 1, of: 1) by p.age
  measure by_n = slope(mean(v), n) by style
  measure by_label = shares(g) by flag
  measure by_sample = rate(v < 50) by sample
  measure by_versus = contrast(rate(v < 50), style, versus: apple) by flag
  measure by_dose = dose(rate(v < 50), k) by style
  measure by_whole = agreement(g is yes, v < 50) by p
}
"""
STYLES, DOSES, GRADES = ("zebra", "apple", "Mango"), (8, 0.5, 2), ("yes", "maybe", "no")
PEOPLE = tuple(
    f'{{"name": "{name}", "team": "{team}", "age": {age}}}'
    for name, team, age in (("zoe", "red", 30), ("amy", "blue", 4), ("bob", "red", 20))
)
GROUPS: dict[str, list[tuple[Any, ...]]] = {
    "by_style": [(s, k) for s in STYLES for k in DOSES if (s, k) != ("zebra", 8)],
    "by_k": [(k,) for k in DOSES],
    "by_flag": [(True,), (False,)],
    "by_side": [(s, x) for s in STYLES for x in ("west", "east")],
    "by_team": [("red",), ("blue",)],
    "by_age": [(30,), (4,), (20,)],
    "by_n": [(s,) for s in STYLES],
    "by_label": [(f, g) for f in (True, False) for g in GRADES],
    "by_sample": [(0,), (1,)],
    "by_versus": [(f, s) for f in (True, False) for s in ("zebra", "Mango")],
    "by_dose": [(s,) for s in STYLES],
    "by_whole": [(p,) for p in PEOPLE],
}


def reply(rubric: str, *parts: Any) -> str:
    """A score or a label that all levels change."""
    number = sum(ord(c) for part in parts[:-1] for c in part) * 37 % 101
    return str(number) if rubric == "score" else GRADES[number % 3]


@cache
def study() -> Loaded:
    return loaded(STUDY, reply)


def test_every_measure_has_its_groups_in_the_order_of_the_program() -> None:
    """Texts, numbers, booleans, labels, fields of records and verdicts: none of them is sorted by its name."""
    assert study().notices == []
    for measure in study().experiment.measures:
        columns = ["_".join(path) for path in measure.by]
        found = [tuple(row[c] for c in columns) for row in study().measures[measure.name]]
        assert found == GROUPS[measure.name], measure.name


def test_the_levels_of_a_chart_are_in_order_where_its_first_group_lacks_some() -> None:
    """`zebra` has no dose of 8, so that the first rows of the measure have 0.5 first."""
    (measure,) = (m for m in study().experiment.measures if m.name == "by_style")
    rows = study().measures["by_style"]
    table = table_of(measure, SqlResult(tuple(rows[0]), [tuple(r.values()) for r in rows]))
    assert [g.levels for g in table.groups] == [STYLES, DOSES]


def test_an_unknown_level_is_told_the_others_in_order() -> None:
    """`--only` lists the levels as the program does."""

    class Program:
        experiments = (study().experiment,)

    with pytest.raises(UnknownLevel, match="it has `zebra`, `apple`, `Mango`"):
        selections(Program(), None, ["style=lion"])  # type: ignore[arg-type]  # it reads the experiments alone


def test_a_level_that_is_a_record_has_one_name_everywhere() -> None:
    """In plans, in `--only` and in the results: JSON."""
    (people,) = (a for a in study().experiment.axes if a.name == "p")
    assert people.places == {name: [i] for i, name in enumerate(PEOPLE)}
