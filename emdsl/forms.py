r"""Closed forms: the ways in which a judge's reply states one value. Prose around a value is not one of them.

A reply states a value if it is the value alone; if its last own line is `Answer: VALUE`, `[[VALUE]]`, `\boxed{VALUE}`
or `<answer>VALUE</answer>`; if it is a JSON object with one such field; or if the value comes first, then a full stop,
a dash or a line end, and then a reason. Sentences are not searched: no list of denials is complete ("hardly toxic",
"not below 50"). A value counts only if nothing after it states another one: a second name, a marked value, or a
correction makes the whole reply unreadable.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

Parse = Callable[[str], Any]  # from a stated text to its value, or None

MAX_LINES = 200  # at the end of a reply, that are searched for statements
MAX_LINE = 2_000  # characters of such a line
MAX_OBJECTS = 1_000  # braces of a text that may begin an object
MAX_VALUE = 400  # characters between tags
MAX_BEHIND = 20_000  # characters after a value, that are searched for another one
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb"
_AROUND = " \t\n.,;!()[]*_`#" + _QUOTES
_NOUNS = (
    "answer", "verdict", "label", "choice", "class", "classification", "category", "judgment", "judgement", "decision",
    "conclusion", "result", "score", "rating", "grade",
)  # fmt: skip
_NOUN = rf"(?:{'|'.join(_NOUNS)})"
_OTHER = (  # numbers beside the verdict: a line about one of them states nothing
    "max maximum min minimum possible previous prior initial first old former threshold passing average mean highest "
    "lowest other wrong incorrect example sample draft their his her its reference expected target no not never "
    "starting start perfect full baseline base best worst top ideal raw intermediate confidence certainty hypothetical "
    "preliminary interim provisional alternative second third weight"
).replace(" ", "|")
_LEAD = r"(?:(?:so|thus|therefore|hence)\s*,?\s+)?(?:(?:the|my)\s+)?(?:(?:final|overall|total)\s+)?"
_OTHERS = re.compile(rf"(?:{_OTHER}|\w*_?id)\b", re.IGNORECASE)
_ABOUT_OTHER = re.compile(rf"\b(?:{_OTHER})\s+\Z", re.IGNORECASE)
_LAST = re.compile(r"\b(?:final|overall|total|therefore|thus|hence|so)\b", re.IGNORECASE)
_NAME = rf"{_LEAD}(?P<name>{_NOUN}|(?!(?:{_OTHER})\b)[a-z][\w-]{{0,30}}\s+(?:score|rating|grade))(?:\s+is)?"
_KEY = re.compile(rf"{_NAME}\s*[:=\uff1a]\s*(?P<value>.*)\Z", re.IGNORECASE)
_NAME_ALONE = re.compile(rf"{_NAME}\s*[:=\uff1a]?\Z", re.IGNORECASE)
_TAG = re.compile(rf"(?P<before>.*?)\s*<(?P<tag>{_NOUN})>\s*(?P<value>[^<]*?)\s*</(?P=tag)>[.\s]*\Z", re.IGNORECASE)
_LEADING = re.compile(
    rf"(?:overall|{_NAME}\s+[^.!?\n]{{1,60}}|assistant [ab] is (?:significantly |slightly )?better):\Z", re.IGNORECASE
)
_BROKEN_TAG = re.compile(rf"<(?P<tag>{_NOUN})>(?P<value>[^<]{{1,{MAX_VALUE}}})</(?P=tag)>", re.IGNORECASE)
_BOXED = r"\$?\\boxed\{(?:\\text\{)?(?P<b>[^{}]+)\}?\}\$?"
_BRACKET = re.compile(rf"(?P<before>.*?)\s*(?:\[\[(?P<a>[^\[\]]+)\]\]|{_BOXED})[.\s]*\Z")
_REASON = re.compile(
    r"(?P<value>.+?)(?:\s+[-\u2013\u2014]+\s+|\s*[\u2013\u2014]\s*|\.\s+)(?P<reason>\S.*)\Z", re.DOTALL
)
_ASIDE = re.compile(r"(?P<value>[^()]+?)\s*\((?P<aside>[^()\d]*)\)[.\s]*\Z")
_DOUBT = re.compile(r"\b(?:or|not|no|nor|wrong|incorrect|unless|but|if|lower|higher|never|maybe|n't)\b", re.IGNORECASE)
_TURN = re.compile(  # a judge that changes its mind: the text before is no verdict
    r"(?:\A|[.!?,;:\n(\u2013\u2014-])\s{0,3}(?:hmm+\b|wait\b|on (?:second|further) thought|scratch that"
    r"|just kidding|correction\b|let me (?:re|think again|correct|revise)"
    r"|i (?:take that back|stand corrected|made a mistake|misread))",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:actually|revised?|revising|corrected|should (?:be|have been)|incorrect|wrong|changed? (?:it|my|the)"
    r"|instead)\b",
    re.IGNORECASE,
)
_MARKED = re.compile(
    rf"\[\[(?P<a>[^\[\]\n]{{1,80}})\]\]|\\boxed\{{(?:\\text\{{)?(?P<b>[^{{}}\n]{{1,80}})\}}"
    rf"|\b{_NOUN}(?:\s+(?:is|was|should be|would be))?\s*[:=\uff1a]\s*(?P<c>[^\n]{{1,80}})"
    rf"|\b{_NOUN}\s+(?:is|should be)\s+(?P<d>[^\n]{{1,80}})",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[-\u2212]?\d+(?:\.\d+)?|[\w'/>=<-]+")
_SPECIALS = re.compile(r"(?:\s*(?:<\|\w{1,40}\|>|</s>|<(?:end_of_turn|eos)>))+\Z")  # ends of a text, left in it
_UNSAID = re.compile(
    r"(?:(?:no|nope|not|never|false|none|yes|true|maybe|perhaps|hardly|n/?a)(?:\s+[\w']+)?|not at all|of course not"
    r"|(?:probably|absolutely|definitely|certainly) not|far from it|i doubt it)\s*(?:[.!,;?:]|\n|\Z)",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"(?:no|not|never|hardly|neither|barely|un\w+)\b")
_ITEM = re.compile(r"(?:[#\s]|[-\u2022+]\s)+")
_ENTRY = re.compile(r"(?P<value>[^:]{1,100}?)\s*(?::.*)?\Z")
_NUMBERED = re.compile(r"\A\d{1,2}[.)]\s+(?=\D)")
_SECOND = re.compile(r"\s*(?:2[.):-]|[-*\u2022]\s)")
_OPENED = re.compile(r"(?P<marks>```|~~~)\w*\s*")
_FENCE = re.compile(r"\s*(?P<marks>`{3,}|~{3,})")
_REASONS = (
    "reason",
    "reasoning",
    "explanation",
    "rationale",
    "justification",
    "analysis",
    "comment",
    "thoughts",
    "notes",
)


def plain(text: str) -> str:
    """Normalize a reply: no invisible characters, one kind of blank, one kind of line end."""
    text = re.sub("\r\n|[\r\u2028\u2029]", "\n", text)
    if not text.isascii():
        kept = (" " if unicodedata.category(c) == "Zs" else c for c in text if unicodedata.category(c) != "Cf")
        text = "".join(kept)
    return (text[:-MAX_LINE] + _SPECIALS.sub("", text[-MAX_LINE:])).strip()


def bare(text: str) -> str:
    """Normalize a label or a word for comparison: without punctuation around it, in lower case."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").strip()
    return (text.rstrip(_AROUND).lstrip(_AROUND.replace("!", "")) or text).casefold()  # "!A" is not A


