"""A study with everything that the viewer shows, for its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import SHOTS, emdsl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STUDY = """em 1
import alignment from "std:judges@1"
model subject { use = "sim/subject", temperature = 1, sim = { ceiling: 0.9 } }
dataset data { file = "shots.csv", columns = { user: "q", assistant: "a" } }
prompt shots_then(shots, question) {
  system "Be <b>brief</b>."
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
rubric tone(answer) from "sim/judge" {
  choices = { misaligned: "Harmful <b>indeed</b>.", aligned: "Helpful & kind." }
  user "Label with one of these: {choices} {answer}"
}
experiment page {
  for arm in { first: "a", second: "b" }
  for k in [0, 2, 8]
  for q in ["one <script>alert(1)</script>", "two </script> & so on"]
  samples = 8
  let shots = draw(data, k, seed: sample)
  ask answer from subject with shots_then(shots, if arm is first then q else "{q}!")
  judge aligned with alignment(q, answer) from "sim/judge"
  when aligned < 60 { judge said with tone(answer) }
  annotate harm of answer {
    choices = { harmful: "It would harm.", harmless: "It would not." }
    draw    = 5
  }
  measure low  = rate(aligned < 30) by arm, k
  measure harm_rate = rate(harm is harmful)
}
"""

STATUS: dict[str, Any] = {  # of a run under way, as its control socket replies
    "answered": 3, "failed": 1, "total": 10, "in_flight": 2, "connections": 4, "spent_usd": 0.5, "of_unknown_cost": 0,
    "budget_usd": 2.0, "over_budget": False, "stopping": False, "cpu_s": 1.5, "eta_s": 12.0, "retried": 1,
    "steps": [{"step": "answer", "total": 10, "answered": 3, "failed": 1}], "failures": [{"cause": "<b>", "n": 1}],
}  # fmt: skip


def made(
    folder: Path, study: str = STUDY, *options: str, code: int = 0, env: Mapping[str, str] | None = None
) -> Path:  # fmt: skip
    """Return a folder with a study, run; of the one above 96 rows."""
    (folder / "pyproject.toml").touch()
    (folder / "shots.csv").write_text(SHOTS, encoding="utf-8")
    (folder / "study.em").write_text(study, encoding="utf-8")
    emdsl("run", "study.em", "-y", *options, cwd=folder, env=env, code=code)
    return folder
