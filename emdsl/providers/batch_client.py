"""The batch APIs of all models: where each is asked, kept without secrets, so that another process can go on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.errors import SetupError
from emdsl.price import Price
from emdsl.providers.client import FORMATS, format_of
from emdsl.providers.secret import find_url, key_variables
from emdsl.query import Model
from emdsl.service import service_of
from emdsl.value import EnvVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emdsl.providers.batches import BatchApi
    from emdsl.providers.client import Client
    from emdsl.query import Query

_PRICES = ("input", "output", "cached_input", "cache_write")


class BatchClient:
    """See BatchProvider; `client` sends."""

    def __init__(self, client: Client, environment: Mapping[str, str]) -> None:
        self._client = client
        self._environment = environment
        self._models: dict[str, Model] = {}  # by place

    def places(self, model: Model) -> Sequence[Mapping[str, Any]]:
        """See BatchProvider."""
        url, _ = find_url(model, self._environment)
        price = model.price
        place = {
            "use": model.use, "url": url, "key": model.key.name if model.key is not None else None,
            "headers": [[n, v if isinstance(v, str) else {"env": v.name}] for n, v in model.headers],
            "price": {n: str(v) for n in _PRICES if (v := getattr(price, n)) is not None} if price else None,
        }  # fmt: skip
        return [place | {"account": a} for a in key_variables(model, self._environment) or ("",)]

    def model(self, place: Mapping[str, Any]) -> Model:
        """See BatchProvider."""
        known = self._models.get(repr(place))
        if known is None:
            service, wire_name = service_of(place["use"])
            price = {n: Decimal(v) for n, v in (place["price"] or {}).items()}
            known = self._models[repr(place)] = Model(
                name=place["use"], use=place["use"], service=service, wire_name=wire_name, url=place["url"],
                key=EnvVar(place["key"]) if place["key"] else None,
                headers=tuple((n, v if isinstance(v, str) else EnvVar(v["env"])) for n, v in place["headers"]),
                price=Price(input=price["input"], output=price["output"], cached_input=price.get("cached_input"),
                            cache_write=price.get("cache_write")) if price else None,
            )  # fmt: skip
        return known

    def request(self, query: Query) -> tuple[str, str, bytes]:
        """See BatchProvider."""
        name = format_of(query)
        return name, FORMATS[name].path(query), FORMATS[name].encode(query)

    def api(self, place: Mapping[str, Any], format_: str) -> BatchApi:
        """See BatchProvider."""
        model = self.model(place)
        variables = key_variables(model, self._environment)
        if place["account"] and place["account"] not in variables:
            raise SetupError(f"the API key `{place['account']}`, which it was submitted with, is not set")
        account = variables.index(place["account"]) if place["account"] else 0
        return self._client.batches(model, account, format_)
