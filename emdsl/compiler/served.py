"""The setting `serve` of a model: whether a run can start its servers, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.compiler.written import written
from emdsl.frame import fail
from emdsl.serve import FIELDS, Serve
from emdsl.service import SERVICES
from emdsl.source import near, one_of
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.service import Service
    from emdsl.source import Span

MAX_REPLICAS = 10_000
_SET = (  # options of the programs that emdsl sets, or that the environment sets
    "--host", "--port", "--model", "--model-path", "--force-model", "--revision", "--served-model-name", "--api-key",
    "--admin-api-key", "--hf-token",
)  # fmt: skip


def read_serve(given: Mapping[str, Any], service: Service, span: Span, places: Mapping[str, Span]) -> Serve:
    """Return the setting `serve`; raises EvalFault.

    Args:
        given: Its fields.
        service: The service of the model.
        span: The place of the whole setting.
        places: The places of settings and their fields: `serve.gpus`.
    """
    if service.program is None:
        served = one_of([s.name for s in SERVICES.values() if s.program is not None])
        raise fail(
            "E727", f"emdsl cannot start a server of `{service.name}`", span,
            help=f"remove `serve`; it is for {served}",
        )  # fmt: skip
    for name in given:
        if name not in FIELDS:
            raise fail("E728", f"unknown field `{name}` of `serve`", places.get(f"serve.{name}", span).of(name),
                       help=near(name, FIELDS) or f"available: {one_of(FIELDS)}")  # fmt: skip
    serve = Serve(**given)
    _check_args(serve.args, places.get("serve.args", span))
    gpus, replicas = serve.gpus, serve.replicas
    if not is_exact(gpus) or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise fail(
            "E728", f"`gpus` must be a whole number, or a share of one GPU, got {written(gpus)}",
            places.get("serve.gpus", span), help="e.g. `gpus: 1`, or `gpus: 0` for a server on the CPU",
        )  # fmt: skip
    if type(replicas) is not int or not 1 <= replicas <= MAX_REPLICAS:
        raise fail("E728", f"`replicas` must be a whole number from 1 to {MAX_REPLICAS:,}, got {written(replicas)}",
                   places.get("serve.replicas", span), help="e.g. `replicas: 4`")  # fmt: skip
    return serve


def _check_args(args: Any, span: Span) -> None:
    """Raise EvalFault for arguments that are not texts, or that set an option of emdsl."""
    if not isinstance(args, tuple) or not all(isinstance(x, str) and x and "\0" not in x for x in args):
        raise fail("E728", f"`args` must be a list of texts, got {written(args)}", span,
                   help='e.g. `args: ["--max-model-len", "8192"]`')  # fmt: skip
    for arg in args:
        option = arg.partition("=")[0].replace("_", "-")
        if option in _SET:
            secret = option in ("--api-key", "--admin-api-key", "--hf-token")
            raise fail(
                "E728", f"`{option}` is not allowed in `args`", span,
                help="remove it; the token of Hugging Face comes from the variable `HF_TOKEN`" if secret
                else "remove it: emdsl sets the model, its revision and the address",
            )  # fmt: skip
