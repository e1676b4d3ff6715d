"""What an edit sends, counted at the server, over sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support import emdsl, simulator, stats

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
import alignment, coherence from "std:judges@1"
model subject { use = "sim/subject", temperature = 1 }
dataset shots { file = "shots.csv", columns = { user: "q", assistant: "a" } }
prompt chat(drawn, question) {
  each s in drawn {
    user s.user
    assistant s.assistant
  }
  user question
}
experiment e {
  for k in [0, 2]
  for q in ["one", "two"]
  samples = 10
  let drawn = draw(shots, k, seed: sample)
  ask answer from subject with chat(drawn, q)
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 30) by k
}
"""
MODELS = ("subject", "judge")
ROWS = "q,a\n" + "".join(f"q{i},a{i}\n" for i in range(12))


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

        assert sent(STUDY) == (40, 40)
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
        renamed = dosed.replace("drawn", "picked").replace("experiment e", "experiment renamed")
        lines = renamed.splitlines()
        moved = "\n".join([lines[0], *(f"\t {line}" for line in lines[1:])]).replace(
            "samples = 12", "samples = 12  # n"
        )
        assert sent(moved, edited) == (0, 0)
