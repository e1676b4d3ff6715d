"""Which requests go by batches: as each model declares, as the command says, and what `plan` prints of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support import emdsl, simulator, stats

from emdsl.run.planner import plan_all, planners
from emdsl.run.rows import Rows
from emdsl.store.store import MemoryStore
from emdsl.study.batch_choice import batch_plan, choose_ways
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.study.compiled import Compiled

PRICE = "price = { input: $10, output: $10, cached_input: $1 }"
LAB = f'url = "http://127.0.0.1:1/v1", revision = "1", max_tokens = 20, {PRICE}'
MODELS = f"""em 1
model plain {{ use = "openai-api/lab/plain", {LAB} }}
model halved {{ use = "openai-api/lab/halved", batch = true, {LAB} }}
model chosen {{ use = "openai-api/lab/chosen", batch = auto, {LAB} }}
model without {{ use = "openrouter/lab/without" }}
experiment e {{
  for model in [plain, halved, chosen, without, "sim/subject"]
  for q in 1..20
  ask answer from model with "{"word " * 2_000}{{q}}"
}}
"""


def study(folder: Path, text: str = MODELS) -> Compiled:
    (folder / "pyproject.toml").touch()
    file = folder / "s.em"
    file.write_text(text, encoding="utf-8")
    return compile_study(open_project(file), file)


@pytest.mark.parametrize(
    ("batch", "pilot", "by_batch"),
    [
        (None, False, {"plain": False, "halved": True, "chosen": True}),
        (True, False, {"plain": True, "halved": True, "chosen": True}),
        (False, False, {"plain": False, "halved": False, "chosen": False}),
        (None, True, {"plain": False, "halved": False, "chosen": False}),
        (True, True, {"plain": True, "halved": True, "chosen": True}),
        (False, True, {"plain": False, "halved": False, "chosen": False}),
    ],
)
def test_who_goes_by_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bool | None, pilot: bool, by_batch: dict[str, bool]
) -> None:
    """A pilot goes online unless `--batch` is given; never a model without a batch API, nor the embedded simulator."""
    monkeypatch.delenv("EMDSL_SIM_URL", raising=False)
    compiled = study(tmp_path)
    counts = plan_all(planners([Rows(e) for e in compiled.program.experiments]), MemoryStore())
    ways = choose_ways(compiled, counts, batch=batch, pilot=pilot)
    assert {w.model.name: w.by_batch for w in ways} == by_batch
    assert [bool(w.why) for w in ways] == [False, False, batch is None and not pilot], "only `auto` has a reason"
    assert counts[0].ways == ways
    plan = batch_plan(compiled, counts, ways, batch=batch, detach=False)
    models = {m.name: m for m in counts[0].models.values()}
    if not any(by_batch.values()):
        assert plan is None
    else:
        assert plan is not None
        assert {name for name, m in models.items() if plan.chosen(m)} == {n for n, by in by_batch.items() if by}
        assert (plan.submits, plan.detach) == (True, False)


AUTO = """em 1
model m { use = "openai/gpt-4.1-2025-04-14", max_tokens = 20, batch = auto }
experiment e {
  for q in 1..10
  samples = 40
  ask answer from m with "LONG{q}"
}
""".replace("LONG", "word " * 1_500)


def test_a_plan_says_what_both_ways_cost(tmp_path: Path) -> None:
    """Before the first answer it names the pilot; the pilot goes online; then the hits of the prefix cache decide."""
    study(tmp_path, AUTO)
    first = emdsl("plan", "s.em", cwd=tmp_path).stdout
    assert "  cost: about $0.71 likely" in first, "by batch"
    assert "  online $1.43 - batch $0.71 (within 24 h): batch\n" in first
    reason = "no answers yet show whether its prefix cache would save more; `emdsl run --pilot` measures it"
    assert f"    `m`: batch, {reason}\n" in first
    alone = "(within 24 h): online (`--batch` chooses batch)\n"
    assert f"  online $1.43 - batch $0.71 {alone}" in emdsl("plan", "s.em", "--no-batch", cwd=tmp_path).stdout
    with simulator() as url:
        env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-0123456789"}
        ran = emdsl("run", "s.em", "--pilot", cwd=tmp_path, env=env).stdout
        sent = stats(url)
    assert sent["answered"] == 60
    second = emdsl("plan", "s.em", cwd=tmp_path).stdout
    for text in (ran, second):
        assert f"  online $1.06 - batch $0.53 {alone}" in text
        assert (
            "    `m`: online, its prefix cache served 94 % of the shared prefixes of 59 answers: about $0.35 online\n"
        ) in text
    assert json.loads(emdsl("plan", "s.em", "--json", cwd=tmp_path).stdout)["batch"] == [
        {
            "model": "m", "by_batch": False, "online_usd": pytest.approx(0.35, abs=0.01),
            "batch_usd": pytest.approx(0.53, abs=0.01),
            "why": "its prefix cache served 94 % of the shared prefixes of 59 answers",
        }
    ]  # fmt: skip
    by_batch = emdsl("plan", "s.em", "--batch", cwd=tmp_path).stdout
    assert "  online $1.06 - batch $0.53 (within 24 h): batch\n" in by_batch
    assert "`m`:" not in by_batch, "the reason is the option"
