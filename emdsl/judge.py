"""Verdict: from a judge's reply to a score, a label, or the reason for a missing verdict."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from emdsl.forms import MAX_LINE, MAX_OBJECTS, bare, objects, opened, plain, stated
from emdsl.logprobs import MIN_PREFIX, LabelWeights, digits, spelled, start_of, weigh, weigh_labels
from emdsl.reasoning import without_thoughts
from emdsl.reply_format import ReplyField, ReplyFormat
from emdsl.value import NO_LOGPROBS, NO_MASS, SPLIT_LABEL, SPLIT_NUMBER, UNREADABLE, LabelledMap, Missing

if TYPE_CHECKING:
    from emdsl.logprobs import TokenLogprobs, Weights
    from emdsl.query import Response

__all__ = ["ReplyField", "ReplyFormat", "Verdict", "first_token", "n_digits", "read", "token_weights"]

Verdict = float | str | LabelledMap | Missing  # a score, a label, the fields of a JSON reply, or a missing value

_MINUS = r"\-\u2212\u2010\u2011\u2013\uff0d"  # as models write the sign
_NUMBER = re.compile(rf"[+{_MINUS}]?(?:\d+(?:\.\d+)?|\.\d+)")
_LEADING = re.compile(r"[-\u2212]?\d+(?:\.\d+)?")
_RATING = re.compile(
    rf"(?P<number>{_NUMBER.pattern})(?:\s*(?:/|out of)\s*(?P<of>\d+(?:\.\d+)?)|\s*(?P<percent>%)|\s+points?)?\Z"
)
_AROUND_NUMBER = " \t\n!()[]*_`\"'\u2018\u2019\u201c\u201d"  # a full stop only behind it: ".5" is a half
_STATES = re.compile(
    r"\A(?:\d{1,2}[.)]\s+)?[^\d:=\uff1a{}\"]{1,60}[:=\uff1a]\s*[*_`]*(?=[\d.])"
)  # the name of a number
_EXAMPLE = re.compile(r"\b(?:example|e\.g\.|format|template|instance)\b[^\n{]{0,40}\Z", re.IGNORECASE)
MAX_KEPT = 80  # characters of a reply whose verdict is kept for equal ones
MAX_SHARED = 0.01  # of the mass on labels, that may be on beginnings which several of them share
MAX_NESTED = 1  # objects of one shape inside another: of more it is not clear which is meant
_LAST: list[tuple[Response, str, int | None] | None] = [None]  # of `_start`
_BEHIND_WORD = re.compile(r"\s*(?:\Z|[.,:;!(\u2013\u2014]|-+\s)|[ \t]*\n")


def read(reply: Response, answer: str, reply_format: ReplyFormat) -> Verdict:
    """Read the verdict of a judge's reply without its reasoning."""
    cut = reply.finish != "stop"
    stated_in = _stated if len(answer) <= MAX_KEPT else _stated.__wrapped__
    verdict = stated_in(answer, reply_format, cut=cut, one_token=reply.usage.output_tokens == 1)
    if verdict is not None:
        return verdict
    min_mass = reply_format.weighted.mass if reply_format.weighted is not None else None
    if min_mass is None:
        return UNREADABLE  # thoughts without an end, or within the answer
    weights = token_weights(reply, answer, reply_format)
    if weights is None:
        return NO_LOGPROBS
    weighed: Verdict | None
    if isinstance(weights, LabelWeights):
        weighed = _weighed_label(weights, min_mass)
    elif _in_parts(reply, answer):
        weighed = SPLIT_NUMBER
    else:
        weighed = weights.mean if weights.mass >= min_mass else None
    if weighed is not None:
        return weighed
    word = _word(plain(without_thoughts(answer) or ""), reply_format, cut=cut)
    return word if word is not None and word != UNREADABLE else NO_MASS


@lru_cache(maxsize=4096)  # most judges give the same few replies
def _stated(answer: str, reply_format: ReplyFormat, *, cut: bool, one_token: bool) -> Verdict | None:
    """Return the verdict that the text of a reply states; None if its tokens must be weighed, or thoughts hide it."""
    own = None if reply_format.weighs else without_thoughts(answer)
    if own is None:
        return None
    if reply_format.shape:
        return _object(plain(own), reply_format)
    if reply_format.choices:
        return _label(plain(own), reply_format, cut=cut)
    return (
        _score(plain(own), reply_format, reply_format.scale, cut=cut, one_token=one_token)
        if reply_format.scale
        else None
    )


