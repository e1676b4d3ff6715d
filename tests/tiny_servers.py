"""What tests share about the servers of `tiny_server.py`: their command line, their records, and whether they live."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SERVER = (sys.executable, str(Path(__file__).parent / "tiny_server.py"))


def serve_variable(folder: Path, *options: str) -> dict[str, str]:
    """Return the variable that makes tiny servers the program of `vllm/` models; they write records to a folder."""
    folder.mkdir(exist_ok=True)
    return {"EMDSL_SERVE_VLLM": " ".join([*SERVER, "--record", str(folder), *options])}


def records(folder: Path, event: str) -> list[dict[str, Any]]:
    """Return what the servers have written about an event: `start`, `request` or `answer`."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def alive(folder: Path) -> list[int]:
    """Return the servers that still run."""
    return [r["pid"] for r in records(folder, "start") if _alive(r["pid"])]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "zombie" not in status.read_text()
