"""Arguments of measures that are numbers or words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler.columns import with_constants
from emdsl.lang import ast
from emdsl.source import one_of
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.compiler.faults import Faults
    from emdsl.value import Value

MAX_WHOLE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureValues:
    """Reads them; `constant` returns the value of a name that is the same in every row, or raises KeyError."""

    faults: Faults
    constant: Callable[[str], Value]

    def word(self, node: ast.Expr, parameter: str, words: tuple[str, ...]) -> str:
        """Read a word: one of some, or any name."""
        if isinstance(node, ast.Ref) and (not words or node.name in words):
            return node.name
        expected = one_of(words) if words else "a name"
        self.faults.error("E843", f"expected {expected} as `{parameter}`", node.span,
                          help=f"write `{parameter}: {words[0] if words else 'main'}`")  # fmt: skip
        return ""

    def folded(self, node: ast.Expr | None) -> ast.Expr | None:
        """Return an expression with the names of constants replaced by their values; None for none."""
        return with_constants(node, self.constant) if node is not None else None

    def number(self, node: ast.Expr) -> Any:
        """Return the value of an expression if it is a number, otherwise None."""
        value = getattr(self.folded(node), "value", None)
        return value if is_exact(value) else None

    def whole(self, node: ast.Expr, low: int) -> int:
        """Read a whole number from `low` to MAX_WHOLE; a fault is reported."""
        value = self.number(node)
        if type(value) is not int or not low <= value <= MAX_WHOLE:
            self.faults.error("E843", f"expected a whole number from {low} to {MAX_WHOLE:,}", node.span)
            return low
        return value

    def positive(self, node: ast.Expr, parameter: str, example: str) -> float | None:
        """Read a number above 0; None for a fault, which is reported."""
        value = self.number(node)
        if value is None or value <= 0:
            self.faults.error("E843", f"`{parameter}` must be a number above 0, in the unit of the measure", node.span,
                              help=f"write `{parameter}: {example}`")  # fmt: skip
            return None
        return float(value)

    def between(self, node: ast.Expr, parameter: str, low: float, high: float) -> float | None:
        """Read a number within limits; None for a fault, which is reported."""
        value = self.number(node)
        if value is None or not low <= value <= high:
            self.faults.error("E843", f"`{parameter}` must be a number from {low:g} to {high:g}", node.span,
                              help=f"write `{parameter}: 1`")  # fmt: skip
            return None
        return float(value)

    def share(self, node: ast.Expr) -> float:
        """Read a number from 0 to 1; a fault is reported."""
        value = self.number(node)
        if value is None or not 0 <= value <= 1:
            self.faults.error("E843", "expected a quantile, a number from 0 to 1", node.span, help="0.5 is the median")
            return 0.5
        return float(value)
