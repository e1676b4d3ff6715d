"""Notebooks: values as HTML, errors without our frames, progress and questions below a cell, studies that are cells.

`make stress` does the same in a kernel of Jupyter and in marimo: `tests/bench/notebooks.py`.
"""

from __future__ import annotations

import asyncio
import builtins
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from support import SHOTS, SHOTS_STUDY

import emdsl
from emdsl.errors import EmdslError, FileExists, SetupError, SourceError, StoreError, UnknownAxis, UsageError
from emdsl.report import charts
from emdsl.run.eta import TimeLeft
from emdsl.run.metering import StepProgress
from emdsl.run.progress import INTERRUPT, Progress
from emdsl.study import python_run, study
from emdsl.study import run as run_module
from emdsl.study.foreground import Foreground
from emdsl.study.frontend import Frontend
from emdsl.study.html import COLORS, html_of, table_html
from emdsl.study.notebook_view import state_of
from emdsl.study.rendering import Rendered
from emdsl.study.screen import Aside, Table

if TYPE_CHECKING:
    from pathlib import Path


MARKUP = '<b onclick="x()">one</b>'
PROGRAM = SHOTS_STUDY.replace('"one"', f'"{MARKUP.replace(chr(34), chr(39))}"')
SMALL = SHOTS_STUDY.replace("samples = 10", "samples = 1")
PAID = """em 1
model dear { use = "openai/gpt-4o", price = { input: $1, output: $100_000 } }
experiment p {
  ask answer from dear with "hello"
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a notebook, as the working folder."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """Reads HTML, and fails for anything that a notebook should not get."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {
            "div",
            "pre",
            "span",
            "strong",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
        }
        assert {name for name, _ in attrs} <= {"style", "scope", "role"} or any(
            name.startswith("aria-") for name, _ in attrs
        )
        assert not re.search(r"url\(|expression|position", dict(attrs).get("style") or "")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def shown(value: Any) -> str:
    """Return the text of a value's HTML."""
    return Page(value._repr_html_()).text


class Printer:
    """The printer that IPython gives to `_repr_pretty_`."""

    def __init__(self) -> None:
        self.written = ""

    def text(self, text: str) -> None:
        self.written += text


def pretty(value: Any) -> str:
    printer = Printer()
    value._repr_pretty_(printer, False)
    return printer.written


