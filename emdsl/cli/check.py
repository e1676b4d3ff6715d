"""`emdsl check`."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.cli.main import EXIT_ERROR
from emdsl.errors import MAX_SHOWN
from emdsl.lang.parser import EDITION
from emdsl.source import Severity, together
from emdsl.study.checking import EDITION_CODES, diagnostics_of, fix_file
from emdsl.study.project import open_project
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from emdsl.source import Diagnostic

GC_THRESHOLDS = (1_000_000, 20, 100)  # what a long program becomes is all needed to the end: nothing to collect


@click.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.with_options(options.ENV_FILE, options.AS_JSON)
@options.option("--fix", is_flag=True, envvar=None, help="Apply safe automatic fixes, then show what remains.")
@options.option("--edition", is_flag=True, envvar=None, help="Only bring FILES to the newest edition of the language.")
def command(files: tuple[Path, ...], env_file: Path | None, as_json: bool, fix: bool, edition: bool) -> int:
    """Find every error and warning in FILES. Nothing is sent, and no API key is needed.

    Exits with 1 if there is an error; warnings alone exit with 0. A comment `# allow W402` on the line of a warning, or
    on the line above, allows it.

    \b
    Examples:
      emdsl check experiments/*.em
      emdsl check study.em --fix
    """
    console.expect_json(wanted=as_json)
    gc.set_threshold(*GC_THRESHOLDS)
    diagnostics: list[Diagnostic] = []
    n_fixed = 0
    for file in files:
        project = open_project(file, None, env_file)
        if fix or edition:
            n_fixed += fix_file(project, file, only=EDITION_CODES if edition else None)
        diagnostics += diagnostics_of(project, file)
    n_errors = sum(d.severity is Severity.ERROR for d in diagnostics)
    if as_json:
        fixed = {"fixed": n_fixed} if fix or edition else {}
        console.show_json({"diagnostics": [d.as_json() for d in diagnostics], **fixed})
        return EXIT_ERROR if n_errors else 0
    shown = diagnostics if console.settings.verbose else diagnostics[:MAX_SHOWN]
    for diagnostic in together(shown):
        console.say(diagnostic.render() + "\n")
    if len(shown) < len(diagnostics):
        console.say(f"and {len(diagnostics) - len(shown):,} more (-v shows all)\n")
    n_fixable = sum(bool(d.fix) for d in diagnostics)
    parts = [counted(n_errors, "error"), counted(len(diagnostics) - n_errors, "warning")]
    parts += [f"{n_fixed} fixed"] if fix or edition else [f"{n_fixable} fixable with --fix"] if n_fixable else []
    parts += [f"now edition {EDITION}"] if edition and not n_errors else []
    console.say(f"{counted(len(files), 'file')}: {', '.join(parts)}")
    if diagnostics:
        console.say(f"More: emdsl explain {diagnostics[0].code}")
    return EXIT_ERROR if n_errors else 0
