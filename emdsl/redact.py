"""The one registry of secrets: what must never be printed or written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK = "[API key]"
MIN_MASKED = 12  # characters: API keys are longer; a shorter value may be a word of someone's data
_SECRET_NAME = re.compile(r"(?:API_KEY(?:_\d+)?|_TOKEN|_SECRET|_PASSWORD)$")

_secrets: set[str] = set()


def keep_secret(environment: Mapping[str, str]) -> None:
    """Register the values of variables that hold API keys."""
    for name, value in environment.items():
        secret = value.strip()
        if _SECRET_NAME.search(name.upper()) and len(secret) >= MIN_MASKED and not secret.isdigit():
            _secrets.update((secret, json.dumps(secret)[1:-1]))


def mask(text: str) -> str:
    """Return a text with every registered secret replaced."""
    for secret in _secrets:
        text = text.replace(secret, MASK)
    return text