def test_values_are_html(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies, plans, runs, rows, comparisons and figures: escaped, with no script and nothing to load."""
    found = emdsl.open_text(PROGRAM, "icl")
    assert "experiment e: 4 cells x 10 samples" in shown(found)
    assert "<b onclick='x()'>one</b>, two" in shown(found)
    plan = found.plan()
    assert shown(plan).split()[:2] == ["e", "4"]
    assert pretty(plan) == str(plan)
    assert repr(plan).startswith("Plan(requests=81,")
    run = found.run(display="none")
    assert "81 answered, 0 cached" in shown(run)
    assert "emdsl query" in str(run)
    assert "emdsl" not in shown(run) + pretty(run)  # no commands: the reader is in Python
    assert "\nlow\n" in f"\n{shown(found.show())}"
    assert found.show() == pretty(found.show())
    story = shown(found.story("k = 2 AND sample = 1", limit=1))
    assert "<b onclick='x()'>one</b>" in story
    assert "showing 1 of 2 matching rows" in story
    assert "read as: " in story
    request = found.render(only={"k": 2}, step="answer")._repr_html_()
    assert Page(request).text.count("q") >= 2
    assert "<details>" not in request
    assert shown(found.check()) == "no errors, no warnings"
    assert "cached" in shown(found.why())
    assert "1 more" not in shown(found.runs(ended=True))
    assert "icl.em" in shown(found.runs(ended=True))
    (folder / "other.em").write_text(PROGRAM.replace("< 30", "< 60"), encoding="utf-8")
    assert "edits: 1 line" in shown(found.diff("other.em"))
    assert "verdict" in shown(found.diff_results("other.em"))
    results = table_html(found.results())  # IPython shows Arrow tables by this function
    assert "40 rows, 36 columns, the first 20 rows are shown" in Page(results).text
    assert results.count("<tr") == 21
    drops = table_html(found.query("SELECT MAP {'REFUSAL': 2} AS dropped, 1.25 AS rate, NULL AS no, true AS yes"))
    texts = [t for t in Page(drops).texts if t.strip()]
    assert texts == ["dropped", "rate", "no", "yes", "REFUSAL: 2", "1.25", "true", "1 row, 4 columns"]
    assert 'text-align:right;white-space:nowrap">1.25<' in drops
    monkeypatch.setattr(charts, "image", lambda _: "<svg/>")
    figure = found.figure().properties(width=200)
    assert figure._repr_mimebundle_() == {"image/svg+xml": "<svg/>"}


def test_long_requests_are_folded() -> None:
    """The middle of many messages is behind a line."""
    request = {
        "experiment": "e", "cell": {"k": "4"}, "sample": 0, "kind": "ask", "step": "answer", "model": "m", "key": None,
        "parameters": {}, "cached": False,
        "messages": [{"role": "user", "content": f"message {i}\ud800"} for i in range(9)],
    }  # fmt: skip
    html = Rendered((request,))._repr_html_()
    assert "5 more messages" in Page(html).text
    html.encode()  # no surrogate is left, which a kernel could not send
    assert html.index("message 1") < html.index("<details>") < html.index("message 2") < html.index("</details>")


def test_screens_hide_secrets_and_follow_the_theme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """API keys are masked in lines, cells and asides; each color is mixed with that of the page's text."""
    monkeypatch.setenv("ACME_API_KEY", "sk-very-secret-key-1234567890")
    emdsl.open_text("em 1", "x").project  # noqa: B018 - registers the keys of the environment
    secret = "sk-very-secret-key-1234567890"
    html = html_of([f"a {secret}", Table(("x", "n"), [(secret, 1.5)], numeric=("n",)), Aside(f"warning: {secret}\n")])
    assert secret not in html
    assert Page(html).text.count("1.5") == 1
    assert all("currentColor" in c or c.startswith("opacity") for c in COLORS.values())


def lines_of(error: EmdslError) -> list[str]:
    return [re.sub(r"\x1b\[\d+m", "", line) for line in error._render_traceback_()]


def test_errors_show_their_place_and_the_callers_line(folder: Path) -> None:
    """IPython shows what `_render_traceback_` returns: carets, and no frame of emdsl."""
    (folder / "x.em").write_text('em 1\nexperiment e { ask answer from subjekt with "hello" }\n', encoding="utf-8")
    with pytest.raises(SourceError) as caught:
        emdsl.open("x.em").plan()
    lines = lines_of(caught.value)
    assert lines[:4] == [
        "error[E201]: unknown name `subjekt`", " --> x.em:2:32", "  |",
        '2 | experiment e { ask answer from subjekt with "hello" }',
    ]  # fmt: skip
    assert lines[4].endswith(" ^^^^^^^")
    assert re.fullmatch(r'line \d+: emdsl\.open\("x\.em"\)\.plan\(\)', lines[-1])
    assert "\x1b[1merror[E201]:\x1b[0m unknown name" in caught.value._render_traceback_()[0]
    with pytest.raises(UnknownAxis) as unknown:
        emdsl.open_text(SHOTS_STUDY).plan(only={"m": 1})
    assert lines_of(unknown.value)[0].startswith("error: `only`: unknown axis `m`; ")
    assert " --> x.em:2:32" in shown(emdsl.open("x.em"))
    assert "unknown name `subjekt`" in shown(emdsl.open("x.em").check())


def test_a_text_is_a_study(folder: Path) -> None:
    """Its keys are those of a file, its data are beside it, an edit has its reason, and no file is made."""
    first = emdsl.open_text(SMALL, "icl")
    assert repr(first) == "emdsl.open_text(..., 'icl')"
    assert first.run(display="none").answered == 9
    assert [p.name for p in folder.glob("*.em")] == []
    edited = emdsl.open_text(SHOTS_STUDY.replace("samples = 10", "samples = 2"), "icl")
    plan = edited.plan()
    assert plan.requests == 8
    assert re.search(r"more samples 1 -> 2 +icl\.em:15", str(plan))
    assert edited.results().num_rows == 8
    assert (edited.export("out") / "program/icl.em").read_text(encoding="utf-8").startswith("em 1\n")
    (folder / "file.em").write_text(SMALL, encoding="utf-8")
    assert emdsl.open("file.em").plan().requests == 0
    with pytest.raises(FileExists, match=r"file\.em exists: choose another name"):
        emdsl.open_text(SHOTS_STUDY, "file")
    with pytest.raises(UsageError, match="expected a name such as `icl`"):
        emdsl.open_text(SHOTS_STUDY, "../x")


class Shell:
    """The part of IPython's shell that the magic uses."""

    def __init__(self) -> None:
        self.user_ns: dict[str, Any] = {}
        self.em: Any = None

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        assert (kind, name) == ("cell", "em")
        self.em = function


def test_a_cell_is_a_study(folder: Path) -> None:
    """`%%em NAME` checks it, binds it, and plans or runs it; an error leaves the variable alone."""
    shell = Shell()
    emdsl.load_ipython_extension(shell)
    found = shell.em("icl", SHOTS_STUDY)
    assert shell.user_ns == {"icl": found}
    assert shell.em("icl --plan", SHOTS_STUDY).requests == 81
    run = shell.em("--run --sim", SMALL)
    assert run.complete
    assert shell.user_ns["study"].project.simulate
    with pytest.raises(SourceError, match=r"icl\.em:19"):
        shell.em("icl", SHOTS_STUDY.replace("by k", "by kk"))
    with pytest.raises(UsageError, match="did you mean `--run`"):
        shell.em("icl --rum", SHOTS_STUDY)
    for odd in ("class", "'a", "a-b"):  # no name of a variable
        with pytest.raises(UsageError, match=rf"expected a name such as `icl`, not .{odd}."):
            shell.em(odd, SHOTS_STUDY)
    with pytest.raises(UsageError, match="takes one name"):
        shell.em("a b", SHOTS_STUDY)
    assert [p.name for p in folder.glob("*.em")] == []


@pytest.mark.parametrize(
    ("where", "answer", "outcome"),
    [
        (Frontend.JUPYTER, "y", StoreError),
        (Frontend.JUPYTER, "", None),
        (Frontend.SESSION, "no", None),
        (Frontend.SESSION, EOFError(), None),
        (Frontend.JUPYTER, KeyboardInterrupt(), None),
        (Frontend.JUPYTER, RuntimeError("no input here"), UsageError),
        (Frontend.MARIMO, "y", UsageError),
        (Frontend.SCRIPT, "n", StoreError),
    ],
)
def test_a_run_asks_before_it_spends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: Frontend, answer: Any, outcome: type[EmdslError] | None
) -> None:
    """In a notebook and a session. A script is not asked; a notebook that runs by itself gets an error."""
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    def send(*_: Any, **__: Any) -> None:
        raise StoreError("it would send now")

    monkeypatch.setattr(study, "frontend", lambda: where)
    monkeypatch.setattr(python_run, "output", lambda _: None)
    monkeypatch.setattr(builtins, "input", reply)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SetupError, match="OPENAI_API_KEY"):  # before a question
        emdsl.open_text(PAID, "paid").run(display="none")
    assert questions == []
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none-0123456789")
    monkeypatch.setattr(run_module, "send_pending", send)
    paid = emdsl.open_text(PAID, "paid")
    if outcome is None:
        run = paid.run(display="none")
        assert (run.declined, str(run), shown(run)) == (True, "nothing was sent", "nothing was sent")
    else:
        with pytest.raises(outcome, match="would send" if outcome is StoreError else r"run\(yes=True\)"):
            paid.run(display="none")
    assert len(questions) == (where in (Frontend.JUPYTER, Frontend.SESSION))
    assert all(q.startswith("Send 1 request for about $30.00") and q.endswith("? [y/N] ") for q in questions)
    if where is Frontend.SESSION:
        for options in ({"yes": True}, {"confirm_over": 1000}):
            with pytest.raises(StoreError, match="would send"):
                paid.run(**options)
        assert len(questions) == 1
    assert folder.joinpath("cache").is_dir()


