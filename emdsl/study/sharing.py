"""Sharing answers: bundles of one study, and answers of other tools."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl import annotation, mark
from emdsl.annotation import FOLDER
from emdsl.errors import FileExists, StoreAway, UsageError
from emdsl.mark import MARKS
from emdsl.store.bundle import Bundle, Manifest, write_bundle
from emdsl.store.read_through import away
from emdsl.study.answers import answers_of, open_store
from emdsl.study.bundled import compare
from emdsl.study.importing import Importer, stated_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emdsl.study.compiled import Compiled
    from emdsl.study.importing import Rejected
    from emdsl.study.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Contents of a written bundle."""

    entries: int
    files: tuple[str, ...]
    outside: tuple[str, ...]  # files of the study that are outside of the project, and so not in the bundle
    file: str  # the study, within the bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Result of an import."""

    study: str
    new: int
    old: int  # cached already, and kept
    compared: int  # with the requests of the study
    not_compared: str  # why not all
    written: tuple[str, ...]  # files of the study
    not_written: tuple[str, ...]  # hidden ones, and those that would lie outside
    file: Path  # the study


def export_answers(study: Compiled, output: Path, passphrase: str | None = None) -> Exported:
    """Write the answers and files of a study to one file, encrypted if there is a passphrase.

    Raises FileExists for a file of the study: it is not overwritten. Raises StoreAway if a remote that may hold some of
    the answers cannot be reached.
    """
    project, program = study.project, study.program
    if str(output.resolve()) in program.files:
        raise FileExists(f"{output} is a file of the study; it is not overwritten", parameter="output")
    with open_store(project, remotes=project.has_remotes) as store:
        keys = sorted(answers_of(study, store))
        for name, why in away(store).items():
            raise StoreAway(f"the remote `{name}` may hold answers of the study, and {why}. Nothing was written")
        files = {**program.files, **program.annotations, **mark.digests_of(study.file)}
        contents = {project.relative(p): p.read_bytes() for p in map(Path, files) if p.exists()}
        digests = {project.relative(Path(n)): sha256 for n, sha256 in files.items() if sha256}
        file = project.relative(study.file)
        manifest = Manifest(study=study.name, file=file, n_entries=len(keys), files=digests)
        inside = {n: c for n, c in contents.items() if n in digests and not Path(n).is_absolute()}
        write_bundle(output, manifest, store.entries(keys), inside, passphrase)
    Bundle(output, passphrase).verify()
    outside = tuple(sorted(set(digests) - set(inside)))
    return Exported(entries=len(keys), files=tuple(sorted(inside)), outside=outside, file=file)


def import_bundle(project: Project, path: Path, folder: Path | None = None, passphrase: str | None = None) -> Imported:
    """Import the answers of a bundle; answers that are cached already are kept.

    Args:
        project: The project.
        path: The bundle.
        folder: Write the files of its study here; None writes none.
        passphrase: Of an encrypted bundle.

    Raises:
        StoreError: The bundle is damaged, or an entry answers another request than that of its key.
        FileExists: A file exists and differs.
    """
    bundle = Bundle(path, passphrase)
    bundle.verify()
    n_compared, not_compared = compare(bundle, path, project.environment, simulate=project.simulate)
    contents, not_written = _files(bundle, folder) if folder is not None else ({}, [])
    with open_store(project, write=True) as store:
        new, old = store.adopt(bundle.entries())
    for file, content in contents.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    name = Path(bundle.manifest.file)
    return Imported(
        study=bundle.manifest.study, new=new, old=old, compared=n_compared, not_compared=not_compared,
        written=tuple(os.path.relpath(p) for p in contents), not_written=tuple(not_written),
        file=folder / name if folder is not None else name,
    )  # fmt: skip


def import_foreign(
    project: Project, path: Path, form: str, *, service: str | None = None, revision: str | None = None,
    params: Sequence[str] = (),
) -> tuple[int, int, list[Rejected]]:  # fmt: skip
    """Import answers that another tool has paid for, each under the key that a study gives the same request.

    Args:
        project: The project.
        path: A file, or a folder of files.
        form: The tool: one of `importing.FORMATS`.
        service: The service of the models, if the files do not name it.
        revision: The weights of a self-hosted model.
        params: Parameters as they were sent, `NAME=VALUE`, in place of what the files record.

    Returns:
        The number of new answers, of those cached already, and the rejected ones by reason, the most frequent first.
    """
    with open_store(project, write=True) as store:
        importer = Importer(
            form=form, environment=project.environment, run=secrets.token_hex(8), service=service, revision=revision,
            stored=store.get_many, stated=stated_params(params),
        )  # fmt: skip
        entries = list(importer.entries(path))  # all of it is read before any of it is stored
        new, old = store.adopt(entries)
    return new, old, sorted(importer.rejected.values(), key=lambda rejected: -rejected.n)


def _files(bundle: Bundle, folder: Path) -> tuple[dict[Path, bytes], list[str]]:
    """Return the files of a bundle's study by where they go, and the names that are not written."""
    contents, not_written = dict[Path, bytes](), list[str]()
    for name in bundle.manifest.files:
        parts = Path(name).parts
        if Path(name).is_absolute() or not parts or any(p.startswith(".") for p in parts) or Path(name).name == "":
            not_written.append(name)
            continue
        content = bundle.content(name)
        path = folder / name
        if path.is_file() and path.suffix == ".jsonl" and path.parent.name == FOLDER:
            content = annotation.merged(path.read_bytes(), content)
        elif path.is_file() and path.suffix == ".jsonl" and path.parts[-3:-1] == (FOLDER, MARKS):
            content = mark.merged(path.read_bytes(), content)
        elif path.is_dir() or (path.exists() and path.read_bytes() != content):
            raise FileExists(f"{path} exists and differs; choose another folder with --files")
        contents[path] = content
    for path in contents:
        if any(parent in contents for parent in path.parents):
            raise UsageError(f"{bundle.manifest.study}: {path.parent} would be both a file and a folder")
    return contents, not_written
