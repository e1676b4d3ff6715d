"""Reads a program's files: the one named, and all that it imports."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emdsl.errors import UsageError
from emdsl.files import read_whole
from emdsl.lang import ast
from emdsl.lang.parser import parse
from emdsl.source import Diagnostic, Edit, Label, Source, near

STD = "std:"
MAX_BYTES = 16 * 2**20  # no study is this long; a data file given by mistake often is
Instead = Mapping[Path, Path]  # files that were, in place of those that are: by resolved path, where a copy is


@dataclass(slots=True)
class Module:
    """One file and the modules that it imports, by the path as written."""

    file: ast.File
    folder: Path  # what its relative paths start from
    imports: dict[str, Module] = field(default_factory=dict)


def load(path: Path, instead: Instead | None = None) -> tuple[Module, list[Diagnostic]]:
    """Return a program as a graph of modules, each file read once, and every fault of their texts.

    Raises UsageError where `path` itself cannot be read.
    """
    return load_source(read(path, instead), path.parent, instead)


def read(path: Path, instead: Instead | None = None) -> Source:
    """Return the text of a file; raises UsageError where it cannot be read."""
    try:
        return _read(path, instead)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {_why(error)}") from error


def load_source(source: Source, folder: Path, instead: Instead | None = None) -> tuple[Module, list[Diagnostic]]:
    """Return a program whose first text is at hand already; see `load`."""
    loader = _Loader(instead)
    return loader.module(source, folder), loader.diagnostics


class _Loader:
    def __init__(self, instead: Instead | None) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._instead = instead
        self._known: dict[str, Module] = {}
        self._open: list[tuple[str, ast.Import | None]] = []

    def module(self, source: Source, folder: Path, by: ast.Import | None = None) -> Module:
        file, faults = parse(source)
        self.diagnostics += faults
        module = Module(file=file, folder=folder)
        identity = _identity(source)
        self._known[identity] = module
        self._open.append((identity, by))
        for decl in file.decls:
            told = isinstance(decl, ast.Import) and not decl.path and len(decl.path_span.text) > len('""')
            if isinstance(decl, ast.Import) and decl.path not in module.imports and not told:
                found = self._follow(decl, folder)
                if found:
                    module.imports[decl.path] = found
        self._open.pop()
        return module

    def _follow(self, decl: ast.Import, folder: Path) -> Module | None:
        try:
            source, inner = _locate(decl.path, folder, self._instead)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            message = f'cannot import "{decl.path}": {_why(error)}'
            help_ = error.args[1] if isinstance(error, _UnknownStd) else (
                "an import names a file, relative to this one, or the standard library: "
                '"std:judges@1"'
            )  # fmt: skip
            put = error.args[2] if isinstance(error, _UnknownStd) else ""
            fix = (Edit(span=decl.path_span, text=f'"{put}"'),) if put else ()
            self.diagnostics.append(Diagnostic(code="E205", message=message, span=decl.path_span, help=help_, fix=fix))
            return None
        identity = _identity(source)
        if identity in (i for i, _ in self._open):
            trail = [by for i, by in self._open if by is not None]
            self.diagnostics.append(
                Diagnostic(
                    code="E206",
                    message="these files import each other in a circle",
                    span=decl.path_span,
                    labels=tuple(Label(span=by.path_span, text="imported here") for by in trail),
                    help="move what both need into a third file",
                )
            )
            return None
        return self._known.get(identity) or self.module(source, inner, decl)


class _UnknownStd(ValueError):
    pass


def _locate(path: str, folder: Path, instead: Instead | None) -> tuple[Source, Path]:
    if not path.startswith(STD):
        target = folder / path
        return _read(target, instead), target.parent
    library = Path(__file__).parents[1] / "std"
    known = sorted(STD + f.stem for f in library.glob("*.em"))
    if path not in known:
        unversioned = [k for k in known if k.split("@", maxsplit=1)[0] == path]
        versions = " or ".join(f'"{k}"' for k in unversioned)
        hint = f"write {versions}: the version keeps it from changing" if unversioned else ""
        raise _UnknownStd(
            "the standard library has no such file", hint or near(path, known) or f"it has {', '.join(known)}",
            unversioned[0] if len(unversioned) == 1 else "",
        )  # fmt: skip
    text = (library / f"{path.removeprefix(STD)}.em").read_text(encoding="utf-8")
    return Source(name=path, text=text), Path("/nowhere")


@functools.cache
def std_names() -> dict[str, frozenset[str]]:
    """Return the names that each file of the standard library declares."""
    found = {}
    for file in sorted((Path(__file__).parents[1] / "std").glob("*.em")):
        text = file.read_text(encoding="utf-8")
        found[STD + file.stem] = frozenset(re.findall(r"^(?:rubric|prompt|let) (\w+)", text, re.MULTILINE))
    return found


def _read(path: Path, instead: Instead | None) -> Source:
    place = instead.get(path.resolve(), path) if instead else path
    return Source(name=shown(path), text=read_whole(place, MAX_BYTES).decode("utf-8"), path=path)


def shown(path: Path) -> str:
    """Return a path as people call it: relative to the working folder where it is below it."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return str(path) if relative.startswith("..") else relative


def _identity(source: Source) -> str:
    return str(source.path.resolve()) if source.path else source.name


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError):
        return re.sub(r"^\[Errno \d+\] ", "", error.strerror or str(error)).lower()
    return str(error.args[0])