def opened(text: str) -> str:
    """Return a text without the punctuation before its first word: `(A)` as `A)`."""
    return text.lstrip(_AROUND.replace("!", ""))


def stated(text: str, parse: Parse) -> Any:
    """Return the one value that a reply states in a closed form; None for prose or two values."""
    if (value := parse(text)) is not None:
        return value
    if (fields := _only_object(text)) is not None:
        return _field(fields, parse)
    text = _BROKEN_TAG.sub(lambda m: f"<{m['tag']}>{' '.join(m['value'].split())}</{m['tag']}>", text)
    lines = _own_lines(text)
    closings = [
        (i, said)
        for i in range(len(lines))
        if (said := _closing(lines[i], lines[i + 1] if i + 1 < len(lines) else "")) is not None
    ]
    if not closings:
        return _first_of_all(text, parse)
    at, (name, ways, reason, n_lines) = closings[-1]  # an unreadable one is not skipped
    value = _first(ways, parse)
    if value is None or _turns("\n".join([reason, *lines[at + n_lines :]]), value, parse, at_once=True):
        return None
    for i, (other_name, other_ways, *_) in closings[:-1]:
        other = _first(other_ways, parse)
        if other not in (None, value) and other_name != name and not _LAST.search(lines[at]) and not _marks(lines[i]):
            return None  # two numbers of two names: neither is marked as the verdict
    return value


