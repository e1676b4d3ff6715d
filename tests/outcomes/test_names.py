"""Whatever an axis, a let, a step, a measure or a label is called, its tables hold the numbers of a neutral name.

Run as a program it tries the keywords of DuckDB and every word of our SQL, in lower and upper case, in each role:
`PYTHONPATH=.:tests python tests/outcomes/test_names.py N` stops after N programs of eight names; without N it tries
all, for half an hour.
"""

from __future__ import annotations

import random
import re
import sys
import time
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import THOROUGH, InProcess, program, run

from emdsl.errors import SourceError
from emdsl.outcomes import database, loading
from emdsl.outcomes.draws import part_sql
from emdsl.query import Response
from emdsl.run.passes import collect
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.study.checking import table_diagnostics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.experiment import Experiment
    from emdsl.query import Query

STUDY = """
rubric score(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
rubric label(answer) from "sim/judge" { choices = ["good", "bad"], user "label {answer}" }
experiment exp {
  for AXIS in { LABEL: "1", two: "2" }
  for DOSE in [0, 1, 4]
  for FLAG in [true, false]
  samples = 4
  ask STEP from "sim/subject" with "{AXIS} {DOSE} {FLAG}"
  judge JUDGE with score(STEP) { samples = 2 }
  judge role with label(STEP) { samples = 2 }
  let LET = JUDGE < 40
  measure MEASURE = rate(LET) by AXIS
  measure m1 = rate(LET, interval: clopper_pearson(0.95)) by AXIS
  measure m2 = mean(JUDGE given role is good) by AXIS, DOSE
  measure m3 = mean(JUDGE, interval: bootstrap(0.9, cluster: DOSE, resamples: 100)) by AXIS
  measure m4 = quantile(JUDGE, 0.5) by AXIS
  measure m5 = contrast(rate(JUDGE < 40), FLAG == true, FLAG == false) by AXIS
  measure m6 = contrast(rate(JUDGE < 40), AXIS is LABEL, AXIS is two, correct: holm) by DOSE
  measure m7 = contrast(mean(JUDGE), FLAG == true, FLAG == false, interval: bootstrap(0.9, resamples: 100)) by AXIS
  measure m8 = at_least(LET, 1, of: 3) by AXIS
  measure m9 = at_least(LET, 2, interval: bootstrap(0.9, resamples: 100)) by AXIS
  measure m10 = slope(rate(LET), DOSE) by AXIS
  measure m11 = agreement(role, role_2) by AXIS
  measure m12 = agreement(JUDGE, JUDGE_2) by AXIS
  measure m13 = count(LET) by AXIS
  measure m14 = rate(LET, interval: bootstrap(0.9, cluster: [AXIS, DOSE], resamples: 100)) by FLAG
  measure m15 = rate(LET, interval: wilson(0.9, cluster: [AXIS, DOSE])) by FLAG
  measure m16 = quantile(JUDGE, 0.5, interval: ranks(0.9, cluster: DOSE)) by AXIS
  measure m17 = slope(rate(LET), DOSE, interval: wald(0.9, cluster: sample)) by AXIS
  measure m18 = agreement(role, role_2, interval: wald(0.9, cluster: [AXIS, DOSE]))
  measure m19 = agreement(JUDGE, JUDGE_2, interval: wald(0.9, cluster: DOSE)) by AXIS
  measure m20 = contrast(rate(LET), DOSE, versus: 0, correct: bh, interval: wald(0.9, cluster: AXIS)) by FLAG
  measure m21 = contrast(contrast(rate(LET), DOSE, versus: 4), AXIS is LABEL, AXIS is two, correct: holm, family: ff)
  measure m23 = sd(JUDGE, interval: wald(0.9, cluster: DOSE)) by AXIS
  measure m24 = correlation(JUDGE, JUDGE_2) by AXIS
  measure m25 = shares(role given LET or FLAG) by AXIS
  measure m26 = components(rate(LET), [sample]) by AXIS, DOSE
  measure m27 = components(mean(JUDGE), [sample])
  measure m28 = dose(rate(LET), DOSE, slope: 1) by AXIS
  measure m29 = contrast(dose(rate(LET), DOSE, slope: 1), AXIS is LABEL, AXIS is two)
  measure m30 = agreement(JUDGE, JUDGE_2, metric: ordinal, interval: bootstrap(0.9, cluster: DOSE)) by AXIS
  measure m31 = rate(LET, equal: DOSE, interval: wilson(0.9, cluster: AXIS)) by FLAG
  measure m32 = mean(JUDGE, equal: AXIS) by DOSE
  measure m22 = contrast(at_least(LET, 1), AXIS is LABEL, AXIS is two, scale: ratio, equivalent: 1.5) by DOSE
}
"""
NEUTRAL = {
    "AXIS": "aa",
    "DOSE": "kk",
    "FLAG": "ff",
    "STEP": "said",
    "JUDGE": "scored",
    "LET": "low",
    "MEASURE": "mm",
    "LABEL": "one",
}
STORE = MemoryStore()


