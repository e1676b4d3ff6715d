"""Names of one experiment: axes, `let`s and steps, and what each expression reads of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from emdsl.compiler.callables import Function, RubricMaker, constantly
from emdsl.compiler.cell_choices import choices_by_cell, reads_late
from emdsl.compiler.faults import Silent
from emdsl.compiler.free_names import free_names, transitive_reads
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.over import faulty, group_value
from emdsl.compiler.rubrics import ask_format
from emdsl.compiler.types import ANSWER_FIELDS
from emdsl.compiler.written import describe
from emdsl.frame import Frame
from emdsl.label_share import FIELD
from emdsl.lang import ast
from emdsl.value import NOT_REPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.expr import Compiler
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.compiler.statements import Statements, WrittenStep
    from emdsl.frame import Fn
    from emdsl.lang.walk import Tree
    from emdsl.outcome import Result
    from emdsl.reply_format import ReplyFormat
    from emdsl.source import Span
    from emdsl.value import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalScope:
    """The names of an experiment over those of its file."""

    file: Scope
    axes: Mapping[str, Span]
    lets: Mapping[str, ast.Let]  # without those that are defined by themselves
    circular: frozenset[str]  # these, and those with a wrong `over`
    steps: Mapping[str, WrittenStep]
    rubrics: Mapping[str, RubricMaker]  # by the judge that uses it
    formats: Mapping[str, ReplyFormat]  # by the ask whose answer is read
    constants: Mapping[str, Value]  # settings that expressions can read
    names: frozenset[str]  # all that a frame holds
    words: frozenset[str]  # replies that make a verdict missing
    compiler: Compiler
    _reads: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)  # of each `let`, once it was needed

    @property
    def lost(self) -> frozenset[str]:
        """Names that statements with a syntax error would have bound."""
        return self.file.module.file.lost

    def reads(self, *trees: Tree) -> frozenset[str]:
        """Return the names that some trees read, directly or through `let`s."""
        direct = free_names(trees)
        return direct.union(*(self._let_reads(name) for name in direct if name in self.lets))

    def _let_reads(self, name: str) -> frozenset[str]:
        if name not in self._reads:
            self._reads[name] = transitive_reads(frozenset((name,)), self.lets)
        return self._reads[name]

    def steps_read(self, *trees: Tree) -> tuple[str, ...]:
        """Return the steps that some trees read, in their own order."""
        names = self.reads(*trees)
        return tuple(name for name in self.steps if name in names)

    def varies(self, let: ast.Let) -> bool:
        """Whether a `let` differs from row to row; one value for all is no column."""
        return bool(self.reads(let) & {*self.axes, *self.steps, "sample"})

    def constant(self, name: str) -> Value:
        """Return the value of a name that is the same in every row; raises KeyError for any other."""
        if name in self.lets and not self.varies(self.lets[name]):
            return self.compiler.expr(self.lets[name].value)(Frame())
        if name in self.names:
            raise KeyError(name)
        return self.file.value(name)

    def compiled_lets(self, written: tuple[ast.Let, ...], faults: Faults) -> dict[str, Fn]:
        """Return every `let` as a function of a frame, and each ask's `cost`, whose price is then looked up.

        A `let` with a fault raises Silent when it is read.
        """
        functions: dict[str, Fn] = {let.name.text: _reported for let in written}
        for name, let in self.lets.items():
            with faults.caught():
                if isinstance(let.value, ast.Over):
                    functions[name] = group_value(name, let.name.span)
                elif let.params is None:
                    functions[name] = self.compiler.expr(let.value)
                else:
                    params = tuple(p.text for p in let.params)
                    body = self.compiler.inner(params).expr(let.value)
                    functions[name] = constantly(Function(name, params, body))
        asks = (name for name, step in self.steps.items() if isinstance(step.decl, ast.Ask))
        return functions | {f"{name}.cost": partial(_cost, name) for name in asks}


def local_scope(statements: Statements, scope: Scope, constants: Mapping[str, Value], faults: Faults) -> LocalScope:
    """Return the names of an experiment; a judge without a rubric, or a `let` in a circle, is an error."""
    steps: dict[str, WrittenStep] = {}
    for step in statements.steps:
        steps.setdefault(step.name, step)
    rubrics: dict[str, RubricMaker] = {}
    for name, step in steps.items():
        if isinstance(step.decl, ast.Judge):
            with faults.caught():
                rubric = _rubric(step.decl, scope, faults)
                if rubric is not None:
                    rubrics[name] = rubric
    lets = {let.name.text: let for let in statements.lets}
    circular = frozenset(name for name, let in lets.items() if name in transitive_reads(free_names(let), lets))
    for name in sorted(circular):
        faults.error("E207", f"circular definition: `{name}` depends on itself", lets[name].name.span,
                     help=f"give the `let` another name: this one hides the function `{name}(...)`"
                     if name in BUILTINS else f"remove one of the references that lead back to `{name}`")  # fmt: skip
    axes = statements.axes
    circular |= faulty({n: let for n, let in lets.items() if n not in circular}, axes, scope, faults)
    names = {*axes, *lets, *steps, *constants, "sample"}
    formats: dict[str, ReplyFormat] = {}
    for name, step in steps.items():
        reply_format: ReplyFormat | None = None
        if isinstance(step.decl, ast.Ask):
            names |= {f"{name}.{field_}" for field_ in ANSWER_FIELDS}
            by_cell = choices_by_cell(step.decl, names)
            if not reads_late(by_cell, lets, {*steps, "sample"}, faults):
                reply_format = ask_format(step.decl, frozenset(names), by_cell, scope, faults)
            if reply_format is not None:
                formats[name] = reply_format
                names |= {f"{name}.{f}" for f in (*(p.name for p in reply_format.parts), *reply_format.fields)}
        elif name in rubrics:
            reply_format = rubrics[name].reply_format
            names |= {f"{name}.{field_}" for field_ in reply_format.fields}
        if reply_format is not None and reply_format.shares:
            names.add(f"{name}.{FIELD}")
    all_formats = (*(r.reply_format for r in rubrics.values()), *formats.values())
    words = frozenset(w for reply_format in all_formats for w in reply_format.words)
    return LocalScope(
        file=scope, axes=axes, lets={n: let for n, let in lets.items() if n not in circular}, circular=circular,
        steps=steps, rubrics=rubrics, formats=formats, constants=constants, names=frozenset(names), words=words,
        compiler=scope.compiler(frozenset(names), words),
    )  # fmt: skip


def _rubric(decl: ast.Judge, scope: Scope, faults: Faults) -> RubricMaker | None:
    """Return the rubric of a judge; None if it has none, which is reported."""
    name = decl.rubric.function if isinstance(decl.rubric, ast.Call) else decl.rubric
    if not isinstance(name, ast.Ref):
        faults.error("E414", "expected a rubric after `with`", decl.rubric.span,
                     help="write `judge NAME with RUBRIC(question, answer)`")  # fmt: skip
        return None
    value = scope.lookup(name.name, name.span)
    if not isinstance(value, RubricMaker):
        faults.error(
            "E414", f"expected a rubric after `with`, got {describe(value)}", name.span,
            help="define a rubric: `rubric NAME(...) { scale = 0..100 ... }`",
        )  # fmt: skip
        return None
    if not isinstance(decl.rubric, ast.Call):
        plural = "" if len(value.params) == 1 else "s"
        faults.error(
            "E212", f"`{value.name}` expects {len(value.params)} argument{plural}, got none", decl.rubric.span,
            help=f"write `{value.name}({', '.join(value.params)})`",
        )  # fmt: skip
        return None
    return value


def _cost(name: str, frame: Frame) -> Value:
    result: Result = frame.root.results[name]
    if result.response is None:
        return result.value
    cost = result.cost_usd
    return cost if cost is not None else NOT_REPORTED


def _reported(_: Frame) -> Value:
    """Stand in for a `let` whose own fault is reported."""
    raise Silent
