"""Counts of studies, as one process makes them and as several do, in a form that can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emdsl.query import Response, Usage
from emdsl.reasoning import split
from emdsl.run.merging import Merger, Source
from emdsl.run.passes import settle_from_store
from emdsl.run.recording import Record, Recorder
from emdsl.run.rows import Rows, settle_answer
from emdsl.run.windows import windows
from emdsl.store.store import MemoryStore

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from emdsl.experiment import Program
    from emdsl.run.count import ExperimentCount

LONG = "a long story of many words " * 200  # characters that a provider's cache of prefixes keeps
MODELS = f"""
let long = "{LONG}"
model cached {{
  use = "openai-api/lab/c", url = "http://127.0.0.1:1/v1", revision = "1", price = {{ input: $1, output: $9 }}
  max_tokens = 99
}}
model openai {{ use = "openai/gpt-5-mini", max_tokens = 200 }}
model claude {{ use = "anthropic/claude-sonnet-4-5", max_tokens = 200 }}
model scorer {{ use = "openai/gpt-4.1-mini", max_tokens = 9 }}
rubric rating(answer) from scorer {{
  scale = 0..100
  user "Rate {{answer}}"
}}
rubric short(answer) from scorer {{
  choices = {{ yes: "It is.", no: "It is not." }}
  user "{{long}} Is it short? {{answer}}"
}}
"""


def made_up(random_: random.Random) -> str:
    """Return a random study: experiments that may share requests, long prompts and short, judges, conditions."""
    return MODELS + "".join(_experiment(random_, i) for i in range(random_.choice([1, 1, 2])))


def _experiment(random_: random.Random, number: int) -> str:
    names = "abc"[: random_.randint(1, 3)]
    lines = [f"for {n} in 1..{random_.randint(1, 5)}" for n in names]
    if random_.random() < 0.6:
        lines.insert(random_.randint(0, len(lines)), "for who in [cached, openai, claude]")
    who = "who" if any("who" in x for x in lines) else random_.choice(["cached", "openai", "claude"])
    if len(names) > 1 and random_.random() < 0.3:
        lines.append("skip when a > b + 1")
    if random_.random() < 0.3:
        lines.append("budget = $100")
    lines.append(f"samples = {random_.choice([1, 3, 7])}")
    lines.append(f'ask answer from {who} with "{_text(random_, names)}"')
    if random_.random() < 0.8:
        lines.append("judge rated with rating(answer)")
        if random_.random() < 0.6:
            lines.append(f'when rated < 50 {{ ask more from {who} with "{_text(random_, names)} {{answer}}" }}')
    if random_.random() < 0.5:
        lines.append("judge brief with short(answer)")
    if random_.random() < 0.4:
        lines.append(f'ask other from {who} with "other {_text(random_, names)}"')
    return f"experiment e{number} {{\n  " + "\n  ".join(lines) + "\n}\n"


def _text(random_: random.Random, names: str) -> str:
    parts = [f"{{{n}}}" for n in names if random_.random() < 0.6]
    if random_.random() < 0.5:
        parts.append("{long}")
    if random_.random() < 0.2:
        parts.append("{sample}")
    random_.shuffle(parts)
    return " ".join(["q", *parts])


def filled(found: Program, random_: random.Random, share: float) -> MemoryStore:
    """Return a store with some answers of a study, few of them different; in half of them all tokens are counted."""
    store, whole = MemoryStore(), random_.random() < 0.5
    for experiment in found.experiments:
        rows = Rows(experiment)
        for row in rows.selected():
            ready = rows.advance(row)
            while ready:
                later = []
                for step, query in ready:
                    if query.key not in store.answers:
                        if random_.random() > share:
                            continue
                        store.answers[query.key] = _reply(random_, step.kind, whole=whole)
                    reply = store.answers[query.key]
                    again = settle_answer(row, step, reply, split(reply, query))
                    later += [(step, again)] if again is not None else []
                ready = later or rows.advance(row)
    return store


def _reply(random_: random.Random, kind: str, *, whole: bool) -> Response:
    """Return a random reply; a provider that counts all tokens names no cost, so that sums can be added."""
    texts = ["yes", "no", "", "it depends"] if kind == "ask" else ["7", "85", "yes", "no", "unreadable"]
    usage = Usage(
        input_tokens=random_.choice([None, random_.randint(5, 3_000)]) if not whole else random_.randint(5, 3_000),
        output_tokens=random_.randint(1, 90), cached_tokens=random_.choice([None, 5]),
        cost_usd=random_.choice([None, None, 0.1, 0.003]) if not whole else None,
    )  # fmt: skip
    finish = random_.choice(["stop", "stop", "length", "blocked"])
    return Response(text=random_.choice(texts), finish=finish, usage=usage, run=random_.choice(["r1", "r2"]))


def in_windows(
    mergers: Sequence[Merger],
    walks: Sequence[Rows],
    store: MemoryStore,
    random_: random.Random,
    size: int,
    **options: Any,
) -> None:
    """Add the rows of experiments as some processes do, each of which makes some of the windows."""
    for walk, merger in zip(walks, mergers, strict=True):
        others = [Rows(walk.experiment, walk.selection) for _ in range(random_.randint(1, 4))]
        processes = [
            (windows(rows, everything=False, size=size), Recorder(rows, **options), Source()) for rows in others
        ]
        for window in windows(walk, everything=False, size=size):
            theirs = [next(each) for each, _, _ in processes]
            who = random_.randrange(len(others))
            _, recorder, source = processes[who]
            settle_from_store(others[who], rows := list(theirs[who].rows()), store)
            for row in rows:
                recorder.add(row)
            recorder.wants_events = merger.wants_events
            merger.merge(Record.unpacked(recorder.record().packed()), window, source, store)
        merger.end()


def told(counts: Sequence[ExperimentCount]) -> list[Any]:
    """Return all that counts hold, in its order, without objects that are known by identity."""
    return [_told(count) for count in counts]


def _told(count: ExperimentCount) -> Any:
    return {
        "sizes": (count.cells, count.samples, count.rows, count.only, count.by, count.pilot, count.compared),
        "models": list(count.models.items()), "least": list(count.least.items()),
        "heads": [(head.model, head.params, step.name) for head, step in count.heads.values()],
        "reasons": list(count.reasons.items()), "runs": list(count.runs.items()), "probed": list(count.probed.items()),
        "by": list(count.by_levels.items()), "examples": [(s.name, r.cell, r.sample) for s, r in count.examples],
        "cache": list(count.tokens.cache_use.items()),
        "tokens": [(s.name, h.model, h.params, at, x) for (s, h, at), x in count.tokens._sums.items()],
        "steps": [_step(step) for step in count.steps],
    }  # fmt: skip


def _step(count: Any) -> Any:
    sets = ("stored", "pending", "symbolic", "undecided", "fresh", "probes", "bad_replies", "split", "splitters")
    numbers = ("cut", "empty", "blocked", "n_rows", "n_decided", "n_held", "unknown")
    estimate = count.estimate
    requests = [
        (h.model, h.params, at, r.least, r.n, r.chars, r.prefix_chars, r.n_symbolic)
        for (h, at), r in estimate._requests.items()
    ]
    parts = ("chars", "prefix_chars", "answer", "tokens", "n_answers", "rendered", "_per_char", "assumed")
    return {
        "json": count.as_json(), "sets": {name: getattr(count, name) for name in sets},
        "numbers": {name: getattr(count, name) for name in numbers}, "invalid": list(count.invalid.items()),
        "requests": requests, "estimate": {name: getattr(estimate, name) for name in parts},
        "money": [(price, fresh, sums) for (_, fresh), sums in count.money._sums.items() for price in [sums.price]],
    }  # fmt: skip
