"""Files of promptfoo, lm-eval, OpenAI's batches and early versions of Inspect: what is stored of each, and why not."""

from __future__ import annotations

import gzip
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from support import emdsl

from emdsl.store.codec import decode, ingredients
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Json = dict[str, Any]
GPT = "gpt-4o-2024-08-06"
STUDY = """em 1
model gpt {{ use = "openai/gpt-4o-2024-08-06", temperature = 0.5, max_tokens = 50{more} }}
experiment e {{
  for q in ["How are you?", "Who are you?"]
  samples = {samples}
  ask answer from gpt with q
}}
"""
QUESTIONS = ("How are you?", "Who are you?")


def write(folder: Path, name: str, content: Json | Iterable[Any]) -> None:
    """Write an object as JSON, anything else as lines: of text as they are, of values as JSON."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    lines = [content] if isinstance(content, dict) else content
    text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    (folder / name).write_bytes(packed.get((folder / name).suffix, bytes)(text.encode()))


def study(folder: Path, samples: int = 1, more: str = "") -> Path:
    (folder / "pyproject.toml").touch()
    (folder / "study.em").write_text(STUDY.format(samples=samples, more=more), encoding="utf-8")
    return folder


def take(folder: Path, form: str, name: str, *more: str) -> tuple[int, int, dict[str, list[str]]]:
    """Import; return the new answers, those cached already, and the places of each reason."""
    text = emdsl("cache", "import", name, "--from", form, "--json", *more, cwd=folder).stdout
    done = json.loads(text)
    for rejected in done["rejected"]:
        assert rejected["n"] >= len(rejected["examples"])
    return done["new"], done["known"], {r["reason"]: r["examples"] for r in done["rejected"]}


def stored(folder: Path) -> list[tuple[Any, ...]]:
    """What is in the store: the parts of each key, and the answer."""
    found = []
    for _, entry in DiskStore(folder / "cache" / "answers", read_only=True).each():
        of, response = ingredients(entry), decode(entry)
        found.append((of["model"], of["params"], of["sample"], response.text, response.finish, response.batch))
    return sorted(found, key=lambda x: (x[3], x[2]))


def sends_nothing(folder: Path, n: int) -> None:
    """A run of the study finds all of its answers, and sends nothing."""
    assert f"\n0 answered, {n} cached\n" in emdsl("run", "study.em", "--offline", cwd=folder).stdout


def needs_nothing(folder: Path) -> None:
    """A plan of the study finds all of its answers: as a run, at less cost."""
    assert json.loads(emdsl("plan", "study.em", "--json", cwd=folder).stdout)["requests"] == 0


# promptfoo

CONFIG: Json = {"temperature": 0.5, "max_tokens": 50}
PROVIDER: Json = {"id": f"openai:chat:{GPT}", "config": CONFIG, "label": "gpt"}


def result(prompt: str, output: Any, **more: Any) -> Json:
    """A result as promptfoo 0.121 writes it."""
    return {
        "cost": 0.0001, "gradingResult": None, "id": f"id of {output}", "latencyMs": 1500, "namedScores": {},
        "prompt": {"raw": prompt, "label": "{{q}}", "config": {}}, "promptId": "d3", "promptIdx": 0,
        "provider": {"id": PROVIDER["id"], "label": "gpt"},
        "response": {
            "output": output, "cached": False, "finishReason": "stop",
            "tokenUsage": {"total": 9, "prompt": 5, "completion": 4, "numRequests": 1},
        },
        "score": 1, "success": True, "failureReason": 0, "vars": {}, "testIdx": 0,
        "testCase": {"vars": {}, "assert": [], "options": {}, "metadata": {}},
    } | more  # fmt: skip


def results(*rows: Json, version: int = 3, **config: Any) -> Json:
    return {
        "evalId": "eval-1",
        "results": {
            "version": version, "timestamp": "2026-05-19T22:20:39.572Z", "prompts": [], "results": list(rows),
            "stats": {},
        },
        "config": {"providers": [PROVIDER], "prompts": ["{{q}}"], "tests": []} | config,
        "shareableUrl": None, "metadata": {"promptfooVersion": "0.121.11"},
    }  # fmt: skip


@pytest.mark.parametrize(("version", "name"), [(3, "results.json"), (4, "results.json.zst")])
def test_results_of_promptfoo(tmp_path: Path, version: int, name: str) -> None:
    """Repeats of a test are samples; a second import changes nothing, and a run sends nothing."""
    folder = study(tmp_path, samples=2)
    rows = [result(q, f"{q} {i}") for i in range(2) for q in QUESTIONS]
    rows[3]["prompt"]["raw"] = json.dumps([{"role": "user", "content": QUESTIONS[1]}])
    rows[0]["response"]["finishReason"] = "length"
    write(folder, name, results(*rows, version=version))
    assert take(folder, "promptfoo", name) == (4, 0, {})
    before = stored(folder)
    assert take(folder, "promptfoo", name) == (0, 4, {})
    params = {"temperature": "0.5", "max_tokens": 50}
    assert before == stored(folder) == [
        (f"openai/{GPT}", params, 0, "How are you? 0", "length", None),
        (f"openai/{GPT}", params, 1, "How are you? 1", "stop", None),
        (f"openai/{GPT}", params, 0, "Who are you? 0", "stop", None),
        (f"openai/{GPT}", params, 1, "Who are you? 1", "stop", None),
    ]  # fmt: skip
    if version == 3:
        sends_nothing(folder, 4)
    else:
        needs_nothing(folder)


CLAUDE: Json = {"id": "anthropic:messages:claude-3-5-haiku-20241022", "config": CONFIG}
UNRECORDED = (
    "`{0}` is not recorded: promptfoo sends {1} unless an environment variable is set. State it, such as "
    "--param {0}={1}"
)
PROMPTFOO_REJECTS: tuple[tuple[Json, str], ...] = (
    ({"response": {"error": "API error: 500"}}, "the request failed, without an answer"),
    (
        {"response": {"output": "x", "cached": True}},
        "the answer was read from promptfoo's cache, so it is not a new draw",
    ),
    ({"response": {"output": {"a": 1}}}, "the output is not a text"),
    ({"response": {"output": "Thinking: hm\n\nyes"}}, "the output contains the reasoning beside the answer"),
    (
        {"response": {"output": "no", "isRefusal": True}},
        "the answer was refused or filtered, and its text may be promptfoo's own",
    ),
    (
        {"response": {"output": "x", "metadata": {"redteamFinalPrompt": "y"}}},
        "a red-team strategy sent another prompt",
    ),
    ({"testCase": {"provider": "openai:gpt-4"}}, "the test has a provider or an output of its own"),
    (
        {"testCase": {"options": {"transform": "output.trim()"}}},
        "the output was changed by a `transform`, so the answer is unknown",
    ),
    ({"prompt": {"raw": "- role: user\n  content: x"}}, "the prompt is YAML"),
    ({"prompt": {"raw": '{"a": 1}'}}, "the prompt is JSON, but not a list of messages"),
    ({"prompt": {"raw": '[{"role": "user", "content": "x", "name": "bob"}]'}}, "a message has the field `name`"),
    ({"prompt": {"raw": "x", "config": {"tools": []}}}, "the effect of `tools` on the answer is unknown"),
    ({"prompt": {"raw": "x", "config": {"apiHost": "a.b"}}}, "the model was served by a custom server (`apiBaseUrl`)"),
    ({"provider": {"id": "openai:gpt-4"}}, "the settings of the provider `openai:gpt-4` are not in the file"),
    ({"provider": {"id": "python:a.py"}}, "the requests of the provider `python:a.py` are not known exactly"),
    (
        {"provider": {"id": "openai:chat:gpt-4.1"}},
        UNRECORDED.format("temperature", 0),
    ),
    (
        {"provider": {"id": "openai:chat:gpt-4.1", "config": {"temperature": 1}}},
        UNRECORDED.format("max_tokens", 1024),
    ),
    (
        {"provider": {"id": "openai:chat:o3", "config": {"temperature": 1}}},
        "promptfoo's versions differ in whether they send `temperature` to o3",
    ),
    (
        {"provider": {"id": CLAUDE["id"]}, "prompt": {"raw": "a\n\nb"}},
        "promptfoo changes the lines of a prompt to Anthropic",
    ),
    ({"provider": 7}, "the entry has an unknown format"),
)


def test_results_of_promptfoo_whose_request_or_answer_is_not_certain(tmp_path: Path) -> None:
    """Each is listed with its reason and its place; the rest is imported."""
    folder = study(tmp_path)
    rows = [result("x", "y") | change for change, _ in PROMPTFOO_REJECTS]
    rows += [result("x", "good"), result("x", "same", provider={"id": CLAUDE["id"]})]
    providers = [PROVIDER, "openai:chat:gpt-4.1", "openai:chat:o3", {"python:a.py": {"config": {}}}, CLAUDE]
    write(folder, "results.json", results(*rows, providers=providers))
    new, _, rejected = take(folder, "promptfoo", "results.json")
    assert new == 2
    assert rejected == {r: [f"results.json:1 (item {n})"] for n, (_, r) in enumerate(PROMPTFOO_REJECTS, start=1)}
    assert [(x[0], x[3]) for x in stored(folder)] == [
        (f"openai/{GPT}", "good"),
        (CLAUDE["id"].replace(":messages:", "/"), "same"),
    ]


def test_what_promptfoo_does_not_record_can_be_stated(tmp_path: Path) -> None:
    """A parameter that a variable of the environment may have set is stated, never guessed."""
    folder = study(tmp_path)
    bare = {"id": PROVIDER["id"], "label": "gpt"}
    write(folder, "results.json", results(*(result(q, q.upper()) for q in QUESTIONS), providers=[bare]))
    assert take(folder, "promptfoo", "results.json")[0] == 0
    params = ("--param", "temperature=0.5", "--param", "max_tokens=50")
    assert take(folder, "promptfoo", "results.json", *params) == (2, 0, {})
    needs_nothing(folder)
    write(folder, "env.json", results(result("x", "y"), env={"OPENAI_TOP_P": "0.5", "OPENAI_API_KEY": "k"}))
    reason = "the environment of the evaluation sets `OPENAI_TOP_P`, whose effect is unknown"
    assert take(folder, "promptfoo", "env.json") == (0, 0, {reason: ["env.json:1 (item 1)"]})
    own = PROVIDER | {"env": {"OPENAI_MAX_TOKENS": "9"}, "config": CONFIG | {"basePath": "/a", "user": "u"}}
    write(folder, "env.json", results(result("x", "y"), providers=[own]))
    reason = "the environment of the evaluation sets `OPENAI_MAX_TOKENS`, whose effect is unknown"
    assert take(folder, "promptfoo", "env.json") == (0, 0, {reason: ["env.json:1 (item 1)"]})


def test_results_of_promptfoo_that_are_cut(tmp_path: Path) -> None:
    """The results before the damage need their settings, which are after it: nothing of them is guessed."""
    folder = study(tmp_path)
    text = json.dumps(results(result("x", "y"), result("x", "z")), indent=1)
    write(folder, "cut.json", [text[: text.index('"id of z"')]])
    new, _, rejected = take(folder, "promptfoo", "cut.json")
    assert new == 0
    assert list(rejected) == [f"the settings of the provider `openai:chat:{GPT}` are not in the file", "not valid JSON"]
    second = text[: text.rindex('{\n    "cost"')].count("\n") + 1
    assert list(rejected.values()) == [["cut.json:8 (item 1)"], [f"cut.json:{second}"]]


# lm-eval

DATE = "2026-05-13T00-00-00.123456"
LM_STUDY = ', stop = ["Q:", "</s>"], seed = 1234'


def sample(doc: int, prompt: Any, *replies: str, name: str = "none", **settings: Any) -> Json:
    """A line of samples as lm-eval 0.4.9 writes it for a chat API."""
    chat = [{"role": "user", "content": prompt, "type": "text"}] if isinstance(prompt, str) else prompt
    own = {"until": ["Q:", "</s>"], "do_sample": False, "temperature": 0.5, "max_gen_toks": 50} | settings
    return {
        "doc_id": doc, "doc": {"question": prompt}, "target": "4",
        "arguments": {"gen_args_0": {"arg_0": [json.dumps(chat)], "arg_1": own}},
        "resps": [list(replies)], "filtered_resps": [replies[0][:1]], "filter": name, "metrics": ["exact_match"],
        "doc_hash": "d", "prompt_hash": "p", "target_hash": "t", "exact_match": 1.0,
    }  # fmt: skip


def evaluation(model: str = "openai-chat-completions", args: Any = f"model={GPT}", **more: Any) -> Json:
    config = {"model": model, "model_args": args, "use_cache": None} | more.pop("config", {})
    return {"results": {}, "config": config, "date": 1768964383.5, "lm_eval_version": "0.4.9.2"} | more


def test_samples_of_lm_eval(tmp_path: Path) -> None:
    """Repeats are samples, lines of other filters are the same answers, and the seed is part of the request."""
    folder = study(tmp_path, more=LM_STUDY)
    lines = [
        sample(i, q, f"{q} {name}"[: len(q) + 2], name=name)
        for name in ("strict", "flexible")
        for i, q in enumerate(QUESTIONS)
    ]
    for name in (f"run/samples_gsm8k_{DATE}.jsonl", f"run/samples_gsm8k_again_{DATE}.jsonl.gz"):
        write(folder, name, [*lines[:2], *({**x, "resps": lines[i]["resps"]} for i, x in enumerate(lines[2:]))])
    write(folder, f"run/results_{DATE}.json", evaluation())
    assert take(folder, "lm-eval", "run") == (2, 2, {})  # the second file is a copy
    assert take(folder, "lm-eval", "run") == (0, 4, {})
    params = {"temperature": "0.5", "max_tokens": 50, "stop": ["Q:", "</s>"], "seed": 1234}
    assert stored(folder) == [(f"openai/{GPT}", params, 0, f"{q} s", "other", None) for q in QUESTIONS]
    sends_nothing(folder, 2)


def choice(**more: Any) -> Json:
    """A line of a multiple choice: no answer, two log-likelihoods."""
    arguments = {f"gen_args_{i}": {"arg_0": "Q: x\nA:", "arg_1": f" {c}"} for i, c in enumerate("AB")}
    return sample(9, "x", "y") | {"arguments": arguments, "resps": [[["-3.2", "False"]], [["-1.2", "True"]]]} | more


LIKELIHOOD = "the log-likelihood of a choice is not an answer: the model wrote no text"
LM_REJECTS: tuple[tuple[Any, str], ...] = (
    (choice(), LIKELIHOOD),
    (choice(arguments=[["Q: x\nA:", " A"], ["Q: x\nA:", " B"]]), LIKELIHOOD),  # the shape of early versions
    (sample(2, "x", "y") | {"arguments": [["text"]]}, "a rolling log-likelihood of a text is not an answer"),
    (
        sample(3, "x", "y") | {"arguments": [["<|user|>x", {"until": []}]]},
        "the request is a text, not messages: the model was evaluated without a chat API",
    ),
    (sample(4, "x", ""), "the answer is empty: lm-eval stores failed requests as empty answers"),
    (sample(5, "x", "y", best_of=3), "the effect of `best_of` on the answer is unknown"),
    (sample(6, [{"role": "user", "content": "x", "name": "b"}], "y"), "a message has the field `name`"),
    ({"doc_id": 7}, "the line is not a sample of lm-eval: it has no `arguments` or no `resps`"),
    ('{"doc_id": 8, "doc', "not valid JSON"),
)
END_UNKNOWN = (
    "the texts that end an answer are not recorded: some versions add `<|endoftext|>`. State them: "
    """--param 'stop=["A", "B"]'"""
)
BOTH_UNKNOWN = (
    "lm-eval's versions differ in the `stop` and `temperature` that they send to gpt-3.5-turbo: state both with "
    "--param, such as --param temperature=1 --param stop=null"
)
RUN_REJECTS: tuple[tuple[Json | None, str], ...] = (
    (None, f"the model is unknown: `results_{DATE}.json` is not beside the samples"),
    (evaluation(lm_eval_version="0.4.3"), "the requests of lm-eval before 0.4.4 are not known exactly"),
    (evaluation("hf"), "the request was sent to `hf`, not to a chat API that a study uses"),
    (evaluation(args={"model": GPT, "base_url": "http://a"}), "the model was served by a custom server (`base_url`)"),
    (
        evaluation(config={"use_cache": "c"}),
        "answers may come from lm-eval's cache (`use_cache`), so they may not be new draws",
    ),
    (
        evaluation(args=f"model={GPT},num_concurrent=8"),
        END_UNKNOWN,
    ),
    (
        evaluation(args="model=gpt-3.5-turbo"),
        BOTH_UNKNOWN,
    ),
)


def test_samples_of_lm_eval_that_are_no_answers_of_a_study(tmp_path: Path) -> None:
    """Log-likelihoods are no answers; each reason has its places, and a damaged line ends nothing."""
    folder = study(tmp_path, more=LM_STUDY)
    write(folder, f"samples_a_{DATE}.jsonl", [*(line for line, _ in LM_REJECTS), sample(1, "x", "good")])
    write(folder, f"results_{DATE}.json", evaluation())
    expected: dict[str, list[str]] = {}
    for n, (_, reason) in enumerate(LM_REJECTS, start=1):
        expected.setdefault(reason, []).append(f"samples_a_{DATE}.jsonl:{n}")
    assert take(folder, "lm-eval", f"samples_a_{DATE}.jsonl") == (1, 0, expected)
    for n, (of, reason) in enumerate(RUN_REJECTS):
        write(folder, f"{n}/samples_a_{DATE}.jsonl", [sample(1, "w", "y"), sample(2, "z", "z")])
        if of is not None:
            write(folder, f"{n}/results_{DATE}.json", of)
        places = [f"{n}/samples_a_{DATE}.jsonl:{line}" for line in (1, 2)]
        assert take(folder, "lm-eval", str(n)) == (0, 0, {reason: places})
    stop = ("--param", 'stop=["Q:", "</s>"]')
    assert take(folder, "lm-eval", "5", *stop) == (2, 0, {})
    assert take(folder, "lm-eval", "6", "--param", "stop=null", "--param", "temperature=1") == (2, 0, {})
    params = {"temperature": 1, "max_tokens": 50, "seed": 1234}
    assert ("openai/gpt-3.5-turbo", params, 0, "y", "other", None) in stored(folder)


def test_samples_of_a_local_model(tmp_path: Path) -> None:
    """Its service and its weights are stated."""
    folder = study(tmp_path)
    write(folder, f"samples_a_{DATE}.jsonl", [sample(1, "x", "y")])
    write(
        folder,
        f"results_{DATE}.json",
        evaluation("local-chat-completions", {"model": "Qwen/Qwen3-8B", "base_url": "http://a"}),
    )
    said = emdsl("cache", "import", ".", "--from", "lm-eval", cwd=folder, code=2).stderr
    assert "add --service vllm, or sglang" in said
    reason = "model vllm/Qwen/Qwen3-8B: its weights are unknown: name them with --revision"
    more = ("--service", "vllm")
    assert take(folder, "lm-eval", ".", *more) == (0, 0, {reason: [f"samples_a_{DATE}.jsonl:1"]})
    assert take(folder, "lm-eval", ".", *more, "--revision", "abc") == (1, 0, {})
    assert [x[:1] + x[3:4] for x in stored(folder)] == [("vllm/Qwen/Qwen3-8B", "y")]


# OpenAI's batches

BODY: Json = {"model": GPT, "temperature": 0.5, "max_tokens": 50}


def request(custom_id: str, prompt: str, **body: Any) -> Json:
    messages = [{"role": "user", "content": prompt}]
    return {
        "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions",
        "body": {"messages": messages} | BODY | body,
    }  # fmt: skip


def reply(custom_id: str, text: str, **more: Any) -> Json:
    return {
        "id": f"batch_req_{text}", "custom_id": custom_id, "error": None,
        "response": {
            "status_code": 200, "request_id": f"req_{text}",
            "body": {
                "id": f"chatcmpl-{text}", "object": "chat.completion", "created": 1711652795, "model": GPT,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 22, "completion_tokens": 2, "total_tokens": 24},
            },
        },
    } | more  # fmt: skip


def test_batches_of_openai(tmp_path: Path) -> None:
    """Results in another order than their requests; equal requests are samples in the order of the requests."""
    folder = study(tmp_path, samples=2)
    ids = [(f"q{i} #{n}", q) for n in range(2) for i, q in enumerate(QUESTIONS)]
    write(folder, "batch/input.jsonl.zst", [request(name, q, user="u", seed=None) for name, q in ids])
    results = [reply(name, f"{q} {name}") for name, q in reversed(ids)]
    write(folder, "batch/output.jsonl", results[:3])
    write(folder, "batch/more.jsonl.gz", results[3:])
    service = ("--service", "openai")
    assert take(folder, "openai-batch", "batch", *service) == (4, 0, {})
    before = stored(folder)
    assert take(folder, "openai-batch", "batch", *service) == (0, 4, {})
    params = {"temperature": "0.5", "max_tokens": 50}
    assert before == stored(folder) == [
        (f"openai/{GPT}", params, n, f"{q} q{i} #{n}", "stop", "import")
        for i, q in enumerate(QUESTIONS) for n in range(2)
    ]  # fmt: skip
    sends_nothing(folder, 4)
    assert "--service openai" in emdsl("cache", "import", "batch", "--from", "openai-batch", cwd=folder, code=2).stderr


ERROR = {"response": {"status_code": 429, "body": {"error": {"message": "slow down", "code": "rate_limit"}}}}
EXPIRED = {"response": None, "error": {"code": "batch_expired", "message": "late"}}
BATCH_REJECTS: tuple[tuple[list[Any], list[Any], str], ...] = (  # requests, results and the reason
    ([request("error", "x")], [reply("error", "y") | ERROR], "the request failed: error 429"),
    ([request("late", "x")], [reply("late", "y") | EXPIRED], "the request failed: expired"),
    ([request("none", "x")], [], "the request has no result"),
    ([], [reply("alone", "y")], "the request is unknown: no line has its `custom_id` and a `body`"),
    (
        [request("twice", "x"), request("twice", "z")],
        [reply("twice", "y")],
        "several requests have this `custom_id`: import the files of each batch alone",
    ),
    (
        [request("two", "x")],
        [reply("two", "y"), reply("two", "z")],
        "several answers have this `custom_id`: import the files of each batch alone",
    ),
    (
        [request("format", "x", response_format={"type": "json_object"})],
        [reply("format", "y")],
        "the effect of `response_format` on the answer is unknown",
    ),
    ([request("many", "x", n=2)], [reply("many", "y")], "the effect of `n` on the answer is unknown"),
    (
        [request("bias", "x", logit_bias={"1": 2})],
        [reply("bias", "y")],
        "the effect of `logit_bias` on the answer is unknown",
    ),
    (
        [request("fill", "x", add_generation_prompt=False)],
        [reply("fill", "y")],
        "a study sends another `add_generation_prompt`",
    ),
    (
        [request("other", "x") | {"url": "/v1/responses"}],
        [reply("other", "y")],
        "requests to `/v1/responses` are not chats",
    ),
    (
        [request("pro", "x", model="o1-pro", temperature=None, max_tokens=None)],
        [reply("pro", "y")],
        "a study sends requests to this model to `/responses`, not to `/v1/chat/completions`",
    ),
    (
        [request("parts", "x", messages=[{"role": "developer", "content": "x"}])],
        [reply("parts", "y")],
        "a message has an unknown role",
    ),
    ([], [{"a": 1}], "the line has no `custom_id`"),
    ([], ['{"custom_id": "cut'], "not valid JSON"),
)


def test_batches_whose_requests_are_not_those_of_a_study(tmp_path: Path) -> None:
    """Each is listed; an error beside an answer, as of a second try, is no obstacle."""
    folder = study(tmp_path)
    requests = [r for rows, _, _ in BATCH_REJECTS for r in rows] + [request("good", "x")]
    replies = [r for _, rows, _ in BATCH_REJECTS for r in rows] + [reply("good", "z") | ERROR, reply("good", "good")]
    write(folder, "batch/input.jsonl", requests)
    write(folder, "batch/output.jsonl", replies)
    new, _, rejected = take(folder, "openai-batch", "batch", "--service", "openai")
    assert new == 1
    assert {k: len(v) for k, v in rejected.items()} == {reason: 1 for _, _, reason in BATCH_REJECTS}
    assert rejected["the request failed: error 429"] == ["batch/output.jsonl:1"]
    assert rejected["the request has no result"] == ["batch/input.jsonl:3"]
    assert rejected["not valid JSON"] == [f"batch/output.jsonl:{len(replies) - 2}"]
    assert [x[3] for x in stored(folder)] == ["good"]


def test_batches_of_an_own_server(tmp_path: Path) -> None:
    """Its engine reports the name or the folder of the weights: another one is another model."""
    folder = study(tmp_path)
    write(folder, "batch/in.jsonl", [request(name, name, model=f"org/{name}") for name in (GPT, "other")])
    write(folder, "batch/out.jsonl", [reply(GPT, "good"), reply("other", "bad")])
    more = ("--service", "vllm", "--revision", "abc")
    reason = "another model than `org/other` answered"
    assert take(folder, "openai-batch", "batch", *more) == (1, 0, {reason: ["batch/out.jsonl:2"]})
    assert [x[:1] + x[3:] for x in stored(folder)] == [(f"vllm/org/{GPT}", "good", "stop", None)]


# early versions of Inspect

CALL: Json = {
    "event": "model", "timestamp": "2024-11-05T13:32:17.859608-05:00", "model": f"openai/{GPT}", "tools": [],
    "tool_choice": "none", "config": {"max_connections": 4, "temperature": 0.5, "max_tokens": 50, "num_choices": 1},
}  # fmt: skip


def output(text: str, **more: Any) -> Json:
    message = {"content": text, "source": "generate", "role": "assistant"} | more
    return {
        "model": GPT, "choices": [{"message": message, "stop_reason": "length"}],
        "usage": {"input_tokens": 53, "output_tokens": 46, "total_tokens": 99},
    }  # fmt: skip


def old_log(version: int, *samples: Any, steps: Any = ("system_message", "generate"), **config: Any) -> Json:
    """A log as Inspect 0.3.3 (version 1) or 0.3.43 (version 2) wrote it."""
    return {
        "version": version, "status": "success",
        "eval": {"task": "t", "created": "2024-05-07T13:31:45", "model": f"openai/{GPT}", "model_args": {}},
        "plan": {
            "name": "plan", "steps": [{"solver": s, "params": {}} for s in steps],
            "config": {"max_connections": 4, "temperature": 0.5, "max_tokens": 50} | config,
        },
        "results": {}, "stats": {"completed_at": "2024-05-07T13:32:19"}, "samples": list(samples),
    }  # fmt: skip


def of_messages(q: str, text: str, *, epoch: int = 1, **more: Any) -> Json:
    messages = [{"role": "user", "content": q}, {"role": "assistant", "content": text, "source": "generate"}]
    return {"id": 1, "epoch": epoch, "input": q, "messages": messages, "output": output(text), "score": None} | more


def of_transcript(q: str, text: str, epoch: int = 1) -> Json:
    """A sample of the first logs with events: its events and long texts are in `transcript`."""
    event = CALL | {"input": [{"role": "user", "content": "attachment://q"}], "output": output("attachment://a")}
    return {"id": 1, "epoch": epoch, "transcript": {"events": [event], "content": {"q": q, "a": text}}}


@pytest.mark.parametrize("shape", ["messages", "transcript", "start.json", "_journal/start.json"])
def test_early_logs_of_inspect(tmp_path: Path, shape: str) -> None:
    """Of log version 1 the messages show the only request; transcripts and headers have other names."""
    folder = study(tmp_path)
    make = of_messages if shape == "messages" else of_transcript
    log = old_log(1 if shape == "messages" else 2, *(make(q, q.upper()) for q in QUESTIONS))
    if shape.endswith(".json"):
        (folder / "logs").mkdir()
        with zipfile.ZipFile(folder / "logs" / "a.eval", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(shape, json.dumps({"version": 2, "eval": log["eval"], "plan": log["plan"]}))
            for i, x in enumerate(log["samples"]):
                file.writestr(f"samples/{i}_epoch_1.json", json.dumps(x))
            file.writestr("samples/9_epoch_1.json", '{"id": 9, "epo')
        damaged = {"not valid JSON": ["logs/a.eval:samples/9_epoch_1.json"]}
    else:
        write(folder, "logs/a.json.gz", log)
        damaged = {}
    assert take(folder, "inspect", "logs") == (2, 0, damaged)
    assert take(folder, "inspect", "logs") == (0, 2, damaged)
    params = {"temperature": "0.5", "max_tokens": 50}
    assert stored(folder) == [(f"openai/{GPT}", params, 0, q.upper(), "length", None) for q in QUESTIONS]
    if shape == "messages":
        sends_nothing(folder, 2)
    else:
        needs_nothing(folder)


TWO = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "source": "generate"}]
INSPECT_REJECTS: tuple[tuple[Json, str], ...] = (
    (old_log(2, 7), "the entry has an unknown format"),
    (
        old_log(1, of_messages("x", "y"), steps=("generate", "self_critique")),
        "the log has no model calls, and its solvers may have made several",
    ),
    (
        old_log(1, of_messages("x", "y", messages=[*TWO, *TWO])),
        "the log has no model calls, and its messages have several answers",
    ),
    (
        old_log(1, of_messages("x", "y", output=output("z"))),
        "the log has no model calls, and its last message is not the answer",
    ),
    (
        old_log(1, of_messages("x", "y"), max_tokens=None),
        "the log does not record `max_tokens`, and Inspect's versions differ in their default",
    ),
    (
        old_log(1, of_messages("x", "y")) | {"eval": {"model": "m", "model_args": {"device": 0}}},
        "the log has no model calls, and the settings of its model are not certain",
    ),
    (
        old_log(
            2,
            {
                "id": 1,
                "events": [CALL | {"model": "anthropic/c", "config": {}, "input": TWO[:1], "output": output("y")}],
            },
        ),
        "the log does not record `max_tokens`, which Anthropic requires",
    ),
    (
        old_log(2, {"id": 1, "events": [{"event": "model", "config": 3, "output": 4}]}),
        "the call does not name its model",
    ),
)


def test_early_logs_of_inspect_whose_request_is_not_certain(tmp_path: Path) -> None:
    """What a log does not show is never guessed."""
    folder = study(tmp_path)
    for n, (log, _) in enumerate(INSPECT_REJECTS):
        write(folder, f"logs/{n}.json", log)
    expected = {reason: [f"logs/{n}.json:1 (item 1)"] for n, (_, reason) in enumerate(INSPECT_REJECTS)}
    assert take(folder, "inspect", "logs") == (0, 0, expected)


def test_the_reasoning_of_early_logs(tmp_path: Path) -> None:
    """It was beside the text of the message."""
    folder = study(tmp_path)
    event = CALL | {"input": TWO[:1], "output": output("yes", reasoning="hm")}
    write(folder, "a.json", old_log(2, {"id": 1, "epoch": 1, "events": [event]}))
    assert take(folder, "inspect", "a.json") == (1, 0, {})
    ((_, entry),) = DiskStore(folder / "cache" / "answers", read_only=True).each()
    assert (decode(entry).text, decode(entry).reasoning) == ("yes", "hm")


# all of them


def test_damaged_and_packed_lines(tmp_path: Path) -> None:
    """A damaged line is listed, the rest is imported; of a packed file that is cut, the part before the cut."""
    folder = study(tmp_path)
    line = {"model": f"openai/{GPT}", "messages": [{"role": "user", "content": "x"}], "text": "y"}
    write(folder, "a.jsonl.gz", [line, "{", line, '"\\ud800', line])
    assert take(folder, "jsonl", "a.jsonl.gz") == (3, 0, {"not valid JSON": ["a.jsonl.gz:2", "a.jsonl.gz:4"]})
    write(folder, "cut.jsonl.zst", [line | {"text": str(n)} for n in range(3_000)])
    content = (folder / "cut.jsonl.zst").read_bytes()
    (folder / "cut.jsonl.zst").write_bytes(content[: len(content) * 3 // 4])
    new, _, rejected = take(folder, "jsonl", "cut.jsonl.zst")
    (place,) = rejected["the file cannot be read to its end"]
    assert new > 0
    assert place == f"cut.jsonl.zst:{new + 1}"
    said = emdsl("cache", "import", "a.jsonl.gz", "--from", "jsonl", cwd=folder).stdout
    assert said == (
        "0 answers imported, 3 were cached already\n  2 rejected: not valid JSON (a.jsonl.gz:2, a.jsonl.gz:4)\n"
    )


@pytest.mark.parametrize(
    ("form", "name", "content", "said"),
    [
        ("promptfoo", "a.json", {}, "is not a file of promptfoo's results"),
        ("promptfoo", "a.json", results(version=2), "has version 2 of promptfoo's results"),
        ("openai-batch", "a.jsonl", {}, "name the folder with the requests and the results"),
        ("lm-eval", ".", {}, "has no file that ends in .jsonl"),
        ("jsonl", "b.jsonl", {}, "no such file: b.jsonl"),
    ],
)
def test_files_that_are_refused_whole(tmp_path: Path, form: str, name: str, content: Json, said: str) -> None:
    """They are of another format, or not what the option names."""
    folder = study(tmp_path)
    write(folder, "a.json" if name == "." else name.replace("b.", "a."), content)
    assert said in emdsl("cache", "import", name, "--from", form, "--service", "openai", cwd=folder, code=2).stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--from", "jsonl", "--param", "temperature=0"), "--param is for promptfoo and lm-eval"),
        (("--from", "promptfoo", "--param", "heat=0"), "expected NAME=VALUE"),
        (("--from", "batch", "--param", "temperature=0"), "do not apply to --from batch"),
    ],
)
def test_a_stated_parameter_where_it_means_nothing(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    """It is refused, never ignored."""
    folder = study(tmp_path)
    write(folder, "a.json", results(result("x", "y")))
    assert said in emdsl("cache", "import", "a.json", *more, cwd=folder, code=2).stderr
