"""Filters and metrics of lm-eval for generated answers, as `let`s and measures.

A metric is listed, not approximated, if a part of it has no counterpart: its number would be another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emdsl.migrate.asserts import check_regex
from emdsl.migrate.templates import NotSimple
from emdsl.migrate.writing import name_of, quoted, shown, unique

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emdsl.migrate.document import Document
    from emdsl.migrate.draft import Draft

_LITERAL = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[\\.^$*+?{}\[\]|()])+")
_PREFIX = re.compile(r"\(\?s\)\.\*(.+)")
_ARGUMENTS = ("metric", "aggregation", "higher_is_better", "ignore_case", "ignore_punctuation", "regexes_to_ignore")


def scores(tree: Mapping[str, Any], target: str, draft: Draft, document: Document) -> list[str]:
    """Return the statements that score an answer, one measure for each pair of filter and metric."""
    lines: list[str] = []
    measures: list[str] = []
    for name, answer in _filters(tree, draft, document):
        for metric in _metrics(tree):
            kind = metric.get("metric")
            try:
                correct = _exact(metric, answer, target, draft)
            except NotSimple as reason:
                draft.leave_out(f"metric `{shown(kind)}`", str(reason), document.line("metric_list"))
                continue
            called = unique(name_of("exact_match" if name == "none" else f"exact_match_{name}", "metric"),
                            [m.split()[1] for m in lines])  # fmt: skip
            lines.append(f"let {called} = {correct} else false")
            measures.append(f"measure {draft.wanted.name}_{called} = rate({called}) by model")
    return [*lines, "", *measures]


def _metrics(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = tree.get("metric_list") or ({"metric": "exact_match"},)
    return [m if isinstance(m, dict) else {"metric": str(m)} for m in given]


def _exact(metric: Mapping[str, Any], answer: str, target: str, draft: Draft) -> str:
    if metric.get("metric") != "exact_match":
        raise NotSimple("it has no counterpart here")
    for name in metric:
        if name not in _ARGUMENTS:
            raise NotSimple(f"its `{shown(name)}` has no counterpart")
    for pattern in metric.get("regexes_to_ignore") or ():
        name = _function(_without("text", str(pattern)), draft)
        answer, target = f"{name}({answer})", f"{name}({target})"
    ignored = [f'"{ours}"' for ours in ("case", "punctuation") if str(metric.get(f"ignore_{ours}")).lower() == "true"]
    return f"exact({answer}, {target}, ignore: [{', '.join(ignored)}])"


def _function(value: str, draft: Draft) -> str:
    """Return the name of a function of the study with this value; declare it if it is new."""
    blocks = [b[0] for b in draft.blocks]
    for block in blocks:
        if block.startswith("let without_") and block.partition(" = ")[2] == value:
            return block[len("let ") :].partition("(")[0]
    name = f"without_{sum(b.startswith('let without_') for b in blocks) + 1}"
    draft.blocks.append([f"let {name}(text) = {value}"])
    return name


def _without(value: str, pattern: str) -> str:
    """Return an expression without what a pattern matches; raises NotSimple."""
    if _LITERAL.fullmatch(pattern):
        return f'replace({value}, {quoted(_plain(pattern))}, "")'
    prefix = _PREFIX.fullmatch(pattern)
    if prefix and _LITERAL.fullmatch(prefix[1]):
        rest = _found(value, f"{pattern}(.*)")
        return f"{rest} else {value}"
    if pattern == r"\.$":
        rest = _found(value, r"(?s)^(.*)\.$")
        return f"{rest} else {value}"
    raise NotSimple(f"its `regexes_to_ignore` has `{shown(pattern)}`, and a study removes only plain texts")


def _plain(pattern: str) -> str:
    return re.sub(r"\\(.)", r"\1", pattern)


def _found(value: str, pattern: str, *, last: bool = False) -> str:
    check_regex(pattern)
    return f"find({value}, {quoted(pattern)}{', last: true' if last else ''})"


def _filters(tree: Mapping[str, Any], draft: Draft, document: Document) -> Iterator[tuple[str, str]]:
    """Yield the name of each filter with its expression of an answer; filters with other functions are left out."""
    pipelines = tree.get("filter_list") or ({"name": "none", "filter": ()},)
    for pipeline in pipelines if isinstance(pipelines, tuple) else (pipelines,):
        name = str(pipeline.get("name", "none")) if isinstance(pipeline, dict) else "none"
        try:
            value = "answer"
            for step in pipeline.get("filter") or ():
                value = _filtered(value, step)
            yield name, value
        except (NotSimple, AttributeError) as reason:
            text = str(reason) if isinstance(reason, NotSimple) else "it is not an object"
            draft.leave_out(f"filter `{shown(name)}`", text, document.line("filter_list"))


def _filtered(value: str, step: Mapping[str, Any]) -> str:
    match step.get("function"):
        case "take_first":
            return value
        case "remove_whitespace":
            return f"trim({value})"
        case "lowercase":
            return f"lower({value})"
        case "uppercase":
            return f"upper({value})"
        case "regex":
            chosen = str(step.get("group_select", "0"))
            if chosen not in ("0", "-1"):
                raise NotSimple(f"its `group_select: {shown(chosen)}` has no counterpart")
            return _found(value, str(step.get("regex_pattern") or r"#### (\-?[0-9\.\,]+)"), last=chosen == "-1")
        case other:
            raise NotSimple(f"its function `{shown(other)}` has no counterpart")
