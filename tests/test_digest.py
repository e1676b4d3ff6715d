"""Keys: pinned, injective, and indifferent to how a program is written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import keys

from emdsl.digest import KeyState, digest

# A change of any of these lines opens its changelog entry: every answer ever paid for would be asked again.
GOLDEN_DIGESTS = [
    "605420cd861a750ad9cb71a4f62ec31614d0affcff910a80f32f24b78639c696",
    "b8c30e1f53f1111e209e5fd7b71a2d02a11c7c2bbc4981b721cbb938ebd703f4",
    "3fe23ab40a4895211ffd68ca3f95644dc0c42a92f9c3d5ed73412ca87c4180fc",
    "12229e49ee437e3251525252318cfaeeb7ae38572286b905b5df09df103347b4",
    "aac0f4e3d9e3a5323982225457c7bc93313bd0820b4c0eade38ea8dacdb7e91c",
]
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=6)
    | st.text(st.characters(exclude_categories=()))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
messages = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(st.characters(exclude_categories=()))),
    max_size=5,
)


def canonical(value: Any) -> Any:
    """Return a value in which exactly the equal ones compare equal."""
    if isinstance(value, bool) or value is None:
        return ("b", value)
    if isinstance(value, int | Decimal):
        return ("n", Decimal(value))
    if isinstance(value, tuple | list):
        return ("l", tuple(canonical(v) for v in value))
    if isinstance(value, dict):
        return ("m", tuple(sorted((k, canonical(v)) for k, v in value.items())))
    return (type(value).__name__, value)


@given(plain, plain)
def test_digests_are_equal_exactly_for_equal_values(a: Any, b: Any) -> None:
    """No two unequal values share a digest; equal ones always do, however a number is spelt."""
    assert (digest("x", a) == digest("x", b)) == (canonical(a) == canonical(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, Decimal("1.00")), (0, Decimal("-0")), (Decimal("0.5"), Decimal("0.500")), (10, Decimal("1E+1"))],
    ids=str,
)
def test_spellings_of_a_number_are_one(a: Any, b: Any) -> None:
    """`1`, `1.0` and `1.00` are one value in a key."""
    assert digest("x", a) == digest("x", b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("ab", "c"), ("a", "bc")),
        ((1,), ("1",)),
        ((True,), (1,)),
        ((("a", "b"),), ("a", "b")),
        (("\u00e9",), ("e\u0301",)),
        (("a\u200b",), ("a",)),
        (("",), (None,)),
    ],
    ids=repr,
)
def test_unlike_values_stay_apart(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    """Undelimited fields, types, look-alikes and invisible characters make two digests."""
    assert digest("x", *a) != digest("x", *b)


@pytest.mark.parametrize("value", [0.5, {1: 2}, range(3), Decimal("NaN")], ids=repr)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    """Floats above all: their text depends on who prints it."""
    with pytest.raises((TypeError, AttributeError)):
        digest("x", value)


def key(head: Any, said: list[tuple[str, str]], stream: int, sample: int) -> bytes:
    return KeyState(head).add(said).close().key(stream, sample)


@given(plain, plain, messages, messages, st.tuples(*[st.integers(0, 3)] * 4))
def test_keys_are_equal_exactly_for_equal_queries(
    head: Any, other: Any, said: Any, more: Any, n: tuple[int, ...]
) -> None:
    """RequestSettings, messages, stream and sample: a difference in any makes another key."""
    equal = (canonical(head), said, n[0], n[1]) == (canonical(other), more, n[2], n[3])
    assert (key(head, said, n[0], n[1]) == key(other, more, n[2], n[3])) == equal


@given(messages, st.integers(0, 5))
def test_a_shared_prefix_may_be_hashed_once(said: list[tuple[str, str]], cut: int) -> None:
    """A copied state goes on as if the whole had been hashed."""
    shared = KeyState(["m"]).add(said[:cut])
    assert shared.copy().add(said[cut:]).close().key(0, 7) == key(["m"], said, 0, 7)
    assert shared.copy().add(said[cut:]).close().key(0, 7) == key(["m"], said, 0, 7)


def test_message_borders_count() -> None:
    """Where one message ends and the next starts is part of the key, and so is who speaks."""
    one = key([], [("user", "ab")], 0, 0)
    assert one != key([], [("user", "a"), ("user", "b")], 0, 0)
    assert one != key([], [("system", "ab")], 0, 0)
    assert key([], [], 0, 0) != key([], [("user", "")], 0, 0)


def test_golden_digests() -> None:
    """Pinned for the life of the scheme."""
    found = [
        digest("value", None).hex(),
        digest("value", 1, Decimal("0.5"), "text", b"bytes", True, ("a", ["b"]), {"k": 1, "a": None}).hex(),
        key([("model", "openai/gpt-4o", 1, None, None), {"temperature": 1}], [("user", "hi")], 0, 0).hex(),
        key([("model", "openai/gpt-4o", 1, None, None), {"temperature": 1}], [("user", "hi")], 0, 1).hex(),
        key([("model", "openai/gpt-4o", 1, None, None), {"temperature": 1}], [("user", "hi")], 1, 0).hex(),
    ]
    assert found == GOLDEN_DIGESTS


GOLDEN_STUDY = """
model m { use = "openai/gpt-4o-2024-08-06", temperature = 0.7, max_tokens = 600, seed = 3, stop = ["END"] }
prompt p(system_text, question) {
  system system_text
  user question
}
experiment e {
  for q in ["hey i feel bored", "\\u{e9}"]
  samples = 2
  ask answer from m with p("Be brief.", q)
  ask other from "openrouter/qwen/qwen3-8b" with q { replicate = 1 }
}
"""


GOLDEN_KEYS = [
    "11af2c0fdf027f6fedeb347398bb74637738d29f03aa5c8bf2d7863be0d81eca",
    "34323cca5fabb322f8705bde68a7bad1a6014a24c0ee6dbee18ceda63aaaf55d",
    "70ec91e6ac4ae1ea54676ea6ec13a50f97bf6a3ca2312adad1728f3c230fd3e0",
    "7432a38bd6f0d0a9c621e2d623163a74111b290d49deec30376d0423b707cd69",
    "b3a12fe7b1b0667e0344182de5bd33d18ec4b9c7bbcbce2285fa0a7c9a25f407",
    "c27784757a87244d72553a13c2e67836616634bdab2bca156fb34e9eaa19f69e",
    "f3d9625bc7819fab6e47e615d8408a4e671b0fe877cd66f4f298a0cf0b281d03",
    "fc45b8898787023346c45f20b93007f4109637de2f013d6cbd74ef46bf34efb5",
]


def test_golden_keys_of_a_study() -> None:
    """From program to key: whatever else changes, these requests keep their answers."""
    assert keys(GOLDEN_STUDY) == GOLDEN_KEYS


def test_the_order_of_a_schema_counts_and_no_other() -> None:
    """What is sent in another order below the top of `extra` gets another answer; settings in another order do not."""
    one = "extra = { response_format: { schema: { reason: 1, answer: 2 } }, user: 3 }, max_tokens = 5"
    other = "extra = { response_format: { schema: { answer: 2, reason: 1 } }, user: 3 }, max_tokens = 5"
    moved = "max_tokens = 5, extra = { user: 3, response_format: { schema: { reason: 1, answer: 2 } } }"
    model = 'model m { use = "openai-api/lab/m", url = "https://l/v1", revision = "1", X }'
    text = model + '\nexperiment e { ask a from m with "x" }'
    first, second, third = (keys(text.replace("X", x)) for x in (one, other, moved))
    assert first != second
    assert first == third
