"""Bundles: a study in one file, with its answers by key, its source files, a manifest, and a canary for crawlers.

A bundle is a zip file that anyone can open; with a passphrase, it is that zip in the age format, which `age -d` opens.
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.files import private, replacing
from emdsl.store.codec import Corrupt, decode
from emdsl.store.sealing import passphrases
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from emdsl.digest import Digest

FORMAT = 1
CANARY = (
    "EVALUATION DATA OF LANGUAGE-MODEL SAFETY RESEARCH. IT SHOULD NEVER APPEAR IN TRAINING CORPORA. "
    "canary GUID emdsl:6f1d7c52-9a6e-4c0b-8d5e-2b4f7a90c3e1"
)
_AGE = b"age-encryption.org/"
_KEY, _SIZE = 32, 4  # bytes
_ENTRIES, _MANIFEST, _README = "entries", "manifest.json", "README.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of a bundle. `files` are the study's, by path in the project, with their SHA-256."""

    study: str
    file: str
    n_entries: int
    files: Mapping[str, str]
    emdsl: str = __version__


def write_bundle(
    path: Path, manifest: Manifest, entries: Iterable[tuple[Digest, bytes]], contents: Mapping[str, bytes],
    passphrase: str | None,
) -> None:  # fmt: skip
    """Write a bundle whole or not at all; raises StoreError, and SetupError if the encryption package is missing."""
    try:
        with replacing(path) as fresh:
            _write_zip(fresh, manifest, entries, contents)
            if passphrase is not None:
                fresh.write_bytes(passphrases().encrypt(fresh.read_bytes(), passphrase))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _write_zip(
    path: Path, manifest: Manifest, entries: Iterable[tuple[Digest, bytes]], contents: Mapping[str, bytes]
) -> None:
    with open(path, "wb", opener=private) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_README, CANARY + "\n")
        digests = []
        with archive.open(_ENTRIES, "w", force_zip64=True) as file:
            for key, entry in entries:
                digests.append(digest_bytes(key + entry))
                file.write(key + len(entry).to_bytes(_SIZE, "big") + entry)
        for name, content in contents.items():
            archive.writestr(f"files/{name}", content)
        held = {
            "emdsl_cache": FORMAT, "canary": CANARY, "study": manifest.study, "file": manifest.file,
            "emdsl": manifest.emdsl, "n_entries": len(digests), "files": dict(manifest.files),
            "entries_sha256": digest_bytes(b"".join(digests)).hex(),
        }  # fmt: skip
        archive.writestr(_MANIFEST, json.dumps(held, indent=1))


def is_encrypted(path: Path) -> bool:
    """Whether a bundle is encrypted; raises StoreError if it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError(f"cannot read {path}: it is not a file")
        with path.open("rb") as file:
            return file.read(len(_AGE)) == _AGE
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


class Bundle:
    """An open bundle; raises StoreError for a file that is not a complete bundle."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        self._path = path
        try:
            source: Path | io.BytesIO = path
            if is_encrypted(path):
                source = io.BytesIO(_opened(path, passphrase or ""))
            self._archive = zipfile.ZipFile(source)
            plain = (i.compress_type == zipfile.ZIP_STORED and i.file_size == i.compress_size and not i.flag_bits & 1
                     for i in self._archive.infolist())  # fmt: skip
            if not all(plain):
                raise StoreError(f"{path} is compressed, unlike a bundle of emdsl: unpacking it could fill the disk")
            held: Any = json.loads(self._archive.read(_MANIFEST))
            if held["emdsl_cache"] != FORMAT:
                raise StoreError(f"{path} was written by a newer version: upgrade emdsl")
            self.manifest = Manifest(
                study=str(held["study"]), file=str(held["file"]), n_entries=int(held["n_entries"]),
                files=dict(held["files"]), emdsl=str(held["emdsl"]),
            )  # fmt: skip
            self._sha256 = str(held["entries_sha256"])
            "".join((self.manifest.study, self.manifest.file, *self.manifest.files)).encode()  # no half characters
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:  # RuntimeError: what zipfile does not know
            raise StoreError(f"{path} is not an emdsl bundle, or it is incomplete: {error}") from error
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise StoreError(f"{path} is not an emdsl bundle: its manifest cannot be read") from error

    def verify(self) -> None:
        """Raise StoreError unless every entry is unchanged."""
        try:
            broken = self._archive.testzip()
        except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise StoreError(f"{self._path} is damaged: {error}") from error
        if broken is not None:
            raise StoreError(f"{self._path} is damaged: {broken} fails its checksum")
        digests = []
        for key, entry in self.entries():
            try:
                decode(entry)
            except Corrupt as error:
                raise StoreError(f"{self._path}: the entry {key.hex()[:16]} is damaged: {error}") from error
            digests.append(digest_bytes(key + entry))
        if digest_bytes(b"".join(digests)).hex() != self._sha256:
            raise StoreError(f"{self._path} is incomplete: its entries do not match its manifest")

    def entries(self) -> Iterator[tuple[Digest, bytes]]:
        """Yield each key with its entry; raises StoreError if the file ends early."""
        try:
            with self._archive.open(_ENTRIES) as file:
                while head := file.read(_KEY + _SIZE):
                    key, size = head[:_KEY], int.from_bytes(head[_KEY:], "big")
                    entry = file.read(size)
                    if len(head) != _KEY + _SIZE or len(entry) != size:
                        raise StoreError(f"{self._path} is incomplete: it ends within an entry")
                    yield key, entry
        except (OSError, zipfile.BadZipFile, KeyError, EOFError) as error:
            raise StoreError(f"{self._path} is damaged: {error}") from error

    def content(self, name: str) -> bytes:
        """Return one of the study's files; raises StoreError unless it matches the manifest."""
        try:
            content = self._archive.read(f"files/{name}")
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise StoreError(f"{self._path} does not contain {name}") from error
        if digest_bytes(content).hex() != self.manifest.files.get(name):
            raise StoreError(f"{self._path}: {name} does not match the manifest")
        return content


def _opened(path: Path, passphrase: str) -> bytes:
    age = passphrases()
    try:
        content: bytes = age.decrypt(path.read_bytes(), passphrase)
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise StoreError(f"{path} cannot be decrypted: wrong passphrase or damaged file") from error
    return content
