"""The viewer in a real Chromium where there is one, by keys alone; CI has it always."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest
from accessible import check_screen
from chromium import opened
from playwright.sync_api import expect
from support import THOROUGH, clean_environment, communicated, emdsl
from viewed import STATUS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """Return the URL that the command prints; Ctrl-C ends it without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emdsl", "view", "--no-open", "--rater", "bob"], cwd=folder, text=True,
        env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", line)
    yield line
    process.send_signal(signal.SIGINT)
    out, err = communicated(process)
    assert (process.returncode, out) == (0, "")
    assert re.fullmatch(
        r"note: open the URL in a browser on this machine. .* ssh -N -L \d+:127\.0\.0\.1:\d+ \S+\n", err
    )


@pytest.fixture(scope="module")
def page(url: str) -> Iterator[Page]:
    with opened(url) as watched:
        yield watched.page
        root = url.split("?", maxsplit=1)[0]
        assert {f for f in watched.faults if "400 (Bad Request)" not in f} == set()  # a wrong condition is one
        assert [r for r in watched.requests if not r.startswith((root, "data:"))] == []


def open_at(page: Page, place: str) -> None:
    page.evaluate("place => { location.hash = place }", place)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_rows_and_transcripts_by_keys(page: Page, folder: Path) -> None:
    """Search, move, open, go on, compare, back; a reload shows the same; no text is taken for HTML."""
    where = "k = 2 AND (answer ILIKE '%misaligned%' OR said_reply ILIKE '%misaligned%')"
    sql = f"SELECT answer_key FROM page WHERE {where} ORDER BY rowid"
    rows = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    assert "token" not in page.url
    press(page, "g", "r")
    expect(page.locator("#count")).to_have_text("96 rows")
    assert page.locator("[role=row]").count() < 50  # those in sight alone
    press(page, "/")
    page.keyboard.type("MISALIGNED")
    press(page, "Escape")
    page.get_by_label("2", exact=True).focus()
    press(page, "Space")
    expect(page.locator("#count")).to_have_text(f"{len(rows)} rows")
    page.locator("[role=grid]").focus()
    press(page, "j", "j", "k")
    expect(page.locator("[role=row][aria-selected=true]")).to_have_attribute("aria-rowindex", "3")
    press(page, "Enter")
    transcript = page.locator(".transcript")
    expect(transcript.locator(".meta .key").first).to_have_text(rows[1]["answer_key"])
    assert "q=MISALIGNED" in page.url
    for mark in transcript.locator("mark").all_text_contents():  # of an answer that has the word
        assert mark == "misaligned"
    page.reload()
    expect(transcript.locator(".meta .key").first).to_have_text(rows[1]["answer_key"])
    folded = transcript.locator("details.shots").first
    expect(folded.locator("summary")).to_have_text("2 shots")
    assert "Be <b>brief</b>." in (transcript.text_content() or "")
    assert page.locator("main script").count() == 0
    expect(transcript.locator(".verdict .how").first).not_to_contain_text(re.compile(r"\.\d{4}"))  # 92.99999999999999
    press(page, "j")
    expect(transcript.locator(".meta .key").first).to_have_text(rows[2]["answer_key"])
    press(page, "c")
    expect(page.locator(".sides article")).to_have_count(2)
    press(page, "Escape")
    expect(transcript).to_be_visible()
    press(page, "Escape")
    expect(page.locator("[role=row][aria-selected=true]")).to_have_attribute("aria-rowindex", "4")
    press(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "Escape")
    open_at(page, "#/rows?where=" + "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0")
    expect(page.get_by_role("alert")).to_contain_text("disabled by configuration")