class Below:
    """A place below a cell."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.threads: set[int] = set()

    def replace(self, html: str, text: str) -> None:
        self.states.append((Page(html).text, text))
        self.threads.add(threading.get_ident())


def test_progress_is_shown_below_the_cell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the thread of the cell, which has an event loop; its last state has the time."""
    below = Below()
    monkeypatch.setattr(study, "frontend", lambda: Frontend.JUPYTER)
    monkeypatch.setattr(python_run, "output", lambda _: below)
    icl = emdsl.open_text(SMALL, "icl")

    async def cell() -> int:
        await asyncio.sleep(0)
        return icl.run(only={"k": 0}).answered + (await icl.arun()).answered

    assert asyncio.run(cell()) == 9
    assert below.threads == {threading.get_ident()}
    assert below.states[0][1] == "0 of at most 5 requests done"
    assert re.fullmatch(r"4 requests done in \d\.\d s", below.states[-1][1])
    assert folder.joinpath("cache").is_dir()


def test_an_output_that_fails_does_not_end_a_run() -> None:
    """Its error is raised after the run."""
    ended: list[str] = []

    def fail() -> None:
        raise ValueError("no output")

    def run(foreground: Foreground) -> None:
        foreground.post(fail)
        foreground.post(lambda: ended.append("and goes on"))

    foreground = Foreground()
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="no output"):
        foreground.serve(pool.submit(run, foreground))
    assert ended == ["and goes on"]


