"""The results of each batch API over real sockets: answers, errors and requests that were left out."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from providers.asking import CHAT, CLAUDE, GEMINI, RESPONSES, reply
from providers.batch_server import IDS, KEY, Provider, Reply, collect, error_of, jsonl, results, talk

from emdsl.errors import ProviderError, Rejected, Throttled, Unavailable
from emdsl.providers import transfers
from emdsl.providers.batches import Batch, BatchApi, Left, Phase

if TYPE_CHECKING:
    from collections.abc import Callable


def chat(key: Any, text: str = "yes", **more: Any) -> dict[str, Any]:
    body = reply(CHAT, text, id="c1", model="m-1", system_fingerprint="fp", usage={"prompt_tokens": 3})
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "batch_req_1", "custom_id": key, "response": response, "error": None, "new": [1]} | more


def chat_error(key: str, status: int, error: Any, **more: Any) -> dict[str, Any]:
    return {"custom_id": key, "response": {"status_code": status, "body": {"error": error}}, "error": None} | more


def left_out(key: str, code: str) -> dict[str, Any]:
    return {"custom_id": key, "response": None, "error": {"code": code, "message": "left out"}}


OUTPUT = Batch(id="b1", phase=Phase.ENDED, results=("o", "e"))


@pytest.mark.parametrize("service", ["openai", "groq", "together", "mistral"])
def test_results_are_in_an_output_file_and_an_error_file(service: str) -> None:
    """In any order, some twice, with unknown fields; each line comes to what it would online."""
    table = {
        "GET /v1/files/o/content": jsonl(chat(IDS[2], "c"), chat(IDS[0], "a"), b"\n", chat(IDS[2], "c")),
        "GET /v1/files/e/content": jsonl(
            chat_error(IDS[1], 400, {"message": "bad", "type": "invalid_request_error"}),
            left_out(IDS[3], "batch_expired"), left_out(IDS[4], "batch_cancelled"), left_out(IDS[5], "request_timeout"),
        ),
    }  # fmt: skip
    before = time.time()
    lines, provider = results(service, OUTPUT, table)
    assert provider.calls == ["GET /v1/files/o/content", "GET /v1/files/e/content"]
    assert [s.headers["Authorization"] for s in provider.seen] == [f"Bearer {KEY}"] * 2
    answers = [(x.custom_id, x.response.text) for x in lines if x.response]
    assert answers == [(IDS[2], "c"), (IDS[0], "a"), (IDS[2], "c")]
    response = lines[0].response
    assert response is not None
    assert (response.finish, response.model, response.fingerprint, response.request_id) == ("stop", "m-1", "fp", "c1")
    assert (response.usage.input_tokens, response.run, response.batch, response.elapsed_s) == (3, "r1", "b1", 0.0)
    assert before <= response.answered_at <= time.time()
    assert [(x.custom_id, x.left) for x in lines if x.left] == [(IDS[3], Left.EXPIRED), (IDS[4], Left.CANCELLED)]
    errors = {x.custom_id: x.error for x in lines if x.error}
    assert [type(e) for e in errors.values()] == [Rejected, Unavailable]
    assert str(errors[IDS[1]]) == "400 bad"


def claude_line(key: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"custom_id": key, "result": {"type": kind} | more}


def claude_error(key: str, kind: str, message: str = "why", **more: Any) -> dict[str, Any]:
    error = {"type": kind, "message": message} | more
    return claude_line(key, "errored", error={"type": "error", "error": error, "request_id": "r"})


def gemini_error(key: str, code: int, message: str = "why", **more: Any) -> dict[str, Any]:
    return {"key": key, "error": {"code": code, "message": message} | more}


ENDS: list[tuple[str, Any, Any]] = [  # a service, a line, and what it comes to
    ("openai", chat_error(IDS[0], 429, {"message": "Rate limit reached"}), (Throttled, 429)),
    ("openai", chat_error(IDS[0], 500, {"message": "oops"}), (Unavailable, 500)),
    ("openai", chat_error(IDS[0], 401, {"message": "Incorrect API key", "code": "invalid_api_key"}), (Rejected, 401)),
    ("openai", chat_error(IDS[0], 404, {"message": "no", "code": "model_not_found"}), (Rejected, 404)),
    ("openai", chat_error(IDS[0], 400, {"message": "Flagged.", "code": "content_policy_violation"}), "Flagged."),
    ("openai", chat(IDS[0], response={"status_code": 200, "body": {"error": {"message": "m", "code": 429}}}),
     (Throttled, 429)),
    ("openai", chat(IDS[0], response={"status_code": 200, "body": {"choices": []}}), (Unavailable, 200)),
    ("openai", chat(IDS[0], response={"status_code": 200, "body": None}), (Unavailable, 200)),
    ("openai", chat(IDS[0], response={"status_code": "200", "body": json.dumps(reply(CHAT, "yes"))}), "yes"),
    ("openai", chat(IDS[0], response={"status_code": 502, "body": "Bad gateway"}), (Unavailable, 502)),
    ("openai", chat(IDS[0], response=None), (Unavailable, 200)),
    ("together", {"custom_id": IDS[0], "error": {"message": "Rate limit", "code": "rate_limit_exceeded"}},
     (Throttled, 429)),
    ("mistral", {"custom_id": IDS[0], "response": {"status_code": 422, "body": '{"detail": "bad"}'}},
     (Rejected, 422)),
    ("anthropic", claude_line(IDS[0], "succeeded", message=reply(CLAUDE, "yes")), "yes"),
    ("anthropic", claude_line(IDS[0], "expired"), Left.EXPIRED),
    ("anthropic", claude_line(IDS[0], "canceled"), Left.CANCELLED),
    ("anthropic", claude_error(IDS[0], "invalid_request_error"), (Rejected, 400)),
    ("anthropic", claude_error(IDS[0], "invalid_request_error", "Output blocked by content filtering policy"),
     "Output blocked by content filtering policy"),
    ("anthropic", claude_error(IDS[0], "invalid_request_error", "Your credit balance is too low"), (Rejected, 400)),
    ("anthropic", claude_error(IDS[0], "permission_error"), (Rejected, 403)),
    ("anthropic", claude_error(IDS[0], "billing_error"), (Rejected, 402)),
    ("anthropic", claude_error(IDS[0], "rate_limit_error"), (Throttled, 429)),
    ("anthropic", claude_error(IDS[0], "api_error"), (Unavailable, 500)),
    ("anthropic", claude_error(IDS[0], "timeout_error"), (Unavailable, 504)),
    ("anthropic", claude_error(IDS[0], "overloaded_error"), (Unavailable, 529)),
    ("anthropic", claude_error(IDS[0], "a_new_error"), (Unavailable, 200)),
    ("anthropic", claude_line(IDS[0], "errored", error={"type": "api_error", "message": "m"}), (Unavailable, 500)),
    ("anthropic", claude_line(IDS[0], "errored"), (Unavailable, 200)),
    ("anthropic", claude_line(IDS[0], "succeeded"), (Unavailable, 200)),
    ("anthropic", {"custom_id": IDS[0]}, (Unavailable, 200)),
    ("google", {"key": IDS[0], "response": reply(GEMINI, "yes")}, "yes"),
    ("google", {"metadata": {"key": IDS[0]}, "response": reply(GEMINI, "yes")}, "yes"),
    ("google", {"key": IDS[0], "response": {"promptFeedback": {"blockReason": "SAFETY"}}}, "SAFETY"),
    ("google", {"key": IDS[0], "status": {"code": 14, "message": "m"}}, (Unavailable, 503)),
    ("google", {"key": IDS[0]}, (Unavailable, 200)),
    ("google", gemini_error(IDS[0], 1), Left.CANCELLED),
    ("google", gemini_error(IDS[0], 2), (Unavailable, 500)),
    ("google", gemini_error(IDS[0], 3), (Rejected, 400)),
    ("google", gemini_error(IDS[0], 4), (Unavailable, 504)),
    ("google", gemini_error(IDS[0], 5), (Rejected, 404)),
    ("google", gemini_error(IDS[0], 7, "Permission denied"), (Rejected, 403)),
    ("google", gemini_error(IDS[0], 8), (Throttled, 429)),
    ("google", gemini_error(IDS[0], 9, "User location is not supported for the API use."), (Rejected, 400)),
    ("google", gemini_error(IDS[0], 10), (Unavailable, 409)),
    ("google", gemini_error(IDS[0], 13), (Unavailable, 500)),
    ("google", gemini_error(IDS[0], 16), (Rejected, 401)),
    ("google", gemini_error(IDS[0], 99), (Unavailable, 500)),
    ("google", gemini_error(IDS[0], 503, status="UNAVAILABLE"), (Unavailable, 503)),
]  # fmt: skip
FILES = {
    "anthropic": ("b1", "GET /v1/messages/batches/b1/results"),
    "google": ("files/r1", "GET /download/v1/files/r1:download?alt=media"),
}


@pytest.mark.parametrize(("service", "row", "wanted"), ENDS)
def test_a_line_comes_to_what_its_request_would_online(service: str, row: Any, wanted: Any) -> None:
    """An answer, an answer that is blocked, an error with a status, or a reason why it was left out."""
    place, call = FILES.get(service, ("o", "GET /v1/files/o/content"))
    (line,), _ = results(service, Batch(id="b1", phase=Phase.ENDED, results=(place,)), {call: jsonl(row)})
    assert line.custom_id == IDS[0]
    failed = (type(line.error), line.error.status) if line.error else None
    assert (line.left or failed or (line.response.text if line.response else None)) == wanted
    if line.response is not None:
        assert line.response.batch == "b1"
        assert line.response.finish == ("stop" if wanted == "yes" else "blocked")


def test_errors_of_lines_that_concern_every_request() -> None:
    """As online: no credit, no access, no such model."""
    rows = [r for s, r, w in ENDS if s == "anthropic" and w in ((Rejected, 402), (Rejected, 403))]
    rows.append(claude_error(IDS[0], "invalid_request_error", "Your credit balance is too low"))
    table = {"GET /v1/messages/batches/b1/results": jsonl(*rows)}
    lines, _ = results("anthropic", Batch(id="b1", phase=Phase.ENDED, results=("b1",)), table)
    flags = [x.error.for_all for x in lines if isinstance(x.error, Rejected)]
    assert flags == [False, True, True]


def test_the_lines_of_the_responses_api_are_read_by_its_format() -> None:
    row = chat(IDS[0], response={"status_code": 200, "body": reply(RESPONSES, "deep")})
    batch = Batch(id="b1", phase=Phase.ENDED, results=("o",))
    (line,), _ = results("openai", batch, {"GET /v1/files/o/content": jsonl(row)}, responses=True)
    assert line.response is not None
    assert line.response.text == "deep"


def test_gemini_may_answer_within_the_batch() -> None:
    """Results without a file: the batch is read again."""
    rows = [
        {"metadata": {"key": IDS[0]}, "response": reply(GEMINI, "yes")},
        {"metadata": {"key": IDS[1]}, "error": {"code": 8}}, 7,
    ]  # fmt: skip
    answer = {"name": "batches/b1", "done": True, "response": {"inlinedResponses": {"inlinedResponses": rows}}}

    async def act(api: BatchApi, _: Provider) -> Any:
        batch = await api.get("batches/b1")
        return batch.results, await collect(api.results(batch))

    (places, lines), _ = talk("google", {"GET /v1/batches/b1": answer}, act)
    assert places == ("batches/b1",)
    assert [(x.custom_id, type(x.error)) for x in lines] == [
        (IDS[0], type(None)), (IDS[1], Throttled), ("", Unavailable),
    ]  # fmt: skip


ONE = Batch(id="b1", phase=Phase.ENDED, results=("o",))


def read(content: Any, **more: Any) -> list[Any]:
    return results("openai", ONE, {"GET /v1/files/o/content": content}, **more)[0]


def test_a_line_that_cannot_be_read_is_an_error_of_its_request() -> None:
    """Its id is found in what there is of it; the lines around it are answers."""
    broken = jsonl(chat(IDS[1]))[:-30] + b"\n"
    lines = read(jsonl(chat(IDS[0]), broken, b"[1]\n", b"\xff\xfe\n", chat(7), chat(IDS[2])))
    assert [x.custom_id for x in lines] == [IDS[0], IDS[1], "", "", "", IDS[2]]
    assert [type(x.error) for x in lines[1:4]] == [Unavailable] * 3
    assert lines[5].response.text == "yes"


def test_odd_texts_are_read() -> None:
    """Lone surrogates, bytes that are not UTF-8, a byte order mark, and line ends of another system."""
    odd = jsonl(chat(IDS[1], "bad \ud800 half"))
    latin = jsonl(chat(IDS[2], "caf?")).replace(b"?", b"\xe9")
    first = b"\xef\xbb\xbf" + jsonl(chat(IDS[0])).replace(b"\n", b"\r\n")
    texts = [x.response.text for x in read(first + odd + latin + jsonl(chat(IDS[3])).rstrip())]
    assert texts == ["yes", "bad \ud800 half", "caf\ufffd", "yes"]


def test_a_line_that_is_too_large_is_an_error_of_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped in bounded memory; the next line is an answer."""
    monkeypatch.setattr(transfers, "MAX_LINE", 2**20)
    lines = read(jsonl(chat(IDS[0], "x" * 2**21), chat(IDS[1], "y" * 2**19)))
    assert [(x.custom_id, type(x.error)) for x in lines] == [(IDS[0], Unavailable), (IDS[1], type(None))]
    assert "larger than 1 MiB" in str(lines[0].error)
    assert len(lines[1].response.text) == 2**19


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in two members": ("gzip", lambda c: gzip.compress(c[:5000]) + gzip.compress(c[5000:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", lambda c: zlib.compress(c, wbits=-15)),
    "zstd": ("zstd", zstandard.compress),
    "zstd in two frames": ("zstd", lambda c: zstandard.compress(c[:5000]) + zstandard.compress(c[5000:])),
    "two encodings": ("gzip, zstd", lambda c: zstandard.compress(gzip.compress(c))),
    "declared, but plain": ("gzip", lambda c: c),
    "none": ("identity", lambda c: c),
}
MANY = jsonl(*(chat(IDS[i % 8], f"{i} " + "x" * 5000) for i in range(600)))  # 3 MB, and 15 kB as gzip


