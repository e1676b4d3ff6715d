"""Names to values: what the declarations of a file and its imports mean."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from emdsl.compiler import settings as tables
from emdsl.compiler.expr import FOREIGN, Compiler, Function, PromptMaker
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.functions import BUILTINS
from emdsl.data.dataset import MIN_SHA256, Dataset, read_dataset
from emdsl.data.records import DataError
from emdsl.frame import EvalFault, Frame, fail
from emdsl.judge import Reading, Weighted
from emdsl.lang import ast
from emdsl.query import Model, Params, Price
from emdsl.service import OPENAI_API, PLANNED, SERVICES, SIM, SIM_MODELS, SIM_PARAMS, Service, openai_api
from emdsl.source import Diagnostic, Label, Source, Span, near, one_of
from emdsl.value import EnvVar, Value, describe, is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.lang.loader import Module
    from emdsl.prompt import Message

SIM_VERSION = "1"  # of the simulator's ground truth: the revision of every `sim/` model
HOW_READ = frozenset(("scale", "choices", "shape"))  # what says how a rubric's reply is read
CHOICES = "choices"  # the name under which a rubric's messages see its labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RubricMaker:
    """`rubric r(a) { ... }`: a prompt about an answer, and how its reply is read."""

    name: str
    params: tuple[str, ...]
    body: Callable[[Frame], tuple[Message, ...]]
    reading: Reading
    choices: str  # the labels with their meanings, a line each
    model: Model | None
    settings: Mapping[str, Any]

    def messages(self, frame: Frame) -> tuple[Message, ...]:
        """Return the messages in a frame that holds its parameters."""
        if self.choices:
            frame[CHOICES] = self.choices
        return self.body(frame)


_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Binding:
    """One file-level name: where it is declared, and its value once it was asked for."""

    name: ast.Name
    decl: ast.Decl
    value: Value = None
    state: str = "new"  # new, open, done, bad


@dataclass(slots=True)
class Inputs:
    """What a program read beside its text: files by path with their digests, variables with their values."""

    files: dict[str, str] = field(default_factory=dict)


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
        if name.text in BUILTINS or name.text in ("sample", "missing", *tables.PLANNED_FUNCTIONS, *MEASURES):
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
            return fail("E143", f"`{name}` is written `{FOREIGN[name]}`", span)
        known = [*self.names, *local, *BUILTINS]
        elsewhere = self._resolver.exporters(name, self)
        hint = near(name, known)
        if elsewhere:
            hint = f'`import {name} from "{elsewhere}"` would bring it here'
        return fail("E201", f"no name `{name}` is known here", span, help=hint)

    def origin(self, name: ast.Name) -> tuple[ast.Decl, Scope]:
        """Return the declaration that a name leads to, through imports, and the scope it stands in."""
        return self._resolver.origin_of(name, self)

    def compiler(self, local: frozenset[str] = frozenset(), words: frozenset[str] = frozenset()) -> Compiler:
        """Return the compiler of expressions that stand in this file."""
        return Compiler(self.value, local, words)


MEASURES = ("rate", "mean", "count", "wilson", "wald")


class Resolver:
    """Gives the declarations of a program their values; faults gather, each once."""

    def __init__(self, faults: Faults, environment: Mapping[str, str], *, simulate: bool = False) -> None:
        self.faults = faults
        self.simulate = simulate
        self.inputs = Inputs()
        self._places: dict[str, tuple[Model, Span]] = {}
        self._environment = environment
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
                return self._dataset(decl, scope)
            case ast.Prompt():
                params = self._params(decl.params)
                return PromptMaker(name, params, scope.compiler(frozenset(params)).messages(decl.body))
            case ast.Rubric():
                return self._rubric(decl, scope)
            case ast.Let(params=None):
                return scope.compiler().expr(decl.value)(Frame())
            case ast.Let():
                params = self._params(decl.params or ())
                return Function(name, params, scope.compiler(frozenset(params)).expr(decl.value))
            case ast.Python():
                raise fail("E901", "`python` is not compiled yet", decl.span, help="write it as `let f(x) = ...`")
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
            self._read_setting(item, table, kind, scope, found)
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

    def _read_setting(
        self, item: ast.Setting, table: Mapping[str, tables.Spec], kind: str, scope: Scope, found: dict[str, Any]
    ) -> None:
        name = item.name.text
        if name in tables.PLANNED.get(kind, ()):
            self.faults.error("E901", f"`{name}` is not compiled yet", item.name.span, help="leave it out for now")
        elif name not in table:
            self.faults.error(
                "E202",
                f"no setting of {_article(kind)} is called `{name}`",
                item.name.span,
                help=near(name, table) or f"it has {one_of(table, 30)}",
            )
        else:
            with self.faults.caught():
                found[name] = self._setting(item, table[name], scope)

    def _setting(self, item: ast.Setting, spec: tables.Spec, scope: Scope) -> Any:
        if spec.name == "key" and not isinstance(item.value, ast.Env | ast.Ref):
            raise fail(
                "E701",
                "an API key never stands in a program",
                _masked(item.value.span),
                help="put it into the environment or a `.env` file, and write `key = env.NAME`",
            )
        if spec.name == "read" and isinstance(item.value, ast.Call | ast.Ref):
            return self._read(item.value, scope)
        value = scope.compiler().expr(item.value)(Frame())
        if isinstance(value, EnvVar) and spec.name not in ("key", "url"):
            raise fail("E702", "`env` stands only in `key` and `url`", item.value.span)
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
        if not (isinstance(name, ast.Ref) and name.name == "weighted"):
            raise fail("E520", "`read` is `number` or `weighted(top: 20, mass: 0.25)`", value.span)
        found: dict[str, Any] = {}
        for arg in value.args if isinstance(value, ast.Call) else ():
            if arg.name is None or arg.name.text not in ("top", "mass"):
                raise fail("E213", "`weighted` has the parameters `top` and `mass`", arg.span)
            found[arg.name.text] = scope.compiler().expr(arg.value)(Frame())
        top, mass = found.get("top", 20), found.get("mass", Decimal("0.25"))
        if type(top) is not int or not 1 <= top <= 20:
            raise fail("E520", "`top` is a whole number from 1 to 20", value.span)
        if mass is None or not is_exact(mass) or not 0 <= mass <= 1:
            raise fail("E520", "`mass` is a number from 0 to 1", value.span)
        return Weighted(top=top, mass=float(mass))

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
        return self._built(decl.name.text, use, own, base, span)

    def text_model(self, use: str, span: Span) -> Model:
        """Return the model that a text `"provider/model"` names, without settings."""
        return self._built(use, use, {}, None, span)

    def _built(self, name: str, use: str, own: dict[str, Any], base: Model | None, span: Span) -> Model:
        service, wire_name = parse_use(use, span)
        same = base is not None and base.service.name == service.name
        inherited = base if base is not None and (same or "use" not in own) else None
        params = dict(base.params) if base else {}
        for key in tables.PARAMS:
            if key in own:
                params[key] = own[key]
        if params.get("sim") is not None and service.name != SIM:
            raise fail("E704", "`sim` is for `sim/` models only", span)
        revision = own.get("revision", inherited.revision if inherited and "use" not in own else None)
        if service.name == SIM:
            _known_to_simulator(wire_name, params.get("sim") or {}, span)
            if revision is not None and "revision" in own:
                raise fail("E705", "a simulated model's revision is the simulator's version", span)
            revision = SIM_VERSION
        url = own.get("url", inherited.url if inherited else None)
        price = own.get("price")
        model = Model(
            name=name,
            use=use,
            service=service,
            wire_name=wire_name,
            revision=revision,
            origin=self._origin(service, url, revision, span),
            params=tuple(sorted((k, v) for k, v in params.items() if v is not None)),
            url=url,
            key=own.get("key", inherited.key if inherited else None),
            price=Price(**price) if price else (base.price if base and "use" not in own else None),
            context=own.get("context", base.context if base and "use" not in own else None),
            timeout_s=own.get("timeout", base.timeout_s if base else None),
        )
        first = self._places.setdefault(repr(model.identity), (model, span))
        if first[0].url != model.url and not self.simulate:
            raise EvalFault(
                Diagnostic(
                    code="E723",
                    message=f"`{use}` is one model at two places",
                    span=span,
                    labels=(Label(span=first[1], text="the other place"),),
                    note="answers are known by the model, not by its url: they would be taken for each other's",
                    help='say which weights each serves with `revision = "..."`, or give both the same url',
                )
            )
        return model

    def _origin(self, service: Service, url: str | EnvVar | None, revision: str | None, span: Span) -> str | None:
        """Return what tells two servers of one's own apart; None where the name alone says which model."""
        if not service.self_hosted or revision is not None or self.simulate:
            return None
        address = self.address(service, url)
        if address is None:
            variable = url.name if isinstance(url, EnvVar) else service.url_variable
            raise fail(
                "E706",
                f"which server is `{service.name}`? `{variable}` is not set",
                span,
                note="without a `revision`, the server is part of this model's identity",
                help=f'set {variable}, write `url = "http://..."`, or name the weights with `revision = "..."`',
            )
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in _PORTS or not host:
            raise fail("E707", f"the url of `{service.name}` is no URL", span, help="write http://host:port/v1")
        return f"{parts.scheme}://{host.lower()}:{port or _PORTS[parts.scheme]}"

    def address(self, service: Service, url: str | EnvVar | None) -> str | None:
        """Return the base URL that a model uses, or None where a variable is not set."""
        if isinstance(url, EnvVar):
            return self._environment.get(url.name)
        if url is not None:
            return url
        return self._environment.get(service.url_variable or "") or service.url

    # -------------------------------------------------------------- datasets

    def _dataset(self, decl: ast.Dataset, scope: Scope) -> Dataset:
        written = self._dataset_settings(decl, scope)
        found: dict[str, Any] = {}
        for setting, written_in in written.values():
            self._read_setting(setting, tables.DATASET, "dataset", written_in, found)
        if "file" not in found:
            if "file" in written:
                raise Silent
            raise fail(
                "E601",
                f"`{decl.name.text}` names no file",
                decl.name.span,
                help='add `file = "data/rows.jsonl"`',
            )
        if len(found) < len([w for w in written if w in tables.DATASET]):
            raise Silent
        item, folder_scope = written["file"]
        path = folder_scope.module.folder / found["file"]
        pin = found.get("sha256")
        if pin is not None and (len(pin) < MIN_SHA256 or any(c not in "0123456789abcdefABCDEF" for c in pin)):
            raise fail("E602", f"`sha256` is {MIN_SHA256} or more hex digits", written["sha256"][0].value.span)
        try:
            dataset = read_dataset(decl.name.text, path, found.get("columns"), pin)
        except DataError as error:
            span = item.value.span
            if error.column and "columns" in written:
                span = _entry_span(written["columns"][0].value, error.column) or span
            code = "E603" if error.missing else "E604"
            help_ = error.help
            if error.missing:
                start = f"paths start from {os.path.relpath(folder_scope.module.folder)}/"
                beside = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
                help_ = near(path.name, beside) or start
            raise fail(code, str(error), span, help=help_) from error
        self.inputs.files[str(path.resolve())] = dataset.sha256
        return dataset

    def _dataset_settings(
        self, decl: ast.Dataset, scope: Scope, trail: tuple[ast.Dataset, ...] = ()
    ) -> dict[str, tuple[ast.Setting, Scope]]:
        """Return what is set for a dataset, by itself or by what it copies, and where each was written."""
        found: dict[str, tuple[ast.Setting, Scope]] = {}
        if decl.base is not None:
            origin, base_scope = self.origin_of(decl.base, scope)
            if not isinstance(origin, ast.Dataset):
                raise fail("E217", f"`{decl.base.text}` is not a dataset", decl.base.span)
            if any(origin is t for t in (*trail, decl)):
                raise fail("E207", f"`{decl.name.text}` is defined by itself", decl.name.span)
            found = self._dataset_settings(origin, base_scope, (*trail, decl))
            if any(s.name.text == "file" for s in decl.settings):
                found.pop("sha256", None)  # the pin is the other file's
        for item in self.once(decl.settings):
            found[item.name.text] = (item, scope)
        return found

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
        scale, choices = found.get("scale"), found.get("choices")
        if (
            scale is None
            and choices is None
            and not any(s.name.text in HOW_READ for s in decl.settings)
            and not HOW_READ & scope.module.file.lost
        ):
            self.faults.error(
                "E710",
                f"`{decl.name.text}` does not say how its reply is read",
                decl.name.span,
                help='add `scale = 0..100`, or `choices = { label: "what it means" }`',
            )
        if scale is not None and choices is not None:
            self.faults.error("E711", "a reply is a number or a label, not both", decl.name.span,
                              help="make two rubrics")  # fmt: skip
        weighted = found.get("read")
        if weighted is not None and scale is None:
            self.faults.error("E712", "`weighted` reads numbers: it needs a `scale`", decl.name.span)
        reading = Reading(
            scale=scale if choices is None else None,
            choices=tuple(choices) if choices else (),
            weighted=weighted,
            words=(*found.get("refusal", ()), *found.get("other", ())),
        )
        both = sorted(set(reading.words) & set(reading.choices))
        if both:
            self.faults.error("E714", f"`{both[0]}` is a label and a reason why there is none", decl.name.span)
        model: Model | None = None
        if decl.model is not None:
            model = self.as_model(scope.compiler().expr(decl.model)(Frame()), decl.model.span)
        if choices and CHOICES in params:
            self.faults.error(
                "E713", "`choices` stands for the labels here: a parameter cannot be called so", decl.name.span,
                help="give the parameter another name",
            )  # fmt: skip
        extra = [CHOICES] if choices else []
        body = scope.compiler(frozenset([*params, *extra])).messages(decl.body)
        own = {k: v for k, v in found.items() if k in tables.PARAMS}
        if weighted is not None:
            own["top_logprobs"] = weighted.top
        if reading.scale is None and not reading.choices:
            raise Silent
        return RubricMaker(
            name=decl.name.text,
            params=params,
            body=body,
            reading=reading,
            choices="\n".join(f"{k}: {v}" if v else k for k, v in (choices or {}).items()),
            model=model,
            settings=own,
        )

    def as_model(self, value: Value, span: Span) -> Model:
        """Return a model, or what a text names; raises EvalFault for anything else."""
        if isinstance(value, Model):
            return value
        if isinstance(value, str):
            return self.text_model(value, span)
        raise fail("E217", f"{describe(value)} is not a model", span, help='a model is declared, or "provider/model"')

    def simulated(self, model: Model, params: Params, *, judge: bool) -> tuple[Model, Params]:
        """Return the simulator in a model's place; it knows whose, so that two models stay two."""
        if model.simulated:
            return model, params
        use = f"{SIM}/judge" if judge else f"{SIM}/subject"
        stand_in = Model(
            name=model.name, use=use, service=SERVICES[SIM], wire_name=use.removeprefix(f"{SIM}/"),
            revision=SIM_VERSION, context=model.context,
        )  # fmt: skip
        return stand_in, merged(params, {"sim": {"as": model.use}, "extra": None})

    def _params(self, names: tuple[ast.Name, ...]) -> tuple[str, ...]:
        for i, name in enumerate(names):
            if name.text in (n.text for n in names[:i]):
                self.faults.error("E203", f"the parameter `{name.text}` stands twice", name.span)
        return tuple(dict.fromkeys(n.text for n in names))


