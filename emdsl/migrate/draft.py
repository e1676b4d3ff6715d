"""Draft, an unfinished study: the parts that a reader adds, and those that it leaves out, with the reason."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emdsl.lang.format import format_source
from emdsl.migrate.writing import quoted, settings
from emdsl.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

MAX_LISTED = 5  # things that are left out for one reason
CONVERSATION = [
    "prompt conversation(messages) {", "each m in messages {", 'when m.role == "system" { system m.content }',
    'when m.role == "user" { user m.content }', 'when m.role == "assistant" { assistant m.content }', "}", "}",
]  # fmt: skip
CHAT = [
    "prompt chat(system_text, question) {", 'when system_text != "" { system system_text }', "user question", "}",
]  # fmt: skip
NAMES = frozenset((  # names that new studies use: experiments and prompts of a file get others
    "model", "model_1", "q", "t", "row", "shot", "index", "labels", "chosen", "labeled", "value", "text", "answer",
    "sample", "seed", "messages", "message", "score", "tokens", "questions", "question", "rows", "samples",
    "statements", "tests", "demonstrations", "demonstrated", "shots", "chat", "system_text", "conversation",
    "multiple_choice", "meets", "criterion", "asked", "prompt", "options", "shown", "right", "correct", "included",
    "matched", "matching", "p_matching", "passed", "exact_match", "sys", "aligned", "coherent",
))  # fmt: skip
SIMULATED, SIMULATED_JUDGE = "sim/subject", "sim/judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """The abilities of a model on which a study depends."""

    logprobs: bool = True  # it returns the probabilities of candidates
    temperature: bool = True  # it accepts a temperature
    reasons: bool = False  # it reasons unless told not to, and needs tokens for that
    candidates: str = ""  # `extra` that requests candidates of each token, as a map of the language


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The decisions of the caller about a new study."""

    file: Path  # the study
    name: str  # of its experiment
    models: tuple[str, ...]  # provider/model; if empty, those of the file, or the simulator
    judge: str | None
    ability: Callable[[str], Ability]
    column: str | None = None  # of the questions, in a file of rows

    def path(self, file: Path) -> str:
        """Return the path of a data file as the study writes it."""
        return os.path.relpath(file, self.file.parent).replace(os.sep, "/")

    def free(self, name: str, kind: str) -> str:
        """Return a name for a part of the study, with its kind if experiments of the study may have it."""
        return f"{name}_{kind}" if re.fullmatch(rf"{re.escape(self.name)}(_\d+)?", name) else name


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a file that the study leaves out: its name, the reason and its line."""

    what: str
    why: str
    line: int | None = None


@dataclass(slots=True, kw_only=True)
class Draft:
    """A study in parts. Blocks are lists of lines, in any layout."""

    wanted: Wanted
    title: str
    max_tokens: int = 600
    models: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # provider/model with its settings
    blocks: list[list[str]] = field(default_factory=list)
    experiments: list[list[str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, what: str, why: str, line: int | None = None) -> None:
        """Add a part to the list of parts that the study leaves out."""
        self.left_out.append(LeftOut(what, why, line))

    def choose_models(self, uses: Iterable[str] = ()) -> None:
        """Add the models of the caller, else these, else the simulator, with common settings."""
        for use in dict.fromkeys(self.wanted.models or tuple(uses) or (SIMULATED,)):
            able = self.wanted.ability(use)
            tokens = max(self.max_tokens, 4000) if able.reasons else self.max_tokens
            self.models.append((use, ({"temperature": "1"} if able.temperature else {}) | {"max_tokens": str(tokens)}))

    @property
    def called(self) -> str:
        """The axis over the models."""
        return f"for model in [{', '.join(f'model_{i}' for i in range(1, len(self.models) + 1))}]"

    def without_logprobs(self) -> str | None:
        """Return the first model that returns no probabilities."""
        return next((use for use, _ in self.models if not self.wanted.ability(use).logprobs), None)

    def judge(self, use: str) -> str:
        """Return the judge: the caller's, the simulator's if all models are simulated, else this one."""
        simulated = all(m.startswith("sim/") for m, _ in self.models)
        return self.wanted.judge or (SIMULATED_JUDGE if simulated else use)

    def cold(self, use: str, max_tokens: int) -> list[str]:
        """Return the settings of a judge that replies briefly and always the same."""
        able = self.wanted.ability(use)
        return [*(["temperature = 0"] if able.temperature else []),
                f"max_tokens = {4000 if able.reasons else max_tokens}"]  # fmt: skip

    @property
    def greedy(self) -> list[tuple[str, str]]:
        """The settings of greedy decoding, at temperature 0; empty unless all models accept a temperature."""
        return [("temperature", "0")] if all(self.wanted.ability(use).temperature for use, _ in self.models) else []

    def name(self, i: int, n: int) -> str:
        """Return the name of experiment `i` of `n`."""
        return f"{self.wanted.name}_{i + 1}" if n > 1 else self.wanted.name

    @property
    def listing(self) -> list[str]:
        """The parts that the study leaves out, one line each; many parts with one reason are counted."""
        groups: dict[str, list[LeftOut]] = {}
        for part in dict.fromkeys(self.left_out):
            groups.setdefault(part.why, []).append(part)
        lines: list[str] = []
        for why, parts in groups.items():
            some = parts if len(parts) <= MAX_LISTED else parts[: MAX_LISTED - 1]
            lines += [f"Left out: {p.what}" + (f" (line {p.line})" if p.line else "") + f": {why}" for p in some]
            if len(some) < len(parts):
                lines.append(f"Left out: {len(parts) - len(some)} more like these: {why}")
        return lines

    def text(self) -> str:
        """Return the study in its canonical layout."""
        lines = ["em 1", "", f"# {self.title}", *(f"# {x}" for x in self.listing), ""]
        for i, (use, values) in enumerate(self.models, start=1):
            lines.append(f"model model_{i}" + settings([("use", quoted(use)), *values.items()]))
        for block in (*self.blocks, *self.experiments):
            lines += ["", *block]
        source = Source(str(self.wanted.file), "\n".join([*lines, ""]))
        return format_source(source)


def dataset(name: str, file: str, columns: Mapping[str, str], *more: str) -> list[str]:
    """Return the lines of a dataset; `columns` has the path of each name."""
    inner = ", ".join(f"{n}: {quoted(p)}" for n, p in columns.items())
    return [f"dataset {name} {{", f"file = {quoted(file)}", *more, f"columns = {{ {inner} }}", "}"]
