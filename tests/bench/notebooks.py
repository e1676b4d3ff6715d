"""A notebook in a kernel of Jupyter, and one in marimo's own runners: part of `make stress`, 15 s of CPU time.

nbclient executes cells one by one: outputs are HTML without a script, an interrupt keeps the answers and the kernel
goes on, a question is answered, a notebook that runs by itself gets an error, and a large run is loaded by its process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parents[1]))
from speed import HANG_S
from support import ROOT, SHOTS, SHOTS_STUDY, clean_environment, simulator, stats

if TYPE_CHECKING:
    from collections.abc import Coroutine

nbformat: Any = import_module("nbformat")  # its functions have no types
PAID = """em 1
model dear { use = "openai/gpt-4o", price = { input: $1, output: $100_000 } }
experiment p {
  ask answer from dear with "hello"
}
"""
KEY = "sk-none-0123456789"
CODE: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
LARGE = 'em 1\nexperiment e {\n  samples = 4100\n  ask answer from "sim/subject" with "hello {sample}"\n}\n'
NOT_HTML = re.compile(r"<script|<style|<link|<img|https?://|\bon\w+=")
MARIMO = """import marimo
app = marimo.App()

@app.cell
def _():
    import emdsl
    icl = emdsl.open_text(TEXT, "icl")
    icl
    return emdsl, icl

@app.cell
def _(icl):
    run = icl.run()
    run
    return (run,)

@app.cell
def _(icl, run):
    icl.figure() if run.complete else None
    return

@app.cell
def _(emdsl):
    emdsl.open("paid.em").run()
    return
