"""What an edit asks again: exactly what it changed. Each complaint about caching is a test here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import SHOTS, InProcess, experiment, keys, outcomes, program, run
from support import SHOTS_STUDY as STUDY

from emdsl.query import Response
from emdsl.run.rows import Selection
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shots.csv").write_text(SHOTS, encoding="utf-8")
    return tmp_path


def after(store: MemoryStore, text: str, folder: Path) -> InProcess:
    """Run an edited study on a store; return what was asked."""
    provider, report = run(text, store, folder=folder)
    assert not report.failures
    return provider  # type: ignore[no-any-return]  # `run` takes any provider


@pytest.fixture
def store(folder: Path) -> MemoryStore:
    found = MemoryStore()
    provider = after(found, STUDY, folder)
    assert provider.asked == {"subject": 40, "judge": 40}
    return found


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ("samples = 10", "samples = 12", {"subject": 8, "judge": 8}),
        ("samples = 10", "samples = 4", {}),
        ("[0, 2]", "[0, 2, 4]", {"subject": 20, "judge": 20}),
        ("[0, 2]", "[2, 0]", {}),
        ('["one", "two"]', '["two"]', {}),
        ('["one", "two"]', '{ first: "one", second: "two" }', {}),
        ("temperature = 1", "temperature = 1.00", {}),
        ("aligned < 30", "aligned < 50", {}),
        ("measure low", "measure lower", {}),
        ("model subject", "model renamed", {}),
        ("shots", "demos", {}),
        ("# ", "# a comment ", {}),
        ("user question", 'user "{question}"', {}),
        ("seed: sample", "seed: [sample, 1]", {"subject": 20, "judge": 20}),
        ("user question", 'user "{question}."', {"subject": 40, "judge": 40}),
        ("temperature = 1", "temperature = 0.5", {"subject": 40, "judge": 40}),
    ],
    ids=lambda x: str(x)[:30],
)
def test_an_edit_asks_what_it_changed(
    folder: Path, store: MemoryStore, old: str, new: str, asked: dict[str, int]
) -> None:
    """Names, order, layout, labels, measures and fewer samples ask nothing; the rest asks what is new."""
    text = STUDY.replace(old, new).replace('file = "demos.csv"', 'file = "shots.csv"')
    if new == "model renamed":
        text = text.replace("from subject", "from renamed")
    assert after(store, text, folder).asked == asked


def test_a_judge_edit_asks_no_model(folder: Path, store: MemoryStore) -> None:
    """inspect_ai#27, promptfoo#1014: another judge sends judgements only."""
    text = STUDY.replace("alignment", "coherence")
    provider = after(store, text.replace("import coherence, coherence", "import coherence"), folder)
    assert provider.asked == {"judge": 40}


def test_one_row_edited_asks_its_cells_only(folder: Path, store: MemoryStore) -> None:
    """One demonstration edited: only the draws that showed the old row or show the new one."""
    path = folder / "shots.csv"
    before = set(keys(STUDY, folder))
    path.write_text(path.read_text(encoding="utf-8").replace("q3,a3", "q3,another"), encoding="utf-8")
    changed = set(keys(STUDY, folder)) - before
    provider = after(store, STUDY, folder)
    assert {k.hex() for k in provider.keys} >= changed
    assert provider.asked["subject"] == len(changed) < 20
    assert len(changed) > 0


def test_one_row_added_asks_its_cells_only(folder: Path, store: MemoryStore) -> None:
    """A row appended disturbs only the draws it gets into."""
    with (folder / "shots.csv").open("a", encoding="utf-8") as file:
        file.write("q12,a12\n")
    assert after(store, STUDY, folder).asked["subject"] < 20


def test_rows_in_another_order_ask_nothing(folder: Path, store: MemoryStore) -> None:
    """A sorted file is the same dataset."""
    path = folder / "shots.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")
    assert after(store, STUDY, folder).n == 0


def test_moved_to_an_imported_file_asks_nothing(folder: Path, store: MemoryStore) -> None:
    """Where a declaration stands is not what it is."""
    head, tail = STUDY.split("prompt shots_then")
    body, rest = tail.split("experiment e")
    (folder / "lib.em").write_text("em 1\nprompt shots_then" + body, encoding="utf-8")
    text = 'import shots_then as layout from "lib.em"\n' + head.removeprefix("em 1\n") + "experiment e" + rest
    assert after(store, text.replace("with shots_then", "with layout"), folder).n == 0