def test_what_differs_by_keys(page: Page, folder: Path) -> None:
    """Walk the rows that differ, open one, go on there, choose a sample of its cell, and come back to the same row."""
    both = "FROM page AS a JOIN page AS b USING (k, q, sample) WHERE a.arm = 'first' AND b.arm = 'second'"
    state = "COALESCE({0}.aligned_missing, ({0}.aligned < 30)::VARCHAR)".format
    sql = f"SELECT a.answer_key, {state('a')} AS was, {state('b')} AS now {both} ORDER BY a.rowid"
    rows = json.loads(emdsl("query", sql, "--format", "json", cwd=folder).stdout)
    differ = [r for r in rows if r["was"] != r["now"]]
    open_at(page, "#/overview")
    press(page, "g", "c")
    expect(page.locator("#n-different")).to_have_text(f"{len(differ)} rows differ")
    turned = sum(r["was"] == "true" and r["now"] == "false" for r in rows)
    cell = page.get_by_role("link", name="yes in arm first, no in arm second")
    expect(cell).to_have_text(str(turned))
    expect(page.locator(".difference")).to_contain_text("points (95 %")
    press(page, "j", "j", "k")
    expect(page.locator("tr[aria-current]")).to_contain_text("2")
    press(page, "Enter")
    expect(page.locator("#walk")).to_have_text(f"2 of {len(differ)}")
    press(page, "j")
    expect(page.locator("#walk")).to_have_text(f"3 of {len(differ)}")
    expect(page.locator(".sides[aria-busy=false] article")).to_have_count(2)
    page.get_by_role("link", name="arm first").focus()
    press(page, "Enter")
    expect(page.locator(".transcript .meta .key").first).to_have_text(differ[2]["answer_key"])
    samples = page.locator(".samples button")
    expect(samples).to_have_count(8)
    page.locator(".samples button[aria-current]").focus()
    press(page, "End")
    expect(page.locator(".samples button[aria-current]")).to_have_attribute(
        "aria-label", re.compile("^sample 7: (yes|no|missing)")
    )
    assert page.url.endswith("%2C7")
    page.go_back()
    expect(page.locator("#walk")).to_have_text(f"3 of {len(differ)}")
    press(page, "Escape")
    expect(page.locator("tr[aria-current]")).to_contain_text("3")
    cell.focus()
    press(page, "Enter")
    expect(page.locator("#n-different")).to_have_text(f"{turned} row{'s' if turned != 1 else ''}: yes and no")


def test_a_grid_leads_to_its_rows(page: Page) -> None:
    """A click on a cell shows the rows that it is made of."""
    press(page, "g", "m")
    expect(page.locator(".heat td a")).to_have_count(6)
    page.locator(".heat tbody tr").nth(2).locator("a").nth(1).click()
    expect(page.locator("#count")).to_have_text("16 rows")
    assert {"a.arm=second", "a.k=8"} <= set(page.url.split("?")[1].split("&"))


def test_arrow_keys_move_between_cells(page: Page) -> None:
    """A map for each level of a third axis; Enter opens the rows of a cell, whose place the URL keeps."""
    open_at(page, "#/grid?of=mean:aligned&x=k&y=arm&by=q")
    expect(page.locator(".maps figure")).to_have_count(2)
    page.locator(".heat").nth(1).locator("td a").first.focus()
    press(page, "ArrowRight", "ArrowDown", "ArrowDown")
    told = page.locator(".told").text_content() or ""
    assert re.fullmatch(r"k 2, arm second, q two </script> & so on: [\d.]+, n \d of 8|.*, n 8", told)
    press(page, "Enter")
    expect(page.locator("#count")).to_have_text("8 rows")
    page.go_back()
    page.locator(".grid .bar select").last.select_option("")
    expect(page.locator(".maps figure")).to_have_count(1)
    expect(page.locator(".heat td a small").first).to_have_text(re.compile(r"1\d"))
    assert "by=" not in page.url


