"""`emdsl cache`: what the store holds, whether it is sound, and how answers leave it and come in."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emdsl.cli import console, session
from emdsl.cli.bundled import compare
from emdsl.cli.taken import FORMATS, Taken
from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError, StoreError, UsageError
from emdsl.frame import EvalFault
from emdsl.outcomes import entries as table
from emdsl.project import ANSWERS
from emdsl.run import history
from emdsl.run.walk import Walk, chunks, resolve
from emdsl.store import removals
from emdsl.store.bundle import CANARY, Bundle, Manifest, is_encrypted, write_bundle
from emdsl.store.claims import live_owners
from emdsl.store.codec import Corrupt, decode, ingredients
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emdsl.cli.session import Session
    from emdsl.digest import Digest
    from emdsl.experiment import Program
    from emdsl.outcome import Result

HOLLOW = "finish = 'other' AND text = '' AND NOT reasoned"  # what an abort was stored as once
SHOWN_BAD = 10
CACHE_SIM = session.with_options(session.CACHE, session.SIM, session.AS_JSON)
YES = session.option("-y", "--yes", is_flag=True, help="Do it; without this it is only counted.")
PASSPHRASE = session.option(
    "--passphrase", envvar="EMDSL_PASSPHRASE", help="Of an encrypted file.  [default: $EMDSL_PASSPHRASE, or asked for]"
)


@click.group("cache")
def command() -> None:
    """Look after the answers that were paid for: what is stored, is it sound, what may go, how is it shared."""


@command.command("stats")
@CACHE_SIM
def stats(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Count entries, bytes, tokens and money, by model and study."""
    here = _here(cache, simulate=simulate, as_json=as_json)
    with _store(here) as store, table.opened(_rows(here, store)) as found:
        result = found.select(
            "SELECT study, model, count(*) AS entries, sum(bytes) AS bytes, sum(input_tokens) AS input_tokens, "
            "sum(output_tokens) AS output_tokens, sum(cost_usd) AS usd, count(*) - count(cost_usd) AS of_unknown_cost, "
            "min(answered_at) AS first, max(answered_at) AS last FROM entries GROUP BY ALL ORDER BY study, model"
        )
        size = sum(f.stat().st_size for f in (here.cache / ANSWERS).glob("cache.db*"))
        damaged = len(store.corrupt)
    aside = removals.batches(here.cache / ANSWERS)
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    if as_json:
        console.show_json({"entries": rows, "bytes": size, "damaged": damaged, "set_aside": sum(b[3] for b in aside)})
        return 0
    console.show_table(
        ("study", "model", "entries", "bytes", "tokens in/out", "USD"),
        [
            (
                r["study"] or "?", r["model"], f"{r['entries']:,}", f"{r['bytes']:,}",
                f"{r['input_tokens'] or 0:,} / {r['output_tokens'] or 0:,}",
                "?" if r["usd"] is None else f"{r['usd']:,.2f}" + (" + ?" if r["of_unknown_cost"] else ""),
            )
            for r in rows
        ],
        numeric=("entries", "bytes", "tokens in/out", "USD"),
    )  # fmt: skip
    console.say(f"\n{sum(r['entries'] for r in rows):,} entries, {size:,} bytes on the disk: {here.cache / ANSWERS}")
    if damaged:
        console.say(f"{damaged:,} are damaged: `emdsl cache verify`")
    for batch, why, at, n in aside:
        console.say(
            f"set aside {_day(at)}: {n:,} ({why})" + (f"; back with `emdsl cache undo {batch}`" if batch else "")
        )
    return 0


