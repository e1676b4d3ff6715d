"""Logprobs: the candidates of tokens, their place in a text, their spelling, and their weighted score."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TokenLogprobs = tuple[tuple[str, float], ...]  # candidates at one position, most likely first
MIN_PREFIX = 2  # minimum letters of a token that begins a word: "RE" is clear, "R" may be anything
_SPACES = ("\u0120", "\u2581")  # how byte-level and SentencePiece vocabularies write a blank before a word
_BYTES = re.compile(r"(?:<0x[0-9A-Fa-f]{2}>)+\Z")
_UNSPELLED = re.compile(r"\ufffd|\Abytes:|\Atoken_id:")  # parts of a character, and tokens by number
_SPECIAL = re.compile(r"\s*(?:<\|?[^<>]{0,60}\|?>|\[/?[A-Z_]{2,20}\])?\s*\Z")  # ends of a text, and blanks


class Weights(NamedTuple):
    """The weighted mean of one token's candidates, None without any number, and their probability mass."""

    mean: float | None
    mass: float  # on whole numbers within the scale
    word_mass: float  # on declared words


class LabelWeights(NamedTuple):
    """The probability mass of one token's candidates, by the label or the declared word that they begin."""

    by_label: tuple[tuple[str, float], ...]  # of each label, in their order
    by_word: tuple[tuple[str, float], ...]  # of each declared word
    shared: float  # of candidates that begin a label and something else

    @property
    def mass(self) -> float:
        """The mass on labels."""
        return math.fsum(mass for _, mass in self.by_label)

    @property
    def word_mass(self) -> float:
        """The mass on declared words."""
        return math.fsum(mass for _, mass in self.by_word)

    def share(self, label: str) -> float:
        """Return the probability of a label among all labels; raises KeyError, and ZeroDivisionError without mass."""
        return dict(self.by_label)[label] / self.mass


def spelled(token: str) -> str:
    """Return a token as its text, whatever the spelling of the vocabulary.

    >>> spelled("\u012080"), spelled("\u258180"), spelled("<0x38><0x30>")
    (' 80', ' 80', '80')
    """
    if token.startswith(_SPACES):
        return " " + token[1:]
    if _BYTES.match(token):
        return bytes.fromhex(token.replace("<0x", "").replace(">", "")).decode("utf-8", "replace")
    return token.replace("\u010a", "\n")


def start_of(text: str, positions: Sequence[TokenLogprobs], tokens: Sequence[str] | None = None) -> int | None:
    """Return the position of the token at which a text begins, or None if the tokens do not spell it.

    Servers put the tokens of reasoning, tags and blanks before those of the answer. `tokens` are the chosen ones;
    without them, any candidate may have been chosen.
    """
    wanted = text.strip()
    if not wanted:
        return None
    options = [_options(at, tokens[i] if tokens and i < len(tokens) else None) for i, at in enumerate(positions)]
    first = next((i for i, at in enumerate(options) if any(t.strip() for t in at)), len(options))
    for start in range(first, len(options)):
        if _spells(wanted, options, start, may_end=start == first):
            return start
    return None


def _options(at: TokenLogprobs, chosen: str | None) -> tuple[str, ...]:
    return (spelled(chosen),) if chosen else tuple(spelled(t) for t, _ in at)


def _spells(wanted: str, options: Sequence[tuple[str, ...]], start: int, *, may_end: bool) -> bool:
    """Whether tokens from a position on spell a text; `may_end`: the tokens may end before the text."""
    reached = {len(t.lstrip()) for t in options[start] if t.strip() and wanted.startswith(t.lstrip())}
    if any(t.strip() == wanted for t in options[start]):
        reached.add(len(wanted))
    for at in options[start + 1 :]:
        if not reached:
            return False
        if not at or any(_UNSPELLED.search(t) for t in at):  # the spelling of this one is unknown
            return True
        reached = {end for offset in reached for t in at if (end := _reaches(wanted, offset, t)) is not None}
    return len(wanted) in reached or (may_end and bool(reached))


def _reaches(wanted: str, offset: int, token: str) -> int | None:
    """Return the offset in a text after one more token, or None if the token does not continue it."""
    if offset == len(wanted):
        return offset if _SPECIAL.match(token) else None
    if wanted.startswith(token, offset):
        return offset + len(token)
    return len(wanted) if token.rstrip() == wanted[offset:] else None


def weigh(candidates: TokenLogprobs, scale: tuple[float, float], words: Iterable[str] = ()) -> Weights:
    """Weigh candidates: tokens with the natural logarithms of their probabilities.

    Source: Betley et al. (2025), `judge.py`: tokens are read as Python's `int` does.
    """
    total = mass = word_mass = 0.0
    for token, logprob in candidates:
        probability = math.exp(min(logprob, 0.0))
        try:
            value = int(spelled(token))
        except ValueError:
            word_mass += probability if _begins(token, words) else 0.0
            continue
        if scale[0] <= value <= scale[1]:
            total += value * probability
            mass += probability
    return Weights(total / mass if mass > 0 else None, mass, word_mass)


def weigh_labels(candidates: TokenLogprobs, labels: tuple[str, ...], words: tuple[str, ...] = ()) -> LabelWeights:
    """Weigh candidates by the label that they spell or begin, whatever their case and the punctuation around them.

    Sources: `P(YES) / (P(YES) + P(NO))` of Chen et al. (2025), "Persona Vectors", `judge.py`; `P(A) / (P(A) + P(B))`
    of Rimsky et al. (2024), "Steering Llama 2 via Contrastive Activation Addition".
    """
    by_label, by_word, shared = dict.fromkeys(labels, 0.0), dict.fromkeys(words, 0.0), 0.0
    for token, logprob in candidates:
        probability = math.exp(min(logprob, 0.0))
        of_labels, of_words = _begun(token, labels), _begun(token, words)
        if not of_labels:
            if of_words:
                by_word[of_words[0]] += probability
        elif len(of_labels) > 1 or of_words:
            shared += probability
        else:
            by_label[of_labels[0]] += probability
    return LabelWeights(tuple(by_label.items()), tuple(by_word.items()), shared)


@lru_cache(maxsize=4096)  # most replies have the same few candidates
def _begun(token: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that a token spells or begins.

    One ASCII letter begins too much to count, and the digits of one number begin no other: `10` is not a part of `100`.
    """
    from emdsl.forms import bare  # noqa: PLC0415 - its patterns take 5 ms; what providers need of this file is without

    text = bare(spelled(token))
    enough = len(text.encode("utf-8", "replace")) >= MIN_PREFIX
    return tuple(
        n
        for n, name in ((n, bare(n)) for n in names)
        if name == text or (enough and name.startswith(text) and not (text[-1].isdigit() and name[len(text)].isdigit()))
    )


def _begins(token: str, words: Iterable[str]) -> bool:
    """Whether a token begins or equals a declared word."""
    text = spelled(token).strip().casefold()
    return len(text) >= MIN_PREFIX and any(w.casefold().startswith(text) or text == w.casefold() for w in words)


def digits(candidates: TokenLogprobs) -> int:
    """Return the number of digits of the longest number among candidates; 0 if none is a number."""
    numbers = [spelled(t).strip() for t, _ in candidates]
    return max((len(n) for n in numbers if n.isdecimal()), default=0)
