"""What an expression can be, found out without running it: unknown names, arity, columns, labels, kinds.

Where a type cannot be known it is ANY, about which nothing is said: a check never guesses.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from emdsl.compiler.expr import Function, PromptMaker
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.functions import BUILTINS, Builtin
from emdsl.compiler.kinds import ANY, BOOL, MESSAGES, NUMBER, NUMBERS, RENDERED, TEXT, TEXTS, Type, type_of, union
from emdsl.compiler.resolve import CHOICES, SHAPE, RubricMaker, Scope
from emdsl.compiler.settings import MEASURE_FUNCTIONS
from emdsl.frame import EvalFault, fail
from emdsl.lang import ast
from emdsl.source import Span, near, one_of
from emdsl.value import ENGINE_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping


_BRACED = re.compile(r"\{\s*(?P<name>[A-Za-z_]\w*)(?:\.\w+)*\s*\}")
ANSWER_FIELDS = ("reasoning", "finish", "tokens", "logprobs")
MAX_CALLS = 40  # calls within calls that are looked into
MAX_CALLS_IN_ALL = 20_000  # of one program; more grow without bound


class Checker:
    """Checks the expressions of one scope; `local` gives the types of names that are not file-level."""

    def __init__(self, scope: Scope, faults: Faults, local: Mapping[str, Type], calls: int = 0) -> None:
        self._scope = scope
        self._faults = faults
        self._local = local
        self._calls = calls

    def inner(self, names: Mapping[str, Type]) -> Checker:
        """Return a checker that knows some more names."""
        return Checker(self._scope, self._faults, {**self._local, **names}, self._calls)

    def infer(self, node: ast.Expr) -> Type:
        """Return the type of an expression; faults gather."""
        found: Type = getattr(self, f"_{type(node).__name__.lower()}")(node)
        return found

    def body(self, items: tuple[ast.Item, ...]) -> None:
        """Check the messages of a prompt or rubric."""
        for item in items:
            match item:
                case ast.Say():
                    found = self.infer(item.content)
                    if found.kind not in RENDERED:
                        self._faults.error("E311", f"{found} has no text", item.content.span)
                case ast.Each():
                    source = self.infer(item.source)
                    if item.name.text in self._local:
                        self._faults.error(
                            "E203", f"`{item.name.text}` is defined already", item.name.span, help="nothing shadows"
                        )
                    self.inner({item.name.text: self._element(source, item.source.span)}).body(item.body)
                case ast.WhenSay():
                    self.condition(item.condition)
                    self.body(item.body)

    def condition(self, node: ast.Expr) -> None:
        """Check what must be true or false."""
        found = self.infer(node)
        if found.kind not in ("bool", "any"):
            self._faults.error("E511", f"a condition is true or false, not {found}", node.span)

    def _element(self, source: Type, span: Span) -> Type:
        if source.kind in ("list", "dataset", "map"):
            return source.item or ANY
        if source.kind != "any":
            self._faults.error("E512", f"{source} is no list", span)
        return ANY

    # ------------------------------------------------------------ names and literals

    def _ref(self, node: ast.Ref) -> Type:
        if node.name in self._local:
            return self._local[node.name]
        if node.name in BUILTINS:
            return Type("function", value=BUILTINS[node.name])
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
        self._faults.error("E702", "`env` stands only in `key` and `url`", node.span)
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
        for found in _BRACED.finditer(part):
            if found["name"] not in self._local:
                continue
            at, length = node.span.text.find("{" + found[0] + "}"), len(found[0]) + 2
            written = "{" + found[0][1:-1].strip() + "}"
            help_ = f"write `{written}` to fill in the value"
            if at < 0:
                at, length = node.span.text.find(found[0]), len(found[0])
                help_ = f"write `{written}` in a text that is not `raw`"
            start = node.span.start + max(at, 0)
            self._faults.warning(
                "W321", f"`{found[0]}` is sent as it stands here: it fills in nothing",
                Span(node.span.source, start, start + length), help=help_,
            )  # fmt: skip

    def _placeholder(self, path: ast.Path) -> None:
        name, shown = path.names[0], "{" + ".".join(path.names) + "}"
        if name not in self._local and name not in BUILTINS:
            try:
                self._scope.value(name)
            except KeyError:
                known = [*(n for n in self._local if "." not in n), *self._scope.names]
                self._faults.error(
                    "E310",
                    f"`{shown}` fills in nothing: no name `{name}` is known here",
                    path.span,
                    help=near(name, known) or "write `{{` and `}}` for braces that are sent",
                )
                return
            except (EvalFault, Silent):
                pass
        found: Type = self._ref(ast.Ref(name=name, span=path.span))
        for field in path.names[1:]:
            found = self._field_of(found, ast.Name(text=field, span=path.span), name)
        if found.kind not in RENDERED:
            hint = f"name one of its columns: {one_of(found.names)}" if found.kind == "row" else ""
            self._faults.error("E311", f"`{shown}` is {found}, which has no text", path.span, help=hint)

    # ------------------------------------------------------------ structures

    def _range(self, node: ast.Range) -> Type:
        for side in (node.low, node.high):
            found = self.infer(side)
            if found.kind not in ("number", "any"):
                self._faults.error("E501", f"a range runs between whole numbers, not {found}", side.span)
        return Type("list", item=NUMBER)

    def _sequence(self, node: ast.Sequence) -> Type:
        return Type("list", item=union([self.infer(x) for x in node.items]))

    def _map(self, node: ast.Map) -> Type:
        labels = [e.label.text for e in node.entries]
        for i, entry in enumerate(node.entries):
            if entry.label.text in labels[:i]:
                self._faults.error("E203", f"the label `{entry.label.text}` stands twice", entry.label.span)
        return Type("map", tuple(labels), union([self.infer(e.value) for e in node.entries]))

    def _comprehension(self, node: ast.Comprehension) -> Type:
        item = self._element(self.infer(node.source), node.source.span)
        if node.name.text in self._local:
            self._faults.error("E203", f"`{node.name.text}` is defined already", node.name.span, help="nothing shadows")
        inner = self.inner({node.name.text: item})
        if node.condition is not None:
            inner.condition(node.condition)
        return Type("list", item=inner.infer(node.item))

    # ------------------------------------------------------------ choice and logic

    def _if(self, node: ast.If) -> Type:
        self.condition(node.condition)
        found = [self.infer(node.yes), self.infer(node.no)]
        return NUMBER if {t.kind for t in found} <= NUMBERS and found[0] != found[1] else union(found)

    def _otherwise(self, node: ast.Otherwise) -> Type:
        found = [self.infer(node.value), self.infer(node.other)]
        if {t.kind for t in found} <= NUMBERS:
            return NUMBER
        return union([replace(t, words=()) for t in found])

    def _given(self, node: ast.Given) -> Type:
        self._faults.error("E504", "`given` stands inside the functions of a `measure` only", node.span)
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
        left, right = self.infer(node.left), self.infer(node.right)
        known = left.kind != "any" and right.kind != "any"
        if node.op in ("==", "!="):
            sides = ({left.kind, right.kind} <= NUMBERS) or ({left.kind, right.kind} <= TEXTS)
            if known and not sides and left.kind != right.kind and "none" not in (left.kind, right.kind):
                self._faults.error("E505", f"{left} and {right} are never equal", node.span)
        else:
            sides = ({left.kind, right.kind} <= NUMBERS) or ({left.kind, right.kind} <= {"text", "answer"})
            if known and not sides:
                self._faults.error(
                    "E505", f"{left} and {right} cannot be compared with `{node.op}`", node.span,
                    help="use `is` to test a label" if "label" in (left.kind, right.kind) else "",
                )  # fmt: skip
        for verdict, other, side in ((left, node.right, node.left), (right, node.left, node.right)):
            self._within(verdict, other)
            self._label_text(verdict, other)
            if node.op in ("==", "!="):
                self._label_value(verdict, other, side, node)
        return BOOL

    def _label_value(self, axis: Type, other: ast.Expr, side: ast.Expr, node: ast.Compare) -> None:
        """A label that is compared as if it were a value: its levels have other values."""
        if not isinstance(other, ast.Text) or len(other.parts) != 1 or other.parts[0] not in axis.named:
            return
        word = "is" if node.op == "==" else "is not"
        self._faults.warning(
            "W533", f'"{other.parts[0]}" is a label of `{side.span.text}`, and none of its values', node.span,
            note="`==` compares values: this comes out the same in every cell",
            help=f"write `{side.span.text} {word} {other.parts[0]}`",
        )  # fmt: skip

    def _label_text(self, verdict: Type, other: ast.Expr) -> None:
        """A label that is compared with a text which is none would be unlike it in every row."""
        if verdict.kind != "label" or verdict.labels is None or not isinstance(other, ast.Text):
            return
        text = "".join(p for p in other.parts if isinstance(p, str))
        if all(isinstance(p, str) for p in other.parts) and text not in verdict.labels:
            hint = near(text.casefold(), verdict.labels) or f"the labels are {one_of(verdict.labels)}"
            self._faults.error("E210", f"`{text}` is no label here", other.span, help=hint)

    def _within(self, score: Type, other: ast.Expr) -> None:
        if score.scale is None or not isinstance(other, ast.Literal) or not isinstance(other.value, int):
            return
        low, high = score.scale
        if not low <= other.value <= high:
            self._faults.error(
                "E530",
                f"{other.value} is outside the scale {low:.0f}..{high:.0f}",
                other.span,
                note="this comparison would come out the same for every answer",
            )

    def _is(self, node: ast.Is) -> Type:
        found, label = self.infer(node.value), node.label.text
        if label == "missing" or label in found.words or label in ENGINE_REASONS:
            return BOOL
        if found.labels is not None and label not in found.labels:
            known = [*found.labels, *found.words]
            self._faults.error(
                "E210", f"`{label}` is no label here", node.label.span,
                help=near(label, known) or f"known are {one_of(known)}",
            )  # fmt: skip
        elif found.kind not in ("label", "model", "dataset", "function", "prompt", "any") and found.labels is None:
            known = [*found.words, "missing"]
            self._faults.error(
                "E210", f"{found} has no label `{label}`", node.label.span,
                help=near(label, known) or "`is` tests the label of an axis or a verdict; values are compared by `==`",
            )  # fmt: skip
        return BOOL

    def _member(self, node: ast.Member) -> Type:
        found, among = self.infer(node.value), self.infer(node.values)
        if among.kind not in TEXTS:
            item = self._element(among, node.values.span)
            kinds = {found.kind, item.kind}
            if "any" not in kinds and len(kinds) > 1 and not (kinds <= NUMBERS or kinds <= TEXTS):
                self._faults.error("E505", f"{found} and {item} are never equal", node.span)
        return BOOL

    # ------------------------------------------------------------ arithmetic

    def _arithmetic(self, node: ast.Arithmetic) -> Type:
        total = self.infer(node.first)
        for op, item in node.rest:
            found = self.infer(item)
            kinds = {total.kind, found.kind}
            if "any" in kinds:
                total = ANY
            elif kinds <= NUMBERS:
                total = Type("score") if "score" in kinds else NUMBER
            elif op == "+" and kinds <= TEXTS:
                total = TEXT
            elif op == "+" and kinds == {"list"}:
                total = union([total, found])
            else:
                self._faults.error("E506", f"`{op}` cannot join {total} and {found}", item.span)
                total = ANY
        return total

    def _negative(self, node: ast.Negative) -> Type:
        found = self.infer(node.value)
        if found.kind not in ("number", "score", "any"):
            self._faults.error("E506", f"`-` takes a number, not {found}", node.span)
            return ANY
        return Type(found.kind)

    # ------------------------------------------------------------ fields and calls

    def _field(self, node: ast.Field) -> Type:
        if isinstance(node.value, ast.Ref):
            step = f"{node.value.name}.{node.name.text}"
            if step in self._local:
                return self._local[step]
        name = node.value.name if isinstance(node.value, ast.Ref) else ""
        return self._field_of(self.infer(node.value), node.name, name)

    def _field_of(self, found: Type, name: ast.Name, of: str) -> Type:
        if found.kind == "any":
            return ANY
        if found.kind == "answer" and f"{of}.{name.text}" in self._local:
            return self._local[f"{of}.{name.text}"]
        if name.text in found.names and found.kind in ("row", "map"):
            built_in = found.kind == "row" and name.text == "position" and found.names[-1] == "position"
            return NUMBER if built_in else (found.item or ANY)
        known = ANSWER_FIELDS if found.kind == "answer" else found.names
        what = {"row": "column", "map": "label"}.get(found.kind, "field")
        self._faults.error(
            "E215",
            f"{found} has no {what} `{name.text}`",
            name.span,
            help=near(name.text, known) or (f"it has {one_of(known)}" if known else ""),
        )
        return ANY

    def _index(self, node: ast.Index) -> Type:
        found, key = self.infer(node.value), self.infer(node.key)
        if isinstance(node.key, ast.Text) and len(node.key.parts) == 1 and isinstance(node.key.parts[0], str):
            return self._field_of(found, ast.Name(text=node.key.parts[0], span=node.key.span), "")
        if key.kind == "number" and found.kind == "list":
            return found.item or ANY
        if found.kind in ("text", "answer", "label", "number", "score", "bool"):
            draws = "each draw is a row of its own, and `sample` is its number" if found.kind == "answer" else ""
            self._faults.error("E508", f"{found} has no items", node.span, help=draws)
            return ANY
        return found.item or ANY if found.kind == "map" else ANY

    def _call(self, node: ast.Call) -> Type:
        if (
            isinstance(node.function, ast.Ref)
            and node.function.name in MEASURE_FUNCTIONS
            and node.function.name not in self._local
        ):
            self._faults.error("E840", f"`{node.function.name}` stands in a `measure`", node.span,
                               help=f"write `measure NAME = {node.span.text}`")  # fmt: skip
            return ANY
        callee = self.infer(node.function)
        function = callee.value
        if callee.kind == "any":
            for arg in node.args:
                self.infer(arg.value)
            return ANY
        if callee.kind not in ("function", "rubric"):
            self._faults.error("E509", f"{callee} cannot be called", node.function.span)
            return ANY
        if isinstance(function, Builtin):
            return self._call_builtin(node, function)
        if function is None:
            return ANY
        types = self._arguments(node, function.name, function.params, len(function.params))
        if isinstance(function, Function | PromptMaker | RubricMaker) and types is not None:
            return self._inside(node, function, types)
        return callee.item or ANY

    def _arguments(self, node: ast.Call, name: str, params: tuple[str, ...], required: int) -> dict[str, Type] | None:
        """Return the types of arguments by parameter; None where they do not fit."""
        types: dict[str, Type] = {}
        by_position = [a for a in node.args if a.name is None]
        for param, arg in zip(params, by_position, strict=False):
            types[param] = self._argument(arg)
        fits = len(by_position) <= len(params)
        for arg in by_position[len(params) :]:
            self.infer(arg.value)
        for arg in node.args:
            if arg.name is None:
                continue
            found = self.inner({"s": ANY}).infer(arg.value) if arg.name.text == "by" else self._argument(arg)
            if arg.name.text not in params:
                self._faults.error(
                    "E213",
                    f"`{name}` has no parameter `{arg.name.text}`",
                    arg.name.span,
                    help=near(arg.name.text, params) or f"its parameters are {one_of(params)}",
                )
                return None
            if arg.name.text in types:
                self._faults.error("E214", f"`{arg.name.text}` is given twice", arg.name.span)
                return None
            types[arg.name.text] = found
        if not fits or any(p not in types for p in params[:required]):
            count = str(required) if required == len(params) else f"{required} to {len(params)}"
            self._faults.error(
                "E212",
                f"`{name}` takes {count} argument{'' if count == '1' else 's'}, not {len(node.args)}",
                node.span,
                help=f"it is `{name}({', '.join(params)})`",
            )
            return None
        return types

    def _argument(self, arg: ast.Arg) -> Type:
        found = self.infer(arg.value)
        return found if isinstance(arg.value, ast.Ref) or found.kind == "label" else replace(found, labels=None)

    def _call_builtin(self, node: ast.Call, function: Builtin) -> Type:
        if function.rest:
            for arg in node.args:
                self.infer(arg.value)
            return NUMBER
        types = self._arguments(node, function.name, function.params, function.required)
        if types is None:
            return ANY
        if function.name == "draw":
            source = types["dataset"]
            if source.kind not in ("dataset", "list", "any"):
                self._faults.error("E513", f"`draw` takes rows of a dataset, not {source}", node.args[0].span)
                return ANY
            return Type("list", item=source.item or ANY)
        if function.name == "pick":
            return self._element(types["list"], node.args[0].span)
        if function.name == "mix":
            return union([types["first"], types["second"]])
        return NUMBER if function.name in ("len", "round") else TEXT

    def _inside(self, node: ast.Call, function: Function | PromptMaker | RubricMaker, types: dict[str, Type]) -> Type:
        """Check what is called with the types that it is called with."""
        result = ANY if isinstance(function, Function) else MESSAGES
        self._faults.n_calls += 1
        if self._faults.n_calls > MAX_CALLS_IN_ALL:
            raise fail(
                "E516",
                f"these functions call each other more than {MAX_CALLS_IN_ALL:,} times",
                node.span,
                help="a function that calls another twice doubles the work: compute a part once, with `let`",
            )
        if self._calls >= MAX_CALLS or not isinstance(node.function, ast.Ref):
            return result
        if node.function.name in self._local:
            return result
        with self._faults.caught():
            decl, scope = self._scope.origin(ast.Name(text=node.function.name, span=node.function.span))
            # an argument is a value, and an axis that is given as it is brings its labels along
            inner = Checker(scope, self._faults, types, self._calls + 1)
            if isinstance(decl, ast.Let):
                return inner.infer(decl.value)
            if isinstance(decl, ast.Rubric):
                extra = {s.name.text: TEXT for s in decl.settings if s.name.text in (CHOICES, SHAPE)}
                inner.inner(extra).body(decl.body)
            elif isinstance(decl, ast.Prompt):
                inner.body(decl.body)
        return result
