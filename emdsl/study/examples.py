"""Pinned rows as a figure of examples: Markdown, LaTeX or HTML, each answer with the key of its request."""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import FileExists, UsageError
from emdsl.experiment import ASK
from emdsl.files import write_whole
from emdsl.redact import mask
from emdsl.source import one_of
from emdsl.study.latex_text import CHARACTER, latex_text, latex_word
from emdsl.study.marking import pinned_rows
from emdsl.study.one_row import tell_row
from emdsl.study.refresh import load_if_stale
from emdsl.study.screen import Aside, counted
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from emdsl.study.compiled import Compiled
    from emdsl.study.marking import Pinned
    from emdsl.study.places import Place
    from emdsl.study.screen import Part

FORMS = {".md": "md", ".tex": "tex", ".html": "html", ".htm": "html"}
MAX_FLOAT = 2_500  # characters of a figure in LaTeX: a longer one does not fit on a page, and a float cannot break
KEY_DIGITS = 16  # of a key in LaTeX; the whole key is in a comment
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
article { border: 1px solid #8886; border-radius: 8px; padding: .8rem 1rem; margin: 1rem 0; }
h2, h3 { font-size: 1rem; margin: .6rem 0 .2rem; }
h3 { font-size: .85rem; opacity: .75; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: 0; }
code { font-size: .8rem; overflow-wrap: anywhere; }
.answer { border-left: 3px solid #8886; padding-left: .8rem; }
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """One ask of an example; `shots` is the number of demonstrations before the question."""

    step: str
    key: str
    question: str
    answer: str
    reasoning: str
    shots: int


@dataclass(frozen=True, slots=True)
class Example:
    """A row for a paper; `verdicts` are pairs of a judge and its verdict."""

    at: str
    answers: tuple[Answered, ...]
    verdicts: tuple[tuple[str, str], ...]


def example_of(study: Compiled, place: Place) -> Example:
    """Return a row as an example."""
    return example(tell_row(study, *place))


def example(story: dict[str, Any]) -> Example:
    """Return the story of a row as an example."""
    at = [
        story["experiment"],
        *(f"{axis} {level}" for axis, level in story["cell"].items()),
        f"sample {story['sample']}",
    ]
    steps = [step for step in story["steps"] if "finish" in step]
    return Example(
        at=", ".join(" ".join(part.split()) for part in at),
        answers=tuple(_answered(step) for step in steps if step["kind"] == ASK),
        verdicts=tuple((step["step"], _verdict(step)) for step in steps if step["kind"] != ASK),
    )


def _answered(step: dict[str, Any]) -> Answered:
    roles = [m["role"] for m in step["messages"]]
    last = max((i for i, role in enumerate(roles) if role == "user"), default=-1)
    answer = f"(missing: {step['missing']})" if "missing" in step else step["value"]
    return Answered(
        step=step["step"], key=step["key"], question=step["messages"][last]["content"] if last >= 0 else "",
        answer=answer, reasoning=step.get("reasoning", ""), shots=roles[: max(last, 0)].count("assistant"),
    )  # fmt: skip


def _verdict(step: dict[str, Any]) -> str:
    """Return a verdict as people read it: a weighted score has more digits than it is worth."""
    if "missing" in step:
        return str(step["missing"])
    value = str(step["value"])
    return f"{float(value):.2f}".rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d{3,}", value) else value


def examples_text(
    study: Compiled, examples: Sequence[Example], form: str, *, reasoning: bool = False, verdicts: bool = False
) -> str:
    """Return examples as one text: `md`, `tex` or `html`; raises UsageError for another form."""
    write = {"md": _markdown, "tex": _latex, "html": _html}.get(form)
    if write is None:
        raise UsageError(f"unknown form `{form}`; it is {one_of(sorted(set(FORMS.values())))}")
    shown = [
        Example(
            e.at,
            tuple(
                Answered(a.step, a.key, a.question, a.answer, a.reasoning if reasoning else "", a.shots)
                for a in e.answers
            ),
            e.verdicts if verdicts else (),
        )
        for e in examples
    ]
    return mask(write(study.project.relative(study.file), shown)).encode("utf-8", "replace").decode()


def export_pins(study: Compiled, output: Path, *, reasoning: bool = False, verdicts: bool = False) -> Iterator[Part]:
    """Write the pinned rows of a study to a file; yield notices and what was written.

    Raises:
        UsageError: The file has another ending, it cannot be written, or nothing is pinned.
        FileExists: It is a file of the study.
    """
    if str(output.resolve()) in study.program.files:
        raise FileExists(f"{output} is a file of the study; it is not overwritten", parameter="pins")
    form = FORMS.get(output.suffix.lower())
    if form is None:
        raise UsageError(
            f"cannot tell the format of {output}: use a name that ends in `.md`, `.tex` or `.html`", parameter="pins"
        )
    notices = load_if_stale(study)
    pins, unread = pinned_rows(study)
    places = [pin.row for pin in pins if pin.row is not None]
    if not places:
        why = f"{study.file} has no pinned rows: pin some with `p` in `emdsl view`"
        raise UsageError("; ".join([why, *unread, *map(gone, pins)]), parameter="pins")
    text = examples_text(study, [example_of(study, p) for p in places], form, reasoning=reasoning, verdicts=verdicts)
    try:
        write_whole(output, text, public=True)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}", parameter="pins") from error
    yield from (Aside(f"note: {n}") for n in (*notices, *unread, *(gone(p) for p in pins if p.row is None)))
    yield f"Written: {output} ({counted(len(places), 'example')})"


def gone(pin: Pinned) -> str:
    """Return a notice about a pin without a row."""
    keys = ", ".join(f"{key[:KEY_DIGITS]}..." for key in pin.keys)
    return f"a pin has no row: no loaded row has its answer any more (key {keys})"


def trace(file: str, key: str) -> str:
    """Return the command that shows the row of a key."""
    return f"emdsl show {shlex.quote(file)} --key {key[:KEY_DIGITS]}"


# ---------------------------------------------------------------- formats


def _parts(example: Example) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of an example: a class, a heading, and the text."""
    several = len(example.answers) > 1
    for a in example.answers:
        of = f" of {a.step}" if several else ""
        shots = f", after {counted(a.shots, 'demonstration')}" if a.shots else ""
        if a.question:
            yield "question", f"Question{of}{shots}", a.question
        if a.reasoning:
            yield "reasoning", f"Reasoning{of}", a.reasoning
        yield "answer", f"Answer{of}", a.answer


def _verdicts(example: Example) -> str:
    return ", ".join(f"{judge} {verdict}" for judge, verdict in example.verdicts)


def _markdown(file: str, examples: Iterable[Example]) -> str:
    lines = [f"# Examples of {_code(file)}", ""]
    for number, example in enumerate(examples, start=1):
        lines += [f"## {number}. {_code(example.at)}", ""]
        for _, heading, text in _parts(example):
            fence = "`" * max(3, 1 + _longest_run(text))
            lines += [f"{_plain(heading)}:", "", f"{fence}text", text, fence, ""]
        if example.verdicts:
            lines += [f"Verdicts: {_code(_verdicts(example))}", ""]
        lines += [f"Key of {_code(a.step)}: {_code(a.key)}  " for a in example.answers]
        lines += [f"Trace: {_code(trace(file, a.key))}" for a in example.answers[-1:]] + [""]
    return "\n".join(lines)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _code(text: str) -> str:
    """Return a text as inline code of Markdown."""
    ticks = "`" * (1 + _longest_run(text))
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{' '.join(text.split())}{pad}{ticks}"


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def _latex(file: str, examples: Sequence[Example]) -> str:
    n = sum(len(text) for e in examples for _, _, text in _parts(e))
    float_ = n <= MAX_FLOAT
    lines = [
        f"% Examples of {' '.join(file.split())}, by emdsl {__version__}: \\input this file. It needs no package.",
        *(() if float_ else ("% It is too long for a float, and breaks over pages.",)),
        CHARACTER,
        *((r"\begin{figure}[tbp]",) if float_ else ()),
        r"\begingroup\small\sloppy",
    ]
    for number, example in enumerate(examples, start=1):
        lines += [*(f"% key of {' '.join(a.step.split())}: {a.key}" for a in example.answers)]
        lines += [rf"\par\medskip\noindent\textbf{{{number}.}} {latex_word(example.at)}", r"\begin{quote}"]
        for _, heading, text in _parts(example):
            lines += [rf"\textbf{{{latex_word(heading)}.}}\par", latex_text(text) + r"\par\smallskip"]
        if example.verdicts:
            lines.append(rf"\textbf{{Verdicts.}} {latex_word(_verdicts(example))}\par\smallskip")
        keys = ", ".join(rf"{latex_word(a.step)} \texttt{{{a.key[:KEY_DIGITS]}}}" for a in example.answers)
        lines += [rf"{{\footnotesize Key: {keys}\par}}", r"\end{quote}"]
    lines.append(r"\endgroup")
    if float_:
        lines += [rf"\caption{{Examples of \texttt{{{latex_word(file)}}}.}}", r"\end{figure}"]
    return "\n".join(lines) + "\n"


def _html(file: str, examples: Sequence[Example]) -> str:
    name = html.escape(file)
    lines = [
        "<!doctype html>", '<html lang="en">', '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Examples of {name}</title>", f"<style>{_STYLE}</style>",
        f"<main><h1>Examples of <code>{name}</code></h1>",
    ]  # fmt: skip
    for number, example in enumerate(examples, start=1):
        lines.append(f'<article id="example-{number}"><h2>{number}. {html.escape(example.at)}</h2>')
        for kind, heading, text in _parts(example):
            lines.append(f'<div class="{kind}"><h3>{html.escape(heading)}</h3><pre>{html.escape(text)}</pre></div>')
        if example.verdicts:
            lines.append(f"<p>Verdicts: {html.escape(_verdicts(example))}</p>")
        lines += [
            f"<p>Key of {html.escape(a.step)}: <code>{a.key}</code><br>"
            f"<code>{html.escape(trace(file, a.key))}</code></p>"
            for a in example.answers
        ]
        lines.append("</article>")
    return "\n".join([*lines, "</main>", "</html>", ""])
