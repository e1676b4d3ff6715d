"""Bodies of prompts and rubrics: each item to the messages it makes in a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.operations import charge, elements, truth
from emdsl.compiler.written import describe
from emdsl.frame import Frame, MissingInput, fail
from emdsl.lang import ast
from emdsl.prompt import Message
from emdsl.value import Missing, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.compiler.expr import Compiler

    Messages = Callable[[Frame], tuple[Message, ...]]


def messages_of(items: tuple[ast.Item, ...], compiler: Compiler) -> Messages:
    """Return the function that renders a body; it raises MissingInput if a message reads a missing value."""
    makers = [_item(x, compiler) for x in items]
    if len(makers) == 1:
        return lambda frame: tuple(makers[0](frame))
    return lambda frame: tuple([message for make in makers for message in make(frame)])


def _item(item: ast.Item, compiler: Compiler) -> Callable[[Frame], Iterable[Message]]:
    match item:
        case ast.Say():
            return _say(item, compiler)
        case ast.Each():
            return _each(item, compiler)
        case ast.WhenSay():
            return _when(item, compiler)


def _say(item: ast.Say, compiler: Compiler) -> Callable[[Frame], Iterable[Message]]:
    content, role = compiler.expr(item.content), item.role
    if role == "tool":  # no service takes one alone, and OpenAI answers 400
        raise fail(
            "E421", "a `tool` message must answer a tool call, but a prompt cannot contain tool calls", item.span,
            help='write a `user` message instead: `user "The tool gave: {result}"`',
        )  # fmt: skip

    def say(frame: Frame) -> Iterable[Message]:
        value = content(frame)
        if isinstance(value, Missing):
            raise MissingInput(value)
        text = render(value)
        if text is None:
            raise fail("E311", f"expected a text, got {describe(value)}", item.content.span)
        return (Message(role, text),)

    return say


def _each(item: ast.Each, compiler: Compiler) -> Callable[[Frame], Iterable[Message]]:
    name, source = item.name.text, compiler.expr(item.source)
    body = messages_of(item.body, compiler.inner([name]))

    def each(frame: Frame) -> Iterable[Message]:
        values = source(frame)
        if isinstance(values, Missing):
            raise MissingInput(values)
        for value in elements(values, item.source.span):
            charge(frame, 1, item.source.span)
            yield from body(frame.child(name, value))

    return each


def _when(item: ast.WhenSay, compiler: Compiler) -> Callable[[Frame], Iterable[Message]]:
    condition, body = compiler.expr(item.condition), messages_of(item.body, compiler)

    def when(frame: Frame) -> Iterable[Message]:
        value = truth(condition(frame), item.condition.span)
        if isinstance(value, Missing):
            raise MissingInput(value)
        return body(frame) if value else ()

    return when
