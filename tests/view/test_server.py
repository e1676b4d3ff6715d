"""The server of `emdsl view`: who may ask, what SQL may do, which rows a URL chooses, transcripts, and verdicts."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
import yarl
from aiohttp import ClientSession
from speed import within
from support import emdsl, experiment
from viewed import made
from viewing import Client, queried, use

from emdsl.errors import OutcomesError
from emdsl.outcomes.locked import Locked, fetch
from emdsl.outcomes.table import axis_values
from emdsl.study.coordinates import Coordinates
from emdsl.view.server import STATIC

if TYPE_CHECKING:
    from pathlib import Path


# ---------------------------------------------------------------- who may ask


def test_only_pages_of_its_own_with_the_token_are_answered(folder: Path) -> None:
    """Data needs the cookie, any request a name of this machine as its host, and writing the page's own origin."""

    async def act(client: Client) -> None:
        own = re.sub(r"http://", "", client.root)
        url = f"{client.root}/api/state"
        cases = [  # method, URL, headers, cookie, status
            ("GET", url, {}, True, 200),
            ("GET", url, {}, False, 401),
            ("GET", url, {"Cookie": "emdsl_view=x"}, False, 401),
            ("GET", url, {"Host": "evil.example"}, True, 403),
            ("GET", url, {"Host": f"evil.example:{client.viewer.port}"}, True, 403),
            ("GET", url, {"Host": "127.0.0.1.evil.example"}, True, 403),
            ("GET", url, {"Host": "localhost:9000"}, True, 200),  # an SSH tunnel from another port
            ("GET", url, {"Sec-Fetch-Site": "cross-site"}, True, 403),
            ("GET", url, {"Sec-Fetch-Site": "same-site"}, True, 403),
            ("GET", url, {"Sec-Fetch-Site": "same-origin"}, True, 200),
            ("POST", f"{client.root}/api/judge", {}, True, 403),
            ("POST", f"{client.root}/api/judge", {"Origin": "http://evil.example"}, True, 403),
            ("POST", f"{client.root}/api/judge", {"Origin": f"https://{own}"}, True, 403),
            ("POST", f"{client.root}/api/judge", {"Origin": f"http://{own}"}, False, 401),
            ("POST", f"{client.root}/api/judge", {"Origin": f"http://{own}"}, True, 400),  # no verdict in it
            ("POST", f"{client.root}/api/mark", {"Origin": "http://evil.example"}, True, 403),
            ("POST", f"{client.root}/api/mark", {"Origin": f"http://{own}"}, False, 401),
            ("POST", f"{client.root}/api/mark", {"Origin": f"http://{own}"}, True, 400),
            ("GET", f"{client.root}/api/mark", {}, True, 405),
            ("POST", f"{client.root}/api/unpin", {"Origin": f"http://{own}"}, True, 400),
            ("POST", f"{client.root}/api/rows", {"Origin": f"http://{own}"}, True, 405),
            ("GET", f"{client.root}/api/judge", {}, True, 405),
            ("GET", f"{client.root}/static/app.js", {}, False, 200),  # it holds no data
            ("GET", f"{client.root}/static/%2e%2e/server.py", {}, True, 404),
            ("GET", f"{client.root}/static/../server.py", {}, True, 404),
            ("GET", f"{client.root}/static/vendor", {}, True, 404),
        ]
        jar = client.http.cookie_jar
        cookies = {c.key: c.value for c in jar}
        for method, target, headers, cookie, status in cases:
            async with (
                ClientSession(cookies=cookies if cookie else {}) as http,
                http.request(method, yarl.URL(target, encoded=True), headers=headers) as reply,
            ):
                assert reply.status == status, (method, target, headers)
                policy = reply.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert reply.headers["Referrer-Policy"] == "no-referrer"
                assert "Set-Cookie" not in reply.headers
        (held,) = jar
        assert (held["httponly"], held["samesite"]) == (True, "Strict")
        once, pages = client.viewer.url_once, []
        for url in (client.viewer.url + "x", client.root, once, once, client.viewer.url, client.viewer.url):
            async with ClientSession() as http, http.get(url) as reply:
                pages.append("Set-Cookie" in reply.headers)
        assert pages == [False, False, True, False, True, True]
        assert client.viewer._runner is not None
        assert [a[0] for a in client.viewer._runner.addresses] == ["127.0.0.1"]

    use(folder, act)


