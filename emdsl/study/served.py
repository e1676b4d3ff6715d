"""Models that a run serves itself: which servers its pending requests need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import UsageError
from emdsl.experiment import request_settings
from emdsl.providers.secret import needs_servers
from emdsl.study.options import LOCAL
from emdsl.study.screen import plain_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emdsl.query import Model
    from emdsl.run.count import ExperimentCount
    from emdsl.serve import Serve
    from emdsl.study.compiled import Compiled
    from emdsl.study.screen import Part


LOGS = "serving"  # in the cache: a folder of logs for each run


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The servers that a run starts."""

    on: str  # LOCAL, RAY, or a Ray cluster
    models: tuple[Model, ...]  # with `serve`, each for all models with the same weights

    @property
    def n_servers(self) -> int:
        """The number of servers of all models."""
        return sum(m.serve.replicas for m in self.models if m.serve is not None)

    @property
    def shown(self) -> str:
        """The servers in words."""
        return ", ".join(f"{m.serve.shown} for `{name_of(m)}`" for m in self.models if m.serve is not None)


def name_of(model: Model) -> str:
    """Return the name that models with the same servers share."""
    return f"{model.use}@{model.revision}"


def served_models(counts: Iterable[ExperimentCount], environment: Mapping[str, str] | None = None) -> list[Model]:
    """Return the models with `serve` and pending requests, one for those with the same servers.

    With an environment, only those that it gives no running server.
    """
    models = {name_of(m): m for c in counts for m in c.models.values() if m.serve is not None}
    return [m for m in models.values() if environment is None or needs_servers(m, environment)]


def served_parts(models: Iterable[Model]) -> Iterator[Part]:
    """Yield the servers that pending requests need."""
    for model in models:
        if model.serve is not None:
            yield f"`{model.use}` needs {model.serve.shown}: --serve starts {_them(model.serve)}\n"


def served_json(models: Iterable[Model]) -> list[dict[str, Any]]:
    """Return the servers that pending requests need, as `emdsl plan --json` prints them."""
    return [
        {
            "model": m.use, "revision": m.revision, "replicas": m.serve.replicas, "gpus": plain_json(m.serve.gpus),
            "args": list(m.serve.args),
        }
        for m in models
        if m.serve is not None
    ]  # fmt: skip


def _them(serve: Serve) -> str:
    return "it" if serve.replicas == 1 else "them"


def serving_of(on: str | None, study: Compiled, counts: Iterable[ExperimentCount]) -> Serving | None:
    """Return the servers that a run starts, None if it starts none.

    Raises:
        UsageError: Servers are wanted on this machine, but no model of the study has `serve`.
    """
    if on is None or study.project.simulate:
        return None
    declared = any(h.model.serve is not None for e in study.program.experiments for _, h in request_settings(e))
    if not declared and on == LOCAL:
        raise UsageError(
            "no model of this study has `serve`: `emdsl explain E728` shows how to write it", parameter="on"
        )
    models = served_models(counts)
    return Serving(on=on, models=tuple(models)) if models else None