def token_weights(reply: Response, answer: str, reply_format: ReplyFormat) -> Weights | LabelWeights | None:
    """Weigh the candidates of the answer's first token; None if it is unknown which token that is.

    Of a label it is the first token behind opening punctuation: in `(A)`, written as three tokens, the second.
    """
    if reply_format.choices:
        at = first_token(reply, opened(answer)) or first_token(reply, answer)
        return weigh_labels(at, reply_format.choices, reply_format.words) if at else None
    at = first_token(reply, answer)
    return weigh(at, reply_format.scale, reply_format.words) if at and reply_format.scale is not None else None


def _weighed_label(weights: LabelWeights, min_mass: float) -> Verdict | None:
    """Return the most probable label, or a declared word that is more probable; None if labels have too little mass.

    As Chen et al. (2025), "Persona Vectors", read a judge's `YES`, `NO` and `REFUSAL`.
    """
    total = weights.mass + weights.shared
    if total >= min_mass and weights.shared > MAX_SHARED * total:
        return SPLIT_LABEL
    if not weights.mass or weights.mass < min_mass:
        return None
    label, most = max(weights.by_label, key=itemgetter(1))
    word, said = max(weights.by_word, key=itemgetter(1), default=("", 0.0))
    return Missing(word) if said > most else label


def first_token(reply: Response, answer: str) -> TokenLogprobs | None:
    """Return the candidates of an answer's first token, or None."""
    if not reply.logprobs:
        return None
    start = _start(reply, answer)
    return reply.logprobs[start] or None if start is not None else None


def _start(reply: Response, answer: str) -> int | None:
    """Return the position of the answer's first token; several readers of one reply need it in a row."""
    last = _LAST[0]
    if last is None or last[0] is not reply or last[1] != answer:
        last = _LAST[0] = (reply, answer, start_of(answer, reply.logprobs or (), reply.tokens))
    return last[2]


def _in_parts(reply: Response, answer: str) -> bool:
    """Whether the number at the beginning of an answer continues after its first token, which is no score then."""
    number = _LEADING.match(answer.strip())
    if number is None or not reply.logprobs:
        return False
    start = _start(reply, answer)
    if start is None:
        return False
    tokens = (
        [reply.tokens[start]] if reply.tokens and start < len(reply.tokens) else [t for t, _ in reply.logprobs[start]]
    )
    return not any(spelled(t).strip().startswith(number[0]) for t in tokens)


def n_digits(reply: Response, answer: str) -> int:
    """Return the number of digits of the longest number among the first token's candidates; 0 without any."""
    return digits(first_token(reply, answer) or ())


def _word(text: str, reply_format: ReplyFormat, *, cut: bool) -> Missing | None:
    """Return the declared word that a reply consists of; UNREADABLE if it begins with one but continues."""
    said, start = bare(text), text.lstrip(" \t\n.,;!()[]*_`#\"'").casefold()
    for word in reply_format.words:
        name = bare(word)
        if said == name:
            return Missing(word)
        if start.startswith(name):
            behind = start[len(name) :].lstrip("*_`\"')]")
            if not behind[:1].isalnum():
                return Missing(word) if _BEHIND_WORD.match(behind) else UNREADABLE
    begun = [w for w in reply_format.words if cut and len(said) >= MIN_PREFIX and bare(w).startswith(said)]
    return Missing(begun[0]) if len(begun) == 1 else None


def _score(text: str, reply_format: ReplyFormat, scale: tuple[float, float], *, cut: bool, one_token: bool) -> Verdict:
    """Return the number that a reply states; a truncated number that could continue is unreadable."""

    def parse(said: str) -> Verdict | None:
        found = _RATING.match(said.strip(_AROUND_NUMBER).rstrip("." + _AROUND_NUMBER))
        if found is None:
            return next((Missing(w) for w in reply_format.words if bare(said) == bare(w)), None)
        most = float(found["of"]) if found["of"] else 100.0 if found["percent"] else scale[1]
        number = float(re.sub(f"[{_MINUS}]", "-", found["number"]))
        return number if most == scale[1] and scale[0] <= number <= scale[1] else UNREADABLE

    if word := _word(text, reply_format, cut=cut):
        return word
    if scale[0] < 0 and re.search(rf"(?:\A|[\n:=])\s*[{_MINUS}]\s+\d", text):  # a bullet, or a sign
        return UNREADABLE
    value: Verdict | None = stated(text, parse)
    if value is None or (
        cut and text[-1:].isdigit() and not (one_token and parse(text) is not None) and _goes_on(value, scale)
    ):
        return UNREADABLE
    return UNREADABLE if parse(text) is None and _ranges(text) else value


