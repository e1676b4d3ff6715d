"""`dataset`: a file, read by the settings of its declaration or of those it copies; and the inputs of a program."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.faults import Silent
from emdsl.compiler.read_settings import once, read_setting
from emdsl.data.dataset import MIN_SHA256, Dataset, read_dataset
from emdsl.data.records import DataError
from emdsl.frame import fail
from emdsl.lang import ast
from emdsl.source import Diagnostic, Severity, Span, near

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.lang.loader import Instead


@dataclass(slots=True)
class Inputs:
    """Files that a program read beside its text, by path with their digests, and variables with their values."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    absent: list[Diagnostic] = field(default_factory=list)  # datasets that are not here, and how to get them


def linked(path: Path) -> dict[str, str]:
    """Return the target of a path that leads through links, by the path as written; nothing for any other path."""
    written, real = os.path.abspath(path), str(path.resolve())  # noqa: PTH100 - links are what is looked for
    return {written: real} if written != real else {}


def dataset_of(decl: ast.Dataset, scope: Scope, inputs: Inputs, instead: Instead, faults: Faults) -> Dataset:
    """Return the rows that a declaration names; raises EvalFault, and warns of a file that is not here.

    Args:
        decl: The declaration.
        scope: The scope that it stands in.
        inputs: Takes the files that are read.
        instead: Files that are read in place of others.
        faults: Takes the faults of its settings.
    """
    written = _written_settings(decl, scope, faults)
    values: dict[str, Any] = {}
    for setting, setting_scope in written.values():
        read_setting(setting, tables.DATASET, "dataset", setting_scope, faults, values)
    if "file" not in values:
        if "file" in written:
            raise Silent
        raise fail(
            "E601", f"the dataset `{decl.name.text}` has no file", decl.name.span, help='add `file = "data/rows.jsonl"`'
        )
    if len(values) < len([w for w in written if w in tables.DATASET]):
        raise Silent
    file_setting, file_scope = written["file"]
    folder = file_scope.module.folder
    path = folder / values["file"]
    try:
        real = path.resolve()
    except ValueError as error:  # a lone surrogate, or a null character
        raise fail("E603", f'cannot read "{values["file"]}": this is not a valid path', file_setting.value.span,
                   help="name a file that exists") from error  # fmt: skip
    pin = values.get("sha256")
    if pin is not None and (len(pin) < MIN_SHA256 or any(c not in "0123456789abcdefABCDEF" for c in pin)):
        raise fail("E602", f"`sha256` must be {MIN_SHA256} or more hex digits", written["sha256"][0].value.span,
                   help="copy the first digits of the file's SHA-256, or remove `sha256`")  # fmt: skip
    try:
        dataset = read_dataset(
            decl.name.text, path, values.get("columns"), pin, values.get("obtain", ""), instead.get(real),
            values.get("delimiter"),
        )  # fmt: skip
    except DataError as error:
        span = file_setting.value.span
        if error.column and "columns" in written:
            span = _entry_span(written["columns"][0].value, error.column) or span
        help_ = error.help
        if error.missing:
            beside = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
            help_ = near(path.name, beside) or f"paths are relative to {os.path.relpath(folder)}/"
        raise fail("E603" if error.missing else "E604", str(error), span, help=help_) from error
    inputs.files[str(real)] = dataset.sha256
    inputs.links |= linked(path)
    if dataset.obtain:
        absent = Diagnostic(
            code="W601", message=f"the file of the dataset `{decl.name.text}` is missing", span=file_setting.value.span,
            note="requests that use its rows cannot be planned or sent", help=dataset.obtain,
            severity=Severity.WARNING,
        )  # fmt: skip
        inputs.absent.append(absent)
        faults.add(absent)
    return dataset


def _written_settings(
    decl: ast.Dataset, scope: Scope, faults: Faults, trail: tuple[ast.Dataset, ...] = ()
) -> dict[str, tuple[ast.Setting, Scope]]:
    """Return the settings of a dataset, its own and those it copies, with the scope of each."""
    settings: dict[str, tuple[ast.Setting, Scope]] = {}
    if decl.base is not None:
        origin, base_scope = scope.origin(decl.base)
        if not isinstance(origin, ast.Dataset):
            raise fail("E217", f"`{decl.base.text}` is not a dataset", decl.base.span)
        if any(origin is t for t in (*trail, decl)):
            raise fail("E207", f"circular definition: `{decl.name.text}` depends on itself", decl.name.span)
        settings = _written_settings(origin, base_scope, faults, (*trail, decl))
        if any(s.name.text == "file" for s in decl.settings):
            settings.pop("sha256", None)  # the pin is the other file's
    return settings | {item.name.text: (item, scope) for item in once(decl.settings, faults)}


def _entry_span(value: ast.Expr, path: str) -> Span | None:
    if isinstance(value, ast.Map):
        for entry in value.entries:
            if isinstance(entry.value, ast.Text) and entry.value.parts == (path,):
                return entry.value.span
    return None
