"""Labels without quotes, in `choices` and in the lists of a `shape`."""

from __future__ import annotations

import pytest
from support import experiment, keys

from emdsl.errors import SourceError

EXAMPLES = '{ label: "description" } or a list such as [label, "other label"]'
STUDY = """
LETS
rubric kind(answer) from "sim/judge" { FORMAT, user "{answer} {SHOWN}" }
experiment e {
  ask a from "sim/subject" with "x" ASK
  judge k with kind(a)
}
"""


def study(reply_format: str, lets: str = "", ask: str = "") -> str:
    """Return a study whose judge has a format."""
    shown = reply_format.split(" ", 1)[0]
    return (
        STUDY.replace("FORMAT", reply_format).replace("SHOWN", shown).replace("LETS", lets).replace("ASK", ask)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reply_format", "lets", "labels"),
    [
        ("choices = [yes, no]", "", ("yes", "no")),
        ('choices = [yes, "very unsure", no]', "", ("yes", "very unsure", "no")),
        ("choices = [exact, rate, x]", "", ("exact", "rate", "x")),  # weaker than a label
        ("choices = [yes, no]", 'let no = "NO!"', ("yes", "NO!")),  # a name of the program
        ("choices = all", 'let all = ["b", "a"]', ("b", "a")),
    ],
)
def test_a_word_in_choices_is_a_label(reply_format: str, lets: str, labels: tuple[str, ...]) -> None:
    """Unless the program defines a name like it; the keys are those of labels in quotes."""
    quoted = "choices = [" + ", ".join(f'"{x}"' for x in labels) + "]"
    bare = study(reply_format, lets, ask=f"{{ {reply_format} }}")
    assert [s.reply_format.choices for s in experiment(bare).steps if s.reply_format] == [labels, labels]
    assert keys(bare) == keys(study(quoted, ask=f"{{ {quoted} }}"))


def test_a_word_in_a_list_of_a_shape_is_a_label() -> None:
    """The words of a shape itself stay types."""
    reply_format = experiment(study("shape = { kind: [yes, text], n: 0..10, why: text }")).steps[1].reply_format
    assert reply_format is not None
    assert [(p.kind, p.choices) for p in reply_format.shape] == [
        ("label", ("yes", "text")), ("number", ()), ("text", ())]  # fmt: skip


@pytest.mark.parametrize(
    ("reply_format", "message"),
    [
        ("choices = [yes, yes]", "`choices` must be a list of distinct labels"),
        ("choices = [yes, Yes]", "`choices` must be distinct labels, ignoring case"),
        ("choices = [yes, missing]", "`choices` must be labels without the reserved word `missing`"),
        ("choices = [yes, 1]", f"`choices` must be a map such as {EXAMPLES}"),
        ("choices = yes", "unknown name `yes`: a truth value is `true`"),
    ],
)  # fmt: skip
def test_faults_of_labels(reply_format: str, message: str) -> None:
    """They are those of labels in quotes."""
    with pytest.raises(SourceError) as caught:
        experiment(study(reply_format))
    assert caught.value.diagnostics[0].message == message
