"""Values that show themselves: as text in a terminal, as HTML in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.errors import EmdslError
from emdsl.study.screen import text_of
from emdsl.surrogates import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emdsl.source import Diagnostic
    from emdsl.study.screen import Part


class SelfShown:
    """A value with a screen: `print` shows it as text. Jupyter and marimo show its HTML."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Give each class the text for IPython: it takes the `__repr__` of a dataclass before that of a base."""
        super().__init_subclass__()
        type.__setattr__(cls, "_repr_pretty_", SelfShown._repr_pretty_)

    def parts(self) -> Iterator[Part]:
        """Yield the screen."""
        raise NotImplementedError  # abstract: each kind of value has a screen of its own

    def __str__(self) -> str:
        return text_of(self.parts())

    def _cell(self) -> Iterator[Part]:
        """Yield what the output of a cell shows."""
        return self.parts()

    def _html(self) -> str:
        from emdsl.study.html import html_of  # noqa: PLC0415 - a terminal shows no HTML

        return html_of(self._cell())

    def _text(self) -> str:
        return text_of(self._cell())

    def _repr_html_(self) -> str:
        try:
            return self._html()
        except EmdslError as error:  # of a value whose tables have changed since
            from emdsl.study.html import error_html  # noqa: PLC0415 - nearly all values can be shown

            return error_html(str(error))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text in IPython, instead of all fields."""
        try:
            printer.text(as_text(repr(self) if cycle else self._text()))
        except EmdslError as error:
            printer.text(f"error: {error}")


class ShownText(str):
    """A text that a notebook shows as HTML; everywhere else it is a text."""

    __slots__ = ("_parts",)
    _parts: tuple[Part, ...]

    @classmethod
    def of(cls, text: str, parts: Iterable[Part]) -> ShownText:
        """Return a text with the screen that it was made from."""
        shown = cls(text)
        shown._parts = tuple(parts)
        return shown

    def _repr_html_(self) -> str:
        from emdsl.study.html import html_of  # noqa: PLC0415 - only a notebook calls this method

        return html_of(self._parts)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(str(self)) if cycle else str(self))


class Diagnostics(tuple["Diagnostic", ...]):
    """Errors and warnings: a tuple that a notebook shows with their places and carets."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from emdsl.study.html import diagnostics_html  # noqa: PLC0415 - `check` renders its own lines

        return diagnostics_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        text = "\n\n".join(d.render() for d in self) or "no errors, no warnings"
        printer.text(repr(self) if cycle else text)
