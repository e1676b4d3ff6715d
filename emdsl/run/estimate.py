"""Estimates of tokens and cost, from the stored answers of the same models."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.capability import max_answer_tokens
from emdsl.price import MILLION
from emdsl.price_list import price_of
from emdsl.run.prefixes import beginning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.prompt import Prompt
    from emdsl.query import Model, Query, RequestSettings, Response

CHARS_PER_TOKEN = 4.0  # of a model without a stored answer
MIN_CHARS, MAX_CHARS = 2.0, 6.0  # per token: the ends of the estimate then
MIN_ANSWERS = 5  # of one group, from which its own mean is used
MAX_GROUPS = 2_000  # prompts with other system messages get other answers
SPREAD = 2.0  # standard errors of a mean, for the low end
MAX_RENDERED = 50  # requests of a step rendered without the answers that they will quote

Group = tuple[Any, ...]


@dataclass(slots=True)
class _Stats:
    chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    squares: int = 0  # of output tokens
    n: int = 0

    def add(self, other: _Stats) -> None:
        """Add the answers of another group."""
        self.chars += other.chars
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.squares += other.squares
        self.n += other.n

    def low_mean(self) -> float:
        """Return the mean of output tokens, less its error."""
        mean = self.output_tokens / self.n
        variance = max(self.squares / self.n - mean * mean, 0.0)
        return max(1.0, mean - SPREAD * math.sqrt(variance / self.n))


@dataclass(slots=True)
class TokenStats:
    """Tokens of the stored answers, by group: one step, model, set of parameters, and system message."""

    _stats: dict[Group, _Stats] = field(default_factory=dict)  # of the narrowest groups, each with its step
    _found: dict[tuple[str, int, str], _Stats] = field(default_factory=dict)  # of these, by head and system message
    _wider: dict[Group, _Stats] | None = None  # of all groups; None: to be summed again
    _groups: dict[tuple[int, str], Group] = field(default_factory=dict)
    _heads: dict[int, tuple[RequestSettings, Group]] = field(
        default_factory=dict
    )  # kept, because they are found by identity

    def add(self, step: str, query: Query, response: Response) -> None:
        """Add a stored answer, if its provider counted the tokens."""
        into, out = response.usage.input_tokens, response.usage.output_tokens
        if into is None or out is None:
            return
        self._wider = None
        prompt = query.prompt
        at = step, id(query.settings), _system_message(prompt)
        stats = self._found.get(at)
        if stats is None:
            stats = self._stats.setdefault((step, *self.group(query.settings, prompt)), _Stats())
            if len(self._found) < MAX_GROUPS:
                self._found[at] = stats
        stats.n += 1
        stats.chars += prompt.chars
        stats.input_tokens += into
        stats.output_tokens += out
        stats.squares += out * out

    def group(self, head: RequestSettings, prompt: Prompt | None) -> Group:
        """Return the group of a request: its model, parameters and system message."""
        known = self._heads.get(id(head))
        if known is None:
            known = self._heads[id(head)] = head, (head.model.use, repr(head.params))
        if prompt is None:
            return known[1]
        system = _system_message(prompt)
        group = self._groups.get((id(head), system))
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                return known[1]
            group = self._groups[id(head), system] = (*known[1], system)
        return group

    def nearest(self, step: str, group: Group) -> _Stats | None:
        """Return the statistics of the narrowest group with enough answers that holds this one, or None."""
        if self._wider is None:
            self._wider = {}
            for narrow, stats in self._stats.items():
                for wider in _wider(narrow):
                    self._wider.setdefault(wider, _Stats()).add(stats)
        for wider in reversed(_wider((step, *group))):
            found = self._wider.get(wider)
            if found is not None and (found.n >= MIN_ANSWERS or len(wider) == 2):
                return found
        return None


def _system_message(prompt: Prompt) -> str:
    first = prompt.messages[0] if prompt.messages else None
    return first.text if first is not None and first.role == "system" else ""


def _wider(group: Group) -> list[Group]:
    """Return the groups of its step that hold a group, from the widest to itself."""
    return [group[:n] for n in range(2, len(group) + 1)]


@dataclass(slots=True)
class _Requests:
    model: Model
    group: Group
    most_out: int | None
    n: int = 0
    chars: int = 0
    prefix_chars: int = 0
    n_symbolic: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """An estimated number: the lowest, the expected and the highest; None is unknown."""

    low: float
    expected: float | None
    high: float | None


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Estimate:
    """Tokens and cost of one step's requests to send; None is unknown.

    `usd` is the expected cost, from `low_usd` to `high_usd`; `discount_usd` is the most of it that the provider's cache
    of prompt prefixes can save. `most` marks numbers that are bounds by `max_tokens`.
    """

    input_tokens: float | None = 0.0
    output_tokens: float | None = 0.0
    usd: Decimal | None = Decimal(0)
    low_usd: Decimal | None = Decimal(0)
    high_usd: Decimal | None = Decimal(0)
    discount_usd: Decimal = Decimal(0)
    most: bool = False
    chars: int = 0
    prefix_chars: int = 0  # of these, in a prefix that the request before has too
    answer: Range = NOTHING  # tokens of one answer
    rendered: list[int] = field(default_factory=list)  # characters of requests without the answers that they quote
    _requests: dict[Group, _Requests] = field(default_factory=dict)
    _last: dict[str, Prompt] = field(default_factory=dict)  # by model

    def add(self, query: Query, stats: TokenStats) -> None:
        """Add a request."""
        prompt, use = query.prompt, query.settings.model.use
        requests = self._of(query.settings, stats.group(query.settings, prompt))
        requests.n += 1
        requests.chars += prompt.chars
        self.chars += prompt.chars
        least, before = beginning(query.settings.model), self._last.get(use)
        if before is not None and least is not None and min(before.chars, prompt.chars) >= least:
            prefix = before.common(prompt)
            if prefix >= least:
                requests.prefix_chars += prefix
                self.prefix_chars += prefix
        self._last[use] = prompt

    def add_symbolic(self, head: RequestSettings, stats: TokenStats) -> None:
        """Add a request whose messages are not known yet."""
        self._of(head, stats.group(head, None)).n_symbolic += 1

    def _of(self, head: RequestSettings, group: Group) -> _Requests:
        requests = self._requests.get(group)
        if requests is None:
            params = dict(head.params)
            requests = self._requests[group] = _Requests(head.model, group, max_answer_tokens(head.model, params))
        return requests

    def finish(self, stats: TokenStats, step: str, quoted: Iterable[Range], *, share: float | None) -> None:
        """Estimate from all stored answers.

        Args:
            stats: of the stored answers.
            step: the step's name.
            quoted: tokens of the answers that symbolic requests will quote.
            share: of the symbolic requests, how many will be sent; None if no condition was ever decided.
        """
        quoted = list(quoted)
        total = [0.0, 0.0]
        self.input_tokens, self.output_tokens = 0.0, 0.0
        self.usd, self.low_usd, self.high_usd, self.discount_usd = Decimal(0), Decimal(0), Decimal(0), Decimal(0)
        for requests in self._requests.values():
            past = stats.nearest(step, requests.group)
            into, out = self._input(requests, past, quoted), _output(requests, past)
            least, expected = (0.0, 1.0) if share is None else (share, share)
            known, more = float(requests.n), requests.n_symbolic
            n = Range(known + more * least, known + more * expected, known + more)
            self.most = self.most or (share is None and requests.n_symbolic > 0)
            self.most = self.most or (past is None and out.expected is not None)
            self.input_tokens = _sum(self.input_tokens, _times(n.expected, into.expected))
            self.output_tokens = _sum(self.output_tokens, _times(n.expected, out.expected))
            total[0] += n.expected or 0.0
            total[1] += (n.expected or 0.0) * (out.expected or 0.0)
            self._add_money(requests, n, into, out)
            self.answer = _longest(self.answer, out)
        if total[0] and self.answer.expected is not None:
            self.answer = Range(self.answer.low, total[1] / total[0], self.answer.high)

    def _input(self, requests: _Requests, past: _Stats | None, quoted: list[Range]) -> Range:
        """Return the tokens of one request."""
        ratio = past.input_tokens / past.chars if past and past.chars else None
        low, expected, high = (ratio, ratio, ratio) if ratio else (1 / MAX_CHARS, 1 / CHARS_PER_TOKEN, 1 / MIN_CHARS)
        if requests.n:
            chars = requests.chars / requests.n
            return Range(chars * low, chars * expected, chars * high)
        if past is not None:
            mean = past.input_tokens / past.n
            return Range(mean, mean, mean)
        if not self.rendered:
            return Range(0.0, None, None)
        base = sum(self.rendered) / len(self.rendered)
        more = [sum([q.low for q in quoted]), _all([q.expected for q in quoted]), _all([q.high for q in quoted])]
        return Range(
            base * low + (more[0] or 0.0),
            base * expected + more[1] if more[1] is not None else None,
            base * high + more[2] if more[2] is not None else None,
        )

    def _add_money(self, requests: _Requests, n: Range, into: Range, out: Range) -> None:
        price = price_of(requests.model)
        if price is None:
            self.usd = self.low_usd = self.high_usd = None
            return

        def cost(n: float | None, into: float | None, out: float | None) -> Decimal | None:
            if not (price.input or price.output):
                return Decimal(0)
            if n is None or into is None or out is None:
                return None
            at = price.at(into)
            return Decimal(n) * (Decimal(at.input) * Decimal(into) + Decimal(at.output) * Decimal(out)) / MILLION

        self.usd = _sum_usd(self.usd, cost(n.expected, into.expected, out.expected))
        self.low_usd = _sum_usd(self.low_usd, cost(n.low, into.low, out.low))
        self.high_usd = _sum_usd(self.high_usd, cost(n.high, into.high, out.high))
        if requests.chars and into.expected and price.cached_input is not None and requests.model.service.prefix_tokens:
            tokens = requests.prefix_chars * into.expected * requests.n / requests.chars
            self.discount_usd += (Decimal(price.input) - Decimal(price.cached_input)) * Decimal(tokens) / MILLION

    def as_json(self) -> dict[str, Any]:
        """Return tokens and cost, None for unknown; empty if there is no request to send."""
        if not self._requests:
            return {}
        return {
            "est_input_tokens": round(self.input_tokens) if self.input_tokens is not None else None,
            "est_output_tokens": round(self.output_tokens) if self.output_tokens is not None else None,
            "est_usd": _rounded(self.usd),
            "est_usd_low": _rounded(self.low_usd),
            "est_usd_high": _rounded(self.high_usd),
            "est_usd_discount": _rounded(self.discount_usd),
        }


def _output(requests: _Requests, past: _Stats | None) -> Range:
    """Return the tokens of one answer."""
    most = float(requests.most_out) if requests.most_out else None
    if past is None:
        return Range(1.0, most, most)
    mean = past.output_tokens / past.n
    if most is not None:
        mean = min(mean, most)
    return Range(min(past.low_mean(), mean), mean, most)


def _longest(a: Range, b: Range) -> Range:
    if a is NOTHING:
        return b
    high = max(a.high, b.high) if a.high is not None and b.high is not None else None
    return Range(min(a.low, b.low), _sum(a.expected, b.expected), high)


def _rounded(usd: Decimal | None) -> float | None:
    return float(round(usd, 4)) if usd is not None else None


def _times(a: float | None, b: float | None) -> float | None:
    return a * b if a is not None and b is not None else None


def _all(values: list[float | None]) -> float | None:
    return None if None in values else sum([x or 0.0 for x in values])


def _sum(a: float | None, b: float | None) -> float | None:
    return a + b if a is not None and b is not None else None


def _sum_usd(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    return a + b if a is not None and b is not None else None
