"""Where Python shows its values: in Jupyter, in marimo, in an interactive session, or nowhere. The door to both."""

from __future__ import annotations

import enum
import secrets
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from emdsl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

YES = ("y", "yes")


class Frontend(enum.StrEnum):
    """Where the calling code runs."""

    JUPYTER = "jupyter"  # any notebook with a kernel of IPython
    MARIMO = "marimo"
    SESSION = "session"  # an interactive one in a terminal
    SCRIPT = "script"


class Output(Protocol):
    """A place below a cell whose content is replaced."""

    def replace(self, html: str, text: str) -> None:
        """Show HTML, and a text where HTML is not shown."""


def frontend() -> Frontend:
    """Return where the calling code runs; nothing is imported to find out."""
    if "marimo" in sys.modules:
        import marimo  # noqa: PLC0415 - a process without marimo does not load it

        if marimo.running_in_notebook():
            return Frontend.MARIMO
    shell = _shell()
    if getattr(shell, "kernel", None) is not None:
        return Frontend.JUPYTER
    interactive = shell is not None or hasattr(sys, "ps1")
    return Frontend.SESSION if interactive and sys.stdin is not None and sys.stdin.isatty() else Frontend.SCRIPT


def output(where: Frontend) -> Output | None:
    """Return a place for progress below the cell that runs, in a notebook."""
    if where is Frontend.JUPYTER:
        return _JupyterOutput()
    return _MarimoOutput() if where is Frontend.MARIMO else None


def confirm(question: str, where: Frontend) -> bool:
    """Ask a question that is answered by yes or no; no without an answer.

    Raises:
        UsageError: Nobody can answer: the notebook runs by itself, or its cells run again by themselves, as in marimo.
    """
    if where is Frontend.MARIMO:
        raise _unanswered(question, "marimo runs cells again by itself")
    try:
        with _default_interrupt():
            return input(f"{question} [y/N] ").strip().lower() in YES
    except (EOFError, KeyboardInterrupt):
        return False
    except RuntimeError as error:  # StdinNotImplementedError of ipykernel: the notebook runs by itself
        raise _unanswered(question, "nobody can answer here") from error


def show_tables_as_html(kind: type, html: Callable[[Any], str]) -> None:
    """Have IPython show values of a foreign class by a function, unless it has one for it."""
    shell = _shell()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    try:
        formatter.lookup_by_type(kind)
    except KeyError:
        formatter.for_type(kind, html)


def _shell() -> Any:
    """Return the shell of IPython, if the calling code runs in one."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython  # noqa: PLC0415 - a script has no IPython, and waits for none

    return get_ipython()


def _unanswered(question: str, why: str) -> UsageError:
    return UsageError(
        f"{question} No request was sent: {why}. `run(yes=True)` sends them without a question, and a `budget` of at "
        "most `confirm_over` needs none"
    )


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Let an interrupt end the question: a run has a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _JupyterOutput:
    """A display of IPython, made when it is first shown."""

    def __init__(self) -> None:
        self._publisher = _shell().display_pub
        self._shown, self._id = False, secrets.token_hex(8)

    def replace(self, html: str, text: str) -> None:
        """See Output."""
        data = {"text/html": html, "text/plain": text}
        self._publisher.publish(data=data, metadata={}, transient={"display_id": self._id}, update=self._shown)
        self._shown = True


class _MarimoOutput:
    """The output of the cell that runs; its last value replaces it."""

    def replace(self, html: str, text: str) -> None:  # noqa: ARG002 - marimo shows HTML everywhere
        """See Output."""
        import marimo  # noqa: PLC0415 - the calling code runs in it

        marimo.output.replace(marimo.Html(html))
