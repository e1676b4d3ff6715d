"""What runs in the process of a hook file: reads calls from standard input, a JSON line each, and answers them.

Started as a file, without the package: it knows the standard library alone. Values travel with their kind, so
that `1`, `0.5` as an exact decimal and `true` arrive as what they are.
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


def isolated() -> bool:
    """Leave the network, where the operating system lets a process do so; say whether it did."""
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):
        return False
    return bool(unshare(CLONE_NEWNET) == 0 or unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)


def pack(value: Any) -> Any:
    """Return a value with its kind, as JSON can hold it; raises TypeError for any other."""
    match value:
        case None | bool():
            return value
        case str():
            value.encode()  # a lone surrogate is no text
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
            raise TypeError(f"a function returns texts, numbers, lists and dicts, not {type(value).__name__}")


def unpack(value: Any) -> Any:
    """Return a value as the function gets it."""
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


def main() -> None:
    """Answer calls until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a function prints is no reply
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # Linux: whatever ends the caller ends this
    os.environ.clear()
    calls = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what a function reads are no calls
    names: dict[str, Any] = {"__name__": "hook", "__file__": sys.argv[1]}
    failed: str | None = None
    replies.write(json.dumps({"isolated": isolated()}) + "\n")
    replies.flush()
    try:
        code = Path(sys.argv[1]).read_bytes()
        exec(compile(code, sys.argv[1], "exec"), names)  # noqa: S102 - running this file is what we are for
    except BaseException as error:  # noqa: BLE001 - whatever it raises, the caller is told
        failed = told(error)
    for line in calls:
        number, name, args = json.loads(line)
        reply: dict[str, Any]
        if failed is not None:
            reply = {"error": failed}
        else:
            try:
                reply = {"value": pack(names[name](*unpack(args)))}
            except BaseException as error:  # noqa: BLE001 - as above
                reply = {"error": told(error)}
        replies.write(json.dumps({"call": number, **reply}) + "\n")
        replies.flush()


def told(error: BaseException) -> str:
    """Return an error in one line, with the place in the hook file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == sys.argv[1]]
    try:
        said = " ".join(str(error).split())[:300]
    except BaseException:  # noqa: BLE001 - an error that cannot be shown is still told
        said = "an error without a text"
    return f"{type(error).__name__}: {said}" + (f" (line {lines[-1]})" if lines else "")


if __name__ == "__main__":
    main()
