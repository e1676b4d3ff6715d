"""The guard of one server: a small process that ends the server, with all its processes, when the run is gone.

`python guard.py PROGRAM ARGUMENT...` starts the program in a group of its own. Its standard input is a pipe that the
run holds open: it ends with the run, by `kill -9` too. The guard ends as the program has ended, and on Linux the
program ends with the guard.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 10.0  # between the request to end and the end by force
NO_PROGRAM = 127  # the exit code of shells for it
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run a program until it ends, or the standard input does; return its exit code, 128 + N after signal N."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        server = subprocess.Popen(  # noqa: S603 - the command line is that of the launcher, and no shell reads it
            argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_guard  # noqa: PLW1509 - the guard has one thread
        )  # fmt: skip
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        return NO_PROGRAM
    while server.poll() is None:
        readable, _, _ = select.select([sys.stdin, wake], [], [])
        ended = sys.stdin in readable and not os.read(sys.stdin.fileno(), 1024)
        if ended or (wake in readable and os.read(wake, 1024).strip(bytes([signal.SIGCHLD]))):
            _end(server)
    _kill(server.pid, signal.SIGKILL)  # its own processes hold the memory of GPUs
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _end_with_guard() -> None:
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server: it may finish first, if it does so in time."""
    _kill(server.pid, signal.SIGTERM)
    end = time.monotonic() + GRACE_S
    while server.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    _kill(server.pid, signal.SIGKILL)
    server.wait()


def _kill(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all have ended; macOS: the second for zombies
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
