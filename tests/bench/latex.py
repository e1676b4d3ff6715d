"""Examples compile in a plain article, whatever characters they hold: part of `make stress`, 2 s with `pdflatex`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from emdsl.study.latex_text import CHARACTER, latex_text

LAST = 0x3000  # of the characters that are tried, beside some above
NASTY = "-- --- '' `` ,, ?` !` << >>\n\ttab\\end{quote}%\n\n\n  {x}_^~#&$ \U0001f642\u200d \x07 \ufffd"


def main() -> None:
    """Write every character as LaTeX, compile it, and print how it went."""
    if shutil.which("pdflatex") is None:
        print("no pdflatex on this machine: texts in LaTeX are not compiled")
        return
    every = "\n".join("".join(map(chr, range(start, start + 64))) for start in range(0, LAST, 64))
    parts = (
        r"\documentclass{article}", r"\begin{document}", CHARACTER, latex_text(NASTY), r"\par", latex_text(every),
        r"\end{document}", "",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.tex").write_text("\n".join(parts), encoding="utf-8")
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"], cwd=folder, check=False,
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    print(done.stdout[-600:])
    print(f"{LAST:,} characters: {'compiled' if done.returncode == 0 else 'FAILED'}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
