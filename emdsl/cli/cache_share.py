"""`emdsl cache export`, `import` and `merge`."""

from __future__ import annotations

from pathlib import Path

import click

from emdsl.cli import console
from emdsl.cli.cache_options import CACHE_SIM, open_cache
from emdsl.cli.options import option
from emdsl.store.bundle import CANARY, is_encrypted
from emdsl.study import sharing
from emdsl.study.compiled import compile_study
from emdsl.study.importing import FORMATS

PASSPHRASE = option(
    "--passphrase", envvar="EMDSL_PASSPHRASE", help="Of an encrypted file.  [default: $EMDSL_PASSPHRASE, or a prompt]"
)


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
    "--from", "form", type=click.Choice(FORMATS), envvar=None, help="FILE, or a folder of files, is of another tool."
)
@option("--service", metavar="NAME", envvar=None, help="With --from llmcomp: the service of its models.")
@option("--revision", envvar=None, help="With --from: the weights of a self-hosted model.")
@PASSPHRASE
@CACHE_SIM
def import_(
    path: Path, folder: Path | None, form: str | None, service: str | None, revision: str | None,
    passphrase: str | None, cache: Path | None, simulate: bool, as_json: bool,
) -> int:  # fmt: skip
    """Import the answers of a file from `emdsl cache export`.

    Answers that are cached already are kept.

    A damaged file is refused, and one with an answer to another request than that of its key. With --from, an answer of
    another tool is imported if every part of its key is known; the rest is listed with the reason.

    \b
    Examples:
      emdsl cache import study.emdsl --files .
      emdsl cache import logs/ --from inspect
    """
    near = folder if folder and folder.exists() else Path()
    project = open_cache(cache, simulate=simulate, as_json=as_json, near=near)
    if form is not None:
        new, old, rejected = sharing.import_foreign(project, path, form, service=service, revision=revision)
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
@click.argument("other", type=click.Path(path_type=Path, exists=True, file_okay=False))
@CACHE_SIM
def merge(other: Path, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Import the answers of the OTHER cache folder. Cached answers are kept, damaged ones are skipped.

    \b
    Example:
      emdsl cache merge ../colleague/cache
    """
    new, old, damaged = sharing.merge(open_cache(cache, simulate=simulate, as_json=as_json), other)
    if as_json:
        console.show_json({"new": new, "known": old, "damaged": damaged})
        return 0
    console.say(f"{new:,} answers imported" + _already(old) + (f", {damaged:,} damaged" if damaged else ""))
    return 0


def _already(n: int) -> str:
    return f", {n:,} were cached already" if n else ""


def _show_foreign(new: int, old: int, rejected: list[tuple[str, int]], *, as_json: bool) -> None:
    if as_json:
        reasons = [{"n": n, "reason": reason} for reason, n in rejected]
        console.show_json({"new": new, "known": old, "rejected": reasons})
        return
    console.say(f"{new:,} answers imported" + _already(old))
    for reason, n in rejected:
        console.say(f"  {n:,} rejected: {reason}")
    if new:
        console.say("Next: emdsl plan FILE shows which requests of a study are cached now")


def _passphrase(given: str | None, *, confirm: bool = False) -> str:
    if given:
        return given
    typed: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed
