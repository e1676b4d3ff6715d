"""Names for the completion of a shell: axes, levels and measures of a study, by its syntax alone.

Nothing is evaluated: no dataset is read and no function in Python is called. So levels are those that the study writes
out: texts, numbers, ranges and names, in place or behind a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.errors import EmdslError
from emdsl.lang import ast
from emdsl.lang.loader import load
from emdsl.lang.walk import walk
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emdsl.lang.loader import Module

MAX_RANGE = 200  # levels of a range that are offered
MAX_FOLLOWED = 8  # names that lead to names


@dataclass(frozen=True, slots=True)
class Names:
    """Axes with the levels that are written out, and measures with their expressions."""

    axes: dict[str, list[str]]
    measures: dict[str, str]


def names_of(file: Path) -> Names:
    """Return the names of a study; none of a file that cannot be read. Errors of syntax hide no more than they must."""
    axes: dict[str, list[str]] = {}
    measures: dict[str, str] = {}
    try:
        module, _ = load(file)
        for decl in module.file.decls:
            if isinstance(decl, ast.Experiment):
                lets = _lets(decl.body)
                for node in walk(decl.body):
                    if isinstance(node, ast.For):
                        for name, levels in zip(node.names, _columns(node, module, lets), strict=True):
                            own = axes.setdefault(name.text, [])
                            own += [x for x in dict.fromkeys(levels) if x not in own]
                    elif isinstance(node, ast.Measure):
                        measures[node.name.text] = " ".join(node.value.span.text.split())
    except (EmdslError, OSError, RecursionError, ValueError):
        pass
    return Names(axes, measures)


def _lets(body: tuple[ast.Stmt, ...]) -> dict[str, ast.Expr]:
    return {s.name.text: s.value for s in walk(body) if isinstance(s, ast.Let) and s.params is None}


def _columns(node: ast.For, module: Module, lets: dict[str, ast.Expr]) -> list[list[str]]:
    """Return the levels of each name of a `for`."""
    levels = _followed(node.levels, module, lets)
    n = len(node.names)
    if n == 1:
        return [list(_levels(levels, module, lets))]
    rows = [i.items for i in levels.items if isinstance(i, ast.Sequence)] if isinstance(levels, ast.Sequence) else []
    return [[label for row in rows if len(row) == n for label in _label(row[i], module, lets)] for i in range(n)]


def _levels(node: ast.Expr, module: Module, lets: dict[str, ast.Expr]) -> Iterator[str]:
    match node:
        case ast.Sequence(items=items):
            for item in items:
                yield from _label(item, module, lets)
        case ast.Map(entries=entries):
            yield from (e.label.text for e in entries)
        case ast.Range(low=ast.Literal(value=low), high=ast.Literal(value=high)):
            if low is not None and high is not None:
                first, last = int(low), int(high)
                yield from map(str, range(first, min(last, first + MAX_RANGE - 1) + 1))
        case _:
            return


def _label(node: ast.Expr, module: Module, lets: dict[str, ast.Expr]) -> Iterator[str]:
    """Yield the label of a level; nothing for one that has to be evaluated."""
    value = _followed(node, module, lets)
    match value:
        case ast.Text(parts=parts) if all(isinstance(p, str) for p in parts):
            yield "".join(str(p) for p in parts)
        case ast.Literal(value=number) if number is not None:
            yield render(number) or str(number)
        case ast.Ref(name=name):  # of a model, a prompt or a dataset
            yield name
        case _:
            return


def _followed(node: ast.Expr, module: Module, lets: dict[str, ast.Expr]) -> ast.Expr:
    """Return the expression behind a name, of this file or of an imported one."""
    for _ in range(MAX_FOLLOWED):
        if not isinstance(node, ast.Ref):
            break
        if node.name in lets:
            node = lets[node.name]
            continue
        behind = _declared(node.name, module)
        if behind is None:
            break
        (node, module), lets = behind, {}
    return node


def _declared(name: str, module: Module) -> tuple[ast.Expr, Module] | None:
    for decl in module.file.decls:
        match decl:
            case ast.Let(name=ast.Name(text=text), params=None, value=value) if text == name:
                return value, module
            case ast.Import(names=imported, path=path) if path in module.imports:
                original = next((i.name.text for i in imported if i.alias.text == name), None)
                if original is not None:
                    return _declared(original, module.imports[path])
            case _:
                pass
    return None
