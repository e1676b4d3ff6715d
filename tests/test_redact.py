"""One place decides what is secret; texts lose their secrets however these are written."""

from __future__ import annotations

import pytest

from emdsl import redact
from emdsl.redact import Redactor, Secret, api_keys, mask_source


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("sk-planted-0123456789", "a SK-Planted-0123456789 b", "a [API key] b"),
        ("ollama", "the llama family, ollama too", "the llama family, ollama too"),
        ('sk-"odd/key=81f2', "sk-%22odd%2Fkey%3D81f2", "[API key]"),
        ("", "nothing", "nothing"),
    ],
)
def test_keys_are_masked_however_they_are_written(key: str, text: str, shown: str) -> None:
    """In any case, as URLs write them; a short word of letters is no secret."""
    assert Redactor([Secret(key)]).mask(text) == shown


def test_a_secret_that_is_added_later_is_masked_too() -> None:
    """Longer ones first: no rest of a key stays behind another that begins like it."""
    redactor = Redactor([Secret("sk-0123456789")])
    redactor.add([Secret("sk-0123456789-second"), Secret("hunter", sure=True)])
    assert redactor.mask("sk-0123456789-second, hunter") == "[API key], [API key]"
    assert redactor.mask_optional(None) is None


def test_what_is_secret_depends_on_where_it_may_appear() -> None:
    """Answers lose API keys alone; printed texts lose tokens and passwords too, but no short words and no numbers."""
    environment = {
        "LAB_API_KEY": "lab-key-1",
        "LAB_API_KEY_2": "123456789",
        "HF_TOKEN": "token-of-a-hub-90210",
        "HOME": "/home/joe",
    }
    assert [s.reveal() for s in api_keys(environment)] == ["lab-key-1"]
    redact.register(environment)
    assert redact.mask("lab-key-1 token-of-a-hub-90210 123456789") == "lab-key-1 [API key] 123456789"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:planted%20secret%201@db.lab/answers",
        "postgresql://joe:planted secret 1@db.lab/answers",
        "postgresql://db.lab/answers?user=joe&password=planted%20secret%201",
        "postgresql://db.lab/answers?sslpassword=planted%20secret%201&user=joe",
        "postgresql://joe@db.lab/answers?pasword=planted%20secret%201",
        "postgresql://db.lab/answers?user=joe&Password=planted%20secret%201",
    ],
)
def test_the_password_of_a_store_is_masked_and_left_out(url: str) -> None:
    redact.register_url(url)
    assert "planted" not in redact.mask("refused: planted secret 1, planted%20secret%201")
    assert "planted" not in redact.without_password(url)
    assert "db.lab/answers" in redact.without_password(url)
    assert "joe" in redact.without_password(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:planted?secret=planted@db.lab/answers", "postgresql://db.lab/answers?pasword=planted@planted",
        "postgresql://db.lab:5432/answers?pasword=planted@planted&user=joe", "postgresql://joe:planted@planted@db.lab/x",
        "postgresql://joe@db.lab/answers?planted", "postgresql://joe:a/planted?x@db.lab/answers",
    ],
)  # fmt: skip
def test_a_wrong_url_of_a_store_shows_no_password_either(url: str) -> None:
    """Nobody knows where a password ends that is not percent-encoded."""
    assert "planted" not in redact.without_password(url)


def test_a_secret_shows_itself_to_reveal_alone() -> None:
    """Neither `str` nor `repr` holds it."""
    secret = Secret("sk-planted-0123456789")
    assert "planted" not in f"{secret} {secret!r}"


def test_stars_keep_the_length_of_a_line() -> None:
    """A caret under a line stays where it was."""
    line = 'model m { key = "lab-0123456789", use = "openai/x" }'
    assert len(mask_source(line)) == len(line)
    assert "0123" not in mask_source(line)
    assert mask_source('let key = "hello"') == 'let key = "hello"'
