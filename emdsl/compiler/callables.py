"""What a call can call: functions, prompts, rubrics, and functions written in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.errors import HookError
from emdsl.frame import Fn, Frame, HookFault, fail
from emdsl.prompt import Message, Prompt
from emdsl.value import NULL, Missing, Value, describe, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.hooks.hook import Hook
    from emdsl.query import Model
    from emdsl.reply_format import ReplyFormat
    from emdsl.source import Span


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """`let f(a) = ...`: a pure function of values."""

    name: str
    params: tuple[str, ...]
    body: Fn

    def call(self, frame: Frame) -> Value:
        """Return its value in a frame that holds its parameters."""
        return self.body(frame)


@dataclass(frozen=True, eq=False, slots=True)
class PromptMaker:
    """`prompt p(a) { ... }`: a function whose value is a Prompt."""

    name: str
    params: tuple[str, ...]
    body: Callable[[Frame], tuple[Message, ...]]

    def call(self, frame: Frame) -> Value:
        """Return the prompt in a frame that holds its parameters."""
        return Prompt(self.body(frame))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RubricMaker:
    """`rubric r(a) { ... }`: a prompt about an answer, and how its reply is read."""

    name: str
    params: tuple[str, ...]
    body: Callable[[Frame], tuple[Message, ...]]
    reply_format: ReplyFormat
    shown: Mapping[str, Fn]  # `choices`: the labels with their meanings, a line each; `shape`: the fields
    model: Model | None
    settings: Mapping[str, Any]
    places: Mapping[str, Span]  # where each setting stands

    def messages(self, frame: Frame) -> tuple[Message, ...]:
        """Return the messages in a frame that holds its parameters."""
        frame.update({name: text(frame) for name, text in self.shown.items()})
        return self.body(frame)


_IS_KIND: dict[str, Callable[[Value], bool]] = {
    "number": is_number, "text": lambda v: isinstance(v, str), "bool": lambda v: isinstance(v, bool),
}  # fmt: skip
GROUP_CALL_S = 3600.0  # timeout of a call for a group of rows
HOOK_KINDS = tuple(_IS_KIND)  # result types that a function in Python can declare


@dataclass(frozen=True, eq=False, slots=True)
class HookFunction:
    """A function that is written in Python; its value enters a prompt, and so the key."""

    name: str
    params: tuple[str, ...]
    hook: Hook
    span: Span
    kind: str = ""  # its declared result type, one of HOOK_KINDS; empty if undeclared
    content: str = ""  # the SHA-256 of its file, in hex

    def call(self, frame: Frame) -> Value:
        """Return its value in a frame that holds its parameters; missing if an argument is."""
        args = [frame[p] for p in self.params]
        if (missing := next((a for a in args if isinstance(a, Missing)), None)) is not None:
            return missing
        try:
            value = self.hook.value(args)
        except HookFault as fault:
            raise fail("E624", f"`{self.name}` {fault}", self.span, help="correct the function") from fault
        except HookError as error:
            raise HookError(str(error), self.span) from error
        except TypeError as error:
            message = f"`{self.name}` supports only texts, numbers, lists, maps and rows as arguments"
            raise fail("E624", message, self.span) from error
        if value is None:
            return NULL
        if self.kind and not _IS_KIND[self.kind](value):
            raise fail("E624", f"`{self.name}` must return a {self.kind}, got {describe(value)}", self.span)
        return value

    def call_all(self, args: list[Value], n_rows: int) -> tuple[Value, ...]:
        """Return its values for all rows of a group, None for a row without a value.

        Args:
            args: Its arguments: a list over the rows, or one value for all of them.
            n_rows: How many rows there are.

        Raises:
            HookError: It failed, or did not return a list with one value for each row.
        """
        try:
            values = self.hook.value(args, GROUP_CALL_S)
        except HookFault as fault:
            raise HookError(f"`{self.name}` {fault}", self.span) from fault
        except HookError as error:
            raise HookError(str(error), self.span) from error
        except TypeError as error:
            message = f"`{self.name}` supports only texts, numbers, lists, maps and rows as arguments"
            raise HookError(message, self.span) from error
        expected = f"`{self.name}` must return a list of {n_rows:,} value{'s' * (n_rows != 1)}, one for each row"
        if not isinstance(values, tuple):
            raise HookError(f"{expected}, got {describe(values)}", self.span)
        if len(values) != n_rows:
            raise HookError(f"{expected}, got {len(values):,}", self.span)
        for i, value in enumerate(values):
            if self.kind and value is not None and not _IS_KIND[self.kind](value):
                raise HookError(
                    f"`{self.name}` must return a {self.kind} for each row, got {describe(value)} for row {i + 1:,}",
                    self.span,
                )
        return values


def constantly(value: Value) -> Fn:
    """Return the function of a value that is the same in every frame."""
    return lambda _: value
