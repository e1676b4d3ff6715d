"""Notices that answers which are compared may come from different models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.errors import OutcomesError
from emdsl.outcomes.drift import drifts

if TYPE_CHECKING:
    from emdsl.study.compiled import Compiled


def drift_notices(study: Compiled) -> list[str]:
    """Return notices about compared answers that may come from different models; none before a load."""
    notices: list[str] = []
    try:
        with study.tables() as (connection, _):
            for experiment in study.program.experiments:
                notices += [d.notice for d in drifts(connection, experiment, study.name)]
    except OutcomesError:  # not loaded, or by an emdsl that knew other columns
        return []
    return notices
