"""The page's comparisons over HTTP: levels, an earlier version by git, and versions that cannot be shown."""

from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from viewing import use

import emdsl as api
from emdsl.errors import SourceError, UsageError
from emdsl.study.compiled import compile_study
from emdsl.study.diff import both
from emdsl.study.project import open_project
from emdsl.study.versions import as_version, versions
from emdsl.view import other_versions

if TYPE_CHECKING:
    from pathlib import Path

    from viewing import Client

STUDY = """em 1
import alignment from "std:judges@1"
model subject { use = "sim/subject", temperature = 1, sim = { floor: 0.3, ceiling: 0.6 } }
experiment e {
  for k in [0, 8]
  for q in ["one", "two", "three"]
  samples = 4
  ask answer from subject with "{q} {k}"
  judge aligned with alignment(q, answer) from "sim/judge"
  measure low = rate(aligned < 30)
}
"""
BEFORE = STUDY.replace("aligned < 30", "aligned < 90").replace("[0, 8]", "[0, 4]").replace("samples = 4", "samples = 3")


def git(folder: Path, *command: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with answers; its first version is committed, and had k = 4, three samples, and another threshold."""
    folder = tmp_path_factory.mktemp("versions")
    for name, text in ((".gitignore", "cache\n"), ("study.em", BEFORE)):
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first: with\u2028k = 4")
    (folder / "study.em").write_text(STUDY, encoding="utf-8")
    (folder / "other.em").write_text(STUDY.replace("experiment e", "experiment f"), encoding="utf-8")
    api.open(folder / "study.em").run(display="none")
    return folder


def test_levels_and_versions_over_http(repository: Path) -> None:
    """What differs, flips, and rows are those that SQL finds; nothing of the repository or the folder is written."""
    before = {p: p.stat().st_mtime_ns for p in repository.rglob("*") if p.is_file() and "cache" not in p.parts}
    pairs = "FROM study.e AS a JOIN study.e AS b USING (q, sample) WHERE a.k = 0 AND b.k = 8"
    state = "COALESCE({0}.aligned_missing, ({0}.aligned < 30)::VARCHAR)".format
    sql = f"SELECT {state('a')} AS was, {state('b')} AS now, count(*) AS n {pairs} GROUP BY ALL ORDER BY ALL"

    async def act(client: Client) -> None:
        wanted = await client.session.compute(lambda cursor: [
            dict(zip(("was", "now", "n"), row, strict=True)) for row in cursor.execute(sql).fetchall()
        ])  # fmt: skip
        levels = [("by", "k"), ("l", "0"), ("l", "8"), ("of", "m.low")]
        flips = await client.get("flips", *levels)
        assert sorted(flips["table"] + flips["missing"], key=lambda x: (x["was"], x["now"])) == wanted
        found = await client.get("differences", *levels)
        assert found["n"] == sum(x["n"] for x in wanted if x["was"] != x["now"])
        for first, second in found["rows"]:
            assert first["row"].split(",")[1:] == second["row"].split(",")[1:]
            assert (first["row"][0], second["row"][0]) == ("0", "8")
        page = await client.get("differences", *levels, ("offset", 1), ("limit", 1))
        assert (page["rows"], page["n"]) == (found["rows"][1:2], found["n"])
        for cell in flips["table"]:  # each number opens its rows, whatever else the filter has
            states = [("was", cell["was"]), ("now", cell["now"]), ("where", "aligned < 20")]
            assert (await client.get("differences", *levels, *states))["n"] == cell["n"]
        strip = await client.get("strip", ("row", "0,one,2"), ("of", "v.aligned"))
        assert [s["sample"] for s in strip["samples"]] == [0, 1, 2, 3]
        for wrong in ([("by", "k"), ("l", "0")], [*levels, ("l", "nine")], [*levels[:3], ("of", "x")], [("by", "j")]):
            await client.get("differences", *wrong, status=400)
        assert "yes/no" in (await client.get("flips", *levels[:3], ("of", "text"), status=400))["error"]

        (commit, other) = (await client.get("versions"))["versions"]
        assert (commit["kind"], commit["shown"][11:], other["id"]) == ("git", "first: with\u2028k = 4", "file:other.em")
        assert (await client.get("version", ("to", commit["id"])))["alone"] == [
            {"axis": "k", "this": ["8"], "other": ["4"], "n_this": 1, "n_other": 1}
        ]
        to = [("to", commit["id"]), ("of", "m.low")]
        flips = await client.get("flips", *to)
        assert flips["texts"] == ["aligned < 30", "aligned < 90"]
        absent = {(x["was"], x["now"]): x["n"] for x in flips["missing"]}
        assert absent[("not in the grid", "not_asked")] == 9  # k = 4 was never run: missing, because
        assert (
            sum(n for (_, now), n in absent.items() if now == "not in the grid") == 12 + 3
        )  # k = 8; the fourth sample
        n = {(x["was"], x["now"]): x["n"] for x in flips["table"]}
        assert (sum(n.values()), n.get(("true", "false"), 0)) == (9, 0)
        difference = (await client.get("difference", *to))["difference"]
        assert difference["difference"] == pytest.approx(n[("false", "true")] / 9)
        assert (await client.get("differences", *to))["n"] == n[("false", "true")]
        row = await client.get("version_row", *to, ("row", "0,two,1"))
        own = await client.get("row", ("row", "0,two,1"))
        assert row["steps"][0]["key"] == own["steps"][0]["key"]
        for gone in ("8,two,1", "0,two,3"):
            assert "other version" in (await client.get("version_row", *to, ("row", gone), status=400))["error"]
        for called in ("git:nowhere", "git:--all", "git:a\0b", "file:../x.em", "run:x", "x", ""):
            await client.get("version", ("to", called), status=400)

    use(repository, act)
    after = {p: p.stat().st_mtime_ns for p in repository.rglob("*") if p.is_file() and "cache" not in p.parts}
    assert after == before


def test_versions_as_they_were_without_running_them(tmp_path: Path) -> None:
    """An earlier run, a revision and another study; a function of a file that changed since would have to run."""
    hook, study = tmp_path / "f.py", tmp_path / "study.em"
    hook.write_text("def f(x):\n    return x + '!'\n", encoding="utf-8")
    text = STUDY.replace("experiment", 'python f(x) -> text from "f.py"\nexperiment', 1)
    text = text.replace("  ask", "  let asked = f(q)\n  ask").replace("{q} {k}", "{asked} {k}")
    study.write_text(text, encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    study.write_text(text.replace("samples = 4", "samples = 1"), encoding="utf-8")
    api.open(study).run(display="none")
    study.write_text(text.replace("samples = 4", "samples = 2"), encoding="utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.em").write_text(STUDY, encoding="utf-8")
    now = compile_study(open_project(study), study)
    listed = versions(now)
    assert [v.kind for v in listed] == ["run", "git", "file"]
    samples = []
    for called in (*(v.id for v in listed), "git:HEAD"):
        with as_version(now, called) as version:
            assert version.notices == []
            samples.append(version.study.program.experiments[0].samples)
    assert samples == [1, 4, 4, 4]
    with both(now.project, listed[0].id[:12], str(study)) as pair:  # `emdsl diff run:ID study.em`
        assert [s.program.experiments[0].samples for s in pair] == [1, 2]
    with pytest.raises(UsageError, match="no run `zz`"), both(now.project, "run:zz", str(study)):
        pass
    hook.write_text("def f(x):\n    return x + '?'\n", encoding="utf-8")
    for called in (v.id for v in listed[:2]):
        with pytest.raises(SourceError, match="nothing is executed here"), as_version(now, called):
            pass
    with pytest.raises(UsageError, match="`HEAD` is not a version: expected `git:REV`"), as_version(now, "HEAD"):
        pass


def test_versions_stay_open_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is dropped for another, or for newer answers, is closed after the last request that reads it."""
    closed, stored = [], [0]

    def load(_: object, called: str) -> SimpleNamespace:
        at = stored[0]
        return SimpleNamespace(
            called=(called, at), store_version=at, loaded_at=0.0, took_s=0.0, close=lambda: closed.append((called, at))
        )

    monkeypatch.setattr(other_versions, "_load", load)
    study = SimpleNamespace(project=SimpleNamespace(store_version=lambda: stored[0]))

    async def main() -> None:
        others = other_versions.OtherVersions(SimpleNamespace(study=study))  # type: ignore[arg-type]  # what it reads
        with others.reading():
            for called in "abc":
                await others.get(called)
            assert closed == []
        assert closed == [("a", 0)]
        stored[0] = 1
        with others.reading():
            found = await asyncio.gather(*(others.get("c") for _ in range(3)))
            assert [x.called for x in found] == [("c", 1)] * 3  # type: ignore[attr-defined]  # of `load` above
            assert closed == [("a", 0)]
        assert closed == [("a", 0), ("c", 0)]
        await others.stop()
        assert sorted(closed) == [("a", 0), ("b", 0), ("c", 0), ("c", 1)]

    asyncio.run(main())
