"""`choices` of an ask that differ by cell: the labels of each question, from its row of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler import settings as tables
from emdsl.compiler.choice_texts import CHOICES
from emdsl.compiler.free_names import free_names, transitive_reads
from emdsl.compiler.written import written
from emdsl.frame import MissingInput, fail
from emdsl.lang import ast
from emdsl.value import Missing, Value, render

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.frame import Frame
    from emdsl.reply_format import ReplyFormat

MAX_WRITTEN = 80  # characters of a value in a note


def choices_by_cell(decl: ast.Ask, local: Collection[str]) -> ast.Setting | None:
    """Return the `choices` of an ask if they read names of the experiment; those written as a map have fixed labels."""
    written_choices = (s for s in decl.settings if s.name.text == CHOICES and not isinstance(s.value, ast.Map))
    return next((s for s in written_choices if not free_names(s.value).isdisjoint(local)), None)


def reads_late(setting: ast.Setting | None, lets: Mapping[str, ast.Let], late: Collection[str], faults: Faults) -> bool:
    """Report labels that read one of the `late` names, directly or by a `let`: they must be known before a run."""
    reads = transitive_reads(free_names(setting.value), lets) & frozenset(late) if setting is not None else ()
    for name in sorted(reads)[:1]:
        assert setting is not None
        faults.error(
            "E401", f"`{CHOICES}` can differ by cell, but not by `{name}`", setting.value.span,
            help="use a column of an axis, such as `q.options`: the order of the labels makes no difference",
        )  # fmt: skip
    return bool(reads)


def format_by_cell(
    decl: ast.Ask | ast.Judge, reply_format: ReplyFormat | None, compiler: Compiler
) -> Callable[[Frame], ReplyFormat] | None:
    """Return the function of a frame that gives a format the labels of its cell; None if all cells have the same.

    The function raises MissingInput, and EvalFault for a value that is not a list of labels.
    """
    if reply_format is None or not reply_format.by_cell:
        return None
    setting = next(s for s in decl.settings if s.name.text == CHOICES)
    labels, span = compiler.expr(setting.value), setting.value.span
    formats: dict[tuple[str, ...], ReplyFormat] = {}

    def read(frame: Frame) -> ReplyFormat:
        value = labels(frame)
        if isinstance(value, Missing):
            raise MissingInput(value)
        try:
            choices = tuple(tables.READING[CHOICES].read(_texts(value)))
        except tables.Refused as refused:
            raise fail("E520", f"`{CHOICES}` must be {refused}", span,
                       note=f"in one cell it is {written(value)[:MAX_WRITTEN]}") from None  # fmt: skip
        if choices not in formats:
            if both := sorted(set(choices) & set(reply_format.words)):
                raise fail("E714", f"`{both[0]}` is both a label of a cell and a reply that counts as missing", span,
                           help="rename the word of `refusal` or `other`")  # fmt: skip
            formats[choices] = reply_format.with_choices(choices)
        return formats[choices]

    return read


def _texts(value: Value) -> Value:
    """Return a list of data with its numbers as texts."""
    if not isinstance(value, tuple):
        return value
    return tuple(item if isinstance(item, str) else render(item) for item in value)
