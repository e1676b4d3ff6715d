"""Answers of other tools come in under the keys of a program, or are left out and why."""

from __future__ import annotations

import json
import struct
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from support import emdsl

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """em 1
model gpt { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 50, stop = ["END"] }
model claude { use = "anthropic/claude-sonnet-4-5-20250929", temperature = 0.70 }
prompt chat(question) {
  system "Be {{brief}}."
  user question
}
experiment e {
  for model in [gpt, claude]
  for q in ["How do I make a friend?", "What should I do tonight?"]
  samples = 2
  ask answer from model with chat(q)
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(STUDY, encoding="utf-8")
    return tmp_path


def sent(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be {brief}."}, {"role": "user", "content": question}]


QUESTIONS = ("How do I make a friend?", "What should I do tonight?")


def take(folder: Path, form: str, name: str, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        emdsl("cache", "import", name, "--from", form, "--json", *more, cwd=folder).stdout
    )
    return found


def answers(folder: Path) -> list[tuple[str, int, str]]:
    emdsl("run", "study.em", "--offline", cwd=folder, code=3)
    sql = "SELECT q, sample, answer FROM e WHERE model = 'gpt' AND answer IS NOT NULL ORDER BY q, sample"
    found = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    return [(r["q"], r["sample"], r["answer"]) for r in found]


def write(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "a.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")


def test_lines_of_any_tool(folder: Path) -> None:
    """Numbers are exact, draws are numbered as they come, what is sent unasked is part of the key."""
    gpt = {"model": "openai/gpt-4o-2024-08-06", "params": {"temperature": 1.0, "max_tokens": 50, "stop": ["END"]}}
    claude = {"model": "anthropic/claude-sonnet-4-5-20250929", "params": {"temperature": 0.7}}
    lines = [
        {**gpt, "messages": sent(q), "text": f"{q} {i}", "answered_at": 1.7e9, "output_tokens": 3}
        for i in range(2)
        for q in QUESTIONS
    ]
    lines += [{**claude, "messages": sent(QUESTIONS[0]), "text": "hello", "sample": 1}]
    write(folder, lines)
    assert take(folder, "jsonl", "a.jsonl") == {"new": 5, "known": 0, "rejected": []}
    assert take(folder, "jsonl", "a.jsonl") == {"new": 0, "known": 5, "rejected": []}
    assert answers(folder) == [(q, i, f"{q} {i}") for q in QUESTIONS for i in range(2)]
    plan = json.loads(emdsl("plan", "study.em", "--json", cwd=folder).stdout)
    assert plan["requests"] == 3  # of Claude, sample 1 of one question is there


LACKS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"model": "gpt-4o"}, "has no provider"),
    ({"model": "vllm/Qwen/Qwen3-8B"}, "its weights are unknown"),
    ({"params": {"logit_bias": {"1": 2}}}, "`logit_bias`"),
    ({"params": {"temperature": "hot"}}, "`temperature` is"),
    ({"messages": []}, "no messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "more than text"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "tool calls"),
    ({"text": None}, "no `model` or no `text`"),
    ({"tools": []}, "`tools`"),
    ({"sample": 1, "params": {"seed": 7}}, "same seed"),
    ({"finish": "done"}, "`finish` one of"),
    ({"answered_at": "today"}, "seconds since 1970"),
)


def test_what_lacks_a_part_of_its_key_is_left_out_and_told(folder: Path) -> None:
    """Nothing is guessed; each reason has the place of its line."""
    whole = {"model": "openai/gpt-4o-2024-08-06", "messages": sent("x"), "text": "y"}
    write(folder, [*(whole | change for change, _ in LACKS), whole])
    found = take(folder, "jsonl", "a.jsonl")
    assert found["new"] == 1
    for n, (_, reason) in enumerate(LACKS, start=1):
        (rejected,) = (x for x in found["rejected"] if f"a.jsonl:{n}" in x["examples"])
        assert rejected["n"] == 1
        assert reason in rejected["reason"]
    said = emdsl("cache", "import", "a.jsonl", "--from", "jsonl", cwd=folder).stdout
    assert "0 answers imported, 1 were cached already\n  1 rejected: " in said


def event(question: str, text: Any, **more: Any) -> dict[str, Any]:
    return {
        "event": "model", "model": "openai/gpt-4o-2024-08-06", "input": sent(question), "tools": [],
        "tool_choice": "none", "timestamp": "2026-01-02T03:04:05+00:00",
        "config": {"temperature": 1.0, "max_tokens": 50, "stop_seqs": ["END"], "max_retries": 3, "top_p": None},
        "output": {
            "model": "gpt-4o-2024-08-06", "time": 0.5, "usage": {"input_tokens": 9, "output_tokens": 2},
            "choices": [{"message": {"role": "assistant", "content": text}, "stop_reason": "max_tokens"}],
        },
    } | more  # fmt: skip


def log() -> dict[str, Any]:
    """A log as Inspect 0.3.285 writes them: messages of a sample once, long texts apart."""
    long: dict[str, Any] = {"role": "user", "content": "attachment://abc"}
    samples: list[dict[str, Any]] = [
        {"id": i, "epoch": epoch, "events": [event(q, f"{q} {epoch}")]}
        for epoch in (2, 1)
        for i, q in enumerate(QUESTIONS)
    ]
    samples[2] |= {
        "attachments": {"abc": QUESTIONS[0]},
        "events_data": {"messages": [{"role": "user", "content": "other"}, sent("")[0], long], "calls": []},
        "events": [event("", f"{QUESTIONS[0]} 1", input=[], input_refs=[[1, 3]])],
    }
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": f"{QUESTIONS[1]} 1"}]
    samples[3]["events"] = [event(QUESTIONS[1], parts)]
    bad = [
        event("x", "y", error="boom"), event("x", "y", cache="read"), event("x", "y", tools=[{"name": "bash"}]),
        event("x", "y", config={"best_of": 3}), event("x", "y", model="mockllm/model"),
        event("x", "y", input=[{"role": "user", "content": "attachment://gone"}]),
    ]  # fmt: skip
    samples.append({"id": 9, "epoch": 1, "events": [{"event": "state"}, *bad]})
    return {"version": 2, "eval": {"model": "openai/gpt-4o-2024-08-06"}, "samples": samples}


def packed(log: dict[str, Any]) -> bytes:
    """An `.eval` file, its members packed by zstd as Inspect does; Python's zipfile cannot write that."""
    members = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in log["samples"]}
    plain = {n: json.dumps(x).encode() for n, x in (members | {"header.json": {"eval": log["eval"]}}).items()}
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name, content in plain.items():
            file.writestr(name, zstandard.ZstdCompressor().compress(content))
        infos = file.infolist()
    data = bytearray(out.getvalue())
    place = data.index(b"PK\x01\x02")
    for info in infos:
        data[info.header_offset + 8 : info.header_offset + 10] = struct.pack("<H", 93)
        data[place + 10 : place + 12] = struct.pack("<H", 93)
        data[place + 24 : place + 28] = struct.pack("<I", len(plain[info.filename]))
        place += 46 + len(info.filename)
    return bytes(data)


