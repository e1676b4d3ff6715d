"""An experiment's statements to its axes, steps, lets and measures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.check import check
from emdsl.compiler.columns import numeric_names, thresholds
from emdsl.compiler.expr import Compiler, Function, constantly
from emdsl.compiler.facts import Parts, Statements, check_sides, facts_of
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.grid import MAX_ROWS, Block, Grid, SkipRule, Source, in_order
from emdsl.compiler.kinds import ANSWER, ANY, NUMBER, TEXT, Type, label_names, part_type, type_of, union, verdict_type
from emdsl.compiler.measures import build_measure
from emdsl.compiler.probe import probe
from emdsl.compiler.reads import free_names, reached
from emdsl.compiler.resolve import Resolver, RubricMaker, Scope
from emdsl.compiler.steps import StepBuilder
from emdsl.compiler.types import ANSWER_FIELDS, Checker
from emdsl.experiment import ASK, Axis, Column, Experiment, Measure, Step
from emdsl.frame import EvalFault, Fn, Frame
from emdsl.lang import ast
from emdsl.source import Label, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.source import Span
    from emdsl.value import Value

COLUMN_KINDS = {"number": "double", "score": "double", "bool": "bool", "text": "text", "label": "text",
                "answer": "text", "any": "text"}  # fmt: skip


def build_experiment(decl: ast.Experiment, scope: Scope, resolver: Resolver, faults: Faults) -> Experiment | None:
    """Return what an experiment means; None where its faults leave nothing to go on with."""
    return _Builder(decl, scope, resolver, faults).build()


class _Builder:
    def __init__(self, decl: ast.Experiment, scope: Scope, resolver: Resolver, faults: Faults) -> None:
        self._decl = decl
        self._scope = scope
        self._resolver = resolver
        self._faults = faults
        self._parts = Parts()
        self._gather(decl.body, (), self._parts)
        self._lets = {x.name.text: x for x in self._parts.lets}
        self._draws: dict[str, int] = {}  # of judges that are asked several times: the number of the draw
        self._parts.steps = [x for s, c in self._parts.steps for x in self._repeated(s, c)]
        self._written_steps = [s for s, _ in self._parts.steps]
        first: dict[str, tuple[ast.Ask | ast.Judge, tuple[ast.Expr, ...]]] = {}
        for step, conditions in self._parts.steps:
            first.setdefault(step.name.text, (step, conditions))
        self._parts.steps = list(first.values())
        self._step_decls = {name: step for name, (step, _) in first.items()}
        self._axis_names = self._find_axes()
        self._words: frozenset[str] = frozenset()
        self._types: dict[str, Type] = {}
        self._lost = scope.module.file.lost
        self._shown: dict[str, frozenset[str]] = {}

    def build(self) -> Experiment | None:
        started = len(self._faults.errors)
        self._names_once()
        constants = self._resolver.settings(tuple(self._parts.settings), tables.EXPERIMENT, "experiment", self._scope)
        seed = constants.get("seed")
        rubrics = self._rubrics()
        self._local = self._local_names(rubrics, has_seed="seed" in constants)
        self._words = frozenset(w for r in rubrics.values() for w in r.reading.words)
        compiler = self._scope.compiler(self._local, self._words)
        lets = self._compiled_lets(compiler)
        grid = self._grid(compiler, {"seed": seed} if seed is not None else {}, lets)
        if grid is None:
            self._check_loosely(rubrics)
            return None
        axes = tuple(Axis(name=n, levels=tuple(grid.levels[n].found), span=self._axis_spans[n]) for n in grid.names)
        if grid.n_cells == 0:
            self._faults.error(
                "E407", "every cell is skipped: nothing is left to ask", self._decl.name.span,
                labels=tuple(Label(span=s.span, text="skips") for s in self._parts.skips),
            )  # fmt: skip
        n_rows = grid.n_cells * constants.get("samples", 1)
        if n_rows > MAX_ROWS:
            self._faults.error(
                "E422", f"{grid.n_cells:,} cells with {constants['samples']:,} samples each are {n_rows:,} rows, and "
                f"at most {MAX_ROWS:,} are gone through", self._decl.name.span,
                help="draw fewer samples, or leave cells out",
            )  # fmt: skip
            return None
        self._shown = {a.name: frozenset(x.shown for x in a.levels) for a in axes}
        self._infer_types(axes, rubrics, seed)
        before = len(self._faults.errors)
        self._check_statements()
        steps = self._steps(compiler, axes, rubrics, seed, lets)
        measures = tuple(m for m in map(self._measure, self._parts.measures) if m is not None)
        if len(self._faults.errors) > before:
            return None
        grid.warn_of_idle_skips()
        experiment = Experiment(
            name=self._decl.name.text,
            axes=axes,
            samples=constants.get("samples", 1),
            seed=seed,
            parallel=constants.get("parallel"),
            budget=constants.get("budget"),
            cells=grid.cells,
            projected=grid.projected,
            n_cells=grid.n_cells,
            n_skipped=grid.n_skipped,
            reads_absent=grid.reads_absent,
            steps=steps,
            lets=lets,
            columns=self._columns(),
            measures=measures,
            words=self._words,
            thresholds=thresholds(self._compared(), self._constant),
            span=self._decl.name.span,
            whole=self._decl.span,
        )
        with self._faults.caught():
            requests = probe(experiment)
            if len(self._faults.errors) == started:  # what is suspect is told of what is right
                statements = Statements(
                    decl=self._decl, parts=self._parts, blocks=tuple(self._blocks), scope=self._scope, grid=grid,
                    axis_spans=self._axis_spans, reached=self._reached, matched=frozenset(self._builder.matched),
                )  # fmt: skip
                check(experiment, requests, facts_of(statements), self._faults)
                compiler = self._scope.compiler(self._local, self._words)
                check_sides(experiment, self._parts.measures, compiler, self._faults)
        return experiment

    # -------------------------------------------------------------- statements and names

    def _gather(self, body: tuple[ast.Stmt, ...], conditions: tuple[ast.Expr, ...], into: Parts) -> None:
        for stmt in body:
            match stmt:
                case ast.Setting():
                    into.settings.append(stmt)
                case ast.For():
                    into.fors.append(stmt)
                case ast.Skip():
                    into.skips.append(stmt)
                case ast.Grid():
                    into.grids.append(stmt)
                case ast.SetRule():
                    into.sets.append(stmt)
                case ast.Let():
                    into.lets.append(stmt)
                case ast.Ask() | ast.Judge():
                    into.steps.append((stmt, conditions))
                case ast.Measure():
                    into.measures.append(stmt)
                case ast.When():
                    allowed = ast.Ask | ast.Judge | ast.When | ast.Let | ast.Measure
                    for inner in stmt.body:
                        if isinstance(inner, allowed):
                            continue
                        self._faults.error(
                            "E411", "this cannot stand under a `when`", inner.span,
                            help="`ask`, `judge`, `let` and `measure` can; cells are left out with `skip when`",
                        )  # fmt: skip
                    inside = tuple(x for x in stmt.body if isinstance(x, allowed))
                    self._gather(inside, (*conditions, stmt.condition), into)

    def _repeated(
        self, step: ast.Ask | ast.Judge, conditions: tuple[ast.Expr, ...]
    ) -> list[tuple[ast.Ask | ast.Judge, tuple[ast.Expr, ...]]]:
        """Return a judge with `samples = n` as n steps: NAME, NAME_2, NAME_3 ..."""
        if not isinstance(step, ast.Judge):
            return [(step, conditions)]
        settings = tuple(s for s in step.settings if s.name.text != "samples")
        told = tuple(s for s in step.settings if s.name.text == "samples")
        if not told:
            return [(step, conditions)]
        found = self._resolver.settings(told, tables.JUDGE, "judge", self._scope)
        steps: list[tuple[ast.Ask | ast.Judge, tuple[ast.Expr, ...]]] = []
        for i in range(found.get("samples", 1)):
            name = step.name.text if i == 0 else f"{step.name.text}_{i + 1}"
            self._draws[name] = i
            steps.append((replace(step, name=replace(step.name, text=name), settings=settings), conditions))
        return steps

    def _find_axes(self) -> tuple[str, ...]:
        """Return the names of all axes in the order in which they stand, and remember their places."""
        self._axis_spans: dict[str, Span] = {}
        self._blocks: list[Parts] = []
        for grid in self._parts.grids:
            inner = Parts()
            self._gather(grid.body, (), inner)
            for stmt in grid.body:
                if not isinstance(stmt, ast.For | ast.Skip):
                    self._faults.error(
                        "E412",
                        "a `grid` holds `for` and `skip` only",
                        stmt.span,
                        help="move it out of the block",
                    )
            self._blocks.append(inner)
        for stmt in self._decl.body:
            block = [stmt] if isinstance(stmt, ast.For) else []
            if isinstance(stmt, ast.Grid):
                block = [s for s in stmt.body if isinstance(s, ast.For)]
            for found in block:
                for name in found.names:
                    self._axis_spans.setdefault(name.text, name.span)
        return tuple(self._axis_spans)

    def _names_once(self) -> None:
        """Every name of an experiment is its own: nothing shadows."""
        seen: dict[str, ast.Name] = {}
        blocks = self._blocks or [Parts()]
        per_block = [[n for f in (*self._parts.fors, *b.fors) for n in f.names] for b in blocks]
        for names in per_block:
            for i, name in enumerate(names):
                if name.text in (n.text for n in names[:i]):
                    self._doubled(name, next(n for n in names if n.text == name.text))
        for name in [n for names in per_block for n in names]:
            seen.setdefault(name.text, name)
        others = [
            *(x.name for x in self._parts.lets),
            *(s.name for s in self._written_steps),
        ]
        for name in others:
            if name.text in seen:
                self._doubled(name, seen[name.text])
            seen.setdefault(name.text, name)
        for name in seen.values():
            if name.text == "sample":
                self._faults.error(
                    "E413", "`sample` is the number of the draw, counted from 0", name.span,
                    help="choose another name; `samples = 50` says how many draws there are",
                )  # fmt: skip
            elif name.text in BUILTINS or name.text in ("seed", "missing"):
                self._faults.error(
                    "E204", f"`{name.text}` is a word of the language", name.span, help="choose another name"
                )
            elif name.text in self._scope.names:
                self._doubled(name, self._scope.names[name.text].name)
        measures: dict[str, ast.Name] = {}
        for measure in self._parts.measures:
            if measure.name.text in measures:
                self._doubled(measure.name, measures[measure.name.text])
            measures[measure.name.text] = measure.name
        if not self._parts.steps and not self._lost:
            self._faults.error(
                "E803", f"`{self._decl.name.text}` asks nothing", self._decl.name.span,
                help="add `ask answer from MODEL with PROMPT`",
            )  # fmt: skip

    def _doubled(self, name: ast.Name, first: ast.Name) -> None:
        self._faults.error(
            "E203",
            f"`{name.text}` is defined twice",
            name.span,
            labels=(Label(span=first.span, text="first defined here"),),
            help="give one of them another name: nothing shadows",
        )

    def _local_names(self, rubrics: Mapping[str, RubricMaker], *, has_seed: bool) -> frozenset[str]:
        names = {*self._axis_names, *self._lets, *self._step_decls, "sample"}
        if has_seed:
            names.add("seed")
        for name, step in self._step_decls.items():
            if isinstance(step, ast.Ask):
                names |= {f"{name}.{field_}" for field_ in ANSWER_FIELDS}
            elif name in rubrics:
                names |= {f"{name}.{field_}" for field_ in rubrics[name].reading.fields}
        return frozenset(names)

    def _reached(self, *nodes: Any) -> frozenset[str]:
        names: frozenset[str] = frozenset()
        for node in nodes:
            names |= free_names(node)
        return reached(names, self._lets)

    def _steps_read(self, *nodes: Any) -> tuple[str, ...]:
        found = self._reached(*nodes)
        return tuple(name for name in self._step_decls if name in found)

    # -------------------------------------------------------------- lets, rubrics, grid

    def _compiled_lets(self, compiler: Compiler) -> dict[str, Fn]:
        self._let_circles()
        found: dict[str, Fn] = {let.name.text: _untold for let in self._parts.lets}
        for name, let in self._lets.items():
            with self._faults.caught():
                if let.params is None:
                    found[name] = compiler.expr(let.value)
                else:
                    params = tuple(p.text for p in let.params)
                    function = Function(name, params, compiler.inner(params).expr(let.value))
                    found[name] = constantly(function)
        return found

    def _let_circles(self) -> None:
        for name in list(self._lets):
            inside = free_names(self._lets[name])
            if name in reached(inside, self._lets):
                self._faults.error(
                    "E207",
                    f"`{name}` is defined by itself",
                    self._lets[name].name.span,
                    help="nothing here can recurse",
                )
        for name in [n for n in self._lets if n in reached(free_names(self._lets[n]), self._lets)]:
            del self._lets[name]

    def _rubrics(self) -> dict[str, RubricMaker]:
        """Return the rubric of each judge that has one."""
        found: dict[str, RubricMaker] = {}
        for step, _ in self._parts.steps:
            if isinstance(step, ast.Judge):
                with self._faults.caught():
                    rubric = self._rubric(step)
                    if rubric is not None:
                        found[step.name.text] = rubric
        return found

    def _rubric(self, step: ast.Judge) -> RubricMaker | None:
        name = step.rubric.function if isinstance(step.rubric, ast.Call) else step.rubric
        if not isinstance(name, ast.Ref):
            self._faults.error(
                "E414",
                "a judge needs a rubric",
                step.rubric.span,
                help="write `judge NAME with RUBRIC(question, answer)`",
            )
            return None
        value = self._scope.lookup(name.name, name.span)
        if not isinstance(value, RubricMaker):
            self._faults.error(
                "E414", f"`{name.name}` is {type_of(value)}, not a rubric", name.span,
                help="a rubric says how the reply is read: `rubric NAME(...) { scale = 0..100 ... }`",
            )  # fmt: skip
            return None
        if not isinstance(step.rubric, ast.Call):
            self._faults.error(
                "E212", f"`{value.name}` takes {len(value.params)} arguments, not none", step.rubric.span,
                help=f"it is `{value.name}({', '.join(value.params)})`",
            )  # fmt: skip
            return None
        return value

    def _grid(self, compiler: Compiler, constants: Mapping[str, Value], lets: Mapping[str, Fn]) -> Grid | None:
        blocks = []
        names: list[frozenset[str]] = []
        before = len(self._faults.errors)
        for block in self._blocks or [Parts()]:
            fors = [*self._parts.fors, *block.fors]
            names.append(frozenset(n.text for f in fors for n in f.names))
            made = [self._source(f, compiler) for f in fors]
            sources = [s for s in made if s is not None]
            if len(sources) < len(made):
                return None  # its faults are told, or it was dropped for one
            ordered = in_order(sources, self._faults)
            skips = [self._skip(s, compiler) for s in (*self._parts.skips, *block.skips)]
            if ordered is not None:
                blocks.append(Block(sources=ordered, skips=tuple(s for s in skips if s is not None)))
        for other, grid in zip(names[1:], self._parts.grids[1:], strict=True):
            if other != names[0]:
                unlike = sorted(other ^ names[0])
                self._faults.error(
                    "E408",
                    f"these grids bind different axes: {one_of(unlike)}",
                    (grid.name or grid).span,
                    labels=(
                        Label(
                            span=(self._parts.grids[0].name or self._parts.grids[0]).span,
                            text="the other one",
                        ),
                    ),
                    help="give every grid the same axes; one with a single level is `for k in [0]`",
                )
        if len(self._faults.errors) > before:
            return None
        try:
            return Grid(self._axis_names, tuple(blocks), constants, lets, self._faults, self._decl.name.span)
        except EvalFault as fault:
            self._faults.add(fault.diagnostic)
        except Silent:
            pass
        except KeyError as error:
            if str(error.args[0]) not in self._lost:
                raise
        return None

    def _axis_reads(self, value: ast.Expr) -> tuple[str, ...] | None:
        """Return the axes that a list or a condition of the grid reads; it may read nothing that is asked."""
        read = self._reached(value)
        for name in read:
            if name in self._step_decls:
                self._faults.error(
                    "E401", f"axes are known before anything runs: this reads `{name}`", value.span,
                    labels=(Label(span=self._step_decls[name].name.span, text="known only after asking"),),
                    help="a step that depends on an answer stands under `when`",
                )  # fmt: skip
                return None
        if "sample" in read:
            self._faults.error("E401", "all samples of a cell are alike: this reads `sample`", value.span)
            return None
        return tuple(sorted(n for n in read if n in self._axis_spans))

    def _source(self, stmt: ast.For, compiler: Compiler) -> Source | None:
        reads = self._axis_reads(stmt.levels)
        if reads is None or not self._known(stmt.levels):
            return None
        return Source(
            names=tuple(n.text for n in stmt.names),
            levels=compiler.expr(stmt.levels),
            reads=reads,
            span=stmt.span,
            list_span=stmt.levels.span,
            written=_written(stmt),
            item_spans=_item_spans(stmt.levels),
        )

    def _skip(self, stmt: ast.Skip, compiler: Compiler) -> SkipRule | None:
        reads = self._axis_reads(stmt.condition)
        if reads is None or not self._known(stmt.condition):
            return None
        return SkipRule(condition=compiler.expr(stmt.condition), reads=reads, span=stmt.condition.span)

    def _known(self, node: ast.Expr) -> bool:
        """Check the names of an expression whose axes have no types yet."""
        before = len(self._faults.errors)
        Checker(self._scope, self._faults, dict.fromkeys(self._local, ANY)).infer(node)
        return len(self._faults.errors) == before and not (free_names(node) & self._lost - self._local)

    # -------------------------------------------------------------- types

    def _check_loosely(self, rubrics: Mapping[str, RubricMaker]) -> None:
        """Check what can be checked where the axes could not be made out."""
        for name in self._local:
            self._types[name] = ANY
        self._step_types(rubrics)
        self._check_statements()
        for measure in self._parts.measures:
            self._measure(measure)

    def _infer_types(self, axes: tuple[Axis, ...], rubrics: Mapping[str, RubricMaker], seed: Value) -> None:
        self._types["sample"] = NUMBER
        if seed is not None:
            self._types["seed"] = type_of(seed)
        for axis in axes:
            found = union(type_of(x.value) for x in axis.levels)
            labels = label_names((x.label, x.value) for x in axis.levels)
            testable = labels if any(x.label is not None for x in axis.levels) or labels else None
            values = {x.value for x in axis.levels if isinstance(x.value, str)}
            named = frozenset(x.label for x in axis.levels if x.label is not None) - values
            self._types[axis.name] = Type(
                found.kind, found.names, found.item, labels=testable, value=found.value, named=named
            )
        self._step_types(rubrics)
        for name in self._lets:
            self._let_type(name)

    def _step_types(self, rubrics: Mapping[str, RubricMaker]) -> None:
        for name, step in self._step_decls.items():
            if isinstance(step, ast.Ask):
                self._types[name] = ANSWER
                kinds = {"reasoning": TEXT, "finish": TEXT, "tokens": NUMBER, "logprobs": ANY}
                self._types |= {f"{name}.{f}": kinds[f] for f in ANSWER_FIELDS}
            else:
                self._types[name] = verdict_type(rubrics[name].reading) if name in rubrics else ANY
                if name in rubrics:
                    reading = rubrics[name].reading
                    self._types |= {f"{name}.{field_}": NUMBER for field_ in reading.fields}
                    self._types |= {f"{name}.{part.name}": part_type(part) for part in reading.shape}

    def _let_type(self, name: str) -> Type:
        if name in self._types:
            return self._types[name]
        let = self._lets[name]
        self._types[name] = ANY  # circles are told already
        for other in free_names(let):
            if other in self._lets:
                self._let_type(other)
        if let.params is not None:
            checker = self._checker({p.text: ANY for p in let.params})
            result = checker.infer(let.value)
            self._types[name] = Type("function", tuple(p.text for p in let.params), item=result, value=_Local(let))
        else:
            found = self._checker().infer(let.value)
            # a let is a value: the label of an axis stays with the axis
            self._types[name] = found if found.kind == "label" else replace(found, labels=None)
        return self._types[name]

    def _checker(self, more: Mapping[str, Type] | None = None) -> Checker:
        lost = dict.fromkeys(self._lost, ANY)
        return Checker(self._scope, self._faults, {**lost, **self._types, **(more or {})})

    def _check_statements(self) -> None:
        checker = self._checker()
        for let in self._parts.lets:
            if let.name.text not in self._types or self._types[let.name.text] is ANY:
                checker.inner({p.text: ANY for p in let.params or ()}).infer(let.value)
        for skip in self._parts.skips:
            checker.condition(skip.condition)
        for block in self._blocks:
            for skip in block.skips:
                checker.condition(skip.condition)
        for rule in self._parts.sets:
            checker.infer(rule.value)
            if rule.condition is not None:
                checker.condition(rule.condition)
        for step, conditions in self._parts.steps:
            for condition in conditions:
                checker.condition(condition)
            if isinstance(step, ast.Ask):
                self._check_model(checker, step.model)
                found = checker.infer(step.prompt)
                if found.kind not in ("text", "prompt", "any", "answer", "label"):
                    self._faults.error(
                        "E415", f"{found} is no prompt", step.prompt.span,
                        help=f"name one of its columns: {one_of(found.names)}" if found.kind == "row" else "",
                    )  # fmt: skip
            else:
                if step.model is not None:
                    self._check_model(checker, step.model)
                if isinstance(step.rubric, ast.Call):
                    checker.infer(step.rubric)

    def _check_model(self, checker: Checker, node: ast.Expr) -> None:
        found = checker.infer(node)
        if found.kind not in ("model", "text", "any"):
            self._faults.error("E217", f"{found} is not a model", node.span, help="after `from` stands who is asked")

    # -------------------------------------------------------------- steps

    def _steps(
        self,
        compiler: Compiler,
        axes: tuple[Axis, ...],
        rubrics: Mapping[str, RubricMaker],
        seed: Value,
        lets: Mapping[str, Fn],
    ) -> tuple[Step, ...]:
        builder = StepBuilder(
            scope=self._scope, resolver=self._resolver, faults=self._faults, compiler=compiler,
            axes=[a.name for a in axes], steps=self._step_decls, reached=self._reached,
            constants={} if seed is None else {"seed": seed}, lets=lets,
            budget=next((s.span for s in self._parts.settings if s.name.text == "budget"), None),
        )  # fmt: skip
        self._builder = builder
        rules = builder.rules([r for r in self._parts.sets if not self._of_a_draw(r)])
        built: dict[str, Step] = {}
        for step, conditions in self._parts.steps:
            name = step.name.text
            if isinstance(step, ast.Judge) and name not in rubrics:
                continue
            with self._faults.caught():
                made = builder.step(step, conditions, rubrics.get(name), rules.get(self._first_draw(name), []))
                built[name] = replace(made, draw=self._draws.get(name, 0))
        return self._ordered(built)

    def _of_a_draw(self, rule: ast.SetRule) -> bool:
        """Tell of a `set` for a single draw of a judge: what holds for the first holds for all."""
        name = rule.target.names[0]
        if not self._draws.get(name):
            return False
        self._faults.error("E416", f"`{name}` is a draw of `{self._first_draw(name)}`", rule.target.span,
                           help=f"set `{self._first_draw(name)}`: it holds for all draws")  # fmt: skip
        return True

    def _first_draw(self, name: str) -> str:
        """Return the name under which a judge was written, whichever of its draws is meant."""
        i = self._draws.get(name, 0)
        return name.removesuffix(f"_{i + 1}") if i else name

    def _ordered(self, built: dict[str, Step]) -> tuple[Step, ...]:
        """Return steps so that each comes after what it reads; asks before judges where both can."""
        ordered: list[Step] = []
        left = sorted(built.values(), key=lambda s: s.kind != ASK)
        while left:
            done = {s.name for s in ordered}
            ready = next((s for s in left if {*s.needs, *s.condition_needs} & set(built) <= done), None)
            if ready is None:
                self._faults.error(
                    "E404", "these steps read each other in a circle", left[0].span,
                    labels=tuple(Label(span=s.span, text="and this one") for s in left[1:]),
                )  # fmt: skip
                return tuple(built.values())
            ordered.append(ready)
            left.remove(ready)
        return tuple(ordered)

    def _columns(self) -> tuple[Column, ...]:
        """Return the lets that outcomes show."""
        found = []
        numeric = numeric_names(self._compared())
        for name, let in self._lets.items():
            kind = COLUMN_KINDS.get(self._types[name].kind)
            kind = "double" if self._types[name].kind == "any" and name in numeric else kind
            if let.params is None and kind is not None and self._reads_rows(let):
                found.append(Column(name=name, kind=kind))
        return tuple(found)

    def _compared(self) -> list[ast.Expr]:
        """Return every expression in which a score may be compared with a number."""
        conditions = [c for _, some in self._parts.steps for c in some]
        return [*(x.value for x in self._lets.values()), *conditions, *(m.value for m in self._parts.measures)]

    def _reads_rows(self, let: ast.Let) -> bool:
        """Whether a let differs from outcome to outcome; one value for all is no column."""
        names = self._reached(let)
        return bool(names & {*self._axis_names, *self._step_decls, "sample"})

    def _measure(self, decl: ast.Measure) -> Measure | None:
        asks = {n for n, s in self._step_decls.items() if isinstance(s, ast.Ask)}
        read: set[str] = set()
        todo = list(self._steps_read(decl.value))
        conditions = {s.name.text: c for s, c in self._parts.steps}
        while todo:  # a judgement's draws are those of the answers it reads
            name = todo.pop()
            if name not in read:
                read.add(name)
                step = self._step_decls[name]
                parts = (step.prompt,) if isinstance(step, ast.Ask) else (step.rubric,)
                todo += self._steps_read(*parts, *conditions[name])
        return build_measure(
            decl, self._checker(), self._faults,
            axes={**dict.fromkeys(self._lost, ANY), **self._axis_types()},
            asks=tuple(n for n in self._step_decls if n in read and n in asks),
            steps=tuple(n for n in self._step_decls if n in read), columns=self._types, constant=self._constant,
            levels=self._shown,
        )  # fmt: skip

    def _constant(self, name: str) -> Value:
        """Return the value of a name that is the same for all outcomes; raises KeyError for any other."""
        if name in self._local and name not in self._lets:
            raise KeyError(name)
        if name in self._lets:
            if self._reads_rows(self._lets[name]):
                raise KeyError(name)
            compiler = self._scope.compiler(self._local, self._words)
            return compiler.expr(self._lets[name].value)(Frame())
        return self._scope.value(name)

    def _axis_types(self) -> dict[str, Type]:
        return {n: self._types.get(n, ANY) for n in self._axis_names}


def _written(stmt: ast.For) -> tuple[tuple[str | None, ...], ...]:
    """Return the names that stand in a list of levels, a tuple for each level; none for another expression."""
    if not isinstance(stmt.levels, ast.Sequence):
        return ()
    groups = [x.items if len(stmt.names) > 1 and isinstance(x, ast.Sequence) else (x,) for x in stmt.levels.items]
    if any(len(g) != len(stmt.names) for g in groups):
        return ()
    return tuple(tuple(x.name if isinstance(x, ast.Ref) else None for x in g) for g in groups)


def _item_spans(levels: ast.Expr) -> tuple[Span, ...]:
    match levels:
        case ast.Sequence():
            return tuple(x.span for x in levels.items)
        case ast.Map():
            return tuple(e.label.span for e in levels.entries)
        case _:
            return ()


def _untold(_: Frame) -> Value:
    """Stand in for a `let` whose own fault is told."""
    raise Silent


class _Local:
    """A function that an experiment defines: known by what was written."""

    def __init__(self, let: ast.Let) -> None:
        self.name = let.name.text
        self.params = tuple(p.text for p in let.params or ())
        self.let = let
