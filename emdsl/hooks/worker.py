"""The program of a hook file's process: reads its source and then calls from standard input, and writes replies.

Each is one line of JSON. It is started as a file, without the package, and uses only the standard library. Values
carry their type, so that `1`, `0.5` as an exact decimal and `true` arrive unchanged. A reply names the files that were
read since the one before, and whether something else may have been read.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from decimal import Decimal
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG = 1
LISTED = ("os.listdir", "os.scandir")
UNSEEN = frozenset(  # events after which other programs may read files
    ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "socket.connect", "sqlite3.connect",
     "subprocess.Popen"),
)  # fmt: skip


def isolated() -> bool:
    """Leave the network if the operating system allows it; return whether it did."""
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):
        return False
    return bool(unshare(CLONE_NEWNET) == 0 or unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)


def pack(value: Any) -> Any:
    """Encode a value and its type for JSON; raises TypeError for any other type."""
    match value:
        case None | bool():
            return value
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("the text contains a lone surrogate, half of a character") from None
            return str.__str__(value)
        case int():
            return {"int": int.__repr__(value)}
        case Decimal() if value.is_finite():
            return {"dec": str(value)}
        case float() if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - NaN alone differs from itself
            return {"dec": repr(value)}
        case list() | tuple():
            return [pack(x) for x in value]
        case dict() if all(isinstance(k, str) for k in value):
            return {"map": [[k, pack(v)] for k, v in value.items()]}
        case _:
            raise TypeError(f"`{type(value).__name__}` is not a text, number, list or dict")


def unpack(value: Any) -> Any:
    """Decode a value for the function."""
    match value:
        case list():
            return [unpack(x) for x in value]
        case {"int": text}:
            return int(text)
        case {"dec": text}:
            return Decimal(text)
        case {"map": items}:
            return {k: unpack(v) for k, v in items}
        case _:
            return value


class Reads:
    """The files that the functions of this process read, by an audit hook of Python."""

    def __init__(self) -> None:
        self._files: dict[str, None] = {}
        self._n_sent = 0
        self._unseen = False

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note a file that is opened for reading, and a folder that is listed by anything but an import."""
        if event in LISTED:
            self._list(arguments[0])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or (isinstance(flags, int) and flags & os.O_ACCMODE == os.O_WRONLY):
                return
            try:
                name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - this runs for every file that is opened
            except (TypeError, ValueError, OSError):
                return
            folder, file = os.path.split(name)
            if os.path.basename(folder) == "__pycache__":  # noqa: PTH119 - a Path takes 8 times as long
                name = os.path.join(os.path.dirname(folder), file.partition(".")[0] + ".py")  # noqa: PTH118, PTH120 - two more Paths
            self._files[name] = None
        elif event in UNSEEN:
            self._unseen = True

    def _list(self, folder: Any) -> None:
        if sys._getframe(2).f_code.co_filename.startswith("<frozen importlib"):  # noqa: SLF001 - the caller's place
            return
        try:
            self._files[os.path.abspath(os.fsdecode("." if folder is None else folder))] = None  # noqa: PTH100 - links in the path stay
        except (TypeError, ValueError, OSError):
            self._unseen = True  # by its descriptor

    def new(self) -> dict[str, Any]:
        """Return the files since the last reply, and whether others may have been read."""
        names = list(self._files)[self._n_sent :]
        self._n_sent += len(names)
        return {"reads": names, "unseen": self._unseen}


def main() -> None:
    """Answer calls until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a function prints is not a reply
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # Linux: ends with its caller
    os.environ.clear()
    calls = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a function cannot read calls
    names: dict[str, Any] = {"__name__": "hook", "__file__": sys.argv[1]}
    load_error = ""
    replies.write(json.dumps({"isolated": isolated()}) + "\n")
    replies.flush()
    source = json.loads(calls.readline() or '""').encode("latin-1")  # bytes, one character each
    reads = Reads()
    sys.addaudithook(reads.watch)
    try:
        exec(compile(source, sys.argv[1], "exec"), names)  # noqa: S102 - the purpose of this process
    except BaseException as error:  # noqa: BLE001 - every error is reported to the caller
        load_error = f"cannot be called: its file raised {describe(error)}"
    for line in calls:
        number, name, args = json.loads(line)
        reply = {"error": load_error} if load_error else call(names, name, args)
        replies.write(json.dumps({"call": number, **reply, **reads.new()}) + "\n")
        replies.flush()


def call(names: dict[str, Any], name: str, args: list[Any]) -> dict[str, Any]:
    """Call a function; return its value, or its error as a phrase that starts with a verb."""
    try:
        value = names[name](*unpack(args))
    except BaseException as error:  # noqa: BLE001 - every error is reported to the caller
        return {"error": f"raised {describe(error)}"}
    try:
        return {"value": pack(value)}
    except BaseException as error:  # noqa: BLE001 - a value may have any methods
        return {"error": f"returned a value that cannot be used: {text_of(error)}"}


def describe(error: BaseException) -> str:
    """Return an error in one line, with its place in the hook file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == sys.argv[1]]
    text = text_of(error)
    place = f"`{Path(sys.argv[1]).name}`" + (f", line {lines[-1]}" if lines else "")
    return f"{type(error).__name__}" + (f": {text}" if text else "") + f" ({place})"


def text_of(error: BaseException) -> str:
    """Return the text of an error in one line."""
    try:
        return " ".join(str(error).split())[:300]
    except BaseException:  # noqa: BLE001 - `__str__` may raise anything
        return ""


if __name__ == "__main__":
    main()
