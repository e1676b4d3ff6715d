"""Folders of Hugging Face datasets: the `configs` of the card, or splits by the names of files.

Source: "Manual configuration" and "File names and splits" in the documentation of the Hub, read 2026-11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emdsl.data.reading import READERS
from emdsl.data.records import Budget, DataError, File
from emdsl.errors import UsageError
from emdsl.files import PACKED, is_pattern, matches
from emdsl.migrate.document import Document, Row, read_document
from emdsl.migrate.draft import LeftOut
from emdsl.migrate.writing import shown
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARD = "README.md"
ORDER = ("test", "validation", "train")  # the split that a study asks: the first that exists
_WORDS = {"test": ("test", "testing", "eval", "evaluation"), "validation": ("validation", "valid", "val", "dev"),
          "train": ("train", "training")}  # fmt: skip
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\s*(?:\r?\n|\Z)", re.DOTALL)
_SHARD = re.compile(r"-\d{5}-of-\d{5}")


def read_folder(folder: Path) -> tuple[Document, list[LeftOut]]:
    """Return the rows of one split of a dataset, at the path of its pattern, and the other configs and splits.

    Raises:
        UsageError: The folder holds no data that can be read.
    """
    left_out: list[LeftOut] = []
    splits = _configured(folder, left_out) or _named(folder)
    if not splits:
        raise UsageError(f"{folder} has no data files: expected {one_of(READERS)}, or a {CARD} with `configs`")
    split = next((s for s in ORDER if s in splits), next(iter(splits)))
    for other, patterns in splits.items():
        if other != split:
            what = f"split `{shown(other)}` ({', '.join(map(shown, patterns))})"
            left_out.append(LeftOut(what, f"the study asks the split `{shown(split)}`"))
    first, *more = splits[split]
    if more:
        left_out.append(LeftOut(", ".join(map(shown, more)), "a dataset of a study has one pattern"))
    return _rows(folder, first), left_out


def _rows(folder: Path, pattern: str) -> Document:
    """Return the rows of all files of a pattern."""
    try:
        files = matches(folder, pattern) if is_pattern(pattern) else [folder / pattern]
    except OSError as error:
        raise UsageError(f"{folder / pattern}: {error.strerror}") from error
    if not files:
        raise UsageError(f"no file matches {folder / pattern}")
    rows = [row for file in files for row in read_document(file).rows]
    lines = len(files) == 1  # of several files a line says little
    return Document(
        path=folder / pattern, title=f"{folder.resolve().name}/{pattern}",
        rows=tuple(Row(i, r.fields, r.line if lines else None) for i, r in enumerate(rows)),
    )  # fmt: skip


def _configured(folder: Path, left_out: list[LeftOut]) -> dict[str, list[str]]:
    """Return the patterns of each split by the card: of its default config, or of the first one."""
    card = _card(folder)
    configs = [c for c in card.get("configs") or () if isinstance(c, dict) and c.get("data_files")]
    if not configs:
        return {}
    chosen = next((c for c in configs if _is_default(c)), configs[0])
    left_out += [
        LeftOut(
            f"config `{shown(c.get('config_name', ''))}`", f"the study asks `{shown(chosen.get('config_name', ''))}`"
        )
        for c in configs
        if c is not chosen
    ]
    return _splits(chosen["data_files"], str(chosen.get("data_dir") or ""))


def _is_default(config: Mapping[str, Any]) -> bool:
    return str(config.get("default")).lower() == "true" or config.get("config_name") == "default"


def _card(folder: Path) -> Mapping[str, Any]:
    from emdsl.data.yaml import read_tree  # noqa: PLC0415 - 15 ms, for YAML files only

    path = folder / CARD
    try:
        front = _FRONT.match(path.read_text(encoding="utf-8"))
        tree = read_tree(File(CARD, path, front[1].encode(), Budget()))[0] if front else {}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    return tree if isinstance(tree, dict) else {}


def _splits(data_files: Any, directory: str) -> dict[str, list[str]]:
    prefix = f"{directory.strip('/')}/" if directory else ""
    splits: dict[str, list[str]] = {}
    for item in data_files if isinstance(data_files, tuple) else (data_files,):
        split, path = (str(item.get("split", "train")), item.get("path")) if isinstance(item, dict) else ("train", item)
        paths = path if isinstance(path, tuple) else (path,)
        plain = (p.replace("**/", "*/").replace("**", "*") for p in paths if isinstance(p, str))
        splits.setdefault(split, []).extend(prefix + p for p in plain)
    return {s: p for s, p in splits.items() if p}


def _named(folder: Path) -> dict[str, list[str]]:
    """Return the patterns of each split by the names of files, within the folder and one level below."""
    splits: dict[str, list[str]] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
        if not path.is_file() or inner.suffix.lower() not in READERS or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        words = re.split(r"[^a-z]+", name.lower())
        split = next((s for s in ORDER if set(_WORDS[s]) & set(words)), "train")
        pattern = _SHARD.sub("-*", name)
        if pattern not in splits.setdefault(split, []):
            splits[split].append(pattern)
    return splits
