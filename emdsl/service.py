"""Who serves models: the facts of each service that the compiler and the providers both need."""

from __future__ import annotations

from dataclasses import dataclass

OPENAI_API = "openai-api"  # `openai-api/<service>/<model>`: any other server that speaks the format
SIM = "sim"
SIM_MODELS = ("subject", "judge")
SIM_PARAMS = ("floor", "ceiling", "half", "refusal", "incoherent")  # of its ground truth: see sim/truth.py
SAMPLE_HEADER = "X-Emdsl-Sample"  # to the simulator alone: real servers draw by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The first segment of a model's name.

    `meaning` enters every key: it is raised only when the same Query is sent with another meaning.
    """

    name: str
    url: str | None = None  # base URL, without a trailing slash; None: the program must give one
    key_variable: str | None = None  # where the API key is, unless the program says
    url_variable: str | None = None  # overrides `url`, unless the program gives one
    self_hosted: bool = False  # the same name may be another model on another machine
    key_required: bool = True
    prefill: bool = True  # goes on from a last message of the assistant, where it is one
    meaning: int = 1


SERVICES = {
    s.name: s
    for s in (
        Service(
            name="openai",
            url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
            prefill=False,
        ),
        Service(name="openrouter", url="https://openrouter.ai/api/v1", key_variable="OPENROUTER_API_KEY"),
        Service(name="together", url="https://api.together.xyz/v1", key_variable="TOGETHER_API_KEY"),
        Service(name="groq", url="https://api.groq.com/openai/v1", key_variable="GROQ_API_KEY"),
        Service(
            name="vllm",
            url="http://localhost:8000/v1",
            key_variable="VLLM_API_KEY",
            url_variable="VLLM_BASE_URL",
            self_hosted=True,
            key_required=False,
            meaning=2,  # from 2 on a last message of the assistant is gone on from, not ended
        ),
        Service(
            name="ollama",
            url="http://localhost:11434/v1",
            key_variable="OLLAMA_API_KEY",
            url_variable="OLLAMA_BASE_URL",
            self_hosted=True,
            key_required=False,
        ),
        Service(name=SIM, url_variable="EMDSL_SIM_URL", key_required=False),
    )
}
PLANNED = ("anthropic", "google", "mistral", "deepseek", "xai", "sglang")


def openai_api(service: str) -> Service:
    """Return the service behind `openai-api/<service>/...`; its variables are named after it."""
    prefix = "".join(c if c.isalnum() else "_" for c in service.upper())
    return Service(
        name=f"{OPENAI_API}/{service}",
        key_variable=f"{prefix}_API_KEY",
        url_variable=f"{prefix}_BASE_URL",
        self_hosted=True,
        key_required=False,
    )