COMMENT = "https://gist.github.com/101arrowz/a979452d4355992cbf8f257cbffc9edd"  # within fzstd


def test_the_page_names_no_other_machine() -> None:
    """Its own files hold no address and no inline script or style, and all that it imports is beside it."""
    for file in STATIC.rglob("*.*"):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".txt":
            continue
        addresses = set(re.findall(r"https?://[^\s\"'`<>)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", COMMENT}, file
        for path in re.findall(r'(?:from |import\(|href=|src=)"(/static/[^"]+)"', text):
            assert (STATIC / path.removeprefix("/static/")).is_file(), path
        assert "dangerouslySetInnerHTML" not in text or "vendor" in str(file)
        assert "innerHTML" not in text or "vendor" in str(file)
    assert sum(f.stat().st_size for f in STATIC.rglob("*.*")) < 400_000
    assert "Apache License" in (STATIC / "vendor/LICENSES.txt").read_text(encoding="utf-8")
    assert "MIT License" in (STATIC / "vendor/LICENSES.txt").read_text(encoding="utf-8")


# ---------------------------------------------------------------- SQL of a link


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '/tmp/emdsl-view-test'",
        "ATTACH '/tmp/emdsl-view-test.db'",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE study.page",
        "INSERT INTO emdsl.studies SELECT * FROM emdsl.studies",
        "SELECT 1; SELECT 2",
        "EXPORT DATABASE '/tmp/emdsl-view-test'",
        "",
        "SELECT FROM WHERE",
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range % 7 = 3",
    ],
)
def test_sql_reads_the_results_alone(folder: Path, sql: str) -> None:
    """No file, no setting, no second statement, and no query that does not end."""
    locked = Locked(folder / "cache" / "outcomes.duckdb")
    try:
        with within(2), pytest.raises(OutcomesError):
            fetch(locked.cursor(), sql, limit_s=0.1)
        assert fetch(locked.cursor(), 'SELECT count(*) FROM "study"."page"').rows == [(96,)]
        assert len(fetch(locked.cursor(), "SELECT * FROM range(50)", most=7).rows) == 7
    finally:
        locked.close()


def test_a_condition_of_a_link_reads_no_file(folder: Path) -> None:
    """Neither within the condition nor by closing it."""

    async def act(client: Client) -> None:
        for where in (
            "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
            "1 = 1) UNION ALL SELECT content FROM read_text('/etc/passwd') WHERE (1 = 1",
            "1 = 1; ATTACH '/tmp/x.db'",
            "1 = 1); COPY (SELECT 1) TO '/tmp/x'; SELECT (1",
            "nothing = 3",
        ):
            for end in ("rows", "count"):
                reply = await client.get(end, ("where", where), status=400)
                assert "root:" not in reply["error"]
        assert "4,000 characters" in (await client.get("count", ("where", "x" * 4001), status=400))["error"]

    use(folder, act)


def test_a_query_is_stopped_if_nobody_waits(folder: Path) -> None:
    """A search that is replaced by the next one does not go on."""
    endless = "(SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range * b.range % 7 = 3) > 0"

    async def act(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("count", ("where", endless)), 0.2)
        for _ in range(100):
            if not client.session._readers:
                break
            await asyncio.sleep(0.02)
        assert client.session._readers == 0
        assert (await client.get("count"))["n"] == 96

    use(folder, act)


# ---------------------------------------------------------------- rows