@pytest.mark.parametrize("name", PACKED)
def test_results_may_be_compressed(name: str) -> None:
    """By any encoding that replies may have, undone while they come."""
    encoding, pack = PACKED[name]
    lines = read(Reply(content=pack(MANY), headers={"Content-Encoding": encoding}))
    assert [x.response.text.partition(" ")[0] for x in lines] == [str(i) for i in range(600)]


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without a header", "zstd", "two encodings"])
def test_compressed_results_that_are_cut_are_an_error(name: str) -> None:
    """Even where the connection promises no length."""
    encoding, pack = PACKED[name]
    packed = pack(MANY)

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(collect(api.results(ONE)))

    for content in (packed[: len(packed) // 2], packed[:-1], packed[:1], b"no such format"):
        answer = Reply(content=content, headers={"Content-Encoding": encoding})
        error, _ = talk("openai", {"GET /v1/files/o/content": answer}, act)
        assert isinstance(error, Unavailable)
        assert "is not valid" in str(error)


@pytest.mark.parametrize("cut", [1, 100, 250_000])
def test_a_cut_download_is_an_error_after_the_lines_that_came(cut: int) -> None:
    """Of the download, so that it is repeated; never the end of the results."""
    content = jsonl(*(chat(IDS[i % 8], "x" * 1000) for i in range(1000)))
    came = []

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        async def all_lines() -> None:
            async for line in api.results(ONE):
                came.append(line)  # noqa: PERF401 - an error keeps the lines before it

        return await error_of(all_lines())

    error, _ = talk("openai", {"GET /v1/files/o/content": Reply(content=content, cut=cut)}, act)
    assert isinstance(error, Unavailable)
    assert len(came) == content[:cut].count(b"\n")


def test_results_without_a_length_that_end_within_a_line_were_cut() -> None:
    """A connection whose end is the end of the body looks whole."""

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(collect(api.results(ONE)))

    error, _ = talk("openai", {"GET /v1/files/o/content": jsonl(chat(IDS[0]), chat(IDS[1]))[:-40]}, act)
    assert isinstance(error, Unavailable)


@pytest.mark.parametrize(
    ("location", "keys"), [("/moved", [True, True]), ("http://localhost:PORT/moved", [True, False])]
)
def test_a_download_follows_a_redirect_without_its_key(location: str, keys: list[bool]) -> None:
    """A file may lie on a server of storage, which gets no key."""

    async def act(api: BatchApi, provider: Provider) -> Any:
        where = location.replace("PORT", provider.url.rpartition(":")[2])
        provider.table["GET /v1/files/o/content"] = Reply(status=302, headers={"Location": where})
        return await collect(api.results(ONE))

    lines, provider = talk("openai", {"GET /moved": jsonl(chat(IDS[0]))}, act)
    assert [x.response.text for x in lines] == ["yes"]
    assert ["Authorization" in s.headers for s in provider.seen] == keys


@pytest.mark.parametrize("service", ["openai", "anthropic", "google"])
def test_results_that_are_gone_are_a_404(service: str) -> None:
    """They are deleted after some time; other requests to the model are not concerned."""
    place, _ = FILES.get(service, ("o", ""))

    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(collect(api.results(Batch(id="b1", phase=Phase.ENDED, results=(place,)))))

    error, _ = talk(service, {}, act)
    assert isinstance(error, Rejected)
    assert (error.status, error.for_all) == (404, False)
    assert "no longer has these results" in str(error)


def test_a_redirect_in_a_circle_ends() -> None:
    async def act(api: BatchApi, _: Provider) -> ProviderError:
        return await error_of(collect(api.results(ONE)))

    circle = Reply(status=302, headers={"Location": "/v1/files/o/content"})
    error, provider = talk("openai", {"GET /v1/files/o/content": circle}, act)
    assert "redirects a download too often" in str(error)
    assert len(provider.calls) == 5


def test_answers_contain_no_key() -> None:
    """A model may repeat the key of its environment."""
    (line,) = read(jsonl(chat(IDS[0], f"the key is {KEY}")))
    assert line.response.text == "the key is [API key]"
    (line,) = read(jsonl(chat_error(IDS[0], 400, {"message": f"no {KEY}"})))
    assert str(line.error) == "400 no [API key]"


def test_a_refused_key_of_a_line_is_named() -> None:
    """As online."""
    (line,) = read(jsonl(chat_error(IDS[0], 401, {"message": "Incorrect API key provided"})))
    assert str(line.error).endswith("the key comes from `K`")


@pytest.mark.parametrize("code", [["batch_expired"], {"a": 1}, 7, None])
def test_a_code_of_another_type_is_an_error_of_its_line(code: object) -> None:
    """No line may end the collection of a batch."""
    odd = {"custom_id": IDS[0], "response": None, "error": {"code": code, "message": "odd"}}
    lines, _ = results("openai", OUTPUT, {
        "GET /v1/files/o/content": jsonl(odd, chat(IDS[1], "a")), "GET /v1/files/e/content": jsonl(),
    })  # fmt: skip
    assert [(x.custom_id, x.left, x.error is not None) for x in lines] == [(IDS[0], None, True), (IDS[1], None, False)]
