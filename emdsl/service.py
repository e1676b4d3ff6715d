"""Services: the facts of each provider that both the compiler and the providers need."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emdsl.value import Number

OPENAI_API = "openai-api"  # `openai-api/<service>/<model>`: any other server that speaks the format
OPENAI, ANTHROPIC, GOOGLE = "openai", "anthropic", "google"  # wire formats
MISTRAL, TOGETHER, GROQ = "mistral", "together", "groq"  # formats of batch APIs, beside the three
SIM = "sim"
SIM_MODELS = ("subject", "judge")
SIM_HABITS = ("split_digits", "digit_refusals", "unopened_think")  # true or false
SIM_FACTORS = ("safety_first", "context_first")  # 0 or more
SIM_PARAMS = (  # see sim/truth.py
    "floor", "ceiling", "half", "refusal", "incoherent", "share", *SIM_FACTORS, "thinks", *SIM_HABITS,
)  # fmt: skip
PROBE = "Reply with the number 85 and nothing else."  # the first request to a judge of numbers: see run/probes.py
SAMPLE_HEADER = "X-Emdsl-Sample"  # to the simulator alone: real servers draw by themselves

_PLAIN = frozenset(("temperature", "max_tokens", "top_p", "stop", "extra", "json_schema"))
_PENALTIES = frozenset(("frequency_penalty", "presence_penalty"))
_OPEN = _PLAIN | _PENALTIES | {"top_k", "min_p", "repetition_penalty", "seed", "top_logprobs", "reasoning_effort"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A provider: the first segment of a model's name, and the abilities of its servers.

    `key_version` enters every key; it is raised only if the same Query is sent with another meaning. `capability.py`
    knows what a server would refuse or ignore.
    """

    name: str
    url: str | None = None  # base URL, without a trailing slash; None: the study must give one
    key_variable: str | None = None  # of the API key, unless the study names another
    fallback_variable: str | None = None  # of the API key, if the first is not set
    url_variable: str | None = None  # overrides `url`, unless the study gives one
    self_hosted: bool = False  # the same name may be another model on another machine
    key_required: bool = True
    format: str = OPENAI
    params: frozenset[str] | None = None  # supported; None: unknown, all are sent
    temperature: Number = 2  # maximum
    stops: int | None = None  # maximum number of texts that end an answer
    top_logprobs: int = 20  # maximum number of candidates per token
    prefill: bool = True  # an answer can continue a last message of the assistant
    system_first: bool = False  # supports system messages only at the beginning
    json_schema: bool = True  # supports `extra = { response_format: ... }`
    schema_bounds: bool = False  # supports `minimum` and `maximum` in the schema of `strict = true`
    names_revision: bool = False  # a request names the weights as MODEL@REVISION
    prefix_tokens: int | None = None  # minimum length of a prefix that its cache keeps; None: no cache
    prices: str | None = None  # its name in the table of prices
    batch: str | None = None  # the format of its batch API; None: it has none
    batch_hours: int = 24  # until the requests of a batch expire
    program: tuple[str, ...] | None = None  # starts a server, before its arguments; None: a run cannot start one
    implied_params: tuple[tuple[str, Any], ...] = ()  # defaults for parameters that its API requires: in the key
    key_version: int = 1


