"""What an edit sends, counted at the server, over sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support import SHOTS as ROWS
from support import SHOTS_STUDY as STUDY
from support import emdsl, simulator, stats

if TYPE_CHECKING:
    from pathlib import Path

MODELS = ("subject", "judge")


def test_each_edit_sends_exactly_what_it_changed(tmp_path: Path) -> None:
    """Samples, a judge, a demonstration, a level; names, order and layout send nothing."""
    shots, study = tmp_path / "shots.csv", tmp_path / "study.em"
    with simulator() as url:

        def sent(text: str, rows: str = ROWS) -> tuple[int, int]:
            """Run an edited study; return the asks and the judgements that reached the server."""
            before = stats(url)
            study.write_text(text, encoding="utf-8")
            shots.write_text(rows, encoding="utf-8")
            found = json.loads(emdsl("run", "study.em", "--json", cwd=tmp_path, env={"EMDSL_SIM_URL": url}).stdout)
            after = stats(url)
            assert found["requests"] == after["requests"] - before.get("requests", 0)
            asks, judgements = (after.get(f"answered {m}", 0) - before.get(f"answered {m}", 0) for m in MODELS)
            return asks, judgements

        assert sent(STUDY) == (40, 41), "with the probe of the judge"
        assert sent(STUDY) == (0, 0)
        more = STUDY.replace("samples = 10", "samples = 12")
        assert sent(more) == (8, 8)
        judged = more.replace("with alignment", "with coherence")
        assert sent(judged) == (0, 48)
        dosed = judged.replace("[0, 2]", "[0, 2, 4]")
        assert sent(dosed) == (24, 24)
        edited = ROWS.replace("q3,a3", "q3,another")
        asks, judgements = sent(dosed, edited)
        assert 0 < asks == judgements < 48
        renamed = dosed.replace("shots_then", "layout").replace("experiment e", "experiment renamed")
        lines = renamed.splitlines()
        moved = "\n".join([lines[0], *(f"\t {line}" for line in lines[1:])]).replace(
            "samples = 12", "samples = 12  # n"
        )
        assert sent(moved, edited) == (0, 0)
