"""`judged.p(EXPRESSION)`: the probability of the label that an expression names, such as the key of a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.value import INVALID, UNKNOWN_LABEL, Missing, Value, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.logprobs import LabelWeights

FIELD = "p()"  # the name under which a frame has it: `p(YES)` is a number, and no label is empty


@dataclass(frozen=True, slots=True)
class LabelShare:
    """The probabilities of the labels of one verdict; `missing` is their reason without `weights`."""

    weights: LabelWeights | None
    missing: Missing
    name: str = "p"
    params: tuple[str, ...] = ("label",)

    def call(self, frame: Mapping[str, Value]) -> Value:
        """Return the probability of a label among all labels, in [0, 1].

        It is missing if the argument is, and as `unknown_label` for a text that is not among the labels: the model was
        not offered it, so that 0 would be wrong. Case and blanks around a label do not count.
        """
        value = frame["label"]
        if isinstance(value, Missing):
            return value
        text = render(value)
        if text is None:
            return INVALID
        if self.weights is None:
            return self.missing
        by_name = {_bare(label): label for label, _ in self.weights.by_label}
        label = by_name.get(_bare(text))
        return UNKNOWN_LABEL if label is None else self.weights.share(label)


def _bare(text: str) -> str:
    return text.strip().casefold()


SIGNATURE = LabelShare(None, INVALID)  # for a check of a call
