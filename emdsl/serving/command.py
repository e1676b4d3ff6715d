"""The command line of a model's server, without its address: a list of arguments, which no shell ever reads."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from emdsl.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.query import Model


def command_variable(service: str) -> str:
    """Return the environment variable that replaces the program of a service."""
    return f"EMDSL_SERVE_{service.upper()}"


def program_of(service: str, default: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the program that starts a server, as the environment names it, or the default of its service.

    Raises:
        SetupError: The variable is not a command line.
    """
    variable = command_variable(service)
    text = environment.get(variable, "").strip()
    if not text:
        return default
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise SetupError(f"`{variable}` is not a command line: {error}") from None


def command_of(model: Model, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command line of a server of a model with `serve`, without its address.

    Raises:
        SetupError: The variable of the program is not a command line.
    """
    service, args = model.service, model.serve.args if model.serve is not None else ()
    program = program_of(service.name, service.program or (), environment)
    name, revision = model.use.partition("/")[2], model.revision or ""
    weights: tuple[str, ...]
    match service.name:
        case "vllm":
            weights = (name, "--revision", revision, "--served-model-name", model.wire_name)
        case "sglang":
            weights = ("--model-path", name, "--revision", revision, "--served-model-name", model.wire_name)
        case _:  # transformers: one argument names the model and the revision
            weights = (model.wire_name,)
    return (*program, *weights, *args)
