"""A private PostgreSQL server for tests: Debian's programs, a folder of its own, gone with the process.

`server()` starts one per process, when a test first needs it; `new_database()` makes an empty database on it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from speed import HANG_S
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "postgres"  # PostgreSQL refuses to run as root
SETTINGS = {
    "max_connections": 100,
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
    "lc_messages": "C",
    "max_wal_size": "4GB",
    "wal_init_zero": "off",
}
DURABLE = {"shared_buffers": "128MB"}  # as Debian's default
HBA = """
local all all trust
host all +with_password all scram-sha-256
host all all all trust
"""  # a role in the group `with_password` has to give its password, if somebody makes the group
_numbers = itertools.count()
_emptied: list[str] = []  # the URL of the database that is emptied for each test


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


def installed() -> bool:
    """Whether there is a PostgreSQL; in CI and with THOROUGH a test fails without it instead of being skipped."""
    return programs() is not None or "CI" in os.environ or "THOROUGH" in os.environ


NEEDED = pytest.mark.skipif(not installed(), reason="PostgreSQL is not installed: apt-get install postgresql")


class Server:
    """A server in a temporary folder, on a free port and a Unix socket.

    Without `durable` it does not wait for the disk: a test that kills the machine rather than a process needs it.
    """

    def __init__(self, *, durable: bool = False, listen: str = "127.0.0.1") -> None:
        found = programs()
        assert found is not None, "PostgreSQL is not installed"
        self.programs, self.listen, self.port = found, listen, _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="emdsl-pg-"))
        atexit.register(self.remove)
        self._process: subprocess.Popen[bytes] | None = None
        self.data = self.folder / "data"
        shutil.copytree(_initial(found), self.data)
        self._owned()
        settings = SETTINGS | (DURABLE if durable else {"fsync": "off", "full_page_writes": "off"})
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.data / "pg_hba.conf").write_text(HBA, encoding="utf-8")
        self.start()

    def _owned(self) -> None:
        """Give the folder to the user that runs it."""
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", f"{USER}:", self.folder], check=True)
        self.data.chmod(0o700)

    def url(self, database: str, user: str = USER, password: str = "") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}{password and ':' + password}@{self.listen}:{self.port}/{database}"

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"t{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the superuser; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(text.encode())
            return done.fetchall() if done.description else []

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that was killed
        self._process = subprocess.Popen(
            [*_as_user(), self.programs / "postgres", "-D", self.data, "-k", self.folder, "-p", str(self.port),
             "-c", f"listen_addresses={self.listen}"],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + HANG_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < end, "the server did not start"
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it now, whoever is connected; what is committed is there when it starts again."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it and all its processes: what it had not written is lost."""
        self._end(signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes, as on a paused machine: its links stay, and it answers nothing."""
        assert self._process is not None
        stopped = [self._process.pid, *self._children()]
        try:
            for process in stopped:
                _signal(process, signal.SIGSTOP)
            yield
        finally:
            for process in stopped:
                _signal(process, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it, and remove its folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how is signal.SIGKILL:
            children = self._children()  # each leads a session of its own
            os.killpg(self._process.pid, how)
            for child in children:
                _signal(child, how)
        else:
            self._process.send_signal(how)
        self._process.wait(HANG_S)
        self._process = None

    def _children(self) -> list[int]:
        assert self._process is not None
        ids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self._process.pid:
                ids.append(int(stat.parent.name))
        return ids


def _initial(found: Path) -> Path:
    """Return the folder of a server that has never run, made once by the first test: that takes most of a second."""
    made = ROOT / ".cache" / f"postgresql-{found.parent.name}"
    if made.exists():
        return made
    with tempfile.TemporaryDirectory(prefix="emdsl-pg-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, USER, USER)
        subprocess.run(
            [*_as_user(), found / "initdb", "-D", folder / "data", "--no-sync", "--no-instructions", "-A", "trust",
             "-U", USER, "--locale=C", "--encoding=UTF8", "--wal-segsize=1"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        made.parent.mkdir(exist_ok=True)
        whole = Path(tempfile.mkdtemp(dir=made.parent)) / "data"
        shutil.copytree(folder / "data", whole)
        with suppress(OSError):  # another process was faster
            whole.rename(made)
        shutil.rmtree(whole.parent)
    return made


@lru_cache(maxsize=1)
def server() -> Server:
    """Return the server of this process."""
    return Server()


def new_database() -> str:
    """Return the URL of a new, empty database on the server of this process."""
    return server().new_database()


def emptied_database() -> str:
    """Return the URL of the one database that is emptied for each test; it takes a tenth of the time of a new one."""
    if _emptied:
        server().sql("DROP SCHEMA IF EXISTS emdsl CASCADE", _emptied[0].rpartition("/")[2])
    else:
        _emptied.append(new_database())
    return _emptied[0]


def _as_user() -> list[str]:
    """Return the prefix of a command that must not run as root; it ends with the process that starts it."""
    as_user = ["--reuid", USER, "--regid", USER, "--init-groups"] if os.getuid() == 0 else []
    return ["setpriv", "--pdeathsig", "INT", *as_user]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(process: int, which: signal.Signals) -> None:
    try:
        os.kill(process, which)
    except ProcessLookupError:
        return
