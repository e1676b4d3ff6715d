"""Completion in a shell: verbs, options, axes and levels after `--only`, measures, codes and words.

It is quick and silent: no study is compiled, and whatever goes wrong offers nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

if TYPE_CHECKING:
    import click

_BREAKS = "=:"  # bash completes what follows the last of these
_SPECIAL = re.compile(r"([^\w@%+=:,./-])")
_SPECIAL_IN_QUOTES = re.compile(r'(["$`\\])')
_BASH = r"""
%(complete_func)s() {
    local IFS=$'\n' reply line type value
    COMPREPLY=()
    reply=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    for line in $reply; do
        type=${line%%%%,*}
        value=${line#*,}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            open) compopt -o nospace; COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Completion that knows quotes, and that bash takes `AXIS=` for a word of its own."""

    source_template = _BASH

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kept, self._quote = 0, ""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it."""
        line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
        words, incomplete, self._quote, broken = split_line(line[:point] if point < len(line) else line)
        self._kept = 0 if self._quote else broken
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return an item without the part that bash keeps, and so that it is one word."""
        value = str(item.value)[self._kept :] if item.type == "plain" else str(item.value)
        if item.type == "plain" and self._quote == "'":
            value = value.replace("'", r"'\''")
        elif item.type == "plain":
            value = (_SPECIAL_IN_QUOTES if self._quote else _SPECIAL).sub(r"\\\1", value)
        return f"{'open' if item.open else item.type},{value}"


class _Zsh(ZshComplete):
    """Completion that adds no space behind `AXIS=`."""

    source_template = ZshComplete.source_template.replace(
        """        elif [[ "$type" == "dir" ]]; then""",
        """        elif [[ "$type" == "open" ]]; then
            compadd -U -S '' -- "$key"
        elif [[ "$type" == "dir" ]]; then""",
        1,
    )

    def format_completion(self, item: CompletionItem) -> str:
        """Return an item; one that goes on has a type of its own, and no help."""
        return f"open\n{item.value}\n_" if item.open else super().format_completion(item)


def register() -> None:
    """Use these for bash and zsh; that of click for fish puts no space behind `=` anyway."""
    add_completion_class(_Bash)
    add_completion_class(_Zsh)


def split_line(line: str) -> tuple[list[str], str, str, int]:
    """Split a line as bash does.

    Returns:
        The finished words, the word at the end, its open quote or an empty text, and how many of its characters stand
        before the part that bash completes: up to the last `=` or `:` outside of quotes.
    """
    words: list[str] = []
    word, quote, started, broken, i = "", "", False, 0, 0
    while i < len(line):
        c = line[i]
        i += 1
        if c == "\\" and quote != "'" and i < len(line):
            word, started = word + line[i], True
            i += 1
        elif quote:
            word, quote = (word, "") if c == quote else (word + c, quote)
        elif c in "'\"":
            quote, started = c, True
        elif c.isspace():
            if started:
                words.append(word)
            word, started, broken = "", False, 0
        else:
            word, started = word + c, True
            broken = len(word) if c in _BREAKS else broken
    return words, word, quote, broken


def axes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return axes, or behind `AXIS=` its levels."""
    names = _names(ctx)
    axis, equals, chosen = incomplete.partition("=")
    if not equals:
        return [CompletionItem(f"{name}=", open=True) for name in names.axes if name.startswith(axis)]
    levels = [x for x in names.axes.get(axis, []) if "\n" not in x]
    if whole := [x for x in levels if x.startswith(chosen)]:  # one with a comma stands alone
        return [CompletionItem(f"{axis}={level}") for level in whole]
    before, comma, begun = chosen.rpartition(",")
    others = [x for x in levels if "," not in x and x not in before.split(",")]
    return [CompletionItem(f"{axis}={before}{comma}{level}") for level in others if level.startswith(begun)]


def measures(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return measures with their expressions."""
    return [CompletionItem(n, help=text) for n, text in _names(ctx).measures.items() if n.startswith(incomplete)]


def terms(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return codes with their titles, and words."""
    from emdsl.lang.explain import pages, title, words  # noqa: PLC0415 - only `explain` needs the pages

    known = [CompletionItem(code, help=title(code)) for code in pages() if code.startswith(incomplete.upper())]
    if incomplete and known:
        return known
    single = [w.strip() for entry in words() for w in entry.split(",")]
    return [*known, *(CompletionItem(w) for w in dict.fromkeys(single) if w and w.startswith(incomplete.lower()))]


def _names(ctx: click.Context) -> Any:
    """Return the names of the study of a call: its FILE may stand anywhere before the cursor."""
    from emdsl.study.completion import names_of  # noqa: PLC0415 - only words of a study need its syntax

    given = [ctx.params.get("file"), *ctx.args]
    files = [Path(str(x)) for x in given if x is not None and str(x).endswith(".em")]
    if not files:
        files = sorted(Path().glob("*.em"))
    return names_of(files[0] if len(files) == 1 or any(given) else Path(os.devnull))
