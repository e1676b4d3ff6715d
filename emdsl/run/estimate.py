"""Estimates of tokens and cost: from stored answers like those to come, else from assumed lengths."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.capability import max_answer_tokens
from emdsl.price import FREE, MILLION
from emdsl.price_list import price_of
from emdsl.prompt import of_text
from emdsl.run.prefixes import beginning
from emdsl.run.priors import WORD_CHARS, likely_answer, tokens_per_char
from emdsl.run.token_stats import Basis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emdsl.experiment import Step
    from emdsl.price import Price
    from emdsl.query import Model, RequestSettings
    from emdsl.run.prefixes import PromptLike
    from emdsl.run.token_stats import Past, Stratum, TokenStats

MIN_CHARS, MAX_CHARS = 2.0, 6.0  # per token, of a model without a stored answer: the ends of the estimate
FIRST_RENDERED, MAX_RENDERED = 20, 200  # requests of a step rendered without the answers that they will quote
MAX_READ = 100  # prompts of a step whose text is read for its tokens per character
UNDECIDED_SHARE = 0.5  # of the requests under a condition that was never decided: it is as likely to hold as not
MIN_SHARE = Decimal("0.1")  # of the cost, from which its basis is named
SHORT = of_text("")  # a prompt without a prefix
ORDER = list(Basis)  # from the best to the worst


@dataclass(frozen=True, slots=True)
class Range:
    """An estimated number: the lowest, the expected and the highest; None is unknown."""

    low: float
    expected: float | None
    high: float | None


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(slots=True)
class _Requests:
    """Pending requests of one model, parameters and stratum."""

    head: RequestSettings
    stratum: Stratum
    least: int | None  # characters of a prefix that the provider's cache keeps
    n: int = 0
    chars: int = 0
    prefix_chars: int = 0
    n_symbolic: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of some requests to one model, as `n` requests of equal length: what a price is applied to."""

    model: Model
    basis: Basis
    n: Range
    input: Range  # of one request
    output: Range  # of one answer
    prefix: float = 0.0  # of the input of all, expected: shared with the request before

    def usd(self, price: Price | None, end: str = "expected") -> Decimal | None:
        """Return their cost by a price, at the `low`, `expected` or `high` end of the ranges; None if it is unknown."""
        if price is None:
            return None
        if not (price.input or price.output):
            return Decimal(0)
        n, into, out = (getattr(x, end) for x in (self.n, self.input, self.output))
        if n is None or into is None or out is None:
            return None
        at = price.at(into)
        return Decimal(n) * (Decimal(at.input) * Decimal(into) + Decimal(at.output) * Decimal(out)) / MILLION

    def discount_usd(self, price: Price | None) -> Decimal:
        """Return the most that the provider's cache of prefixes can save."""
        if price is None or price.cached_input is None or not self.model.service.prefix_tokens:
            return Decimal(0)
        return (Decimal(price.input) - Decimal(price.cached_input)) * Decimal(self.prefix) / MILLION

    def writing_usd(self, price: Price | None) -> Decimal:
        """Return the most that writing their prefixes to the provider's cache adds."""
        if price is None or price.cache_write is None:
            return Decimal(0)
        return (Decimal(price.cache_write) - Decimal(price.input)) * Decimal(self.prefix) / MILLION


def _never(_: Model) -> bool:
    return False


