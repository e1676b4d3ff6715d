"""`python f(x) from "f.py"`: a function of a file of the project, before a prompt."""

from __future__ import annotations

import ast as python
from typing import TYPE_CHECKING

from emdsl.compiler.callables import HOOK_KINDS, HookFunction
from emdsl.digest import digest_bytes
from emdsl.frame import fail
from emdsl.hooks.hook import Hook, isolated
from emdsl.hooks.values import Values
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.compiler.faults import Faults
    from emdsl.lang import ast
    from emdsl.lang.loader import Instead


def hook_of(
    decl: ast.Python, folder: Path, root: Path, faults: Faults, files: dict[str, str],
    instead: Instead | None = None, kept: Path | None = None,
) -> HookFunction:  # fmt: skip
    """Return the function that a declaration names; raises EvalFault.

    Args:
        decl: The declaration.
        folder: The folder of its file, where its path starts.
        root: The project of the program that is run.
        faults: Takes warnings.
        files: Takes the digest of the hook file.
        instead: Files that are read in place of others.
        kept: The folder with values of earlier calls; None keeps no values.
    """
    name = decl.name.text
    try:
        path = (folder / decl.path).resolve()
    except ValueError as error:
        raise fail("E620", f'cannot read "{decl.path}": this is not a valid path', decl.path_span) from error
    place = instead.get(path, path) if instead else path
    if not path.is_relative_to(root):
        raise fail("E621", f'"{decl.path}" is outside the project', decl.path_span,
                   note=f"the project is the folder {root.name}/", help="move the file into the project")  # fmt: skip
    try:
        content = place.read_bytes()
        tree = python.parse(content, filename=str(path))
    except (OSError, ValueError, RecursionError) as error:
        beside = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
        why = "it is not Python source"
        if isinstance(error, OSError):
            missing = isinstance(error, FileNotFoundError)
            why = "there is no such file" if missing else (error.strerror or "it cannot be opened").lower()
        raise fail(
            "E620", f'cannot read "{decl.path}": {why}', decl.path_span,
            help=near(path.name, beside) or "check the path: it starts at the folder of this file",
        ) from error  # fmt: skip
    except SyntaxError as error:
        raise fail(
            "E620", f'"{decl.path}" is not valid Python: {error.msg} (line {error.lineno})', decl.path_span
        ) from error
    functions = {f.name: f for f in tree.body if isinstance(f, python.FunctionDef)}
    if name not in functions:
        help_ = near(name, functions) or (f"it defines {one_of(functions)}" if functions else "it defines no functions")
        raise fail("E622", f'no function `{name}` in "{decl.path}"', decl.name.span, help=help_)
    params = functions[name].args
    taken = [*params.posonlyargs, *params.args]
    least = len(taken) - len(params.defaults)
    if not (least <= len(decl.params) and (params.vararg is not None or len(decl.params) <= len(taken))):
        plural = "s" * (len(taken) != 1)
        raise fail("E623", f"`{name}` has {len(taken)} parameter{plural} in {path.name}, but {len(decl.params)} here",
                   decl.name.span, help=f"write `python {name}({', '.join(a.arg for a in taken)})`")  # fmt: skip
    sha256 = files[str(path)] = digest_bytes(content).hex()
    if not isolated(place, content):
        faults.warning("W621", f"`{name}` runs with network access on this system", decl.name.span,
                       note="this system does not allow emdsl to block the network for a process",
                       help="make sure that the function does not use the network")  # fmt: skip
    kind = decl.kind.text if decl.kind is not None else ""
    if decl.kind is not None and kind not in HOOK_KINDS:
        help_ = near(kind, HOOK_KINDS) or "omit the type for a list, or for values of several types"
        raise fail("E623", f"expected one of {one_of(HOOK_KINDS)} after `->`, got `{kind}`", decl.kind.span, help=help_)
    names = tuple(p.text for p in decl.params)
    values = Values(kept, root, sha256, place) if kept is not None else None
    return HookFunction(name, names, Hook(name, name, names, place, content, values), decl.span, kind, sha256)
