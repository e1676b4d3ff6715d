"""The pages of the manual as Markdown: those of `docs/`, and the references, which are made from the code.

`docs/index.md` is the table of contents: its links give the order of the pages, and the file is also `llms.txt`.
"""

from __future__ import annotations

import csv
import dataclasses
import inspect
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdsl import errors
from emdsl.compiler.reference import reference
from emdsl.lang.explain import pages as diagnostics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

INDEX = "index.md"
WIDTH = 72  # of a signature in one line
_LINK = re.compile(r"^- \[[^\]]+\]\(([^)#]+\.md)\)", re.MULTILINE)
_PARAMETERS = ("models", "parameters", "takes", "while", "source", "date")
_CLI = """# Command line

`emdsl VERB --help` prints the same. Each option except `--only` can also be set in the environment: `--cache` as
`EMDSL_CACHE`, `--samples` as `EMDSL_SAMPLES`. Shell completion comes from click:
`eval "$(_EMDSL_COMPLETE=bash_source emdsl)"`, with `zsh_source` and `fish_source` for these shells.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | error: the study has errors, or no request was answered, or the results could not be loaded |
| 2 | wrong usage |
| 3 | incomplete: requests are still pending, because of failures, a budget or an interrupt |
"""
_PYTHON = """# Python API

```python
import emdsl

study = emdsl.open("experiments/quickstart.em", sim=True)
print(study.plan().requests)
```

A study is an object. The tables that it returns are Arrow tables: use `.to_pandas()`, or `polars.from_arrow(table)`.
[Use emdsl from Python](../howto/python.md) shows it at work.

"""
_PROVIDERS = """# Providers and parameters

The [language reference](language.md#providers) lists the providers, their addresses and the variables of their API
keys. This page lists what single models accept. `emdsl check` reports a setting that a model would refuse or ignore
(E736) before anything is sent, and `emdsl models PROVIDER/MODEL` prints the rows of one model. The first row that fits
a model and a setting holds.

"""


def docs_folder() -> Path:
    """Return the folder of the written pages: `docs/` of a checkout, or their copy in an installed package."""
    packed = Path(str(files("emdsl"))) / "_docs"
    return packed if packed.is_dir() else packed.parents[1] / "docs"


def manual(helps: Mapping[str, str]) -> dict[str, str]:
    """Return all pages by their path, in the order of the table of contents; `helps` are the verbs' help texts."""
    made = {
        "reference/language.md": reference,
        "reference/cli.md": lambda: _cli(helps),
        "reference/python.md": _python,
        "reference/providers.md": _providers,
        "reference/diagnostics.md": _diagnostics,
    }
    index = _read(INDEX)
    return {INDEX: index} | {
        path: made[path]() if path in made else _read(path) for path in dict.fromkeys(_LINK.findall(index))
    }


def as_one_text(pages: Mapping[str, str]) -> str:
    """Return `llms-full.txt`: every page, each behind its path."""
    return "\n".join(f"<!-- {path} -->\n\n{text}" for path, text in pages.items())


def _read(path: str) -> str:
    text = (docs_folder() / path).read_text(encoding="utf-8")
    return text.replace("```em wrong ", "```em ")  # the word is for tests: builders of sites do not know it


def _cli(helps: Mapping[str, str]) -> str:
    return _CLI + "".join(f"\n## {call}\n\n```text\n{text.strip()}\n```\n" for call, text in helps.items())


def _python() -> str:
    from emdsl.study.deviations import Deviations  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.diff import Diff  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.plan import Plan  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.power import Power  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.rendering import Rendered  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.results_diff import ResultsDiff  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.run import Run  # noqa: PLC0415 - the whole package, for one page
    from emdsl.study.runs import Runs  # noqa: PLC0415 - a page of Python lists the methods of runs
    from emdsl.study.story import Stories  # noqa: PLC0415 - the page of Python shows its methods
    from emdsl.study.study import Study, open_study, open_text  # noqa: PLC0415 - the page of Python begins with them
    from emdsl.study.why import Why  # noqa: PLC0415 - the whole package, for one page

    parts = [_PYTHON, *_documented("emdsl.open", open_study), *_documented("emdsl.open_text", open_text)]
    for name, member in vars(Study).items():
        if not name.startswith("_") and inspect.isfunction(member):
            parts += _documented(f"study.{name}", member)
    for kind in (Plan, Run, Rendered, Stories, Why, Diff, ResultsDiff, Deviations, Power, Runs):
        parts += [f"## {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n", *_fields(kind), "\n"]
    parts.append("## emdsl.errors\n\nEvery error of the API is one of these classes.\n\n")
    parts.extend(
        f"- `{kind.__name__}`: {_summary(kind)}\n"
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.EmdslError)
    )
    return "".join(parts)


def _documented(name: str, member: Callable[..., Any]) -> Iterator[str]:
    signature = str(inspect.signature(member)).replace("(self, ", "(").replace("(self)", "()")
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)  # annotations are kept as text
    if len(signature) > WIDTH:
        signature = re.sub(r"(?<=[(\s])(?=\w+: |\*, )|(?=\) -> )", "\n", signature).replace(" \n", "\n")
        signature = re.sub(r"^(?=[\w*])", "    ", signature, flags=re.MULTILINE)
    yield f"## {name}\n\n```text\n{name}{signature}\n```\n\n{_sections(inspect.getdoc(member) or '')}\n\n"


def _sections(text: str) -> str:
    """Return a docstring with its Args and Raises as lists."""
    text = re.sub(r"^(Args|Returns|Raises):\n", r"**\1**\n\n", text, flags=re.MULTILINE)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def _fields(kind: type[Any]) -> Iterator[str]:
    """Yield the fields that a value shows, each with its type and the comment behind it."""
    comments = dict(re.findall(r"^    (\w+): .*  # (.*)$", inspect.getsource(kind), re.MULTILINE))
    for field in dataclasses.fields(kind):
        if field.repr:
            yield f"- `{field.name}`: `{field.type}`{f', {comments[field.name]}' if field.name in comments else ''}\n"


def _summary(kind: type[Exception]) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _providers() -> str:
    text = files("emdsl").joinpath("parameters.tsv").read_text(encoding="utf-8")
    parts, provider = [_PROVIDERS], ""
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        if row["provider"] != provider:
            provider = row["provider"]
            parts.append(f"\n## {provider}\n\n| {' | '.join(_PARAMETERS)} |\n|{' --- |' * len(_PARAMETERS)}\n")
        cells = (" ".join(f"`{w}`" for w in row[c].split()) if c in _PARAMETERS[:2] else row[c] for c in _PARAMETERS)
        parts.append(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} |\n")
    return "".join(parts)


def _diagnostics() -> str:
    pages = (re.sub(r"^```em (\w+)$", r'```em title="\1"', page, flags=re.MULTILINE) for page in diagnostics().values())
    return "# Diagnostics\n\n`emdsl explain CODE` prints one page.\n\n" + "\n".join(f"## {page}" for page in pages)