"""


class Notebook:
    """A kernel that executes cells."""

    def __init__(self, client: NotebookClient, nb: Any) -> None:
        self._client, self._nb = client, nb
        self._kernel: Any = client.km
        self._channels: Any = client.kc

    async def cell(self, text: str, beside: Coroutine[Any, Any, None] | None = None) -> list[dict[str, Any]]:
        """Execute a cell while something else goes on, and return its outputs."""
        self._nb.cells.append(nbformat.from_dict({**CODE, "source": text}))
        task = asyncio.create_task(beside) if beside is not None else None
        self._channels.allow_stdin = task is not None
        done = await self._client.async_execute_cell(self._nb.cells[-1], len(self._nb.cells) - 1)
        if task is not None:
            await task
        return [dict(o) for o in done.outputs]

    async def interrupt(self, url: str) -> None:
        """Interrupt the kernel once a simulator has answered."""
        await asyncio.to_thread(wait_for_answers, url)
        await self._kernel.interrupt_kernel()

    async def answer(self, text: str) -> None:
        """Answer the next question."""
        asked = await self._channels.get_stdin_msg(timeout=HANG_S)
        assert asked["content"]["prompt"].startswith("Send 1 request for about $30.00"), asked
        self._channels.input(text)


def wait_for_answers(url: str) -> None:
    """Wait until a simulator has answered a few requests."""
    while stats(url).get("answered", 0) < 4:
        time.sleep(0.05)


def html(output: dict[str, Any]) -> str:
    """Return the HTML of an output."""
    text = str(output["data"]["text/html"])
    assert not NOT_HTML.search(text), text
    return text


async def in_jupyter(url: str) -> None:
    """Execute a notebook cell by cell."""
    nb = nbformat.from_dict({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    client = NotebookClient(nb, timeout=int(HANG_S), allow_errors=True)
    async with client.async_setup_kernel():
        notebook = Notebook(client, nb)
        assert await notebook.cell("%load_ext emdsl") == []
        (summary,) = await notebook.cell(f"%%em icl\n{SHOTS_STUDY}")
        assert "experiment e: 4 cells x 10 samples" in html(summary)
        progress, run = await notebook.cell("icl.run(connections=2)", notebook.interrupt(url))
        n_answered = int(re.findall(r"([0-9]+) requests? done in", html(progress))[0])
        assert 4 <= n_answered < 81
        assert f"{n_answered} answered, 0 cached" in html(run)
        assert "interrupted: all answers are kept" in html(run)
        await notebook.cell("import os; os.environ.pop('EMDSL_SIM_URL')")
        _, run = await notebook.cell("icl.run()")
        assert f"{81 - n_answered} answered" in html(run)
        (table,) = await notebook.cell("icl.measure()")
        assert "2 rows, 15 columns" in html(table)
        (figure,) = await notebook.cell("icl.figure()")
        assert figure["data"]["image/svg+xml"].startswith("<svg")
        (error,) = await notebook.cell("x = 1\nicl.plan(only={'k': [16]})")
        assert error["ename"] == "UnknownLevel", error
        assert len(error["traceback"]) == 3, error
        assert error["traceback"][-1] == "line 2: icl.plan(only={'k': [16]})"
        (error,) = await notebook.cell('%%em x\nem 1\nexperiment e { ask answer from subjekt with "hello" }')
        assert "x.em:2:32" in "".join(error["traceback"])
        (error,) = await notebook.cell("import emdsl; emdsl.open('paid.em').run()")
        assert error["ename"] == "SetupError", "without an API key there is no question"
        await notebook.cell(f"os.environ |= {{'OPENAI_API_KEY': '{KEY}', 'OPENAI_BASE_URL': '{url}'}}")
        (refused,) = await notebook.cell("paid = emdsl.open('paid.em'); paid.run()")
        assert "nobody can answer here. `run(yes=True)`" in refused["evalue"]
        (declined,) = await notebook.cell("paid.run()", notebook.answer("n"))
        assert "nothing was sent" in html(declined)
        _, accepted = await notebook.cell("paid.run()", notebook.answer("y"))
        assert "1 answered" in html(accepted)
        _, large = await notebook.cell(f"%%em large --run\n{LARGE}")
        assert "4,100 answered" in html(large)
        (rows,) = await notebook.cell("large.results().num_rows, large.plan().requests")
        assert rows["data"]["text/plain"] == "(4100, 0)"
        (awaited,) = await notebook.cell("await icl.arun()")
        assert "80 cached" in html(awaited)


def in_marimo(folder: Path) -> None:
    """Run a notebook of marimo as a script, and in its kernel."""
    (folder / "paid.em").write_text(PAID.replace("hello", "another request"), encoding="utf-8")
    (folder / "nb.py").write_text(MARIMO.replace("TEXT", repr(SHOTS_STUDY)), encoding="utf-8")
    code = "import nb; outputs, defs = nb.app.run(); print(defs['run'].complete)"
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "SetupError: these models are not set up" in done.stderr, done.stderr  # a script is not asked
    export = [sys.executable, "-m", "marimo", "export", "ipynb", "nb.py", "--include-outputs", "-o", "nb.ipynb"]
    subprocess.run(export, cwd=folder, env=environment | {"OPENAI_API_KEY": KEY}, capture_output=True, check=False)
    cells = json.loads((folder / "nb.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [o for c in cells for o in c.get("outputs", ())]
    errors = [o["evalue"] for o in outputs if o["output_type"] == "error"]
    assert len(errors) == 1, outputs
    assert "marimo runs cells again by itself. `run(yes=True)`" in errors[0]
    summary, run, figure = (o["data"] for o in outputs if "data" in o)
    assert "4 cells x 10 samples" in html(plain(summary))
    assert "80 cached" in html(plain(run))
    assert "".join(figure["image/svg+xml"]).startswith("<svg")


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """Return an output of a file, whose texts are lists of lines."""
    return {"data": {kind: "".join(lines) for kind, lines in data.items()}}


def main() -> None:
    """Run both, and print what was found."""
    with tempfile.TemporaryDirectory() as name, simulator("--latency", "0.2") as url:
        folder = Path(name)
        (folder / "pyproject.toml").touch()
        (folder / "shots.csv").write_text(SHOTS, encoding="utf-8")
        (folder / "paid.em").write_text(PAID, encoding="utf-8")
        os.environ.pop("OPENAI_API_KEY", None)
        os.environ |= {"EMDSL_SIM_URL": url, "PYTHONPATH": str(ROOT)}
        os.chdir(folder)
        asyncio.run(in_jupyter(url))
        in_marimo(folder)
    print("notebooks: outputs, progress, interrupt, questions and errors in Jupyter and marimo")


if __name__ == "__main__":
    main()
