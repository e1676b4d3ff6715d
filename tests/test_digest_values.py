"""Digests of single values, to the byte: signs, surrogates, and requests that are asked once more."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from emdsl.digest import KeyState, digest, digest_bytes


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (False, "f25a82374639722a64a5f923f7505263a01a3538d81b4218d0563aae2a47aaf7"),
        ("\ud800", "e7f75e339d924c6ac8a6ffdf006a9e2ef69d8cbf49194dd3bd952b22efcf19d4"),
    ],
    ids=ascii,
)
def test_golden_digests_of_values(value: Any, wanted: str) -> None:
    """`false` and half a surrogate pair have digests, pinned for the life of the scheme."""
    assert digest("x", value).hex() == wanted


def test_bytes_are_named_by_plain_sha_256() -> None:
    """The name of a file's bytes is what `sha256sum` prints: here the example of FIPS 180-4."""
    assert digest_bytes(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_sign_of_a_decimal_counts() -> None:
    """A negative decimal differs from the positive one, and equals the integer of the same value."""
    assert digest("x", Decimal("-0.5")) != digest("x", Decimal("0.5"))
    assert digest("x", Decimal(-3)) == digest("x", -3)


@pytest.mark.parametrize(
    ("said", "tries", "wanted"),
    [
        (("user", "hi"), 1, "8fd4d6d1bbd04ff0c00ebe1d52967f457f0ac05ea64fe41313c64e5a74aaee10"),
        (("\ud800", "\ud800"), 0, "6994b6312489cf22b3c3aa8f0a693a60c29d1bd39bb9f9ceb8c9206e0e3d20ab"),
    ],
    ids=["a second try", "surrogates"],
)
def test_golden_keys(said: tuple[str, str], tries: int, wanted: str) -> None:
    """The key of a request that is asked once more, and of texts that are no valid UTF-8, is pinned."""
    assert KeyState([]).add([said]).close().key(0, 0, tries).hex() == wanted