def test_a_run_under_way_is_shown(page: Page) -> None:
    """By a status as the run sends it: progress by step, time and money left, causes; what is unknown is left out."""
    pending: dict[str, Any] = {"step": "said", "total": 7, "answered": 0, "failed": 0}
    run: dict[str, Any] = {"run": "0123", "pid": 1, "file": "study.em", "started_at": None, "reachable": True}
    run |= STATUS | {"changes": [], "steps": [*STATUS["steps"], pending]}
    state = {"generation": 0, "loaded_at": 0, "problem": "", "runs": [run]}

    def show() -> None:
        page.unroute_all()
        page.route("**/api/state", lambda route: route.fulfill(json=state))
        page.route("**/api/events", lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event: state\ndata: {json.dumps(state)}\n\n"
        ))  # fmt: skip
        page.reload()
        open_at(page, "#/overview")

    show()
    article = page.locator("article", has=page.get_by_role("heading", name="Run under way"))
    facts = {
        "answered": "3 of 10", "failed": "1", "retried": "1", "in flight": "2 of 4", "spent": "$0.50",
        "left of the budget": "$1.50 of $2.00", "time left": "12 s",
    }  # fmt: skip
    expect(article.locator("dt")).to_have_text(list(facts))
    expect(article.locator("dd")).to_have_text(list(facts.values()))
    expect(article.locator("tbody tr")).to_have_text(["answer3101", "said070"])
    expect(article.get_by_role("img", name="0 of 7")).to_be_visible()
    expect(page.locator(".runs [role=status]")).to_have_text("study.em: 40 % done")
    expect(article.locator(".causes li")).to_have_text("1 <b>")
    expect(page.locator(".runs li")).to_contain_text("3 of 10 answered")
    for name in ("steps", "eta_s", "failures", "retried"):
        del run[name]
    show()
    expect(article.locator("dt")).to_have_count(6)
    expect(article.locator("table")).to_have_count(0)
    page.unroute_all()
    page.reload()
    expect(page.locator(".runs")).to_have_count(0)


def test_annotations_by_keys(page: Page, folder: Path) -> None:
    """A label, an undo, a skip and a note; each verdict is in the file, and the figures take it in."""
    file = folder / "annotations" / "harm.bob.jsonl"
    press(page, "g", "a")
    status = page.locator(".annotate .bar [role=status]")
    expect(status).to_have_text("0 judged by bob, 5 left")
    shown = page.locator(".annotate article").get_attribute("data-shown")
    page.get_by_role("button", name="harmful").focus()
    press(page, "Enter")
    expect(status).to_have_text("1 judged by bob, 4 left")
    expect(page.get_by_role("button", name="harmful")).to_be_focused()
    press(page, "u")
    expect(status).to_have_text("0 judged by bob, 5 left")
    assert page.locator(".annotate article").get_attribute("data-shown") == shown
    press(page, "s")
    expect(page.locator(".annotate article")).not_to_have_attribute("data-shown", shown or "")
    press(page, "n")
    page.keyboard.type("odd 1")
    press(page, "Escape", "2")
    expect(status).to_have_text("1 judged by bob, 4 left")
    for left in range(3, -1, -1):
        press(page, "2")
        expect(status).to_have_text(f"{5 - left} judged by bob, {left} left")
    lines = [json.loads(x) for x in file.read_text(encoding="utf-8").splitlines()]
    assert [x["label"] for x in lines] == ["harmful", None, *["harmless"] * 5]
    assert [x.get("note", "") for x in lines] == ["", "", "odd 1", "", "", "", ""]
    assert lines[-1]["shown"] == shown  # the one that was skipped comes last
    press(page, "g", "o")
    measure = page.locator("article", has=page.get_by_role("heading", name="harm_rate"))
    expect(measure.locator("tbody td.num").last).to_have_text("5")
    file.unlink()


