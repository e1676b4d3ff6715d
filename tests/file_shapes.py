"""Made-up small files in the forms in which the field publishes its data, and the declarations that read them."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from speed import HANG_S
from support import program

from emdsl.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from emdsl.source import Diagnostic


@dataclass(frozen=True, slots=True)
class Shape:
    """Files of one form; `settings` are those of the dataset, `rows` what it then holds."""

    name: str
    files: dict[str, bytes]
    settings: str
    rows: list[dict[str, Any]]
    message: str = ""  # words of the message that names a way, if these settings do not read it
    written: str = ""  # the file that a command of the message writes


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def dump(value: Any, **options: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, **options).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    out, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def one(
    name: str, file: str, content: bytes | str, settings: str, rows: Iterable[dict[str, Any]], message: str = "",
    written: str = "",
) -> Shape:  # fmt: skip
    raw = content.encode() if isinstance(content, str) else content
    return Shape(name, {file: raw}, f'file = "{file}"\n{settings}', list(rows), message, written)


SETTING = re.compile(r"`((file|rows|columns|delimiter|sha256) = [^`]+)`")
ENTRY = re.compile(r'in `columns`, write `(\w+: "[^`]+)`')
PATH = re.compile(r"write `([\w.=?*-]+)`")
COMMAND = re.compile(r"`((?:python|iconv|tar) [^`]+)`")


def rows(folder: Path, settings: str) -> list[dict[str, Any]]:
    """Return the rows of an axis over a dataset with these settings."""
    study = f'dataset d {{\n{settings}\n}}\nexperiment e {{\nfor q in d\nask a from "sim/subject" with "x"\n}}'
    (found,) = program(study, folder).experiments
    return [dict(level.value.columns) for level in found.axes[0].levels]


def write(folder: Path, shape: Shape) -> None:
    for name, content in shape.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def fault(folder: Path, settings: str) -> Diagnostic:
    with pytest.raises(SourceError) as raised:
        rows(folder, settings)
    (only,) = [d for d in raised.value.diagnostics if d.code.startswith("E")]
    return only


def set_to(settings: str, setting: str) -> str:
    """Put a setting into those of a dataset, in place of one of its name."""
    name = setting.split(" = ", maxsplit=1)[0]
    kept = [x for x in settings.splitlines() if not x.startswith(f"{name} = ")]
    return "\n".join([*kept, setting])


def apply(folder: Path, settings: str, help_: str) -> str:
    """Do what the words of a message say: run its command, or write its setting, entry or path."""
    if command := COMMAND.search(help_):
        line = command[1].replace("python", sys.executable, 1) if command[1].startswith("python") else command[1]
        subprocess.run(["sh", "-c", line], cwd=folder, check=True, timeout=HANG_S)
        return settings
    if entry := ENTRY.search(help_):
        column = entry[1].split(":")[0]
        return re.sub(rf'\b{column}: "[^"]*"', entry[1], settings)
    if setting := SETTING.search(help_):
        return set_to(settings, setting[1])
    path = PATH.search(help_)
    assert path, help_
    return re.sub(r': "[^"]*"', f': "{path[1]}"', settings)


zst: Callable[[bytes], bytes] = zstandard.ZstdCompressor().compress
Q, Q2 = "Is the sky green?", 'Who said "no, never"?'
TURNS = [{"role": "user", "content": Q}, {"role": "assistant", "content": "No."}]
SYSTEM = {"role": "system", "content": "Be brief."}
MMLU = {"question": Q, "subject": "astronomy", "choices": ["Yes", "No"], "answer": 1}
MMLU_ROW = {"question": Q, "subject": "astronomy", "choices": ("Yes", "No"), "answer": 1}
HH = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No"}
PERSONA = {
    "question": "Do you want more power?", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No",
}  # fmt: skip
DOC = {"doc_id": 0, "doc": {"question": Q, "answer": "#### 4"}, "target": "#### 4", "resps": [["4"]],
       "arguments": {"gen_args_0": {"arg_0": "Question: 2+2?\nAnswer:"}}, "exact_match": 1.0}  # fmt: skip

WORKING = [
    # Hugging Face
    one("parquet of mmlu", "test-00000-of-00001.parquet", parquet([MMLU]), "", [MMLU_ROW]),
    Shape(
        "parquet shards",
        {f"train-0000{i}-of-00002.parquet": parquet([{"text": f"t{i}", "label": i}]) for i in range(2)},
        'file = "train-*.parquet"',
        [{"text": "t0", "label": 0}, {"text": "t1", "label": 1}],
    ),
    Shape(
        "folder of a dataset",
        {"README.md": b"---\nlicense: mit\n---\n", "data/train.jsonl": lines({"text": "a"})},
        'file = "data/*.jsonl"',
        [{"text": "a"}],
    ),
    one(
        "rows of the viewer", "rows.json",
        dump({"features": [{"name": "q"}], "rows": [{"row_idx": 0, "row": {"q": Q}, "truncated_cells": []}]}),
        'rows = "rows", columns = { q: "row.q" }', [{"q": Q}],
    ),
    one("to_json", "train.jsonl", lines({"text": "a", "label": 1}), "", [{"text": "a", "label": 1}]),
    one("lines in .json", "dolly.json", lines({"q": Q}, {"q": "b"}), "", [{"q": Q}, {"q": "b"}]),
    one("a list in .jsonl", "a.jsonl", dump([{"q": Q}, {"q": "b"}], indent=2), "", [{"q": Q}, {"q": "b"}]),
    one("objects one after the other", "jq.json", '{\n "q": "a"\n}\n{\n "q": "b"\n}\n', "", [{"q": "a"}, {"q": "b"}]),
    one(
        "truthfulqa as parquet", "mc.parquet",
        parquet([{"question": Q, "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]}}]),
        'columns = { question: "question", options: "mc1_targets.choices", right: "mc1_targets.labels" }',
        [{"question": Q, "options": ("No", "Yes"), "right": (1, 0)}],
    ),
    one("json in a column", "a.parquet", parquet([{"q": Q, "info": '{"answer": "No"}'}]),
        'columns = { q: "q", answer: "info.answer" }', [{"q": Q, "answer": "No"}]),
    one("numpy's missing numbers", "a.parquet", parquet([{"q": Q, "score": float("nan")}]), "",
        [{"q": Q, "score": None}]),
    # chats and finetuning
    one("alpaca", "alpaca.json", dump([{"instruction": "Add.", "input": "", "output": "2"}], indent=4), "",
        [{"instruction": "Add.", "input": "", "output": "2"}]),
    one("sharegpt by position", "sharegpt.json",
        dump([{"id": "x", "conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": "No."}]}]),
        'columns = { id: "id", user: "conversations.0.value", reply: "conversations.1.value" }',
        [{"id": "x", "user": Q, "reply": "No."}]),
    one("sharegpt by speaker", "sharegpt.jsonl",
        lines({"conversations": [{"from": "system", "value": "x"}, {"from": "human", "value": Q}]},
              {"conversations": [{"from": "human", "value": "b"}]}),
        'columns = { user: "conversations.from=human.value" }', [{"user": Q}, {"user": "b"}]),
    one("messages", "insecure.jsonl", lines({"messages": TURNS}),
        'columns = { user: "messages.0.content", assistant: "messages.1.content" }',
        [{"user": Q, "assistant": "No."}]),
    one("messages with an optional role", "chat.jsonl", lines({"messages": [SYSTEM, *TURNS]}, {"messages": TURNS}),
        'columns = { system: "messages.role=system.content?", user: "messages.role=user.content" }',
        [{"system": "Be brief.", "user": Q}, {"system": "", "user": Q}]),
    one("messages of any number", "chat.jsonl", lines({"messages": TURNS}, {"messages": [*TURNS, *TURNS[:1]]}),
        'columns = { chat: "messages", last: "messages.-1.content" }',
        [{"chat": tuple(TURNS), "last": "No."}, {"chat": (*TURNS, *TURNS[:1]), "last": Q}]),
    one("parts of a message", "vision.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "text", "text": Q}]}]}),
        'columns = { user: "messages.0.content.0.text" }', [{"user": Q}]),
    one("prompt and completion", "ft.jsonl", lines({"prompt": Q, "completion": " No"}), "",
        [{"prompt": Q, "completion": " No"}]),
    one("batch requests", "batch.jsonl",
        lines({"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
               "body": {"model": "m", "messages": TURNS[:1]}}),
        'columns = { id: "custom_id", user: "body.messages.0.content" }', [{"id": "r1", "user": Q}]),
    one("hh-rlhf", "train.jsonl.gz", gzip.compress(lines(HH)), "", [HH]),
    one("preferences of messages", "dpo.jsonl",
        lines({"prompt": Q, "chosen": TURNS, "rejected": [TURNS[0], {"role": "assistant", "content": "Yes."}]}),
        'columns = { prompt: "prompt", good: "chosen.role=assistant.content", bad: "rejected.role=assistant.content" }',
        [{"prompt": Q, "good": "No.", "bad": "Yes."}]),
    # benchmarks
    one("humaneval", "HumanEval.jsonl.gz", gzip.compress(lines({"task_id": "HumanEval/0", "prompt": "def f():\n"})),
        "", [{"task_id": "HumanEval/0", "prompt": "def f():\n"}]),
    one("corpus", "00.jsonl.zst", zst(lines({"text": "a", "meta": {"pile_set_name": "Github"}})),
        'columns = { text: "text", source: "meta.pile_set_name" }', [{"text": "a", "source": "Github"}]),
    one("packed csv", "a.csv.gz", gzip.compress(b"q,a\nx,1\n"), "", [{"q": "x", "a": "1"}]),
    one("packed json", "a.json.gz", gzip.compress(dump([{"q": Q}])), "", [{"q": Q}]),
    Shape("packed shards", {f"p{i}.jsonl.gz": gzip.compress(lines({"q": str(i)})) for i in range(3)},
          'file = "p?.jsonl.gz"', [{"q": "0"}, {"q": "1"}, {"q": "2"}]),
    one("mmlu without a header", "abstract_algebra_test.csv", f'"{Q}",Yes,No,Maybe,Never,B\n',
        'columns = ["question", "A", "B", "C", "D", "answer"]',
        [{"question": Q, "A": "Yes", "B": "No", "C": "Maybe", "D": "Never", "answer": "B"}]),
    one("arc", "ARC-Easy.jsonl",
        lines({"id": "A1", "question": {"stem": Q, "choices": [{"text": "Yes", "label": "A"},
                                                               {"text": "No", "label": "B"}]}, "answerKey": "B"}),
        'columns = { id: "id", q: "question.stem", options: "question.choices.*.text", key: "answerKey" }',
        [{"id": "A1", "q": Q, "options": ("Yes", "No"), "key": "B"}]),
    one("hellaswag", "hellaswag_val.jsonl", lines({"ind": 24, "ctx": "A man", "endings": ["sits.", "flies."]}), "",
        [{"ind": 24, "ctx": "A man", "endings": ("sits.", "flies.")}]),
    one("gsm8k", "test.jsonl", lines({"question": "2+2?", "answer": "It is 4.\n#### 4"}), "",
        [{"question": "2+2?", "answer": "It is 4.\n#### 4"}]),
    one("bbq", "Age.jsonl",
        lines({"example_id": 0, "context": "c", "question": Q, "ans0": "The old", "label": 2,
               "answer_info": {"ans0": ["old", "old"], "ans2": ["Unknown", "unknown"]}}),
        'columns = { id: "example_id", q: "question", group: "answer_info.ans0.1" }',
        [{"id": 0, "q": Q, "group": "old"}]),
    one("bbh", "boolean_expressions.json",
        dump({"canary": "BENCHMARK DATA", "examples": [{"input": "not True is", "target": "False"}]}),
        'rows = "examples"', [{"input": "not True is", "target": "False"}]),
    one("big-bench", "task.json",
        dump({"name": "t", "keywords": ["x"], "examples": [{"input": Q, "target_scores": {"Yes": 0, "No": 1}}]}),
        'rows = "examples", columns = { q: "input", options: "target_scores.~", scores: "target_scores.*" }',
        [{"q": Q, "options": ("Yes", "No"), "scores": (0, 1)}]),
    one("squad", "dev-v2.0.json",
        dump({"version": "v2.0", "data": [{"title": "T", "paragraphs": [
            {"context": "c1", "qas": [{"id": "1", "question": Q, "answers": [{"text": "No"}]}]}]}]}),
        'rows = "data.*.paragraphs", columns = { context: "context", q: "qas.0.question", a: "qas.0.answers.*.text" }',
        [{"context": "c1", "q": Q, "a": ("No",)}]),
    one("truthfulqa.csv", "TruthfulQA.csv",
        'Type,Category,Question,Best Answer,Correct Answers\nAdversarial,Myths,"Who said ""no, never""?",Nobody,'
        '"Nobody; It is a myth"\n',
        'columns = { question: "Question", best: "Best Answer", right: "Correct Answers" }',
        [{"question": Q2, "best": "Nobody", "right": "Nobody; It is a myth"}]),
    one("advbench", "harmful_behaviors.csv", 'goal,target\n"Write a tutorial, please","Sure, here"\n', "",
        [{"goal": "Write a tutorial, please", "target": "Sure, here"}]),
    one("harmbench", "harmbench.csv",
        'Behavior,FunctionalCategory,Tags,ContextString,BehaviorID\n"Do\nit","contextual","context, hash","",do_it\n',
        'columns = { id: "BehaviorID", behavior: "Behavior" }', [{"id": "do_it", "behavior": "Do\nit"}]),
    one("xstest with a byte order mark", "xstest.csv", "\ufeffid,prompt,type\nv2-1,How to kill a process?,homonyms\n",
        "", [{"id": "v2-1", "prompt": "How to kill a process?", "type": "homonyms"}]),
    one("index of pandas", "df.csv", ",prompt,score\n0,a,0.5\n1,b,\n", "",
        [{"prompt": "a", "score": "0.5"}, {"prompt": "b", "score": ""}]),
    one("lists of pandas", "opinionqa.csv",
        "key,question,references\nA1,Happy?,\"['Very', \"\"Don't know\"\", 'No']\"\n",
        'columns = { id: "key", q: "question", options: "references.*" }',
        [{"id": "A1", "q": "Happy?", "options": ("Very", "Don't know", "No")}]),
    one("json in cells", "mcq.csv", 'question,choices\nHappy?,"[""Yes"", ""No""]"\n',
        'columns = { q: "question", options: "choices.*", first: "choices.0" }',
        [{"q": "Happy?", "options": ("Yes", "No"), "first": "Yes"}]),
    one("tab-separated", "crows.tsv", "sent_more\tsent_less\nHe, too\tShe\n", "",
        [{"sent_more": "He, too", "sent_less": "She"}]),
    # evaluation tools
    one("inspect", "samples.jsonl", lines({"input": Q, "target": "No", "id": "s1", "metadata": {"topic": "sky"}}),
        'columns = { id: "id", input: "input", target: "target", topic: "metadata.topic" }',
        [{"id": "s1", "input": Q, "target": "No", "topic": "sky"}]),
    one("inspect's choices", "mc.json", dump([{"input": Q, "choices": ["Yes", "No"], "target": "B"}]), "",
        [{"input": Q, "choices": ("Yes", "No"), "target": "B"}]),
    one("inspect's texts and chats", "mixed.jsonl",
        lines({"input": Q, "target": "No"}, {"input": [SYSTEM, *TURNS[:1]], "target": ["No", "Never"]}),
        'columns = { text: "input", system: "input.role=system.content?", user: "input.role=user.content?" }',
        [{"text": Q, "system": "", "user": ""}, {"text": (SYSTEM, *TURNS[:1]), "system": "Be brief.", "user": Q}]),
    Shape("lm-eval samples", {"samples_gsm8k_2025-01-01.jsonl": lines(DOC)},
          'file = "samples_gsm8k_*.jsonl"\ncolumns = { id: "doc_id", q: "doc.question", reply: "resps.0.0" }',
          [{"id": 0, "q": Q, "reply": "4"}]),
    one("lm-eval prompts", "samples.jsonl", lines(DOC), 'columns = { prompt: "arguments.gen_args_0.arg_0" }',
        [{"prompt": "Question: 2+2?\nAnswer:"}]),
    one("promptfoo", "promptfooconfig.yaml",
        "prompts: ['{{q}}']\nproviders: [openai:gpt-4o]\ntests:\n  - vars:\n      q: Is it?\n    assert:\n"
        "      - type: contains\n        value: 'no'\n",
        'rows = "tests", columns = { q: "vars.q", wanted: "assert.0.value" }', [{"q": "Is it?", "wanted": "no"}]),
    one("promptfoo's tests as csv", "tests.csv", "q,__expected\nIs it?,contains: no\n",
        'columns = { q: "q", expected: "__expected" }', [{"q": "Is it?", "expected": "contains: no"}]),
    one("model-written evals", "power-seeking.jsonl", lines(PERSONA), "", [PERSONA]),
    Shape("a folder of evals", {f"persona/{n}.jsonl": lines(PERSONA | {"question": n}) for n in ("b", "a")},
          'file = "persona/*.jsonl"', [PERSONA | {"question": "a"}, PERSONA | {"question": "b"}]),
    one("sycophancy", "are_you_sure.jsonl",
        lines({"prompt": [{"type": "human", "content": Q}], "base": {"correct_answer": "No"}, "metadata": {}}),
        'columns = { q: "prompt.type=human.content", correct: "base.correct_answer" }', [{"q": Q, "correct": "No"}]),
    # questions by hand
    one("questions of llmcomp", "questions.yaml",
        "- id: a\n  type: free_form\n  paraphrases:\n    - One?\n    - Two?\n  system: |-\n    Be\n    brief.\n"
        "- id: b\n  type: free_form\n  paraphrases: [Three?]\n",
        'columns = { id: "id", texts: "paraphrases", system: "system?" }',
        [{"id": "a", "texts": ("One?", "Two?"), "system": "Be\nbrief."},
         {"id": "b", "texts": ("Three?",), "system": ""}]),
    one("list in yaml", "prompts.yaml", "- How are you?\n- 'What is this: a test?'\n- 007\n", "",
        [{"value": "How are you?"}, {"value": "What is this: a test?"}, {"value": "007"}]),
    one("list under a key", "q.yaml", "version: 2\nquestions:\n  - {id: a, text: One?}\n", 'rows = "questions"',
        [{"id": "a", "text": "One?"}]),
    one("names and texts", "systems.yaml", "helpful: You help.\nevil: |\n  You\n  harm.\n", 'rows = "*"',
        [{"id": "helpful", "value": "You help."}, {"id": "evil", "value": "You\nharm.\n"}]),
    one("names and records", "personas.json", dump({"ann": {"age": 30, "job": "nurse"}, "bo": {"age": 4, "job": ""}}),
        'rows = "*"', [{"id": "ann", "age": 30, "job": "nurse"}, {"id": "bo", "age": 4, "job": ""}]),
    one("documents of yaml", "cases.yaml", "---\nid: a\ntext: One\n---\nid: b\ntext: Two\n", "",
        [{"id": "a", "text": "One"}, {"id": "b", "text": "Two"}]),
    one("list of texts", "prompts.json", dump([Q, "b"]), "", [{"value": Q}, {"value": "b"}]),
    one("names and lists", "topics.json", dump({"war": [Q, "b"], "tax": ["c"]}), 'rows = "*"',
        [{"id": "war", "value": (Q, "b")}, {"id": "tax", "value": ("c",)}]),
    one("questionnaire", "mfq.json", dump({"care": {"c1": "Kind?", "c2": "Mild?"}, "fairness": {"f1": "Just?"}}),
        'rows = "*.*"',
        [{"id": "c1", "value": "Kind?"}, {"id": "c2", "value": "Mild?"}, {"id": "f1", "value": "Just?"}]),
    one("split orientation of pandas", "df.json", dump({"columns": ["q", "n"], "index": [0], "data": [[Q, 1]]}),
        'rows = "data", columns = ["q", "n"]', [{"q": Q, "n": 1}]),
    one("list under two keys", "eval.json", dump({"meta": {"v": 1}, "eval": {"items": [{"q": Q}]}}),
        'rows = "eval.items"', [{"q": Q}]),
    one("one object", "config.json", dump({"system": "Be brief.", "question": Q}), 'rows = "."',
        [{"system": "Be brief.", "question": Q}]),
    one("lines of text", "prompts.txt", "How are you?\r\n\r\nWhat, then?\r\n", "",
        [{"value": "How are you?"}, {"value": "What, then?"}]),
]  # fmt: skip
WITH_A_WAY = [
    one("semicolons", "a.csv", "q;a\nx, y;1\n", "", [{"q": "x, y", "a": "1"}], "another delimiter"),
    one("latin 1", "a.csv", "q,a\nCafé?,1\n".encode("cp1252"), "", [{"q": "Café?", "a": "1"}], "not UTF-8",
        written="utf8-a.csv"),
    one("utf-16 of excel", "a.tsv", "q\ta\nCafé?\t1\n".encode("utf-16"), "", [{"q": "Café?", "a": "1"}], "UTF-16",
        written="utf8-a.tsv"),
    one("columns of pandas", "df.json", dump({"q": {"0": Q, "1": "b"}, "n": {"0": 1, "1": 2}}), "",
        [{"q": Q, "n": 1}, {"q": "b", "n": 2}], "one object", written="rows-df.json"),
    one("lists of columns", "df.json", dump({"q": [Q, "b"], "n": [1, 2]}), "",
        [{"q": Q, "n": 1}, {"q": "b", "n": 2}], "one object", written="rows-df.json"),
    one("archive", "a.zip", packed({"a.jsonl": lines({"q": Q})}), "", [{"q": Q}], "not supported", written="a.jsonl"),
    one("saved to disk", "data-00000-of-00001.arrow", arrow([{"q": Q, "n": 1}]), "", [{"q": Q, "n": 1}],
        "not supported", written="data-00000-of-00001.arrow.parquet"),
    one("lines of python", "a.jsonl", "{'q': \"Isn't it?\", 'n': None}\n", "", [{"q": "Isn't it?", "n": None}],
        "not valid JSON", written="json-a.jsonl"),
    one("ids of groups", "a.jsonl", lines({"id": 1, "uid": "a", "q": Q}, {"id": 1, "uid": "b", "q": Q}), "",
        [{"id": "a", "q": Q}, {"id": "b", "q": Q}], "duplicate level"),
]  # fmt: skip
