"""Probes: whether a judge's model writes a number as one token, found out before a first token is weighed.

A tokenizer that splits digits writes "85" as `8`, `5`: the candidates of the first token are then digits, no scores,
and one reply does not show it. So a run first sends each such judge one probe: reply with 85. Its answer is stored as
any other. In a store without that answer, the judge's own replies show it: N_REPLIES without a number of two digits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from emdsl.experiment import request_settings
from emdsl.prompt import of_text
from emdsl.query import Query
from emdsl.reasoning import split
from emdsl.service import PROBE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.digest import Digest
    from emdsl.experiment import Experiment, Step
    from emdsl.outcome import Outcome
    from emdsl.query import RequestSettings, Response
    from emdsl.reasoning import Answer
    from emdsl.store.store import Store

PROMPT = of_text(PROBE)
NUMBER = "85"  # the reply that it asks for
N_REPLIES = 20
SPLITS = (
    "it writes numbers digit by digit: no score can be weighed. Import from `std:judges@2`, or use `read = number` "
    "with `max_tokens = 8`"
)
MIN_HIGH = 50  # end of a scale from which most scores have two digits, so that replies without any are telling
FEW_TOKENS = 3  # a reply of so few tokens may be cut within a number


class Numbers(Enum):
    """How a judge's model writes numbers."""

    WHOLE = "whole"
    SPLIT = "split"
    UNCLEAR = "unclear"  # the answer to the probe is no number


@dataclass(slots=True)
class Probe:
    """One judge's probe: its request, its answer if it has one, and the evidence of the judge's replies."""

    query: Query
    high: float  # end of the scale
    response: Response | None = None
    numbers: Numbers | None = None  # None: unknown
    replies: frozenset[Digest] = frozenset()  # with a number among their candidates, none of them of two digits

    @property
    def split(self) -> bool:
        """Whether this judge writes numbers digit by digit, so that its first tokens are no scores."""
        return self.numbers is Numbers.SPLIT

    def take(self, response: Response) -> None:
        """Store the answer to the probe."""
        self.response, self.numbers = response, numbers_in(response)

    def see(self, key: Digest, n: int) -> None:
        """Count a reply whose longest candidate has `n` digits, once however often it is read."""
        if self.numbers in (Numbers.WHOLE, Numbers.SPLIT) or not n:
            return
        if n > 1:
            self.numbers = Numbers.WHOLE
        else:
            self.replies |= {key}
            if len(self.replies) >= N_REPLIES and self.high >= MIN_HIGH:
                self.numbers = Numbers.SPLIT


