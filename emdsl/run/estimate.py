"""What requests will come to, in tokens and US dollars, by what was stored of the same models so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.capability import longest_answer
from emdsl.price import MILLION, price_of
from emdsl.run.prefixes import beginning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.prompt import Prompt
    from emdsl.query import Head, Model, Query, Response

CHARS_PER_TOKEN = 4.0  # of a model of which nothing is stored
FEWEST_CHARS, MOST_CHARS = 2.0, 6.0  # and between which it lies then
MIN_SEEN = 5  # answers of one family from which it speaks for itself
MAX_FAMILIES = 2_000  # told apart: prompts with other instructions get other answers
SPREAD = 2.0  # standard errors of a mean, for the low end
MAX_RENDERED = 50  # requests of a step rendered without the answers that they will quote

Family = tuple[Any, ...]


@dataclass(slots=True)
class _Seen:
    chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    squares: int = 0  # of output tokens
    n: int = 0

    def low_mean(self) -> float:
        """Return the mean of tokens out, less what it may be off by."""
        mean = self.output_tokens / self.n
        variance = max(self.squares / self.n - mean * mean, 0.0)
        return max(1.0, mean - SPREAD * math.sqrt(variance / self.n))


@dataclass(slots=True)
class Learned:
    """How long the stored answers were, and how many characters made a token.

    By step and model; and apart for other parameters and other instructions, which get other answers.
    """

    _seen: dict[Family, _Seen] = field(default_factory=dict)
    _taken: dict[tuple[str, int, str], list[_Seen]] = field(default_factory=dict)
    _families: dict[tuple[int, str], Family] = field(default_factory=dict)
    _heads: dict[int, tuple[Head, Family]] = field(default_factory=dict)  # kept: they are known by identity

    def take(self, step: str, query: Query, response: Response) -> None:
        """Learn from a stored answer, if its provider counted."""
        usage = response.usage
        if usage.input_tokens is None or usage.output_tokens is None:
            return
        chars = query.prompt.chars
        for seen in self._kin(step, query.head, query.prompt):
            seen.n += 1
            seen.chars += chars
            seen.input_tokens += usage.input_tokens
            seen.output_tokens += usage.output_tokens
            seen.squares += usage.output_tokens**2

    def _kin(self, step: str, head: Head, prompt: Prompt) -> list[_Seen]:
        """Return what is kept of a family and of those that it belongs to."""
        first = prompt.messages[0] if prompt.messages else None
        told = first.text if first is not None and first.role == "system" else ""
        found = self._taken.get((step, id(head), told))
        if found is None:
            family = self.family(head, prompt)
            found = [self._seen.setdefault(kin, _Seen()) for kin in self._chain(step, family)]
            if len(self._taken) < MAX_FAMILIES:
                self._taken[step, id(head), told] = found
        return found

    def family(self, head: Head, prompt: Prompt | None) -> Family:
        """Return what answers of one kind have in common: model, parameters, instructions."""
        known = self._heads.get(id(head))
        if known is None:
            known = self._heads[id(head)] = head, (head.model.use, repr(head.params))
        if prompt is None:
            return known[1]
        first = prompt.messages[0] if prompt.messages else None
        told = first.text if first is not None and first.role == "system" else ""
        found = self._families.get((id(head), told))
        if found is None:
            if len(self._families) >= MAX_FAMILIES:
                return known[1]
            found = self._families[id(head), told] = (*known[1], told)
        return found

    @staticmethod
    def _chain(step: str, family: Family) -> Iterable[Family]:
        return [(step, *family[:n]) for n in range(1, len(family) + 1)]

    def seen(self, step: str, family: Family) -> _Seen | None:
        """Return what was seen of the nearest kin of a family; None where nothing was."""
        for kin in reversed(list(self._chain(step, family))):
            found = self._seen.get(kin)
            if found is not None and (found.n >= MIN_SEEN or len(kin) == 2):
                return found
        return None


@dataclass(slots=True)
class _Asked:
    model: Model
    family: Family
    most_out: int | None
    n: int = 0
    chars: int = 0
    prefix_chars: int = 0
    n_unknown: int = 0


@dataclass(frozen=True, slots=True)
class Reach:
    """A number that is not known: from low to high, and what is to be expected; None where it has no such end."""

    low: float
    expected: float | None
    high: float | None


NOTHING = Reach(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Estimate:
    """Of one step's requests: None is what is not known; `most` marks numbers that rest on `max_tokens`.

    `usd` is what is to be expected, `low_usd` and `high_usd` the least and the most; `discount_usd` is what of it the
    provider's cache of prefixes can save at best.
    """

    input_tokens: float | None = 0.0
    output_tokens: float | None = 0.0
    usd: Decimal | None = Decimal(0)
    low_usd: Decimal | None = Decimal(0)
    high_usd: Decimal | None = Decimal(0)
    discount_usd: Decimal = Decimal(0)
    most: bool = False
    chars: int = 0
    prefix_chars: int = 0  # of these, in a beginning that another request has too
    answer: Reach = NOTHING  # tokens of one answer
    rendered: list[int] = field(default_factory=list)  # characters of requests without the answers that they quote
    _asked: dict[Family, _Asked] = field(default_factory=dict)
    _last: dict[str, Prompt] = field(default_factory=dict)  # by model

    def known(self, query: Query, learned: Learned) -> None:
        """Take in a request whose messages are known."""
        prompt, use = query.prompt, query.head.model.use
        asked = self._of(query.head, learned.family(query.head, prompt))
        asked.n += 1
        asked.chars += prompt.chars
        self.chars += prompt.chars
        least, before = beginning(query.head.model), self._last.get(use)
        if before is not None and least is not None:
            prefix = before.common(prompt)
            if prefix >= least:
                asked.prefix_chars += prefix
                self.prefix_chars += prefix
        self._last[use] = prompt

    def unknown(self, head: Head, learned: Learned) -> None:
        """Take in a request whose messages are not known yet."""
        self._of(head, learned.family(head, None)).n_unknown += 1

    def _of(self, head: Head, family: Family) -> _Asked:
        asked = self._asked.get(family)
        if asked is None:
            params = dict(head.params)
            asked = self._asked[family] = _Asked(head.model, family, longest_answer(head.model, params))
        return asked

    def finish(self, learned: Learned, step: str, quoted: Iterable[Reach], *, share: float | None) -> None:
        """Estimate, with all that could be learned.

        `share` of the requests that are not known will be asked, None where that was never decided; they quote answers
        of other steps, `quoted` long.
        """
        quoted = list(quoted)
        total = [0.0, 0.0]
        self.input_tokens, self.output_tokens = 0.0, 0.0
        self.usd, self.low_usd, self.high_usd, self.discount_usd = Decimal(0), Decimal(0), Decimal(0), Decimal(0)
        for asked in self._asked.values():
            seen = learned.seen(step, asked.family)
            into, out = self._input(asked, seen, quoted), _output(asked, seen)
            least, expected = (0.0, 1.0) if share is None else (share, share)
            known, more = float(asked.n), asked.n_unknown
            n = Reach(known + more * least, known + more * expected, known + more)
            self.most = self.most or (share is None and asked.n_unknown > 0)
            self.most = self.most or (seen is None and out.expected is not None)
            self.input_tokens = _sum(self.input_tokens, _times(n.expected, into.expected))
            self.output_tokens = _sum(self.output_tokens, _times(n.expected, out.expected))
            total[0] += n.expected or 0.0
            total[1] += (n.expected or 0.0) * (out.expected or 0.0)
            self._add_money(asked, n, into, out)
            self.answer = _longest(self.answer, out)
        if total[0] and self.answer.expected is not None:
            self.answer = Reach(self.answer.low, total[1] / total[0], self.answer.high)

    def _input(self, asked: _Asked, seen: _Seen | None, quoted: list[Reach]) -> Reach:
        """Return the tokens of one request."""
        ratio = seen.input_tokens / seen.chars if seen and seen.chars else None
        low, expected, high = (
            (ratio, ratio, ratio) if ratio else (1 / MOST_CHARS, 1 / CHARS_PER_TOKEN, 1 / FEWEST_CHARS)
        )
        if asked.n:
            chars = asked.chars / asked.n
            return Reach(chars * low, chars * expected, chars * high)
        if seen is not None:
            mean = seen.input_tokens / seen.n
            return Reach(mean, mean, mean)
        if not self.rendered:
            return Reach(0.0, None, None)
        base = sum(self.rendered) / len(self.rendered)
        more = [sum([q.low for q in quoted]), _all([q.expected for q in quoted]), _all([q.high for q in quoted])]
        return Reach(
            base * low + (more[0] or 0.0),
            base * expected + more[1] if more[1] is not None else None,
            base * high + more[2] if more[2] is not None else None,
        )

    def _add_money(self, asked: _Asked, n: Reach, into: Reach, out: Reach) -> None:
        price = price_of(asked.model)
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
        if asked.chars and into.expected and price.cached_input is not None and asked.model.service.prefix_tokens:
            tokens = asked.prefix_chars * into.expected * asked.n / asked.chars
            self.discount_usd += (Decimal(price.input) - Decimal(price.cached_input)) * Decimal(tokens) / MILLION

    def as_json(self) -> dict[str, Any]:
        """Return tokens and cost; None is not known. Nothing where nothing is left."""
        if not self._asked:
            return {}
        return {
            "est_input_tokens": round(self.input_tokens) if self.input_tokens is not None else None,
            "est_output_tokens": round(self.output_tokens) if self.output_tokens is not None else None,
            "est_usd": _rounded(self.usd),
            "est_usd_low": _rounded(self.low_usd),
            "est_usd_high": _rounded(self.high_usd),
            "est_usd_discount": _rounded(self.discount_usd),
        }


def _output(asked: _Asked, seen: _Seen | None) -> Reach:
    """Return the tokens of one answer."""
    most = float(asked.most_out) if asked.most_out else None
    if seen is None:
        return Reach(1.0, most, most)
    mean = seen.output_tokens / seen.n
    if most is not None:
        mean = min(mean, most)
    return Reach(min(seen.low_mean(), mean), mean, most)


def _longest(a: Reach, b: Reach) -> Reach:
    if a is NOTHING:
        return b
    high = max(a.high, b.high) if a.high is not None and b.high is not None else None
    return Reach(min(a.low, b.low), _sum(a.expected, b.expected), high)


def _rounded(usd: Decimal | None) -> float | None:
    return float(round(usd, 4)) if usd is not None else None


def _times(a: float | None, b: float | None) -> float | None:
    return a * b if a is not None and b is not None else None


def _all(found: list[float | None]) -> float | None:
    return None if None in found else sum([x or 0.0 for x in found])


def _sum(a: float | None, b: float | None) -> float | None:
    return a + b if a is not None and b is not None else None


def _sum_usd(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    return a + b if a is not None and b is not None else None
