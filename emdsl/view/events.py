"""What moves, as server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from emdsl.study.screen import plain_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emdsl.view.session import Session

BEAT_S = 10.0  # between two events at most: a page that hears nothing for longer connects again
RETRY_MS = 2000  # after which a browser connects again


async def events(session: Session) -> AsyncIterator[bytes]:
    """Yield the state whenever it changes, until the session ends; a beat in between shows that the stream goes on."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    sent, changes = "", -1
    while not session.ended:
        session.asked_at = time.monotonic()
        changes = await session.moved(changes, BEAT_S)
        state = json.dumps(plain_json(session.state()), ensure_ascii=False, separators=(",", ":"))
        yield b"event: beat\ndata:\n\n" if state == sent else f"event: state\ndata: {state}\n\n".encode()
        sent = state
