"""`dataset`: a file, read by the settings of its declaration or of those it copies; and what a program read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.faults import Silent
from emdsl.data.dataset import MIN_SHA256, Dataset, read_dataset
from emdsl.data.records import DataError
from emdsl.frame import fail
from emdsl.lang import ast
from emdsl.source import Diagnostic, Severity, Span, near

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.compiler.resolve import Resolver, Scope


@dataclass(slots=True)
class Inputs:
    """What a program read beside its text: files by path with their digests, variables with their values."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    absent: list[Diagnostic] = field(default_factory=list)  # datasets that are not here, and how to get them


def linked(path: Path) -> dict[str, str]:
    """Return where a path leads by links, by the path as written; nothing where it is a file's own."""
    written, real = os.path.abspath(path), str(path.resolve())  # noqa: PTH100 - links are what is looked for
    return {written: real} if written != real else {}


def dataset_of(decl: ast.Dataset, scope: Scope, resolver: Resolver) -> Dataset:
    """Return the rows that a declaration names; raises EvalFault, and tells what is absent."""
    inputs = resolver.inputs
    written = _settings(decl, scope, resolver)
    found: dict[str, Any] = {}
    for setting, written_in in written.values():
        resolver.read_setting(setting, tables.DATASET, "dataset", written_in, found)
    if "file" not in found:
        if "file" in written:
            raise Silent
        raise fail(
            "E601",
            f"`{decl.name.text}` names no file",
            decl.name.span,
            help='add `file = "data/rows.jsonl"`',
        )
    if len(found) < len([w for w in written if w in tables.DATASET]):
        raise Silent
    item, folder_scope = written["file"]
    path = folder_scope.module.folder / found["file"]
    pin = found.get("sha256")
    if pin is not None and (len(pin) < MIN_SHA256 or any(c not in "0123456789abcdefABCDEF" for c in pin)):
        raise fail("E602", f"`sha256` is {MIN_SHA256} or more hex digits", written["sha256"][0].value.span)
    copy = resolver.instead.get(path.resolve()) if resolver.instead else None
    try:
        dataset = read_dataset(
            decl.name.text, path, found.get("columns"), pin, found.get("obtain", ""), copy, found.get("delimiter")
        )
    except DataError as error:
        span = item.value.span
        if error.column and "columns" in written:
            span = _entry_span(written["columns"][0].value, error.column) or span
        code = "E603" if error.missing else "E604"
        help_ = error.help
        if error.missing:
            start = f"paths start from {os.path.relpath(folder_scope.module.folder)}/"
            beside = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
            help_ = near(path.name, beside) or start
        raise fail(code, str(error), span, help=help_) from error
    inputs.files[str(path.resolve())] = dataset.sha256
    inputs.links |= linked(path)
    if dataset.obtain:
        absent = Diagnostic(
            code="W601", message=f"the file of `{decl.name.text}` is not here", span=item.value.span,
            note="what reads it is unknown to `plan`, and `run` cannot ask it", help=dataset.obtain,
            severity=Severity.WARNING,
        )  # fmt: skip
        inputs.absent.append(absent)
        resolver.faults.add(absent)
    return dataset


def _settings(
    decl: ast.Dataset, scope: Scope, resolver: Resolver, trail: tuple[ast.Dataset, ...] = ()
) -> dict[str, tuple[ast.Setting, Scope]]:
    """Return what is set for a dataset, by itself or by what it copies, and where each was written."""
    found: dict[str, tuple[ast.Setting, Scope]] = {}
    if decl.base is not None:
        origin, base_scope = resolver.origin_of(decl.base, scope)
        if not isinstance(origin, ast.Dataset):
            raise fail("E217", f"`{decl.base.text}` is not a dataset", decl.base.span)
        if any(origin is t for t in (*trail, decl)):
            raise fail("E207", f"`{decl.name.text}` is defined by itself", decl.name.span)
        found = _settings(origin, base_scope, resolver, (*trail, decl))
        if any(s.name.text == "file" for s in decl.settings):
            found.pop("sha256", None)  # the pin is the other file's
    for item in resolver.once(decl.settings):
        found[item.name.text] = (item, scope)
    return found


def _entry_span(value: ast.Expr, path: str) -> Span | None:
    if isinstance(value, ast.Map):
        for entry in value.entries:
            if isinstance(entry.value, ast.Text) and entry.value.parts == (path,):
                return entry.value.span
    return None
