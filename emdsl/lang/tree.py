"""The parser's tree to the syntax tree of `ast.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from emdsl.lang import ast
from emdsl.lang.lalr import Branch, Token
from emdsl.lang.template import TextReader
from emdsl.source import Diagnostic, Source, Span
from emdsl.value import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from emdsl.value import Number


class TreeReader:
    """Reads the trees of one source; adds errors that the grammar cannot detect to `diagnostics`.

    A method has the name of its rule in the grammar.
    """

    def __init__(self, source: Source, diagnostics: list[Diagnostic], offset: int = 0) -> None:
        self._source = source
        self._diagnostics = diagnostics
        self._texts = TextReader(source, diagnostics)
        self._offset = offset  # of the parsed text in the source

    def read(self, tree: Branch | Token) -> Any:
        """Return the node of a tree."""
        if isinstance(tree, Token):
            return self._name(tree)
        return cast("Callable[[Branch], Any]", getattr(self, tree.data))(tree)

    # -------------------------------------------------------------- declarations

    def file(self, tree: Branch) -> tuple[ast.Decl, ...]:
        return tuple(self.read(x) for x in _branches(tree) if x.data != "edition")

    def import_(self, tree: Branch) -> ast.Import:
        path = cast("Token", tree.children[-1])
        names = tuple(self.import_name(x) for x in _branches(tree))
        return ast.Import(names=names, path=self._path(path), path_span=self._span_of(path), span=self._span(tree))

    def import_name(self, tree: Branch) -> ast.ImportName:
        name, alias = cast("Sequence[Token | None]", tree.children)
        assert name is not None
        return ast.ImportName(name=self._name(name), alias=self._name(alias or name), span=self._span(tree))

    def model(self, tree: Branch) -> ast.Model:
        name, base, settings = cast("tuple[Token, Token | None, Branch]", tree.children)
        return ast.Model(
            name=self._name(name),
            base=self._optional_name(base),
            settings=self.attrs(settings),
            span=self._span(tree),
        )

    def dataset(self, tree: Branch) -> ast.Dataset:
        name, base, settings = cast("tuple[Token, Token | None, Branch]", tree.children)
        return ast.Dataset(
            name=self._name(name),
            base=self._optional_name(base),
            settings=self.attrs(settings),
            span=self._span(tree),
        )

    def let(self, tree: Branch) -> ast.Let:
        name, params, value = cast("tuple[Token, Branch | None, Branch]", tree.children)
        return ast.Let(
            name=self._name(name),
            params=self.params(params) if params else None,
            value=self.read(value),
            span=self._span(tree),
        )

    def let_over(self, tree: Branch) -> ast.Let:
        name, call, *axes = cast("Sequence[Any]", tree.children)
        refs = tuple(ast.Ref(name=axis.text, span=self._span_of(axis)) for axis in axes)
        value = self.read(call)
        span = Span(self._source, value.span.start, refs[-1].span.end)
        over = ast.Over(call=value, axes=refs, span=span)
        return ast.Let(name=self._name(name), params=None, value=over, span=self._span(tree))

    def python(self, tree: Branch) -> ast.Python:
        name, params, kind, path = cast("tuple[Token, Branch, Token | None, Token]", tree.children)
        return ast.Python(
            name=self._name(name),
            params=self.params(params),
            kind=self._name(kind) if kind is not None else None,
            path=self._path(path),
            path_span=self._span_of(path),
            span=self._span(tree),
        )

    def prompt(self, tree: Branch) -> ast.Prompt:
        name, params, *body = cast("Sequence[Any]", tree.children)
        return ast.Prompt(
            name=self._name(name),
            params=self.params(params),
            body=self._all(body),
            span=self._span(tree),
        )

    def rubric(self, tree: Branch) -> ast.Rubric:
        name, params, model, *rest = cast("Sequence[Any]", tree.children)
        items = self._all(rest)
        return ast.Rubric(
            name=self._name(name),
            params=self.params(params),
            model=self.read(model) if model else None,
            settings=tuple(x for x in items if isinstance(x, ast.Setting)),
            body=tuple(x for x in items if not isinstance(x, ast.Setting)),
            span=self._span(tree),
        )

    def experiment(self, tree: Branch) -> ast.Experiment:
        name, *body = cast("Sequence[Any]", tree.children)
        return ast.Experiment(name=self._name(name), body=self._all(body), span=self._span(tree))

    def params(self, tree: Branch) -> tuple[ast.Name, ...]:
        return tuple(self._name(x) for x in cast("Sequence[Token]", tree.children) if x is not None)

    def attrs(self, tree: Branch) -> tuple[ast.Setting, ...]:
        return tuple(self.attr(x) for x in _branches(tree) if x.data == "attr")

    def attr(self, tree: Branch) -> ast.Setting:
        name, value = cast("tuple[Token, Branch]", tree.children)
        return ast.Setting(name=self._name(name), value=self.read(value), span=self._span(tree))

    # -------------------------------------------------------------- messages

    def message(self, tree: Branch) -> ast.Say:
        role, content = cast("tuple[Branch, Branch]", tree.children)
        return ast.Say(role=role.children[0].text, content=self.read(content), span=self._span(tree))

    def each(self, tree: Branch) -> ast.Each:
        name, source, *body = cast("Sequence[Any]", tree.children)
        return ast.Each(name=self._name(name), source=self.read(source), body=self._all(body), span=self._span(tree))

    def when_say(self, tree: Branch) -> ast.WhenSay:
        condition, *body = cast("Sequence[Branch]", tree.children)
        return ast.WhenSay(condition=self.read(condition), body=self._all(body), span=self._span(tree))

    # -------------------------------------------------------------- statements

    def for_(self, tree: Branch) -> ast.For:
        *names, levels = cast("Sequence[Any]", tree.children)
        return ast.For(names=tuple(self._name(x) for x in names), levels=self.read(levels), span=self._span(tree))

    def grid(self, tree: Branch) -> ast.Grid:
        name, *body = cast("Sequence[Any]", tree.children)
        return ast.Grid(name=self._optional_name(name), body=self._all(body), span=self._span(tree))

    def skip(self, tree: Branch) -> ast.Skip:
        return ast.Skip(condition=self._only(tree), span=self._span(tree))

    def set_(self, tree: Branch) -> ast.SetRule:
        target, value, condition = cast("tuple[Branch, Branch, Branch | None]", tree.children)
        return ast.SetRule(
            target=self.path(target),
            value=self.read(value),
            condition=self.read(condition) if condition else None,
            span=self._span(tree),
        )

    def ask(self, tree: Branch) -> ast.Ask:
        name, model, prompt, settings = cast("tuple[Token, Branch, Branch, Branch | None]", tree.children)
        return ast.Ask(
            name=self._name(name),
            model=self.read(model),
            prompt=self.read(prompt),
            settings=self.attrs(settings) if settings else (),
            span=self._span(tree),
        )

    def judge(self, tree: Branch) -> ast.Judge:
        name, rubric, model, settings = cast("tuple[Token, Branch, Branch | None, Branch | None]", tree.children)
        return ast.Judge(
            name=self._name(name),
            rubric=self.read(rubric),
            model=self.read(model) if model else None,
            settings=self.attrs(settings) if settings else (),
            span=self._span(tree),
        )

    def annotate(self, tree: Branch) -> ast.Annotate:
        name, answer, settings = cast("tuple[Token, Branch, Branch]", tree.children)
        return ast.Annotate(
            name=self._name(name), answer=self.read(answer), settings=self.attrs(settings), span=self._span(tree)
        )

    def when(self, tree: Branch) -> ast.When:
        condition, *body = cast("Sequence[Branch]", tree.children)
        return ast.When(condition=self.read(condition), body=self._all(body), span=self._span(tree))

    def measure(self, tree: Branch) -> ast.Measure:
        name, value, *by = cast("Sequence[Any]", tree.children)
        return ast.Measure(
            name=self._name(name),
            value=self.read(value),
            by=tuple(self.path(x) for x in by if isinstance(x, Branch)),
            span=self._span(tree),
        )

    def path(self, tree: Branch) -> ast.Path:
        return ast.Path(names=tuple(x.text for x in tree.children), span=self._span(tree))

    # -------------------------------------------------------------- expressions

    def ref(self, tree: Branch) -> ast.Ref:
        return ast.Ref(name=tree.children[0].text, span=self._span(tree))

    def number(self, tree: Branch) -> ast.Literal:
        return ast.Literal(value=self._number(tree.children[0].text, tree), span=self._span(tree))

    def money(self, tree: Branch) -> ast.MoneyLiteral:
        return ast.MoneyLiteral(value=self._number(tree.children[0].text[1:], tree), span=self._span(tree))

    def _number(self, text: str, tree: Branch) -> Number:
        try:
            return number(text)
        except ValueError as error:
            self._diagnostics.append(
                Diagnostic(
                    code="E130", message=str(error), span=self._span(tree), help="use a number with fewer digits"
                )
            )
            return 0

    def true(self, tree: Branch) -> ast.Literal:
        return ast.Literal(value=True, span=self._span(tree))

    def false(self, tree: Branch) -> ast.Literal:
        return ast.Literal(value=False, span=self._span(tree))

    def none(self, tree: Branch) -> ast.Literal:
        return ast.Literal(value=None, span=self._span(tree))

    def env(self, tree: Branch) -> ast.Env:
        return ast.Env(name=tree.children[0].text, span=self._span(tree))

    def string(self, tree: Branch) -> ast.Text:
        span = self._span(tree)
        return ast.Text(parts=self._texts.string(span.start, span.end), span=span)

    def text(self, tree: Branch) -> ast.Text:
        span = self._span(tree)
        return ast.Text(parts=self._texts.text(span.start, span.end, raw=False), span=span)

    def raw(self, tree: Branch) -> ast.Text:
        span = self._span(tree)
        return ast.Text(parts=self._texts.text(span.start, span.end, raw=True), span=span)

    def sequence(self, tree: Branch) -> ast.Sequence:
        return ast.Sequence(items=self._all(tree.children), span=self._span(tree))

    def comprehension(self, tree: Branch) -> ast.Comprehension:
        item, name, source, condition = cast("tuple[Branch, Token, Branch, Branch | None]", tree.children)
        return ast.Comprehension(
            item=self.read(item),
            name=self._name(name),
            source=self.read(source),
            condition=self.read(condition) if condition else None,
            span=self._span(tree),
        )

    def map(self, tree: Branch) -> ast.Map:
        return ast.Map(
            entries=tuple(self.entry(x) for x in _branches(tree) if x.data == "entry"), span=self._span(tree)
        )

    def entry(self, tree: Branch) -> ast.Entry:
        label, value = cast("tuple[Branch, Branch]", tree.children)
        return ast.Entry(label=self.label(label), value=self.read(value), span=self._span(tree))

    def label(self, tree: Branch) -> ast.Name:
        token = cast("Token", tree.children[0])
        return (
            ast.Name(text=self._path(token), span=self._span_of(token)) if token.type == "STRING" else self._name(token)
        )

    def cond(self, tree: Branch) -> ast.If:
        condition, yes, no = self._all(tree.children)
        return ast.If(condition=condition, yes=yes, no=no, span=self._span(tree))

    def otherwise(self, tree: Branch) -> ast.Otherwise:
        value, other = self._all(tree.children)
        return ast.Otherwise(value=value, other=other, span=self._span(tree))

    def given(self, tree: Branch) -> ast.Given:
        event, condition = self._all(tree.children)
        return ast.Given(event=event, condition=condition, span=self._span(tree))

    def any_of(self, tree: Branch) -> ast.Logic:
        return ast.Logic(op="or", items=self._all(tree.children), span=self._span(tree))

    def all_of(self, tree: Branch) -> ast.Logic:
        return ast.Logic(op="and", items=self._all(tree.children), span=self._span(tree))

    def not_op(self, tree: Branch) -> ast.Not:
        return ast.Not(value=self._only(tree), span=self._span(tree))

    def compare(self, tree: Branch) -> ast.Compare:
        left, op, right = cast("tuple[Branch, Token, Branch]", tree.children)
        return ast.Compare(op=op.text, left=self.read(left), right=self.read(right), span=self._span(tree))

    def is_(self, tree: Branch) -> ast.Is:
        value, label = cast("Sequence[Branch]", tree.children)
        return ast.Is(value=self.read(value), label=self.label(label), negated=False, span=self._span(tree))

    def is_not(self, tree: Branch) -> ast.Is:
        value, label = cast("Sequence[Branch]", tree.children)
        return ast.Is(value=self.read(value), label=self.label(label), negated=True, span=self._span(tree))

    def member(self, tree: Branch) -> ast.Member:
        value, values = self._all(tree.children)
        return ast.Member(value=value, values=values, negated=False, span=self._span(tree))

    def not_member(self, tree: Branch) -> ast.Member:
        value, values = self._all(tree.children)
        return ast.Member(value=value, values=values, negated=True, span=self._span(tree))

    def range(self, tree: Branch) -> ast.Range:
        low, high = self._all(tree.children)
        return ast.Range(low=low, high=high, span=self._span(tree))

    def sum(self, tree: Branch) -> ast.Arithmetic:
        first, *rest = tree.children
        pairs = zip(rest[::2], rest[1::2], strict=True)
        return ast.Arithmetic(
            first=self.read(first),
            rest=tuple((op.text, self.read(value)) for op, value in pairs),
            span=self._span(tree),
        )

    product = sum

    def signed(self, tree: Branch) -> ast.Expr:
        sign, value = cast("tuple[Token, Branch]", tree.children)
        read = self.read(value)
        return ast.Negative(value=read, span=self._span(tree)) if sign.text == "-" else read

    def field(self, tree: Branch) -> ast.Field:
        value, name = cast("tuple[Branch, Token]", tree.children)
        return ast.Field(value=self.read(value), name=self._name(name), span=self._span(tree))

    def call(self, tree: Branch) -> ast.Call:
        function, *args = cast("Sequence[Branch]", tree.children)
        return ast.Call(
            function=self.read(function),
            args=tuple(self.arg(x) for x in args if x is not None),
            span=self._span(tree),
        )

    def arg(self, tree: Branch) -> ast.Arg:
        name, value = cast("tuple[Token | None, Branch]", tree.children)
        return ast.Arg(name=self._optional_name(name), value=self.read(value), span=self._span(tree))

    def index(self, tree: Branch) -> ast.Index:
        value, key = self._all(tree.children)
        return ast.Index(value=value, key=key, span=self._span(tree))

    # -------------------------------------------------------------- helpers

    def _only(self, tree: Branch) -> Any:
        (child,) = tree.children
        return self.read(child)

    def _all(self, children: Iterable[Branch | Token]) -> tuple[Any, ...]:
        # an absent optional is None, and line ends have no meaning
        return tuple(self.read(x) for x in children if isinstance(x, Branch))

    def _name(self, token: Token) -> ast.Name:
        return ast.Name(text=token.text, span=self._span_of(token))

    def _optional_name(self, token: Token | None) -> ast.Name | None:
        return self._name(token) if token is not None else None

    def _path(self, token: Token) -> str:
        """Return a string without placeholders, e.g. a path or label; reports a placeholder and returns ""."""
        span = self._span_of(token)
        parts = self._texts.string(span.start, span.end)
        for part in parts:
            if isinstance(part, ast.Path):
                message = f"the placeholder `{part.span.text}` is not allowed in this text"
                help_ = "write the value itself, without a placeholder"
                self._diagnostics.append(Diagnostic(code="E123", message=message, span=part.span, help=help_))
                return ""
        return "".join(p for p in parts if isinstance(p, str))

    def _span(self, tree: Branch) -> Span:
        return Span(self._source, tree.start + self._offset, tree.end + self._offset)

    def _span_of(self, token: Token) -> Span:
        return Span(self._source, token.start + self._offset, token.end + self._offset)


def _branches(tree: Branch) -> list[Branch]:
    return [x for x in tree.children if isinstance(x, Branch)]
