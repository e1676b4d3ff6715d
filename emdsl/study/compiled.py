"""A compiled study: its program, with the project, store and tables that belong to it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from emdsl.compiler.compile import compile_file
from emdsl.errors import SourceError
from emdsl.frame import EvalFault
from emdsl.source import listed, near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from emdsl.experiment import Program
    from emdsl.outcomes.database import Connection
    from emdsl.store.store import AnswerStore
    from emdsl.study.project import Project


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One `.em` file as it is now."""

    project: Project
    file: Path
    program: Program

    @property
    def name(self) -> str:
        """The schema of its tables."""
        return self.project.study(self.file)

    def offline(self) -> Compiled:
        """Return the study with the store of this machine alone."""
        return replace(self, project=self.project.offline())

    @contextmanager
    def store(self, *, create: bool = False) -> Iterator[AnswerStore]:
        """Open the store; an error that only evaluating a cell shows is raised as SourceError."""
        store = self.project.store(create=create)
        try:
            with evaluating():
                yield store
        finally:
            store.close()

    def tables(self) -> AbstractContextManager[tuple[Connection, str | None]]:
        """Open the loaded tables; raises OutcomesError if there are none."""
        from emdsl.outcomes import database  # noqa: PLC0415 - a plan of a new study needs no DuckDB

        return database.opened(self.project.cache, self.name)


def compile_study(project: Project, file: Path, instead: Mapping[Path, Path] | None = None) -> Compiled:
    """Return a file compiled in its project; raises SourceError. `instead` names other contents for some files."""
    program = compile_file(
        file, project.environment, simulate=project.simulate, instead=project.instead if instead is None else instead,
        hook_values=project.hook_values,
    )  # fmt: skip
    return Compiled(project=project, file=file, program=program)


def without_remotes(study: Compiled) -> Compiled:
    """Return a study whose missing answers are looked up in no remote."""
    return replace(study, project=replace(study.project, remotes=False))


@contextmanager
def evaluating() -> Iterator[None]:
    """Raise an error of evaluation as a SourceError, with its place."""
    try:
        yield
    except EvalFault as fault:
        raise SourceError([fault.diagnostic]) from fault


def by_present_name(olds: Mapping[str, T], news: Collection[str]) -> dict[str, T]:
    """Return the experiments of an older version by the names of now: the only one that is gone is the only new one."""
    gone, come = [n for n in olds if n not in news], [n for n in news if n not in olds]
    renamed = {gone[0]: come[0]} if len(gone) == len(come) == 1 else {}
    return {renamed.get(name, name): old for name, old in olds.items()}


def unknown(kind: str, name: str, names: list[str]) -> str:
    """Return an error text for an unknown name of a kind, with the nearest name or all of them."""
    plural = "axes" if kind == "axis" else f"{kind}s"
    hint = near(name, names) or (listed(kind, plural, names) if names else f"the study has no {plural}")
    return f"unknown {kind} `{name}`; {hint}"