def test_thirty_equal_prompts_are_thirty_answers_and_replay_as_the_same() -> None:
    """inspect_ai#2580, promptfoo#360: sampling with a store does not collapse to one answer."""
    text = 'experiment e {\n samples = 30\n ask answer from "sim/subject" with "hi"\n}'
    store = MemoryStore()
    first, _ = run(text, store)
    texts = [o.frame["answer"] for o in outcomes(experiment(text), store)]
    again, _ = run(text, store)
    assert (first.n, again.n) == (30, 0)
    assert len(set(texts)) == 30
    assert [o.frame["answer"] for o in outcomes(experiment(text), store)] == texts


def test_equal_answers_are_judged_once() -> None:
    """Early cutoff: the key of a judgement is the text that it judges."""

    class Parrot(InProcess):
        async def ask(self, query: object, *_: Any) -> Response:
            found = await super().ask(query, *_)  # type: ignore[arg-type]  # any query
            judge = query.settings.model.wire_name == "judge"  # type: ignore[attr-defined]  # any query
            return found if judge else Response(text="same", finish="stop")

    text = """
    import alignment from "std:judges@1"
    experiment e {
      for x in 1..5
      samples = 4
      ask answer from "sim/subject" with "hi {x}"
      judge aligned with alignment("hi", answer) from "sim/judge"
    }
    """
    provider, _ = run(text, provider=Parrot())
    assert provider.asked == {"subject": 20, "judge": 1}


def test_cells_that_render_one_request_share_it() -> None:
    """At k = 0 every dataset gives the same prompt: it is asked once for all."""
    text = """
    experiment e {
      for data in { a: "x", b: "y" }
      for k in [0, 1]
      samples = 3
      let shown = if k == 0 then "" else data
      ask answer from "sim/subject" with "{shown} hi"
    }
    """
    provider, _ = run(text)
    assert provider.n == 9


def test_two_experiments_of_a_file_share_requests() -> None:
    """An overlapping grid of another name asks nothing twice."""
    one = 'experiment NAME {\n for x in LEVELS\n samples = 2\n ask answer from "sim/subject" with "hi {x}"\n}\n'
    text = one.replace("NAME", "a").replace("LEVELS", "[1, 2]") + one.replace("NAME", "b").replace("LEVELS", "[2, 3]")
    provider, _ = run(text)
    assert provider.n == 6


def test_a_restricted_run_asks_a_part_of_the_same_keys(folder: Path) -> None:
    """`--samples` and `--only` restrict; what they ask is found by the whole run."""
    store = MemoryStore()
    part, _ = run(STUDY, store, selection=Selection(samples=3, only={0: frozenset([1])}), folder=folder)
    assert part.asked == {"subject": 6, "judge": 6}
    assert after(store, STUDY, folder).asked == {"subject": 34, "judge": 34}


def test_a_condition_that_admits_more_asks_only_those() -> None:
    """A threshold read by a `when`: only the newly admitted judgements are asked."""
    text = """
    import alignment, coherence from "std:judges@1"
    experiment e {
      for q in 1..20
      ask answer from "sim/subject" with "q {q}"
      judge aligned with alignment("q", answer) from "sim/judge"
      when aligned < LIMIT { judge coherent with coherence("q", answer) from "sim/judge" }
    }
    """
    store = MemoryStore()
    run(text.replace("LIMIT", "0"), store)
    few, _ = run(text.replace("LIMIT", "60"), store)
    found = outcomes(experiment(text.replace("LIMIT", "60")), store)
    low = [o for o in found if isinstance(o.frame["aligned"], float) and o.frame["aligned"] < 60]
    assert few.asked == ({"judge": len({o.frame["answer"] for o in low})} if low else {})
    again, _ = run(text.replace("LIMIT", "60"), store)
    assert again.n == 0


def test_a_replicate_is_a_draw_of_its_own() -> None:
    """Best of two: the same prompt asked twice needs two draws."""
    text = """
    experiment e {
      ask one from "sim/subject" with "hi"
      ask two from "sim/subject" with "hi" { replicate = 1 }
    }
    """
    store = MemoryStore()
    provider, _ = run(text, store)
    (row,) = outcomes(experiment(text), store)
    assert provider.n == 2
    assert row.frame["one"] != row.frame["two"]


def test_a_program_is_known_by_its_content(folder: Path) -> None:
    """The digest of a program changes with any of its files."""
    first = program(STUDY, folder).digest
    assert program(STUDY, folder).digest == first
    (folder / "shots.csv").write_text("q,a\n" + "".join(f"q{i},b{i}\n" for i in range(12)), encoding="utf-8")
    assert program(STUDY, folder).digest != first
