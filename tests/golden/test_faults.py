"""Every fault of a program is told at once, at its line, under its code: see faults.em."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from corpus import CASES, split

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.source import Severity, Source, together

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(code for _, code in split(c)[1]))
def test_faults(case: str, tmp_path: Path) -> None:
    """Exactly the marked faults are found: none hides another, none is told twice."""
    (tmp_path / "three.csv").write_text("x,y\n1,2\n3,4\n5,6\n", encoding="utf-8")
    text, wanted = split(case)
    with pytest.raises(SourceError) as caught:
        compile_source(Source("case.em", text, tmp_path / "case.em"), {})
    found = sorted(
        (d.span.source.position(d.span.start)[0] if d.span else 0, d.code)
        for d in caught.value.diagnostics
        if d.severity is Severity.ERROR
    )
    assert found == wanted, str(caught.value)


def test_a_diagnostic_is_shown_with_its_place() -> None:
    """What, where with a caret, and the near word."""
    with pytest.raises(SourceError) as caught:
        compile_source(
            Source(
                "experiments/insecure.em",
                'em 1\nexperiment e {\n  skip when modle is qwen\n  ask a from "sim/subject" with "x"\n}\n',
            ),
            {},
        )
    assert str(caught.value) == (
        "error[E201]: unknown name `modle`\n"
        " --> experiments/insecure.em:3:13\n"
        "  |\n"
        "3 |   skip when modle is qwen\n"
        "  |             ^^^^^\n"
        "help: define `modle` or import it; a text needs quotes"
    )


def test_a_literal_key_is_masked_in_its_own_error() -> None:
    """The snippet of a planted key does not show it."""
    with pytest.raises(SourceError) as caught:
        compile_source(Source("x.em", 'em 1\nmodel m { use = "openai/gpt-4o", key = "sk-secret-123" }\n'), {})
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in repr([d.as_json() for d in caught.value.diagnostics])


def test_alike_diagnostics_are_shown_as_one_with_all_places() -> None:
    """One with three places is read faster than three; what differs in more than its place stays apart."""
    text = (
        'em 1\nlet a = modle\nlet b = modle\nlet c = [modle]\nlet d = nothing\nmodel model_1 { use = "sim/subject" }\n'
    )
    source = Source("study.em", text)
    with pytest.raises(SourceError) as caught:
        compile_source(source, {})
    alike = [d for d in caught.value.diagnostics if "`modle`" in d.message]
    assert len(alike) == 3
    (shown,) = together(alike)
    assert [line for line in shown.render().splitlines() if "study.em:" in line] == [
        " --> study.em:2:9", " ::: study.em:3:9", " ::: study.em:4:10",
    ]  # fmt: skip
    assert len(together(caught.value.diagnostics)) == len(caught.value.diagnostics) - 2