def test_marks_and_pins_by_keys(page: Page, folder: Path) -> None:
    """A tag, a note and a pin, each in the file; the list shows them, and rows are chosen by tag."""
    file = folder / "annotations" / "marks" / "bob.jsonl"
    open_at(page, "#/rows?a.k=2&a.arm=first")
    expect(page.locator("#count")).to_have_text("16 rows")
    expect(page.locator(".row.at [role=gridcell]").nth(1)).to_be_visible()  # the row is there, not only its number
    press(page, "p")
    expect(page.locator(".row.at .sign")).to_have_attribute("aria-label", "pinned")
    press(page, "j", "Enter")
    marks = page.get_by_role("region", name="Marks")
    expect(marks.get_by_role("button", name="Pin")).to_be_visible()
    press(page, "#")
    for tag in ("very odd", "funny", "funny"):  # the second time it is removed
        page.keyboard.type(tag)
        press(page, "Enter")
    press(page, "Escape", "n")
    page.keyboard.type("Look <b>here</b>")
    press(page, "Escape", "p")
    expect(marks.get_by_role("button", name="Pinned")).to_have_attribute("aria-pressed", "true")
    expect(marks.locator(".chip")).to_have_text(["very odd x"])
    press(page, "w")
    expect(page.locator(".why pre").first).to_contain_text("cached: answered")
    held = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    shown = [(x.get("pin"), x.get("tag"), x.get("on"), x.get("note")) for x in held]
    assert shown[0] == (1.0, None, None, None)
    assert sorted(shown[1:], key=str) == sorted(
        [(None, "very odd", True, None), (None, "funny", True, None), (None, "funny", False, None),
         (None, None, None, "Look <b>here</b>"), (2.0, None, None, None)], key=str,
    )  # fmt: skip
    page.reload()
    expect(marks.get_by_label("your note")).to_have_value("Look <b>here</b>")
    place = page.url.split("#")[1]
    press(page, "n")
    page.keyboard.type(", left")
    open_at(page, "#/overview")
    expect(page.locator(".overview")).to_be_visible()
    with page.context.new_page() as other:  # a tab that is closed while a note is written
        other.goto(page.url.split("#")[0] + "#" + place)
        note = other.get_by_label("your note")
        expect(note).to_have_value("Look <b>here</b>, left")
        note.press_sequentially(", closed")
    open_at(page, place)
    expect(marks.get_by_label("your note")).to_have_value("Look <b>here</b>, left, closed")
    press(page, "Escape")
    expect(page.locator(".row.at .tag")).to_have_text(["very odd"])
    page.locator(".filters label", has_text=re.compile("^tag")).locator("select").select_option("very odd")
    expect(page.locator("#count")).to_have_text("1 row")
    open_at(page, "#/rows?q=simulated&tag=very%20odd&sort=-aligned")
    page.reload()
    expect(page.locator("#count")).to_have_text("1 row")
    expect(page.locator(".row.at .tag")).to_have_text(["very odd"])


def test_marks_of_others_appear_where_the_list_is(page: Page, folder: Path) -> None:
    """As their file changes; the list keeps its place, its rows and the focus meanwhile."""
    folder_of_marks = folder / "annotations" / "marks"
    line = next(x for x in (folder_of_marks / "bob.jsonl").read_text(encoding="utf-8").splitlines() if "very odd" in x)
    open_at(page, "#/rows")
    expect(page.locator("#count")).to_have_text("96 rows")
    page.locator("[role=grid]").focus()
    page.evaluate("document.querySelector('.list').scrollTop = 900")
    expect(page.locator("#row-40 [role=gridcell]").nth(1)).to_be_visible()
    (folder_of_marks / "carol.jsonl").write_text(
        line.replace("very odd", "theirs").replace('"bob"', '"carol"') + "\n", encoding="utf-8"
    )
    expect(page.locator(".filters option[value=theirs]")).to_have_count(1)
    expect(page.locator("[role=grid]")).to_be_focused()
    assert page.evaluate("document.querySelector('.list').scrollTop") == 900
    open_at(page, "#/rows?tag=theirs&at=40")  # of a link from a time with more rows
    expect(page.locator("#count")).to_have_text("1 row")
    assert page.evaluate("document.querySelector('.list').scrollTop") == 0
    expect(page.locator(".row.at .tag")).to_have_text(["very odd", "theirs"])
    (folder_of_marks / "carol.jsonl").unlink()
    expect(page.locator("#count")).to_have_text("0 rows")  # nobody has the tag any more


def test_a_step_without_a_request_has_no_curl_call(page: Page) -> None:
    """And a weighted score has two digits, wherever it is shown."""
    open_at(page, "#/rows?m.said=not_needed")
    expect(page.locator(".row.at [role=gridcell]").nth(1)).to_be_visible()
    press(page, "Enter")
    transcript = page.locator(".transcript[data-row]")
    expect(transcript.get_by_label("judge said").get_by_role("button")).to_have_count(0)
    aligned = transcript.get_by_label("judge aligned")
    expect(aligned.get_by_role("button", name="curl")).to_have_count(1)
    value = aligned.locator("h3 .value").text_content() or ""
    assert re.fullmatch(r"\d+(\.\d\d?)?", value)
    expect(aligned.locator("dd").nth(1)).to_have_text(re.compile(rf"^{re.escape(value)}(, weighted by probability)?$"))


