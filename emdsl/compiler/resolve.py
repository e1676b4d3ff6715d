"""Names to values: what the declarations of a file and its imports mean."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.datasets import Inputs, dataset_of, linked
from emdsl.compiler.expr import FOREIGN, Compiler, Function, PromptMaker
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.models import Models
from emdsl.frame import EvalFault, Frame, MissingInput, fail
from emdsl.judge import Part, Reading, Weighted
from emdsl.lang import ast
from emdsl.lang.loader import std_names
from emdsl.query import Model
from emdsl.source import Label, Span, near, one_of
from emdsl.value import EnvVar, Value, describe, is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from emdsl.lang.loader import Instead, Module
    from emdsl.prompt import Message

HOW_READ = frozenset(("scale", "choices", "shape"))  # what says how a rubric's reply is read
CHOICES, SHAPE = "choices", "shape"  # names under which a rubric's messages see its labels, or its fields


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RubricMaker:
    """`rubric r(a) { ... }`: a prompt about an answer, and how its reply is read."""

    name: str
    params: tuple[str, ...]
    body: Callable[[Frame], tuple[Message, ...]]
    reading: Reading
    shown: Mapping[str, str]  # `choices`: the labels with their meanings, a line each; `shape`: the fields
    model: Model | None
    settings: Mapping[str, Any]
    places: Mapping[str, Span]  # where each setting stands

    def messages(self, frame: Frame) -> tuple[Message, ...]:
        """Return the messages in a frame that holds its parameters."""
        frame.update(self.shown)
        return self.body(frame)


@dataclass(slots=True)
class Binding:
    """One file-level name: where it is declared, and its value once it was asked for."""

    name: ast.Name
    decl: ast.Decl
    value: Value = None
    state: str = "new"  # new, open, done, bad


class Scope:
    """The file-level names of one module, and their values."""

    def __init__(self, module: Module, resolver: Resolver) -> None:
        self.module = module
        self._resolver = resolver
        self.names: dict[str, Binding] = {}
        for decl in module.file.decls:
            for name in _declared(decl):
                self._bind(name, decl)

    def _bind(self, name: ast.Name, decl: ast.Decl) -> None:
        faults = self._resolver.faults
        if name.text in self.names:
            faults.error(
                "E203",
                f"`{name.text}` is defined twice",
                name.span,
                labels=(Label(span=self.names[name.text].name.span, text="first defined here"),),
                help="give one of them another name: nothing shadows",
            )
            return
        if name.text in BUILTINS or name.text in ("sample", "missing", *MEASURES):
            faults.error("E204", f"`{name.text}` is a word of the language", name.span, help="choose another name")
            return
        self.names[name.text] = Binding(name, decl)

    def value(self, name: str) -> Value:
        """Return the value of a name; raises KeyError, or Silent where its own fault was told."""
        binding = self.names.get(name)
        if binding is None:
            if name in self.module.file.lost:
                raise Silent
            raise KeyError(name)
        if binding.state == "done":
            return binding.value
        if binding.state == "bad":
            raise Silent
        if binding.state == "open":
            binding.state = "bad"
            raise fail("E207", f"`{name}` is defined by itself", binding.name.span, help="nothing here can recurse")
        binding.state = "open"
        try:
            binding.value = self._resolver.declared(binding.decl, self, name)
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
        if name in FOREIGN:
            return fail("E143", f"`{name}` is written `{FOREIGN[name]}`", span, put=FOREIGN[name])
        known = [*self.names, *local, *BUILTINS]
        elsewhere = self._resolver.exporters(name, self)
        hint = FOREIGN_NAMES.get(name) or near(name, known)
        library = next((f for f, names in std_names().items() if name in names), None)
        if library:
            hint = f'write `import {name} from "{library}"` at the top'
        if elsewhere:
            hint = f'`import {name} from "{elsewhere}"` would bring it here'
        return fail("E201", f"no name `{name}` is known here", span, help=hint)

    def origin(self, name: ast.Name) -> tuple[ast.Decl, Scope]:
        """Return the declaration that a name leads to, through imports, and the scope it stands in."""
        return self._resolver.origin_of(name, self)

    def compiler(self, local: frozenset[str] = frozenset(), words: frozenset[str] = frozenset()) -> Compiler:
        """Return the compiler of expressions that stand in this file."""
        return Compiler(self.value, local, words)


FOREIGN_NAMES = {  # what other languages call it
    "range": "a range is written `0..9`, both ends included",
    "str": 'a value is filled into a text: `"{x}"`',
    "print": "outcomes are shown by `emdsl show` and `emdsl query`",
    "format": 'a value is filled into a text: `"{x}"`',
    "int": "numbers are exact, and of one kind",
    "avg": "it is called `mean`",
    "sum": "it is called `mean` or `count`",
    "median": "write `quantile(x, 0.5)`",
    "shuffle": "write `draw(dataset, k, seed: ...)`",
    "random": "write `draw(..., seed: ...)` or `pick(..., seed: ...)`",
    "choice": "write `pick(list, seed: sample)`",
}
MEASURES = (*tables.MEASURE_FUNCTIONS, *tables.INTERVAL_METHODS)


class Resolver:
    """Gives the declarations of a program their values; faults gather, each once."""

    def __init__(
        self, faults: Faults, environment: Mapping[str, str], project: Path, *, simulate: bool = False,
        instead: Instead | None = None,
    ) -> None:  # fmt: skip
        self.faults = faults
        self.project = project
        self.inputs = Inputs()
        self.models = Models(faults, environment, self.inputs.variables, simulate=simulate)
        self.instead = instead or {}
        self._scopes: dict[int, Scope] = {}

    def scope(self, module: Module) -> Scope:
        """Return the names of a module."""
        if id(module) not in self._scopes:
            self._scopes[id(module)] = Scope(module, self)
        return self._scopes[id(module)]

    def exporters(self, name: str, scope: Scope) -> str | None:
        """Return the import that has a name which is not imported."""
        for path, module in scope.module.imports.items():
            if any(name == n.text for d in module.file.decls for n in _declared(d)):
                return path
        return None

    def declared(self, decl: ast.Decl, scope: Scope, name: str) -> Value:
        """Return the value of a declaration."""
        match decl:
            case ast.Import():
                return self._import(decl, scope, name)
            case ast.Model():
                return self._model(decl, scope)
            case ast.Dataset():
                return dataset_of(decl, scope, self)
            case ast.Prompt():
                params = self._params(decl.params)
                return PromptMaker(name, params, scope.compiler(frozenset(params)).messages(decl.body))
            case ast.Rubric():
                return self._rubric(decl, scope)
            case ast.Let(params=None):
                try:
                    return scope.compiler().expr(decl.value)(Frame())
                except MissingInput as missing:  # rows that are not here yet
                    return missing.missing
            case ast.Let():
                params = self._params(decl.params or ())
                return Function(name, params, scope.compiler(frozenset(params)).expr(decl.value))
            case ast.Python():
                from emdsl.compiler.hooks import hook_of  # noqa: PLC0415 - processes wait for who has a hook

                folder = scope.module.folder
                self.inputs.links |= linked(folder / decl.path)
                return hook_of(decl, folder, self.project, self.faults, self.inputs.files, self.instead)
            case _:
                raise fail("E216", f"`{name}` is an experiment, not a value", decl.name.span)

    # -------------------------------------------------------------- what comes from other files

    def _import(self, decl: ast.Import, scope: Scope, name: str) -> Value:
        module = scope.module.imports.get(decl.path)
        if module is None:
            raise Silent  # the loader said why
        wanted = next(n for n in decl.names if n.alias.text == name)
        other = self.scope(module)
        try:
            return other.value(wanted.name.text)
        except KeyError:
            raise fail(
                "E208",
                f'"{decl.path}" has no `{wanted.name.text}`',
                wanted.name.span,
                help=near(wanted.name.text, other.names) or f"it has {one_of(other.names)}",
            ) from None

    # -------------------------------------------------------------- settings

    def settings(
        self, written: tuple[ast.Setting, ...], table: Mapping[str, tables.Spec], kind: str, scope: Scope
    ) -> dict[str, Any]:
        """Return settings by name, each read by its table; faults are told and left out."""
        found: dict[str, Any] = {}
        for item in self.once(written):
            self.read_setting(item, table, kind, scope, found)
        return found

    def once(self, written: tuple[ast.Setting, ...]) -> list[ast.Setting]:
        """Return settings without those that are set again, which are told."""
        places: dict[str, ast.Setting] = {}
        for item in written:
            first = places.setdefault(item.name.text, item)
            if first is not item:
                self.faults.error(
                    "E203",
                    f"`{item.name.text}` is set twice",
                    item.name.span,
                    labels=(Label(span=first.name.span, text="first set here"),),
                )
        return list(places.values())

    def read_setting(
        self, item: ast.Setting, table: Mapping[str, tables.Spec], kind: str, scope: Scope, found: dict[str, Any]
    ) -> None:
        """Put what a setting says into `found`; a fault is told."""
        name = item.name.text
        if name not in table:
            self.faults.add(tables.unknown_setting(name, item.name.span, kind, table))
        else:
            with self.faults.caught():
                found[name] = self._setting(item, table[name], scope)

    def _setting(self, item: ast.Setting, spec: tables.Spec, scope: Scope) -> Any:
        if spec.name == "key" and not isinstance(item.value, ast.Env | ast.Ref):
            raise fail(
                "E701",
                "an API key never stands in a program",
                item.value.span,
                help="put it into the environment or a `.env` file, and write `key = env.NAME`",
            )
        if spec.name == "read" and isinstance(item.value, ast.Call | ast.Ref):
            return self._read(item.value, scope)
        if spec.name == "shape" and isinstance(item.value, ast.Map):
            words = frozenset(tables.SHAPE_WORDS) - frozenset(scope.names)
            value = scope.compiler(words).expr(item.value)(Frame({w: tables.Word(w) for w in words}))
        else:
            value = scope.compiler().expr(item.value)(Frame())
        if isinstance(value, EnvVar) and spec.name not in ("key", "url"):
            raise fail("E702", "`env` stands only in `key`, `url` and `headers`", item.value.span)
        if value is None and spec.name in tables.PARAMS:
            return None
        try:
            return spec.read(value)
        except tables.Refused as refused:
            raise fail("E520", f"`{spec.name}` is {refused}", item.value.span) from None

    def _read(self, value: ast.Call | ast.Ref, scope: Scope) -> Weighted | None:
        name = value.function if isinstance(value, ast.Call) else value
        if isinstance(name, ast.Ref) and name.name == "number" and isinstance(value, ast.Ref):
            return None
        if not (isinstance(name, ast.Ref) and name.name in ("weighted", "number")):
            raise fail("E520", "`read` is `number`, `number(top: 20)` or `weighted(top: 20, mass: 0.25)`", value.span)
        found: dict[str, Any] = {}
        known = ("top", "mass") if name.name == "weighted" else ("top",)
        for arg in value.args if isinstance(value, ast.Call) else ():
            if arg.name is None or arg.name.text not in known:
                said = " and ".join(f"`{k}`" for k in known)
                raise fail("E213", f"`{name.name}` has the parameter{'s' * (len(known) > 1)} {said}", arg.span)
            found[arg.name.text] = scope.compiler().expr(arg.value)(Frame())
        top, mass = found.get("top", 20), found.get("mass", Decimal("0.25"))
        if type(top) is not int or not 1 <= top <= 20:
            raise fail("E520", "`top` is a whole number from 1 to 20", value.span)
        if mass is None or not is_exact(mass) or not 0 <= mass <= 1:
            raise fail("E520", "`mass` is a number from 0 to 1", value.span)
        return Weighted(top=top, mass=float(mass) if name.name == "weighted" else None)

    # -------------------------------------------------------------- models

    def _model(self, decl: ast.Model, scope: Scope) -> Model:
        base: Model | None = None
        if decl.base is not None:
            found = scope.lookup(decl.base.text, decl.base.span)
            if not isinstance(found, Model):
                raise fail("E217", f"`{decl.base.text}` is {describe(found)}, not a model", decl.base.span)
            base = found
        own = self.settings(decl.settings, tables.MODEL, "model", scope)
        if "use" not in own and base is None:
            if any(s.name.text == "use" for s in decl.settings):
                raise Silent
            raise fail(
                "E703", f"`{decl.name.text}` does not say which model it is", decl.name.span,
                help='add `use = "provider/model"`',
            )  # fmt: skip
        span = next((s.value.span for s in decl.settings if s.name.text == "use"), decl.name.span)
        use = own.get("use", base.use if base else "")
        places = {s.name.text: s.span for s in decl.settings}
        return self.models.built(decl.name.text, use, own, base, span, places)

    def origin_of(self, name: ast.Name, scope: Scope) -> tuple[ast.Decl, Scope]:
        """See `Scope.origin`."""
        binding = scope.names.get(name.text)
        if binding is None:
            scope.lookup(name.text, name.span)
            raise Silent
        if isinstance(binding.decl, ast.Import):
            module = scope.module.imports.get(binding.decl.path)
            if module is None:
                raise Silent
            wanted = next(n for n in binding.decl.names if n.alias.text == name.text)
            if wanted.name.text not in self.scope(module).names:
                scope.value(name.text)  # says what is wrong with the import
            return self.origin_of(wanted.name, self.scope(module))
        return binding.decl, scope

    # -------------------------------------------------------------- rubrics

    def _rubric(self, decl: ast.Rubric, scope: Scope) -> RubricMaker:
        params = self._params(decl.params)
        found = self.settings(decl.settings, tables.RUBRIC, "rubric", scope)
        scale, choices, shape = (found.get(name) for name in ("scale", "choices", "shape"))
        told = [x for x in decl.settings if x.name.text in HOW_READ]
        if not told and not HOW_READ & scope.module.file.lost:
            self.faults.error(
                "E710",
                f"`{decl.name.text}` does not say how its reply is read",
                decl.name.span,
                help='add `scale = 0..100`, `choices = { label: "what it means" }` or `shape = { flag: bool }`',
            )
        if len({x.name.text for x in told}) > 1:
            self.faults.error("E711", "a reply is a number, a label or a JSON object: one of them", told[1].name.span,
                              help="make two rubrics")  # fmt: skip
        weighted = found.get("read")
        if weighted is not None and scale is None:
            self.faults.error("E712", "`weighted` reads numbers: it needs a `scale`", decl.name.span)
        reading = Reading(
            scale=scale if choices is None and shape is None else None,
            choices=tuple(choices) if choices and shape is None else (),
            shape=shape or (),
            weighted=weighted,
            words=(*found.get("refusal", ()), *found.get("other", ())),
        )
        both = sorted(set(reading.words) & set(reading.choices))
        if both:
            self.faults.error("E714", f"`{both[0]}` is a label and a reason why there is none", decl.name.span)
        model: Model | None = None
        if decl.model is not None:
            model = self.as_model(scope.compiler().expr(decl.model)(Frame()), decl.model.span)
        shown = {}
        if choices:
            shown[CHOICES] = "\n".join(f"{k}: {v}" if v else k for k, v in choices.items())
        if shape:
            shown[SHAPE] = _shape_text(shape)
        for name in decl.params:
            if name.text in shown:
                self.faults.error(
                    "E713", f"`{name.text}` is how a rubric's messages see its setting of that name", name.span,
                    help="give the parameter another name",
                )  # fmt: skip
        body = scope.compiler(frozenset([*params, *shown])).messages(decl.body)
        own = {k: v for k, v in found.items() if k in tables.PARAMS}
        if weighted is not None:
            own["top_logprobs"] = weighted.top
        if reading.scale is None and not reading.choices and not reading.shape:
            raise Silent
        return RubricMaker(
            name=decl.name.text,
            params=params,
            body=body,
            reading=reading,
            shown=shown,
            model=model,
            settings=own,
            places={s.name.text: s.span for s in decl.settings},
        )

    def as_model(self, value: Value, span: Span) -> Model:
        """Return a model, or what a text names; raises EvalFault for anything else."""
        if isinstance(value, Model):
            return value
        if isinstance(value, str):
            declared = (s.names.get(value) for s in self._scopes.values())
            if any(b is not None and isinstance(b.decl, ast.Model) for b in declared):
                raise fail("E721", f'"{value}" is a text, and `{value}` a model', span,
                           help=f"write `{value}` without quotes")  # fmt: skip
            return self.models.of_text(value, span)
        raise fail("E217", f"{describe(value)} is not a model", span, help='a model is declared, or "provider/model"')

    def _params(self, names: tuple[ast.Name, ...]) -> tuple[str, ...]:
        for i, name in enumerate(names):
            if name.text in (n.text for n in names[:i]):
                self.faults.error("E203", f"the parameter `{name.text}` stands twice", name.span)
        return tuple(dict.fromkeys(n.text for n in names))


def _shape_text(shape: tuple[Part, ...]) -> str:
    """Return what a JSON reply holds, as a rubric's message tells it.

    >>> _shape_text((Part(name="harm", kind="bool"), Part(name="why", kind="text")))
    '{"harm": true or false, "why": a text}'
    """
    said = []
    for part in shape:
        kind = {"bool": "true or false", "number": "a number", "text": "a text"}.get(part.kind, "")
        if part.scale is not None:
            kind = f"a number from {part.scale[0]:.0f} to {part.scale[1]:.0f}"
        if part.choices:
            kind = "one of " + ", ".join(f'"{c}"' for c in part.choices)
        said.append(f'"{part.name}": {kind}')
    return "{" + ", ".join(said) + "}"


def _declared(decl: ast.Decl) -> list[ast.Name]:
    if isinstance(decl, ast.Import):
        return [n.alias for n in decl.names]
    return [decl.name]