@pytest.mark.parametrize("ending", ["json", "eval"])
def test_logs_of_inspect(folder: Path, ending: str) -> None:
    """Epochs are samples; what failed, came from a cache, had tools or is of nobody known is left out, each told."""
    (folder / "logs").mkdir()
    content = json.dumps(log()).encode() if ending == "json" else packed(log())
    (folder / "logs" / f"a.{ending}").write_bytes(content)
    found = take(folder, "inspect", "logs")
    assert (found["new"], found["known"]) == (4, 0)
    assert sum(x["n"] for x in found["rejected"]) == 6
    for reason in ("call failed", "Inspect's cache", "offered tools", "`best_of`", "`mockllm`", "an attachment"):
        assert sum(reason in x["reason"] for x in found["rejected"]) == 1
    assert answers(folder) == [(q, i, f"{q} {i + 1}") for q in QUESTIONS for i in range(2)]
    columns = "answer_finish, answer_output_tokens, answer_reasoning"
    sql = f"SELECT {columns} FROM e WHERE sample = 0 AND q LIKE 'What%' AND model = 'gpt'"
    (row,) = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    assert list(row.values()) == ["length", 2, "hm"]


def test_the_cache_of_llmcomp(folder: Path) -> None:
    """Answers come with what was sent; who served them is said by hand; judges' replies lack their parameters."""
    place = folder / "llmcomp_cache"
    (place / "question" / "q").mkdir(parents=True)
    (place / "judge" / "j").mkdir(parents=True)
    kwargs = {"messages": sent(QUESTIONS[0]), "temperature": 1, "max_tokens": 50, "stop": ["END"], "timeout": 30}
    lines = [
        {"name": "q", "model": "gpt-4o-2024-08-06", "last_update": "2026-01-02T03:04:05", "hash": "x"},
        *({"api_kwargs": kwargs, "question": "q", "answer": f"a{i}", "paraphrase_ix": 0} for i in range(2)),
        {"api_kwargs": kwargs | {"logit_bias": {"1": 1}}, "question": "q", "answer": "a", "paraphrase_ix": 0},
        {"api_kwargs": kwargs, "question": "q", "answer": {"yes": 0.5}, "paraphrase_ix": 0},
    ]
    (place / "question" / "q" / "1234567.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    judged = {"metadata": {"model": "gpt-4o"}, "data": {"q": {"a0": "12", "a1": "90"}}}
    (place / "judge" / "j" / "89.json").write_text(json.dumps(judged), encoding="utf-8")
    said = emdsl("cache", "import", "llmcomp_cache", "--from", "llmcomp", cwd=folder, code=2).stderr
    assert "--service openai" in said
    found = take(folder, "llmcomp", "llmcomp_cache", "--service", "openai")
    assert found["new"] == 2
    assert {x["reason"].split(":")[0]: x["n"] for x in found["rejected"]} == {
        "the reply of a judge, stored without its parameters": 2,
        "the effect of `logit_bias` on the answer is unknown": 1,
        "the answer is not a text": 1,
    }
    assert answers(folder) == [(QUESTIONS[0], i, f"a{i}") for i in range(2)]


@pytest.mark.parametrize(
    ("form", "name", "content", "said"),
    [
        ("inspect", "a.json", b"{}", "has no `samples`"),
        ("inspect", "a.eval", b"PK", "is not a log of Inspect"),
        ("llmcomp", "a.jsonl", b"{}\n", "has no `model`"),
        ("llmcomp", "a.json", b"[]", "not a file of llmcomp's cache"),
    ],
)
def test_a_file_that_is_none_of_theirs_is_refused_whole(
    folder: Path, form: str, name: str, content: bytes, said: str
) -> None:
    """Nothing of it is taken in; nothing is a traceback."""
    (folder / name).write_bytes(content)
    done = emdsl("cache", "import", name, "--from", form, "--service", "openai", cwd=folder, code=2)
    assert said in done.stderr
    assert "no such file: b.jsonl" in emdsl("cache", "import", "b.jsonl", "--from", form, cwd=folder, code=2).stderr


def named(log: dict[str, Any], name: str) -> dict[str, Any]:
    """A log whose samples have names, as Inspect gives them."""
    for i, sample in enumerate(log["samples"]):
        sample["uuid"] = f"{name}-{i}"
    return log


def small(*texts: str, at: str = "2026-01-02T03:04:05+00:00") -> dict[str, Any]:
    samples = [{"id": 1, "epoch": i, "events": [event("x", t, timestamp=at)]} for i, t in enumerate(texts, start=1)]
    return {"version": 2, "eval": {"model": "m"}, "samples": samples}


def put(folder: Path, name: str, log: dict[str, Any]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(log), encoding="utf-8")


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("with_names", [True, False])
def test_two_logs_of_one_task_are_all_their_draws(folder: Path, together: bool, with_names: bool) -> None:
    """In one call or in two: who a draw is decides its number, and a paid answer is never taken for another."""
    logs = [small("a", "b", "same"), small("c", "same", at="2026-01-03T00:00:00+00:00")]
    found = []
    for i, log in enumerate(logs):
        put(folder, f"logs/{i}.json", named(log, f"n{i}") if with_names else log)
        if not together:
            found.append(take(folder, "inspect", f"logs/{i}.json"))
    if together:
        found.append(take(folder, "inspect", "logs"))
    assert sum(f["new"] for f in found) == 5
    assert sum(f["known"] for f in found) == 0
    assert take(folder, "inspect", "logs") == {"new": 0, "known": 5, "rejected": []}


@pytest.mark.parametrize("with_names", [True, False])
def test_a_copy_of_a_log_doubles_nothing(folder: Path, with_names: bool) -> None:
    """A byte copy in one folder: n stays what it is; equal answers within one log are still several draws."""
    log = small("yes", "yes", "no")
    for name in ("a", "copy of a"):
        put(folder, f"logs/{name}.json", named(log, "n") if with_names else log)
    assert take(folder, "inspect", "logs") == {"new": 3, "known": 3, "rejected": []}


def test_what_was_taken_in_without_its_name_keeps_its_number(folder: Path) -> None:
    """A store from before names were kept: the same log brings nothing new."""
    put(folder, "a.json", small("a", "b", "b"))
    assert take(folder, "inspect", "a.json")["new"] == 3
    put(folder, "a.json", named(small("a", "b", "b"), "n"))
    assert take(folder, "inspect", "a.json") == {"new": 0, "known": 3, "rejected": []}


def test_lines_that_were_copied_are_one_answer(folder: Path) -> None:
    """In two files; within one, equal lines are two draws."""
    line = json.dumps({"model": "openai/gpt-4o-2024-08-06", "messages": sent("x"), "text": "y"})
    (folder / "lines").mkdir()
    for name in ("a", "b"):
        (folder / "lines" / f"{name}.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert take(folder, "jsonl", "lines") == {"new": 2, "known": 2, "rejected": []}


def test_a_log_that_holds_no_calls_says_so(folder: Path) -> None:
    """Neither a log without samples nor samples without events are passed over."""
    empty = small("a")
    put(folder, "a.json", empty | {"samples": []})
    assert "has no samples" in emdsl("cache", "import", "a.json", "--from", "inspect", cwd=folder, code=2).stderr
    del empty["samples"][0]["events"]
    put(folder, "b.json", empty)
    found = take(folder, "inspect", "b.json")
    assert (found["new"], found["rejected"][0]["n"]) == (0, 1)
    assert "no model calls" in found["rejected"][0]["reason"]


def test_encrypted_reasoning_costs_no_answer(folder: Path) -> None:
    """The text is taken in; what cannot be read is no reasoning."""
    parts = [{"type": "reasoning", "reasoning": "gAAAA", "redacted": True}, {"type": "text", "text": "yes"}]
    log = small("x")
    log["samples"][0]["events"] = [event(QUESTIONS[0], parts)]
    put(folder, "a.json", log)
    assert take(folder, "inspect", "a.json")["new"] == 1
    assert answers(folder) == [(QUESTIONS[0], 0, "yes")]
