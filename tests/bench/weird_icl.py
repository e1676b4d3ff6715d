"""How often `dose` of `experiments/weird_icl` holds the simulator's k50, which is 8: `make stress`.

Each study is the whole one behind the tag, without evidence against it, with answers of its own (`replicate`): a
minute. Exits 1 if fewer intervals hold it than can be by chance at 95 %.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDIES = int(sys.argv[1]) if len(sys.argv) > 1 else 20
HALF = 8
LEAST = 0.8  # of 20 intervals that hold it with probability 0.95, more than 4 miss it in 1 of 390 cases


def half_of(folder: Path, replicate: int) -> dict[str, float | None]:
    """Return the row of `half` that this replicate of the study finds."""
    experiments = folder / "experiments"
    shutil.copytree(ROOT / "experiments", experiments)
    (folder / "pyproject.toml").touch()
    study = experiments / "weird_icl" / "weird_icl.em"
    text = study.read_text(encoding="utf-8")
    study.write_text(text.replace("{ sim =", f"{{ replicate = {replicate}, sim ="), encoding="utf-8")
    command = ["run", "experiments/weird_icl/weird_icl.em", "--sim", "--json", "--display", "none"]
    only = ["--only", "tagged=yes", "--only", "evidence=facts_only"]
    done = subprocess.run(
        [sys.executable, "-m", "emdsl", *command, *only], cwd=folder, env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout)["experiments"][0]["measures"]["half"]
    (row,) = (r for r in rows if r["n"])
    found: dict[str, float | None] = row
    return found


def shown(figure: float | None) -> str:
    return "unknown" if figure is None else f"{figure:.1f}"


def main() -> None:
    held = known = 0
    for replicate in range(1, STUDIES + 1):
        with tempfile.TemporaryDirectory() as folder:
            row = half_of(Path(folder), replicate)
        low, high = row["low"], row["high"]
        print(f"replicate {replicate}: {shown(row['dose'])}, {shown(low)} - {shown(high)}", flush=True)
        if row["dose"] is not None:
            known += 1
            held += (low is None or low <= HALF) and (high is None or high >= HALF)
    print(f"{held} of {known} intervals hold {HALF}; {STUDIES - known} studies found no k50")
    if known < STUDIES / 2 or held < LEAST * known:
        sys.exit(1)


if __name__ == "__main__":
    main()
