"""The command line in a forked process: as a call of its own, without the second that Python needs to import it all.

Run as a program it is the server: it imports everything once, and forks for each line of JSON on its standard input.
What a call prints goes to files, so that no pipe can fill up; it ends like a process, by its exit code or a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def call(
    args: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: str | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Return what a call of the command line came to."""
    with TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_text(stdin or "", encoding="utf-8")
        request = {"args": list(args), "cwd": str(cwd), "env": dict(env), "timeout_s": int(timeout_s)}
        server = _server(os.getpid())
        assert server.poll() is None, f"the process that forks ended with exit code {server.poll()}"
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request | {n: str(p) for n, p in files.items()}) + "\n")
        server.stdin.flush()
        code = json.loads(server.stdout.readline())
        out, err = (files[n].read_text(encoding="utf-8") for n in ("stdout", "stderr"))
    if code == -signal.SIGALRM:
        raise subprocess.TimeoutExpired(list(args), timeout_s, out, err)
    return subprocess.CompletedProcess(list(args), code, out, err)


@cache
def _server(_pid: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def _serve() -> None:
    import emdsl.cli  # noqa: PLC0415 - the server's own part

    for module in pkgutil.iter_modules(emdsl.cli.__path__):
        importlib.import_module(f"emdsl.cli.{module.name}")
    for name in ("providers.client", "providers.http", "sim.server", "outcomes.computed", "report.page", "data.yaml"):
        importlib.import_module(f"emdsl.{name}")
    for name in ("uvloop", "pyarrow.compute", "pandas"):  # the last is not ours: pyarrow imports it if it is there
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _run(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(request: dict[str, Any]) -> None:
    """Be the command line; never returns."""
    code: Any = 1
    try:
        os.setsid()
        signal.alarm(request["timeout_s"])
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, (name, flags) in enumerate(
            (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT))
        ):
            os.dup2(os.open(request[name], flags), number)
        sys.stdin = os.fdopen(0, encoding="utf-8")
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
        sys.argv = ["emdsl", *request["args"]]
        from emdsl.cli.main import main  # noqa: PLC0415 - imported long ago

        try:
            if request["args"][:1] == ["-c"]:  # as `python -c`
                exec(request["args"][1], {"__name__": "__main__"})
            else:
                main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a process would print it and end
        import traceback  # noqa: PLC0415 - imported long ago

        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
