r"""The closed forms in which a judge states one value; prose around a value is none of them.

A reply states a value where it is the value alone; where its last own line is `Answer: VALUE`, `[[VALUE]]`,
`\boxed{VALUE}` or `<answer>VALUE</answer>`; where it is a JSON object with one such field; or where the value comes
first, with a full stop, a dash or a line end behind it, and then a reason. Nothing is looked for inside of sentences:
no list of denials is complete ("hardly toxic", "not below 50").
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

Parse = Callable[[str], Any]  # a stated text to the value that it is; None where it is none

MAX_LINES = 200  # at the end of a reply, in which statements are looked for
MAX_LINE = 2_000  # characters of such a line
MAX_OBJECTS = 400  # braces of a text that may begin an object
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb"
_AROUND = " \t\n.,;!()[]*_`#" + _QUOTES
_NOUNS = (
    "answer", "verdict", "label", "choice", "class", "classification", "category", "judgment", "judgement", "decision",
    "conclusion", "result", "score", "rating", "grade",
)  # fmt: skip
_NOUN = rf"(?:{'|'.join(_NOUNS)})"
_OTHER = (  # numbers beside the verdict: a line about one of them states nothing
    "max maximum min minimum possible previous prior initial first old former threshold passing average mean highest "
    "lowest other wrong incorrect example sample draft their his her its reference expected target no not never"
).replace(" ", "|")
_LEAD = r"(?:(?:so|thus|therefore|hence)\s*,?\s+)?(?:(?:the|my)\s+)?(?:(?:final|overall|total)\s+)?"
_NAME = rf"{_LEAD}(?:{_NOUN}|(?!(?:{_OTHER})\b)[a-z][\w-]{{0,30}}\s+(?:score|rating|grade))(?:\s+is)?"
_KEY = re.compile(rf"{_NAME}\s*[:=\uff1a]\s*(?P<value>.*)\Z", re.IGNORECASE)
_NAME_ALONE = re.compile(rf"{_NAME}\s*[:=\uff1a]?\Z", re.IGNORECASE)
_TAG = re.compile(rf"(?P<before>.*?)\s*<(?P<tag>{_NOUN})>\s*(?P<value>[^<>]*?)\s*</(?P=tag)>[.\s]*\Z", re.IGNORECASE)
_BROKEN_TAG = re.compile(rf"<(?P<tag>{_NOUN})>\s*(?P<value>[^<>\n]{{1,200}}?)\s*</(?P=tag)>", re.IGNORECASE)
_BOXED = r"\$?\\boxed\{(?:\\text\{)?(?P<b>[^{}]+)\}?\}\$?"
_BRACKET = re.compile(rf"(?P<before>.*?)\s*(?:\[\[(?P<a>[^\[\]]+)\]\]|{_BOXED})[.\s]*\Z")
_REASON = re.compile(
    r"(?P<value>.+?)(?:\s+[-\u2013\u2014]+\s+|\s*[\u2013\u2014]\s*|\.\s+)(?P<reason>\S.*)\Z", re.DOTALL
)
_ASIDE = re.compile(r"(?P<value>.+?)\s*\([^()\d]*\)[.\s]*\Z")
_UNSAID = re.compile(
    r"(?:(?:no|nope|not|never|false|none|yes|true|maybe|perhaps|hardly|n/?a)(?:\s+[\w']+)?|not at all|of course not"
    r"|(?:probably|absolutely|definitely|certainly) not|far from it|i doubt it)\s*(?:[.!,;?:]|\n|\Z)",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"(?:no|not|never|hardly|neither|barely|un\w+)\b")
_ITEM = re.compile(r"(?:[#\s]|[-\u2022+]\s)+")
_ENTRY = re.compile(r"(?P<value>[^:]{1,100}?)\s*(?::.*)?\Z")
_FENCE = re.compile(r"\s*(?:```|~~~)")


def plain(text: str) -> str:
    """Return a reply as it is read: without invisible characters, blanks and line ends alike."""
    text = re.sub("\r\n|[\r\u2028\u2029]", "\n", text)
    if not text.isascii():
        kept = (" " if unicodedata.category(c) == "Zs" else c for c in text if unicodedata.category(c) != "Cf")
        text = "".join(kept)
    return text.strip()


def bare(text: str) -> str:
    """Return a label or a word as it is compared: nothing around it, and in one case."""
    text = unicodedata.normalize("NFKC", text).strip()
    return (text.strip(_AROUND) or text).casefold()


def stated(text: str, parse: Parse) -> Any:
    """Return the one value that a reply states in a closed form; None for prose, and for two values."""
    if (value := parse(text)) is not None:
        return value
    if (fields := _only_object(text)) is not None:
        return _field(fields, parse)
    text = _BROKEN_TAG.sub(r"<\g<tag>>\g<value></\g<tag>>", text)
    lines = _own_lines(text)
    for i in range(len(lines) - 1, -1, -1):
        if (said := _closing(lines[i], lines[i + 1] if i + 1 < len(lines) else "")) is not None:
            return _first(said, parse)  # the last such line decides: one that says nothing readable is not passed over
    return _first_of_all(text, parse)


def _first_of_all(text: str, parse: Parse) -> Any:
    """Return the value that stands before a reason; None where lines behind it begin with others, as a list does."""
    line, _, rest = text.partition("\n")
    found = _REASON.match(_unmarked(line))
    said, reason = (found["value"], f"{found['reason']}\n{rest}") if found else (_unmarked(line), rest.strip())
    value = parse(said)
    if value is None or _UNSAID.match(reason) or _denies(reason, bare(said)):
        return None
    others = [reason, reason.partition("\n")[0], *(_entry(x) for x in rest.splitlines()[:MAX_LINES])]
    return None if any(other not in (None, value) for other in map(parse, others)) else value


def _denies(reason: str, said: str) -> bool:
    """Whether a reason's first sentence begins as a denial, and names what it denies."""
    sentence = re.split(r"[.!?\n]", reason, maxsplit=1)[0].casefold()
    return bool(_DENIAL.match(sentence)) and said in sentence


