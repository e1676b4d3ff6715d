"""Remotes over the wires of Google Cloud Storage and Azure, by small servers that know their conditions and lists."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from aiohttp import web
from web_folder import running

from emdsl.store.attached import open_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.thorough(only="of servers that few have")
ENTRIES = [(bytes([i]) * 32, b"x" * 100) for i in range(100)]


class Objects:
    """Objects by their paths, each with the number of its version; `conditions` that did not hold are counted."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, int]] = {}
        self.refused = 0

    async def google(self, request: web.Request) -> web.Response:
        path = unquote(request.path).lstrip("/").partition("/")[2]
        if "list-type" in request.query:
            listed = "".join(
                f"<Contents><Key>{name}</Key><Size>{len(content)}</Size><ETag>{version}</ETag>"
                "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
                for name, content, version in self.under(request.query["prefix"])
            )
            return web.Response(body=f"<ListBucketResult><Name>lab</Name>{listed}</ListBucketResult>")
        wanted = request.headers.get("x-goog-if-generation-match")
        holds = wanted is None or int(wanted) == self.version(path)
        return await self.put(path, request, holds, 412) if request.method == "PUT" else self.get(path, request)

    async def azure(self, request: web.Request) -> web.Response:
        path = request.path.lstrip("/").partition("/")[2]
        if request.query.get("comp") == "list":
            listed = "".join(
                f"<Blob><Name>{name}</Name><Properties><Content-Length>{len(content)}</Content-Length><Etag>{version}"
                "</Etag><Last-Modified>Mon, 30 Nov 2026 00:00:00 GMT</Last-Modified><Content-Type>x</Content-Type>"
                "</Properties></Blob>"
                for name, content, version in self.under(request.query["prefix"])
            )
            found = f"<EnumerationResults><Blobs>{listed}</Blobs><NextMarker /></EnumerationResults>"
            return web.Response(body=found)
        new, same = request.headers.get("If-None-Match") == "*", request.headers.get("If-Match", "")
        holds = not (new and self.version(path)) and same.strip('"') in {"", str(self.version(path))}
        status = 409 if new else 412
        return await self.put(path, request, holds, status) if request.method == "PUT" else self.get(path, request)

    def under(self, prefix: str) -> list[tuple[str, bytes, int]]:
        return [(name, *held) for name, held in sorted(self.held.items()) if name.startswith(prefix)]

    def version(self, path: str) -> int:
        return self.held[path][1] if path in self.held else 0

    async def put(self, path: str, request: web.Request, holds: bool, refusal: int) -> web.Response:
        if not holds:
            self.refused += 1
            return web.Response(status=refusal)
        self.held[path] = await request.read(), self.version(path) + 1
        return web.Response(status=201, headers=self.headers(path))

    def get(self, path: str, request: web.Request) -> web.Response:
        if path not in self.held:
            return web.Response(status=404)
        content, headers, part = self.held[path][0], self.headers(path), request.http_range
        if part == slice(None, None, 1):
            return web.Response(body=content, headers=headers)
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[part], headers=headers)

    def headers(self, path: str) -> dict[str, str]:
        version, day = str(self.version(path)), "Mon, 30 Nov 2026 00:00:00 GMT"
        return {"ETag": f'"{version}"', "x-goog-generation": version, "Last-Modified": day}


@contextmanager
def served(objects: Objects, wire: str) -> Iterator[str]:
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", getattr(objects, wire))
    with running(app) as url:
        yield url


def google(url: str) -> dict[str, str]:
    account = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": "", "gcs_base_url": url}
    return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account), "GOOGLE_BASE_URL": url}


def azure(url: str) -> dict[str, str]:
    return {"AZURE_STORAGE_ACCOUNT_NAME": "lab", "AZURE_STORAGE_ENDPOINT": url, "AZURE_SKIP_SIGNATURE": "true"}


@pytest.mark.parametrize(("scheme", "wire", "variables"), [("gs", "google", google), ("az", "azure", azure)])
def test_answers_go_and_come(
    tmp_path: Path, scheme: str, wire: str, variables: Callable[[str], dict[str, str]]
) -> None:
    """In two pushes, of which the second one changes the list; another machine finds, fetches and pulls all."""
    objects = Objects()
    with served(objects, wire) as url:
        env, remote_url = variables(url), f"{scheme}://lab/emdsl"
        for part in (ENTRIES[:50], ENTRIES[50:]):
            pusher = open_remote("lab", remote_url, tmp_path / "pusher", env, create=True)
            pusher.begin(encrypt=False)
            assert sum(pusher.push(part)) == 50
            assert sum(pusher.push(part)) == 50, "the same pack is there, and stays"
            pusher.close()
        assert objects.refused == 2 * 2
        reader = open_remote("lab", remote_url, tmp_path / "reader", env)
        reader.refresh()
        assert reader.find(key for key, _ in ENTRIES).keys() == {key for key, _ in ENTRIES}
        assert reader.fetch(reader.find([ENTRIES[3][0]]))[ENTRIES[3][0]] == ENTRIES[3][1]
        pulled = [entries for _, entries in reader.pull(reader.packs())]
        assert sorted(e for entries in pulled if isinstance(entries, list) for e in entries) == ENTRIES
        reader.close()
    assert len(json.loads(objects.held["emdsl/packs.json"][0])["indexes"]) == 2