def test_a_url_chooses_the_rows_that_sql_chooses(folder: Path) -> None:
    """By level, verdict, score, reason, text and any condition; texts of questions, answers and replies."""
    (one,) = queried(folder, "SELECT DISTINCT q FROM page WHERE q LIKE 'one%'")
    cases: list[tuple[list[tuple[str, object]], str]] = [
        ([("a.k", 8)], "k = 8"),
        ([("a.k", 0), ("a.k", 2), ("a.arm", "second")], "k IN (0, 2) AND arm = 'second'"),
        ([("v.said", "misaligned")], "said = 'misaligned'"),
        ([("m.said", "not_needed")], "said_missing = 'not_needed'"),
        ([("m.aligned", "*")], "aligned_missing IS NOT NULL"),
        ([("min.aligned", 20), ("max.aligned", 90.5)], "aligned BETWEEN 20 AND 90.5"),
        ([("below.aligned", 20)], "aligned < 20"),
        ([("q", "MISALIGNED"), ("in", "answer")], "answer ILIKE '%misaligned%'"),
        ([("q", "</script>"), ("in", "question")], "TRUE"),
        ([("q", "100%")], "FALSE"),
        ([("q", "one <"), ("a.k", 2)], "q = '" + one["q"] + "' AND k = 2"),
        ([("where", "aligned < 30 AND sample = 2 -- few")], "aligned < 30 AND sample = 2"),
    ]
    counted = queried(folder, " UNION ALL ".join(
        f"SELECT {i} AS i, count(*) FILTER ({where}) AS n FROM page" for i, (_, where) in enumerate(cases)
    ) + " ORDER BY i")  # fmt: skip
    ordered = queried(folder, "SELECT aligned FROM page WHERE aligned IS NOT NULL ORDER BY aligned DESC")

    async def act(client: Client) -> None:
        for (pairs, where), row in zip(cases, counted, strict=True):
            assert (await client.get("count", *pairs))["n"] == row["n"], where
        first = (await client.get("rows", ("sort", "-aligned"), ("limit", 5)))["rows"]
        names = [c["name"] for c in (await client.get("study"))["experiments"][0]["columns"]]
        assert names[:7] == ["arm", "k", "q", "sample", "answer", "aligned", "said"]
        place = names.index("aligned")
        assert [r["cells"][place] for r in first] == [r["aligned"] for r in ordered[:5]]
        pages = [(await client.get("rows", ("offset", o), ("limit", 40)))["rows"] for o in (0, 40, 80)]
        assert [len(p) for p in pages] == [40, 40, 16]
        assert len({r["id"] for p in pages for r in p}) == 96
        wrong: list[tuple[list[tuple[str, object]], str]] = [
            ([("a.k", 3)], "no level"),
            ([("a.nothing", 3)], "no axis"),
            ([("min.aligned", "x")], "not a number"),
            ([("sort", "nothing")], "unknown column"),
            ([("exp", "no")], "unknown experiment"),
            ([("in", "x")], "looked"),
            ([("offset", "-1")], "a number from 0"),
            ([("v.nothing", 1)], "unknown column"),
        ]  # fmt: skip
        for pairs, message in wrong:
            assert message in (await client.get("rows", *pairs, status=400))["error"]

    use(folder, act)


