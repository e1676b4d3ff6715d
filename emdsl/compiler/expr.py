"""The evaluator: expressions to functions of a frame.

An expression is compiled once to a closure; a frame holds the names of one cell and sample, and computes
a `let` when it is first read. An expression that reads a missing value is missing, but for `is` and `else`.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from emdsl.compiler.arguments import argument, by_parameter, call_frame
from emdsl.compiler.free_names import free_names
from emdsl.compiler.functions import Builtin, built_in
from emdsl.compiler.operations import (
    MAX_TEXT,
    calculate,
    charge,
    compared,
    elements,
    equal,
    get_field,
    get_item,
    negated,
    truth,
    whole_numbers,
)
from emdsl.compiler.other_languages import WORDS
from emdsl.compiler.shots import chosen_by
from emdsl.compiler.written import describe
from emdsl.frame import EvalFault, Fn, Frame, fail
from emdsl.lang import ast
from emdsl.value import (
    ABSENT,
    ENGINE_REASONS,
    UNSETTLED,
    EnvVar,
    LabelledMap,
    Missing,
    Money,
    Row,
    Value,
    name_of,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable


class Compiler:
    """Compiles the expressions of one scope.

    `constant` returns the value of a name of the file and raises KeyError for any other name; `own` are these names;
    `local` are those that a frame will hold; `words` are the replies (`REFUSAL`) that a missing verdict can have.
    """

    def __init__(
        self,
        constant: Callable[[str], Value],
        own: Container[str],
        local: frozenset[str] = frozenset(),
        words: frozenset[str] = frozenset(),
    ) -> None:
        self._constant = constant
        self._own = own
        self._local = local
        self._words = words

    def inner(self, names: Iterable[str]) -> Compiler:
        """Return a compiler that knows some more local names."""
        return Compiler(self._constant, self._own, self._local | frozenset(names), self._words)

    def expr(self, node: ast.Expr) -> Fn:
        """Return the function that evaluates an expression."""
        compile_node: Callable[[Any], Fn] = getattr(self, f"_{type(node).__name__.lower()}")
        return compile_node(node)

    # ------------------------------------------------------------ names and literals

    def _ref(self, node: ast.Ref, code: str = "E201") -> Fn:
        name = node.name
        if name in self._local:
            return operator.itemgetter(name)

        def constant() -> Value:
            try:
                return self._constant(name)
            except KeyError:
                message = f"unknown name `{name}`" + (f": use `{word}`" if (word := WORDS.get(name)) else "")
                help_ = "" if word else f"define `{name}` or import it; a text needs quotes"
                raise fail("E143" if word else code, message, node.span, help=help_, put=word) from None

        return _once(constant)

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
            pieces = []
            for part in parts:
                piece = part if isinstance(part, str) else part(frame)
                if not isinstance(piece, str):
                    return piece  # missing
                pieces.append(piece)
            whole = "".join(pieces)
            if len(whole) >= 10_000:
                charge(frame, len(whole) // 10_000, node.span)
            if len(whole) > MAX_TEXT:
                raise fail("E518", f"this text has more than {MAX_TEXT:,} characters", node.span)
            return whole

        return text

    def _placeholder(self, path: ast.Path) -> Fn:
        inner = self._ref(ast.Ref(name=path.names[0], span=path.span), "E310")
        if len(path.names) > 1:
            inner = self.expr(path_expr(path))

        def placeholder(frame: Frame) -> Value:
            value = inner(frame)
            if isinstance(value, str) or type(value) is Missing:
                return value
            shown = render(value)
            if shown is None:
                help_ = "use one of its columns" if isinstance(value, Row) else "use `join(...)` for a list"
                message = f"`{{{'.'.join(path.names)}}}` is {describe(value)} and cannot be inserted into a text"
                raise fail("E311", message, path.span, help=help_)
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
            numbers = whole_numbers(first, last, node.span)
            charge(frame, len(numbers) // 20, node.span)
            return tuple(numbers)

        return range_

    def _sequence(self, node: ast.Sequence) -> Fn:
        items = [self.expr(x) for x in node.items]

        def sequence(frame: Frame) -> Value:
            values = tuple(item(frame) for item in items)
            return next((x for x in values if isinstance(x, Missing)), values)

        return sequence

    def _map(self, node: ast.Map) -> Fn:
        entries = [(e.label.text, self.expr(e.value)) for e in node.entries]

        def map_(frame: Frame) -> Value:
            values = tuple((label, value(frame)) for label, value in entries)
            return next((x for _, x in values if isinstance(x, Missing)), LabelledMap(values))

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
            items = []
            for value in elements(values, node.source.span):
                charge(frame, 1, node.span)
                child = frame.child(name, value)
                holds = True if condition is None else truth(condition(child), node.span)
                made = item(child) if holds is True else None
                if isinstance(holds, Missing) or isinstance(made, Missing):
                    return holds if isinstance(holds, Missing) else made
                if holds:
                    items.append(made)
            return tuple(items)

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
            first = value(frame)
            return other(frame) if isinstance(first, Missing) and first.reason not in UNSETTLED else first

        return otherwise

    def _given(self, node: ast.Given) -> Fn:
        def given(_: Frame) -> Value:
            raise fail("E504", "`given` is only allowed in a measure function", node.span)

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
            return compared(op, a, b, node.span)

        return compare

    def _is(self, node: ast.Is) -> Fn:
        value, label = self.expr(node.value), node.label.text
        axis = node.value.name if isinstance(node.value, ast.Ref) else None
        words = self._words | frozenset(ENGINE_REASONS)
        named: Fn | None = None
        if label not in self._local:
            named = self._ref(ast.Ref(name=label, span=node.label.span))

        def same_value(tested: Value) -> bool:
            """A name that stands for a model or a dataset tests that it is the same one."""
            if name_of(tested) is None or named is None:
                return False
            try:
                return bool(tested == named(Frame()))
            except EvalFault:
                return False  # a label, and no name

        def is_(frame: Frame) -> Value:
            tested = value(frame)
            if label == "missing":
                hit = isinstance(tested, Missing)
            elif isinstance(tested, Missing):
                # a judge's other word is an answer to "is it REFUSAL?": no. Where there is no reply, there is none
                if tested.reason != label and not (label in words and tested.reason not in ABSENT):
                    return tested
                hit = tested.reason == label
            elif axis is not None and (level := frame.levels.get(axis)) is not None:
                hit = label == level.shown or same_value(tested)
            elif isinstance(tested, str):
                hit = tested == label
            else:
                hit = name_of(tested) == label or same_value(tested)
            return hit is not node.negated

        return is_

    def _member(self, node: ast.Member) -> Fn:
        value, values = self.expr(node.value), self.expr(node.values)

        def member(frame: Frame) -> Value:
            item, among = value(frame), values(frame)
            if isinstance(item, Missing):
                return item
            if isinstance(among, Missing):
                return among
            if isinstance(among, str):
                if not isinstance(item, str):
                    raise fail("E505", f"{describe(item)} cannot be in a text", node.span)
                return (item in among) is not node.negated
            items = elements(among, node.values.span)
            charge(frame, len(items) // 2, node.span)
            hit = any(equal(item, x, node.span) for x in items)
            return hit is not node.negated

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
            return value if isinstance(value, Missing) else negated(value, node.span)

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
            return get_field(value, at, node.key.span) if isinstance(at, str) else get_item(value, at, node)

        return index

    def _call(self, node: ast.Call) -> Fn:
        name = node.function.name if isinstance(node.function, ast.Ref) else ""
        if name not in self._local and (called := built_in(name, self._own, len(node.args))) is not None:
            return self._call_builtin(node, called)
        function = self.expr(node.function)
        args = [(a.name, argument(a, self.expr(a.value))) for a in node.args]

        def call(frame: Frame) -> Value:
            callee = function(frame)
            if not hasattr(callee, "call"):
                raise fail("E509", f"{describe(callee)} cannot be called", node.function.span)
            values = by_parameter(callee.name, callee.params, len(callee.params), args, node.span)
            return callee.call(call_frame(values, frame))

        return call

    def _call_builtin(self, node: ast.Call, function: Builtin) -> Fn:
        args: list[tuple[ast.Name | None, Fn]] = []
        for arg in node.args:
            if arg.name is not None and arg.name.text == "by" and function.name == "draw":
                by = self.inner(["s"]).expr(arg.value)  # a function of the row `s`
                args.append((arg.name, chosen_by(by, alone=free_names(arg.value) <= {"s"})))
            else:
                args.append((arg.name, self.expr(arg.value)))
        if function.rest:
            fns = [fn for _, fn in args]

            def call_rest(frame: Frame) -> Value:
                values = [fn(frame) for fn in fns]
                charge(frame, sum(len(v) for v in values if isinstance(v, tuple)) // 10, node.span)
                return function.body(node.span, values)

            return call_rest
        given = by_parameter(function.name, function.params, function.required, args, node.span)
        readers = [given.get(p) for p in function.params]

        def call(frame: Frame) -> Value:
            values = [None if read is None else read(frame) for read in readers]
            charge(frame, sum(len(v) for v in values if isinstance(v, tuple)) // 10, node.span)
            missing = next((x for x in values if isinstance(x, Missing)), None)
            return missing or function.body(node.span, values)

        return call


def path_expr(path: ast.Path) -> ast.Expr:
    """Return `a.b` of a placeholder as an expression."""
    node: ast.Expr = ast.Ref(name=path.names[0], span=path.span)
    for name in path.names[1:]:
        node = ast.Field(value=node, name=ast.Name(text=name, span=path.span), span=path.span)
    return node


def _once(make: Callable[[], Value]) -> Fn:
    """Return a function that computes its value when it is first needed."""
    cell: list[Value] = []

    def once(_: Frame) -> Value:
        if not cell:
            cell.append(make())
        return cell[0]

    return once
