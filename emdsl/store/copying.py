"""Answers from one store to another, whatever the two are: only missing entries travel, and no damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from emdsl.store.codec import is_sound
from emdsl.store.parts import chunked, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emdsl.digest import Digest
    from emdsl.store.parts import Entry
    from emdsl.store.store import AnswerStore

COMPARED = 10_000  # keys that are looked up at once
READ = 1_000  # entries that are read at once


class Copied(NamedTuple):
    """Numbers of entries."""

    new: int
    present: int  # in the target already, and kept
    damaged: int  # in the source, and left there


def copy_entries(
    source: AnswerStore,
    target: AnswerStore,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    keys: Iterable[Digest] | None = None,
) -> Copied:
    """Add the entries of one store to another, in the order of storing; raises StoreError.

    After an error, copied entries stay, and the next copy continues with the missing ones.

    Args:
        source: The store to read.
        target: The store to write. Those of its entries that it knows to be damaged are replaced.
        on_progress: Is called with the number of keys that have been compared or copied so far.
        keys: Those to copy, instead of all.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most verbs copy nothing

    if keys is None and target.state().n == 0:
        travelling = _all(source)
    else:
        travelling = _missing(source, target, source.keys() if keys is None else keys)
    new = present = damaged = 0
    with ThreadPoolExecutor(1) as reader:  # while one part is written, the next one is read
        waiting = reader.submit(next, travelling, None)
        while (part := waiting.result()) is not None:
            waiting = reader.submit(next, travelling, None)
            added, known = target.adopt(part.entries)
            new, present, damaged = new + added, present + part.present + known, damaged + part.damaged
            on_progress(part.done)
    return Copied(new, present, damaged)


class _Part(NamedTuple):
    entries: list[Entry]
    present: int
    damaged: int
    done: int  # keys so far


def _all(source: AnswerStore) -> Iterator[_Part]:
    """Yield all sound entries, for an empty target: no key is looked up."""
    done = 0
    for part in parts(((key, entry or b"") for key, entry in source.each()), COMPARED):  # b"": not of emdsl
        sound = [(key, entry) for key, entry in part if is_sound(entry)]
        done += len(part)
        yield _Part(sound, 0, len(part) - len(sound), done)


def _missing(source: AnswerStore, target: AnswerStore, keys: Iterable[Digest]) -> Iterator[_Part]:
    """Yield the sound entries that the target lacks."""
    done = 0
    for page in chunked(keys, COMPARED):
        stored = set(target.stored(page)) - target.corrupt
        missing = [key for key in page if key not in stored]
        done += len(page) - len(missing)
        yield _Part([], len(page) - len(missing), 0, done)
        for part in parts(_read(source, missing), COMPARED):
            sound = [(key, entry) for key, entry in part if is_sound(entry)]
            done += len(part)
            yield _Part(sound, 0, len(part) - len(sound), done)


def _read(source: AnswerStore, keys: list[Digest]) -> Iterator[Entry]:
    """Yield entries in the order of their keys; those that are gone meanwhile are left out."""
    for start in range(0, len(keys), READ):
        wanted = keys[start : start + READ]
        found = dict(source.entries(wanted))
        yield from ((key, found[key]) for key in wanted if key in found)
