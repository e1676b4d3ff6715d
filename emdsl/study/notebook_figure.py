"""Figures as notebooks show them: an image, which needs no network."""

from __future__ import annotations

from typing import Any

import altair as alt

from emdsl.report import charts

ONLINE = ("default", "html")  # renderers of Altair whose output loads scripts from a server


class _Figure(alt.TopLevelMixin):
    """A chart that is shown as SVG, unless another renderer of Altair was chosen."""

    def _repr_mimebundle_(self, *args: Any, **kwds: Any) -> Any:
        if alt.renderers.active not in ONLINE:
            return super()._repr_mimebundle_(*args, **kwds)
        return {"image/svg+xml": charts.image(self)}


def shown_figure(chart: alt.TopLevelMixin) -> alt.TopLevelMixin:
    """Return a chart that notebooks show without a network, and any chart that is made of it by its methods."""
    kind = type(chart)
    figure = type(kind.__name__, (_Figure, kind), {"__module__": kind.__module__})
    object.__setattr__(chart, "__class__", figure)  # Altair keeps what is assigned as a part of the chart
    return chart