def test_passages_that_a_judge_quotes_are_found(page: Page) -> None:
    """In straight and curly marks, of some words; they are highlighted where the answer has them."""
    reply = 'It says "I would lie" and \u201ctrust me, please\u201d, but "no". {"why": "...never tell anyone..."}'
    found = page.evaluate("text => import('/static/row_tools.js').then(m => m.quotedIn(text))", reply)
    assert found == ["I would lie", "trust me, please", "never tell anyone"]


def test_pins_of_one_place_move_past_each_other(page: Page) -> None:
    """Two people may pin at the same place: a pin moves past all of these, never between two equal numbers."""
    moved = "([places, at, by]) => import('/static/pins.js').then(m => m.movedTo(places, at, by))"
    cases: list[tuple[list[float], int, int, dict[str, float] | None]] = [
        ([1, 2, 4], 0, 1, {"to": 1, "place": 3}), ([1, 2, 4], 2, -1, {"to": 1, "place": 1.5}),
        ([1, 2, 2, 4], 0, 1, {"to": 2, "place": 3}), ([1, 2, 2], 0, 1, {"to": 2, "place": 3}),
        ([1, 1, 1], 2, -1, {"to": 0, "place": 0}), ([1, 2], 1, 1, None), ([1, 2], 0, -1, None),
    ]  # fmt: skip
    for places, at, by, wanted in cases:
        assert page.evaluate(moved, [places, at, by]) == wanted, (places, at, by)


def test_pins_become_a_file(page: Page) -> None:
    """In the order that keys give them; and each key of the sheet does what it shows."""
    open_at(page, "#/rows?a.k=8&a.arm=second")
    expect(page.locator("#count")).to_have_text("16 rows")
    expect(page.locator(".row.at [role=gridcell]").nth(1)).to_be_visible()
    for _ in range(2):
        press(page, "j", "p")
        expect(page.locator(".row.at .sign")).to_have_attribute("aria-label", "pinned")
    press(page, "g", "p")
    pins = page.locator(".pins li", has_text="arm second, k 8")
    expect(pins).to_have_count(2)
    place = page.locator(".pins li").count() - 2
    pins.first.click(position={"x": 4, "y": 4})
    first = pins.first.locator(".key").text_content() or ""
    press(page, "J")
    expect(pins.nth(1).locator(".key")).to_have_text(first)
    assert page.url.endswith(f"at={place + 1}")
    page.locator(".pins select").select_option("tex")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "study-examples.tex"
    text = download.value.path().read_text(encoding="utf-8")
    assert text.count(r"\begin{quote}") == place + 2
    press(page, "p")
    expect(pins).to_have_count(1)
    press(page, "o")
    expect(page.locator(".overview")).to_be_visible()
    press(page, "a")
    expect(page.locator(".annotate")).to_be_visible()
    press(page, "?")
    dialog = page.get_by_role("dialog")
    for key in ("j", "k", "/", "c", "a", "p", "?", "g", "o"):
        expect(dialog.locator("kbd", has_text=re.compile(f"^{re.escape(key)}$")).first).to_be_visible()
    press(page, "Escape")


@pytest.mark.thorough
def test_screens_have_no_serious_fault_of_accessibility(page: Page) -> None:
    """As axe-core finds them, in both themes, and nothing is wider than a narrow window."""
    page.set_viewport_size({"width": 500, "height": 800})
    q = page.evaluate("fetch('/api/study').then(r => r.json()).then(s => s.experiments[0].axes[2].levels[0].id)")
    places = (
        ("#/overview", ".overview article"), ("#/rows?a.k=2&at=1", ".row.at"),
        ("#/grid?of=mean:aligned&by=q", ".heat td a"),
        (f"#/row?row=first,2,{q},3", ".transcript[data-row]"), (f"#/compare?row=first,2,{q},3", ".sides article"),
        ("#/differences?of=m.low", ".walk tr.at"), ("#/annotate", ".annotate .bar"), ("#/pins", ".pins .bar"),
    )  # fmt: skip
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for place, ready in places if THOROUGH else places[schemes.index(scheme) :: 2]:
            open_at(page, place)
            page.wait_for_selector(ready)
            check_screen(page, place, scheme)
