"""Frame: the names of one cell and sample; and what happens where a name has no value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from emdsl.source import Diagnostic, Edit, Label, Span
from emdsl.value import INVALID, Value

if TYPE_CHECKING:
    from emdsl.value import Level, Missing


class EvalFault(Exception):
    """An expression that has no value; always turned into a SourceError."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class MissingInput(Exception):
    """A message, or a list that is gone through, reads a value that is missing."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.reason)
        self.missing = missing


class HookFault(Exception):
    """A call of a function in Python that raised: what it said, with the line."""


def fail(
    code: str, message: str, span: Span, *, note: str = "", help: str = "", put: str | None = None,
    labels: tuple[Label, ...] = (),
) -> EvalFault:  # fmt: skip
    """Return the exception for an expression without a value; `put` is what certainly belongs in its place."""
    fix = (Edit(span=span, text=put),) if put is not None else ()
    return EvalFault(Diagnostic(code=code, message=message, span=span, note=note, help=help, labels=labels, fix=fix))


class Frame(dict[str, Value]):
    """The names that an expression can read; a `let` is computed when it is first read.

    `levels` holds, by axis, the Level behind a value: `x is label` asks for it. `root` is the frame of the
    cell and sample, in which the functions of an experiment find their names.
    """

    __slots__ = ("_lets", "_parent", "levels", "root", "work")

    def __init__(
        self,
        values: Mapping[str, Value] | None = None,
        lets: Mapping[str, Fn] | None = None,
        parent: Frame | None = None,
    ) -> None:
        super().__init__(values or {})
        self._lets = lets or {}
        self._parent = parent
        self.work = 0  # of a root: items that loops have gone through
        self.levels: dict[str, Level] = parent.levels if parent is not None else {}
        self.root: Frame = parent.root if parent is not None else self

    def child(self, name: str, value: Value) -> Frame:
        """Return a frame with one more name, which hides the label of an axis that is called the same."""
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


class RowFrame(Frame):
    """The frame of one outcome: a `let` that has no value there is missing, and ends nothing."""

    __slots__ = ()

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
