"""A model server in a few lines: OpenAI's format over the standard library alone, so that it starts in no time.

`EMDSL_SERVE_VLLM="PYTHON tests/tiny_server.py --record FOLDER"` makes it the program of `vllm/` models. Its answer to a
prompt is the prompt in capitals. Each server writes a line for all that happens to FOLDER/PID.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

START = time.monotonic()
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("model")
OPTIONS.add_argument("--revision")
OPTIONS.add_argument("--served-model-name")
OPTIONS.add_argument("--host")
OPTIONS.add_argument("--port", type=int)
OPTIONS.add_argument("--record", type=Path)
OPTIONS.add_argument("--slow-start", type=float, default=0, help="seconds until it is healthy")
OPTIONS.add_argument("--latency", type=float, default=0, help="seconds of an answer")
OPTIONS.add_argument("--refuse", default="", help="print this text and exit with 3 at once")
OPTIONS.add_argument("--die-on", default="", help="exit on a prompt with this text")
OPTIONS.add_argument("--hang-with", type=Path, help="answer nothing while this file exists")
OPTIONS.add_argument("--deaf", action="store_true", help="ignore the request to end")
GIVEN = OPTIONS.parse_args(sys.argv[1:] if __name__ == "__main__" else ["model"])  # pytest imports all files
LOCK = threading.Lock()


def note(event: str, **facts: Any) -> None:
    if GIVEN.record is not None:
        with LOCK, (GIVEN.record / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "pid": os.getpid(), "at": time.time()} | facts) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        while GIVEN.hang_with is not None and GIVEN.hang_with.exists():
            time.sleep(0.02)
        starting = time.monotonic() < START + GIVEN.slow_start
        self.reply(503 if starting else 200, {"data": [{"id": GIVEN.served_model_name}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        note("request", text=text, model=body["model"], key=self.headers.get("Authorization"))
        if GIVEN.die_on and GIVEN.die_on in text:
            print(f"dying on {text}", flush=True)
            os._exit(9)
        time.sleep(GIVEN.latency)
        message = {"role": "assistant", "content": text.upper()}
        note("answer", text=text)
        self.reply(200, {
            "model": body["model"], "choices": [{"message": message, "finish_reason": "stop", "index": 0}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10},
        })  # fmt: skip

    def reply(self, status: int, content: dict[str, Any]) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    if GIVEN.refuse:
        print(f"loading {GIVEN.model}\nerror: {GIVEN.refuse}", flush=True)
        sys.exit(3)
    if GIVEN.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("start", argv=sys.argv[1:], environment=dict(os.environ), port=GIVEN.port)
    Server((GIVEN.host, GIVEN.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