@dataclass(slots=True)
class Estimate:
    """Tokens and cost of one step's requests to send; None is unknown.

    `usd` is the likely cost, from `low_usd` to `high_usd`; `discount_usd` is the most of it that the provider's cache
    of prompt prefixes can save. `assumed` marks numbers that rest on assumed lengths, or on a condition that was never
    decided.
    """

    input_tokens: float | None = 0.0
    output_tokens: float | None = 0.0
    usd: Decimal | None = Decimal(0)
    low_usd: Decimal | None = Decimal(0)
    high_usd: Decimal | None = Decimal(0)
    discount_usd: Decimal = Decimal(0)
    assumed: bool = False
    chars: int = 0
    prefix_chars: int = 0  # of these, in a prefix that the request before has too
    answer: Range = NOTHING  # tokens of one answer that a judge would quote
    tokens: list[Tokens] = field(default_factory=list)  # by model and length
    n_answers: int = 0  # stored ones that it rests on
    rendered: list[int] = field(default_factory=list)  # characters of requests without the answers that they quote
    _by_batch: Callable[[Model], bool] = _never  # models whose requests go by batches
    _requests: dict[tuple[RequestSettings, Stratum], _Requests] = field(default_factory=dict)
    _last: dict[str, PromptLike] = field(default_factory=dict)  # by model
    _per_char: list[float] = field(default_factory=list)  # assumed tokens per character, of some prompts

    def add(self, head: RequestSettings, prompt: PromptLike, stratum: Stratum) -> None:
        """Add a request."""
        requests = self._requests.get((head, stratum)) or self._of(head, stratum)
        if not requests.n and len(self._per_char) < MAX_READ and prompt.messages:
            self._per_char.append(tokens_per_char(prompt))
        chars = prompt.chars
        requests.n += 1
        requests.chars += chars
        self.chars += chars
        least = requests.least
        if least is not None:
            use = head.model.use
            before = self._last.get(use)
            if before is not None and min(before.chars, chars) >= least:
                prefix = before.common(prompt)
                if prefix >= least:
                    requests.prefix_chars += prefix
                    self.prefix_chars += prefix
            self._last[use] = prompt

    def add_symbolic(self, head: RequestSettings, stratum: Stratum) -> bool:
        """Add a request whose messages are not known yet; return whether its length should be added to `rendered`."""
        requests = self._requests.get((head, stratum)) or self._of(head, stratum)
        requests.n_symbolic += 1
        n = len(self.rendered)
        return n < FIRST_RENDERED or (n < MAX_RENDERED and requests.n_symbolic == 1)

    def takes_sums(self, head: RequestSettings, stratum: Stratum, *, symbolic: bool) -> bool:
        """Whether sums of requests can be added to those of a group: no prompt of these must be read or measured."""
        requests = self._requests.get((head, stratum))
        if requests is None:
            return False
        if not symbolic:
            return bool(requests.n) or len(self._per_char) >= MAX_READ
        n = len(self.rendered)
        return n >= MAX_RENDERED or (n >= FIRST_RENDERED and bool(requests.n_symbolic))

    def add_sums(self, head: RequestSettings, stratum: Stratum, *, n: int, chars: int) -> None:
        """Add requests without a prefix that a provider's cache keeps."""
        requests = self._requests[head, stratum]
        requests.n += n
        requests.chars += chars
        self.chars += chars
        if requests.least is not None:
            self._last[head.model.use] = SHORT

    def add_symbolic_sums(self, head: RequestSettings, stratum: Stratum, *, n: int) -> None:
        """Add requests whose messages are not known yet."""
        self._requests[head, stratum].n_symbolic += n

    def _of(self, head: RequestSettings, stratum: Stratum) -> _Requests:
        requests = self._requests[head, stratum] = _Requests(head, stratum, beginning(head.model))
        return requests

    def by_model(self) -> Iterator[tuple[Model, int, int]]:
        """Yield models, each with requests whose prompts are known, and with requests that wait for answers."""
        for requests in self._requests.values():
            yield requests.head.model, requests.n, requests.n_symbolic

    def output_of(self, model: Model) -> float:
        """Return the expected output tokens of an answer of a model; 0 if they are unknown."""
        parts = [(t.n.expected or 0.0, t.output.expected or 0.0) for t in self.tokens if t.model == model]
        return sum([n * out for n, out in parts]) / max(sum([n for n, _ in parts]), 1.0)

    def lacks(self, stats: TokenStats, step: Step) -> bool:
        """Whether a model that costs money has no stored answer like those to come."""
        heads = {head: None for head, _ in self._requests}
        return any(price_of(h.model) is not FREE and stats.past(step, h, ()) is None for h in heads)

    def finish(self, stats: TokenStats, step: Step, quoted: Iterable[Range], *, share: float | None) -> None:
        """Estimate from the stored answers of all experiments.

        Args:
            stats: of the stored answers of the program.
            step: the step.
            quoted: tokens of the answers that symbolic requests will quote.
            share: of the symbolic requests, how many will be sent; None if no condition was ever decided.
        """
        quoted = list(quoted)
        self.tokens, self.assumed = [], False
        answers: list[tuple[float, Range]] = []
        n_answers: dict[RequestSettings, int] = {}
        least, expected = (0.0, UNDECIDED_SHARE) if share is None else (share, share)
        for requests in self._grouped(stats, step):
            head = requests.head
            past = stats.past(step, head, requests.stratum)
            basis = past.basis if past is not None else Basis.ASSUMED
            out, text = _output(step, head, past)
            ratio = self._ratio(past)
            if requests.n:
                known = _scaled(ratio, requests.chars / requests.n)
                prefix = requests.prefix_chars * (ratio.expected or 0.0)
                self.tokens.append(Tokens(head.model, basis, _exactly(requests.n), known, out, prefix))
            if more := requests.n_symbolic:
                n = Range(more * least, more * expected, more)
                self.tokens.append(Tokens(head.model, basis, n, self._symbolic(past, ratio, quoted), out))
                self.assumed = self.assumed or share is None
            self.assumed = self.assumed or (past is None and out.low != out.expected)
            if past is not None:
                n_answers[head] = past.n
            answers.append((requests.n + more * expected, text))
        self.n_answers = sum(n_answers.values())
        self.answer = _together(answers)
        self._add_up()

    def _grouped(self, stats: TokenStats, step: Step) -> list[_Requests]:
        """Return the requests by model and stratum; strata of a model without an answer are together."""
        groups: list[_Requests] = []
        whole: dict[RequestSettings, _Requests] = {}
        for requests in self._requests.values():
            if stats.measured(step, requests.head):
                groups.append(requests)
                continue
            together = whole.get(requests.head)
            if together is None:
                together = whole[requests.head] = _Requests(requests.head, (), requests.least)
                groups.append(together)
            together.n += requests.n
            together.chars += requests.chars
            together.prefix_chars += requests.prefix_chars
            together.n_symbolic += requests.n_symbolic
        return groups

    def _add_up(self) -> None:
        self.input_tokens, self.output_tokens = 0.0, 0.0
        self.usd, self.low_usd, self.high_usd, self.discount_usd = Decimal(0), Decimal(0), Decimal(0), Decimal(0)
        for tokens in self.tokens:
            batch = self._by_batch(tokens.model)
            price, n = price_of(tokens.model, batch=batch), tokens.n.expected
            self.input_tokens = _sum(self.input_tokens, _times(n, tokens.input.expected))
            self.output_tokens = _sum(self.output_tokens, _times(n, tokens.output.expected))
            self.usd = _sum_usd(self.usd, tokens.usd(price))
            self.low_usd = _sum_usd(self.low_usd, tokens.usd(price, "low"))
            self.high_usd = _sum_usd(self.high_usd, tokens.usd(price, "high"))
            self.discount_usd += Decimal(0) if batch else tokens.discount_usd(price)

    def price_by(self, by_batch: Callable[[Model], bool]) -> None:
        """Estimate the cost again, for requests to some models by batches: no hits of a prefix cache are counted."""
        self._by_batch = by_batch
        self._add_up()

    def usd_at(self, price: Callable[[Model], Price | None]) -> Decimal | None:
        """Return the likely cost of the same tokens at other prices; None if one of them is unknown."""
        total: Decimal | None = Decimal(0)
        for tokens in self.tokens:
            total = _sum_usd(total, tokens.usd(price(tokens.model)))
        return total

    @property
    def prefix_tokens(self) -> float:
        """Expected input tokens in a prefix that the request before has too."""
        return sum(t.prefix for t in self.tokens)

    def usd_by_basis(self) -> dict[Basis, Decimal]:
        """Return the known part of the likely cost by the source of the lengths that it rests on."""
        parts: dict[Basis, Decimal] = {}
        for tokens in self.tokens:
            usd = tokens.usd(price_of(tokens.model, batch=self._by_batch(tokens.model)))
            parts[tokens.basis] = parts.get(tokens.basis, Decimal(0)) + (usd or Decimal(0))
        return parts

    @property
    def basis(self) -> Basis:
        """The worst source of lengths on which at least a tenth of the cost rests; of free requests, of any."""
        parts = self.usd_by_basis()
        total = sum(parts.values(), Decimal(0))
        return max((b for b, usd in parts.items() if usd >= MIN_SHARE * total), key=ORDER.index, default=Basis.ANSWERS)

    @property
    def assumed_tokens(self) -> tuple[float, float]:
        """How many answers have an assumed length, and their tokens."""
        assumed = [(t.n.expected or 0.0, t.output.expected or 0.0) for t in self.tokens if t.basis is Basis.ASSUMED]
        return sum([n for n, _ in assumed]), sum([n * out for n, out in assumed])

    def _ratio(self, past: Past | None) -> Range:
        """Return the tokens per character of a prompt."""
        if past is not None and past.per_char:
            return _exactly(past.per_char)
        expected = sum(self._per_char) / len(self._per_char) if self._per_char else 1 / WORD_CHARS
        return Range(min(1 / MAX_CHARS, expected), expected, max(1 / MIN_CHARS, 1.5 * expected))

    def _symbolic(self, past: Past | None, ratio: Range, quoted: list[Range]) -> Range:
        """Return the input tokens of a request that quotes answers which are not stored."""
        if past is not None and past.input is not None:
            return _exactly(past.input)
        if not self.rendered:
            return Range(0.0, None, None)
        base = sum(self.rendered) / len(self.rendered)
        expected, high = (_all([getattr(q, end) for q in quoted]) for end in ("expected", "high"))
        return Range(
            base * ratio.low + sum([q.low for q in quoted]),
            base * (ratio.expected or 0.0) + expected if expected is not None else None,
            base * (ratio.high or 0.0) + high if high is not None else None,
        )

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
            "est_basis": self.basis.value,
            "est_basis_answers": self.n_answers,
        }


