"""Tasks of lm-eval: the declarative part of their YAML, with simple Jinja; Python functions are listed.

Source: `docs/task_guide.md` and `docs/new_task_guide.md` of lm-evaluation-harness, read 2026-11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.data.reading import READERS
from emdsl.errors import UsageError
from emdsl.migrate.document import read_document, read_yaml
from emdsl.migrate.draft import Draft, dataset
from emdsl.migrate.lm_eval_metrics import scores
from emdsl.migrate.templates import NotSimple, expression_of, plain_path, translated
from emdsl.migrate.writing import Field, joined, message, name_of, quoted, settings, shown, unique
from emdsl.source import near, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.migrate.document import Document
    from emdsl.migrate.draft import Wanted

_READ = (
    "task", "task_alias", "tag", "group", "dataset_path", "dataset_name", "dataset_kwargs", "training_split",
    "validation_split", "test_split", "fewshot_split", "process_docs", "description", "doc_to_text", "doc_to_target",
    "doc_to_choice", "fewshot_delimiter", "target_delimiter", "num_fewshot", "fewshot_config", "metric_list",
    "output_type",
    "generation_kwargs", "repeats", "filter_list", "include", "metadata", "should_decontaminate",
    "doc_to_decontamination_query",
)  # fmt: skip
MAX_DEPTH = 5  # of files that include each other
NOTHING = '""'
_GENERATION = {
    "max_gen_toks": "max_tokens", "max_new_tokens": "max_tokens", "max_tokens": "max_tokens", "top_p": "top_p",
    "top_k": "top_k",
}  # fmt: skip
_CHOSEN = (  # the option that a value is, or whose place from 0 it is
    "let chosen(options, value) = [options[index] for index in 0..(len(options) - 1) "
    'if options[index] == "{value}" or "{index}" == "{value}"][0]'
)
_LABELED = (  # the option with a label
    "let labeled(options, marks, mark) = [options[index] for index in 0..(len(options) - 1) if marks[index] == mark][0]"
)
_CHOICES = "a study has no log-likelihoods of given texts; the "
_QUESTIONS = ("test_split", "validation_split", "training_split")  # the first that a task has
_SHOTS = ("fewshot_split", "training_split", "validation_split", "test_split")
_LOCAL = ("json", "csv", "parquet", "text")
_INDEX = re.compile(r"\{\{\s*([\w.]+)\.index\(\s*([\w.]+(?:\.\w+\(\))?)\s*\)\s*\}\}")
_LIST = re.compile(r"\{\{\s*\[([\w.,\s]+)\]\s*\}\}")
_NAME = re.compile(r"[A-Za-z_]\w*")
_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(slots=True)
class _Columns:
    """The columns that templates read, by their paths."""

    names: dict[str, str] = field(default_factory=dict)

    def value_of(self, path: str, row: str) -> str:
        """Return the expression of a column of a row."""
        if path not in self.names:
            self.names[path] = unique(name_of(path.replace(".", "_"), "column"), self.names.values())
        return f"{row}.{self.names[path]}"


def knows(document: Document) -> bool:
    """Whether a file is a task."""
    fields = set(document.tree)
    return "include" in fields or (
        "dataset_path" in fields and bool(fields & {"doc_to_text", "doc_to_target", "output_type"})
    )


def read(document: Document, wanted: Wanted) -> Draft:
    """Return the study of a task; parts without a counterpart are listed."""
    draft = Draft(wanted=wanted, title=f"The task of {document.name} (lm-eval).")
    draft.choose_models()
    return _Task(_with_base(document, draft), document, draft).draft


def _with_base(document: Document, draft: Draft, depth: int = 0) -> dict[str, Any]:
    """Return the fields of a task, with those of the files that it includes."""
    tree, named = dict(document.tree), document.tree.get("include")
    path = document.path.parent / str(named)
    if named in (None, ""):
        return tree
    if not path.is_file() or depth > MAX_DEPTH:
        reason = f"the file `{shown(named)}` is not beside it" if depth <= MAX_DEPTH else "it includes itself"
        draft.leave_out("`include`", reason, document.line("include"))
        return tree
    return {**_with_base(read_yaml(path), draft, depth + 1), **tree}


class _Task:
    """Reads one task."""

    def __init__(self, tree: Mapping[str, Any], document: Document, draft: Draft) -> None:
        self._tree, self._document, self.draft = tree, document, draft
        self._columns = _Columns()
        for name in tree:
            if name not in _READ:
                draft.leave_out(f"`{shown(name)}`", "a study has no such setting", document.line(name))
        if _function(tree.get("process_docs")):
            reason = (
                f"the Python function `{shown(tree['process_docs'])}` changes the rows: apply it first, and write its"
            )
            draft.leave_out(
                "`process_docs`", f"{reason} result to the file of the dataset", document.line("process_docs")
            )
        kind = str(tree.get("output_type") or "generate_until")
        if kind not in ("generate_until", "multiple_choice"):
            draft.leave_out(f"`output_type: {shown(kind)}`", "a study has no log-likelihoods of given texts",
                            document.line("output_type"))  # fmt: skip
            return
        try:
            body = self._choosing() if kind == "multiple_choice" else self._generating()
        except NotSimple as reason:
            draft.leave_out("the task", str(reason))
            return
        draft.blocks[:0] = self._datasets()
        draft.experiments.append([f"experiment {draft.wanted.name} {{", draft.called, "for q in rows", *body, "}"])

    def _generating(self) -> list[str]:
        repeats = str(self._tree.get("repeats") or "1")
        settled = self._generation()
        lines = []
        if re.fullmatch(r"[1-9]\d{0,5}", repeats) and repeats != "1":
            if ("temperature", "0") in settled:
                self.draft.leave_out("`repeats`", "at temperature 0 samples are alike")
            else:
                lines.append(f"samples = {repeats}")
        asked = self._asked(self._text("doc_to_text"), lambda row: self._text_value("doc_to_target", row))
        try:
            target = self._text_value("doc_to_target", "q")
        except NotSimple as reason:
            self.draft.leave_out(
                "`doc_to_target`, so no answer is scored", str(reason), self._document.line("doc_to_target")
            )
            target = NOTHING
        lines += ["", *asked[:-1], f"ask answer from model with {asked[-1]}{settings(settled)}"]
        if target == NOTHING:
            return lines
        scored = scores(self._tree, target, self.draft, self._document)
        return [*lines, *scored]

    def _generation(self) -> list[tuple[str, str]]:
        """Return the settings of an ask."""
        given = self._tree.get("generation_kwargs") or {}
        given = dict(given) if isinstance(given, dict) else {}
        sampled = str(given.pop("do_sample", "false")).lower() == "true"
        until = given.pop("until", ())
        settled: list[tuple[str, str]] = []
        temperature = str(given.pop("temperature", "1" if sampled else "0"))
        if sampled and self.draft.greedy:
            settled.append(("temperature", _number(temperature)))
        elif not sampled:
            settled += self.draft.greedy
        for name, ours in _GENERATION.items():
            if name in given:
                settled.append((ours, _number(str(given.pop(name)))))
        if not any(name == "max_tokens" for name, _ in settled):
            self.draft.leave_out("`max_gen_toks`", "not in the file; each model of the study has its own `max_tokens`")
        texts = (until,) if isinstance(until, str) else until
        if texts:
            settled.append(("stop", f"[{', '.join(quoted(str(t)) for t in texts)}]"))
        for name in given:
            self.draft.leave_out(f"`generation_kwargs.{shown(name)}`", "an `ask` has no such setting")
        return settled

    def _choosing(self) -> list[str]:
        """Return the statements of a multiple-choice task; the options are shown, for lack of log-likelihoods."""
        tree, choices = self._tree, self._tree.get("doc_to_choice")
        labels = [str(c) for c in choices] if isinstance(choices, tuple) else []
        asked = self._asked(
            self._text("doc_to_text"), lambda row: self._right(row, self._options(row)), lettered=not labels
        )
        options = self._options("q")
        cold = self.draft.greedy
        if len({c.lower() for c in labels}) < len(labels):
            raise NotSimple("`doc_to_choice` repeats a choice")
        if labels:
            why = "answer is read as one of the choices"
            read = [("choices", "labels")]
            if self.draft.without_logprobs() is None and _distinct(labels):
                read += [("read", "weighted(top: 20)"), *cold, ("max_tokens", "1")]
            named, correct = [], "answer.label == right"
        else:
            why = "prompt shows the choices and asks for a letter"
            read, named = cold, [f"let options = {options}", "let shown = lettered(options)"]
            correct = "choice(answer, options) == right else false"
        self.draft.leave_out("`output_type: multiple_choice`", _CHOICES + why, self._document.line("output_type"))
        lines = [
            "", *named, *asked[:-1], f"ask answer from model with {asked[-1]}{settings(read)}",
            f"let right = {self._right('q', 'options' if named else options)}", f"let correct = {correct}",
        ]  # fmt: skip
        for metric in tree.get("metric_list") or ():
            name = metric.get("metric") if isinstance(metric, dict) else metric
            if name != "acc":
                self.draft.leave_out(f"metric `{shown(name)}`", "it has no counterpart here")
        return [*lines, "", f"measure {self.draft.wanted.name}_accuracy = rate(correct) by model"]

    def _options(self, row: str) -> str:
        """Return the options of a row as an expression; raises NotSimple."""
        choices = self._tree.get("doc_to_choice")
        if isinstance(choices, tuple):
            return self._function("labels", f"let labels = [{', '.join(quoted(str(c)) for c in choices)}]")
        if _function(choices) or not isinstance(choices, str) or not choices:
            raise NotSimple(
                "`doc_to_choice` is " + (f"the Python function `{shown(choices)}`" if choices else "missing")
            )
        if listed := _LIST.fullmatch(choices):
            return f"[{', '.join(self._columns.value_of(c.strip(), row) for c in listed[1].split(',') if c.strip())}]"
        return self._value(choices, row)

    def _right(self, row: str, options: str) -> str:
        """Return the right option of a row as an expression; raises NotSimple."""
        target = self._tree.get("doc_to_target")
        if _function(target) or not isinstance(target, str):
            raise NotSimple("`doc_to_target` is " + (f"the Python function `{shown(target)}`" if target else "missing"))
        if target.isdigit():
            return f"{options}[{target}]"
        if indexed := _INDEX.fullmatch(target):
            among = self._columns.value_of(indexed[1], row)
            wanted = expression_of(indexed[2], lambda p: self._columns.value_of(p, row))
            return f"{self._function('labeled', _LABELED)}({options}, {among}, {wanted})"
        value = self._value(target, row)
        if not re.fullmatch(r"\w+\.\w+", value):
            raise NotSimple(f"`doc_to_target: {shown(target)}` is not a column")
        return f"{self._function('chosen', _CHOSEN)}({options}, {value})"

    def _function(self, name: str, text: str) -> str:
        """Declare a function of the study once; return its name."""
        if [text] not in self.draft.blocks:
            self.draft.blocks.append([text])
        return name

    def _value(self, text: str, row: str) -> str:
        """Return a column, or one template without text around it, as an expression; raises NotSimple."""
        inner = text.strip()
        if _NAME.fullmatch(inner):
            return self._columns.value_of(inner, row)
        if inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1:
            return expression_of(inner[2:-2], lambda p: self._columns.value_of(plain_path(p), row))
        raise NotSimple(f"`{shown(text)}` is not a column")

    def _text(self, name: str) -> str:
        """Return a template of the task; raises NotSimple for a function."""
        value = self._tree.get(name)
        if _function(value):
            raise NotSimple(f"`{name}` is the Python function `{shown(value)}`")
        if not isinstance(value, str):
            raise NotSimple(f"`{name}` is missing" if value in (None, "") else f"`{name}` is not a text")
        return f"{{{{{value}}}}}" if _NAME.fullmatch(value) else value

    def _text_value(self, name: str, row: str) -> str:
        """Return a template of a row as an expression; raises NotSimple."""
        if self._tree.get(name) in (None, ""):
            return NOTHING
        return self._expression(self._text(name), row)

    def _expression(self, text: str, row: str) -> str:
        translation = translated(text, lambda p: self._columns.value_of(p, row))
        parts = [Field(translation.values[p.path]) if isinstance(p, Field) else p for p in translation.parts]
        if len(parts) == 1 and isinstance(parts[0], Field):
            return parts[0].path
        return whole(parts)

    def _asked(self, text: str, target_of: Any, *, lettered: bool = False) -> list[str]:
        """Return statements in front of the ask, and last the prompt: the task's text, after its demonstrations."""
        description = str(self._tree.get("description") or "")
        translation = translated(description + text, lambda p: self._columns.value_of(p, "q"))
        parts, values, lines = translation.parts, dict(translation.values), list[str]()
        n = str(self._tree.get("num_fewshot") or "0")
        if re.fullmatch(r"[1-9]\d{0,3}", n):
            if translated(description, lambda p: p).values:
                raise NotSimple("`description` has placeholders, before demonstrations")
            between = str(self._tree.get("fewshot_delimiter", "\n\n"))
            gap = str(self._tree.get("target_delimiter", " "))
            shown_shot = translated(text, lambda p: self._columns.value_of(p, "shot"))
            shot = whole([Field(shown_shot.values[p.path]) if isinstance(p, Field) else p for p in shown_shot.parts]
                         + [gap, Field(target_of("shot")), between])  # fmt: skip
            lines = [
                f"let shots = {self._shots(n)}",
                f'let demonstrated = join([{shot} for shot in shots], "")',
            ]
            inner = translated(text, lambda p: self._columns.value_of(p, "q"))
            parts = (*([description] if description else []), Field("demonstrations_text"), *inner.parts)
            values = {"demonstrations_text": "demonstrated", **inner.values}
        if lettered:
            parts = (*parts, "\n\n", Field("options"), '\n\nEnd with "Answer: LETTER".')
            values["options"] = "shown"
        self.draft.blocks.append(
            [f"prompt asked({', '.join(values)}) {{", *message("user", joined(parts), values), "}"]
        )
        return [*lines, f"asked({', '.join(values.values())})"]

    def _split(self, *fields: str) -> str | None:
        return next((str(self._tree[f]) for f in fields if self._tree.get(f)), None)

    def _demonstrations(self) -> str:
        """Return the rows to draw from: never the question itself, if both are of one split."""
        if self._split(*_SHOTS) == self._split(*_QUESTIONS):
            return "[row for row in demonstrations if row.position != q.position]"
        return "demonstrations"

    def _shots(self, n: str) -> str:
        """Return the demonstrations of a question: drawn, or the first ones."""
        config = self._tree.get("fewshot_config") or {}
        config = config if isinstance(config, dict) else {"": config}
        if set(config) - {"sampler", "split"} or config.get("sampler", "default") not in ("default", "first_n"):
            raise NotSimple("its `fewshot_config` has no counterpart")
        if config.get("sampler") == "first_n":
            return f"[row for row in demonstrations if row.position < {n}]"
        return f"draw({self._demonstrations()}, {n}, seed: [q, sample])"

    def _datasets(self) -> list[list[str]]:
        """Return the datasets of the questions and of the demonstrations."""
        split = self._split(*_QUESTIONS)
        if split is None and str(self._tree.get("dataset_path")) not in _LOCAL:
            raise UsageError(f"{self._document.name} names no split: add `test_split`")
        blocks = [self._dataset("rows", split or "train")]
        if str(self._tree.get("num_fewshot") or "0") != "0":
            blocks.append(self._dataset("demonstrations", self._split(*_SHOTS) or "train"))
        return blocks

    def _dataset(self, name: str, split: str) -> list[str]:
        path, config = str(self._tree.get("dataset_path") or ""), self._tree.get("dataset_name")
        columns = {ours: theirs for theirs, ours in self._columns.names.items()}
        kwargs = self._tree.get("dataset_kwargs") or {}
        if path in _LOCAL:
            files = kwargs.get("data_files") if isinstance(kwargs, dict) else None
            file = files.get(split) if isinstance(files, dict) else files
            file = file[0] if isinstance(file, tuple) and len(file) == 1 else file
            if not isinstance(file, str):
                raise UsageError(
                    f"{self._document.name}: `dataset_kwargs` names no single file for the split `{shown(split)}`"
                )
            if not re.search(rf"({'|'.join(map(re.escape, READERS))})(\.gz|\.zst)?$", file.lower()):
                raise UsageError(f"{self._document.name}: `{shown(file)}` is not a data file that a study reads")
            beside = self._document.path.parent / file
            if beside.is_file():
                self._check_columns(beside)
            return dataset(name, self.draft.wanted.path(beside) if beside.exists() else file, columns)
        config = None if config in (None, "", "null", "~") else str(config)
        if (
            not _HUB.fullmatch(path)
            or not re.fullmatch(r"[\w.-]+", split)
            or (config and not re.fullmatch(r"[\w.-]+", config))
        ):
            raise UsageError(f"{self._document.name}: `dataset_path: {shown(path)}` is not the name of a dataset")
        file = "_".join(name_of(x, "data") for x in (path.rsplit("/", 1)[-1], config, split) if x) + ".parquet"
        arguments = ", ".join(f"'{x}'" for x in (path, config) if x)
        way = f"from datasets import load_dataset; load_dataset({arguments}, split='{split}').to_parquet('{file}')"
        return [
            f"dataset {name} {{", f"file = {quoted(file)}  # allow W601",
            f"columns = {{ {', '.join(f'{n}: {quoted(p)}' for n, p in columns.items())} }}",
            f"obtain = {quoted(f'python -c {chr(34)}{way}{chr(34)}')}", "}",
        ]  # fmt: skip

    def _check_columns(self, path: Path) -> None:
        """Raise UsageError if a file has no column that a template reads."""
        rows = read_document(path).rows
        for column in self._columns.names:
            first = column.split(".")[0]
            if rows and first not in rows[0].fields and column not in rows[0].fields:
                known = near(first, rows[0].fields) or f"available: {one_of(rows[0].fields)}"
                raise UsageError(
                    f"{self._document.name} reads the column `{shown(column)}`; {path.name} has none; {known}"
                )


def whole(parts: list[str | Field]) -> str:
    """Return texts and expressions as one expression: a text with placeholders, or the parts joined."""
    merged = joined(parts)
    if all(re.fullmatch(r"\w+\.\w+", p.path) for p in merged if isinstance(p, Field)):
        return quoted(*merged)
    return f"join([{', '.join(p.path if isinstance(p, Field) else quoted(p) for p in merged)}])"


def _function(value: Any) -> bool:
    from emdsl.data.yaml import Tagged  # noqa: PLC0415 - 15 ms; a task has loaded it already

    return isinstance(value, Tagged)


def _number(text: str) -> str:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,6})?", text):
        raise NotSimple(f"`{shown(text)}` in `generation_kwargs` is not a number")
    return text


def _distinct(labels: list[str]) -> bool:
    """Whether no label begins another one, so that the first token tells them apart."""
    return not any(a != b and b.lower().startswith(a.lower()) for a in labels for b in labels)
