"""Charts of measures: which kinds there are, what they hold, and figures as files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from reported import parts_of
from support import SHOTS, SHOTS_STUDY, clean_environment, emdsl

from emdsl.report.charts import Group, Table, chart_of, inline_svg, kinds_of

if TYPE_CHECKING:
    from pathlib import Path

DOSES, DATA, MANY = (0, 2, 16, 256), ("false", "true"), tuple(f"question {i}" for i in range(12))


def table(*groups: tuple[str, tuple[Any, ...]], simulated: bool = False) -> Table:
    rows: list[tuple[Any, ...]] = [()]
    for _, levels in groups:
        rows = [(*r, x) for r in rows for x in levels]
    found = [(*r, i / 100, i / 120, i / 80, 10) for i, r in enumerate(rows)]
    named = tuple(Group(name=n, levels=x) for n, x in groups)
    return Table(
        name="m", what="rate", interval="95 % wilson", groups=named, rows=tuple(found), simulated=simulated,
        incomplete=False,
    )  # fmt: skip


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return list(spec["data"]["values"])


@pytest.mark.parametrize(
    ("groups", "kinds"),
    [
        ((), []),
        ((("k", (4,)),), []),
        ((("k", DOSES),), ["curve"]),
        ((("q", MANY),), ["dots"]),
        ((("data", DATA), ("k", DOSES)), ["curve", "heat"]),
        ((("data", DATA), ("model", DATA)), ["dots"]),
        ((("data.set [1]", DATA), ("q's", MANY), ("k", DOSES)), ["curve", "heat"]),
        ((("on", (True, False)),), ["dots"]),
        ((("color", DATA), ("facet", DATA), ("k", DOSES)), ["curve", "heat"]),
    ],
)
def test_a_measure_has_the_charts_that_its_groups_allow(groups: tuple[Any, ...], kinds: list[str]) -> None:
    """A curve where an axis is of numbers, a map where two cross; each draws every value, whatever names are."""
    found = table(*groups)
    assert kinds_of(found) == kinds
    for kind in kinds:
        chart = chart_of(found, kind)
        ET.fromstring(inline_svg(chart, 'a "chart" & more'))
        assert len(values(chart.spec(200))) == len(found.rows)
        drawn = [tuple(v[f"g{i}"] for i in range(len(groups))) for v in values(chart.spec(200))]
        assert drawn == [tuple(v if isinstance(v, int) else str(v) for v in row[: len(groups)]) for row in found.rows]


def test_what_has_no_value_is_not_drawn_as_zero() -> None:
    """`none kept` is a gap."""
    full = table(("k", DOSES))
    gap = Table(
        name="m", what="rate", interval="", groups=full.groups, simulated=True, incomplete=True,
        rows=(*full.rows[:3], (256, None, None, None, 0)),
    )  # fmt: skip
    spec = chart_of(gap, "curve").spec(200)
    assert [v["g0"] for v in values(spec)] == [0, 2, 16]
    assert spec["title"] == {
        "text": ["m (SIMULATED, incomplete)"],
        "subtitle": ["n\u00a0=\u00a010 in each group; without a value: k 256"],
    }


def test_doses_are_written_whole_and_a_fitted_curve_has_no_map() -> None:
    """16 and 256, not 2e+1 and 3e+2; points of a curve are no values of their own."""
    found = table(("data", DATA), ("k", DOSES))
    svg = inline_svg(chart_of(found, "curve"), "")
    assert set(map(str, DOSES)) <= set(re.findall(r">([^<>]+)</text>", svg))
    assert kinds_of(replace(found, smooth=True)) == ["curve"]


def test_an_interval_is_told_below_the_title() -> None:
    """It is longer than the axis: it is a note below the title."""
    clustered = replace(table(("k", DOSES)), interval="95 % wilson, clustered by q and sample")
    spec = chart_of(clustered, "curve").spec(200)
    assert spec["title"]["subtitle"] == [
        "intervals: 95 % wilson, clustered by q and sample; n\u00a0=\u00a010 in each group"
    ]
    titles = {str(layer["encoding"]["y"].get("title")) for layer in spec["layer"]}
    assert titles == {"", "rate"}


WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("altair", "vl_convert"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Gone())
sys.argv = ["emdsl", *sys.argv[1:]]
from emdsl.cli.main import main
main()
"""


@pytest.mark.parametrize("verb", ["report", "plot"])
def test_without_the_extra_it_is_told_how_to_get_it(tmp_path: Path, verb: str) -> None:
    """Everything else works."""
    call = [sys.executable, "-c", WITHOUT, verb, "study.em", "-o", "x.html"]
    done = subprocess.run(call, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: charts need the package altair: pip install 'emdsl[report]'\n")
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    call = [sys.executable, "-c", WITHOUT, "check", "study.em"]
    assert subprocess.run(call, cwd=tmp_path, env=clean_environment(), check=False, capture_output=True).returncode == 0


def test_figures_are_files_of_their_kind(tmp_path: Path) -> None:
    """SVG, PNG, PDF and Vega-Lite, from the command; what cannot be drawn is told."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    emdsl("run", "study.em", cwd=tmp_path)
    for ending, start in (("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("json", b"{")):
        said = emdsl("plot", "study.em", "--measure", "low", "-o", f"f.{ending}", cwd=tmp_path).stdout
        assert said == f"Written: f.{ending}   (SIMULATED)\n"
        assert (tmp_path / f"f.{ending}").read_bytes().startswith(start)
    spec = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    measured = json.loads(emdsl("query", "FROM low", "--format", "json", cwd=tmp_path).stdout)
    assert [v["value"] for v in values(spec)] == [r["rate"] for r in measured]
    assert (
        "did you mean `low`" in emdsl("plot", "study.em", "--measure", "lo", "-o", "f.svg", cwd=tmp_path, code=2).stderr
    )
    assert ".svg, .png" in emdsl("plot", "study.em", "-o", "f.gif", cwd=tmp_path, code=2).stderr
    assert "two axes" in emdsl("plot", "study.em", "--kind", "heat", "-o", "f.svg", cwd=tmp_path, code=2).stderr
    assert "cannot write" in emdsl("plot", "study.em", "-o", "no/f.svg", cwd=tmp_path, code=2).stderr


def test_no_figure_and_no_page_holds_an_api_key(tmp_path: Path) -> None:
    """Not as a level's label, not in a transcript."""
    secret = "sk-figure-secret-0123456789"
    (tmp_path / "study.em").write_text(
        f'em 1\nexperiment e {{\n  for x in ["{secret}", "b"]\n  ask answer from "sim/subject" with "{{x}}"\n'
        "  let long = answer.tokens > 3\n  measure r = rate(long) by x\n}\n",
        encoding="utf-8",
    )
    environment = {"LAB_API_KEY": secret}
    emdsl("run", "study.em", cwd=tmp_path, env=environment)
    for file in ("f.svg", "f.json"):
        emdsl("plot", "study.em", "-o", file, cwd=tmp_path, env=environment)
        assert secret not in (tmp_path / file).read_text(encoding="utf-8")
    emdsl("report", "study.em", "-o", "f.html", cwd=tmp_path, env=environment)
    assert secret not in (tmp_path / "f.html").read_text(encoding="utf-8")
    assert not [called for called, part in parts_of(tmp_path / "f.html").items() if secret.encode() in part]
