"""LiteLLM asks a database for keys, unless it is told how to look at them."""

from fastapi import Request
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


async def check(request: Request, api_key: str) -> UserAPIKeyAuth:
    if api_key == "sk-conformance-0123":
        return UserAPIKeyAuth(api_key=api_key)
    raise ProxyException(message="Incorrect API key provided", type="invalid_request_error", param=None, code=401)
