"""The command lines of servers: the service names the program, the environment replaces it, no shell reads it."""

from __future__ import annotations

import pytest
from support import experiment, program

from emdsl.errors import SetupError
from emdsl.experiment import request_settings
from emdsl.serving.command import command_of
from emdsl.serving.launcher import ReplicaSpec

HOSTILE = 'a; touch owned && $(id) `id` "quoted" \\"'


def command(setting: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    found = experiment(f'model m {{ {setting} }}\nexperiment e {{ ask answer from m with "x" }}')
    ((_, head),) = request_settings(found)
    return command_of(head.model, environment or {})


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ('use = "vllm/Qwen/Qwen3-8B", revision = "b9", serve = { args: ["--max-model-len", "8192"], replicas: 4 }', {},
         "vllm serve Qwen/Qwen3-8B --revision b9 --served-model-name Qwen/Qwen3-8B --max-model-len 8192"),
        ('use = "vllm//data/qwen", revision = "b9", serve = {}', {},
         "vllm serve /data/qwen --revision b9 --served-model-name /data/qwen"),
        ('use = "sglang/Qwen/Qwen3", revision = "b9", serve = { args: ["--tp", "2"], gpus: 2 }', {},
         "python3 -m sglang.launch_server --model-path Qwen/Qwen3 --revision b9 --served-model-name Qwen/Qwen3 --tp 2"),
        ('use = "transformers/Qwen/Qwen3-8B", revision = "b9", serve = {}', {}, "transformers serve Qwen/Qwen3-8B@b9"),
        ('use = "vllm/m", revision = "b9", serve = {}', {"EMDSL_SERVE_VLLM": "'/opt/my env/vllm' serve -x"},
         "/opt/my env/vllm|serve|-x|m|--revision|b9|--served-model-name|m"),
        ('use = "sglang/m", revision = "b9", serve = {}', {"EMDSL_SERVE_VLLM": "x"},
         "python3 -m sglang.launch_server --model-path m --revision b9 --served-model-name m"),
    ],
    ids=["vllm", "a folder", "sglang", "transformers", "a free command", "of another service"],
)  # fmt: skip
def test_the_command_of_a_server(setting: str, environment: dict[str, str], expected: str) -> None:
    """The study has no say in the program, and emdsl names the model, its revision and the address."""
    assert command(setting, environment) == tuple(expected.split("|" if "|" in expected else " "))


def test_an_argument_stays_one_argument() -> None:
    """Whatever is in it: no shell takes it apart."""
    quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    built = command(f'use = "vllm/m", revision = "b9", serve = {{ args: ["--name", "{quoted}"] }}')
    assert built[-2:] == ("--name", HOSTILE)
    spec = ReplicaSpec(model="vllm/m", name="m-1", index=0, command=built)
    assert spec.argv("127.0.0.1", 8000) == [*built, "--host", "127.0.0.1", "--port", "8000"]


def test_a_variable_that_is_no_command_line() -> None:
    with pytest.raises(SetupError, match="`EMDSL_SERVE_VLLM` is not a command line: No closing quotation"):
        command('use = "vllm/m", revision = "b9", serve = {}', {"EMDSL_SERVE_VLLM": "'vllm serve"})


def test_a_server_gets_no_secret_of_others() -> None:
    """It gets the variables of the machine without API keys, tokens, passwords and those of emdsl."""
    machine = {
        "PATH": "/bin", "OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_2": "sk-2", "GITHUB_TOKEN": "x", "PG_PASSWORD": "y",
        "AWS_SECRET_ACCESS_KEY": "z", "EMDSL_STORE": "postgresql://me:secret@host/db", "HF_TOKEN": "hf_machine",
        "AZURE_STORAGE_ACCOUNT_KEY": "k", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    spec = ReplicaSpec(model="vllm/m", name="m-1", index=0, command=("x",), environment={"HF_TOKEN": "hf_own"})
    assert spec.variables(machine) == {"PATH": "/bin", "TOKENIZERS_PARALLELISM": "false", "HF_TOKEN": "hf_own"}
    assert "hf_own" not in repr(spec)


@pytest.mark.parametrize("service", ["vllm", "sglang", "transformers"])
def test_serve_is_in_no_key(service: str) -> None:
    """Keys are those of the same model without `serve`, and models differ in nothing else."""
    text = 'model m {{ use = "{}/m", revision = "1" {} }}\nexperiment e {{ ask answer from m with "x" }}'
    served, plain = (
        next(head for _, head in request_settings(program(text.format(service, more)).experiments[0]))
        for more in (', serve = { args: ["--seed", "3"], gpus: 2, replicas: 8 }', "")
    )
    assert served.model.serve is not None
    assert (served.key_head, served.model) == (plain.key_head, plain.model)


def test_models_with_the_same_weights_share_their_servers() -> None:
    """A derived model inherits `serve`; another revision has a queue of its own, and a `url` replaces the servers."""
    found = experiment(
        'model a { use = "vllm/m", revision = "1", serve = { replicas: 2 } }\n'
        "model b from a { temperature = 0 }\n"
        'model c from a { revision = "2" }\n'
        'model d from a { revision = "3", url = "http://gpu1:8000/v1" }\n'
        "experiment e {\n  for m in [a, b, c, d]\n"
        '  ask answer from m with "x"\n}'
    )
    a, b, c, d = (head.model for _, head in request_settings(found))
    assert a.lane == b.lane != c.lane
    assert a.serve == b.serve == c.serve
    assert d.serve is None
