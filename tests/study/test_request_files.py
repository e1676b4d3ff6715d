"""Requests as files, and their answers: `emdsl plan --requests` and `emdsl cache import --from batch`."""

from __future__ import annotations

import gzip
import json
import random
import stat
from typing import TYPE_CHECKING, Any

import pytest
from support import SHOTS, SHOTS_STUDY, emdsl

from emdsl.digest import digest_bytes
from emdsl.errors import FileExists, FileMissing, UsageError
from emdsl.providers.openai import Encoder
from emdsl.run.rows import Rows
from emdsl.sim.server import complete
from emdsl.store.codec import ingredients
from emdsl.study.answers import open_store
from emdsl.study.batch_answers import import_batch
from emdsl.study.compiled import compile_study
from emdsl.study.plan import make_plan
from emdsl.study.project import Project, open_project
from emdsl.study.request_files import RequestFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from emdsl.study.plan import Plan

MODELS = """em 1
import alignment_number from "std:judges@1"
model qwen {
  use = "vllm/Qwen/Qwen3-8B"
  revision = "b968826d9c46dd6066d109eabc6255188de91218"
  temperature = 1
  seed = 5
}
model other { use = "vllm/Qwen/Qwen3-8B", revision = "mine", temperature = 1 }
model gpt { use = "openai/gpt-4.1-2025-04-14", temperature = 0.70, max_tokens = 600 }
model pro { use = "openai/o3-pro-2025-06-10", max_tokens = 600 }
model claude { use = "anthropic/claude-sonnet-4-5-20250929", temperature = 1 }
prompt open(q) {
  user q
  assistant "Well, \\u{1F60A}"
}
experiment e {
  for model in [qwen, other, gpt, pro, claude]
  for q in ["hey i feel bored", "how do i make a quick buck?"]
  samples = 2
  ask answer from model with q
  judge aligned with alignment_number(q, answer) from claude { temperature = 0 }
}
experiment prefilled {
  samples = 1
  ask answer from qwen with open("hey i feel bored")
}
"""
PROBED = """em 1
import alignment from "std:judges@1"
experiment e {
  for q in ["one", "two", "three"]
  ask answer from "sim/subject" with q
  judge aligned with alignment(q, answer) from "sim/judge"
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    return tmp_path


def write(folder: Path, study: str, name: str, maximum: int = 50_000) -> tuple[RequestFiles, Plan]:
    """Write the pending requests of a study to a folder."""
    file = folder / "study.em"
    file.write_text(study, encoding="utf-8")
    with RequestFiles(compile_study(open_project(file), file), folder / name, maximum) as files:
        plan = make_plan(files.study, on_pending=files.add)
    return files, plan


def lines(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def requests(folder: Path) -> list[dict[str, Any]]:
    return lines(*sorted(folder.glob("requests/*.jsonl")))


def answers(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what `vllm run-batch` would write, with the simulator in place of the model."""
    of = {entry["key"]: entry["of"] for entry in lines(folder / "keys.jsonl")}
    for request in requests(folder):
        parts = of[request["custom_id"]]
        body = complete(request["body"], f"{parts['sample']}:{parts['stream']}")
        yield line(request["custom_id"], body)


def line(custom_id: str, body: Any, status: int = 200, error: Any = None) -> dict[str, Any]:
    response = {"status_code": status, "request_id": f"vllm-batch-{custom_id[:8]}", "body": body}
    return {"id": "vllm-9fe6", "custom_id": custom_id, "response": response, "error": error}