class Varied(InProcess):
    """Judges that reply with all there is, some of it unreadable."""

    async def ask(self, query: Query, *_: Any) -> Response:
        pick = int.from_bytes(query.key[:4], "big")
        text = query.prompt.messages[0].text
        if text.startswith("label"):
            return Response(text=["good", "bad", "neither"][pick % 3], finish="stop")
        return Response(
            text=["10", "35", "80", "what?"][pick % 4] if text.startswith("score") else f"{pick}", finish="stop"
        )


def written(**names: str) -> str:
    text = STUDY
    for role, called in {**NEUTRAL, **names}.items():
        text = re.sub(rf"\b{role}(?=_2\b|\b)", called, text)
    return text


class Recorded:
    """A connection that keeps the statements that it executes."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.sql = connection, list[str]()

    def execute(self, sql: str, *values: Any) -> Any:
        self.sql.append(sql)
        return self.connection.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def load_into(connection: Any, text: str) -> tuple[Experiment, list[str]]:
    """Load the study into a database; return its experiment, and notices."""
    found = program(text)
    if not STORE.answers:
        run(found, STORE, Varied())
    (only,) = found.experiments
    load = loading.Load(study="study", file="", program="", store_state=(0, 0, 0, 0, 0), run="")
    return only, loading._fill(connection, load, [(only, collect(Rows(only), STORE, {}))])


def tables(text: str) -> list[Any]:
    """Return the rows of the experiment and of all its measures, in memory."""
    with duckdb.connect(":memory:") as connection:
        only, notices = load_into(connection, text)
        columns = "* EXCLUDE (clustered_by)"  # it holds names of the study
        rows = [connection.execute(f'SELECT {columns} FROM study."{m.name}"').fetchall() for m in only.measures]
        table = connection.execute('SELECT * FROM study."exp"').fetchall()
        place = connection.execute(part_sql(only, only.measures[0], "study", 3)).fetchall()
        dose = only.axes[1].name
        places = database.places(connection, "study", only, f'"{dose}" = 4')
    return [[len(n) > 0 for n in notices], rows, table, place, places]


def plain(found: Any, label: str) -> Any:
    """Return tables with a label as a neutral word, and numbers without what the order of a sum changes."""
    if isinstance(found, float):
        return round(found, 9)
    if isinstance(found, list | tuple):
        return [plain(x, label) for x in found]
    if isinstance(found, dict):
        return {k: plain(v, label) for k, v in found.items()}
    return "LABEL" if found == label else found


@cache
def neutral() -> Any:
    return plain(tables(written()), "one")


@cache
def identifiers() -> tuple[str, ...]:
    """Return every word of the SQL of a load, texts left out."""
    neutral()
    with duckdb.connect(":memory:") as connection:
        recorded: Any = Recorded(connection)
        load_into(recorded, written())
    sql = "".join(recorded.sql)
    words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", sql))) | {"rowid", "part"}
    ours = {a.lower() for a in (*NEUTRAL.values(), "exp", "kk", "ff", "role", "good", "two")}
    return tuple(sorted({w.lower() for w in words} - ours))


def wrong(**names: str) -> bool:
    """Whether names in roles change a number."""
    try:
        found = tables(written(**names))
    except SourceError:
        return False
    return bool(plain(found, names.get("LABEL", "one")) != neutral())


OURS = (  # what our queries call things by, pseudo-columns, tables of a load; and some words of SQL
    "h", "m", "v", "s", "i", "k", "s1", "n1", "opened", "place", "called", "times", "side", "unit", "half", "halves",
    "totals", "draws", "cells", "counted", "fit", "spread", "sxx", "centre", "errors", "found", "drawn", "scored",
    "part", "valued", "figures", "size", "computed", "found_0", "held", "weight", "numbered", "paired", "y", "squares",
    "pairs", "sides", "level", "cluster", "weights", "middle", "ratings", "labels", "struct", "histogram", "filter",
    "qualify", "fsum", "rowid", "simulated", "key", "doses", "value", "study", "reasons", "Select", "GROUP", "order",
    "lambda",
)  # fmt: skip


EACH = [  # every second group by default, half of them in the first order and half in the second
    pytest.param(first, marks=pytest.mark.thorough(only="a second each") if first // 8 % 4 in {1, 2} else ())
    for first in range(0, len(OURS), 8)
]


@pytest.mark.thorough
@pytest.mark.parametrize("first", EACH)
def test_no_name_breaks_a_measure(first: int) -> None:
    """`at_least(...) by h` gave 0.000, 0.300, 0.800 where 1.000 was right: eight names at once, in eight roles."""
    words = OURS[first : first + 8]
    for turn in (0, 3) if THOROUGH else (first // 8 % 2 * 3,):
        names = dict(zip(NEUTRAL, words[turn:] + words[:turn], strict=True))
        assert not taken(names), names
        assert not wrong(**names), names


def taken(names: dict[str, str]) -> bool:
    """Whether the checker refuses a program, for a name is a word of the language."""
    try:
        program(written(**names))
    except SourceError as error:
        return all(d.code < "E850" for d in error.diagnostics)
    return False


@pytest.mark.parametrize("name", ["rate", "n", "low", "sd", "is", "sample", "draw"])
def test_other_names_are_refused_before_anything_is_paid(name: str) -> None:
    """Words of the language, and columns of every measure: with a reason."""
    assert taken({"AXIS": name})


def test_tables_that_differ_in_case_alone_are_one() -> None:
    """A database takes `pilot` for `Pilot`: told before anything is asked."""
    for names in ({"MEASURE": "EXP"}, {"MEASURE": "M1"}):
        assert taken(names)


def refused(names: dict[str, str]) -> bool:
    """Whether a program with these names is told to be wrong before anything is asked."""
    try:
        return bool(table_diagnostics(program(written(**names))))
    except SourceError:
        return True


def packed(words: list[str], rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield every word once in each role: eight names at once, where a program may have them together."""
    left = {role: rng.sample(words, len(words)) for role in NEUTRAL}
    while any(left.values()):
        names = {role: waiting.pop() for role, waiting in left.items() if waiting}
        if len({n.lower() for n in names.values()}) == len(names) and not refused(names):
            yield names
        else:
            yield from ({role: name} for role, name in names.items() if not refused({role: name}))


def sweep(most: int | None, seed: int) -> Iterator[dict[str, str]]:
    """Yield the names that go wrong together, of at most so many programs."""
    with duckdb.connect(":memory:") as connection:
        keywords = {k for (k,) in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
    words = [cased for word in sorted({*identifiers(), *keywords}) for cased in (word, word.upper())]
    for names in islice(packed(words, random.Random(seed)), most):
        try:
            bad = wrong(**names)
        except Exception as error:  # noqa: BLE001 - what is looked for
            print(names, repr(error)[:200])
            bad = True
        if bad:
            yield names


if __name__ == "__main__":
    seed = time.time_ns()
    faults = list(sweep(int(sys.argv[1]) if sys.argv[1:] else None, seed))
    print(f"seed {seed}: {len(faults)} programs go wrong {faults[:50]}")
    sys.exit(bool(faults))