def _known_to_simulator(model: str, told: Mapping[str, Any], span: Span) -> None:
    if model not in SIM_MODELS:
        hint = near(model, SIM_MODELS) or f"it has {one_of(SIM_MODELS)}"
        raise fail("E724", f"the simulator has no model `{model}`", span, help=hint)
    for name, value in told.items():
        if name not in SIM_PARAMS:
            hint = near(name, SIM_PARAMS) or f"known are {one_of(SIM_PARAMS)}"
            raise fail("E725", f"the simulator's ground truth has no `{name}`", span, help=hint)
        if not is_exact(value) or value < 0 or (value > 1 and name != "half"):
            raise fail("E725", f"`{name}` is {'a number over 0' if name == 'half' else 'a probability'}", span)


def merged(base: Params, own: Mapping[str, Any]) -> Params:
    """Return parameters with some replaced; one that is set to `none` is taken out."""
    found = dict(base) | dict(own)
    return tuple(sorted((k, v) for k, v in found.items() if v is not None))


def parse_use(use: str, span: Span) -> tuple[Service, str]:
    """Return the service and its name for a model from `provider/model`; raises EvalFault."""
    first, _, rest = use.partition("/")
    if ":" in first:
        parts = use.split(":")
        raise fail("E720", f'"{use}" is another tool\'s spelling', span, help=f'write "{parts[0]}/{parts[-1]}"')
    if not rest:
        guess = "openai" if first.startswith(("gpt", "o1", "o3", "o4")) else "provider"
        raise fail(
            "E721", f'"{use}" does not say who serves it', span,
            help=f'write "{guess}/{use}"; providers are {one_of([*SERVICES, OPENAI_API])}',
        )  # fmt: skip
    if first == OPENAI_API:
        name, _, model = rest.partition("/")
        if not name or not model:
            raise fail("E721", f'"{use}" does not say which model', span, help='write "openai-api/<service>/<model>"')
        return openai_api(name), model
    if first in SERVICES:
        return SERVICES[first], rest
    if first in PLANNED:
        raise fail("E901", f"the provider `{first}` is not there yet", span, help=f'reach it by "openrouter/{use}"')
    raise fail(
        "E722",
        f"no provider is called `{first}`",
        span,
        help=near(first, SERVICES)
        or f'known are {one_of([*SERVICES, OPENAI_API])}; any other server is "openai-api/{first}/{rest}" with a `url`',
    )


def _declared(decl: ast.Decl) -> list[ast.Name]:
    if isinstance(decl, ast.Import):
        return [n.alias for n in decl.names]
    return [decl.name]


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _masked(span: Span) -> Span:
    """Return the place of a secret in a copy of its source that does not show it."""
    text = span.source.text
    stars = "".join(c if c == "\n" else "*" for c in span.text)
    copy = Source(name=span.source.name, text=text[: span.start] + stars + text[span.end :], path=span.source.path)
    return Span(copy, span.start, span.end)


def _entry_span(value: ast.Expr, path: str) -> Span | None:
    if isinstance(value, ast.Map):
        for entry in value.entries:
            if isinstance(entry.value, ast.Text) and entry.value.parts == (path,):
                return entry.value.span
    return None
