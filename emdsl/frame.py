"""Frame: the names of one cell and sample; and the exceptions for names without a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from emdsl.source import Diagnostic, Edit, Label, Span
from emdsl.value import INVALID, Value

if TYPE_CHECKING:
    from emdsl.value import Level, Missing


class EvalFault(Exception):
    """An expression without a value; always converted to a SourceError."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class MissingInput(Exception):
    """A message, or a list in a loop, reads a missing value."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.reason)
        self.missing = missing


class HookFault(Exception):
    """A Python function that raised an exception: its message, with the line."""


def fail(
    code: str, message: str, span: Span, *, note: str = "", help: str = "", put: str | None = None,
    labels: tuple[Label, ...] = (),
) -> EvalFault:  # fmt: skip
    """Return the exception for an expression without a value; `put` is a safe replacement of it."""
    fix = (Edit(span=span, text=put),) if put is not None else ()
    return EvalFault(Diagnostic(code=code, message=message, span=span, note=note, help=help, labels=labels, fix=fix))


class Frame(dict[str, Value]):
    """The names that an expression can read; a `let` is computed when it is first read.

    `levels` holds the Level of each axis, for `x is label`. In its `root` the functions of an experiment look up their
    names.
    """

    __slots__ = ("_lets", "_parent", "_root", "levels", "results", "work")

    def __init__(
        self,
        values: Mapping[str, Value] | None = None,
        lets: Mapping[str, Fn] | None = None,
        parent: Frame | None = None,
    ) -> None:
        super().__init__(values or {})
        self._lets = lets or {}
        self._parent = parent
        self.results: Mapping[str, Any] = {}  # of the root of a row: the Result of each step
        self.work = 0  # of a root: number of items in loops so far
        self.levels: dict[str, Level] = parent.levels if parent is not None else {}
        self._root = parent.root if parent is not None else None

    @property
    def root(self) -> Frame:
        """The frame of the cell and sample; it holds no reference to itself, so that it goes with its row."""
        return self._root if self._root is not None else self

    def child(self, name: str, value: Value) -> Frame:
        """Return a frame with one more name, which hides an axis of the same name, and its label."""
        inner = Frame({name: value}, parent=self)
        if name in self.levels:
            inner.levels = {n: level for n, level in self.levels.items() if n != name}
        return inner

    def __missing__(self, name: str) -> Value:
        let = self._lets.get(name)
        if let is not None:
            value = self[name] = let(self)
            return value
        if self._parent is not None:
            return self._parent[name]
        raise KeyError(name)


class GroupLookup(Protocol):
    """The values of groups of rows, in one pass over an experiment."""

    def value(self, name: str, place: tuple[tuple[int, ...], int]) -> Value:
        """Return the value of a `let` with `over` in the row of a cell and sample."""


class RowFrame(Frame):
    """The frame of one row: a `let` without a value is missing there, and raises nothing.

    `groups` has the values of groups of rows, by the `place` of a row; unset in a pass that needs none.
    """

    __slots__ = ("groups", "place")
    groups: GroupLookup
    place: tuple[tuple[int, ...], int]  # cell and sample

    def __missing__(self, name: str) -> Value:
        try:
            return super().__missing__(name)
        except EvalFault:
            self[name] = INVALID
            return INVALID
        except MissingInput as missing:
            self[name] = missing.missing
            return missing.missing


Fn = Callable[[Frame], Value]
