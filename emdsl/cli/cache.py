"""`emdsl cache`: the stored answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from emdsl.cli import cache_budgets, cache_remotes, cache_share, cache_trash, console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.source import near
from emdsl.study import answers
from emdsl.study.options import place_options
from emdsl.study.screen import Table

if TYPE_CHECKING:
    from pathlib import Path

MAX_DAMAGED = 10  # named without -v


RENAMED = {"undo": "restore", "forget": "purge"}


class CacheGroup(click.Group):
    """The verbs of the store; an unknown one gets the nearest word."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the called verb."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = f"did you mean `{RENAMED[args[0]]}`?" if args[0] in RENAMED else near(args[0], self.commands)
            verbs = hint or f"the verbs are {', '.join(self.commands)}"
            ctx.fail(f"there is no verb 'cache {args[0]}'; {verbs.replace('`', '')}")
        return super().resolve_command(ctx, args)


@click.group("cache", cls=CacheGroup)
def command() -> None:
    """Inspect, verify, clean up and share the answer store."""


@command.command("stats")
@CACHE_SIM
def stats(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Count entries, bytes, tokens and cost by study and model.

    \b
    Example:
      emdsl cache stats
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json)
    contents = answers.contents(project)
    if as_json:
        n_trash = sum(b.entries for b in contents.trash)
        console.show_json(
            {"entries": list(contents.rows), "bytes": contents.bytes, "damaged": contents.damaged, "trash": n_trash,
             "hook_values": contents.hook_values.values}
        )  # fmt: skip
        return 0
    rows = [
        (
            answers.name_of_study(project, r["study"]), r["model"], f"{r['entries']:,}", f"{r['bytes']:,}",
            f"{r['input_tokens'] or 0:,} / {r['output_tokens'] or 0:,}",
            "?" if r["usd"] is None else f"{r['usd']:,.2f}" + (" + ?" if r["of_unknown_cost"] else ""),
        )
        for r in contents.rows
    ]  # fmt: skip
    columns = ("study", "model", "entries", "bytes", "tokens in/out", "USD")
    console.show([Table(columns, rows, numeric=columns[2:])])
    n = sum(r["entries"] for r in contents.rows)
    console.say(f"\n{n:,} entries, {contents.bytes:,} bytes on disk: {project.place}")
    if contents.damaged:
        console.say(f"{contents.damaged:,} are damaged: `emdsl cache verify` lists them")
    if (hooks := contents.hook_values).values:
        console.say(
            f"{hooks.values:,} values of functions in Python, {hooks.bytes:,} bytes on disk: {project.hook_values}"
        )
    for removed in contents.trash:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(removed.at))
        back = f"; restore with `emdsl cache restore {removed.name}`" if removed.name else ""
        console.say(f"trash, {day}: {removed.entries:,} entries ({removed.why}){back}")
    return 0


@command.command("verify")
@CACHE_SIM
def verify(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Read every entry and compare it with its checksum. Exits with 1 if any is damaged.

    \b
    Example:
      emdsl cache verify
    """
    result = answers.verify(open_cache(cache, simulate=simulate, as_json=as_json))
    damaged = bool(result.damaged or result.database)
    if as_json:
        console.show_json({"entries": result.entries, "database": result.database or "ok",
                           "empty_aborts": result.empty_aborts,
                           "damaged_hook_values": result.hook_values.damaged,
                           "damaged": [{"key": k, "why": w} for k, w in result.damaged]})  # fmt: skip
        return int(damaged)
    if result.database:
        console.say(
            f"the database is damaged: {result.database}. Restore a backup, "
            "or recover its readable entries with `emdsl cache merge`"
        )
    for key, why in result.damaged[: None if console.settings.verbose else MAX_DAMAGED]:
        console.say(f"{key[:16]}...  {why}")
    if result.damaged:
        console.say(
            f"{len(result.damaged):,} of {result.entries:,} entries fail their checksum and are ignored; the next run "
            "requests them again"
        )
    else:
        console.say(f"{result.entries:,} entries, all sound")
    if hooks := result.hook_values.values + result.hook_values.damaged:
        damage = f"{result.hook_values.damaged:,} damaged: these are computed again"
        console.say(f"{hooks:,} values of functions in Python, {damage if result.hook_values.damaged else 'all sound'}")
    if result.empty_aborts:
        flag = place_options(simulate=simulate, cache=cache)
        console.say(
            f"{result.empty_aborts:,} are empty: aborted responses, not answers. To request them again:\n"
            f'  emdsl cache drop{flag} --yes --where "{answers.EMPTY_ABORTS}"'
        )
    return int(damaged)


for verb in (
    cache_trash.gc, cache_trash.drop, cache_trash.restore, cache_trash.purge,
    cache_share.export, cache_share.import_, cache_share.merge,
    cache_share.push, cache_share.pull, cache_remotes.add, cache_remotes.list_, cache_remotes.remove,
    cache_budgets.budgets, cache_budgets.budget,
):  # fmt: skip
    command.add_command(verb)
