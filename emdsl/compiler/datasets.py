"""`dataset`: a file, read by the settings of its declaration or of those it copies; and the inputs of a program."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.faults import Silent
from emdsl.compiler.read_settings import once, read_setting
from emdsl.data.dataset import MIN_SHA256, Dataset, read_dataset
from emdsl.data.reading import READERS, matching
from emdsl.data.records import DataError
from emdsl.files import is_pattern
from emdsl.frame import fail
from emdsl.lang import ast
from emdsl.source import Diagnostic, Severity, Span, near, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.lang.loader import Instead

MAX_LISTED = 10_000  # names of a folder that a message looks through


@dataclass(slots=True)
class Inputs:
    """Files that a program read beside its text, by path with their digests, and variables with their values."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    patterns: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)  # by folder and pattern: files
    absent: list[Diagnostic] = field(default_factory=list)  # datasets that are not here, and how to get them
    datasets: list[Dataset] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)  # files of people's verdicts: no request reads them

    def watch(self, folder: Path, pattern: str, paths: Iterable[Path]) -> None:
        """Remember which files a pattern matched: another one changes the program."""
        self.patterns[os.path.abspath(folder), pattern] = tuple(map(os.path.abspath, paths))  # noqa: PTH100 - links are kept


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
        paths = matching(folder, values["file"], instead)
        dataset = read_dataset(
            decl.name.text, path, values.get("columns"), pin, values.get("obtain", ""), instead,
            values.get("delimiter"), values.get("rows", ""), paths,
        )  # fmt: skip
    except DataError as error:
        span = file_setting.value.span
        if error.column and "columns" in written:
            span = _entry_span(written["columns"][0].value, error.column) or span
        elif error.setting in written:
            span = written[error.setting][0].value.span
        help_ = error.help
        if error.missing:
            help_ = _other_files(path, folder)
        elif error.folder:
            help_ = _files_within(path, values["file"])
        raise fail("E603" if error.missing else "E604", str(error), span, help=help_) from error
    if paths is not None:
        inputs.watch(folder, values["file"], paths)
    for each, sha256 in dataset.files.items():
        inputs.files[str(each.resolve())] = sha256
        inputs.links |= linked(each)
    inputs.datasets.append(dataset)
    if not dataset.files:
        inputs.files[str(real)] = ""
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


def _other_files(path: Path, folder: Path) -> str:
    """Return help for a file that does not exist."""
    if not path.parent.is_dir():
        return f"there is no folder {os.path.relpath(path.parent)}/; paths are relative to {os.path.relpath(folder)}/"
    beside = sorted(f.name for f in islice(path.parent.iterdir(), MAX_LISTED) if not f.name.startswith("."))
    if is_pattern(path.name):
        return f"{os.path.relpath(path.parent)}/ has {one_of(beside, 5)}" if beside else "its folder is empty"
    return near(path.name, beside) or f"paths are relative to {os.path.relpath(folder)}/"


def _files_within(path: Path, written: str) -> str:
    """Return help for a folder: patterns for the files in it, or in the folders in it."""
    ways = []
    for inner in ("*", "*/*"):
        names = sorted(f.name for f in islice(path.glob(inner), MAX_LISTED) if f.is_file())
        endings = dict.fromkeys(e for name in names for e in READERS if name.lower().endswith(e) and name[0] != ".")
        ways += [f'`file = "{written.rstrip("/")}/{inner}{e}"`' for e in endings]
    return f"name its files: {' or '.join(ways[:3])}" if ways else f"it has no file that ends in {one_of(READERS)}"


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
