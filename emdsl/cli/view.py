"""`emdsl view`."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.cli.annotate import user_name
from emdsl.errors import UsageError
from emdsl.study.annotating import check_rater
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.study.refresh import load_if_stale

if TYPE_CHECKING:
    from emdsl.view.session import Session


@click.command("view")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@options.with_options(options.CACHE, options.ENV_FILE, options.SIM)
@options.option("--port", type=click.IntRange(0, 65535), default=0, help="0 chooses a free port.  [default: 0]")
@options.option("--no-open", is_flag=True, help="Print the URL and how to reach it, and open no browser.")
@options.option("--rater", metavar="NAME", help="Your name on verdicts.  [default: your name on this machine]")
def command(
    file: Path | None, cache: Path | None, env_file: Path | None, simulate: bool, port: int, no_open: bool,
    rater: str | None,
) -> int:  # fmt: skip
    """Browse FILE in a browser: measures, rows, transcripts, and annotations by keys. Ctrl-C ends it.

    FILE may be omitted if the folder has one study. Figures move while a run goes on. Nothing is sent, and
    annotations are all that is written. Only this machine can connect, with the token of the printed URL.

    \b
    Over SSH, choose a port there, forward it from here, and open the printed URL here:
      emdsl view study.em --no-open --port 8765      on the remote machine
      ssh -N -L 8765:127.0.0.1:8765 user@remote      on this machine

    \b
    Examples:
      emdsl view study.em
      emdsl view study.em --rater ann
    """
    chosen = file if file is not None else _only_study()
    project = open_project(chosen, cache, env_file, simulate=simulate)
    study = compile_study(project, chosen)
    notices = load_if_stale(study)
    from emdsl.view.session import Session  # noqa: PLC0415 - aiohttp waits until the study compiles

    session = Session(study, check_rater(rater or user_name()), notices)
    session.open()
    try:
        asyncio.run(_serve(session, port, browser=not no_open))
    finally:
        session.close()
    return 0


async def _serve(session: Session, port: int, *, browser: bool) -> None:
    from emdsl.view.server import Viewer  # noqa: PLC0415 - aiohttp waits until the study compiles

    viewer = Viewer(session)
    try:
        await viewer.start(port)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = f"port {port} is in use" if in_use else f"cannot listen on port {port}: {error.strerror}"
        raise UsageError(f"{why}; choose another one, or 0 for a free one", parameter="port") from error
    console.say(viewer.url)
    ssh = os.environ.get("SSH_CONNECTION", "").split()
    browser = browser and not (ssh and not os.environ.get("DISPLAY"))
    if not browser:
        here = f"{getpass.getuser()}@{ssh[2] if len(ssh) == 4 else socket.gethostname()}"
        console.note(
            f"open the URL in a browser on this machine. From another one, forward the port first: "
            f"ssh -N -L {viewer.port}:127.0.0.1:{viewer.port} {here}"
        )
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends it
            asyncio.get_running_loop().add_signal_handler(number, done.set)
    if browser:
        click.launch(viewer.url_once)
    await done.wait()
    await viewer.stop()


def _only_study() -> Path:
    """Return the only `.em` file of the working folder; raises UsageError."""
    files = sorted(Path().glob("*.em"))
    if len(files) != 1:
        names = ", ".join(map(str, files[:5]))
        found = f"several studies: {names}" if files else "no `.em` file"
        raise UsageError(f"name a study: this folder has {found}", parameter="file")
    return files[0]