SERVICES = {
    s.name: s
    for s in (
        Service(
            name="openai",
            url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
            params=_PLAIN | _PENALTIES | {"seed", "top_logprobs", "reasoning_effort", "reasoning_summary"},
            stops=4,
            prefill=False,
            schema_bounds=True,
            prefix_tokens=1_024,
            prices="openai",
            batch=OPENAI,
        ),
        Service(
            name="anthropic",
            url="https://api.anthropic.com/v1",
            key_variable="ANTHROPIC_API_KEY",
            url_variable="ANTHROPIC_BASE_URL",
            format=ANTHROPIC,
            params=_PLAIN | {"top_k", "reasoning_effort", "reasoning_tokens"},
            temperature=1,
            system_first=True,
            json_schema=False,
            prefix_tokens=1_024,
            prices="anthropic",
            batch=ANTHROPIC,
            implied_params=(("max_tokens", 4_096),),
        ),
        Service(
            name="google",
            url="https://generativelanguage.googleapis.com/v1beta",
            key_variable="GOOGLE_API_KEY",
            fallback_variable="GEMINI_API_KEY",
            url_variable="GOOGLE_BASE_URL",
            format=GOOGLE,
            params=_PLAIN | _PENALTIES | {"top_k", "seed", "top_logprobs", "reasoning_effort", "reasoning_tokens"},
            stops=5,
            system_first=True,
            json_schema=False,
            schema_bounds=True,
            prefix_tokens=2_048,
            prices="google",
            batch=GOOGLE,
            batch_hours=48,
        ),
        Service(
            name="openrouter",
            url="https://openrouter.ai/api/v1",
            key_variable="OPENROUTER_API_KEY",
            params=_OPEN | {"reasoning_tokens"},
            prefix_tokens=1_024,
            prices="openrouter",
            key_version=2,  # 2: `provider.require_parameters` is sent; without it parameters are dropped silently
        ),
        Service(
            name="together",
            url="https://api.together.xyz/v1",
            key_variable="TOGETHER_API_KEY",
            params=_OPEN,
            prices="together",
            batch=TOGETHER,
        ),
        Service(
            name="groq",
            url="https://api.groq.com/openai/v1",
            key_variable="GROQ_API_KEY",
            params=_PLAIN | {"seed", "reasoning_effort"},
            stops=4,
            prefix_tokens=1_024,
            prices="groq",
            batch=GROQ,
        ),
        Service(
            name="deepseek",
            url="https://api.deepseek.com",
            key_variable="DEEPSEEK_API_KEY",
            params=(_PLAIN | _PENALTIES | {"top_logprobs", "reasoning_effort"}) - {"json_schema"},
            stops=16,
            json_schema=False,
            prefix_tokens=64,
            prices="deepseek",
        ),
        Service(
            name="mistral",
            url="https://api.mistral.ai/v1",
            key_variable="MISTRAL_API_KEY",
            params=_OPEN - {"min_p"},
            temperature=Decimal("1.5"),
            prices="mistral",
            batch=MISTRAL,
        ),
        Service(
            name="xai",
            url="https://api.x.ai/v1",
            key_variable="XAI_API_KEY",
            params=_PLAIN | _PENALTIES | {"seed", "top_logprobs", "reasoning_effort"},
            stops=4,
            top_logprobs=8,
            prefill=False,
            prefix_tokens=1_024,
            prices="x-ai",
        ),
        Service(
            name="vllm",
            url="http://localhost:8000/v1",
            key_variable="VLLM_API_KEY",
            url_variable="VLLM_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=_OPEN,
            schema_bounds=True,
            prefix_tokens=256,
            program=("vllm", "serve"),
            key_version=2,  # 2: a last message of the assistant is continued, not closed
        ),
        Service(
            name="sglang",
            url="http://localhost:30000/v1",
            key_variable="SGLANG_API_KEY",
            url_variable="SGLANG_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=_OPEN,
            schema_bounds=True,
            prefix_tokens=256,
            program=("python3", "-m", "sglang.launch_server"),
        ),
        Service(
            name="ollama",
            url="http://localhost:11434/v1",
            key_variable="OLLAMA_API_KEY",
            url_variable="OLLAMA_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=_PLAIN | _PENALTIES | {"seed", "top_logprobs", "reasoning_effort"},  # it ignores all others
        ),
        Service(
            name="transformers",
            url="http://localhost:8000/v1",
            key_variable="TRANSFORMERS_API_KEY",
            url_variable="TRANSFORMERS_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=(_PLAIN | {"seed"})
            - {"json_schema"},  # its `frequency_penalty` is another one, all others are ignored
            prefill=False,
            json_schema=False,
            names_revision=True,  # without it the server would load the weights of today
            program=("transformers", "serve"),
        ),
        Service(
            name="llama-cpp",
            url="http://localhost:8080/v1",
            key_variable="LLAMA_API_KEY",
            url_variable="LLAMA_CPP_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=_OPEN - {"reasoning_effort"},
            schema_bounds=True,
            prefix_tokens=256,
        ),
        Service(
            name="litellm",
            url="http://localhost:4000/v1",
            key_variable="LITELLM_API_KEY",
            url_variable="LITELLM_BASE_URL",
            self_hosted=True,
            key_required=False,
            params=_OPEN | {"reasoning_tokens"},
            prefix_tokens=1_024,
            batch=OPENAI,
        ),
        Service(name=SIM, url_variable="EMDSL_SIM_URL", key_required=False, prefix_tokens=1_024, batch=OPENAI),
    )
}


