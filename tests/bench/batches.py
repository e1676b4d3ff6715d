"""Files of batches of 200 MB, up and down: memory, time and CPU. `make stress`; exits 1 if memory grows by 60 MB."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sys
import tempfile
import time
from multiprocessing import Process, Queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from providers.batch_server import model
from speed import HANG_S

from emdsl.providers.batches import Batch, Phase
from emdsl.providers.client import Client
from emdsl.providers.http import Http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE = 200_000_000  # bytes
TEXT = "".join(chr(97 + i * i % 26) for i in range(3_600))  # of one answer: 50,000 lines
GROWTH = 60  # MB, the promise


def line(number: int) -> bytes:
    """Return one line of results."""
    message = {"role": "assistant", "content": f"{number} {TEXT}"}
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    row = {"id": "r", "custom_id": f"{number:064x}", "response": {"status_code": 200, "body": body}, "error": None}
    return json.dumps(row).encode() + b"\n"


def serve(ports: Queue[int], file: Path, packed: Path) -> None:
    """Serve the results, plain and compressed, and take uploads."""

    async def download(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "packed":
            return web.FileResponse(packed, headers={"Content-Encoding": "gzip"})
        return web.FileResponse(file)

    async def upload(request: web.Request) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        assert size > SIZE
        return web.json_response({"id": "f1", "processing_status": "in_progress"})

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/v1/files/{name}/content", download)
        app.router.add_post("/v1/{path:.*}", upload)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.put(runner.addresses[0][1])
        await asyncio.sleep(600)

    asyncio.run(main())


def peak_mb() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measured(what: str, count: AsyncIterator[int]) -> float:
    """Print what a transfer took, and return by how many MB the memory grew."""
    memory, started, cpu = peak_mb(), time.monotonic(), time.process_time()
    n = sum([x async for x in count])
    grown = peak_mb() - memory
    took, busy = time.monotonic() - started, time.process_time() - cpu
    print(f"{what}: {n:,} lines, memory +{grown:.0f} MB, {took:.1f} s, CPU {busy:.1f} s")
    return grown


async def transfers(port: int, file: Path) -> float:
    """Return the largest growth of memory of all transfers."""
    http = Http(2, {})
    client = Client(http, {"K": "sk-123456"})
    url = f"http://127.0.0.1:{port}/v1"
    openai = client.batches(model("openai", url), 0, "openai")
    anthropic = client.batches(model("anthropic", url), 0, "anthropic")

    async def results(name: str) -> AsyncIterator[int]:
        async for found in openai.results(Batch(id="b", phase=Phase.ENDED, results=(name,))):
            assert found.response is not None
            yield 1

    async def sent(call: Any) -> AsyncIterator[int]:
        await call
        yield SIZE // len(line(0))

    try:
        async for _ in results("packed"):  # what is loaded once
            break
        return max(
            [
                await measured("upload of OpenAI", sent(openai.upload(file, "t"))),
                await measured("create of Anthropic", sent(anthropic.create(file, "", tag="t", path="/messages"))),
                await measured("results", results("plain")),
                await measured("results, compressed", results("packed")),
            ]
        )
    finally:
        await http.close()


def main() -> None:
    """Serve in another process, transfer in this one."""
    with tempfile.TemporaryDirectory() as folder:
        file, packed = Path(folder) / "results.jsonl", Path(folder) / "results.jsonl.gz"
        with file.open("wb") as out, gzip.open(packed, "wb", compresslevel=1) as small:
            for number in range(SIZE // len(line(0)) + 1):
                out.write(line(number))
                small.write(line(number))
        ports: Queue[int] = Queue()
        server = Process(target=serve, args=(ports, file, packed), daemon=True)
        server.start()
        grown = asyncio.run(transfers(ports.get(timeout=HANG_S), file))
        server.terminate()
    sys.exit(f"memory grew by {grown:.0f} MB, promised are {GROWTH}" if grown > GROWTH else 0)


if __name__ == "__main__":
    main()
