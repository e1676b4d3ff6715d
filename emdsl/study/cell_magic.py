"""`%%em`: a cell of a notebook whose text is a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import SourceError, UsageError
from emdsl.source import Severity, near, one_of
from emdsl.study.study import Study, open_text

if TYPE_CHECKING:
    from emdsl.study.plan import Plan
    from emdsl.study.run import Run

OPTIONS = ("--plan", "--run", "--sim")


def add_magic(shell: Any) -> None:
    """Add `%%em` to a shell of IPython."""

    def em(line: str, cell: str) -> Study | Plan | Run:
        """Check the program in the cell, and bind its study to a variable: %%em [NAME] [--sim] [--plan] [--run].

        NAME is the variable, and names the results. With --sim the simulator replaces every model. The cell shows the
        study, its plan, or its run.
        """
        name, options = _arguments(line)
        study = open_text(cell, name, sim="--sim" in options)
        diagnostics = study.check()
        if any(d.severity is Severity.ERROR for d in diagnostics):
            raise SourceError(diagnostics)
        shell.user_ns[name] = study
        if "--run" in options:
            return study.run()
        return study.plan() if "--plan" in options else study

    shell.register_magic_function(em, "cell", "em")


def _arguments(line: str) -> tuple[str, set[str]]:
    """Return the name and the options of a line; raises UsageError."""
    words = line.split()
    options = {w for w in words if w.startswith("-")}
    for word in sorted(options - {*OPTIONS}):
        raise UsageError(
            f"`%%em` has no option `{word}`; {near(word, OPTIONS) or f'its options are {one_of(OPTIONS)}'}"
        )
    names = [w for w in words if not w.startswith("-")]
    if len(names) > 1:
        raise UsageError(f"`%%em` takes one name, not {len(names)}: `%%em {names[0]}`")
    return names[0] if names else "study", options