def test_a_state_tells_what_it_knows() -> None:
    """Steps, failures, cost and the time left, while the run goes on."""
    progress = Progress(answered=30, failed=2, retried=1, waiting=3, last_error="rate limit", stopping=INTERRUPT)
    progress.meter.steps += [StepProgress("answer", 40, 30, 2), StepProgress("<b>", 24)]
    state = state_of(progress, 64, 16.0, TimeLeft(20.0), ended=False)
    assert state.text == "32 of at most 64 requests done, 2 failed, 1 retried, about 20 s left"
    assert Page(state.html(["note: <b>"])).texts == [
        "answer", "30/40", "2 failed", "<b>", "0/24", state.text, "3 waiting (rate limit)",
        "finishing the requests in flight; a second interrupt stops at once", "note: <b>",
    ]  # fmt: skip
    assert 'aria-valuenow="32"' in state.html([])
    assert "width:50.0%" in state.html([])
    failing = state_of(Progress(stopping="the disk is full"), 64, 16.0, TimeLeft(None), ended=False)
    assert failing.notes == (
        "stopping: the disk is full",
        "finishing the requests in flight; an interrupt stops at once",
    )
    ended = state_of(progress, 64, 7200.0, TimeLeft(None), ended=True)
    assert ended.text == "32 requests done in 2 h, 2 failed, 1 retried"
    assert Page(ended.html([])).texts == [ended.text]
    unknown = state_of(progress, 64, 1.0, TimeLeft(None, "no answer yet of a for `b`"), ended=False)
    assert "time left unknown: no answer yet of a for `b`" in Page(unknown.html([])).texts


def test_a_function_of_the_foreground_returns_or_raises() -> None:
    """In the calling thread; the other one waits for it."""

    def other(foreground: Foreground) -> tuple[int, str]:
        def fail() -> int:
            raise LookupError("no")

        here = foreground.call(threading.get_ident)
        try:
            foreground.call(fail)
        except LookupError as error:
            return here, str(error)
        raise AssertionError

    foreground = Foreground()
    with ThreadPoolExecutor(1) as pool:
        assert foreground.serve(pool.submit(other, foreground)) == (threading.get_ident(), "no")
