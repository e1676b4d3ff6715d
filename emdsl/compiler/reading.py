"""Values that a text states: numbers, the letter of an option, sentences. What is unclear is None, never a guess."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from emdsl.value import Number, number

if TYPE_CHECKING:
    from collections.abc import Iterator

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(  # no part of a word ("GPT-4", "5kg"), of a version ("3.5.1") or of a decimal comma ("3,5")
    rf"(?<![^\W_])(?<![0-9][.,])(?<![^\W\d_][-\u2212])(?P<number>(?:(?<![^\W_])[-+\u2212])?(?:{_DIGITS})"
    r"(?:[eE][-+]?[0-9]+)?)(?![^\W_])(?![.,][0-9])"
)
_WHOLE = re.compile(rf"\s*(?P<number>[-+\u2212]?(?:{_DIGITS})(?:[eE][-+]?[0-9]+)?)\s*")
_GAP = re.compile(r"[\W_]{0,40}?(?=[-+\u2212.]?[0-9])")  # between a name and its number: blanks and signs, no word
_OPEN, _CLOSE = r"[\s*_`\"'(\[$]{0,20}", r"[*_`\"')\].]{0,20}"
_WORD = "(?:(?:option|choice|letter)[ \t]+)?"
_VALUE = (  # a capital letter that is no word ("A good choice", "I think"), or a small one that ends its line
    rf"{_OPEN}(?:\\boxed\{{)?(?:\\text\{{)?(?i:{_WORD}){_OPEN}"
    r"(?:(?P<capital>[AI](?![\w'\u2019])(?![ \t]+(?!because|since|as|and|or|is|due)[a-z])|[B-HJ-Z](?![\w'\u2019]))"
    r"|(?P<small>[a-z])(?=[)\]}.*]*\s*(?:\n|\Z)|\)))"
)
_IS = r"(?:[*_`]{0,3}\s*[:=]|\s+(?:is|would be|should be|must be)\b\s*:?)"
_STATED = re.compile(
    rf"(?i:\b(?:answer|choice|option){_IS}){_VALUE}"
    r"|\\boxed\{(?:\\text\{)?\(?(?P<boxed>[A-Za-z])\)?\}"
    r"|\[\[(?P<bracketed>[A-Za-z])\]\]"
    r"|(?i:<answer>)\s*\(?(?P<tagged>[A-Za-z])\)?\.?\s*(?i:</answer>)"
)
_LEADS = re.compile(
    rf"{_OPEN}(?P<letter>[A-Za-z])(?P<closed>[*_`\"')\].:]{{0,20}})(?P<dash>\s+[-\u2013\u2014])?(?=\s|\Z)"
)
_ALONE = re.compile(rf"{_OPEN}(?P<letter>[A-Z]){_CLOSE}\Z")
_ANOTHER = re.compile(r"[)\]*_\"']*\s*(?:,|/|&|\band\b|\bor\b)\s*(?:(?:and|or)\s+)?\(?(?:[A-HJ-Z]\b|I\b(?!\s+[a-z]))")
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]*_]*(?=\s|\Z)|[\u3002\uff01\uff1f]+|\n")


def first_number(text: str, after: str | None = None, *, last: bool = False) -> Number | None:
    """Return the first or last number of a text; None without one.

    Args:
        text: The text.
        after: Only numbers that follow these words, in any case, with nothing but blanks and signs between.
        last: Whether to take the last one.

    >>> first_number("GPT-4 weighs 1,250.5 kg, or -3"), first_number("Stance: **7** of 10", "STANCE:")
    (Decimal('1250.5'), 7)
    """
    numbers = _numbers(text) if after is None else _numbers_after(text, after)
    return next(iter(deque(numbers, maxlen=1)), None) if last else next(numbers, None)


def _numbers(text: str) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        if (value := _value(match["number"])) is not None:
            yield value


def _numbers_after(text: str, after: str) -> Iterator[Number]:
    for marker in re.finditer(re.escape(after.strip()), text, re.IGNORECASE):
        gap = _GAP.match(text, marker.end())
        match = _NUMBER.match(text, gap.end()) if gap else None
        if match and (value := _value(match["number"])) is not None:
            yield value


def whole_number(text: str) -> Number | None:
    """Return the number that a text is as a whole, as a cell of a CSV file; None for any other text."""
    match = _WHOLE.fullmatch(text)
    return _value(match["number"]) if match else None


def _value(written: str) -> Number | None:
    try:
        return number(written.replace(",", "").replace("\u2212", "-"))
    except ValueError:  # more digits than the language has
        return None


def stated_letter(text: str, n_options: int = len(LETTERS)) -> str | None:
    r"""Return the letter of the option that an answer chooses; None for prose, several letters or another letter.

    A letter counts as `Answer: B`, `the answer is (B)`, `\boxed{B}`, `[[B]]` or `<answer>B</answer>`; alone on the
    last line; or at the beginning, alone or as `B)`, `B.`, `B:` or `B -`. Of several statements the last one counts.

    >>> stated_letter("Paris is nice.\n\nThe answer is **(B)**."), stated_letter("A and B are fine")
    ('B', None)
    """
    text = text.strip()
    stated = [(match.end(), next(g for g in match.groups() if g)) for match in _STATED.finditer(text)]
    last_line = text.rfind("\n") + 1
    if last_line and (alone := _ALONE.match(text, last_line)):
        stated.append((alone.end(), alone["letter"]))
    leading = _LEADS.match(text)
    if not stated and leading and _is_marked(leading, text):
        stated.append((leading.end("letter"), leading["letter"]))
    if not stated:
        return None
    end, letter = max(stated)
    place = LETTERS.index(letter.upper())
    return LETTERS[place] if place < n_options and not _ANOTHER.match(text, end) else None


def _is_marked(leading: re.Match[str], text: str) -> bool:
    """Whether a letter at the beginning is an option, not a word: `A)` and `A`, not `A good question`."""
    rest = text[leading.end() :].partition("\n")[0].strip()
    closing = set(leading["closed"]) & set(").:]")
    if leading["letter"].islower():
        return not text[leading.end() :].strip() or ")" in closing
    return bool(closing) or leading["dash"] is not None or not rest


def n_sentences(text: str) -> int:
    r"""Return the number of sentences: they end at `.`, `!`, `?` before a blank, and at line ends.

    >>> n_sentences("It is 3.5 m. Really?\n1. A list\n2. Of two")
    4
    """
    parts = _SENTENCE_END.split(text)
    return sum(any(c.isalpha() for c in part) for part in parts) or int(any(c.isalnum() for c in text))
