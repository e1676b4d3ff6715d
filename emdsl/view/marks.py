"""What a page asks for about single rows: tags, notes and pins of people, examples for a paper, copies and reasons."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.annotation import MAX_NOTE
from emdsl.errors import UsageError
from emdsl.outcomes import database
from emdsl.study.examples import KEY_DIGITS, example_of, examples_text, gone
from emdsl.study.marking import identity
from emdsl.study.one_cell import one_cell
from emdsl.study.places import Place
from emdsl.study.screen import text_of
from emdsl.study.why import explain_row, step_parts
from emdsl.view.filters import MAX_TEXT, filter_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emdsl.experiment import Experiment
    from emdsl.mark import Answers, Marked
    from emdsl.outcomes.browsing import Filter
    from emdsl.study.marking import Marking, Pinned
    from emdsl.view.session import Session

    Query = Mapping[str, str]

CUT = 400  # characters of a text in the list of pins
CHANGES = ("tag", "on", "note", "pin")
MAX_KEYS = 256  # of one pin


async def marked_filter(session: Session, experiment: Experiment, query: Query) -> Filter:
    """Return the filter that a query names; `tag=TAG` chooses rows with a tag, `tag=*` those with any mark."""
    chosen = filter_of(experiment, session.coordinates(experiment), query.items())
    tag = query.get("tag", "")
    return replace(chosen, answers=(await session.marks()).with_tag(tag)) if tag else chosen


def brief(marks: Sequence[tuple[Answers, Marked]]) -> dict[str, Any]:
    """Return the marks of a row for a list: its tags, and whether it has a note and a pin."""
    return {
        "tags": list(dict.fromkeys(tag for _, m in marks for tag in m.tags)),
        "note": any(m.notes for _, m in marks), "pin": any(m.pin is not None for _, m in marks),
    }  # fmt: skip


class MarkEndpoints:
    """The answers to a page about marks; see `Endpoints`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._under_way: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ reading

    async def marks(self, query: Query) -> dict[str, Any]:
        """Return the tags, the most frequent first, and of a row its marks if the query names one."""
        marking = await self._session.marks()
        shown: dict[str, Any] = {
            "tags": marking.tags(), "notices": marking.notices,
            "person": self._session.person, "any": marking.any,
        }  # fmt: skip
        return shown | {"row": await self._of_row(marking, query)} if "row" in query else shown

    async def _of_row(self, marking: Marking, query: Query) -> dict[str, Any]:
        answers, _ = await asyncio.to_thread(identity, self._session.study, self._place(query))
        marks = [m for _, m in marking.of(key for key, _ in answers)]
        pins = [m.pin for m in marks if m.pin is not None]
        return {
            "answered": bool(answers),
            "tags": [{"tag": tag, "by": by} for tag, by in {t: b for m in marks for t, b in m.tags.items()}.items()],
            "notes": [{"by": by, "text": text} for m in marks for by, text in m.notes.items()],
            "pin": pins[0] if pins else None,
        }  # fmt: skip

    async def pins(self, _: Query) -> dict[str, Any]:
        """Return the pinned rows in their order; of one without a row the keys of its answers."""
        marking, pinned = await self._pinned()
        return {
            "pins": [await asyncio.to_thread(self._pin, pin) for pin in pinned], "notices": marking.notices,
        }  # fmt: skip

    async def _pinned(self) -> tuple[Marking, list[Pinned]]:
        session = self._session
        marking = await session.marks()
        study = session.study
        pinned: list[Pinned] = await session.compute(
            lambda cursor: marking.pins(study, lambda sql: database.select(cursor, sql))
        )
        return marking, pinned

    def _pin(self, pin: Pinned) -> dict[str, Any]:
        shown: dict[str, Any] = {"place": pin.marked.pin, "keys": pin.keys}
        if pin.row is None:
            return shown | {"gone": gone(pin)}
        experiment = pin.row.experiment
        ids = self._session.coordinates(experiment).ids
        row = ",".join([*(ids[i][level] for i, level in enumerate(pin.row.cell)), str(pin.row.sample)])
        example = example_of(self._session.study, pin.row)
        return shown | {
            "exp": experiment.name, "row": row, "at": example.at, "others": pin.others,
            **brief([(pin.answers, pin.marked)]),
            "answers": [
                {"step": a.step, "key": a.key[:KEY_DIGITS], "question": a.question[:CUT], "answer": a.answer[:CUT]}
                for a in example.answers
            ],
            "verdicts": [{"step": step, "verdict": verdict} for step, verdict in example.verdicts],
        }  # fmt: skip

    async def examples(self, query: Query) -> dict[str, Any]:
        """Return the pinned rows as a figure of examples: `form` is `md`, `tex` or `html`."""
        _, pinned = await self._pinned()
        places = [pin.row for pin in pinned if pin.row is not None]
        if not places:
            raise UsageError("no row is pinned: `p` pins one")
        form = query.get("form", "md")
        text = await asyncio.to_thread(self._examples, places, form, query)
        return {"name": f"{self._session.study.file.stem}-examples.{form}", "text": text}

    def _examples(self, places: Sequence[Place], form: str, query: Query) -> str:
        study = self._session.study
        return examples_text(
            study, [example_of(study, p) for p in places], form,
            reasoning=query.get("reasoning") == "1", verdicts=query.get("verdicts") == "1",
        )  # fmt: skip

    async def copies(self, query: Query) -> dict[str, Any]:
        """Return a row as text to copy: `form` is `tex`, or `em` for a program of this row alone.

        `program` is false if there is only a command that selects the row's cell.
        """
        place, form = self._place(query), query.get("form", "")
        if form == "tex":
            return {"text": await asyncio.to_thread(self._examples, [place], form, {"verdicts": "1"}), "program": False}
        if form != "em":
            raise UsageError("a row is copied as `tex` or `em`")
        cell = await asyncio.to_thread(one_cell, self._session.study, *place)
        return {"text": cell.text, "program": cell.is_program}

    async def why(self, query: Query) -> dict[str, Any]:
        """Return why each request of a row is cached or pending, as `emdsl why` does, with its lines as text."""
        why = await asyncio.to_thread(explain_row, self._session.study, *self._place(query))
        return {"steps": [step | {"text": text_of(step_parts(step))} for step in why.steps]}

    def _place(self, query: Query) -> Place:
        experiment = self._session.experiment(query.get("exp", ""))
        cell, sample = self._session.coordinates(experiment).place(query.get("row", ""))
        by_cell = experiment.cell_samples
        if sample >= (experiment.samples if by_cell is None else by_cell.numbers.get(by_cell.levels(cell), 0)):
            raise UsageError(f"`{experiment.name}` has no sample {sample} of this cell")
        return Place(experiment, cell, sample)

    # ------------------------------------------------------------ writing

    async def mark(self, body: bytes) -> dict[str, Any]:
        """Write a tag, a note or a pin of a row; it is on the disk when this returns.

        The body is `{"exp": NAME, "row": ROW}` with `{"tag": TEXT, "on": BOOL}`, `{"note": TEXT}` or `{"pin": PLACE}`,
        `true` for the last place and `null` to unpin.
        """
        held = _object(body)
        query = {"exp": held.get("exp", ""), "row": held.get("row")}
        if not all(isinstance(x, str) and len(x) <= MAX_TEXT for x in query.values()):
            raise UsageError("expected an object with `exp`, `row`, and a `tag`, a `note` or a `pin`")
        if len(str(held.get("note", ""))) > MAX_NOTE:
            raise UsageError(f"a note is a text of at most {MAX_NOTE:,} characters")
        named = {name: str(x) for name, x in query.items()}
        change = {name: held[name] for name in CHANGES if name in held}
        place = self._place(named)
        await self._written(lambda marking: marking.write(self._session.study, self._session.person, place, change))
        return await self.marks(named)

    async def unpin(self, body: bytes) -> dict[str, Any]:
        """Remove a pin by the keys of its answers: also one that has no row any more."""
        keys = _object(body).get("keys")
        if not isinstance(keys, list) or len(keys) > MAX_KEYS or not all(isinstance(k, str) for k in keys):
            raise UsageError("expected an object with `keys`")
        await self._written(lambda marking: marking.unpin(self._session.study, self._session.person, keys))
        return await self.pins({})

    async def _written(self, write: Callable[[Marking], None]) -> None:
        """Write marks; it goes on if the client goes away."""
        task = asyncio.create_task(self._session.mark(write))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)


def _object(body: bytes) -> dict[str, Any]:
    try:
        held: Any = json.loads(body)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise UsageError("expected a JSON object")
    return held
