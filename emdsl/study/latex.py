"""Tables as LaTeX, with the rules of the booktabs package."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.redact import mask

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "\u2026": r"\dots{}",
}  # fmt: skip


def latex(columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: Container[str] = (), note: str = "") -> str:
    """Return a tabular: numbers and `numeric` columns to the right, texts to the left, a `note` below."""
    right = [c in numeric or all(is_number(r[i]) for r in rows) for i, c in enumerate(columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('r' if n else 'l' for n in right)}}}",
        "\\toprule",
        " & ".join(escaped(c) for c in columns) + r" \\",
        "\\midrule",
        *(" & ".join(_cell(v) for v in row) + r" \\" for row in rows),
        "\\bottomrule",
        *([f"\\multicolumn{{{len(columns)}}}{{l}}{{\\footnotesize {escaped(note)}}} \\\\"] if note else []),
        "\\end{tabular}",
    ]
    return mask("\n".join(lines)) + "\n"


def is_number(value: Any) -> bool:
    """Whether a value is a number or missing, as in a column of numbers."""
    return value is None or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return escaped(str(value))


def escaped(text: str) -> str:
    r"""Return a text as LaTeX prints it.

    >>> escaped("5 % of a_b")
    '5 \\% of a\\_b'
    """
    return "".join(_SPECIAL.get(c, c) for c in " ".join(text.split()))
