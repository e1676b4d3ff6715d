"""Annotation: the labels that people give to answers, what is shown to them, and their verdicts.

A verdict is kept by two digests, of the shown texts and of the choices, never by its place in a grid: it outlives any
edit of the grid, of the judges and of names. Files hold these digests, and no text of a study.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl import lines
from emdsl.digest import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from emdsl.digest import Digest
    from emdsl.prompt import Prompt
    from emdsl.source import Span

FOLDER = "annotations"  # beside the `.em` file
MAX_LINE = 100_000  # bytes
MAX_NOTE = 10_000  # characters, of up to 6 bytes each in a line
REASONS = ("not_annotated", "not_drawn", "tuning", "disagreement")  # why a row has no verdict of people
_ORDER = 16  # hex digits
_TUNING = 2**64
_MAX_AT = 1e12  # seconds: no NaN, which is before and after nothing


class Shown(NamedTuple):
    """What a person sees of a row: the last message of the user, and the answer without its reasoning."""

    question: str
    answer: str

    @property
    def digest(self) -> str:
        """Its digest, in hex."""
        return digest("shown", self.question, self.answer).hex()


def shown(prompt: Prompt, answer: str) -> Shown:
    """Return the shown texts of an answer to a prompt; the question is empty without a message of the user."""
    question = next((m.text for m in reversed(prompt.messages) if m.role == "user"), "")
    return Shown(question, answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of a file: the label that a person chose, or the withdrawal of one.

    Attributes:
        choices: The digest of the labels and their descriptions, in hex.
        shown: The digest of the shown texts, in hex.
        rater: The name of the person.
        label: The chosen label; None withdraws the label that the person chose before.
        note: A remark of the person.
        at: The time, in seconds since 1970.
    """

    choices: str
    shown: str
    rater: str
    label: str | None
    note: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotation:
    """`annotate name of ask { settings }`.

    Of each group by `within`, the `draw` rows of smallest order are drawn; without `draw`, all rows. `split` is the
    share of rows to tune a judge on, in [0, 1]. `labels` has the last label of each person, by the digest of the shown
    texts and by person.
    """

    name: str
    ask: str
    choices: Mapping[str, str]  # labels with their descriptions
    draw: int | None = None
    within: tuple[str, ...] = ()  # axes
    raters: int = 1
    split: float = 0.0
    seed: Any = None
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    latest: float = 0.0  # time of the last verdict, in seconds since 1970
    span: Span = field(repr=False)

    @property
    def choices_digest(self) -> str:
        """The digest of the labels and their descriptions, in hex."""
        return choices_digest(self.choices)

    def order(self, key: Digest) -> str:
        """Return the place of an answer in the draw, in hex: only the seed and the key of its request decide it."""
        return digest("drawn", self.seed, key).hex()[:_ORDER]

    def tunes(self, key: Digest) -> bool:
        """Whether an answer belongs to the share on which a judge is tuned."""
        return int.from_bytes(digest("tuning", self.seed, key)[:8], "big") < self.split * _TUNING


def choices_digest(choices: Mapping[str, str]) -> str:
    """Return the digest of labels with their descriptions, in hex."""
    return digest("choices", dict(choices)).hex()


def agreed(labels: Iterable[str]) -> str | None:
    """Return the label that most people chose; None for a tie."""
    first, *others = Counter(labels).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def last_labels(verdicts: Iterable[Verdict], choices: str) -> dict[str, dict[str, str]]:
    """Return the last label of each person, by the digest of the shown texts and by person.

    The time of a verdict decides which is the last: lines of merged files are in any order.

    Args:
        verdicts: Verdicts of all people.
        choices: The digest of the choices; verdicts about others are ignored.
    """
    last: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        if verdict.choices != choices:
            continue
        place = (verdict.shown, verdict.rater)
        if place not in last or last[place].at <= verdict.at:
            last[place] = verdict
    labels: dict[str, dict[str, str]] = {}
    for (shown_digest, rater), verdict in last.items():
        if verdict.label is not None:
            labels.setdefault(shown_digest, {})[rater] = verdict.label
    return labels


# ---------------------------------------------------------------- files


class Unreadable(ValueError):
    """A line that is not a verdict: its number, from 1, and why."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"line {number} is not a verdict: {why}")


def verdicts_in(content: bytes) -> Iterator[Verdict]:
    """Yield the verdicts of a file, without a last line that a crash cut off: it was never acknowledged.

    Raises:
        Unreadable: A line is not a verdict.
    """
    *ended, last = content.split(b"\n")
    for number, line in enumerate(ended, start=1):
        if line.strip():
            yield _verdict(number, line)
    with suppress(Unreadable):
        yield _verdict(len(ended) + 1, last)


def _verdict(number: int, line: bytes) -> Verdict:
    if len(line) > MAX_LINE:
        raise Unreadable(number, f"it is longer than {MAX_LINE:,} bytes")
    try:
        fields: Any = json.loads(line)
    except ValueError:
        raise Unreadable(number, lines.why_not_json(line)) from None
    if not isinstance(fields, dict):
        raise Unreadable(number, "it is not an object")
    texts = [x for name in ("choices", "shown", "rater") if isinstance(x := fields.get(name), str) and x]
    label, note, at = fields.get("label"), fields.get("note", ""), fields.get("at", 0.0)
    if len(texts) < 3:
        raise Unreadable(number, "it needs `choices`, `shown` and `rater`")
    if not (label is None or (isinstance(label, str) and label)) or not isinstance(note, str):
        raise Unreadable(number, "`label` and `note` are texts")
    if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) <= _MAX_AT:
        raise Unreadable(number, "`at` is a time in seconds")
    return Verdict(choices=texts[0], shown=texts[1], rater=texts[2], label=label, note=note, at=float(at))


def line_of(verdict: Verdict) -> bytes:
    """Return the line of a verdict, with its end."""
    fields: dict[str, Any] = {"choices": verdict.choices, "shown": verdict.shown, "rater": verdict.rater}
    fields |= {"label": verdict.label, "at": round(verdict.at, 3)} | ({"note": verdict.note} if verdict.note else {})
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def append(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Add verdicts to the end of a file, and wait until they are on the disk. Raises OSError."""
    lines.append(path, map(line_of, verdicts), _is_verdict)


def _is_verdict(line: bytes) -> bool:
    return bool(list(verdicts_in(line)))


def merged(mine: bytes, theirs: bytes) -> bytes:
    """Return the lines of two files of verdicts, each once."""
    return lines.merged(mine, theirs, _is_verdict)
