"""The wheel holds what the package needs, and works from any folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from support import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

CALL = """
import sys, emdsl, emdsl.cli.main as main
assert emdsl.__file__.startswith(sys.argv[1]), emdsl.__file__
for call in (["docs", "-o", "pages"], ["run", "q.em", "--display", "none"]):
    sys.argv = ["emdsl", *call]
    try:
        main.main()
    except SystemExit as end:
        assert not end.code, end.code
"""


def test_a_wheel_runs_from_another_folder(tmp_path: Path) -> None:
    """Built, unpacked away from the checkout, and run: grammar, standard library and manual are in it."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path / "dist", ROOT],
        check=True, capture_output=True, env=clean_environment(),
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "site")
    assert {"emdsl/_grammar/em.lark", "emdsl/_docs/index.md", "emdsl/_docs/howto/data.md"} <= set(names)
    assert {"emdsl/std/judges@1.em", "emdsl/std/prompts@1.em", "emdsl/explain.md", "emdsl/glossary.md"} <= set(names)
    page = ("index.html", "app.js", "style.css", "vendor/preact-htm.js", "vendor/fzstd.js", "vendor/LICENSES.txt")
    assert {f"emdsl/view/static/{file}" for file in page} <= set(names)
    assert not [n for n in names if n.startswith(("tests/", "experiments/", "cache/"))]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "q.em").write_text((ROOT / "experiments/quickstart.em").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CALL, str(tmp_path / "site")],
        cwd=elsewhere, capture_output=True, text=True, check=False,
        env=clean_environment() | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIMULATED" in done.stdout
    assert (elsewhere / "pages" / "tutorial.md").is_file()