@command.command("verify")
@CACHE_SIM
def verify(cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Read every entry and compare it with its digest; exit 1 if any is damaged."""
    here = _here(cache, simulate=simulate, as_json=as_json)
    bad, n, hollow = list[tuple[str, str]](), 0, 0
    with _store(here) as store:
        whole = store.damage()
        for key, entry in store.each():
            n += 1
            try:
                response = decode(entry)
                ingredients(entry)
                hollow += response.finish == "other" and not (response.text or response.reasoning)
            except Corrupt as error:
                bad.append((key.hex(), str(error)))
    if as_json:
        console.show_json({"entries": n, "database": whole or "ok", "hollow": hollow,
                           "damaged": [{"key": k, "why": w} for k, w in bad]})  # fmt: skip
        return 1 if bad or whole else 0
    if whole:
        console.say(
            f"the database is damaged: {whole}. Restore it from a copy, or `emdsl cache merge` what can be read"
        )
    for shown, why in bad[:SHOWN_BAD]:
        console.say(f"{shown[:16]}...  {why}")
    if bad:
        console.say(f"{len(bad):,} of {n:,} entries are damaged; they are not believed: the next run asks them again")
    else:
        console.say(f"{n:,} entries, each as it was stored")
    if hollow:
        flag = session.repeated(simulate=simulate, cache=cache)
        console.say(
            f"{hollow:,} are empty and end with an unusual reason: aborts, that are no answers. To ask them again:\n"
            f'  emdsl cache drop{flag} --yes --where "{HOLLOW}"'
        )
    return 1 if bad or whole else 0


@command.command("gc")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@CACHE_SIM
@YES
def gc(files: tuple[Path, ...], cache: Path | None, simulate: bool, as_json: bool, yes: bool) -> int:
    """Set aside what none of FILES can use any more; counted only, unless --yes. Neither age nor size matters."""
    here = _here(cache, simulate=simulate, as_json=as_json, near=files[0])
    with _store(here) as store:
        reached: set[Digest] = set()
        for file in files:
            program = _program(here, file, simulate=simulate)
            if program.absent:
                raise UsageError(
                    f"{file} reads a dataset that is not here: what it needs is not known, and nothing can go"
                )
            reached |= _closure(program, store)
        with table.opened(_rows(here, store, without=reached)) as found:
            lost = found.select("SELECT count(*), sum(cost_usd), count(cost_usd) FROM entries").rows[0]
            keys = found.keys("true")
    moved, batch = 0, ""
    if yes and keys:
        if live_owners(here.cache / ANSWERS):
            raise StoreError("a run is asking for this store right now: what it needs is not known; try again after it")
        moved, batch = _set_aside(here, keys, "gc: not used by " + ", ".join(map(str, files)))
    if as_json:
        console.show_json(
            {"reachable": len(reached), "unreachable": lost[0], "usd": lost[1], "set_aside": moved, "batch": batch}
        )
        return 0
    money = f", paid for with ${lost[1]:,.2f}" if lost[1] else ""
    console.say(f"{len(reached):,} entries are used by {', '.join(map(str, files))}; {lost[0]:,} are not{money}")
    _say_aside(moved, batch, asked=yes, would=lost[0], call="gc")
    return 0


@command.command("drop")
@CACHE_SIM
@session.option("--where", required=True, metavar="SQL", help="A condition on: " + ", ".join(table.COLUMNS) + ".")
@YES
def drop(cache: Path | None, simulate: bool, as_json: bool, where: str, yes: bool) -> int:
    """Set answers aside, so that they are asked again: a provider's bad day, a model that was not what it said.

    Counted only, unless --yes. Undone with `emdsl cache undo`.
    """
    here = _here(cache, simulate=simulate, as_json=as_json)
    with _store(here) as store, table.opened(_rows(here, store)) as found:
        keys = found.keys(where)
        by = found.counted(where)
    moved, batch = _set_aside(here, keys, f"drop: {where}") if yes and keys else (0, "")
    if as_json:
        console.show_json({"matching": len(keys), "set_aside": moved, "batch": batch})
        return 0
    for study, model, n in by:
        console.say(f"  {n:,} of {model} in {study or 'an unknown study'}")
    console.say(f"{len(keys):,} entries match")
    _say_aside(moved, batch, asked=yes, would=len(keys), call="drop")
    return 0


@command.command("undo")
@click.argument("batch")
@CACHE_SIM
def undo(batch: str, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Put back what `gc` or `drop` has set aside; answers that were asked since then stay."""
    here = _here(cache, simulate=simulate, as_json=as_json)
    with _store(here):
        entries = removals.set_aside_entries(here.cache / ANSWERS, batch) if batch else []
        if not entries:
            known = [b for b, *_ in removals.batches(here.cache / ANSWERS) if b]
            raise UsageError(f"nothing was set aside as `{batch}`; known are: {', '.join(known) or 'none'}")
    with _store(here, write=True) as store:
        new, old = store.adopt(entries)
        removals.forget(here.cache / ANSWERS, batch)
    if as_json:
        console.show_json({"back": new, "asked_since": old})
        return 0
    console.say(f"{new:,} entries are back" + (f"; {old:,} are there already, and stay" if old else ""))
    return 0


@command.command("forget")
@click.argument("batch", required=False)
@CACHE_SIM
@YES
def forget(batch: str | None, cache: Path | None, simulate: bool, as_json: bool, yes: bool) -> int:
    """Let go for good of what was set aside, of one batch or all; only counted, unless --yes."""
    here = _here(cache, simulate=simulate, as_json=as_json)
    with _store(here):
        known = removals.batches(here.cache / ANSWERS)
        n = sum(b[3] for b in known if batch in (None, b[0]))
        if batch is not None and not n:
            raise UsageError(
                f"nothing was set aside as `{batch}`; known are: {', '.join(b[0] for b in known) or 'none'}"
            )
        if yes:
            removals.forget(here.cache / ANSWERS, batch)
    if as_json:
        console.show_json({"entries": n, "forgotten": yes})
        return 0
    console.say(f"{n:,} entries are gone for good" if yes else f"{n:,} entries would be gone for good: add --yes")
    return 0


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@session.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file.")
@session.option("--encrypt", is_flag=True, help="Under a passphrase, in the age format.")
@PASSPHRASE
@CACHE_SIM
def export(
    file: Path, output: Path, encrypt: bool, passphrase: str | None, cache: Path | None, simulate: bool, as_json: bool
) -> int:
    """Write all that FILE needs to come to its numbers without asking: its answers and its files, in one file."""
    here = _here(cache, simulate=simulate, as_json=as_json, near=file)
    program = _program(here, file, simulate=simulate)
    if str(output.resolve()) in program.files:
        raise UsageError(f"{output} is a file of the program: it is not overwritten")
    secret = _passphrase(passphrase, confirm=True) if encrypt else None
    with _store(here) as store:
        keys = sorted(_closure(program, store))
        contents = {}
        for name in program.files:
            path = Path(name)
            if path.exists():
                contents[here.relative(path)] = path.read_bytes()
        digests = {here.relative(Path(n)): sha256 for n, sha256 in program.files.items() if sha256}
        manifest = Manifest(study=here.study(file), file=here.relative(file), n_entries=len(keys), files=digests)
        inside = {n: c for n, c in contents.items() if n in digests and not Path(n).is_absolute()}
        write_bundle(output, manifest, store.entries(keys), inside, secret)
    Bundle(output, secret).verify()
    if as_json:
        console.show_json({"entries": len(keys), "files": sorted(inside), "encrypted": encrypt})
        return 0
    outside = sorted(set(digests) - set(inside))
    console.say(f"{len(keys):,} answers and {len(inside)} files in {output}" + (", encrypted" if encrypt else ""))
    if program.absent:
        console.say("a dataset is not here: answers about its rows are not inside")
    if outside:
        console.say(f"not inside, for they lie outside the project: {', '.join(outside)}")
    console.say(f"It begins with: {CANARY.split('. ')[0]}.")
    console.say(
        "Elsewhere: emdsl cache import " + str(output) + f" --files .    then    emdsl run --offline {manifest.file}"
    )
    return 0


@command.command("import")
@click.argument("bundle", type=click.Path(path_type=Path))
@session.option("--files", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write its program here.")
@session.option(
    "--from", "form", type=click.Choice(FORMATS), envvar=None,
    help="A file, or a folder of files, that another tool has written.",
)  # fmt: skip
@session.option("--service", metavar="NAME", envvar=None, help="With --from llmcomp: who served its models.")
@session.option("--revision", envvar=None, help="With --from: which weights a self-hosted model had.")
@PASSPHRASE
@CACHE_SIM
def import_(
    bundle: Path, folder: Path | None, form: str | None, service: str | None, revision: str | None,
    passphrase: str | None, cache: Path | None, simulate: bool, as_json: bool,
) -> int:  # fmt: skip
    """Take in the answers of a file that `export` has written. Answers that are already stored are kept.

    A damaged file is refused, and a file with an answer to another request than that of its key.

    With --from it takes in answers that were paid for with another tool, each under the key that a program of emdsl
    gives the same request, and says which it leaves out and why.
    """
    here = _here(cache, simulate=simulate, as_json=as_json, near=folder if folder and folder.exists() else Path())
    if form is not None:
        with _store(here, write=True) as store:
            taken = Taken(
                form=form, environment=here.environment, run=secrets.token_hex(8), service=service, revision=revision,
                stored=store.get_many,
            )  # fmt: skip
            entries = list(taken.entries(bundle))  # all of it is read before any of it is taken in
            new, old = store.adopt(entries)
        _say_taken(taken, new, old, as_json=as_json)
        return 0
    opened = Bundle(bundle, _passphrase(passphrase) if is_encrypted(bundle) else None)
    opened.verify()
    n_compared, not_compared = compare(opened, bundle, here.environment, simulate=simulate)
    contents, left_out = _files(opened, folder) if folder is not None else ({}, [])
    with _store(here, write=True) as store:
        new, old = store.adopt(opened.entries())
    written = _write_files(contents)
    if as_json:
        console.show_json({"new": new, "known": old, "files": written, "compared": n_compared})
        return 0
    console.say(
        f"{new:,} answers of {opened.manifest.study} taken in" + (f", {old:,} were here already" if old else "")
    )
    console.say(
        f"{n_compared:,} of them were compared with the requests of its program"
        + (f": {not_compared}" if not_compared else "")
    )
    for name in written:
        console.say(f"  {name}")
    if left_out:
        console.say(f"not written, for they are hidden or lie outside: {', '.join(left_out)}")
    where = folder / opened.manifest.file if folder is not None else Path(opened.manifest.file)
    console.say(f"Next: emdsl run --offline {where}")
    return 0


@command.command("merge")
@click.argument("other", type=click.Path(path_type=Path, exists=True, file_okay=False))
@CACHE_SIM
def merge(other: Path, cache: Path | None, simulate: bool, as_json: bool) -> int:
    """Take in the answers of another cache folder; what is stored here already stays, what is damaged is left out."""
    here = _here(cache, simulate=simulate, as_json=as_json)
    folder = next((f for f in (other / ANSWERS, other / "cache" / ANSWERS, other) if (f / "cache.db").exists()), None)
    if folder is None:
        raise UsageError(f"{other} is no cache: it holds no {ANSWERS}/cache.db")
    if folder.resolve() == (here.cache / ANSWERS).resolve():
        raise UsageError("a cache cannot be merged with itself")
    theirs = DiskStore(folder, read_only=True)
    left_out = 0

    def sound() -> Iterator[tuple[Digest, bytes]]:
        nonlocal left_out
        for key, entry in theirs.each():
            try:
                decode(entry)
            except Corrupt:
                left_out += 1
                continue
            if entry is not None:
                yield key, entry

    try:
        with _store(here, write=True) as store:
            new, old = store.adopt(sound())
            history.adopt(folder.parent, here.cache)
    finally:
        theirs.close()
    if as_json:
        console.show_json({"new": new, "known": old, "left_out": left_out})
        return 0
    console.say(
        f"{new:,} answers taken in, {old:,} were here already"
        + (f", {left_out:,} are damaged and left out" if left_out else "")
    )
    return 0


# ---------------------------------------------------------------- what they share


def _here(cache: Path | None, *, simulate: bool, as_json: bool, near: Path | None = None) -> Session:
    console.expect_json(wanted=as_json)
    return session.open_session(near or Path(), cache, None, simulate=simulate)


@contextmanager
def _store(here: Session, *, write: bool = False) -> Iterator[DiskStore]:
    if not write and not (here.cache / ANSWERS / "cache.db").exists():
        raise UsageError(f"there is no store in {here.cache} yet; name another with --cache")
    store = here.store(create=write)
    try:
        yield store
    finally:
        store.close()


def _rows(here: Session, store: DiskStore, without: set[Digest] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield the entries of a store as rows; damaged ones are left out and told in `store.corrupt`."""
    records = history.by_run(here.cache)
    for key, entry in store.each():
        if without is not None and key in without:
            continue
        try:
            response, of, size = decode(entry), ingredients(entry), len(entry or b"")
        except Corrupt:
            store.corrupt.add(key)
            continue
        record = records.get(response.run)
        price = record.prices.get(str(of.get("model"))) if record is not None else None
        yield table.row(key, size, response, of, record.study if record else None, price)


def _program(here: Session, file: Path, *, simulate: bool) -> Program:
    return compile_file(file, here.environment, simulate=simulate)


def _closure(program: Program, store: DiskStore) -> set[Digest]:
    """Return the keys of all stored answers that a program reads."""
    found: set[Digest] = set()
    try:
        for experiment in program.experiments:
            walk = Walk(experiment)
            for rows in chunks(walk.rows()):
                resolve(walk, rows, store)
                for row in rows:
                    found.update(key for r in row.results.values() for key in _keys(r))
                    found.update(q.key for tries in (row.unread or {}).values() for q, _ in tries)
            found.update(walk.probes.answers)
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault
    return found


def _keys(result: Result) -> Iterator[Digest]:
    """Yield the keys of the stored answers that a step's outcome rests on."""
    if result.query is not None and result.response is not None:
        yield result.query.key
    for query, _ in result.earlier:
        yield query.key


def _say_taken(taken: Taken, new: int, old: int, *, as_json: bool) -> None:
    reasons = taken.left_out.most_common()
    if as_json:
        left_out = [{"n": n, "reason": reason} for reason, n in reasons]
        console.show_json({"new": new, "known": old, "left_out": left_out})
        return
    console.say(f"{new:,} answers taken in" + (f", {old:,} were here already" if old else ""))
    for reason, n in reasons:
        console.say(f"  {n:,} left out: {reason}")
    if new:
        console.say("Next: emdsl plan FILE shows which requests of a program they answer")


def _set_aside(here: Session, keys: list[Digest], why: str) -> tuple[int, str]:
    batch = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    return removals.set_aside(here.cache / ANSWERS, keys, why, batch), batch


def _say_aside(moved: int, batch: str, *, asked: bool, would: int, call: str) -> None:
    if moved:
        console.say(
            f"{moved:,} set aside. Back: emdsl cache undo {batch}    for good: emdsl cache forget {batch} --yes"
        )
    elif would and not asked:
        console.say(f"nothing was changed: `emdsl cache {call} ... --yes` sets them aside")


def _passphrase(given: str | None, *, confirm: bool = False) -> str:
    if given:
        return given
    found: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return found


def _files(opened: Bundle, folder: Path) -> tuple[dict[Path, bytes], list[str]]:
    """Return the program of a bundle by where it goes, and the names that are not written.

    Raises UsageError for a file that is there and differs.
    """
    contents, left_out = dict[Path, bytes](), list[str]()
    for name in opened.manifest.files:
        parts = Path(name).parts
        if Path(name).is_absolute() or not parts or any(p.startswith(".") for p in parts) or Path(name).name == "":
            left_out.append(name)
            continue
        content = opened.content(name)
        path = folder / name
        if path.is_dir() or (path.exists() and path.read_bytes() != content):
            raise UsageError(f"{path} is there already, and differs: choose another folder with --files")
        contents[path] = content
    for path in contents:
        if any(parent in contents for parent in path.parents):
            raise UsageError(f"{opened.manifest.study}: {path.parent} would be a file and a folder")
    return contents, left_out


def _write_files(contents: dict[Path, bytes]) -> list[str]:
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [os.path.relpath(p) for p in contents]


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