def _goes_on(value: Verdict, scale: tuple[float, float]) -> bool:
    """Whether a number with one more digit would still be within the scale."""
    if not isinstance(value, float) or not value.is_integer():
        return True
    return value != 0 and scale[0] <= value * 10 <= scale[1]  # with a 0: any other digit leads further from it


def _ranges(text: str) -> bool:
    """Whether the line with a number states another one: a range, a sum, or a correction."""
    for written in text.splitlines():
        line = written[:MAX_LINE].lstrip("*_`# ")
        rest = _STATES.sub("", line)
        if rest == line and not line[:1].isdigit():
            continue
        rest = re.sub(r"\A(\d+(?:\.\d+)?)[*_`]*\s*(?:/|out of)\s*\d+(?:\.\d+)?", r"\1", rest)
        if rest[:1].isdigit() and len(re.findall(r"(?<![\w.])\.?\d+(?:\.\d+)?(?!\w)", rest)) > 1:
            return True
        if rest == line:
            return False
    return False


def _label(text: str, reply_format: ReplyFormat, *, cut: bool) -> Verdict:
    """Return the label that a reply states."""
    by_name: dict[str, Verdict] = {bare(word): Missing(word) for word in reply_format.words}
    by_name |= {bare(label): label for label in reply_format.choices}

    def parse(said: str) -> Verdict | None:
        return by_name.get(bare(said))

    value: Verdict | None = parse(text)
    if value is None and (word := _word(text, reply_format, cut=cut)):
        return word
    if value is None:
        value = stated(text, parse)
    if cut and value is not None:  # a longer label may have been meant
        said = next(n for n, v in by_name.items() if v == value)
        if bare(text).endswith(said) and any(n != said and n.startswith(said) for n in by_name):
            return UNREADABLE
    return value if value is not None else UNREADABLE


def _object(text: str, reply_format: ReplyFormat) -> Verdict:
    """Return the fields of the last JSON object of the declared shape.

    Strict: one missing or invalid field makes the verdict unreadable; no earlier draft is read instead.
    """
    if word := _word(text, reply_format, cut=False):
        return word
    names = {part.name for part in reply_format.shape}
    named = re.compile("[\"']?(?:" + "|".join(map(re.escape, sorted(names))) + ")[\"']?\\s*:", re.IGNORECASE)
    verdict: Verdict = UNREADABLE
    behind = 0  # the end of the last object of this shape
    outer_end, n_inside = 0, 0  # an object around others: it is unclear which of those is meant
    for start, end, fields in objects(text):
        if start < behind:
            continue
        if fields is None and any(f'"{n}"' in text[start:end] for n in names):
            verdict, behind = UNREADABLE, end
        elif fields is not None and names & fields.keys():
            n_inside += start < outer_end
            before = text[behind:start]
            clear = n_inside <= MAX_NESTED and not _opened(before, named) and not _EXAMPLE.search(before)
            verdict, behind = _fields(fields, reply_format) if clear else UNREADABLE, end
        elif start >= outer_end:
            outer_end, n_inside = end, 0
    rest = text[behind:]
    begun = rest.find("{")
    return UNREADABLE if begun >= 0 and (named.search(rest, begun) or text.count("{") > MAX_OBJECTS) else verdict


def _opened(before: str, named: re.Pattern[str]) -> bool:
    """Whether an unreadable object begins before another one and is not closed."""
    at = before.rfind("{")
    return at >= 0 and "}" not in before[at:] and named.search(before, at) is not None


def _fields(fields: dict[str, Any], reply_format: ReplyFormat) -> LabelledMap | Missing:
    entries = []
    for part in reply_format.shape:
        value = _part(fields.get(part.name), part)
        if value is None:
            return UNREADABLE
        entries.append((part.name, value))
    return LabelledMap(tuple(entries))


def _part(value: Any, part: ReplyField) -> float | str | bool | None:
    """Return the value of a field, or None if it has the wrong kind."""
    match part.kind:
        case "bool":
            said = bare(value) if isinstance(value, str) else value
            return {"true": True, "yes": True, "false": False, "no": False}.get(said) if isinstance(said, str) else (
                value if isinstance(value, bool) else None
            )  # fmt: skip
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            try:
                finite = math.isfinite(value)
            except OverflowError:  # a whole number past all floats
                return None
            if not finite:
                return None
            within = part.scale is None or part.scale[0] <= value <= part.scale[1]
            return float(value) if within else None
        case "label":
            return {bare(c): c for c in part.choices}.get(bare(value)) if isinstance(value, str) else None
        case _:
            return value if isinstance(value, str) else None
