"""A newcomer's path: clone, `make quickstart`, then each command of the tutorial and the README. `make stress`.

The clone has the last commit and an environment of its own, which pip fills; commands run in a plain shell.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pages import MARGIN, NOT_RUN, blocks, commands


def shell(call: str, folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EMDSL_", "PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{folder}/.venv/bin:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-uc", call], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0 or "# exit" in call, f"$ {call}\n{done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "emdsl"
        subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
        shell(f"make quickstart PYTHON={sys.executable}", folder)
        shell(".venv/bin/python -m pip install -q --disable-pip-version-check -e '.[report]'", folder)
        n = 0
        for page in ("docs/tutorial.md", "README.md"):
            shell("git clean -fdxq cache", folder)  # each page begins with an empty store
            for block in blocks((folder / page).read_text(encoding="utf-8")):
                if block.title is not None:
                    (folder / block.title).write_text(block.body, encoding="utf-8")
                for line, shown in commands(block.body) if block.language == "console" else ():
                    call = line.removeprefix("$ ")
                    if call.split()[0] in NOT_RUN:
                        continue
                    n += 1
                    output = MARGIN.sub("", shell(call, folder)).rstrip()
                    assert not shown.strip() or output == shown.rstrip(), f"{page}: {line}\n{output}"
        print(f"a newcomer pasted {n} commands of the README and the tutorial, and saw what the pages show")


if __name__ == "__main__":
    main()
