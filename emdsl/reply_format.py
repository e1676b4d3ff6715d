"""ReplyFormat: what the reply of a judge, or a subject's own answer, must say. `judge` reads replies by it."""

from __future__ import annotations

from dataclasses import dataclass, replace

BY_CELL = ("(by cell)",)  # in place of labels that differ by cell
MASSES = ("mass", "word_mass")  # of a weighted verdict: the probability of its values, and of declared words


def share(label: str) -> str:
    """Return the field of a weighted verdict with the probability of a label: `p(YES)`."""
    return f"p({label})"


def column_of(field: str) -> str:
    """Return the end of the column of a field: `p_YES` of `p(YES)`, else its own name."""
    return f"p_{field[2:-1]}" if field.startswith("p(") else field


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A verdict from the candidates of the first token: the weighted mean of numbers, or the most probable label.

    Source: Betley et al. (2025) for scores, Chen et al. (2025) for labels. `top` candidates are requested; with less
    than `mass` of probability on numbers or labels the verdict is missing. Without `mass` the number in the reply is
    read, from the same request.
    """

    top: int = 20
    mass: float | None = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyField:
    """One field of a JSON reply; `kind` is bool, number, text or label; a number may have a `scale`."""

    name: str
    kind: str
    scale: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFormat:
    """The format of a reply; one of `scale`, `choices` and `shape` is set."""

    scale: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    shape: tuple[ReplyField, ...] = ()
    weighted: Weighted | None = None
    words: tuple[str, ...] = ()  # `refusal` and `other`: final replies without a score
    strict: bool = False  # whether the provider enforces the shape
    by_cell: bool = False  # whether its labels differ by cell; `choices` is BY_CELL until they are known

    def with_choices(self, choices: tuple[str, ...]) -> ReplyFormat:
        """Return the format with the labels of one cell."""
        return replace(self, choices=choices)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all cells; empty if they differ by cell."""
        return () if self.by_cell else self.choices

    @property
    def weighs(self) -> bool:
        """Whether its verdict is read from the candidates of a token, so that their mass is known."""
        return self.weighted is not None and self.weighted.mass is not None

    @property
    def shares(self) -> bool:
        """Whether it gives each label a probability."""
        return self.weighs and bool(self.choices)

    @property
    def fields(self) -> tuple[str, ...]:
        """Return what can be read of a verdict by its name: the parts of a JSON reply, or where the mass lies."""
        return (*MASSES, *map(share, self.labels)) if self.weighs else tuple(part.name for part in self.shape)

    @property
    def parts(self) -> tuple[ReplyField, ...]:
        """Return what an answer is read as, under the names that it has there: `score`, `label`, or those of the shape.

        >>> [part.name for part in ReplyFormat(scale=(0, 5)).parts]
        ['score']
        """
        if self.shape:
            return self.shape
        if self.choices:
            return (ReplyField(name="label", kind="label", choices=self.choices),)
        return (ReplyField(name="score", kind="number", scale=self.scale),)