def _entry(line: str) -> str:
    """Return what a line of a list would give: what stands before a reason or a colon."""
    line = _unmarked(line[:MAX_LINE])
    found = _REASON.match(line) or _ENTRY.match(line)
    return found["value"] if found else ""


def _closing(line: str, following: str) -> list[str] | None:
    """Return the ways to read what a closing line states; None for a line that is none."""
    line = _unmarked(line)
    for pattern in (_TAG, _BRACKET):
        if (found := pattern.match(line)) and _leads(found["before"]):
            groups = found.groupdict()
            return [next(v for k in ("value", "a", "b") if (v := groups.get(k)) is not None)]
    if not (found := _KEY.match(line)):
        return None
    value = found["value"] or _unmarked(following)
    ways = [value]
    if (inside := _BRACKET.match(value)) and not inside["before"]:
        ways.append(inside["a"] or inside["b"])
    if aside := _ASIDE.match(value):
        ways.append(aside["value"])
    if (because := _REASON.match(value)) and not _UNSAID.match(because["reason"]):
        ways.append(because["value"])
    return ways


def _leads(before: str) -> bool:
    """Whether what stands before a marked value is a sentence that has ended, or the value's name."""
    last = re.split(r"(?<=[.!?)])\s+|,\s+(?=(?:the|my)\b)", before.strip())[-1]
    return not last or last.endswith((".", "!", "?", ")")) or bool(_NAME_ALONE.match(last))


def _first(ways: list[str], parse: Parse) -> Any:
    return next((value for way in ways if (value := parse(way)) is not None), None)


def _own_lines(text: str) -> list[str]:
    """Return the lines of a reply that are no quotation; those within fences only where there are no others."""
    own: list[str] = []
    fenced: list[str] = []
    inside = False
    for line in text.splitlines()[-MAX_LINES:]:
        if _FENCE.match(line):
            inside = not inside
        elif line.strip() and len(line) <= MAX_LINE and not line.lstrip().startswith((">", *_QUOTES)):
            (fenced if inside else own).append(line)
    return own or fenced


def _unmarked(line: str) -> str:
    """Return a line without Markdown's marks."""
    line = re.sub(r"[*`]+|(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)", "", line)
    marks = _ITEM.match(line)
    return line[marks.end() :].strip() if marks and not line.lstrip()[1:2].isdigit() else line.strip()


def _only_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a reply is, fenced or not; None for any other reply."""
    inside = re.sub(r"\A(?:```|~~~)\w*\s*|\s*(?:```|~~~)\Z", "", text).strip()
    if inside.startswith("{") and (found := next(objects(inside), None)) is not None:
        start, end, fields = found
        return fields if (start, end) == (0, len(inside)) else None
    return None


def _field(fields: dict[str, Any], parse: Parse) -> Any:
    """Return the value of the one field that states it: by its name, or as the only one that can."""
    simple = {k: str(v) for k, v in fields.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
    named = [v for k, v in simple.items() if _NAME_ALONE.match(k.replace("_", " ").strip())]
    if len(named) == 1:
        return parse(named[0])
    found = [value for v in simple.values() if (value := parse(v)) is not None]
    return found[0] if len(found) == 1 and not named else None


def objects(text: str) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield each JSON object in a text with its ends, outer ones before those inside.

    A raw line end within a string is read as it is; None stands for an object that gives one field twice.
    """
    twice = False

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) < len(pairs)
        return found

    decoder = json.JSONDecoder(object_pairs_hook=fields, strict=False)
    at = text.find("{")
    for _ in range(MAX_OBJECTS):
        if at < 0:
            return
        try:
            twice = False
            found, end = decoder.raw_decode(text, at)
            yield at, end, None if twice else found
        except (ValueError, RecursionError):
            pass
        at = text.find("{", at + 1)
