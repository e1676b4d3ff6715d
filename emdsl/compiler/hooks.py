"""`python f(x) from "f.py"`: a function of a file of the project, before a prompt."""

from __future__ import annotations

import ast as python
from typing import TYPE_CHECKING

from emdsl.compiler.callables import HOOK_KINDS, HookFunction
from emdsl.digest import digest_bytes
from emdsl.frame import fail
from emdsl.hooks.hook import Hook, isolated
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.compiler.faults import Faults
    from emdsl.lang import ast
    from emdsl.lang.loader import Instead


def hook_of(
    decl: ast.Python, folder: Path, root: Path, faults: Faults, files: dict[str, str], instead: Instead | None = None
) -> HookFunction:
    """Return the function that a declaration names; raises EvalFault.

    `root` is the project of the program that is run, `files` takes the file's digest.
    """
    name = decl.name.text
    try:
        path = (folder / decl.path).resolve()
    except ValueError as error:
        raise fail("E620", f'cannot read "{decl.path}": this is no path', decl.path_span) from error
    place = instead.get(path, path) if instead else path
    if not path.is_relative_to(root):
        raise fail("E621", f'"{decl.path}" lies outside the project', decl.path_span,
                   note=f"the project is {root.name}/: what a study runs travels with it")  # fmt: skip
    try:
        content = place.read_bytes()
        tree = python.parse(content, filename=str(path))
    except (OSError, ValueError, RecursionError) as error:
        beside = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
        why = "it is no Python text"
        if isinstance(error, OSError):
            missing = isinstance(error, FileNotFoundError)
            why = "there is no such file" if missing else (error.strerror or "it cannot be opened").lower()
        raise fail("E620", f'cannot read "{decl.path}": {why}', decl.path_span, help=near(path.name, beside)) from error
    except SyntaxError as error:
        raise fail("E620", f'"{decl.path}" is no Python: {error.msg} (line {error.lineno})', decl.path_span) from error
    functions = {f.name: f for f in tree.body if isinstance(f, python.FunctionDef)}
    if name not in functions:
        help_ = near(name, functions) or (f"it has {one_of(functions)}" if functions else "it defines no function")
        raise fail("E622", f'"{decl.path}" defines no function `{name}`', decl.name.span, help=help_)
    params = functions[name].args
    taken = [*params.posonlyargs, *params.args]
    least = len(taken) - len(params.defaults)
    if not (least <= len(decl.params) and (params.vararg is not None or len(decl.params) <= len(taken))):
        raise fail("E623", f"`{name}` takes {len(taken)} arguments in {path.name}, not {len(decl.params)}",
                   decl.name.span, help=f"write `python {name}({', '.join(a.arg for a in taken)})`")  # fmt: skip
    files[str(path)] = digest_bytes(content).hex()
    if not isolated(place):
        faults.warning("W621", f"`{name}` runs with network access on this system", decl.name.span,
                       note="here no process may leave the network; elsewhere it is cut off")  # fmt: skip
    kind = decl.kind.text if decl.kind is not None else ""
    if decl.kind is not None and kind not in HOOK_KINDS:
        help_ = near(kind, HOOK_KINDS) or "leave it out for a list, or for values of several kinds"
        raise fail("E623", f"a function gives one of {one_of(HOOK_KINDS)}, not `{kind}`", decl.kind.span, help=help_)
    names = tuple(p.text for p in decl.params)
    return HookFunction(name, names, Hook(name, name, names, place), decl.span, kind)
