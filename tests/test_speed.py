"""Bounds in seconds are those of a reference machine, and every one of them goes through `speed`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
import speed
from speed import REFERENCE_S, Bounds, Slowdown, slowdown, within, within_cpu
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set how many times slower than the reference machine each try of this one finds it."""

    def tries(*times: float) -> None:
        clock, left = 0.0, iter(times)

        def work() -> None:
            nonlocal clock
            clock += next(left) * REFERENCE_S

        monkeypatch.setattr(speed, "work", work)
        monkeypatch.setattr("time.process_time", lambda: clock)
        monkeypatch.setattr("time.perf_counter", lambda: clock)

    return tries


@pytest.mark.parametrize(
    ("tries", "took_s", "holds"),
    [
        ((1.0,), 19.9, True),
        ((1.0, 1.0, 1.0, 1.0), 20.0, False),  # twice as long as wanted, on a quiet machine
        ((0.5, 0.5, 0.5, 0.5), 20.0, False),  # a fast machine has no tighter bound, and no looser one
        ((2.0,), 39.9, True),
        ((2.0, 1.0, 1.0, 1.0), 40.1, False),
        ((1.0, 2.0), 39.9, True),  # something else began meanwhile
        ((1.0, 1.0, 1.0, 2.0), 39.9, True),
        ((1.0, 1.0, 1.0, 2.0), 40.1, False),
    ],
)
def test_a_bound_grows_with_the_machine(
    machine: Callable[..., None], tries: tuple[float, ...], took_s: float, holds: bool
) -> None:
    machine(*tries)
    bounds = Bounds()
    assert bounds.hold(10, cpu_s=took_s) is holds


def test_either_clock_is_enough_and_a_failure_tells_both(
    machine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    Bounds(Slowdown()).check("it", 10, cpu_s=9, wall_s=99)
    assert capsys.readouterr().out == ""
    expected = (
        "it took too long: {} s of CPU, wanted 10.00 here; 99.00 s of wall time, wanted 10.00 here; it fails at 2"
    )
    Bounds(Slowdown()).check("it", 10, cpu_s=11, wall_s=99)
    assert capsys.readouterr().out.startswith(expected.format("11.00")), "it is told, and passes"
    machine(1.0, 1.0, 1.0)
    with pytest.raises(AssertionError, match="^" + re.escape(expected.format("21.00"))):
        Bounds(Slowdown()).check("it", 10, cpu_s=21, wall_s=99)


def test_a_quick_block_tries_no_machine(machine: Callable[..., None]) -> None:
    machine()
    with within(60), within_cpu(60):
        pass
    for bound in (within, within_cpu):
        machine(1.0, 1.0, 1.0)
        with pytest.raises(AssertionError, match=r"^this took too long"), bound(0):
            pass


def test_the_work_takes_time() -> None:
    """At least a tenth of its time on the reference machine, else it measures nothing. A slowdown is at least 1."""
    before_s = time.process_time()
    assert min(slowdown()) >= 1
    assert time.process_time() - before_s > REFERENCE_S / 10


OWN_CLOCK = re.compile(
    r"assert .*(monotonic|perf_counter|process_time|time\.time)\(\) - |"  # a bound
    r"assert .*_s\b( [-+/*] \w+)* <=? [A-Z0-9]|"
    r"monotonic\(\) \+ \d\d|wait_for\(.*\), \d+\)|\.wait\(\d\d+\)|\.result\(\d|\btimeout=\d\d(_000)?\b"  # a guard
    r"|\.communicate\(timeout"  # `support.communicated` leaves no process over
)


def lines() -> Iterator[tuple[str, str]]:
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if file.name not in {"speed.py", "test_speed.py", "support.py"}:
            yield from ((file.relative_to(ROOT).as_posix(), line.strip()) for line in file.read_text().splitlines())


def test_no_bound_in_seconds_has_a_clock_of_its_own() -> None:
    """Bounds are `speed.within`, `within_cpu` or `Bounds`, guards against processes that hang are `speed.HANG_S`."""
    assert [(name, line) for name, line in lines() if OWN_CLOCK.search(line)] == []
