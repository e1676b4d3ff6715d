"""Tokens of stored answers, from which those of pending requests are estimated."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from emdsl.experiment import levels_at
from emdsl.run.prefixes import beginning
from emdsl.run.priors import ANSWER, JSON, VERDICT, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.experiment import Cell, Experiment, Step
    from emdsl.query import RequestSettings, Response
    from emdsl.run.prefixes import PromptLike
    from emdsl.run.priors import Kind
    from emdsl.store.store import Store

MAX_STRATA = 1_000  # of one step: combinations of levels with a mean of their own
BORROWED = 3.0  # answers of the wider group that count beside those of a stratum
SAMPLED = 300  # answers of other studies that are looked at
SHORT_TOKENS = 16  # of an answer that is taken for a verdict
MIN_ANSWERS = 5  # of other steps or models, from which their mean is used
SPREAD = 2.0  # standard errors of a mean, for the low end

Stratum = tuple[int, ...]  # levels of the axes that change prompts; its beginnings are wider strata


class Basis(enum.Enum):
    """The source of an estimated length of answers, from the best to the worst."""

    ANSWERS = "answers"  # of this step and model
    MODEL = "model"  # of this model, in other steps of the program
    STORE = "store"  # of this model and its parameters, in other studies
    SIMILAR = "similar"  # of this step, by other models
    ASSUMED = "assumed"


@dataclass(slots=True)
class Sums:
    """Sums over answers."""

    n: int = 0
    chars: int = 0  # of their prompts
    input_tokens: int = 0
    output_tokens: int = 0
    text_tokens: int = 0  # of the output, without reasoning
    squares: int = 0  # of output tokens

    def add(self, other: Sums) -> None:
        """Add the answers of another group."""
        self.n += other.n
        self.chars += other.chars
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.text_tokens += other.text_tokens
        self.squares += other.squares

    def low_mean(self) -> float:
        """Return the mean of output tokens, less its error."""
        mean = self.output_tokens / self.n
        variance = max(self.squares / self.n - mean * mean, 0.0)
        return max(1.0, mean - SPREAD * math.sqrt(variance / self.n))


class Past(NamedTuple):
    """Means of the stored answers that are most like a group of requests."""

    basis: Basis
    n: int  # answers
    output: float  # tokens of one answer
    text: float  # of these, without reasoning
    low_output: float
    input: float | None  # tokens of one prompt; None from other steps
    per_char: float | None  # tokens of a character of a prompt


@dataclass(slots=True)
class CacheUse:
    """Input tokens that requests share with the request before, and those that a provider's cache served or wrote."""

    n: int = 0
    prefix_tokens: float = 0.0
    cached_tokens: int = 0
    written_tokens: int = 0  # again, after the request before had written them

    @property
    def hit_rate(self) -> float | None:
        """The share of the prefixes' tokens that the cache served; None without a prefix."""
        return min(self.cached_tokens / self.prefix_tokens, 1.0) if self.prefix_tokens else None

    @property
    def write_rate(self) -> float | None:
        """The share of the prefixes' tokens that were written to the cache; None without a prefix."""
        return min(self.written_tokens / self.prefix_tokens, 1.0) if self.prefix_tokens else None


