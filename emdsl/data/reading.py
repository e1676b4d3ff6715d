"""Files to records: which files a dataset names, their bytes within bounds, and the reader of each ending."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from emdsl.data.csv import read_csv, read_tsv
from emdsl.data.json import read_json, read_jsonl
from emdsl.data.parquet import read_parquet
from emdsl.data.records import Budget, DataError, File, Layout, Record
from emdsl.data.text import read_text
from emdsl.digest import digest_bytes
from emdsl.files import MAX_FILE, PACKED, is_pattern, matches, read_whole, unpacked
from emdsl.source import one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def _read_yaml(file: File, layout: Layout) -> list[Record]:
    from emdsl.data.yaml import read_yaml  # noqa: PLC0415 - 15 ms, for YAML files only

    return read_yaml(file, layout)


READERS: dict[str, Callable[[File, Layout], list[Record]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".parquet": read_parquet,
    ".txt": read_text,
}
_CELLS, _TREES = (read_csv, read_tsv), (read_jsonl, read_json, _read_yaml)
_ARROW = (
    'python -c "import pyarrow as a, pyarrow.parquet as p; '
    "p.write_table(a.ipc.open_stream('{0}').read_all(), '{0}.parquet')\""
)
_OTHERS = {  # what to do with files of other formats, by their ending
    ".zip": "unpack it: `python -m zipfile -e {0} .`",
    ".tar": "unpack it: `tar -xf {0}`",
    ".tgz": "unpack it: `tar -xf {0}`",
    ".bz2": "unpack it: `bunzip2 -k {0}`",
    ".xz": "unpack it: `unxz -k {0}`",
    ".xlsx": "save its sheet as CSV (UTF-8)",
    ".xls": "save its sheet as CSV (UTF-8)",
    ".arrow": f"write it as Parquet: `{_ARROW}`",
}


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it lies on the disk; `place` is where it was read, its copy if there is one."""

    path: Path
    place: Path
    raw: bytes

    @property
    def name(self) -> str:
        """Its name for messages."""
        return self.path.name

    @property
    def sha256(self) -> str:
        """The digest of its bytes, in hex."""
        return digest_bytes(self.raw).hex()


def matching(folder: Path, file: str, instead: Mapping[Path, Path]) -> list[Path] | None:
    """Return the files that a pattern names, by name; None without a pattern, and for the exact name of a file.

    Args:
        folder: The folder that the pattern starts from.
        file: The setting `file`.
        instead: Copies of the files of an earlier version of the study: no other file is among the result.

    Raises:
        DataError: Too many files match, or the pattern has `**`.
    """
    if not is_pattern(file) or (folder / file).exists() or (folder / file).resolve() in instead:
        return None
    if "**" in file:
        one_each = file.replace("**", "*")
        way = f'write one `*` for each folder: `file = "{one_each}"`'
        raise DataError(f"`{file}`: `**` is not supported", help=way)
    try:
        found = matches(folder, file)
    except OSError as error:
        raise DataError(f"`{file}`: {error.strerror}", help="name fewer files by a longer pattern") from error
    if instead:
        parts = (folder.resolve() / file).parts
        gone = {p for p in instead if _fits(p.parts, parts)}  # those that have been removed since are among them
        found = sorted({p for p in found if p.resolve() in instead} | {p for p in gone if not p.exists()})
    endings = dict.fromkeys(e for p in found for e in READERS if p.name.lower().endswith((e, *(e + x for x in PACKED))))
    others = [p.name for p in found if not p.name.lower().endswith((*READERS, *PACKED))]
    if others and endings:
        ways = (f'`file = "{file.rstrip("*")}*{e}"`' for e in endings)
        raise DataError(f"`{file}` matches `{others[0]}` too", help=f"name the ending: {' or '.join(ways)}")
    return found


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(p == x or fnmatchcase(p, x) for p, x in zip(path, pattern, strict=True))


def contents_of(paths: Sequence[Path], instead: Mapping[Path, Path]) -> list[RawFile]:
    """Return the content of files, without those that do not exist.

    Args:
        paths: The files, in their order.
        instead: Copies to read in place of some, by resolved path.

    Raises:
        DataError: A file cannot be read, is of an unsupported format, or they are too large together.
    """
    found, size = list[RawFile](), 0
    for path in paths:
        if path.is_dir():
            raise DataError(f"`{path}` is a folder, not a file", folder=True)
        _endings(path)
        place = instead.get(path.resolve(), path) if instead else path
        try:
            found.append(RawFile(path, place, read_whole(place)))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"cannot read `{path}`: {error.strerror or error}") from error
        except ValueError as error:  # a name that no file can have
            raise DataError(f"`{path}` is not a possible file name: {error}") from error
        size += len(found[-1].raw)
        if size > MAX_FILE:
            raise DataError(f"`{path.name}` and the files before it are larger than {MAX_FILE // 2**20:,} MiB together")
    return found


def read(file: RawFile, layout: Layout, budget: Budget) -> list[Record]:
    """Return the rows of a file; raises DataError.

    Args:
        file: The file.
        layout: How its rows lie in it.
        budget: What the files of its dataset may still take.
    """
    reader = READERS[ending_of(file.path)]
    if layout.delimiter and reader not in _CELLS:
        raise DataError(f"`{file.name}` has no delimiter", help="remove `delimiter`: it is for CSV files",
                        setting="delimiter")  # fmt: skip
    if layout.rows and reader not in _TREES:
        raise DataError(f"`{file.name}` has no place inside that `rows` could name",
                        help="remove `rows`: it is for JSON and YAML files", setting="rows")  # fmt: skip
    content = content_of(file, budget)
    if reader is not read_parquet:
        budget.spend(len(content), file.name)
    return reader(File(file.name, file.place, content, budget), layout)


def content_of(file: RawFile, budget: Budget) -> bytes:
    """Return the content of a file, unpacked; raises DataError if it is damaged or too large."""
    _, packed = _endings(file.path)
    if not packed:
        return file.raw
    try:
        return unpacked(file.raw, packed, budget.left)
    except OSError:
        budget.spend(budget.left + 1, file.name)
        raise
    except ValueError as error:
        raise DataError(f"`{file.name}` cannot be unpacked: {error}", help="copy or download it again") from error


def ending_of(path: Path) -> str:
    """Return the ending of a file's format, without that of a packed file; raises DataError for an unsupported one."""
    return _endings(path)[0]


def _endings(path: Path) -> tuple[str, str]:
    """Return the ending of a format, and that of a packed file or nothing; raises DataError for any other."""
    ending = path.suffix.lower()
    packed = ending if ending in PACKED else ""
    inner = path.with_suffix("").suffix.lower() if packed else ending
    if inner in READERS and not (packed and inner == ".parquet"):
        return inner, packed
    way = next((w for e, w in _OTHERS.items() if e == ending), "").format(path.name)
    shown = f"{inner}{packed}" if packed else ending
    raise DataError(
        f"`{path.name}`: " + (f"`{shown}` files are not supported" if shown else "a file without an ending"),
        help=way or f"supported: {one_of(READERS)}; packed, they end in {' or '.join(f'`{p}`' for p in PACKED)}",
    )