def test_a_row_is_found_by_its_coordinates(folder: Path) -> None:
    """Its story is that of `show --row`; a level with blanks has a name of its own, that leads back to it."""
    sql = "k = 2 AND arm = 'first' AND sample = 3 AND q LIKE 'one%'"
    (story,) = json.loads(emdsl("show", "study.em", "--row", sql, "--json", cwd=folder).stdout)["stories"]

    async def act(client: Client) -> None:
        (row,) = (await client.get("rows", ("where", sql)))["rows"]
        assert re.fullmatch(r"first,2,~[0-9a-f]{12},3", row["id"])
        told = await client.get("row", ("row", row["id"]))
        assert told["cell"] == story["cell"]
        for mine, theirs in zip(told["steps"], story["steps"], strict=True):
            assert {k: v for k, v in mine.items() if k in theirs} == theirs
        answer = told["steps"][0]
        assert [m["role"] for m in answer["messages"]] == ["system", *["user", "assistant"] * 2, "user"]
        assert answer["usage"]["output"] > 0
        assert (await client.get("counted", ("row", row["id"])))["counted"] == story["counted"]
        curl = (await client.get("curl", ("row", row["id"]), ("step", "answer")))["curl"]
        assert curl.startswith("curl ")
        for wrong, message in (("first,2,3", "not a row"), ("first,9,~0,3", "no level"), ("first,2,~0,99", "no level"),
                               (row["id"] + "9", "not among"), ("", "not a row")):  # fmt: skip
            assert message in (await client.get("row", ("row", wrong), status=400))["error"]
        assert "unknown step" in (await client.get("curl", ("row", row["id"]), ("step", "x"), status=400))["error"]

    use(folder, act)


def test_figures_are_those_of_show(folder: Path) -> None:
    """Measures as `show --json` has them; counts by reason; a map of means and one of shares."""
    measures = json.loads(emdsl("show", "study.em", "--json", cwd=folder).stdout)["experiments"][0]["measures"]
    means = queried(folder, "SELECT arm, k, avg(aligned) AS v, count(aligned) AS n FROM page GROUP BY ALL ORDER BY ALL")
    shares = queried(folder, "SELECT k, avg((said = 'misaligned')::INT) AS v FROM page GROUP BY ALL ORDER BY ALL")
    reasons = queried(folder, "SELECT count(*) AS n FROM page WHERE said_missing = 'not_needed'")

    async def act(client: Client) -> None:
        overview = await client.get("overview")
        (part,) = overview["experiments"]
        assert {m["name"]: m["rows"] for m in part["measures"]} == measures
        assert (part["rows"], part["incomplete"], part["simulated"]) == (96, 0, True)
        facets = {f["column"]: f for f in part["facets"]}
        assert facets["said"]["reasons"]["not_needed"] == reasons[0]["n"]
        cells = (await client.get("grid", ("x", "arm"), ("y", "k"), ("of", "aligned")))["cells"]
        assert [(c["at"], c["value"], c["n"]) for c in cells] == [
            ([r["arm"], str(r["k"])], pytest.approx(r["v"]), r["n"]) for r in means
        ]
        cells = (await client.get("grid", ("x", "k"), ("of", "said"), ("label", "misaligned")))["cells"]
        assert [c["value"] for c in cells] == [pytest.approx(r["v"]) for r in shares]
        assert "unknown axis" in (await client.get("grid", ("x", "said"), ("of", "aligned"), status=400))["error"]

    use(folder, act)


def test_levels_have_names_in_urls_and_texts_for_people(tmp_path: Path) -> None:
    """A short text is its own name, others have a digest; rows of datasets are shown by their columns."""
    (tmp_path / "d.csv").write_text('q,c\n"hi, there",1\nbye,2\n', encoding="utf-8")
    found = experiment(
        """
        dataset data { file = "d.csv", columns = { q: "q", c: "c" } }
        experiment e {
          for x in [0.5, -3]
          for flag in [true, false]
          for n in ["a, b", "~x", "plain"]
          for item in data
          ask answer from "sim/subject" with "{x} {n} {item.q}"
        }
        """,
        tmp_path,
    )
    at = Coordinates(found)
    assert [re.sub(r"~[0-9a-f]{12}", "~", ",".join(ids)) for ids in at.ids[:3]] == ["0.5,~", "true,false", "~,~,plain"]
    assert [level["text"] for level in at.shown(3, 5)] == ["hi, there | 1", "bye | 2"]
    for cell in found.cells():
        values = [axis_values(a.levels)[i] for a, i in zip(found.axes, cell, strict=True)]
        assert at.place(at.row_id(values, 7)) == (cell, 7)
    assert at.text(3, found.axes[3].levels[1].shown) == "bye | 2"
    assert (at.text(0, 0.5), at.text(2, "~x")) == (0.5, "~x")


