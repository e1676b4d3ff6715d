"""What a worker tells its run when it cannot go on: an error with its place, never a traceback or silence."""

from __future__ import annotations

import asyncio
from platform import node
from typing import TYPE_CHECKING, Any, cast

import pytest
from speed import HANG_S

from emdsl.frame import fail
from emdsl.source import Source, Span
from emdsl.study import worker
from emdsl.study.child import study_task
from emdsl.study.compiled import compile_study
from emdsl.study.link import Link, LinkServer
from emdsl.study.options import RunOptions
from emdsl.study.project import open_project
from emdsl.study.workers import _different, _error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = """em 1
model m { use = "sim/subject" }
experiment e {
  ask answer from m with "x"
}
"""
FAULT = fail("E843", "a value is missing", Span(Source("s.em", TEXT), 5, 10))


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (FAULT, ("a row cannot be evaluated:", "error[E843]: a value is missing", "--> s.em:2:1")),
        (OSError(24, "Too many open files", "/tmp/x"), ("a worker cannot go on: /tmp/x: Too many open files.",)),
    ],
)
def test_a_worker_tells_why_it_ends(
    raised: Exception, shown: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "s.em").write_text(TEXT, encoding="utf-8")
    study = compile_study(open_project(tmp_path / "s.em"), tmp_path / "s.em")

    async def cannot_send(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(worker, "_send", cannot_send)

    async def main() -> dict[str, Any] | None:
        came: asyncio.Queue[Link] = asyncio.Queue()
        async with LinkServer(lambda _, link: came.put_nowait(link)) as server:
            await worker.work(study_task(study, RunOptions()) | {"link": server.place, "worker": 0})
            link = await came.get()
            message = await link.receive()
            await link.finish()
            return message

    message = asyncio.run(asyncio.wait_for(main(), HANG_S))
    assert message is not None
    text = str(_error(*message["error"]))
    for part in shown:
        assert part in text


HOOK = """em 1
python f(x) from "f.py"
experiment e {
  let value = f(1)
  ask answer from "sim/subject" with "{value}"
}
"""


@pytest.mark.parametrize(
    ("change", "sent", "shown"),
    [
        (lambda folder: (folder / "f.py").unlink(), "different", "f.py"),
        (lambda folder: (folder / "s.em").unlink(), "different", "cannot read"),
        (lambda folder: (folder / "s.em").write_text(HOOK + "# more\n", encoding="utf-8"), "edited", ""),
        (lambda folder: (folder / "s.em").write_text(HOOK + "broken\n", encoding="utf-8"), "edited", "`broken`"),
        (lambda folder: (folder / "f.py").write_text("def f(x):\n    import no_such\n"), "edited", ""),
        (lambda _: None, "different", ""),  # another version of emdsl, or another variable
    ],
    ids=["a file is missing", "the study is missing", "edited", "broken by an edit", "an edited hook", "other digest"],
)
def test_a_study_that_a_machine_cannot_compile_is_not_called_edited(
    change: Callable[[Path], object], sent: str, shown: str, tmp_path: Path
) -> None:
    """The error of that machine is shown, with its name: a package or a file may be missing there."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "f.py").write_text("def f(x):\n    return str(x)\n", encoding="utf-8")
    (tmp_path / "s.em").write_text(HOOK, encoding="utf-8")
    study = compile_study(open_project(tmp_path / "s.em"), tmp_path / "s.em")
    change(tmp_path)
    task = study_task(study, RunOptions()) | {"program": "0" * 64}
    found = list[dict[str, Any]]()

    class Sent:
        send = staticmethod(found.append)

    assert worker._study(task, cast("Link", Sent())) is None
    (message,) = found
    assert shown in message[sent]
    if sent == "different":
        error = str(_different(message["on"], message[sent]))
        assert node() in error
        assert (message[sent] in error) == bool(message[sent]) or "the version of emdsl" in error
