"""The batch APIs, by their names in Service.batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.providers.batch_anthropic import AnthropicBatches
from emdsl.providers.batch_google import GoogleBatches
from emdsl.providers.batch_mistral import MistralBatches
from emdsl.providers.batch_openai import GroqBatches, OpenAIBatches, TogetherBatches
from emdsl.service import ANTHROPIC, GOOGLE, GROQ, MISTRAL, OPENAI, TOGETHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.providers.batch_account import BatchAccount
    from emdsl.providers.batches import BatchApi

BATCH_APIS: dict[str, Callable[[BatchAccount], BatchApi]] = {
    OPENAI: OpenAIBatches, ANTHROPIC: AnthropicBatches, GOOGLE: GoogleBatches, MISTRAL: MistralBatches,
    TOGETHER: TogetherBatches, GROQ: GroqBatches,
}  # fmt: skip
