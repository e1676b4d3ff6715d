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


def progress_sql(annotation: Annotation, table: str) -> str:
    """Return the SELECT of numbers of rows: with a verdict outside of the draw, drawn, and drawn with a verdict."""
    label, verdict, reason = (name(annotation.name + end) for end in ("", "_verdict", "_missing"))
    lacking = ", ".join(map(literal, ("not_annotated", "disagreement")))
    return (
        f"SELECT count({verdict}) FILTER ({reason} = {literal('not_drawn')}),\n"
        f"  count(*) FILTER ({label} IS NOT NULL OR {reason} IN ({lacking})), count({label}) FROM {table}"
    )


def progress_notices(annotation: Annotation, outside: int, drawn: int, judged: int) -> list[str]:
    """Return notices about rows that no figure uses, and about drawn rows without a verdict while others have one."""
    notices = []
    if outside:
        rows = "1 row has" if outside == 1 else f"{outside:,} rows have"
        notices.append(f"annotation `{annotation.name}`: {rows} a verdict outside of the draw, which no figure uses")
    if 0 < judged < drawn:
        notices.append(
            f"annotation `{annotation.name}`: {judged:,} of {drawn:,} drawn rows have a verdict; figures take the "
            "others as like them, which skipped texts and ties may not be"
        )
    return notices
