"""`emdsl cache export`, `import`, `merge`, `push` and `pull`."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.options import option
from emdsl.errors import UsageError
from emdsl.store.bundle import CANARY, is_encrypted
from emdsl.study import exchange, sharing
from emdsl.study.batch_answers import import_batch
from emdsl.study.compiled import compile_study
from emdsl.study.importing import FORMATS

if TYPE_CHECKING:
    from emdsl.study.answers import Exchanged
    from emdsl.study.batch_answers import Collected
    from emdsl.study.importing import Rejected
    from emdsl.study.project import Project

PROGRESS_S = 2.0  # between two lines
BATCH = "batch"  # results in OpenAI's format, of written requests

PASSPHRASE = option(
    "--passphrase", envvar="EMDSL_PASSPHRASE", help="Of an encrypted file.  [default: $EMDSL_PASSPHRASE, or a prompt]"
)
OF_REMOTE = option(
    "--passphrase", envvar="EMDSL_PASSPHRASE", help="Of an encrypted remote.  [default: $EMDSL_PASSPHRASE]"
)
OF_TARGET = option(
    "--passphrase", envvar="EMDSL_PASSPHRASE",
    help="Of an encrypted remote, also of a new one.  [default: $EMDSL_PASSPHRASE, or with --encrypt a prompt]",
)  # fmt: skip


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The new file.")
@option("--encrypt", is_flag=True, help="Encrypt with a passphrase, in the age format.")
@PASSPHRASE
@CACHE_SIM
def export(
    file: Path, output: Path, encrypt: bool, passphrase: str | None, cache: Path | None, simulate: bool, as_json: bool
) -> int:
    """Write the answers and files of a study to one file.

    Others import it and get the results of FILE without a request.

    \b
    Example:
      emdsl cache export study.em -o study.emdsl
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json, near=file)
    study = compile_study(project, file)
    if _typed() and not encrypt:  # the file would be readable by everybody
        raise UsageError("it encrypts nothing without --encrypt: add it, or leave out --passphrase",
                         parameter="passphrase")  # fmt: skip
    secret = _passphrase(passphrase, confirm=True) if encrypt else None
    exported = sharing.export_answers(study, output, secret)
    if as_json:
        console.show_json({"entries": exported.entries, "files": list(exported.files), "encrypted": encrypt})
        return 0
    encrypted = ", encrypted" if encrypt else ""
    console.say(f"{exported.entries:,} answers and {len(exported.files)} files in {output}{encrypted}")
    if study.program.absent:
        console.say("a dataset is missing: the file has no answers about its rows")
    if exported.outside:
        console.say(f"not included, outside of the project: {', '.join(exported.outside)}")
    console.say(f"It begins with: {CANARY.split('. ')[0]}.")
    console.say(f"Elsewhere: emdsl cache import {output} --files .    then    emdsl run --offline {exported.file}")
    return 0


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@option("--files", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write the study's files here.")
@option(
    "--from", "form", type=click.Choice((*FORMATS, BATCH)), envvar=None,
    help="FILE, or a folder of files, is of another tool.",
)  # fmt: skip
@option(
    "--service", metavar="NAME", envvar=None,
    help="With --from llmcomp, openai-batch, or lm-eval of a local model: the service of the models.",
)  # fmt: skip
@option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", envvar=None,
    help="With --from promptfoo or lm-eval: a parameter that was sent (null: not sent); repeatable.",
)  # fmt: skip
@option("--revision", envvar=None, help="With --from: the weights of a self-hosted model.")
@option(
    "--served-as", multiple=True, metavar="NAME", envvar=None,
    help="With --from batch: another name of the model that answered; repeat for more.",
)  # fmt: skip
@PASSPHRASE
@CACHE_SIM
def import_(
    path: Path, folder: Path | None, form: str | None, service: str | None, revision: str | None,
    params: tuple[str, ...], served_as: tuple[str, ...], passphrase: str | None, cache: Path | None, simulate: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Import the answers of a file from `emdsl cache export`.

    Answers that are cached already are kept.

    A damaged file is refused, and one with an answer to another request than that of its key. With --from, an answer of
    another tool is imported if every part of its key is known; the rest is listed with the reason. With --from batch,
    FILE is a folder of `emdsl plan --requests`, with the results of its requests in any `.jsonl` file. With --from
    openai-batch, FILE is a folder of batches of another program. Files may be packed (`.gz`, `.zst`).

    \b
    Examples:
      emdsl cache import study.emdsl --files .
      emdsl cache import logs/ --from inspect
      emdsl cache import gpu/ --from batch
    """
    near = folder if folder and folder.exists() else Path()
    project = open_cache(cache, simulate=simulate, as_json=as_json, near=near)
    if form == BATCH:
        if service is not None or revision is not None or params:
            raise UsageError("--service, --revision and --param do not apply to --from batch: its folder has them")
        _show_batch(import_batch(project, path, served_as), project, as_json=as_json)
        return 0
    if form is not None:
        new, old, rejected = sharing.import_foreign(
            project, path, form, service=service, revision=revision, params=params
        )
        _show_foreign(new, old, rejected, as_json=as_json)
        return 0
    secret = _passphrase(passphrase) if is_encrypted(path) else None
    result = sharing.import_bundle(project, path, folder, secret)
    if as_json:
        console.show_json(
            {"new": result.new, "known": result.old, "files": list(result.written), "compared": result.compared}
        )
        return 0
    console.say(f"{result.new:,} answers of {result.study} imported" + _already(result.old))
    why = f": {result.not_compared}" if result.not_compared else ""
    console.say(f"{result.compared:,} of them were compared with the requests of the study{why}")
    for name in result.written:
        console.say(f"  {name}")
    if result.not_written:
        console.say(f"not written, hidden or outside of the folder: {', '.join(result.not_written)}")
    console.say(f"Next: emdsl run --offline {result.file}")
    return 0


@click.command("merge")
@click.argument("other")
@CACHE_SIM
def merge(other: str, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Import the answers of the OTHER store. Cached answers are kept, damaged ones are skipped.

    OTHER is a cache folder, or the URL of a team's store on PostgreSQL.

    \b
    Example:
      emdsl cache merge ../colleague/cache
    """
    merged = exchange.merge(open_cache(cache, simulate=simulate, as_json=as_json), other)
    if as_json:
        console.show_json({"new": merged.new, "known": merged.known, "damaged": merged.damaged})
        return 0
    damaged = f", {merged.damaged:,} damaged" if merged.damaged else ""
    console.say(f"{merged.new:,} answers imported" + _already(merged.known) + damaged)
    return 0


@click.command("push")
@click.argument("target", required=False)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@option(
    "--encrypt",
    is_flag=True,
    envvar=None,
    help="Encrypt the packs of a new remote with a passphrase, in the age format.",
)
@OF_TARGET
@CACHE_SIM
def push(
    target: str | None, files: tuple[Path, ...], encrypt: bool, passphrase: str | None, cache: Path | None,
    simulate: bool, as_json: bool,
) -> int:  # fmt: skip
    """Send cached answers to TARGET, only those that it lacks: all of them, or those that each FILE uses.

    TARGET is a cache folder, a folder of packs or a URL; by default the store of the project's team. The first push to
    a remote decides whether it is encrypted; a later one needs the passphrase alone.

    \b
    Example:
      emdsl cache push ../colleague/cache study.em
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json, near=files[0] if files else None)
    secret = _passphrase(passphrase, confirm=True) if encrypt else passphrase if _typed() else None
    progress = _Progress("sent")
    exchanged = exchange.push(project, target, files, encrypt=encrypt, passphrase=secret, progress=progress)
    _show_exchanged(exchanged, "sent", as_json=as_json)
    return 0


@click.command("pull")
@click.argument("source", required=False)
@OF_REMOTE
@CACHE_SIM
def pull(source: str | None, passphrase: str | None, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Fetch the answers of SOURCE that the cache lacks.

    SOURCE is a cache folder, a folder of packs or a URL; by default the store of the project's team.

    \b
    Example:
      emdsl cache pull ../colleague/cache
    """
    project = open_cache(cache, simulate=simulate, as_json=as_json)
    exchanged = exchange.pull(project, source, passphrase=passphrase, progress=_Progress("fetched"))
    _show_exchanged(exchanged, "fetched", as_json=as_json)
    return 0


class _Progress:
    """Prints how many answers have been exchanged, now and then."""

    def __init__(self, verb: str) -> None:
        self._verb, self._last = verb, time.monotonic()

    def __call__(self, n: int, total: int) -> None:
        if time.monotonic() - self._last >= PROGRESS_S and not console.settings.quiet:
            console.say(f"{n:,} of {total:,} answers {self._verb}", err=True)
            self._last = time.monotonic()


def _show_exchanged(exchanged: Exchanged, verb: str, *, as_json: bool) -> None:
    if as_json:
        console.show_json({"new": exchanged.new, "known": exchanged.known, "damaged": exchanged.damaged})
        return
    known = f", {exchanged.known:,} were there already" if exchanged.known else ""
    damaged = f", {exchanged.damaged:,} damaged" if exchanged.damaged else ""
    console.say(f"{exchanged.new:,} answers {verb}{known}{damaged}")


def _already(n: int) -> str:
    return f", {n:,} were cached already" if n else ""


def _show_foreign(new: int, old: int, rejected: list[Rejected], *, as_json: bool) -> None:
    if as_json:
        reasons = [{"n": r.n, "reason": r.reason, "examples": r.examples} for r in rejected]
        console.show_json({"new": new, "known": old, "rejected": reasons})
        return
    console.say(f"{new:,} answers imported" + _already(old))
    for r in rejected:
        examples = ", ".join(r.examples) + (", ..." if r.n > len(r.examples) else "")
        console.say(f"  {r.n:,} rejected: {r.reason}" + (f" ({examples})" if r.examples else ""))
    if new:
        console.say("Next: emdsl plan FILE shows which requests of a study are cached now")


def _show_batch(collected: Collected, project: Project, *, as_json: bool) -> None:
    if as_json:
        shown = {n: getattr(collected, n) for n in ("requests", "new", "known", "repeated", "pending")}
        console.show_json(shown | {"unmatched": [asdict(u) for u in collected.unmatched]})
        return
    console.say(f"{collected.new:,} answers imported" + _already(collected.known))
    for lines in collected.unmatched:
        console.say(f"  {lines.n:,} not imported: {lines.reason} ({lines.example})")
    if collected.repeated:
        console.say(f"  {collected.repeated:,} not imported: the same answer again")
    console.say(f"{collected.pending:,} of {collected.requests:,} requests are still pending")
    file = os.path.relpath(project.root / collected.file)
    console.say(f"Next: emdsl plan {shlex.quote(file)}{' --sim' if project.simulate else ''}")


def _typed() -> bool:
    """Whether the command line has a passphrase; one of the environment serves all remotes, and some need none."""
    return click.get_current_context().get_parameter_source("passphrase") is ParameterSource.COMMANDLINE


def _passphrase(given: str | None, *, confirm: bool = False) -> str:
    if given:
        return given
    typed: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed
