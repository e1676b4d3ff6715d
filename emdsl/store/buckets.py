"""Where remotes lie: buckets, web servers and folders, by obstore. The door to obstore.

Objects are immutable and created under a condition, so that two writers never replace each other's. One list alone
changes, under the condition that nobody changed it since it was read.
"""

from __future__ import annotations

import random
import re
import time
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from emdsl.errors import FileMissing, SetupError, StoreAway, StoreError, UsageError
from emdsl.files import locked
from emdsl.redact import mask, mask_password

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_OBJECT = 2**30  # bytes: no index and no pack is this large
FORMS = "s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, https://HOST/PATH or a folder"
_OPTIONS = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "600s"}
_RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
_CHANGES = 50  # tries to change a list while others change it too
_LOCK_S = 60.0  # how long another process may hold the lock of a folder
_VARIABLES = {  # that obstore knows, beside those that it reads itself: here they may come from `.env`
    "s3": (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL", "AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_REQUEST_PAYER",
        "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
    ),
    "gs": (
        "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BASE_URL",
        "GOOGLE_SKIP_SIGNATURE",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_STORAGE_ENDPOINT", "AZURE_SKIP_SIGNATURE", "AZURE_USE_AZURE_CLI",
    ),
}  # fmt: skip
_ENDPOINTS = ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true for a public "
    "container",
}
_METADATA = re.compile(r"169\.254\.16\d\.\d+|metadata\.google\.internal")  # where machines of a cloud ask who they are
_KINDS = {"Connect": "no connection", "Timeout": "no answer in time", "Interrupted": "the connection broke"}
_KIND = re.compile(r"kind: (\w+)")
_STATUS = re.compile(r"status code: (\d{3})")
T = TypeVar("T")
_REGION = re.compile(r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|wrong.{0,20}region")


class Bucket:
    """The objects of one remote by their paths; methods raise StoreError, and StoreAway if it cannot be reached."""

    def __init__(self, url: str, environment: Mapping[str, str], *, create: bool = False) -> None:
        self.url = url
        self._scheme, self._folder = _form(url)
        if self._folder is not None and not create and not self._folder.is_dir():
            raise FileMissing(f"`{url}` is not a folder; a remote is {FORMS}")
        self.lists = self._scheme != "https"  # a web server lists nothing, and takes nothing
        self.ranges = True  # until a web server sends a whole object in place of a part
        self._store = self._opened(environment)

    def __repr__(self) -> str:
        """Return the URL alone: credentials are nobody's business."""
        return f"Bucket({self.url!r})"

    def get(self, path: str) -> bytes | None:
        """Return an object, or None if it is missing."""
        import obstore

        def read() -> bytes:
            found = obstore.get(self._store, path)
            if found.meta["size"] > MAX_OBJECT:
                raise StoreError(f"{path} of {self.url} is larger than any file of a remote")
            return bytes(found.bytes())

        return self._tried(path, read)

    def get_range(self, path: str, start: int, end: int) -> bytes:
        """Return a part of an object, cut from the whole of it if the server knows no parts; see `ranges`."""
        import obstore

        if self.ranges:
            try:
                part = self._tried(path, lambda: bytes(obstore.get_range(self._store, path, start=start, end=end)))
            except _NoRanges:
                self.ranges = False
            else:
                if part is None:
                    raise self._missing(path)
                return part
        content = self.get(path)
        if content is None:
            raise self._missing(path)
        return content[start:end]

    def create(self, path: str, content: bytes) -> bool:
        """Store an object under a name of its own; return whether it is new."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def write() -> bool:
            try:
                obstore.put(self._store, path, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        if (new := self._tried(path, write)) is None:
            raise StoreError(f"{self.url}: the bucket does not exist")
        return new

    def names(self, folder: str) -> dict[str, int]:
        """Return the names of the objects in a folder, with their sizes in bytes."""
        import obstore

        def read() -> dict[str, int]:
            parts = obstore.list(self._store, folder)
            return {str(m["path"]).removeprefix(f"{folder}/"): int(m["size"]) for part in parts for m in part}

        return self._tried(folder, read) or {}

    def change(self, path: str, changed: Callable[[bytes | None], bytes | None]) -> None:
        """Replace an object by `changed` of it, unless that is None; another's change in between repeats it."""
        if self._folder is not None:  # a folder has no conditions, and locks instead
            with locked(self._folder / ".lock", wait_s=_LOCK_S):
                self._change(path, changed)
            return
        for attempt in range(_CHANGES):
            if self._change(path, changed):
                return
            time.sleep(random.uniform(0, min(2.0, 0.02 * 2**attempt)))  # noqa: S311 - so that two do not meet again
        raise StoreError(f"{path} of {self.url} cannot be changed: others change it all the time. Push again")

    def _change(self, path: str, changed: Callable[[bytes | None], bytes | None]) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def read() -> tuple[bytes, Any]:
            found = obstore.get(self._store, path)
            marks = {"e_tag": found.meta.get("e_tag"), "version": found.meta.get("version")}
            return bytes(found.bytes()), {name: mark for name, mark in marks.items() if mark is not None}

        before, version = self._tried(path, read) or (None, "create")
        content = changed(before)
        if content is None:
            return True

        def write() -> bool:
            try:
                mode: Any = "overwrite" if self._folder is not None else version
                obstore.put(self._store, path, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return bool(self._tried(path, write))

    def _tried(self, path: str, call: Callable[[], T]) -> T | None:
        """Return the value of a call, or None if the object is missing; raise StoreError for all that goes wrong."""
        from obstore.exceptions import BaseError

        try:
            return call()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(f"{self.url}: the bucket does not exist") from None
            return None
        except (BaseError, OSError, NotImplementedError) as error:
            raise self._explained(path, str(error)) from None  # its text may hold headers

    def _explained(self, path: str, text: str) -> StoreError | SetupError:
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        first = mask(text.partition("\n")[0])[:300]
        if self._scheme == "https" and ("range" in text.lower() and not status):
            return _NoRanges(first)
        if _METADATA.search(text):
            return SetupError(f"{self.url} needs credentials: {_CREDENTIALS[self._scheme]}, here or in `.env`")
        if "NoSuchBucket" in text or "BucketNotFound" in text or "ContainerNotFound" in text:
            return StoreError(f"{self.url}: the bucket does not exist")
        if _REGION.search(text) or status == 301:
            return StoreError(f"{self.url} is in another region: set AWS_REGION to that of the bucket")
        if status == 501:
            return StoreError(f"{self.url} has no conditional writes (`If-None-Match`), which a remote needs")
        if status in {401, 403} or "denied" in text.lower() or "Unauthenticated" in text:
            hint = _CREDENTIALS.get(self._scheme, "check who may read it")
            return StoreError(f"{self.url}: access to {path} is denied ({status or 'no permission'}); {hint}")
        if self._folder is not None or 400 <= status < 500:
            return StoreError(f"{path} of {self.url} cannot be used: {first}")
        return StoreAway(f"{self.url} cannot be reached: {mask(_short(text))}")

    def _missing(self, path: str) -> StoreError:
        return StoreError(f"{path} of {self.url} is missing, although its index is there: push its answers again")

    def _opened(self, environment: Mapping[str, str]) -> Any:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import HTTPStore, LocalStore, from_url
        except ImportError:
            raise SetupError(
                f"{self.url} is a remote, which needs another package: pip install 'emdsl[remote]'"
            ) from None
        given = {n: v for n in _VARIABLES.get(self._scheme, ()) if (v := environment.get(n, "").strip())}
        address = self.url if self._scheme == "https" else next((given[n] for n in _ENDPOINTS if n in given), "https:")
        if address.startswith("http:") and not _loopback(address):
            raise UsageError(f"{mask_password(address)} is not encrypted: use https")
        options: Any = {**_OPTIONS, "allow_http": address.startswith("http:")}
        retries: Any = _RETRIES
        try:
            if self._folder is not None:
                return LocalStore(self._folder, mkdir=True)
            if self._scheme == "https":
                return HTTPStore(self.url.rstrip("/"), client_options=options, retry_config=retries)
            config: Any = given
            return from_url(self.url, config=config, client_options=options, retry_config=retries)
        except (BaseError, OSError, ValueError) as error:
            text = mask(str(error).partition("\n")[0])
            hint = f"; {_CREDENTIALS[self._scheme]}" if self._scheme in _CREDENTIALS else ""
            raise SetupError(f"{self.url} cannot be opened: {text}{hint}") from None


class _NoRanges(StoreError):
    """A web server sent a whole object in place of a part."""


def checked_url(url: str) -> str:
    """Return the URL of a remote, or the whole path of a folder; raises UsageError, also for a URL with a secret."""
    scheme, folder = _form(url)
    return str(folder.resolve()) if folder is not None else url if scheme != "https" else url.rstrip("/")


def on_web(url: str) -> bool:
    """Whether a remote is on a web server, which takes nothing."""
    return _form(url)[0] == "https"


def _form(url: str) -> tuple[str, Path | None]:
    """Return the scheme of a URL, `https` also for http, and the folder if it is one."""
    if "://" not in url:
        return "file", Path(url)
    try:
        parts = urlsplit(url)
        secret = parts.username is not None or parts.password is not None or bool(parts.query)
    except ValueError:
        raise UsageError(f"`{mask_password(url)}` is not a URL; a remote is {FORMS}") from None
    if secret:
        raise UsageError(
            f"`{mask_password(parts._replace(query='').geturl())}` was given with a user, a password or a query: "
            "emdsl writes URLs into files, so credentials belong into the environment or `.env`"
        )
    scheme = "https" if parts.scheme == "http" else parts.scheme
    if scheme == "file":
        return "file", Path(unquote(parts.path))
    if scheme not in {"s3", "gs", "az", "https"} or not parts.netloc:
        raise UsageError(f"`{url}` is not a remote; a remote is {FORMS}")
    return scheme, None


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _short(text: str) -> str:
    """Return the reason in an error of obstore, without how often it was tried."""
    kind = found[1] if (found := _KIND.search(text)) else ""
    return _KINDS.get(kind) or text.partition("\n")[0].rpartition(" - ")[2].strip()[:300]