def _output(step: Step, head: RequestSettings, past: Past | None) -> tuple[Range, Range]:
    """Return the tokens of one answer, and of its text without reasoning."""
    limit = max_answer_tokens(head.model, dict(head.params))
    most = float(limit) if limit else None
    if past is not None:
        output, text, low = past.output, past.text, past.low_output
    else:
        likely = likely_answer(step, head)
        output, text, low = likely.tokens, likely.text, 1.0
    if most is not None:
        output, text = min(output, most), min(text, most)
    return Range(min(low, output), output, most), Range(min(1.0, text), text, most)


def _together(answers: list[tuple[float, Range]]) -> Range:
    """Return one range of several, each with its number of answers; NOTHING for none."""
    if not answers:
        return NOTHING
    total = sum([n for n, _ in answers])
    weights = [n / total if total else 1 / len(answers) for n, _ in answers]
    expected = sum([w * (r.expected or 0.0) for w, (_, r) in zip(weights, answers, strict=True)])
    highs = [r.high for _, r in answers if r.high is not None]
    return Range(min(r.low for _, r in answers), expected, max(highs) if len(highs) == len(answers) else None)


def _exactly(number: float) -> Range:
    return Range(number, number, number)


def _scaled(some: Range, factor: float) -> Range:
    return Range(some.low * factor, _times(some.expected, factor), _times(some.high, factor))


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
