"""File-level names of one module, each evaluated when it is first read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.compiler import other_languages
from emdsl.compiler.expr import Compiler
from emdsl.compiler.faults import Silent
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import INTERVAL_METHODS, MEASURES
from emdsl.frame import EvalFault, fail
from emdsl.lang import ast
from emdsl.lang.loader import std_names
from emdsl.source import Span, near, one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from emdsl.compiler.faults import Faults
    from emdsl.lang.loader import Module
    from emdsl.value import Value

RESERVED = frozenset(
    (
        *(n for table in (BUILTINS, MEASURES) for n, function in table.items() if not function.weak),
        *INTERVAL_METHODS,
        "sample",
        "missing",
    )
)


@dataclass(slots=True)
class Binding:
    """One file-level name: its declaration, and its value once it was read."""

    name: ast.Name
    decl: ast.Decl
    value: Value = None
    state: str = "new"  # new, open, done, bad


class Scope:
    """The file-level names of one module, and their values.

    Args:
        module: The file.
        faults: Takes the faults of its names.
        evaluate: Returns the value of a declaration.
        scope_of: Returns the scope of another module of the program.
    """

    def __init__(
        self,
        module: Module,
        faults: Faults,
        evaluate: Callable[[ast.Decl, Scope, str], Value],
        scope_of: Callable[[Module], Scope],
    ) -> None:
        self.module = module
        self.names: dict[str, Binding] = {}
        self._refused: set[str] = set()  # declared under the name of a built-in
        self._evaluate = evaluate
        self._scope_of = scope_of
        for decl in module.file.decls:
            for name in declared_names(decl):
                self._bind(name, decl, faults)
        self.own = frozenset(self.names) | module.file.lost  # those of unreadable declarations included

    def _bind(self, name: ast.Name, decl: ast.Decl, faults: Faults) -> None:
        if name.text in self.names:
            faults.doubled(name, self.names[name.text].name)
        elif name.text in RESERVED:
            word = type(decl).__name__.lower()
            faults.error(
                "E204", f"`{name.text}` is a built-in name and cannot be the name of a `{word}`", name.span,
                help=f"choose another name, e.g. `{name.text}_{word}`, here and in every use",
            )  # fmt: skip
            self._refused.add(name.text)
        else:
            self.names[name.text] = Binding(name, decl)

    def value(self, name: str) -> Value:
        """Return the value of a name; raises KeyError, or Silent if its own fault was reported."""
        binding = self.names.get(name)
        if binding is None:
            if name in self.module.file.lost or name in self._refused:
                raise Silent
            raise KeyError(name)
        if binding.state == "done":
            return binding.value
        if binding.state == "bad":
            raise Silent
        if binding.state == "open":
            binding.state = "bad"
            raise fail("E207", f"circular definition: `{name}` depends on itself", binding.name.span,
                       help=f"remove one of the references that lead back to `{name}`")  # fmt: skip
        binding.state = "open"
        try:
            binding.value = self._evaluate(binding.decl, self, name)
        except (EvalFault, Silent):
            binding.state = "bad"
            raise
        binding.state = "done"
        return binding.value

    def lookup(self, name: str, span: Span) -> Value:
        """Return the value of a name; raises EvalFault with the nearest name for one that is unknown."""
        try:
            return self.value(name)
        except KeyError:
            raise self.unknown(name, span, ()) from None

    def unknown(self, name: str, span: Span, local: tuple[str, ...]) -> EvalFault:
        """Return the fault of a name that nothing declares."""
        if name in other_languages.WORDS:
            word = other_languages.WORDS[name]
            return fail("E143", f"unknown name `{name}`: use `{word}`", span, put=word)
        function = BUILTINS.get(name)
        if function is not None and function.weak:
            call = f"{name}({', '.join(function.params[: function.required])})"
            return fail("E201", f"unknown name `{name}`", span, help=f"`{name}` is a function: write `{call}`")
        called = span.source.text[span.end :].lstrip().startswith("(")
        functions = [n for n, f in BUILTINS.items() if called or not f.weak]  # the weak ones are words of texts, too
        hint = other_languages.NAMES.get(name) or near(name, [*self.names, *local, *functions])
        library = next((file for file, names in std_names().items() if name in names), None)
        if library:
            hint = f'add `import {name} from "{library}"` at the top'
        exporter = self._exporter(name)
        if exporter:
            hint = f'import it too: `import {name} from "{exporter}"`'
        return fail(
            "E201", f"unknown name `{name}`", span, help=hint or f"define `{name}` or import it; a text needs quotes"
        )

    def _exporter(self, name: str) -> str | None:
        """Return the import whose file declares a name that is not imported."""
        for path, module in self.module.imports.items():
            if any(name == n.text for d in module.file.decls for n in declared_names(d)):
                return path
        return None

    def imported(self, decl: ast.Import, name: str) -> Value:
        """Return the value of a name that an import brings; raises EvalFault if the other file has none."""
        module = self.module.imports.get(decl.path)
        if module is None:
            raise Silent  # the loader reported it
        wanted = next(n for n in decl.names if n.alias.text == name)
        other = self._scope_of(module)
        try:
            return other.value(wanted.name.text)
        except KeyError:
            raise fail(
                "E208", f'`{wanted.name.text}` is not defined in "{decl.path}"', wanted.name.span,
                help=near(wanted.name.text, other.names) or f"it defines {one_of(other.names)}",
            ) from None  # fmt: skip

    def origin(self, name: ast.Name) -> tuple[ast.Decl, Scope]:
        """Return the declaration that a name leads to, through imports, and the scope it stands in."""
        binding = self.names.get(name.text)
        if binding is None:
            self.lookup(name.text, name.span)
            raise Silent
        if not isinstance(binding.decl, ast.Import):
            return binding.decl, self
        module = self.module.imports.get(binding.decl.path)
        if module is None:
            raise Silent
        wanted = next(n for n in binding.decl.names if n.alias.text == name.text)
        other = self._scope_of(module)
        if wanted.name.text not in other.names:
            self.value(name.text)  # reports what is wrong with the import
        return other.origin(wanted.name)

    def compiler(self, local: frozenset[str] = frozenset(), words: frozenset[str] = frozenset()) -> Compiler:
        """Return the compiler of expressions that stand in this file."""
        return Compiler(self.value, self.own, local, words)


def declared_names(decl: ast.Decl) -> list[ast.Name]:
    """Return the names that a declaration binds."""
    return [n.alias for n in decl.names] if isinstance(decl, ast.Import) else [decl.name]


def params_of(names: tuple[ast.Name, ...], faults: Faults) -> tuple[str, ...]:
    """Return the names of parameters, each once; one that stands twice is an error."""
    for i, name in enumerate(names):
        if name.text in (n.text for n in names[:i]):
            faults.error("E203", f"duplicate parameter `{name.text}`", name.span)
    return tuple(dict.fromkeys(n.text for n in names))