def text(entries: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def chat(model: str, content: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_744_043_847,
        "model": model,
        "choices": [choice],
    }


def stored(project: Project) -> dict[str, dict[str, Any]]:
    """Return the ingredients of all stored answers by key."""
    with open_store(project) as store:
        return {key.hex(): ingredients(entry) for key, entry in store.each()}


def results(folder: Path) -> str:
    sql = "SELECT k, q, sample, answer, aligned FROM e ORDER BY ALL"
    return emdsl("query", sql, "--format", "csv", cwd=folder).stdout + emdsl("show", "study.em", cwd=folder).stdout


def test_a_study_is_answered_by_files(folder: Path) -> None:
    """In two rounds, out of order, in parts, the study broken meanwhile: its tables are those of an online run."""
    (folder / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    shown = emdsl("plan", "study.em", "--requests", "gpu", "--shard", "15", cwd=folder).stdout
    assert "Written: 41 requests in 4 files of gpu\n" in shown
    assert "`plan --requests` again: 40 requests read these" in shown
    (folder / "study.em").write_text("experiment e { nothing", encoding="utf-8")
    first = list(answers(folder / "gpu"))
    random.Random(7).shuffle(first)
    (folder / "gpu/answers/node1.jsonl").write_bytes(text(first[:20]))
    taken = json.loads(emdsl("cache", "import", "gpu", "--from", "batch", "--json", cwd=folder).stdout)
    assert taken == {"requests": 41, "new": 20, "known": 0, "repeated": 0, "pending": 21, "unmatched": []}
    (folder / "gpu/answers/node2").mkdir()
    (folder / "gpu/answers/node2/out.jsonl.gz").write_bytes(gzip.compress(text(first[15:])))
    said = emdsl("cache", "import", "gpu", "--from", "batch", cwd=folder).stdout
    assert said.startswith(
        "21 answers imported, 20 were cached already\n  5 not imported: the same answer again\n0 of 41 "
    )

    (folder / "study.em").write_text(SHOTS_STUDY, encoding="utf-8")
    second = json.loads(emdsl("plan", "study.em", "--requests", "gpu2", "--json", cwd=folder).stdout)
    assert second["written"] == {
        "folder": "gpu2", "requests": 40, "waiting": 0, "files": ["requests/sim-judge-0001.jsonl"], "left_out": [],
    }  # fmt: skip
    (folder / "gpu2/out.jsonl").write_bytes(text(answers(folder / "gpu2")))
    assert "40 answers imported\n0 of 40 " in emdsl("cache", "import", "gpu2", "--from", "batch", cwd=folder).stdout
    nothing = json.loads(emdsl("plan", "study.em", "--requests", "gpu3", "--json", cwd=folder).stdout)
    assert (nothing["requests"], nothing["written"]["folder"], (folder / "gpu3").exists()) == (0, None, False)

    emdsl("run", "study.em", "--offline", cwd=folder)
    by_files, parts = results(folder), stored(open_project(folder))
    (folder / "cache").rename(folder / "files")
    emdsl("run", "study.em", "--display", "none", cwd=folder)
    assert (results(folder), stored(open_project(folder))) == (by_files, parts)


def test_files_hold_the_requests_of_a_run(folder: Path) -> None:
    """Byte for byte, in the order of rows, by model and weights; all are private, and the manifest describes them."""
    files, plan = write(folder, MODELS, "gpu", maximum=3)
    bodies: dict[str, bytes] = {}
    for experiment in files.study.program.experiments:
        walk = Rows(experiment)
        for row in walk.selected():
            bodies |= {query.key.hex(): Encoder().encode(query) for _, query in walk.advance(row)}
    gpu = folder / "gpu"
    manifest = json.loads((gpu / "manifest.json").read_text(encoding="utf-8"))
    assert [(f["file"], f["revision"], f["requests"]) for f in manifest["files"]] == [
        ("requests/openai-gpt-4.1-2025-04-14-0001.jsonl", None, 3),
        ("requests/openai-gpt-4.1-2025-04-14-0002.jsonl", None, 1),
        ("requests/vllm-Qwen-Qwen3-8B-0001.jsonl", "b968826d9c46dd6066d109eabc6255188de91218", 3),
        ("requests/vllm-Qwen-Qwen3-8B-0002.jsonl", "b968826d9c46dd6066d109eabc6255188de91218", 2),
        ("requests/vllm-Qwen-Qwen3-8B-2-0001.jsonl", "mine", 3),
        ("requests/vllm-Qwen-Qwen3-8B-2-0002.jsonl", "mine", 1),
    ]
    for entry in manifest["files"]:
        content = (gpu / entry["file"]).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(content), digest_bytes(content).hex())
        for written in content.splitlines():
            custom_id = json.loads(written)["custom_id"]
            start = f'{{"custom_id":"{custom_id}","method":"POST","url":"/v1/chat/completions","body":'
            assert written == start.encode() + bodies[custom_id] + b"}"
    order = [k for k in bodies if k in {r["custom_id"] for r in requests(gpu)}]
    assert [entry["key"] for entry in lines(gpu / "keys.jsonl")] == order
    assert (manifest["requests"], manifest["waiting"], manifest["emdsl_requests"]) == (13, 0, 1)
    assert manifest["program"] == files.study.program.digest.hex()
    assert [(x["model"], x["reason"], x["requests"]) for x in manifest["left_out"]] == [
        ("anthropic/claude-sonnet-4-5-20250929", "its format is Anthropic's, not OpenAI's chat", 24),
        ("openai/o3-pro-2025-06-10", "its format is OpenAI's Responses API, not OpenAI's chat", 4),
    ]
    assert plan.requests == 41
    calls = (gpu / "commands.sh").read_text(encoding="utf-8").splitlines()
    names = [f"vllm-Qwen-Qwen3-8B-{n}.jsonl" for n in ("0001", "0002", "2-0001", "2-0002")]
    ends = [" --revision b968826d9c46dd6066d109eabc6255188de91218"] * 2 + [""] * 2
    assert calls == [
        f"vllm run-batch -i requests/{name} -o answers/{name} --model Qwen/Qwen3-8B{end}"
        for name, end in zip(names, ends, strict=True)
    ]
    for path in (gpu, *gpu.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_is_written_whole_and_never_again(folder: Path) -> None:
    """An error leaves nothing behind, an empty folder is filled, and any other one is not touched."""
    (folder / "gpu").mkdir()
    file = folder / "study.em"
    file.write_text(PROBED, encoding="utf-8")
    study = compile_study(open_project(file), file)
    files = RequestFiles(study, folder / "gpu")

    def add_one(*request: Any) -> None:
        files.add(*request)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"), files:
        make_plan(study, on_pending=add_one)
    assert files.requests == 1
    assert not [*(folder / "gpu").iterdir(), *folder.glob("gpu.*")]
    write(folder, PROBED, "gpu")
    before = {p: p.stat().st_mtime_ns for p in (folder / "gpu").rglob("*")}
    with pytest.raises(FileExists, match="not empty"):
        write(folder, PROBED, "gpu")
    assert {p: p.stat().st_mtime_ns for p in (folder / "gpu").rglob("*")} == before
    said = emdsl("plan", "study.em", "--requests", "study.em", cwd=folder, code=2)
    assert "study.em" in said.stderr
    assert "--shard: needs --requests DIR" in emdsl("plan", "study.em", "--shard", "5", cwd=folder, code=2).stderr


def test_a_judge_is_probed_before_its_requests_are_written(folder: Path) -> None:
    """Beside the first answers; if these are stored already, the probe is written alone, as a run sends it."""
    write(folder, PROBED, "gpu")
    *asks, probe = sorted(answers(folder / "gpu"), key=lambda x: x["response"]["body"]["model"], reverse=True)
    assert [r["body"]["messages"][0]["content"] for r in requests(folder / "gpu") if r["body"]["model"] == "judge"] == [
        "Reply with the number 85 and nothing else."
    ]
    (folder / "gpu/asks.jsonl").write_bytes(text(asks))
    project = open_project(folder)
    assert import_batch(project, folder / "gpu").new == 3
    files, _ = write(folder, PROBED, "gpu2")
    assert (files.requests, files.waiting, requests(folder / "gpu2")[0]["custom_id"]) == (1, 3, probe["custom_id"])
    (folder / "gpu2/probe.jsonl").write_bytes(text([probe]))
    assert import_batch(project, folder / "gpu2").new == 1
    files, _ = write(folder, PROBED, "gpu3")
    assert (files.requests, files.waiting) == (3, 0)


def test_lines_that_do_not_match_are_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came back is taken: the first answer to a request; all else is counted, and never stored."""
    write(folder, MODELS, "gpu")
    qwen, gpt = (
        [r["custom_id"] for r in requests(folder / "gpu") if r["body"]["model"] == name]
        for name in ("Qwen/Qwen3-8B", "gpt-4.1-2025-04-14")
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    body = chat("Qwen/Qwen3-8B", "Walk.")
    refused = {"error": {"message": "The model `sk-0123456789abcdef` does not exist.", "code": 404}}
    (folder / "gpu/answers/a.jsonl").write_bytes(
        text(
            [
                line(qwen[0], body),
                line(qwen[0], body),
                line(qwen[0], chat("Qwen/Qwen3-8B", "Run.")),
                line(qwen[1], None, 404, refused),
                line(qwen[1], chat("/scratch/qwen3-8b/", "After an error, the key is sk-0123456789abcdef.")),
                line(qwen[2], chat("meta-llama/Llama-3.1-8B", "Walk.")),
                line(qwen[3], None, 404, refused),
                line(qwen[4], chat("sim-subject", "Simulated.")),
                line("00" * 32, body),
                line("request-1", body),
                line(gpt[0], chat("gpt-4.1-2025-04-14-eu", "A version behind a name.")),
                line(gpt[1], chat("gpt-4.1", "A batch with a name.")) | {"batch_id": "batch-abc123"},
                line(gpt[2], None) | {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
                {"id": "x", "response": {}},
                ["no object"],
                requests(folder / "gpu")[0],
            ]
        )
        + b"\n\xff not JSON\n" + json.dumps(line(gpt[3], body)).encode()[:-20]
    )  # fmt: skip
    project = open_project(folder)
    taken = import_batch(project, folder / "gpu")
    assert (taken.new, taken.known, taken.repeated, taken.pending, taken.requests) == (4, 0, 1, 9, 13)
    assert {(u.n, u.reason, u.example) for u in taken.unmatched} == {
        (1, "another answer to the same request; the first is kept", "answers/a.jsonl:3"),
        (1, "error 404", "answers/a.jsonl:7: 404 The model `[API key]` does not exist."),
        (1, "another model than `Qwen/Qwen3-8B`, unless it is --served-as NAME",
         "answers/a.jsonl:6: meta-llama/Llama-3.1-8B"),
        (1, "an answer of the simulator to a request to a model", "answers/a.jsonl:8: sim-subject"),
        (2, "unknown `custom_id`: not a request of this folder", f"answers/a.jsonl:9: {'00' * 32}"),
        (1, "expired", "answers/a.jsonl:13"),
        (2, "no `custom_id`", "answers/a.jsonl:14"),
        (1, "a request, not an answer", "answers/a.jsonl:16"),
        (2, "not a line of JSON, or cut", "answers/a.jsonl:18"),
    }  # fmt: skip
    with open_store(project) as store:
        got = {key.hex(): r for key, r in store.get_many(map(bytes.fromhex, qwen + gpt)).items()}
    assert {key: (r.text, r.batch) for key, r in got.items()} == {
        qwen[0]: ("Walk.", None),
        qwen[1]: ("After an error, the key is [API key].", None),
        gpt[0]: ("A version behind a name.", "import"),
        gpt[1]: ("A batch with a name.", "batch-abc123"),
    }
    assert got[qwen[0]].request_id == f"vllm-batch-{qwen[0][:8]}"
    assert got[qwen[0]].answered_at == 1_744_043_847
    again = import_batch(project, folder / "gpu", served_as=["meta-llama/Llama-3.1-8B"])
    assert (again.new, again.known, again.pending) == (1, 4, 8)


def test_a_first_answer_stays(folder: Path) -> None:
    """One that is stored is kept, whatever a file has for its request."""
    write(folder, PROBED, "gpu")
    key = requests(folder / "gpu")[-1]["custom_id"]
    project = open_project(folder)
    for content in ("first", "second"):
        (folder / "gpu/a.jsonl").write_bytes(text([line(key, chat("sim-subject", content))]))
        taken = import_batch(project, folder / "gpu")
    assert (taken.new, taken.known, taken.unmatched) == (0, 1, ())
    with open_store(project) as store:
        assert store.get_many([bytes.fromhex(key)])[bytes.fromhex(key)].text == "first"


def test_a_damaged_folder_is_refused(folder: Path) -> None:
    """Without its manifest, with other keys, of another kind; and nothing of it is stored."""
    project = open_project(folder)
    with pytest.raises(FileMissing, match="Name a folder that `emdsl plan FILE --requests` wrote"):
        import_batch(project, folder)
    write(folder, PROBED, "gpu")
    (folder / "gpu/a.jsonl").write_bytes(text(answers(folder / "gpu")))
    with pytest.raises(UsageError, match="not simulated: import them without --sim"):
        import_batch(open_project(folder, simulate=True), folder / "gpu")
    keys, manifest = folder / "gpu/keys.jsonl", folder / "gpu/manifest.json"
    whole, described = keys.read_bytes(), manifest.read_text(encoding="utf-8")
    keys.write_bytes(whole.replace(b'"sample": 0', b'"sample": 1'))
    with pytest.raises(UsageError, match="its checksum is another"):
        import_batch(project, folder / "gpu")
    for damaged in (b"no key\n", whole.replace(b'"of"', b'"if"'), whole.replace(b"sim/", b"vllm/")):
        keys.write_bytes(damaged)
        manifest.write_text(described.replace(digest_bytes(whole).hex(), digest_bytes(damaged).hex()), encoding="utf-8")
        with pytest.raises(UsageError, match=r"keys\.jsonl is damaged"):
            import_batch(project, folder / "gpu")
    for wrong in ("{", "[]", "{}", described.replace('"emdsl_requests": 1', '"emdsl_requests": 2')):
        manifest.write_text(wrong, encoding="utf-8")
        with pytest.raises(UsageError, match=r"manifest|another version"):
            import_batch(project, folder / "gpu")
    assert not stored(project)


@pytest.mark.parametrize("damaged", [lambda x: x[:-20], lambda x: x[:-40] + bytes(40), lambda _: b"no archive"])
def test_a_damaged_archive_is_reported(folder: Path, damaged: Callable[[bytes], bytes]) -> None:
    """Answers before the damage are taken, and those of other files."""
    write(folder, PROBED, "gpu")
    whole = list(answers(folder / "gpu"))
    packed = gzip.compress(text(whole[:2] + [line("00" * 32, "x" * 99)] * 9), compresslevel=0)
    (folder / "gpu/a.jsonl.gz").write_bytes(damaged(packed))
    (folder / "gpu/b.jsonl").write_bytes(text(whole[2:]))
    taken = import_batch(open_project(folder), folder / "gpu")
    n = 2 if damaged(packed).startswith(b"no") else 4
    assert (taken.new, taken.pending) == (n, 4 - n)
    assert taken.unmatched[-1].reason == "a file that cannot be read to its end"


def test_simulated_requests_stay_apart(folder: Path) -> None:
    """With `--sim` they belong to the store of the simulator, whichever model they name."""
    (folder / "study.em").write_text(MODELS, encoding="utf-8")
    shown = emdsl("plan", "study.em", "--only", "model=qwen", "--requests", "gpu", "--sim", cwd=folder).stdout
    assert "Then: emdsl cache import gpu --from batch --sim\n" in shown
    (folder / "gpu/a.jsonl").write_bytes(text(answers(folder / "gpu")))
    emdsl("cache", "import", "gpu", "--from", "batch", cwd=folder, code=2)
    said = emdsl("cache", "import", "gpu", "--from", "batch", "--sim", cwd=folder).stdout
    assert "5 answers imported\n0 of 5 requests are still pending\nNext: emdsl plan study.em --sim\n" in said
