"""Verdicts of people in the table of an experiment: those of each row, without rows that measures leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from emdsl.annotation import agreed, shown
from emdsl.outcomes.sql import literal, name
from emdsl.value import NOT_ASKED, Missing

if TYPE_CHECKING:
    from emdsl.annotation import Annotation
    from emdsl.outcome import Result


class Judged(NamedTuple):
    """The annotation of one row: the label for measures, or the reason why it is missing, with all verdicts.

    `verdict` is the label that most people chose, also on rows that measures leave out, and None for a tie. `raters` is
    the number of people, `shown` the digest of the shown texts, `order` the place in the draw.
    """

    label: str | None
    reason: str | None
    verdict: str | None = None
    raters: int | None = None
    shown: str | None = None
    order: str | None = None


def judged(annotation: Annotation, result: Result) -> Judged:
    """Return the verdict of people on the answer of a row."""
    query, value = result.query, result.value
    if isinstance(value, Missing) or query is None or not isinstance(value, str):
        return Judged(None, value.reason if isinstance(value, Missing) else NOT_ASKED.reason)
    shown_digest = shown(query.prompt, value).digest
    labels = annotation.labels.get(shown_digest, {})
    verdict = agreed(labels.values()) if labels else None
    reason = "not_annotated" if not labels else "disagreement" if verdict is None else None
    if annotation.tunes(query.key):
        reason = "tuning"
    return Judged(
        verdict if reason is None else None, reason, verdict, len(labels), shown_digest, annotation.order(query.key)
    )


def not_drawn_sql(annotation: Annotation, table: str) -> str:
    """Return the UPDATE that leaves out verdicts on rows outside of the draw; "" if all rows are drawn.

    Of each group the rows of smallest order are drawn, which does not depend on their answers or verdicts. A person
    chose to look at any other row: such rows are no random sample, and figures on them would be biased.
    """
    if annotation.draw is None:
        return ""
    label, reason, order = (name(annotation.name + end) for end in ("", "_missing", "_order"))
    groups = [name(axis) for axis in annotation.within]
    listed = "".join(f"{g}, " for g in groups)
    same = "".join(f" AND rows.{g} IS NOT DISTINCT FROM cuts.{g}" for g in groups)
    cut = f"list_sort(list(DISTINCT {order}))[{annotation.draw}]"
    by = f" GROUP BY {', '.join(groups)}" if groups else ""
    return (
        f"UPDATE {table} AS rows SET {label} = NULL, {reason} = {literal('not_drawn')}\n"
        f"FROM (SELECT {listed}{cut} AS cut FROM {table} WHERE {order} IS NOT NULL{by}) AS cuts\n"
        f"WHERE rows.{order} > cuts.cut{same}"
    )


def outside_sql(annotation: Annotation, table: str) -> str:
    """Return the SELECT of the number of rows with a verdict outside of the draw."""
    verdict, reason = name(f"{annotation.name}_verdict"), name(f"{annotation.name}_missing")
    return f"SELECT count({verdict}) FROM {table} WHERE {reason} = {literal('not_drawn')}"


def outside_notice(annotation: Annotation, n: int) -> list[str]:
    """Return a notice about `n` rows with a verdict outside of the draw; nothing for 0."""
    rows = "1 row has" if n == 1 else f"{n:,} rows have"
    return [f"annotation `{annotation.name}`: {rows} a verdict outside of the draw, which no figure uses"] if n else []
