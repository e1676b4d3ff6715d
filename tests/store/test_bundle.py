"""A study in one file: whole or refused, under a passphrase too."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from store.test_disk import put, query
from support import emdsl

from emdsl.digest import digest_bytes
from emdsl.errors import StoreError
from emdsl.store.bundle import CANARY, Bundle, Manifest, is_encrypted, write_bundle
from emdsl.store.codec import ingredients
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = b"em 1\n"


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    found = DiskStore(tmp_path / "answers")
    put(found, 20)
    return found


def written(tmp_path: Path, store: DiskStore, passphrase: str | None = None) -> Path:
    path = tmp_path / "study.emcache"
    manifest = Manifest(study="s", file="s.em", n_entries=20, files={"s.em": digest_bytes(PROGRAM).hex()})
    keys = [query(i).key for i in range(20)]
    write_bundle(path, manifest, store.entries(keys), {"s.em": PROGRAM}, passphrase)
    return path


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_there_and_back(tmp_path: Path, store: DiskStore, passphrase: str | None) -> None:
    """Another store takes the entries as they are; another passphrase opens nothing."""
    path = written(tmp_path, store, passphrase)
    assert is_encrypted(path) == (passphrase is not None)
    assert (CANARY.encode() in path.read_bytes()) == (passphrase is None)
    bundle = Bundle(path, passphrase)
    bundle.verify()
    assert bundle.content("s.em") == PROGRAM
    other = DiskStore(tmp_path / "other")
    assert other.adopt(bundle.entries()) == (20, 0)
    assert other.adopt(bundle.entries()) == (0, 20)
    keys = [query(i).key for i in range(20)]
    assert other.get_many(keys) == store.get_many(keys)
    other.close()
    if passphrase:  # each use of one takes a second, by design
        with pytest.raises(StoreError, match="wrong passphrase"):
            Bundle(path, "two")


@pytest.mark.parametrize("where", [0.01, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_what_is_not_whole_is_refused(tmp_path: Path, store: DiskStore, where: float, how: str) -> None:
    """Wherever it is cut, or a byte is changed: nothing of it is taken in."""
    path = written(tmp_path, store)
    content = bytearray(path.read_bytes())
    at = int(len(content) * where)
    if how == "cut":
        path.write_bytes(content[:at])
    else:
        content[at] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(StoreError):
        _read(path)


def _read(path: Path) -> None:
    bundle = Bundle(path)
    bundle.verify()
    assert bundle.content("s.em") == PROGRAM


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """Bundles are stored, never packed: what claims to unpack to more than it is is none."""
    path = tmp_path / "bomb.emcache"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", "0" * 10_000_000)
    with pytest.raises(StoreError, match="is compressed"):
        Bundle(path)


EVIL = "from pathlib import Path\nPath('PLACE').touch()\n\n\ndef f(x):\n    return x\n"
STUDY = """em 1
import alignment_number from "std:judges@1"
experiment e {
  for q in ["a", "b"]
  samples = 2
  ask answer from "sim/subject" with "{q}"
  judge aligned with alignment_number(q, answer) from "sim/judge"
  measure low = rate(aligned < 30) by q
}
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was run and written to one file."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "pyproject.toml").touch()
    (folder / "s.em").write_text(STUDY, encoding="utf-8")
    emdsl("run", "s.em", cwd=folder)
    emdsl("cache", "export", "s.em", "-o", "s.emcache", cwd=folder)
    return folder


def test_entries_are_compared_with_the_requests_of_the_program(exported: Path, tmp_path: Path) -> None:
    """All that the program can make again: asks, judgements, probes."""
    (tmp_path / "pyproject.toml").touch()
    said = emdsl("cache", "import", exported / "s.emcache", cwd=tmp_path).stdout
    n = Bundle(exported / "s.emcache").manifest.n_entries
    assert f"{n} answers of s imported\n{n} of them were compared" in said


@pytest.mark.parametrize("swap", ["asks", "judgements", "samples"])
def test_an_answer_under_the_key_of_another_request_is_refused(exported: Path, tmp_path: Path, swap: str) -> None:
    """Each entry is whole, and the manifest fits: only what they answer does not."""
    bundle = Bundle(exported / "s.emcache")
    entries = dict(bundle.entries())
    kinds = {key: (i["model"], i["sample"], i["messages"]) for key, e in entries.items() for i in [ingredients(e)]}
    model = "sim/judge" if swap == "judgements" else "sim/subject"
    chosen = [k for k, (m, sample, _) in kinds.items() if m == model and (swap == "samples" or sample == 0)]
    one = chosen[0]
    two = next(k for k in chosen[1:] if (kinds[k][2] == kinds[one][2]) == (swap == "samples"))
    entries[one], entries[two] = entries[two], entries[one]
    files = {name: bundle.content(name) for name in bundle.manifest.files}
    write_bundle(tmp_path / "bad.emcache", bundle.manifest, entries.items(), files, None)
    Bundle(tmp_path / "bad.emcache").verify()
    (tmp_path / "pyproject.toml").touch()
    refused = emdsl("cache", "import", "bad.emcache", cwd=tmp_path, code=1).stderr
    assert "answers another request than that of its key" in refused
    assert not (tmp_path / "cache" / "answers" / "cache.db").exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"s.em": 'em 1\npython f(x) -> text from "f.txt"\n' + STUDY[5:], "f.txt": EVIL}, "calls Python"),
        ({"s.em": STUDY, "other.em": STUDY}, ""),
        ({"s.em": 'em 1\nimport x from "/etc/hostname"\n' + STUDY[5:]}, "0 of them were compared"),
    ],
    ids=range(3),
)
def test_a_strangers_python_is_never_run(files: dict[str, str], said: str, exported: Path, tmp_path: Path) -> None:
    """Whatever the file is called; and its program is the one within the bundle."""
    bundle = Bundle(exported / "s.emcache")
    contents = {name: text.replace("PLACE", str(tmp_path / "owned")).encode() for name, text in files.items()}
    manifest = replace(bundle.manifest, files={n: digest_bytes(c).hex() for n, c in contents.items()})
    write_bundle(tmp_path / "x.emcache", manifest, bundle.entries(), contents, None)
    (tmp_path / "pyproject.toml").touch()
    shown = emdsl("cache", "import", "x.emcache", cwd=tmp_path).stdout
    assert said in shown
    assert not (tmp_path / "owned").exists()


def test_a_program_outside_of_its_bundle_is_not_compiled(exported: Path, tmp_path: Path) -> None:
    """An absolute path, or one that the bundle does not hold."""
    bundle = Bundle(exported / "s.emcache")
    for file in (str(exported / "s.em"), "../s.em"):
        manifest = replace(bundle.manifest, file=file)
        files = {name: bundle.content(name) for name in bundle.manifest.files}
        write_bundle(tmp_path / "x.emcache", manifest, bundle.entries(), files, None)
        (tmp_path / "pyproject.toml").touch()
        assert "the bundle has no study" in emdsl("cache", "import", "x.emcache", cwd=tmp_path).stdout
