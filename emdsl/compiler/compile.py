"""File to program: load, resolve, build each experiment; all errors are raised here, at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from emdsl.compiler.build import build_experiment
from emdsl.compiler.choice_texts import CHOICES, check_texts, described
from emdsl.compiler.datasets import linked
from emdsl.compiler.faults import Faults
from emdsl.compiler.free_names import free_names
from emdsl.compiler.infer import Checker
from emdsl.compiler.models import Models
from emdsl.compiler.resolve import Resolver
from emdsl.compiler.rubrics import SHAPE
from emdsl.compiler.types import ANY
from emdsl.digest import digest, digest_bytes
from emdsl.errors import HookError, SourceError
from emdsl.experiment import Experiment, Program
from emdsl.frame import EvalFault, MissingInput
from emdsl.lang import ast
from emdsl.lang.loader import load, load_source
from emdsl.project import find_project
from emdsl.source import Label, Source, Span
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.scope import Scope
    from emdsl.lang.loader import Instead, Module
    from emdsl.lang.walk import Tree
    from emdsl.query import Model
    from emdsl.source import Diagnostic


def compile_file(
    path: Path, environment: Mapping[str, str] | None = None, *, simulate: bool = False, library: bool = False,
    instead: Instead | None = None, hook_values: Path | None = None,
) -> Program:  # fmt: skip
    """Return the program of a file.

    Args:
        path: The file.
        environment: The variables that it may read; by default those of the process.
        simulate: Replace every model by the simulator.
        library: Whether a file without an experiment is allowed.
        instead: Files that are read in place of others, for the program of an earlier run.
        hook_values: The folder with values of functions in Python; None keeps no values.

    Raises:
        SourceError: The program has errors; the exception has its diagnostics.
        UsageError: The file cannot be read.
    """
    module, diagnostics = load(path, instead)
    return _compiled(
        module, diagnostics, environment, simulate=simulate, library=library, instead=instead, hook_values=hook_values
    )


def compile_source(source: Source, environment: Mapping[str, str] | None = None) -> Program:
    """Return the program of a text; its relative paths start from the working folder."""
    module, diagnostics = load_source(source, source.path.parent if source.path else Path())
    return _compiled(module, diagnostics, environment, simulate=False)


def model_of(use: str, environment: Mapping[str, str]) -> Model:
    """Return the model that `provider/model` names, without settings; raises SourceError."""
    source = Source("the model", use)
    try:
        return Models(Faults(), environment, {}, simulate=False).of_text(use, Span(source, 0, len(use)))
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from None


def _compiled(
    module: Module, diagnostics: list[Diagnostic], environment: Mapping[str, str] | None, *, simulate: bool,
    library: bool = False, instead: Instead | None = None, hook_values: Path | None = None,
) -> Program:  # fmt: skip
    faults = Faults()
    for diagnostic in diagnostics:
        faults.add(diagnostic)
    variables = os.environ if environment is None else environment
    root = find_project(module.folder.resolve())
    resolver = Resolver(faults, variables, root, simulate=simulate, instead=instead, hook_values=hook_values)
    scope = resolver.scope(module)
    experiments: tuple[Experiment, ...] = ()
    try:
        _check_declarations(scope, faults)
        experiments = _experiments(scope, resolver, faults)
        if not experiments and not library and not faults.errors:
            faults.error("E801", f"`{module.file.source.name}` has no experiment", None,
                         help="add `experiment NAME { ... }`, or run a file that has one")  # fmt: skip
    except EvalFault as fault:  # too much to go on with
        faults.add(fault.diagnostic)
    except HookError as error:
        faults.error("E625", str(error), error.span)
    except MissingInput:
        for absent in resolver.inputs.absent:
            faults.error("E605", f"{absent.message}, and the study cannot be read without its rows", absent.span,
                         help=absent.help, note="a setting, an axis or a prompt uses them")  # fmt: skip
    if faults.errors:
        from emdsl.compiler.habits import explained  # noqa: PLC0415 - a correct program does without

        raise SourceError(explained(faults.sorted()))
    sources = _sources(module)
    texts = {name: s.text for name, s in sources.items()}
    return Program(
        name=module.file.source.name,
        experiments=experiments,
        warnings=faults.sorted(),
        digest=digest("program", __version__, texts, resolver.inputs.files, resolver.inputs.variables, simulate),
        files={n: digest_bytes(t.encode()).hex() for n, t in texts.items() if Path(n).is_absolute()}
        | resolver.inputs.files,
        links=_links(sources) | resolver.inputs.links,
        sources=sources,
        variables=resolver.inputs.variables,
        patterns=resolver.inputs.patterns,
        absent=tuple(resolver.inputs.absent),
        annotations=resolver.inputs.annotations,
        datasets=tuple(resolver.inputs.datasets),
    )


def _check_declarations(scope: Scope, faults: Faults) -> None:
    """Give every declaration of the file its value, so that each fault is reported; check what has a body."""
    for name, binding in scope.names.items():
        if isinstance(binding.decl, ast.Experiment):
            continue
        if not isinstance(binding.decl, ast.Import):
            check_names(binding.decl, scope, faults)
        with faults.caught():
            scope.value(name)


def check_names(decl: ast.Decl, scope: Scope, faults: Faults) -> None:
    """Check the expressions of a declaration, its parameters taken as of any type."""
    match decl:
        case ast.Prompt():
            Checker(scope, faults, dict.fromkeys((p.text for p in decl.params), ANY)).body(decl.body)
            _unused(decl.params, decl.body, f"the prompt `{decl.name.text}`", faults)
        case ast.Rubric():
            names = [p.text for p in decl.params]
            extra = [s.name.text for s in decl.settings if s.name.text in (CHOICES, SHAPE)]
            texts = described(decl, scope)
            Checker(scope, faults, dict.fromkeys([*names, *extra], ANY)).body((*texts, *decl.body))
            _unused(decl.params, (texts, decl.body), "the judge", faults)
            check_texts(decl, scope, faults)
        case ast.Let():
            Checker(scope, faults, dict.fromkeys((p.text for p in decl.params or ()), ANY)).infer(decl.value)
            _unused(decl.params or (), decl.value, f"`{decl.name.text}`", faults)
        case _:
            pass


def _unused(params: tuple[ast.Name, ...], body: Tree, who: str, faults: Faults) -> None:
    """What is given to a prompt and not used is not sent."""
    if any(d.code.startswith("E1") for d in faults.errors):
        return  # a part of it may have been dropped
    read = free_names(body)
    for param in params:
        if param.text not in read:
            faults.warning("W320", f"unused parameter `{param.text}`: {who} would not see it", param.span,
                           help=f"insert it with `{{{param.text}}}`, or remove it")  # fmt: skip


def _experiments(scope: Scope, resolver: Resolver, faults: Faults) -> tuple[Experiment, ...]:
    built = []
    tables: dict[str, tuple[str, Span]] = {}
    declared = [d for d in scope.module.file.decls if isinstance(d, ast.Experiment)]
    for decl in declared:
        experiment = build_experiment(decl, scope, resolver, faults)
        if experiment is None:
            continue
        built.append(experiment)
        for name, span in [
            (experiment.name, experiment.span),
            *((m.name, m.span) for m in experiment.measures),
        ]:
            other, place = tables.setdefault(name.lower(), (name, span))
            if place is not span:
                case = "" if other == name else ", if case is ignored"
                faults.error(
                    "E802", f"`{name}` is already the name of an experiment or a measure{case}", span,
                    labels=(Label(span=place, text="the other one"),),
                    note="each experiment and each measure is a table of results", help="rename one of them",
                )  # fmt: skip
    return tuple(built)


def _links(sources: Mapping[str, Source]) -> dict[str, str]:
    links: dict[str, str] = {}
    for source in sources.values():
        if source.path is not None:
            links |= linked(source.path)
    return links


def _sources(module: Module) -> dict[str, Source]:
    """Return the texts of a program by path, those of the standard library by name."""
    texts: dict[str, Source] = {}

    def visit(each: Module) -> None:
        source = each.file.source
        name = str(source.path.resolve()) if source.path else source.name
        if name not in texts:
            texts[name] = source
            for imported in each.imports.values():
                visit(imported)

    visit(module)
    return texts
