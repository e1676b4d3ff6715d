"""Declarations to values: the scopes of a program's files, each name evaluated when it is first read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler import settings as tables
from emdsl.compiler.callables import Function, PromptMaker
from emdsl.compiler.datasets import Inputs, dataset_of, linked
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.messages import messages_of
from emdsl.compiler.models import Models
from emdsl.compiler.read_settings import read_settings
from emdsl.compiler.rubrics import rubric_of
from emdsl.compiler.scope import Scope, params_of
from emdsl.compiler.written import describe
from emdsl.frame import Frame, MissingInput, fail
from emdsl.lang import ast
from emdsl.query import Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.lang.loader import Instead, Module
    from emdsl.source import Span
    from emdsl.value import Value


class Resolver:
    """Gives the declarations of a program their values; faults gather, each once.

    Args:
        faults: Takes the faults.
        environment: Variables that settings may read.
        project: The folder that holds the program, for functions in Python.
        simulate: Whether the simulator stands in for every model.
        instead: Files that are read in place of others.
        hook_values: The folder with values of functions in Python; None keeps no values.
    """

    def __init__(
        self, faults: Faults, environment: Mapping[str, str], project: Path, *, simulate: bool = False,
        instead: Instead | None = None, hook_values: Path | None = None,
    ) -> None:  # fmt: skip
        self.inputs = Inputs()
        self.models = Models(faults, environment, self.inputs.variables, simulate=simulate)
        self._faults = faults
        self._project = project
        self._instead = instead or {}
        self._hook_values = hook_values
        self._scopes: dict[int, Scope] = {}

    def scope(self, module: Module) -> Scope:
        """Return the names of a module."""
        if id(module) not in self._scopes:
            self._scopes[id(module)] = Scope(module, self._faults, self._declared, self.scope)
        return self._scopes[id(module)]

    def _declared(self, decl: ast.Decl, scope: Scope, name: str) -> Value:
        """Return the value of a declaration."""
        match decl:
            case ast.Import():
                return scope.imported(decl, name)
            case ast.Model():
                return self._model(decl, scope)
            case ast.Dataset():
                return dataset_of(decl, scope, self.inputs, self._instead, self._faults)
            case ast.Prompt():
                params = params_of(decl.params, self._faults)
                return PromptMaker(name, params, messages_of(decl.body, scope.compiler(frozenset(params))))
            case ast.Rubric():
                return rubric_of(decl, scope, self._faults, self.as_model)
            case ast.Let(params=None):
                try:
                    return scope.compiler().expr(decl.value)(Frame())
                except MissingInput as missing:  # rows that are not here yet
                    return missing.missing
            case ast.Let():
                params = params_of(decl.params or (), self._faults)
                return Function(name, params, scope.compiler(frozenset(params)).expr(decl.value))
            case ast.Python():
                from emdsl.compiler.hooks import hook_of  # noqa: PLC0415 - only programs with hooks load processes

                folder = scope.module.folder
                self.inputs.links |= linked(folder / decl.path)
                return hook_of(
                    decl, folder, self._project, self._faults, self.inputs.files, self._instead, self._hook_values
                )
            case _:
                raise fail("E216", f"`{name}` is an experiment and cannot be used as a value", decl.name.span)

    def _model(self, decl: ast.Model, scope: Scope) -> Model:
        base: Model | None = None
        if decl.base is not None:
            value = scope.lookup(decl.base.text, decl.base.span)
            if not isinstance(value, Model):
                raise fail("E217", f"`{decl.base.text}` is {describe(value)}, not a model", decl.base.span)
            base = value
        own = read_settings(decl.settings, tables.MODEL, "model", scope, self._faults)
        if "use" not in own and base is None:
            if any(s.name.text == "use" for s in decl.settings):
                raise Silent
            raise fail(
                "E703", f"the model `{decl.name.text}` has no `use`", decl.name.span,
                help='add `use = "provider/model"`',
            )  # fmt: skip
        span = next((s.value.span for s in decl.settings if s.name.text == "use"), decl.name.span)
        use = own.get("use", base.use if base else "")
        places = {s.name.text: s.span for s in decl.settings}
        maps = ((s.name.text, s.value) for s in decl.settings if isinstance(s.value, ast.Map))
        places |= {f"{name}.{e.label.text}": e.span for name, value in maps for e in value.entries}
        return self.models.built(decl.name.text, use, own, base, span, places)

    def as_model(self, value: Value, span: Span) -> Model:
        """Return a model, or the one that a text names; raises EvalFault for anything else."""
        if isinstance(value, Model):
            return value
        if isinstance(value, str):
            declared = (s.names.get(value) for s in self._scopes.values())
            if any(b is not None and isinstance(b.decl, ast.Model) for b in declared):
                raise fail("E721", f'"{value}" is a text, but `{value}` is a declared model', span,
                           help=f"write `{value}` without quotes")  # fmt: skip
            return self.models.of_text(value, span)
        raise fail("E217", f"expected a model, got {describe(value)}", span,
                   help='use the name of a `model`, or a text such as "provider/model"')  # fmt: skip
