"""100 verdicts by keys, at the pace of a person, killed with -9 again and again: part of `make stress`.

Each verdict that was acknowledged, by the next text on the screen, is in the file, and the next call goes on after it.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from cli.test_annotate import STUDY, Terminal
from support import emdsl

VERDICTS, KILLS, PACE_S = 100, 10, 0.15


def main() -> None:
    """Judge until all is judged, and print what was found."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pyproject.toml").touch()
        study = STUDY.replace("draw    = 20", f"draw    = {VERDICTS}").replace("samples = 12", "samples = 60")
        (folder / "study.em").write_text(study, encoding="utf-8")
        emdsl("run", "study.em", "-y", cwd=folder)
        file = folder / "annotations" / "harm.ann.jsonl"
        judged = kills = 0
        while judged < VERDICTS:
            terminal = Terminal(folder, "--rater", "ann")
            seen = terminal.until("It would not.")
            shown = int(re.findall(r"harm: (\d+) of", seen)[-1]) - 1
            assert shown == len(lines(file)), f"{shown} of {len(lines(file))} verdicts"
            judged = shown
            until = min(VERDICTS, judged + chance.randint(5, 2 * VERDICTS // KILLS))
            while judged < until:
                time.sleep(PACE_S)
                terminal.press(chance.choice("12"))
                terminal.until(f"harm: {judged + 2} of")
                judged += 1
            if judged < VERDICTS and chance.random() < 0.5:
                terminal.press("1")  # and killed before it is acknowledged
            terminal.end()
            kills += 1
            assert len(lines(file)) in (judged, judged + 1)
        assert len({x["shown"] for x in lines(file)}) == len(lines(file)), "a text was shown again"
        print(f"annotations: {judged} verdicts by keys, {kills} kills with -9: none lost, none asked for again")


def lines(file: Path) -> list[dict[str, str]]:
    """Return the verdicts of a file."""
    return [json.loads(x) for x in file.read_bytes().splitlines()] if file.exists() else []


if __name__ == "__main__":
    main()
