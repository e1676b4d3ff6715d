"""Encryption in the age format, of bundles and of remotes. The door to pyrage.

A remote has one identity, which lies in it under a passphrase. A passphrase takes a second to try, by design. So it
opens the identity alone, and the identity opens each block.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

from emdsl.errors import SetupError
from emdsl.store.packs import Damaged


class Seal:
    """Encrypts and decrypts the blocks and indexes of one remote."""

    def __init__(self, identity: str) -> None:
        self._age = _pyrage()
        self._identity = self._age.x25519.Identity.from_str(identity)
        self._recipients = [self._identity.to_public()]

    def close(self, content: bytes) -> bytes:
        """Encrypt."""
        sealed: bytes = self._age.encrypt(content, self._recipients)
        return sealed

    def open(self, content: bytes) -> bytes:
        """Decrypt; raises Damaged for bytes that this seal did not encrypt, or that changed since."""
        try:
            opened: bytes = self._age.decrypt(content, [self._identity])
        except self._age.DecryptError as error:
            raise Damaged("it cannot be decrypted") from error
        return opened


def new_identity(passphrase: str) -> str:
    """Return a new identity under a passphrase, as text; raises SetupError if the encryption package is missing."""
    identity = str(_pyrage().x25519.Identity.generate())
    return base64.b64encode(passphrases().encrypt(identity.encode(), passphrase)).decode()


@lru_cache(maxsize=4)  # a process tries a passphrase once
def opened(locked: str, passphrase: str) -> Seal:
    """Return the seal of a remote by the passphrase of its identity.

    Raises Damaged for a wrong passphrase, SetupError if the encryption package is missing.
    """
    age = passphrases()
    try:
        identity = age.decrypt(base64.b64decode(locked), passphrase).decode()
    except Exception as error:
        raise Damaged("wrong passphrase, or its emdsl.json is damaged") from error
    return Seal(identity)


def passphrases() -> Any:
    """Return the encryption by a passphrase; raises SetupError if its package is missing."""
    return _pyrage().passphrase


def _pyrage() -> Any:
    try:
        import pyrage  # noqa: PLC0415 - an extra: most never encrypt
    except ImportError:
        raise SetupError("encryption needs another package: pip install 'emdsl[encrypt]'") from None
    return pyrage
