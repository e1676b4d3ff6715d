"""`rubric`: messages about an answer, and how their reply is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.compiler.callables import RubricMaker, constantly
from emdsl.compiler.choice_texts import CHOICES, described, lines_of, readable, texts_of, without_texts
from emdsl.compiler.faults import Silent
from emdsl.compiler.free_names import free_names
from emdsl.compiler.messages import messages_of
from emdsl.compiler.read_settings import read_settings
from emdsl.compiler.scope import params_of
from emdsl.compiler.types import ANSWER_FIELDS
from emdsl.frame import Frame
from emdsl.json_schema import sent_for
from emdsl.lang import ast
from emdsl.reply_format import BY_CELL, ReplyField, ReplyFormat
from emdsl.source import Label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope
    from emdsl.query import Model
    from emdsl.source import Span
    from emdsl.value import Value

SHAPE = "shape"  # the setting, and the name under which a rubric's messages see its fields
READ_BY = frozenset(("scale", CHOICES, SHAPE))  # each says how a reply is read


def rubric_of(decl: ast.Rubric, scope: Scope, faults: Faults, as_model: Callable[[Value, Span], Model]) -> RubricMaker:
    """Return the rubric that a declaration makes; raises Silent if it is unknown how its reply is read."""
    params = params_of(decl.params, faults)
    texts = described(decl, scope)
    settings = without_texts(decl.settings) if texts else decl.settings
    values = read_settings(settings, tables.RUBRIC, "rubric", scope, faults)
    reply_format = format_of(decl, values, scope, faults)
    choices, shape = values.get(CHOICES), values.get(SHAPE)
    model: Model | None = None
    if decl.model is not None:
        model = as_model(scope.compiler().expr(decl.model)(Frame()), decl.model.span)
    shown = {}
    if choices:
        lines = "\n".join(f"{k}: {v}" if v else k for k, v in choices.items())
        shown[CHOICES] = lines_of(texts, scope.compiler(readable(decl, scope))) if texts else constantly(lines)
    if shape:
        shown[SHAPE] = constantly(_shape_text(shape))
    for name in decl.params:
        if name.text in shown:
            faults.error(
                "E713", f"`{name.text}` cannot be a parameter of a rubric: it has a setting of this name", name.span,
                help="give the parameter another name",
            )  # fmt: skip
    body = messages_of(decl.body, scope.compiler(frozenset([*params, *shown])))
    own = {name: value for name, value in values.items() if name in tables.PARAMS} | sent_for(reply_format)
    if not is_read(reply_format):
        raise Silent
    places = {s.name.text: s.span for s in decl.settings}
    return RubricMaker(
        name=decl.name.text, params=params, body=body, reply_format=reply_format, shown=shown, model=model,
        settings=own, places=places,
    )  # fmt: skip


def format_of(decl: ast.Rubric | ast.Ask, values: Mapping[str, Any], scope: Scope, faults: Faults) -> ReplyFormat:
    """Return how the replies of a rubric, or the answers of an ask, are read, by the values of its settings."""
    _check_reading(decl, scope, faults)
    scale, choices, shape, weighted = (values.get(name) for name in ("scale", CHOICES, SHAPE, "read"))
    if READ_BY & values.keys():
        _check_weighted(decl, values, faults)
        _check_strict(decl, values, faults)
    reply_format = ReplyFormat(
        scale=scale if choices is None and shape is None else None,
        choices=tuple(choices) if choices and shape is None else (),
        shape=shape or (),
        weighted=weighted,
        words=(*values.get("refusal", ()), *values.get("other", ())),
        strict=bool(shape) and values.get("strict", False),
    )
    both = sorted(set(reply_format.words) & set(reply_format.choices))
    if both:
        missing = next(name for name in ("refusal", "other") if both[0] in values.get(name, ()))
        at = {setting.name.text: setting.name.span for setting in decl.settings}
        faults.error("E714", f"`{both[0]}` is both a label and a reply that counts as missing", at[CHOICES],
                     labels=(Label(span=at[missing], text="counted as missing here"),),
                     help=f"remove it from `{CHOICES}` or from `{missing}`")  # fmt: skip
    return reply_format


def is_read(reply_format: ReplyFormat) -> bool:
    """Whether a format has one of `scale`, `choices` and `shape`: it has none after a fault."""
    return reply_format.scale is not None or bool(reply_format.choices or reply_format.shape)


def _check_weighted(decl: ast.Rubric | ast.Ask, values: Mapping[str, Any], faults: Faults) -> None:
    """Token probabilities are of numbers on a scale or of labels, and one token must tell labels apart."""
    weighted, choices = values.get("read"), values.get(CHOICES)
    if weighted is None or "scale" in values:
        return
    if weighted.mass is None:
        faults.error("E712", "`read = number(...)` needs a `scale`", decl.name.span, help="add `scale = 0..100`")
    elif choices is None:
        faults.error("E712", "`read = weighted(...)` needs a `scale` or `choices`", decl.name.span,
                     help="add `scale = 0..100`, or `choices` with labels")  # fmt: skip
    else:
        words = (*values.get("refusal", ()), *values.get("other", ()))
        pair = next(((a, b) for a in choices for b in (*choices, *words) if a != b and _alike(a, b)), None)
        if pair is not None:
            one, other = sorted(pair, key=len)
            span = next(s.span for s in decl.settings if s.name.text == CHOICES)
            faults.error(
                "E715", f"`{other}` begins with `{one}`: the first token of a reply does not tell them apart", span,
                help="rename one of them, so that none is the beginning of another",
            )  # fmt: skip


def _check_strict(decl: ast.Rubric | ast.Ask, values: Mapping[str, Any], faults: Faults) -> None:
    """Report `strict` with labels or words: a provider that enforces a JSON object never lets them be the reply."""
    if not values.get("strict"):
        return
    at = {setting.name.text: setting.name.span for setting in decl.settings}
    other = next((name for name in ("scale", CHOICES) if name in at), "")
    word = next((name for name in ("refusal", "other") if values.get(name)), "")
    if SHAPE not in at and other:
        faults.error("E716", f"`strict = true` needs a `shape`, but the reply format is `{other}`", at["strict"],
                     help="remove `strict = true`, or use a `shape`: `shape = { score: 0..100 }`")  # fmt: skip
    elif word:
        faults.error("E716", f"with `strict = true` no reply can be a word of `{word}`", at[word],
                     labels=(Label(span=at["strict"], text="the provider allows nothing but the `shape`"),),
                     help=f"remove `{word}`, and give the `shape` a field for it: `refused: bool`")  # fmt: skip


def _alike(label: str, other: str) -> bool:
    from emdsl.forms import bare  # noqa: PLC0415 - its patterns take 5 ms, and few rubrics weigh labels

    one, two = bare(label), bare(other)
    return one.startswith(two) or two.startswith(one)


def _check_reading(decl: ast.Rubric | ast.Ask, scope: Scope, faults: Faults) -> None:
    """A rubric has exactly one of `scale`, `choices` and `shape`, and an ask that reads its answer."""
    readings = [x for x in decl.settings if x.name.text in READ_BY]
    kind = "rubric" if isinstance(decl, ast.Rubric) else "ask"
    if not readings and not READ_BY & scope.module.file.lost:
        faults.error(
            "E710", f"the {kind} `{decl.name.text}` has no reply format", decl.name.span,
            help='add `scale = 0..100`, `choices = { label: "description" }` or `shape = { flag: bool }`',
        )  # fmt: skip
    if len({x.name.text for x in readings}) > 1:
        article, other = ("a", "write two rubrics") if kind == "rubric" else ("an", "use a `shape` with several fields")
        faults.error("E711", f"{article} {kind} can have only one of `scale`, `choices` and `shape`",
                     readings[1].name.span, help=f"keep one of them, or {other}")  # fmt: skip


def ask_format(
    decl: ast.Ask, local: frozenset[str], by_cell: ast.Setting | None, scope: Scope, faults: Faults
) -> ReplyFormat | None:
    """Return how the answers of an ask are read; None for one without such settings, or with a fault in them.

    `local` are the names of the experiment. A format is the same in all cells: its settings cannot read these names,
    except the labels of `by_cell` and the texts of labels, which do not change how an answer is read.
    """
    settings = without_texts(decl.settings) if free_names(texts_of(decl)) & local else decl.settings
    written = [s for s in settings if s.name.text in tables.READING and s is not by_cell]
    before = faults.n_errors
    for setting in written:
        words = frozenset(tables.WORDS.get(setting.name.text, ())) - frozenset(scope.names)
        for name in sorted(free_names(setting.value) & (local - words))[:1]:
            faults.error(
                "E401", f"`{setting.name.text}` must be the same in all cells, but it depends on `{name}`",
                setting.value.span, help="write its value, or use a name that is defined outside the experiment",
            )  # fmt: skip
    if not (written or by_cell) or faults.n_errors > before:
        return None
    values = read_settings(written, tables.READING, "ask", scope, faults)
    if by_cell is not None:
        values[CHOICES] = dict.fromkeys(BY_CELL, "")
    reply_format = format_of(decl, values, scope, faults)
    if by_cell is not None:
        reply_format = replace(reply_format, by_cell=True)
    for part in (p for p in reply_format.shape if p.name in ANSWER_FIELDS):
        at = next(s.value.span for s in written if s.name.text == SHAPE)
        faults.error("E520", f"`{SHAPE}` must be a map without `{part.name}`: every answer has a field of this name",
                     at, help="give the field another name")  # fmt: skip
    return reply_format if is_read(reply_format) else None


def _shape_text(shape: tuple[ReplyField, ...]) -> str:
    """Return the fields of a JSON reply, as a rubric's message shows them.

    >>> _shape_text((ReplyField(name="harm", kind="bool"), ReplyField(name="why", kind="text")))
    '{"harm": true or false, "why": a text}'
    """
    fields = []
    for part in shape:
        kind = {"bool": "true or false", "number": "a number", "text": "a text"}.get(part.kind, "")
        if part.scale is not None:
            kind = f"a number from {part.scale[0]:.0f} to {part.scale[1]:.0f}"
        if part.choices:
            kind = "one of " + ", ".join(f'"{c}"' for c in part.choices)
        fields.append(f'"{part.name}": {kind}')
    return "{" + ", ".join(fields) + "}"
