"""One-edit changes of correct programs, as people make them who think in Python, SQL, Jinja, YAML, JSON or R.

Each habit is written from `grammar/REFERENCE.md` alone, and names what a right message must mention: code of the
language, or a word of prose that starts with `~`. A changed program is one habit at one place. `cases` draws them with
a seed, each habit as often as the others while it has places left.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import habit_tables as tables
from habit_programs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 21


@dataclass(frozen=True)
class Habit:
    """A row of `habit_tables`.

    Attributes:
        find: Where the habit shows, as a regular expression over a program.
        put: What is written there instead: a template of the match.
        right: What the first message must mention, one of these: templates of the match.
    """

    language: str
    find: str
    put: str
    right: tuple[str, ...]

    def cases(self) -> Iterator[Case]:
        for name, text in PROGRAMS.items():
            for match in re.finditer(self.find, text, re.MULTILINE):
                changed = text[: match.start()] + match.expand(self.put) + text[match.end() :]
                right = tuple(match.expand(word) for word in self.right)
                yield Case(self, name, text.count("\n", 0, match.start()) + 1, changed, right)


@dataclass(frozen=True)
class Case:
    """One habit at one place of one program.

    Attributes:
        line: The line of the edit, from 1.
        right: What the first message must mention, one of these.
    """

    habit: Habit
    program: str
    line: int
    text: str
    right: tuple[str, ...]

    def named_by(self, message: str) -> bool:
        """Return whether a message mentions the right construct: code in backticks or quotes, not as one of many."""
        code = " ".join(match[0].strip("`") for match in _CODE.finditer(_LIST.sub("", message)))
        return any(_mentions(message if w[0] == "~" else code, w.removeprefix("~")) for w in self.right)


_CODE = re.compile(r'`[^`]+`|"[^"]+"')
_LIST = re.compile(
    r"`[^`]+`(?:(?:,| or| and) (?:`[^`]+`|an? [a-z ]+)){3,}(?: \.\.\.| and \d+ more)?"
)  # names no one of them


def _mentions(text: str, word: str) -> bool:
    start, end = ("\\b" if c.isalnum() else "" for c in (word[0], word[-1]))
    return re.search(start + re.escape(word) + end, text) is not None


LANGUAGES = {
    "Python": tables.PYTHON,
    "SQL": tables.SQL,
    "Jinja": tables.JINJA,
    "YAML": tables.YAML,
    "other": tables.OTHER,
}
HABITS = [
    Habit(language, find, put, tuple(right)) for language, rows in LANGUAGES.items() for find, put, *right in rows
]


def cases(n: int, seed: int = SEED) -> list[Case]:
    """Return `n` distinct changed programs, each habit as often as the others while it has places left."""
    rng = random.Random(seed)
    waiting = [rng.sample(places, len(places)) for places in ([*habit.cases()] for habit in HABITS)]
    chosen: dict[str, Case] = {}
    while any(waiting) and len(chosen) < n:
        for places in rng.sample(waiting, len(waiting)):
            if places and len(chosen) < n:
                case = places.pop()
                chosen.setdefault(case.text, case)
    return [*chosen.values()]
