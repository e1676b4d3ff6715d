"""What requests will come to, in tokens and US dollars, by what was stored of the same models so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.run.reasons import common

if TYPE_CHECKING:
    from emdsl.prompt import Prompt
    from emdsl.query import Head, Model, Query, Response

CHARS_PER_TOKEN = 4.0  # of a model of which nothing is stored
MILLION = Decimal(10**6)


@dataclass(slots=True)
class _Seen:
    chars: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    n: int = 0


@dataclass(slots=True)
class Learned:
    """How long the stored answers of each step and model were, and how many characters made a token."""

    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)

    def take(self, step: str, query: Query, response: Response) -> None:
        """Learn from a stored answer, if its provider counted."""
        usage = response.usage
        if usage.input_tokens is None or usage.output_tokens is None:
            return
        seen = self._seen.setdefault((step, query.head.model.use), _Seen())
        seen.n += 1
        seen.chars += sum([len(m.text) for m in query.prompt.messages])
        seen.input_tokens += usage.input_tokens
        seen.output_tokens += usage.output_tokens

    def input_tokens(self, step: str, use: str, chars: int) -> float:
        """Return how many tokens some characters are."""
        seen = self._seen.get((step, use))
        return chars * seen.input_tokens / seen.chars if seen and seen.chars else chars / CHARS_PER_TOKEN

    def means(self, step: str, use: str) -> tuple[float, float] | None:
        """Return the mean tokens in and out of a step's stored answers; None where none is stored."""
        seen = self._seen.get((step, use))
        return (seen.input_tokens / seen.n, seen.output_tokens / seen.n) if seen else None


@dataclass(slots=True)
class _Asked:
    model: Model
    most_out: int | None
    n: int = 0
    chars: int = 0
    n_unknown: int = 0


@dataclass(slots=True)
class Estimate:
    """Of one step's requests: None is what is not known; `most` marks numbers that rest on `max_tokens`."""

    input_tokens: float | None = 0.0
    output_tokens: float | None = 0.0
    usd: Decimal | None = Decimal(0)
    most: bool = False
    chars: int = 0
    prefix_chars: int = 0  # of these, in a beginning that another request has too
    _asked: dict[tuple[str, int | None], _Asked] = field(default_factory=dict)
    _last: Prompt | None = None
    _last_chars: int = 0
    _last_head: Head | None = None
    _last_asked: _Asked | None = None

    def known(self, query: Query) -> None:
        """Take in a request whose messages are known."""
        prompt = query.prompt
        if prompt is self._last:  # the samples of a cell
            self.prefix_chars += self._last_chars
        else:
            if self._last is not None:
                self.prefix_chars += _common(self._last, prompt)
            self._last_chars = sum([len(m.text) for m in prompt.messages])
            self._last = prompt
        asked = self._of(query.head)
        asked.n += 1
        asked.chars += self._last_chars
        self.chars += self._last_chars

    def unknown(self, head: Head) -> None:
        """Take in a request whose messages are not known yet."""
        self._of(head).n_unknown += 1

    def _of(self, head: Head) -> _Asked:
        if head is self._last_head and self._last_asked is not None:
            return self._last_asked
        params = dict(head.params)
        most = params.get("max_tokens") or params.get("max_completion_tokens")
        key = (head.model.use, most)
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(head.model, most)
        self._last_head, self._last_asked = head, asked
        return asked

    def finish(self, learned: Learned, step: str, *, share: float = 1.0, most: bool = False) -> None:
        """Estimate, with all that could be learned; `share` of the requests that are not known will be asked."""
        self.most = most and any(a.n_unknown for a in self._asked.values())
        self.input_tokens, self.output_tokens, self.usd = 0.0, 0.0, Decimal(0)
        for asked in self._asked.values():
            use = asked.model.use
            means = learned.means(step, use)
            n_unknown = asked.n_unknown * share
            n = asked.n + n_unknown
            into: float | None = learned.input_tokens(step, use, asked.chars)
            if asked.n_unknown:
                per = means[0] if means else (into / asked.n if asked.n and into else None)
                into = into + n_unknown * per if per is not None and into is not None else None
            out: float | None = n * means[1] if means else (float(n * asked.most_out) if asked.most_out else None)
            self.most = self.most or (means is None and out is not None)
            self.input_tokens = _sum(self.input_tokens, into)
            self.output_tokens = _sum(self.output_tokens, out)
            self.usd = self._cost(asked.model, into, out)

    def _cost(self, model: Model, into: float | None, out: float | None) -> Decimal | None:
        if model.simulated:
            return self.usd
        if self.usd is None or model.price is None or into is None or out is None:
            return None
        price = model.price
        return self.usd + (Decimal(price.input) * Decimal(into) + Decimal(price.output) * Decimal(out)) / MILLION

    def as_json(self) -> dict[str, Any]:
        """Return tokens and cost; None is not known. Nothing where nothing is left."""
        if not self._asked:
            return {}
        return {
            "est_input_tokens": round(self.input_tokens) if self.input_tokens is not None else None,
            "est_output_tokens": round(self.output_tokens) if self.output_tokens is not None else None,
            "est_usd": float(round(self.usd, 4)) if self.usd is not None else None,
        }


def _sum(a: float | None, b: float | None) -> float | None:
    return a + b if a is not None and b is not None else None


def _common(a: Prompt, b: Prompt) -> int:
    """Return how many characters two prompts have in common at their beginning."""
    n = 0
    for was, now in zip(a.messages, b.messages, strict=False):
        if was == now:
            n += len(now.text)
            continue
        if was.role == now.role:
            n += common(was.text, now.text)
        break
    return n
