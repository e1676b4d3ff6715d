"""Type inference: the type of an expression without running it; unknown names, arity, columns and labels are errors.

A type that cannot be known is ANY, which fits everywhere: a check never guesses.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from emdsl.compiler.arguments import by_parameter
from emdsl.compiler.call_types import call_type, check_arguments, hidden_help
from emdsl.compiler.callables import Function, PromptMaker, RubricMaker
from emdsl.compiler.callers import Argument, arguments_of, at_caller
from emdsl.compiler.choice_texts import CHOICES, described
from emdsl.compiler.comparisons import check_compare, comparison_help
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.functions import BUILTINS, Builtin, built_in
from emdsl.compiler.label_shares import report_no_share
from emdsl.compiler.measure_specs import MEASURES
from emdsl.compiler.rubrics import SHAPE
from emdsl.compiler.types import (
    ANSWER_FIELDS,
    ANY,
    BOOL,
    MESSAGES,
    NUMBER,
    NUMBERS,
    RENDERED,
    TEXT,
    TEXTS,
    Type,
    column_hint,
    type_of,
    union,
    unread_help,
)
from emdsl.frame import EvalFault, fail
from emdsl.lang import ast
from emdsl.source import Span, listed, near, one_of
from emdsl.value import ENGINE_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.scope import Scope
    from emdsl.frame import Fn


_BRACED = re.compile(r"\{\s*(?P<name>[A-Za-z_]\w*)(?:\.\w+)*\s*\}")


MAX_CALLS = 40  # calls within calls that are looked into
MAX_CALLS_IN_ALL = 20_000  # of one program; more grow without bound


class Checker:
    """Checks the expressions of one scope; `local` gives the types of names that are not file-level."""

    def __init__(
        self, scope: Scope, faults: Faults, local: Mapping[str, Type], calls: int = 0,
        params: Mapping[str, Argument] | None = None,
    ) -> None:  # fmt: skip
        self._scope = scope
        self._faults = faults
        self._local = local
        self._calls = calls
        self._params = params or {}  # of the call that is looked into

    def inner(self, names: Mapping[str, Type]) -> Checker:
        """Return a checker that knows some more names."""
        params = {name: x for name, x in self._params.items() if name not in names}
        return Checker(self._scope, self._faults, {**self._local, **names}, self._calls, params)

    def infer(self, node: ast.Expr) -> Type:
        """Return the type of an expression; faults gather."""
        type_: Type = getattr(self, f"_{type(node).__name__.lower()}")(node)
        return type_

    def body(self, items: tuple[ast.Item | ast.Entry, ...]) -> None:
        """Check the messages of a prompt or rubric, and the texts of its labels."""
        for item in items:
            match item:
                case ast.Say(content=text) | ast.Entry(value=text):
                    type_ = self.infer(text)
                    if type_.kind not in RENDERED and not at_caller(text, type_, self._params, self._faults):
                        self._faults.error("E311", f"expected a text, got {type_}", text.span,
                                           help=column_hint("{}", text.span.text, type_))  # fmt: skip
                case ast.Each():
                    source = self.infer(item.source)
                    if item.name.text in self._local:
                        self._faults.error(
                            "E203",
                            f"`{item.name.text}` is already defined",
                            item.name.span,
                            help="choose another name: a name cannot be redefined",
                        )
                    self.inner({item.name.text: self._element(source, item.source.span)}).body(item.body)
                case ast.WhenSay():
                    self.condition(item.condition)
                    self.body(item.body)

    def condition(self, node: ast.Expr) -> None:
        """Check what must be true or false."""
        type_ = self.infer(node)
        if type_.kind not in ("bool", "any"):
            self._faults.error("E511", f"expected a condition (true or false), got {type_}", node.span,
                               help=comparison_help(type_, node.span.text))  # fmt: skip

    def _element(self, source: Type, span: Span) -> Type:
        if source.kind in ("list", "dataset", "map"):
            return source.item or ANY
        if source.kind != "any":
            self._faults.error("E512", f"expected a list, got {source}", span, help="e.g. `[1, 2, 3]`")
        return ANY

    # ------------------------------------------------------------ names and literals

    def _ref(self, node: ast.Ref) -> Type:
        if node.name in self._local:
            return self._local[node.name]
        if (function := BUILTINS.get(node.name)) is not None and not function.weak:
            return Type("function", value=function)
        with self._faults.caught():
            try:
                return type_of(self._scope.value(node.name))
            except KeyError:
                names = tuple(n for n in self._local if "." not in n)
                self._faults.add(self._scope.unknown(node.name, node.span, names).diagnostic)
        return ANY

    def _literal(self, node: ast.Literal) -> Type:
        return type_of(node.value)

    def _moneyliteral(self, _: ast.MoneyLiteral) -> Type:
        return Type("money")

    def _env(self, node: ast.Env) -> Type:
        self._faults.error("E702", "`env` is only allowed in `key`, `url` and `headers`", node.span)
        return ANY

    def _text(self, node: ast.Text) -> Type:
        for before, part in zip(("", *node.parts), node.parts, strict=False):
            if isinstance(part, ast.Path):
                self._placeholder(part)
                if isinstance(before, str) and before.endswith("$"):
                    at = part.span.start - 1
                    self._faults.warning(
                        "W323", "the `$` before this placeholder is sent", Span(part.span.source, at, part.span.end),
                        help=f"write `{part.span.text}`: a placeholder has no `$`",
                    )  # fmt: skip
            elif "{" in part:
                self._printed(part, node)
        return TEXT

    def _printed(self, part: str, node: ast.Text) -> None:
        """Braces that are sent around a known name: lost placeholders have ruined whole tasks (lm-eval#3930)."""
        for braced in _BRACED.finditer(part):
            if braced["name"] not in self._local:
                continue
            at, length = node.span.text.find("{" + braced[0] + "}"), len(braced[0]) + 2
            written = "{" + braced[0][1:-1].strip() + "}"
            help_ = f"write `{written}` in single braces to insert the value"
            if at < 0:
                at, length = node.span.text.find(braced[0]), len(braced[0])
                help_ = f"use a text without `raw` to insert the value of `{written}`"
            start = node.span.start + max(at, 0)
            self._faults.warning(
                "W321", f"`{braced[0]}` is sent literally: it is not a placeholder",
                Span(node.span.source, start, start + length), help=help_,
            )  # fmt: skip

    def _placeholder(self, path: ast.Path) -> None:
        name, shown = path.names[0], "{" + ".".join(path.names) + "}"
        if name not in self._local and (name not in BUILTINS or BUILTINS[name].weak):
            try:
                self._scope.value(name)
            except KeyError:
                known = [*(n for n in self._local if "." not in n), *self._scope.names]
                self._faults.error(
                    "E310",
                    f"unknown name `{name}` in the placeholder `{shown}`",
                    path.span,
                    help=near(name, known) or f"define `{name}`, or write `{{{{` and `}}}}` to send braces",
                )
                return
            except (EvalFault, Silent):
                pass
        type_: Type = self._ref(ast.Ref(name=name, span=path.span))
        for field in path.names[1:]:
            type_ = self._field_of(type_, ast.Name(text=field, span=path.span), name)
        root = ast.Ref(name=name, span=path.span)
        if type_.kind not in RENDERED and not (
            len(path.names) == 1 and at_caller(root, type_, self._params, self._faults)
        ):
            hint = column_hint("{{{}}}", ".".join(path.names), type_)
            self._faults.error("E311", f"`{shown}` is {type_} and cannot be inserted into a text", path.span, help=hint)

    # ------------------------------------------------------------ structures

    def _range(self, node: ast.Range) -> Type:
        for side in (node.low, node.high):
            type_ = self.infer(side)
            if type_.kind not in ("number", "any"):
                self._faults.error("E501", f"expected a whole number in the range, got {type_}", side.span)
        return Type("list", item=NUMBER)

    def _sequence(self, node: ast.Sequence) -> Type:
        return Type("list", item=union([self.infer(x) for x in node.items]))

    def _map(self, node: ast.Map) -> Type:
        labels = [e.label.text for e in node.entries]
        for i, entry in enumerate(node.entries):
            if entry.label.text in labels[:i]:
                self._faults.error("E203", f"duplicate label `{entry.label.text}`", entry.label.span)
        return Type("map", tuple(labels), union([self.infer(e.value) for e in node.entries]))

    def _comprehension(self, node: ast.Comprehension) -> Type:
        item = self._element(self.infer(node.source), node.source.span)
        if node.name.text in self._local:
            self._faults.error("E203", f"`{node.name.text}` is already defined", node.name.span,
                               help="choose another name: a name cannot be redefined")  # fmt: skip
        inner = self.inner({node.name.text: item})
        if node.condition is not None:
            inner.condition(node.condition)
        return Type("list", item=inner.infer(node.item))

    # ------------------------------------------------------------ choice and logic

    def _if(self, node: ast.If) -> Type:
        self.condition(node.condition)
        branches = [self.infer(node.yes), self.infer(node.no)]
        return NUMBER if {t.kind for t in branches} <= NUMBERS and branches[0] != branches[1] else union(branches)

    def _otherwise(self, node: ast.Otherwise) -> Type:
        branches = [self.infer(node.value), self.infer(node.other)]
        if {t.kind for t in branches} <= NUMBERS:
            return NUMBER
        return union([replace(t, words=()) for t in branches])

    def _given(self, node: ast.Given) -> Type:
        self._faults.error("E504", "`given` is only allowed in a measure function", node.span,
                           help="write `measure NAME = rate(CONDITION given CONDITION)`")  # fmt: skip
        self.infer(node.event)
        self.infer(node.condition)
        return ANY

    def _logic(self, node: ast.Logic) -> Type:
        for item in node.items:
            self.condition(item)
        return BOOL

    def _not(self, node: ast.Not) -> Type:
        self.condition(node.value)
        return BOOL

    def _compare(self, node: ast.Compare) -> Type:
        check_compare(node, self.infer(node.left), self.infer(node.right), self._faults)
        return BOOL

    def _is(self, node: ast.Is) -> Type:
        tested, label = self.infer(node.value), node.label.text
        if label == "missing" or label in tested.words or label in ENGINE_REASONS:
            return BOOL
        if tested.labels is not None and label not in tested.labels:
            known = [*sorted(tested.labels), *tested.words]
            self._faults.error(
                "E210", f"unknown label `{label}`", node.label.span,
                help=near(label, known) or listed("label", "labels", known),
            )  # fmt: skip
        elif tested.kind not in ("label", "model", "dataset", "function", "prompt", "any") and tested.labels is None:
            known = [*tested.words, "missing"]
            parts = ((n, t) for n, t in self._local.items() if n.startswith(f"{node.value.span.text}."))
            read = next((f"write `{n} is {label}`" for n, t in parts if label in (*(t.labels or ()), *t.words)), "")
            self._faults.error(
                "E210", f"{tested} has no label `{label}`", node.label.span,
                help=read or near(label, known) or "`is` tests labels: compare values with `==`",
            )  # fmt: skip
        return BOOL

    def _member(self, node: ast.Member) -> Type:
        tested, among = self.infer(node.value), self.infer(node.values)
        if among.kind not in TEXTS:
            item = self._element(among, node.values.span)
            kinds = {tested.kind, item.kind}
            if "any" not in kinds and len(kinds) > 1 and not (kinds <= NUMBERS or kinds <= TEXTS):
                self._faults.error("E505", f"{tested} and {item} are never equal", node.span,
                                   help="compare two values of the same type")  # fmt: skip
        return BOOL

    # ------------------------------------------------------------ arithmetic

    def _arithmetic(self, node: ast.Arithmetic) -> Type:
        total = self.infer(node.first)
        for op, item in node.rest:
            operand = self.infer(item)
            kinds = {total.kind, operand.kind}
            if "any" in kinds:
                total = ANY
            elif kinds <= NUMBERS:
                total = Type("score") if "score" in kinds else NUMBER
            elif op == "+" and kinds <= TEXTS:
                total = TEXT
            elif op == "+" and kinds == {"list"}:
                total = union([total, operand])
            else:
                self._faults.error("E506", f"`{op}` does not work with {total} and {operand}", item.span,
                                   help='insert it into the text: `"... {x}"`' if "text" in kinds else "")  # fmt: skip
                total = ANY
        return total

    def _negative(self, node: ast.Negative) -> Type:
        operand = self.infer(node.value)
        if operand.kind not in ("number", "score", "any"):
            self._faults.error("E506", f"expected a number after `-`, got {operand}", node.span)
            return ANY
        return Type(operand.kind)

    # ------------------------------------------------------------ fields and calls

    def _field(self, node: ast.Field) -> Type:
        name = node.value.name if isinstance(node.value, ast.Ref) else ""
        if name and f"{name}.{node.name.text}" in self._local:
            return self._local[f"{name}.{node.name.text}"]
        return self._field_of(self.infer(node.value), node.name, name)

    def _field_of(self, owner: Type, name: ast.Name, of: str) -> Type:
        if owner.kind == "any":
            return ANY
        if owner.kind == "answer" and f"{of}.{name.text}" in self._local:
            return self._local[f"{of}.{name.text}"]
        if name.text in owner.names and owner.kind in ("row", "map"):
            is_place = owner.kind == "row" and name.text == "position" and owner.names[-1] == "position"
            return NUMBER if is_place else (owner.item or ANY)
        if owner.kind in ("label", "score", "answer") and (name.text == "p" or name.text.startswith("p(")):
            report_no_share(owner, name, of, self._local, self._faults)
            return ANY
        known = owner.names
        if owner.kind == "answer":
            fields = [n.partition(".")[2] for n in self._local if n.startswith(f"{of}.") and n[-2:] != "()"]
            known = tuple(fields or ANSWER_FIELDS)
        what = {"row": "column", "map": "label"}.get(owner.kind, "field")
        help_ = unread_help(of, name.text, known) or near(name.text, known)
        help_ = help_ or (f"available: {one_of(known)}" if known else "")
        for column in known if owner.kind == "row" and of else ():
            if not column.isidentifier():  # `Best Answer`
                help_ = help_.replace(f"`{column}`", f'`{of}["{column}"]`')
        self._faults.error("E215", f"{owner} has no {what} `{name.text}`", name.span, help=help_)
        return ANY

    def _index(self, node: ast.Index) -> Type:
        owner, key = self.infer(node.value), self.infer(node.key)
        if isinstance(node.key, ast.Text) and len(node.key.parts) == 1 and isinstance(node.key.parts[0], str):
            return self._field_of(owner, ast.Name(text=node.key.parts[0], span=node.key.span), "")
        if key.kind == "number" and owner.kind == "list":
            return owner.item or ANY
        if owner.kind in ("text", "answer", "label", "number", "score", "bool"):
            draws = "each sample has its own row; `sample` is its number" if owner.kind == "answer" else ""
            self._faults.error(
                "E508", f"{owner} has no items to index", node.span, help=draws or "only lists and maps have items"
            )
            return ANY
        return owner.item or ANY if owner.kind == "map" else ANY

    def _call(self, node: ast.Call) -> Type:
        name = node.function.name if isinstance(node.function, ast.Ref) else ""
        if name and name not in self._local:
            called = built_in(name, self._scope.own, len(node.args))
            measured = name in MEASURES and not (MEASURES[name].weak and name in self._scope.names)
            if measured and called is None:
                self._faults.error("E840", f"`{name}` is only allowed in a `measure`", node.span,
                                   help=f"write `measure NAME = {node.span.text}`")  # fmt: skip
                return ANY
            if called is not None:
                return self._call_builtin(node, called)
        callee = self.infer(node.function)
        function = callee.value
        if callee.kind == "any":
            for arg in node.args:
                self.infer(arg.value)
            return ANY
        if callee.kind not in ("function", "rubric"):
            self._faults.error("E509", f"{callee} cannot be called", node.function.span,
                               help=hidden_help(name, BUILTINS))  # fmt: skip
            return ANY
        if function is None:
            return ANY
        types = self._arguments(node, function.name, function.params, len(function.params))
        if isinstance(function, Function | PromptMaker | RubricMaker) and types is not None:
            return self._inside(node, function, types)
        return callee.item or ANY

    def _arguments(self, node: ast.Call, name: str, params: tuple[str, ...], required: int) -> dict[str, Type] | None:
        """Return the types of arguments by parameter; None where they do not fit."""
        args = [(a.name, self._argument(a)) for a in node.args]
        with self._faults.caught():
            return by_parameter(name, params, required, args, node.span)
        return None

    def _argument(self, arg: ast.Arg) -> Type:
        if arg.name is not None and arg.name.text == "by":
            return self.inner({"s": ANY}).infer(arg.value)
        type_ = self.infer(arg.value)
        return type_ if isinstance(arg.value, ast.Ref) or type_.kind == "label" else replace(type_, labels=None)

    def _call_builtin(self, node: ast.Call, function: Builtin) -> Type:
        if function.rest:
            for arg in node.args:
                self.infer(arg.value)
            return NUMBER
        types = self._arguments(node, function.name, function.params, function.required)
        if types is None:
            return ANY
        nodes = by_parameter(function.name, function.params, function.required, [(a.name, a) for a in node.args],
                             node.span)  # fmt: skip
        fit = check_arguments(function, types, nodes, self._constantly, self._faults)
        return call_type(function, types, nodes, self._element, self._faults) if fit else ANY

    def _constantly(self, node: ast.Expr) -> Fn:
        return self._scope.compiler(frozenset(self._local)).expr(node)

    def _inside(self, node: ast.Call, function: Function | PromptMaker | RubricMaker, types: dict[str, Type]) -> Type:
        """Check the body of a function, a prompt or a rubric with the types of its arguments."""
        result = ANY if isinstance(function, Function) else MESSAGES
        self._faults.n_calls += 1
        if self._faults.n_calls > MAX_CALLS_IN_ALL:  # nothing that follows would end: each further call raises again
            if (first := self._faults.first("E516")) is not None:
                raise EvalFault(first)
            raise fail(
                "E516", f"this needs more than {MAX_CALLS_IN_ALL:,} function calls in all", node.span,
                help="nest fewer calls: each function here calls others several times",
            )  # fmt: skip
        if self._calls >= MAX_CALLS or not isinstance(node.function, ast.Ref) or node.function.name in self._local:
            return result
        with self._faults.caught():
            decl, scope = self._scope.origin(ast.Name(text=node.function.name, span=node.function.span))
            # an argument is a value, and an axis that is given as it is brings its labels along
            inner = Checker(
                scope, self._faults, types, self._calls + 1, arguments_of(node, function.params, self._params)
            )
            if isinstance(decl, ast.Let):
                return inner.infer(decl.value)
            if isinstance(decl, ast.Rubric):
                extra = {s.name.text: TEXT for s in decl.settings if s.name.text in (CHOICES, SHAPE)}
                inner.inner(extra).body((*described(decl, scope), *decl.body))
            elif isinstance(decl, ast.Prompt):
                inner.body(decl.body)
        return result
