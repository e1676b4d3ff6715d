"""Loads a study: its file and all imports."""

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
from emdsl.source import Diagnostic, Edit, Label, Source, near, one_of

STD = "std:"
MAX_BYTES = 16 * 2**20  # no study is longer; a data file passed by mistake often is
DATA = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".parquet", ".gz", ".zst")  # no declarations
_EDITION = re.compile(r"\ufeff?(?:\s|#[^\n]*\n)*em[ \t]+\d")
Instead = Mapping[Path, Path]  # copies to read in place of files, by resolved path


@dataclass(slots=True)
class Module:
    """A file and its imports, by path as written."""

    file: ast.File
    folder: Path  # that its relative paths start from
    imports: dict[str, Module] = field(default_factory=dict)


def load(path: Path, instead: Instead | None = None) -> tuple[Module, list[Diagnostic]]:
    """Load a study as a graph of modules, and every syntax error; each file is read once.

    Raises UsageError if `path` itself cannot be read.
    """
    return load_source(read(path, instead), path.parent, instead)


def read(path: Path, instead: Instead | None = None) -> Source:
    """Read the text of a file; raises UsageError."""
    try:
        return _read(path, instead)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read `{path}`: {_reason(error)}") from error


def load_source(source: Source, folder: Path, instead: Instead | None = None) -> tuple[Module, list[Diagnostic]]:
    """Load a study whose main file has been read; see `load`."""
    loader = _Loader(instead)
    return loader.module(source, folder), loader.diagnostics


class _Loader:
    def __init__(self, instead: Instead | None) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._instead = instead
        self._modules: dict[str, Module] = {}
        self._open: list[tuple[str, ast.Import | None]] = []

    def module(self, source: Source, folder: Path, by: ast.Import | None = None) -> Module:
        file, errors = parse(source)
        self.diagnostics += errors
        module = Module(file=file, folder=folder)
        identity = _identity(source)
        self._modules[identity] = module
        self._open.append((identity, by))
        for decl in file.decls:
            if not isinstance(decl, ast.Import) or decl.path in module.imports:
                continue
            invalid = not decl.path and len(decl.path_span.text) > len('""')  # its placeholder has been reported
            if not invalid and (imported := self._follow(decl, folder)):
                module.imports[decl.path] = imported
        self._open.pop()
        return module

    def _follow(self, decl: ast.Import, folder: Path) -> Module | None:
        is_data = decl.path.lower().endswith(DATA)
        try:
            source, inner = _locate(decl.path, folder, self._instead)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            if is_data:
                self.diagnostics.append(_data(decl, missing=isinstance(error, FileNotFoundError)))
                return None
            message = f'cannot import "{decl.path}": {_reason(error)}'
            help_ = error.args[1] if isinstance(error, _UnknownStd) else (
                "import a file by its path relative to this one, or from the standard library, e.g. "
                '"std:judges@1"'
            )  # fmt: skip
            put = error.args[2] if isinstance(error, _UnknownStd) else ""
            fix = (Edit(span=decl.path_span, text=f'"{put}"'),) if put else ()
            self.diagnostics.append(Diagnostic(code="E205", message=message, span=decl.path_span, help=help_, fix=fix))
            return None
        if is_data and not _EDITION.match(source.text):
            self.diagnostics.append(_data(decl))
            return None
        identity = _identity(source)
        if identity in (i for i, _ in self._open):
            trail = [by for i, by in self._open if by is not None]
            self.diagnostics.append(
                Diagnostic(
                    code="E206",
                    message=f'circular import of "{decl.path}"',
                    span=decl.path_span,
                    labels=tuple(Label(span=by.path_span, text="imported here") for by in trail),
                    help="move the shared declarations into a third file",
                )
            )
            return None
        return self._modules.get(identity) or self.module(source, inner, decl)


def _data(decl: ast.Import, *, missing: bool = False) -> Diagnostic:
    """Return the error of an import of rows; a file that is missing would be an error of the dataset too."""
    name = decl.names[0].alias.text
    text = f'dataset {name} {{ file = "{decl.path}" }}'
    return Diagnostic(
        code="E205", message=f'"{decl.path}" is a file of rows: its rows are a `dataset`', span=decl.path_span,
        help=f"write `{text}`", fix=(Edit(span=decl.span, text=text),) if len(decl.names) == 1 and not missing else (),
    )  # fmt: skip


class _UnknownStd(ValueError):
    pass


def _locate(path: str, folder: Path, instead: Instead | None) -> tuple[Source, Path]:
    if not path.startswith(STD):
        target = folder / path
        return _read(target, instead), target.parent
    library = Path(__file__).parents[1] / "std"
    files = sorted(STD + f.stem for f in library.glob("*.em"))
    if path not in files:
        versions = [k for k in files if k.split("@", maxsplit=1)[0] == path]
        choices = " or ".join(f'"{k}"' for k in versions)
        hint = f"add a version, so that it never changes: {choices}" if versions else ""
        raise _UnknownStd(
            "the standard library has no such file", hint or near(path, files) or f"available: {one_of(files)}",
            versions[0] if len(versions) == 1 else "",
        )  # fmt: skip
    text = (library / f"{path.removeprefix(STD)}.em").read_text(encoding="utf-8")
    return Source(name=path, text=text), Path("/nowhere")


@functools.cache
def std_names() -> dict[str, frozenset[str]]:
    """Return the names that each file of the standard library declares."""
    names = {}
    for file in sorted((Path(__file__).parents[1] / "std").glob("*.em")):
        text = file.read_text(encoding="utf-8")
        names[STD + file.stem] = frozenset(re.findall(r"^(?:rubric|prompt|let) (\w+)", text, re.MULTILINE))
    return names


def _read(path: Path, instead: Instead | None) -> Source:
    place = instead.get(path.resolve(), path) if instead else path
    return Source(name=shown(path), text=read_whole(place, MAX_BYTES).decode("utf-8"), path=path)


def shown(path: Path) -> str:
    """Return a path for messages: relative to the working folder if it is inside."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return str(path) if relative.startswith("..") else relative


def _identity(source: Source) -> str:
    return str(source.path.resolve()) if source.path else source.name


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return reason[:1].lower() + reason[1:]
    return str(error.args[0])
