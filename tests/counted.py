"""A server of OpenAI's format that counts each request by its content, and answers it always alike."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class CountedServer:
    """Counts what it is asked, and what it has answered. `latency_s` is the time that an answer takes."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.received: Counter[bytes] = Counter()  # by body
        self.answered: Counter[bytes] = Counter()
        self.in_flight = self.most = 0
        self.url = ""
        self.rejects = b"\0"  # text of bodies that are refused for good
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()

    def serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1_000))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def wait(self) -> None:
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(
                    int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")
                )
                body = await reader.readexactly(size)
                self.received[body] += 1
                self.in_flight += 1
                self.most = max(self.most, self.in_flight)
                try:
                    await asyncio.sleep(self.latency_s)
                finally:
                    self.in_flight -= 1
                if self.rejects in body:
                    writer.write(_http(400, {"error": {"message": "this question is refused"}}))
                else:
                    self.answered[body] += 1
                    writer.write(_http(200, _reply(body)))
                await writer.drain()
        except (
            OSError,
            asyncio.IncompleteReadError,
            asyncio.CancelledError,
        ):  # it was killed, or the test ends
            pass
        finally:
            writer.close()


def _reply(body: bytes) -> dict[str, object]:
    number = zlib.crc32(body) % 101
    judged = "JUDGE" in str(json.loads(body)["messages"])
    content = str(number) if judged else f"answer {number}"
    return {
        "model": "m", "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5},
    }  # fmt: skip


def _http(status: int, content: dict[str, object]) -> bytes:
    text = json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        status,
        len(text),
        text,
    )


@contextmanager
def counted_server(latency_s: float = 0.02) -> Iterator[CountedServer]:
    """Serve in a thread."""
    server = CountedServer(latency_s)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    server.wait()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