OPENAI_COMPATIBLE = {  # other services with OpenAI's format: their URL, and the usual variable of the API key
    "azure": ("https://RESOURCE.openai.azure.com/openai/v1", "AZURE_OPENAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "cohere": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "dashscope": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "fireworks": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "github": ("https://models.github.ai/inference", "GITHUB_TOKEN"),
    "hf": ("https://router.huggingface.co/v1", "HF_TOKEN"),
    "lmstudio": ("http://localhost:1234/v1", "LMSTUDIO_API_KEY"),
    "moonshot": ("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "nvidia": ("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "perplexity": ("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "zai": ("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
}
ALIASES = {  # names of services in other tools
    "gemini": "google", "googleai": "google", "claude": "anthropic", "grok": "xai", "x-ai": "xai",
    "mistralai": "mistral", "togetherai": "together", "together_ai": "together", "openai_api": OPENAI_API,
    "huggingface": "hf", "hf-inference-providers": "hf", "fireworks_ai": "fireworks", "fireworks-ai": "fireworks",
    "azureai": "azure", "azure_openai": "azure", "azure-openai": "azure", "azure_ai": "azure",
    "lm_studio": "lmstudio", "lm-studio": "lmstudio", "qwen": "dashscope", "nvidia_nim": "nvidia",
    "hosted_vllm": "vllm", "llama_cpp": "llama-cpp", "llamacpp": "llama-cpp", "vertex": "vertex_ai",
}  # fmt: skip
BEHIND_LITELLM = ("bedrock", "sagemaker", "vertex_ai", "watsonx", "databricks")  # formats of their own


def suggest_spelling(first: str, rest: str) -> str:
    """Return how to write `first/rest` if the first segment is a service under another name; else ""."""
    name = ALIASES.get(first.lower(), first.lower())
    if name in SERVICES:
        return f'write "{name}/{rest}"'
    if name == OPENAI_API:
        return f'write "{OPENAI_API}/SERVICE/{rest}"'
    if name in OPENAI_COMPATIBLE:
        url, variable = OPENAI_COMPATIBLE[name]
        return f'write `use = "{OPENAI_API}/{name}/{rest}", url = "{url}", key = env.{variable}`'
    if name in BEHIND_LITELLM:
        return f'use a LiteLLM proxy: start `litellm --model {name}/{rest}`, and write `use = "litellm/{name}/{rest}"`'
    return ""


def openai_api(service: str) -> Service:
    """Return the service of `openai-api/<service>/...`; its variables are named after it."""
    prefix = "".join(c if c.isalnum() else "_" for c in service.upper())
    return Service(
        name=f"{OPENAI_API}/{service}",
        key_variable=f"{prefix}_API_KEY",
        url_variable=f"{prefix}_BASE_URL",
        self_hosted=True,
        key_required=False,
        params=_OPEN,
        prefix_tokens=1_024,
        batch=OPENAI,
    )


def service_of(use: str) -> tuple[Service, str]:
    """Return the service of a model that was declared with this `use`, and its name there."""
    first, _, rest = use.partition("/")
    if first == OPENAI_API:
        name, _, rest = rest.partition("/")
        return openai_api(name), rest
    return SERVICES[first], rest
