"""Where to cache what is made of the grammar."""

from __future__ import annotations

import os
from pathlib import Path

from emdsl.digest import digest
from emdsl.lang.words import grammar_text


def cache_file(kind: str, makers: tuple[bytes, ...] = ()) -> Path | None:
    """Return the path of a cached file; None without a folder that only we can write: lark unpickles its file.

    Args:
        kind: The end of its name.
        makers: What it depends on besides the grammar.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    if not home or not hasattr(os, "getuid"):
        return None
    folder = Path(home) / ("emdsl" if os.environ.get("XDG_CACHE_HOME") else ".cache/emdsl")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return None
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        return None
    return folder / f"grammar-{digest('grammar', grammar_text(), *makers).hex()[:16]}.{kind}"
