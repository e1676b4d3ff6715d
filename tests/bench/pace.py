"""How a run meets a server that fails, and one that has a limit: `make pace`, some minutes.

Prints the figures of the rate controller: extra requests for faults, requests sent too early, use of a limit.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from support import emdsl, simulator, stats

STUDY = """em 1
model m {{ use = "openai-api/lab/subject", url = "{url}", revision = "1", max_tokens = 50 }}
experiment e {{
  for q in 1..{n}
  ask answer from m with "question {{q}}"
}}
"""
FAULTY, LIMITED, RPM = 10_000, 900, 300


def asked(n: int, *server: str) -> tuple[dict[str, Any], dict[str, int], float]:
    """Run a study of n queries; return what it says, what the server says, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as name, simulator(*server) as url:
        folder = Path(name)
        (folder / "s.em").write_text(STUDY.format(url=url, n=n), encoding="utf-8")
        start = time.monotonic()
        done = emdsl("run", "s.em", "--json", "-j", "200", cwd=folder, timeout=1800)
        return json.loads(done.stdout), stats(url), time.monotonic() - start


def main() -> None:
    found, counts, took = asked(FAULTY, "--throttled", "0.2", "--failed", "0.05", "--latency", "0.02")
    step = found["experiments"][0]["steps"][0]
    faults = counts["throttled"] + counts["failed"]
    extra = (counts["requests"] - FAULTY) / faults
    print(f"{FAULTY:,} queries, 429 at 20 %, 500 at 5 %, in {took:.0f} s")
    print(f"  {step['answered']:,} answered, {step['failed']} failed   extra requests / faults {extra:.2f}")
    print(f"  sent before their Retry-After: {counts.get('early', 0)}")
    for kind in ([], ["--windowed"]):
        found, counts, took = asked(LIMITED, "--rpm", str(RPM), "--latency", "0.2", *kind)
        allowed = RPM + RPM * took / 60 if not kind else RPM * (took // 60 + 1)
        refused = 100 * counts.get("over the limit", 0) / counts["requests"]
        print(f"{RPM} a minute, announced{' by the window' if kind else ''}: {LIMITED} queries in {took:.0f} s")
        print(f"  used {100 * LIMITED / allowed:.0f} % of what was allowed   refused {refused:.1f} %")


if __name__ == "__main__":
    main()
