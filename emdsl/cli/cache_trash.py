"""`emdsl cache gc`, `drop`, `restore` and `purge`: answers go to the trash, and from there back or for good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, YES, open_cache
from emdsl.cli.options import option
from emdsl.study import answers
from emdsl.study.screen import counted

if TYPE_CHECKING:
    from emdsl.study.answers import Removal


@click.command("gc")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@CACHE_SIM
@YES
def gc(files: tuple[Path, ...], cache: Path | None, simulate: bool, as_json: bool, yes: bool) -> int:
    """Move answers that no FILE uses to the trash. Dry run unless --yes. Age and size do not matter.

    Values of functions in Python that no FILE uses are deleted: they can be computed again.

    \b
    Example:
      emdsl cache gc experiments/*.em
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json, near=files[0])
    removal = answers.collect_garbage(project, files, yes=yes)
    if as_json:
        console.show_json(
            {"reachable": removal.reachable, "unreachable": removal.matching, "usd": removal.usd,
             "moved": removal.moved, "removal": removal.name, "hook_values": removal.hook_values}
        )  # fmt: skip
        return 0
    cost = f" (they cost ${removal.usd:,.2f})" if removal.usd else ""
    console.say(
        f"{removal.reachable:,} entries are used by {', '.join(map(str, files))}; {removal.matching:,} are not{cost}"
    )
    if removal.hook_values:
        console.say(
            f"{counted(removal.hook_values, 'value')} of functions in Python that no file uses "
            + ("deleted" if yes else "would be deleted")
        )
    _say_moved(removal, yes=yes, verb="gc")
    return 0


@click.command("drop")
@CACHE_SIM
@option("--where", required=True, metavar="SQL", help="A condition on: " + ", ".join(answers.COLUMNS) + ".")
@YES
def drop(cache: Path | None, simulate: bool, as_json: bool, where: str, yes: bool) -> int:
    """Move answers to the trash, so that they are requested again. Dry run unless --yes.

    \b
    Example:
      emdsl cache drop --where "model = 'openai/gpt-4.1' AND answered_at > '2026-11-01'" --yes
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json)
    removal = answers.drop(project, where, yes=yes)
    if as_json:
        console.show_json({"matching": removal.matching, "moved": removal.moved, "removal": removal.name})
        return 0
    for study, model, n in removal.groups:
        console.say(f"  {n:,} of {model} in {answers.name_of_study(project, study)}")
    console.say(f"{removal.matching:,} entries match")
    _say_moved(removal, yes=yes, verb="drop")
    return 0


@click.command("restore")
@click.argument("removal")
@CACHE_SIM
def restore(removal: str, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Restore a REMOVAL from the trash. Answers that were requested again since then stay.

    \b
    Example:
      emdsl cache restore 20261129-101500-1a2b
    """
    new, old = answers.restore(open_cache(cache, simulate=simulate, as_json=as_json), removal)
    if as_json:
        console.show_json({"restored": new, "answered_since": old})
    else:
        console.say(f"{new:,} entries restored" + (f"; {old:,} have a newer answer, which stays" if old else ""))
    return 0


@click.command("purge")
@click.argument("removal", required=False)
@CACHE_SIM
@YES
def purge(removal: str | None, cache: Path | None, simulate: bool, as_json: bool, yes: bool) -> int:
    """Permanently delete the trash, or one REMOVAL in it. Dry run unless --yes.

    \b
    Example:
      emdsl cache purge --yes
    """
    n = answers.purge(open_cache(cache, simulate=simulate, as_json=as_json), removal, yes=yes)
    if as_json:
        console.show_json({"entries": n, "purged": yes})
    else:
        entries = counted(n, "answer")
        console.say(f"{entries} permanently deleted" if yes else f"{entries} would be permanently deleted: add --yes")
    return 0


def _say_moved(removal: Removal, *, yes: bool, verb: str) -> None:
    if removal.moved:
        console.say(
            f"{removal.moved:,} moved to the trash. Restore: emdsl cache restore {removal.name}    "
            f"permanently delete: emdsl cache purge {removal.name} --yes"
        )
    elif removal.matching and not yes:
        console.say(f"dry run: `emdsl cache {verb} ... --yes` moves them to the trash")
    elif removal.hook_values and not yes:
        console.say(f"dry run: `emdsl cache {verb} ... --yes` deletes them")