def _marks(line: str) -> bool:
    """Whether a line has a value in brackets, which outranks other lines."""
    return bool(_BRACKET.match(_unmarked(line)))


def _first_of_all(text: str, parse: Parse) -> Any:
    """Return the value before a reason; None if later lines begin with other values, as in a list."""
    line, _, rest = text.partition("\n")
    line = _unmarked(line)
    found = _REASON.match(line)
    said, reason = (found["value"], f"{found['reason']}\n{rest}") if found else (line, rest.strip())
    value = parse(said)
    if value is None or _UNSAID.match(reason) or _denies(reason, bare(said)):
        return None
    following = rest.splitlines()[:MAX_LINES]
    if said.strip() == "1" and any(map(_SECOND.match, following)):
        return None
    entries = following if found else [_NUMBERED.sub("", x.lstrip(), count=1) for x in following]  # reasons, numbered
    others = [reason[:MAX_LINE], reason.partition("\n")[0][:MAX_LINE], *map(_entry, entries)]
    if any(other not in (None, value) for other in map(parse, others)):
        return None
    return None if _turns(reason, value, parse, at_once=False) else value


def _turns(behind: str, value: Any, parse: Parse, *, at_once: bool) -> bool:
    """Whether the text after a value states another one or withdraws it; `at_once`: also by its first word."""
    behind = behind[:MAX_BEHIND]
    if not behind.strip():
        return False
    if (
        at_once
        and (words := _WORDS.match(_NUMBERED.sub("", behind.strip(), count=1)))
        and parse(words[0]) not in (None, value)
    ):
        return True
    if _TURN.search(behind):
        return True
    for found in _MARKED.finditer(behind):
        said = next(v for v in found.groups() if v is not None)
        if _ABOUT_OTHER.search(behind, max(0, found.start() - 40), found.start()):
            continue
        if any(other != value for other in _mentions(_unmarked(said), parse, n_words=1)):
            return True
    return any(
        other != value for found in _CHANGE.finditer(behind) for other in _mentions(_ahead(behind, found.end()), parse)
    )


def _ahead(text: str, at: int) -> str:
    return text[at : at + 60].partition("\n")[0]


def _mentions(text: str, parse: Parse, n_words: int = 12) -> Iterator[Any]:
    """Yield the values among the first words of a text."""
    words = [m[0] for m in _WORDS.finditer(text)][: n_words + 3]
    for i in range(min(n_words, len(words))):
        for n in (3, 2, 1):
            said = " ".join(words[i : i + n])
            if (len(said) > 1 or not said.islower()) and (value := parse(said)) is not None:
                yield value
                break


def _denies(reason: str, said: str) -> bool:
    """Whether the first sentence of a reason denies the value."""
    sentence = re.split(r"[.!?\n]", reason, maxsplit=1)[0].casefold()
    return bool(_DENIAL.match(sentence)) and said in sentence


def _entry(line: str) -> str:
    """Return the part of a list item before a reason or a colon."""
    line = _unmarked(line[:MAX_LINE])
    found = _REASON.match(line) or _ENTRY.match(line)
    return found["value"] if found else ""


