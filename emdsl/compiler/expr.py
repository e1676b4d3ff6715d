"""The evaluator: expressions to functions of a frame.

An expression is compiled once to a closure; a frame holds the names of one cell and sample, and computes
a `let` when it is first read. An expression that reads a missing value is missing, but for `is` and `else`.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.compiler.functions import BUILTINS, Builtin
from emdsl.compiler.operations import MAX_TEXT, ORDER, calculate, elements, equal, get_field, same, truth
from emdsl.compiler.reads import free_names
from emdsl.compiler.shots import By
from emdsl.errors import HookError
from emdsl.frame import EvalFault, Fn, Frame, HookFault, MissingInput, fail
from emdsl.lang import ast
from emdsl.prompt import Message, Prompt
from emdsl.source import Span, near, one_of
from emdsl.value import (
    ABSENT,
    ENGINE_REASONS,
    NULL,
    UNSETTLED,
    EnvVar,
    LabelledMap,
    Missing,
    Money,
    Row,
    Value,
    describe,
    is_number,
    name_of,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emdsl.hooks.hook import Hook

FOREIGN = {"True": "true", "False": "false", "None": "none", "null": "none", "nil": "none"}  # words of other languages
MAX_RANGE = 1_000_000  # numbers in a range
MAX_WORK = 3_000_000  # items that the loops of one cell and sample go through


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


_OF_KIND: dict[str, Callable[[Value], bool]] = {
    "number": is_number, "text": lambda v: isinstance(v, str), "bool": lambda v: isinstance(v, bool),
}  # fmt: skip
HOOK_KINDS = tuple(_OF_KIND)  # what a function in Python can say that it gives


@dataclass(frozen=True, eq=False, slots=True)
class HookFunction:
    """A function that is written in Python; its value enters a prompt, and so the key."""

    name: str
    params: tuple[str, ...]
    hook: Hook
    span: Span
    kind: str = ""  # what it gives: one of HOOK_KINDS; nothing where that is not said

    def call(self, frame: Frame) -> Value:
        """Return its value in a frame that holds its parameters; what reads a missing value is missing."""
        args = [frame[p] for p in self.params]
        if (missing := next((a for a in args if isinstance(a, Missing)), None)) is not None:
            return missing
        try:
            value = self.hook.value(args)
        except HookFault as fault:
            raise fail("E624", f"`{self.name}` raised {fault}", self.span) from fault
        except HookError as error:
            raise HookError(str(error), self.span) from error
        except TypeError as error:
            raise fail("E624", f"`{self.name}` takes values, not names of things: {error}", self.span) from error
        if value is None:
            return NULL
        if self.kind and not _OF_KIND[self.kind](value):
            raise fail("E624", f"`{self.name}` gave {describe(value)}, and not a {self.kind}", self.span)
        return value


class Compiler:
    """Compiles the expressions of one scope.

    `constant` returns the value of a file-level name and raises KeyError for one that is none; `local` are
    the names that a frame will hold; `words` are the replies (`REFUSAL`) that a missing verdict can have.
    """

    def __init__(
        self,
        constant: Callable[[str], Value],
        local: frozenset[str] = frozenset(),
        words: frozenset[str] = frozenset(),
    ) -> None:
        self._constant = constant
        self._local = local
        self._words = words

    def inner(self, names: Iterable[str]) -> Compiler:
        """Return a compiler that knows some more local names."""
        return Compiler(self._constant, self._local | frozenset(names), self._words)

    def expr(self, node: ast.Expr) -> Fn:
        """Return the function that evaluates an expression."""
        compile_node: Callable[[Any], Fn] = getattr(self, f"_{type(node).__name__.lower()}")
        return compile_node(node)

    # ------------------------------------------------------------ names and literals

    def _ref(self, node: ast.Ref, code: str = "E201") -> Fn:
        name = node.name
        if name in self._local:
            return operator.itemgetter(name)

        def known() -> Value:
            try:
                return self._constant(name)
            except KeyError:
                said = "E143" if name in FOREIGN else code
                raise fail(said, f"no name `{name}` is known here", node.span) from None

        return _once(known)

    def _literal(self, node: ast.Literal) -> Fn:
        value = node.value
        return lambda _: value

    def _moneyliteral(self, node: ast.MoneyLiteral) -> Fn:
        value = Money(node.value)
        return lambda _: value

    def _env(self, node: ast.Env) -> Fn:
        value = EnvVar(node.name)
        return lambda _: value

    def _text(self, node: ast.Text) -> Fn:
        if all(isinstance(p, str) for p in node.parts):
            whole = "".join(p for p in node.parts if isinstance(p, str))
            return lambda _: whole
        parts = [p if isinstance(p, str) else self._placeholder(p) for p in node.parts]

        def text(frame: Frame) -> Value:
            found = []
            for part in parts:
                piece = part if isinstance(part, str) else part(frame)
                if isinstance(piece, Missing):
                    return piece
                found.append(piece)
            whole = "".join(found)
            _charge(frame, len(whole) // 10_000, node.span)
            if len(whole) > MAX_TEXT:
                raise fail("E518", f"this grows to more than {MAX_TEXT:,} characters", node.span)
            return whole

        return text

    def _placeholder(self, path: ast.Path) -> Fn:
        inner = self._ref(ast.Ref(name=path.names[0], span=path.span), "E310")
        if len(path.names) > 1:
            inner = self.expr(path_expr(path))

        def placeholder(frame: Frame) -> Value:
            value = inner(frame)
            if isinstance(value, str | Missing):
                return value
            shown = render(value)
            if shown is None:
                raise fail(
                    "E311",
                    f"`{{{'.'.join(path.names)}}}` is {describe(value)}, which has no text",
                    path.span,
                    help="name one of its columns" if isinstance(value, Row) else "use `join(...)` for a list",
                )
            return shown

        return placeholder

    # ------------------------------------------------------------ structures

    def _range(self, node: ast.Range) -> Fn:
        low, high = self.expr(node.low), self.expr(node.high)

        def range_(frame: Frame) -> Value:
            first, last = low(frame), high(frame)
            if isinstance(first, Missing):
                return first
            if isinstance(last, Missing):
                return last
            if type(first) is not int or type(last) is not int:
                raise fail("E501", "a range runs between whole numbers", node.span)
            if last - first >= MAX_RANGE:
                raise fail("E502", f"a range holds at most {MAX_RANGE:,} numbers", node.span)
            if last < first:
                raise fail("E503", f"this range is empty: {last} is less than {first}", node.span)
            _charge(frame, (last - first) // 20, node.span)
            return tuple(range(first, last + 1))

        return range_

    def _sequence(self, node: ast.Sequence) -> Fn:
        items = [self.expr(x) for x in node.items]

        def sequence(frame: Frame) -> Value:
            found = tuple(item(frame) for item in items)
            return next((x for x in found if isinstance(x, Missing)), found)

        return sequence

    def _map(self, node: ast.Map) -> Fn:
        entries = [(e.label.text, self.expr(e.value)) for e in node.entries]

        def map_(frame: Frame) -> Value:
            found = tuple((label, value(frame)) for label, value in entries)
            return next((x for _, x in found if isinstance(x, Missing)), LabelledMap(found))

        return map_

    def _comprehension(self, node: ast.Comprehension) -> Fn:
        name, source = node.name.text, self.expr(node.source)
        inner = self.inner([name])
        item = inner.expr(node.item)
        condition = inner.expr(node.condition) if node.condition is not None else None

        def comprehension(frame: Frame) -> Value:
            values = source(frame)
            if isinstance(values, Missing):
                return values
            found = []
            for value in elements(values, node.source.span):
                _charge(frame, 1, node.span)
                child = frame.child(name, value)
                taken = True if condition is None else truth(condition(child), node.span)
                made = item(child) if taken is True else None
                if isinstance(taken, Missing) or isinstance(made, Missing):
                    return taken if isinstance(taken, Missing) else made
                if taken:
                    found.append(made)
            return tuple(found)

        return comprehension

    # ------------------------------------------------------------ choice and logic

    def _if(self, node: ast.If) -> Fn:
        condition, yes, no = self.expr(node.condition), self.expr(node.yes), self.expr(node.no)

        def if_(frame: Frame) -> Value:
            chosen = truth(condition(frame), node.condition.span)
            if isinstance(chosen, Missing):
                return chosen
            return yes(frame) if chosen else no(frame)

        return if_

    def _otherwise(self, node: ast.Otherwise) -> Fn:
        value, other = self.expr(node.value), self.expr(node.other)

        def otherwise(frame: Frame) -> Value:
            found = value(frame)
            return other(frame) if isinstance(found, Missing) and found.reason not in UNSETTLED else found

        return otherwise

    def _given(self, node: ast.Given) -> Fn:
        def given(_: Frame) -> Value:
            raise fail("E504", "`given` stands inside the functions of a `measure` only", node.span)

        return given

    def _logic(self, node: ast.Logic) -> Fn:
        items = [(self.expr(x), x.span) for x in node.items]
        wanted = node.op == "and"

        def logic(frame: Frame) -> Value:
            result, missing = wanted, None
            for item, span in items:  # strict: every item is read, and one missing makes all missing
                value = truth(item(frame), span)
                if isinstance(value, Missing):
                    missing = missing or value
                elif value is not wanted:
                    result = not wanted
            return missing or result

        return logic

    def _not(self, node: ast.Not) -> Fn:
        inner = self.expr(node.value)

        def not_(frame: Frame) -> Value:
            value = truth(inner(frame), node.value.span)
            return value if isinstance(value, Missing) else not value

        return not_

    def _compare(self, node: ast.Compare) -> Fn:
        left, right, op = self.expr(node.left), self.expr(node.right), node.op

        def compare(frame: Frame) -> Value:
            a, b = left(frame), right(frame)
            if isinstance(a, Missing):
                return a
            if isinstance(b, Missing):
                return b
            if op in ("==", "!="):
                return equal(a, b, node.span) is (op == "==")
            if not ((is_number(a) and is_number(b)) or (isinstance(a, str) and isinstance(b, str))):
                raise fail("E505", f"{describe(a)} and {describe(b)} cannot be compared with `{op}`", node.span)
            return ORDER[op](*same(a, b))

        return compare

    def _is(self, node: ast.Is) -> Fn:
        value, label, negated = self.expr(node.value), node.label.text, node.negated
        axis = node.value.name if isinstance(node.value, ast.Ref) else None
        words = self._words | frozenset(ENGINE_REASONS)
        named: Fn | None = None
        if label not in self._local:
            named = self._ref(ast.Ref(name=label, span=node.label.span))

        def same_value(found: Value) -> bool:
            """A name that stands for a model or a dataset tests that it is the same one."""
            if name_of(found) is None or named is None:
                return False
            try:
                return bool(found == named(Frame()))
            except EvalFault:
                return False  # a label, and no name

        def is_(frame: Frame) -> Value:
            found = value(frame)
            if label == "missing":
                hit = isinstance(found, Missing)
            elif isinstance(found, Missing):
                # a judge's other word is an answer to "is it REFUSAL?": no. Where there is no reply, there is none
                if found.reason != label and not (label in words and found.reason not in ABSENT):
                    return found
                hit = found.reason == label
            elif axis is not None and (level := frame.levels.get(axis)) is not None:
                hit = label == level.shown or same_value(found)
            elif isinstance(found, str):
                hit = found == label
            else:
                hit = name_of(found) == label or same_value(found)
            return hit is not negated

        return is_

    def _member(self, node: ast.Member) -> Fn:
        value, values, negated = self.expr(node.value), self.expr(node.values), node.negated

        def member(frame: Frame) -> Value:
            found, among = value(frame), values(frame)
            if isinstance(found, Missing):
                return found
            if isinstance(among, Missing):
                return among
            if isinstance(among, str):
                if not isinstance(found, str):
                    raise fail("E505", f"{describe(found)} cannot be in a text", node.span)
                return (found in among) is not negated
            items = elements(among, node.values.span)
            _charge(frame, len(items) // 2, node.span)
            hit = any(equal(found, x, node.span) for x in items)
            return hit is not negated

        return member

    # ------------------------------------------------------------ arithmetic

    def _arithmetic(self, node: ast.Arithmetic) -> Fn:
        first = self.expr(node.first)
        rest = [(op, self.expr(x), x.span) for op, x in node.rest]

        def arithmetic(frame: Frame) -> Value:
            total = first(frame)
            for op, item, span in rest:
                value = item(frame)
                if isinstance(total, Missing):
                    return total
                if isinstance(value, Missing):
                    return value
                total = calculate(op, total, value, span)
            return total

        return arithmetic

    def _negative(self, node: ast.Negative) -> Fn:
        inner = self.expr(node.value)

        def negative(frame: Frame) -> Value:
            value = inner(frame)
            if isinstance(value, Missing):
                return value
            if not is_number(value):
                raise fail("E506", f"`-` takes a number, not {describe(value)}", node.span)
            return value.copy_negate() if isinstance(value, Decimal) else -value

        return negative

    # ------------------------------------------------------------ fields, calls

    def _field(self, node: ast.Field) -> Fn:
        name = node.name.text
        if isinstance(node.value, ast.Ref) and f"{node.value.name}.{name}" in self._local:
            return operator.itemgetter(f"{node.value.name}.{name}")  # `answer.reasoning`
        inner = self.expr(node.value)

        def field_(frame: Frame) -> Value:
            value = inner(frame)
            return value if isinstance(value, Missing) else get_field(value, name, node.name.span)

        return field_

    def _index(self, node: ast.Index) -> Fn:
        inner, key = self.expr(node.value), self.expr(node.key)

        def index(frame: Frame) -> Value:
            value, at = inner(frame), key(frame)
            if isinstance(value, Missing):
                return value
            if isinstance(at, Missing):
                return at
            if isinstance(at, str):
                return get_field(value, at, node.key.span)
            if type(at) is int and isinstance(value, tuple | list):
                if not 0 <= at < len(value):
                    raise fail(
                        "E507",
                        f"there is no item {at}: the list has {len(value)}, counted from 0",
                        node.key.span,
                    )
                return NULL if value[at] is None else value[at]
            raise fail("E508", f"{describe(value)} has no item {describe(at)}", node.span)

        return index

    def _call(self, node: ast.Call) -> Fn:
        if isinstance(node.function, ast.Ref) and node.function.name not in self._local:
            built_in = BUILTINS.get(node.function.name)
            if built_in is not None:
                return self._call_builtin(node, built_in)
        function = self.expr(node.function)
        args = [(a.name, self.expr(a.value)) for a in node.args]
        axes = refs(node, args)

        def call(frame: Frame) -> Value:
            callee = function(frame)
            if not hasattr(callee, "call"):
                raise fail("E509", f"{describe(callee)} cannot be called", node.function.span)
            values = ordered(callee.name, callee.params, len(callee.params), args, node.span)
            return callee.call(bound(callee.params, values, axes, frame))

        return call

    def _call_builtin(self, node: ast.Call, function: Builtin) -> Fn:
        args: list[tuple[ast.Name | None, Fn]] = []
        for arg in node.args:
            if arg.name is not None and arg.name.text == "by" and function.name == "draw":
                by = self.inner(["s"]).expr(arg.value)  # a function of the row `s`
                args.append((arg.name, _of_row(by, alone=free_names(arg.value) <= {"s"})))
            else:
                args.append((arg.name, self.expr(arg.value)))
        if function.rest:
            fns = [fn for _, fn in args]

            def call_rest(frame: Frame) -> Value:
                found = [fn(frame) for fn in fns]
                _charge(frame, sum(len(v) for v in found if isinstance(v, tuple)) // 10, node.span)
                return function.body(node.span, found)

            return call_rest
        values = ordered(function.name, function.params, function.required, args, node.span)

        def call(frame: Frame) -> Value:
            found = [None if v is None else v(frame) for v in values]
            _charge(frame, sum(len(v) for v in found if isinstance(v, tuple)) // 10, node.span)
            missing = next((x for x in found if isinstance(x, Missing)), None)
            return missing or function.body(node.span, found)

        return call

    # ------------------------------------------------------------ messages

    def messages(self, items: tuple[ast.Item, ...]) -> Callable[[Frame], tuple[Message, ...]]:
        """Return the function that renders the body of a prompt or rubric."""
        makers = [self._item(x) for x in items]
        return lambda frame: tuple(m for maker in makers for m in maker(frame))

    def _item(self, item: ast.Item) -> Callable[[Frame], Iterable[Message]]:
        match item:
            case ast.Say():
                content, role = self.expr(item.content), item.role
                if role == "tool":  # no service takes one alone, and OpenAI answers 400
                    raise fail(
                        "E421", "a `tool` message answers a call, and a prompt holds no calls yet", item.span,
                        help='say it as `user`: `user "The tool gave: {result}"`',
                    )  # fmt: skip

                def say(frame: Frame) -> Iterable[Message]:
                    value = content(frame)
                    if isinstance(value, Missing):
                        raise MissingInput(value)
                    text = render(value)
                    if text is None:
                        raise fail("E311", f"{describe(value)} has no text", item.content.span)
                    return (Message(role, text),)

                return say
            case ast.Each():
                name, source = item.name.text, self.expr(item.source)
                body = self.inner([name]).messages(item.body)

                def each(frame: Frame) -> Iterable[Message]:
                    values = source(frame)
                    if isinstance(values, Missing):
                        raise MissingInput(values)
                    for value in elements(values, item.source.span):
                        _charge(frame, 1, item.source.span)
                        yield from body(frame.child(name, value))

                return each
            case ast.WhenSay():
                condition, inside = self.expr(item.condition), self.messages(item.body)

                def when(frame: Frame) -> Iterable[Message]:
                    value = truth(condition(frame), item.condition.span)
                    if isinstance(value, Missing):
                        raise MissingInput(value)
                    return inside(frame) if value else ()

                return when


def _charge(frame: Frame, n: int, span: Span) -> None:
    """Count what the expressions of one cell and sample go through: no program computes without end."""
    root = frame.root
    root.work += n
    if root.work > MAX_WORK:
        raise fail("E518", f"this goes through more than {MAX_WORK:,} items", span)


def refs(node: ast.Call, args: list[tuple[ast.Name | None, Fn]]) -> dict[int, str]:
    """Return the names of arguments that are names as they stand, by the function that evaluates each."""
    return {id(fn): a.value.name for (_, fn), a in zip(args, node.args, strict=True) if isinstance(a.value, ast.Ref)}


def bound(params: tuple[str, ...], values: list[Fn | None], axes: dict[int, str], frame: Frame) -> Frame:
    """Return the frame of a call: names are found where the function stands, not where it is called.

    An axis that is given as it is brings its label along, so that `when cot is on` works inside a prompt too.
    """
    inside = Frame(parent=frame.root)
    inside.levels = {name: level for name, level in frame.root.levels.items() if name not in params}
    for param, value in zip(params, values, strict=True):
        assert value is not None  # all are required
        inside[param] = value(frame)
        axis = axes.get(id(value))
        if axis is not None and axis in frame.levels:
            inside.levels[param] = frame.levels[axis]
    return inside


def path_expr(path: ast.Path) -> ast.Expr:
    """Return `a.b` of a placeholder as an expression."""
    node: ast.Expr = ast.Ref(name=path.names[0], span=path.span)
    for name in path.names[1:]:
        node = ast.Field(value=node, name=ast.Name(text=name, span=path.span), span=path.span)
    return node


def ordered(
    name: str, params: tuple[str, ...], required: int, args: list[tuple[ast.Name | None, Fn]], span: Span
) -> list[Fn | None]:
    """Return arguments in the order of the parameters; None for an optional one that is not given."""
    found: dict[str, Fn] = {}
    by_position = [fn for arg, fn in args if arg is None]
    if len(by_position) > len(params):
        raise _arity(name, params, required, len(args), span)
    found.update(zip(params, by_position, strict=False))
    for arg, fn in args:
        if arg is None:
            continue
        if arg.text not in params:
            raise fail(
                "E213",
                f"`{name}` has no parameter `{arg.text}`",
                arg.span,
                help=near(arg.text, params) or f"its parameters are {one_of(params)}",
            )
        if arg.text in found:
            raise fail("E214", f"`{arg.text}` is given twice", arg.span)
        found[arg.text] = fn
    if any(p not in found for p in params[:required]):
        raise _arity(name, params, required, len(args), span)
    return [found.get(p) for p in params]


def _arity(name: str, params: tuple[str, ...], required: int, n: int, span: Span) -> EvalFault:
    count = str(required) if required == len(params) else f"{required} to {len(params)}"
    return fail(
        "E212",
        f"`{name}` takes {count} argument{'' if count == '1' else 's'}, not {n}",
        span,
        help=f"it is `{name}({', '.join(params)})`",
    )


def _once(make: Callable[[], Value]) -> Fn:
    """Return a function that computes its value when it is first needed."""
    cell: list[Value] = []

    def once(_: Frame) -> Value:
        if not cell:
            cell.append(make())
        return cell[0]

    return once


def _of_row(by: Fn, *, alone: bool) -> Fn:
    """Return the function that makes of a frame a function of the row `s`."""
    return lambda frame: By(by, frame, alone)


def constantly(value: Value) -> Fn:
    """Return the function of a value that is the same in every frame."""
    return lambda _: value