@dataclass(slots=True)
class TokenStats:
    """Tokens of the stored answers of a program, by step, model, parameters and stratum."""

    cache_use: dict[tuple[str, bool], CacheUse] = field(default_factory=dict)  # by model, and whether by a batch
    _sums: dict[tuple[Step, RequestSettings, Stratum], Sums] = field(default_factory=dict)
    _last: dict[tuple[Step, str], PromptLike] = field(default_factory=dict)  # by step and model
    _least: dict[RequestSettings, int | None] = field(default_factory=dict)  # characters of a prefix
    _elsewhere: dict[tuple[str, str, str], Sums] | None = None  # by model, parameters and form; None: not looked up
    _groups: dict[tuple[object, ...], Sums] | None = None  # wider groups; None: to be summed again
    _names: dict[tuple[Step, RequestSettings], tuple[Kind, str, str]] = field(default_factory=dict)  # in their keys

    def add(self, step: Step, head: RequestSettings, prompt: PromptLike, response: Response, stratum: Stratum) -> None:
        """Add a stored answer, if its provider counted the tokens."""
        usage = response.usage
        into, out = usage.input_tokens, usage.output_tokens
        if into is None or out is None:
            return
        self._groups = None
        sums = self._of(step, head, stratum)
        chars = prompt.chars
        sums.n += 1
        sums.chars += chars
        sums.input_tokens += into
        sums.output_tokens += out
        sums.text_tokens += out - (usage.reasoning_tokens or 0)
        sums.squares += out * out
        least = self._least[head]
        if least is not None and chars >= least:
            self._add_prefix(step, head.model.use, prompt, response, least)

    def add_sums(self, step: Step, head: RequestSettings, stratum: Stratum, sums: Sums) -> None:
        """Add stored answers to short prompts."""
        self._groups = None
        self._of(step, head, stratum).add(sums)

    def _of(self, step: Step, head: RequestSettings, stratum: Stratum) -> Sums:
        at = step, head, stratum
        sums = self._sums.get(at)
        if sums is None:
            sums = self._sums[at] = Sums()
            if head not in self._least:
                self._least[head] = beginning(head.model)
        return sums

    def _add_prefix(self, step: Step, use: str, prompt: PromptLike, response: Response, least: int) -> None:
        """Add what a long prompt shares with the long prompt before, in the order of the rows."""
        usage = response.usage
        before = self._last.get((step, use))
        self._last[step, use] = prompt
        if before is None:
            return
        prefix = before.common(prompt)
        if prefix < least:
            return
        cache = self.cache_use.setdefault((use, response.batch is not None), CacheUse())
        cache.n += 1
        cache.prefix_tokens += prefix * (usage.input_tokens or 0) / prompt.chars
        cache.cached_tokens += usage.cached_tokens or 0
        cache.written_tokens += usage.written_tokens or 0

    def look_elsewhere(self, store: Store) -> None:
        """Add some answers of other studies, once."""
        if self._elsewhere is not None:
            return
        self._elsewhere = {}
        for of, response in store.sample(SAMPLED):
            into, out = response.usage.input_tokens, response.usage.output_tokens
            if into is not None and out is not None:
                at = of["model"], _params_text(of.get("params")), _form_of(response)
                self._elsewhere.setdefault(at, Sums()).add(Sums(
                    n=1, input_tokens=into, output_tokens=out, squares=out * out,
                    text_tokens=out - (response.usage.reasoning_tokens or 0),
                ))  # fmt: skip

    def past(self, step: Step, head: RequestSettings, stratum: Stratum) -> Past | None:
        """Return the means of the answers most like a request; None if an assumed length is better."""
        groups = self._summed()
        kind, use, params = self._named(step, head)
        own = [groups.get(key) for key in ((step, kind, use), (step, kind, use, params))]
        wide = next((sums for sums in reversed(own) if sums is not None and sums.n >= MIN_ANSWERS), own[0])
        if wide is not None:
            narrower = [groups.get((step, kind, use, params, stratum[:n])) for n in range(1, len(stratum) + 1)]
            return _pooled(wide, [sums for sums in narrower if sums is not None])
        elsewhere = (self._elsewhere or {}).get((use, _params_text(head.shown_params), kind.form))
        for basis, sums in (
            (Basis.MODEL, groups.get((kind, use))), (Basis.STORE, elsewhere), (Basis.SIMILAR, groups.get((step, kind))),
        ):  # fmt: skip
            if sums is not None and sums.n >= MIN_ANSWERS:
                output, text, into, per_char = _means(sums)
                return Past(basis, sums.n, output, text, 1.0, into if basis is Basis.SIMILAR else None, per_char)
        return None

    def measured(self, step: Step, head: RequestSettings) -> bool:
        """Whether a step has answers of a model and its parameters, so that its strata may differ."""
        kind, use, params = self._named(step, head)
        return (step, kind, use, params) in self._summed()

    def hit_rate(self, use: str, *, batch: bool = False) -> float | None:
        """Return the share of shared prefixes that a model's cache served, by batches or online; None if unknown."""
        cache = self.cache_use.get((use, batch))
        return cache.hit_rate if cache is not None else None

    def _named(self, step: Step, head: RequestSettings) -> tuple[Kind, str, str]:
        names = self._names.get((step, head))
        if names is None:
            names = self._names[step, head] = kind_of(step, head), head.model.use, repr(head.params)
        return names

    def _summed(self) -> dict[tuple[object, ...], Sums]:
        """Return the sums of all groups: a stratum, its step and model, its model, its step."""
        if self._groups is None:
            self._groups = {}
            for (step, head, stratum), sums in self._sums.items():
                kind, use, params = self._named(step, head)
                own = (step, kind, use, params)
                wider = [(*own, stratum[:n]) for n in range(1, len(stratum) + 1)]
                for key in ((kind, use), (step, kind), (step, kind, use), own, *wider):
                    self._groups.setdefault(key, Sums()).add(sums)
        return self._groups


def _params_text(params: Any) -> str:
    return json.dumps(params, sort_keys=True)


def _form_of(response: Response) -> str:
    """Return the form of a stored answer, as far as it shows."""
    if response.text.lstrip().startswith("{"):
        return JSON
    short = (response.usage.output_tokens or 0) <= SHORT_TOKENS
    return VERDICT if short else ANSWER


def _means(sums: Sums) -> tuple[float, float, float, float | None]:
    n = sums.n
    per_char = sums.input_tokens / sums.chars if sums.chars else None
    return sums.output_tokens / n, sums.text_tokens / n, sums.input_tokens / n, per_char


def _pooled(wide: Sums, narrower: list[Sums]) -> Past:
    """Return the means of the last of nested groups, each drawn to those before it: less, if it has more answers."""
    output, text, into, per_char = _means(wide)
    low = wide.low_mean()
    for group in narrower:
        share = group.n / (group.n + BORROWED)
        own_output, own_text, own_into, own_per_char = _means(group)
        output += share * (own_output - output)
        text += share * (own_text - text)
        into += share * (own_into - into)
        if per_char is not None and own_per_char is not None:
            per_char += share * (own_per_char - per_char)
        if group.n >= MIN_ANSWERS:
            low = group.low_mean()
    return Past(Basis.ANSWERS, wide.n, output, text, min(low, output), into, per_char)


def strata(experiment: Experiment) -> dict[str, Callable[[Cell], Stratum]]:
    """Return for each step the function from a cell to its stratum.

    A stratum has the levels of the axes that the step's prompts depend on, also through the answers that they read,
    from the axis with the fewest levels to the one with the most. Axes with too many levels are left out.
    """
    axes: dict[str, set[int]] = {}
    of_cells: dict[str, Callable[[Cell], Stratum]] = {}
    for step in experiment.steps:
        read = {*step.prompt_axes}.union(*(axes[need] for need in step.needs if need in axes))
        axes[step.name] = read | {*step.settings_axes}
        chosen, combinations = [], 1
        for axis in sorted(read, key=lambda a: (len(experiment.axes[a].levels), a)):
            combinations *= len(experiment.axes[axis].levels)
            if combinations > MAX_STRATA:
                break
            chosen.append(axis)
        of_cells[step.name] = levels_at(tuple(chosen))
    return of_cells