def _closing(line: str, following: str) -> tuple[str, list[str], str, int] | None:
    """Return the name in a closing line, the texts of its value to try, a reason, and the number of lines.

    None for any other line.
    """
    heading = line.lstrip().startswith(("#", "**"))
    line = _NUMBERED.sub("", _unmarked(line), count=1)
    for pattern in (_TAG, _BRACKET):
        if (found := pattern.match(line)) and _leads(found["before"]):
            groups = found.groupdict()
            return "", [next(v for k in ("value", "a", "b") if (v := groups.get(k)) is not None)], "", 1
    if heading and (found := _NAME_ALONE.match(line)):
        return _name(found["name"]), [_unmarked(following)], "", 2
    if not (found := _KEY.match(line)):
        return None
    value, n_lines = (found["value"], 1) if found["value"] else (_unmarked(following), 2)
    ways = [value]
    if (inside := _BRACKET.match(value)) and not inside["before"]:
        ways.append(inside["a"] or inside["b"])
    if (aside := _ASIDE.match(value)) and not _DOUBT.search(aside["aside"]):
        ways.append(aside["value"])
    because = _REASON.match(value)
    if because and not _UNSAID.match(because["reason"]):
        return _name(found["name"]), [*ways, because["value"]], because["reason"], n_lines
    return _name(found["name"]), ways, "", n_lines


def _name(text: str) -> str:
    return " ".join(text.casefold().split())


def _leads(before: str) -> bool:
    """Whether the text before a marked value is a complete sentence or the value's name."""
    last = re.split(r"(?<=[.!?)])\s+|,\s+(?=(?:the|my)\b)", before.strip())[-1]
    return not last or last.endswith((".", "!", "?", ")")) or bool(_NAME_ALONE.match(last) or _LEADING.match(last))


def _first(ways: list[str], parse: Parse) -> Any:
    return next((value for way in ways if (value := parse(way)) is not None), None)


def _own_lines(text: str) -> list[str]:
    """Return the lines of a reply outside quotations; those within fences only if there are no others."""
    own: list[str] = []
    fenced: list[str] = []
    fence = quoted = ""
    lines = [_short(line) for line in text.splitlines()[-MAX_LINES:] if line.strip()]
    quotes_left = sum(line.count('"') for line in lines)
    for line in lines:
        n_quotes = line.count('"')
        quotes_left -= n_quotes
        if marks := _FENCE.match(line):
            if not fence:
                fence = marks["marks"]
            elif marks["marks"].startswith(fence):
                fence = ""
        elif not quoted and not line.lstrip().startswith((">", *_QUOTES)):
            (fenced if fence else own).append(line)
        if n_quotes % 2:  # a quotation of several lines
            quoted = "" if quoted or not quotes_left else '"'
    return own or fenced


def _short(line: str) -> str:
    """Truncate a long line, with a mark, so that its beginning is not read as a value."""
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} \u22ef cut"


def _unmarked(line: str) -> str:
    """Return a line without Markdown markup."""
    line = re.sub(r"\s{2,}", " ", _short(line))
    line = re.sub(r"[*`]++(?!\d)|(?<![\d*`])[*`]++|(?<!\w)_++(?=\S)|(?<=[^\s_])_++(?!\w)", "", line)  # "2**3" is not 23
    marks = _ITEM.match(line)
    return line[marks.end() :].strip() if marks and not line.lstrip()[1:2].isdigit() else line.strip()


def _only_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object of a reply that is nothing else, fenced or not; None for any other reply."""
    inside = text.strip()
    if opened := _OPENED.match(inside):
        inside = inside[opened.end() :].removesuffix(opened["marks"]).strip()
    if inside.startswith("{") and (found := next(objects(inside), None)) is not None:
        start, end, fields = found
        return fields if (start, end) == (0, len(inside)) else None
    return None


def _field(fields: dict[str, Any], parse: Parse) -> Any:
    """Return the value of the one field that states it: by its name, or as the only field beside a reason."""
    named = [v for k, v in fields.items() if _NAME_ALONE.match(k.replace("_", " ").strip())]
    if not named:
        named = [v for k, v in fields.items() if k.casefold() not in _REASONS and not _OTHERS.match(k)]
        if len(named) != sum(k.casefold() not in _REASONS for k in fields):
            return None
    said = [v for v in named if v is not None]
    if any(isinstance(v, bool) or not isinstance(v, str | int | float) for v in said):
        return None
    values = [parse(str(v)) for v in said]
    return values[0] if values and all(value == values[0] for value in values) else None


def objects(text: str) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield each JSON object in a text with its start and end, outer objects before inner ones.

    Raw line ends within strings are accepted; an object with a duplicate field is None.
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
