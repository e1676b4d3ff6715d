"""The stored answers: counted, verified, moved to the trash, restored and purged."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from emdsl.errors import FileMissing, StoreError, UsageError
from emdsl.hooks.values import Counts, counts, file_name
from emdsl.outcomes import store_table as table
from emdsl.run import history
from emdsl.run.passes import chunks, settle_from_store
from emdsl.run.rows import Rows
from emdsl.source import one_of
from emdsl.store.codec import Corrupt, decode, ingredients
from emdsl.study.compiled import compile_study, evaluating

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.outcome import Result
    from emdsl.store.removals import Trashed
    from emdsl.store.store import AnswerStore
    from emdsl.study.compiled import Compiled
    from emdsl.study.project import Project

EMPTY_ABORTS = "finish = 'other' AND text = '' AND NOT reasoned"  # how old versions stored an aborted response
COLUMNS = table.COLUMNS  # that a condition of `drop` can use


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Contents of a store."""

    rows: tuple[dict[str, Any], ...]  # by study and model: entries, bytes, tokens, usd ...
    bytes: int  # on the disk
    damaged: int
    trash: tuple[Trashed, ...]
    hook_values: Counts  # of functions in Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Result of reading every entry of a store."""

    entries: int
    damaged: tuple[tuple[str, str], ...]  # key in hexadecimal, and what is wrong
    database: str  # damage of the database itself; empty if it is sound
    empty_aborts: int
    hook_values: Counts  # of functions in Python


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Answers that match, and what became of them."""

    matching: int
    moved: int  # to the trash; 0 in a dry run
    name: str  # its name there, if any was moved
    usd: float | None = None  # paid for those that match
    reachable: int = 0  # answers that the studies use
    hook_values: int = 0  # of functions in Python, by files that no study uses; deleted unless it is a dry run
    groups: tuple[tuple[str | None, str, int], ...] = ()  # study, model and number of those that match


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """Numbers of answers that another store or a remote got or gave."""

    new: int
    known: int  # the receiver had them already
    damaged: int = 0  # they stay where they are


@contextmanager
def open_store(project: Project, *, write: bool = False, remotes: bool = False) -> Iterator[AnswerStore]:
    """Open the store of a project, alone unless `remotes`; raises FileMissing if it is to be read and is missing."""
    if not write and not remotes and not project.has_store:
        raise FileMissing(f"{project.cache} has no store yet; name another cache folder with --cache")
    store = project.store(create=write) if remotes else replace(project, remotes=False).store(create=write)
    try:
        yield store
    finally:
        store.close()


def contents(project: Project) -> Contents:
    """Return what a store holds, by study and model."""
    with open_store(project) as store, table.opened(_entry_rows(project, store)) as entries:
        result = entries.select(
            "SELECT study, model, count(*) AS entries, sum(bytes) AS bytes, sum(input_tokens) AS input_tokens, "
            "sum(output_tokens) AS output_tokens, sum(cost_usd) AS usd, count(*) - count(cost_usd) AS of_unknown_cost, "
            "min(answered_at) AS first, max(answered_at) AS last FROM entries GROUP BY ALL ORDER BY study, model"
        )
        size, trashed = store.n_bytes(), tuple(store.trash())
        damaged = len(store.corrupt)
    rows = tuple(dict(zip(result.columns, row, strict=True)) for row in result.rows)
    return Contents(rows=rows, bytes=size, damaged=damaged, trash=trashed, hook_values=hook_counts(project))


def name_of_study(project: Project, study: str | None) -> str:
    """Return the name of the study that paid for answers, for people; it is None without a record of its run here."""
    return study or ("(another machine)" if project.team is not None else "(no record here)")


def hook_counts(project: Project) -> Counts:
    """Return how many values of functions in Python the cache has, damaged lines, and bytes."""
    found = counts(project.hook_values).values()
    return Counts(
        values=sum(c.values for c in found), damaged=sum(c.damaged for c in found), bytes=sum(c.bytes for c in found)
    )


def trash(project: Project) -> tuple[Trashed, ...]:
    """Return the removals in the trash."""
    with open_store(project) as store:
        return tuple(store.trash())


def verify(project: Project) -> Verified:
    """Read every entry and compare it with its checksum."""
    damaged, n, empty = list[tuple[str, str]](), 0, 0
    with open_store(project) as store:
        database = store.damage()
        for key, entry in store.each():
            n += 1
            try:
                response = decode(entry)
                ingredients(entry)
                empty += response.finish == "other" and not (response.text or response.reasoning)
            except Corrupt as error:
                damaged.append((key.hex(), str(error)))
    return Verified(entries=n, damaged=tuple(damaged), database=database or "", empty_aborts=empty,
                    hook_values=hook_counts(project))  # fmt: skip


def collect_garbage(project: Project, files: Sequence[Path], *, yes: bool) -> Removal:
    """Move the answers that no study of `files` uses to the trash; a dry run unless `yes`.

    Raises:
        UsageError: A study reads a dataset that is missing: what it uses is unknown.
        StoreError: A run is using the store.
    """
    with open_store(project) as store:
        used: set[Digest] = set()
        used_hooks: set[str] = set()
        for file in files:
            study = compile_study(project, file)
            if study.program.absent:
                raise UsageError(f"{file} reads a dataset that is missing: which answers it uses is unknown")
            used |= answers_of(study, store)
            used_hooks |= {file_name(sha256) for sha256 in study.program.files.values()}
        with table.opened(_entry_rows(project, store, without=used)) as entries:
            n, usd, _ = entries.select("SELECT count(*), sum(cost_usd), count(cost_usd) FROM entries").rows[0]
            keys = entries.keys("true")
    moved, name = 0, ""
    hook_values = {n: c for n, c in counts(project.hook_values).items() if n not in used_hooks}
    if yes and (keys or hook_values):
        if project.in_use():
            raise StoreError(
                "a run is using this store: which answers it needs is unknown; try again when it has ended"
            )
        if keys:
            moved, name = _move_to_trash(project, keys, "gc: not used by " + ", ".join(map(str, files)))
        for unused in hook_values:
            (project.hook_values / unused).unlink(missing_ok=True)  # they are computed again if they are needed
    return Removal(
        matching=n, moved=moved, name=name, usd=usd, reachable=len(used),
        hook_values=sum(c.values for c in hook_values.values()),
    )  # fmt: skip


def drop(project: Project, where: str, *, yes: bool) -> Removal:
    """Move the answers for which a condition in SQL holds to the trash; a dry run unless `yes`."""
    with open_store(project) as store, table.opened(_entry_rows(project, store)) as entries:
        keys = entries.keys(where)
        groups = entries.counted(where)
    moved, name = _move_to_trash(project, keys, f"drop: {where}") if yes and keys else (0, "")
    return Removal(matching=len(keys), moved=moved, name=name, groups=tuple(groups))


def restore(project: Project, removal: str) -> tuple[int, int]:
    """Restore a removal from the trash; return the number of restored answers, and of those with a newer answer."""
    with open_store(project) as store:
        entries = store.trash_entries(removal) if removal else []
        if not entries:
            raise _no_removal(store, removal)
    with open_store(project, write=True) as store:
        new, old = store.adopt(entries)
        store.purge(removal)
    return new, old


def purge(project: Project, removal: str | None = None, *, yes: bool) -> int:
    """Permanently delete a batch of the trash, or all of it; return how many answers. A dry run unless `yes`."""
    with open_store(project) as store:
        n = sum(b.entries for b in store.trash() if removal in (None, b.name))
        if removal is not None and not n:
            raise _no_removal(store, removal)
    if yes:
        with open_store(project, write=True) as store:
            store.purge(removal)
    return n


def _no_removal(store: AnswerStore, removal: str) -> UsageError:
    names = [b.name for b in store.trash() if b.name]
    return UsageError(
        f"the trash has no removal `{removal}`; " + (f"it has {one_of(names)}" if names else "it is empty")
    )


def answers_of(study: Compiled, store: AnswerStore) -> set[Digest]:
    """Return the keys of all stored answers that a study uses."""
    keys: set[Digest] = set()
    with evaluating():
        for experiment in study.program.experiments:
            walk = Rows(experiment)
            for rows in chunks(walk.selected()):
                settle_from_store(walk, rows, store)
                for row in rows:
                    keys.update(key for r in row.results.values() for key in _keys(r))
                    keys.update(q.key for tries in (row.bad_replies or {}).values() for q, _ in tries)
            keys.update(walk.probes.answers)
    return keys


def unseen(_: int, __: int) -> None:
    """Show no progress."""


def used_by(project: Project, files: Sequence[Path]) -> list[Digest]:
    """Return the keys of the stored answers that some studies use, study by study, each key once."""
    keys = dict[bytes, None]()
    with open_store(project) as store:
        for file in files:
            study = compile_study(project, file)
            if study.program.absent:
                raise UsageError(f"{file} reads a dataset that is missing: which answers it uses is unknown")
            keys |= dict.fromkeys(sorted(answers_of(study, store)))
    return list(keys)


def _keys(result: Result) -> Iterator[Digest]:
    """Yield the keys of the stored answers behind the result of a step."""
    if result.query is not None and result.response is not None:
        yield result.query.key
    for query, _ in result.bad_replies:
        yield query.key


def _entry_rows(project: Project, store: AnswerStore, without: set[Digest] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield the entries of a store as rows; damaged ones are only listed in `store.corrupt`."""
    records = history.by_run(project.cache)
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


def _move_to_trash(project: Project, keys: list[Digest], why: str) -> tuple[int, str]:
    name = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    with open_store(project, write=True) as store:
        return store.move_to_trash(keys, why, name), name