class Probes:
    """The probes of an experiment's judges."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._by_head: dict[int, tuple[RequestSettings, Probe | None]] = {}  # by identity, kept with the head
        self._by_key: dict[Digest, Probe] = {}
        self._store_checked = False
        self._scored = {s.name for s in experiment.steps if _has_wide_scale(s)}

    def of(self, step: Step, head: RequestSettings) -> Probe | None:
        """Return the probe of a judge, or None for a step that needs none."""
        if step.name not in self._scored:
            return None
        known = self._by_head.get(id(head))
        if known is None:
            known = self._by_head[id(head)] = head, self._new(step, head) if _weighs(step, head) else None
        return known[1]

    def _new(self, step: Step, head: RequestSettings) -> Probe:
        assert step.reply_format is not None
        assert step.reply_format.scale is not None
        query = Query(head, PROMPT, 0, head.key_state().add(PROMPT.messages).close().last_key(head.replicate, 0))
        return self._by_key.setdefault(query.key, Probe(query, step.reply_format.scale[1]))

    def look_up(self, store: Store, *, again: bool = False) -> None:
        """Read the stored answers to probes, the first time that it is called; `again` for those without one."""
        if self._store_checked:
            for key, response in self._missing(store).items() if again else ():
                self._by_key[key].take(response)
            return
        self._store_checked = True
        if any(s.reply_format is not None and s.reply_format.scale is not None for s in self._experiment.steps):
            for step, head in request_settings(self._experiment):
                self.of(step, head)
        for key, response in (store.get_many(self._by_key) if self._by_key else {}).items():
            self._by_key[key].take(response)

    def _missing(self, store: Store) -> dict[Digest, Response]:
        missing = [key for key, probe in self._by_key.items() if probe.response is None]
        return store.get_many(missing) if missing else {}

    def evidence(self) -> dict[Digest, Probe]:
        """Return what is known of each judge so far."""
        return {key: replace(probe) for key, probe in self._by_key.items()}

    def restore(self, evidence: Mapping[Digest, Probe]) -> None:
        """Go back to what was known before: rows that were read too early are made again."""
        for key, probe in self._by_key.items():
            before = evidence.get(key, Probe(probe.query, probe.high))
            probe.response, probe.numbers, probe.replies = before.response, before.numbers, before.replies

    @property
    def all_answered(self) -> bool:
        """Whether no probe waits for its answer."""
        return all(probe.response is not None for probe in self._by_key.values())

    @property
    def keys(self) -> list[Digest]:
        """Keys of all probes."""
        return list(self._by_key)

    @property
    def answers(self) -> list[Digest]:
        """Keys of the probes with an answer."""
        return [key for key, probe in self._by_key.items() if probe.response is not None]

    @property
    def queries(self) -> list[Query]:
        """Requests of all probes."""
        return [probe.query for probe in self._by_key.values()]

    def answered(self, key: Digest, response: Response) -> bool:
        """Whether a request is a probe; if so, store its answer."""
        probe = self._by_key.get(key)
        if probe is not None:
            probe.take(response)
        return probe is not None

    def required(self, step: Step, head: RequestSettings) -> Probe | None:
        """Return the probe that must be answered before a judge's requests are sent, or None."""
        probe = self.of(step, head)
        return probe if probe is not None and probe.response is None and not probe.split else None

    @property
    def any_split(self) -> bool:
        """Whether any judge writes numbers digit by digit."""
        return any(probe.split for probe in self._by_key.values())

    def split(self, step: Step, query: Query) -> bool:
        """Whether the reply to a request holds no score, because its judge writes numbers digit by digit."""
        probe = self.of(step, query.settings)
        return probe is not None and probe.split

    def see(
        self,
        ready: Iterable[tuple[Outcome, Step, Query]],
        stored: Mapping[Digest, Response],
        answers: Mapping[Digest, Answer],
    ) -> None:
        """Count the stored replies of judges whose probe has no answer."""
        for _, step, query in ready if self._by_key else ():
            probe = self.of(step, query.settings)
            if probe is not None and probe.numbers in (None, Numbers.UNCLEAR) and query.key in stored:
                from emdsl.judge import n_digits  # noqa: PLC0415 - its patterns take 5 ms; a first plan reads no reply

                probe.see(query.key, n_digits(stored[query.key], answers[query.key].text))


def _has_wide_scale(step: Step) -> bool:
    """Whether a step reads a number that may have several digits."""
    scale = step.reply_format.scale if step.reply_format is not None else None
    return scale is not None and max(map(abs, scale)) >= 10


def _weighs(step: Step, head: RequestSettings) -> bool:
    """Whether a step reads a number from the first token, or from a reply of a few tokens."""
    most = next((value for name, value in head.params if name == "max_tokens"), None)
    return (step.reply_format is not None and step.reply_format.weighted is not None) or (
        most is not None and most <= FEW_TOKENS
    )


def numbers_in(response: Response) -> Numbers:
    """Return how a model writes numbers, from its answer to the probe."""
    from emdsl.forms import plain  # noqa: PLC0415 - its patterns take 5 ms; a first plan reads no reply
    from emdsl.logprobs import spelled, start_of  # noqa: PLC0415 - its patterns take 5 ms; a first plan reads no reply

    text = plain(split(response).text)
    at = text.find(NUMBER)
    if at < 0:
        cut = response.finish == "length" and text.strip() == NUMBER[0]
        return Numbers.SPLIT if cut else Numbers.UNCLEAR
    start = start_of(text[at:], response.logprobs, response.tokens) if response.logprobs else None
    if start is None or not response.logprobs:
        return Numbers.WHOLE if text == NUMBER and not response.logprobs else Numbers.UNCLEAR
    chosen = [response.tokens[start]] if response.tokens else [t for t, _ in response.logprobs[start]]
    first = next((t for t in (spelled(c).strip() for c in chosen) if t and text[at:].startswith(t)), "")
    return Numbers.WHOLE if first.startswith(NUMBER) else Numbers.SPLIT if first == NUMBER[0] else Numbers.UNCLEAR
