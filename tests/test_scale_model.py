"""The model of large studies: its parts, and the page that shows its forecasts."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
from scale_model import DAY, HOUR, MEASURED, SETTINGS, Line, Setting, fitted, forecast, limits, parts, tables
from support import ROOT

PAGE = ROOT / "docs" / "scale.md"
MARK = "\n<!-- by tests/scale_model.py -->\n\n"
ONE = Setting(name="one", memory_gb=16, disk_gb=100, per_s=100)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 5.0), (2, 7.0)], Line(3.0, 2.0)),
        ([(10, 23.0), (20, 43.0), (40, 83.0)], Line(3.0, 2.0)),
        ([(10, 23.0), (20, 43.0), (30, 500.0), (40, 83.0), (50, 103.0)], Line(3.0, 2.0)),
    ],
    ids=["two", "three", "one is disturbed"],
)
def test_a_line_is_fitted(points: list[tuple[float, float]], expected: Line) -> None:
    """By the median of slopes."""
    found = fitted(points)
    assert (found.fixed, found.each) == (expected.fixed, expected.each)


@pytest.mark.parametrize(
    ("changed", "bound", "seconds"),
    [
        ({}, "provider", 1e6 / 100),
        ({"per_s": math.inf, "connections": 10, "latency_s": 5.0}, "latency", 1e6 * 5 / 10),
        ({"per_s": math.inf, "network_mb_s": 0.1}, "network", MEASURED.wire_mb.at(1e6) / 0.1),
        ({"per_s": math.inf, "latency_s": 0.0}, "work", MEASURED.send_s.at(1e6)),
        ({"per_s": math.inf, "latency_s": 0.0, "cores": 1_000}, "store", MEASURED.store_s.at(1e6)),
        ({"per_s": math.inf, "latency_s": 0.0, "cores": 1_000, "postgres": True}, "store", 1e6 / 87_000),
    ],
)
def test_sending_takes_as_long_as_its_slowest_part(changed: dict[str, float], bound: str, seconds: float) -> None:
    """The provider, the latency, the network, the work of workers, or the store."""
    found = forecast(MEASURED, replace(ONE, **changed), 1e6)  # type: ignore[arg-type]  # fields of several types
    assert found.bound == bound
    assert found.send_s == pytest.approx(seconds)


def test_workers_share_all_but_the_start_and_the_merge() -> None:
    """Planning by many takes as long as taking over their keys; tables are loaded by one machine."""
    one, many = (forecast(MEASURED, replace(ONE, cores=c), 1e8) for c in (1, 10_000))
    assert one.plan_s == pytest.approx(MEASURED.plan_s.at(1e8))
    assert many.plan_s == pytest.approx(MEASURED.merge_s.at(1e8))
    machines = forecast(MEASURED, replace(ONE, machines=8), 1e8)
    assert machines.load_s == one.load_s
    assert machines.memory_gb == one.memory_gb


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_limit_is_where_a_forecast_goes_beyond_it(setting: Setting) -> None:
    """A little less is within it."""
    found = limits(MEASURED, setting)
    assert [limit.n for limit in found] == sorted(limit.n for limit in found)
    for limit in found:
        below, above = (forecast(MEASURED, setting, limit.n * part) for part in (0.99, 1.01))
        for what, size in (("memory", "memory_gb"), ("disk", "disk_gb")):
            if what in limit.what:
                assert getattr(below, size) < getattr(setting, size) < getattr(above, size)
        for what, name, most in (("send", "send_s", DAY), ("load", "load_s", HOUR), ("cached", "again_s", HOUR)):
            if what in limit.what and not math.isinf(limit.n):
                assert getattr(below, name) < most < getattr(above, name)


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("## What grows\n", parts(MEASURED)),
        ("## Forecasts\n", "\n".join(tables(MEASURED, setting) for setting in SETTINGS)),
    ],
    ids=["costs", "forecasts"],
)
def test_the_page_shows_what_the_model_says(heading: str, expected: str) -> None:
    """At the end of a section, of the constants that were measured; UPDATE_GOLDEN=1 writes it."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(heading)
    section, _, after = rest.partition("\n## ")
    text, mark, shown = section.partition(MARK)
    assert mark
    if "UPDATE_GOLDEN" in os.environ:
        PAGE.write_text(f"{before}{heading}{text}{MARK}{expected}\n## {after}", encoding="utf-8")
        return
    assert shown == expected