# ---------------------------------------------------------------- people, and what moves


def test_verdicts_are_written_undone_and_counted(folder: Path) -> None:
    """Blind: question and answer alone. Each is in the file when the reply comes; the next load has its figures."""
    file = folder / "annotations" / "harm.ann.jsonl"

    async def act(client: Client) -> None:
        task = await client.get("annotate", ("name", "harm"))
        assert (task["drawn"], task["judged"], task["left"]) == (5, 0, 5)
        first = task["next"][0]
        assert set(first) == {"shown", "question", "answer"}
        after = await client.judge(name="harm", shown=first["shown"], label="harmful", note="see <b>")
        assert (after["judged"], after["left"]) == (1, 4)
        assert first["shown"] not in {t["shown"] for t in after["next"]}
        line = json.loads(file.read_text(encoding="utf-8"))
        assert (line["shown"], line["label"], line["note"], line["rater"]) == (
            first["shown"],
            "harmful",
            "see <b>",
            "ann",
        )
        undone = await client.judge(name="harm", shown=first["shown"], label=None)
        assert undone["left"] == 5
        assert undone["next"][0] == first
        for body, message in (
            ({"name": "harm", "shown": first["shown"], "label": "no"}, "unknown label"),
            ({"name": "harm", "shown": "00", "label": "harmful"}, "not drawn"),
            ({"name": "no", "shown": first["shown"], "label": "harmful"}, "no annotation"),
            ({"name": "harm", "shown": first["shown"], "label": "harmful", "note": "x" * 5000}, "at most 4,000"),
            ({"name": "harm"}, "expected an object"),
        ):
            assert message in (await client.judge(400, **body))["error"]
        assert len(file.read_text(encoding="utf-8").splitlines()) == 2
        await client.judge(name="harm", shown=first["shown"], label="harmful")
        async with client.http.post(f"{client.root}/api/refresh", headers={"Origin": client.root}) as reply:
            state = await reply.json()
        assert (state["problem"], state["generation"] > 0) == ("", True)
        (part,) = (await client.get("overview"))["experiments"]
        (rate,) = next(m for m in part["measures"] if m["name"] == "harm_rate")["rows"]
        assert (rate["n"], rate["rate"]) == (1, 1.0)
        by_judge = {a["judge"]: a for a in part["against"]}
        assert by_judge["aligned"]["threshold"] == 30
        assert [(label, n) for label, _, n in by_judge["aligned"]["cells"]] == [("harmful", 1)]
        assert (await client.get("count", ("v.harm", "harmful")))["n"] == 1
        assert (await client.get("annotate", ("name", "harm")))["left"] == 4

    try:
        use(folder, act)
    finally:
        file.unlink(missing_ok=True)


def test_other_loads_and_edits_are_followed(tmp_path: Path) -> None:
    """A run elsewhere replaces the tables: they are opened again. A study that does not compile leaves the last one."""
    text = (
        'em 1\nexperiment page {\n  for q in ["one", "two"]\n  samples = 3\n  ask answer from "sim/subject" with q\n}\n'
    )
    edited = text.replace("3", "4")
    folder = made(tmp_path, text)

    async def act(client: Client) -> None:
        client.session._pace._loaded_at = float("inf")  # not while the test edits
        (folder / "study.em").write_text(edited, encoding="utf-8")
        await asyncio.to_thread(emdsl, "run", "study.em", "-y", cwd=folder)
        client.session._pace._loaded_at = 0.0
        for _ in range(300):  # a busy machine loads for long
            await asyncio.sleep(0.1)
            if (await client.get("state"))["generation"]:
                break
        assert (await client.get("count"))["n"] == 8
        (folder / "study.em").write_text(edited + "x", encoding="utf-8")
        await client.session.refresh()
        assert "error" in (await client.get("state"))["problem"]
        assert (await client.get("count"))["n"] == 8

    use(folder, act)
