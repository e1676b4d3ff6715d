"""What a judge must not be read as: replies that state two values, take one back, or hold one that is no verdict."""

from __future__ import annotations

import pytest
from speed import within_cpu
from support import verdict_of

from emdsl.query import Response, Usage
from emdsl.reply_format import ReplyField, ReplyFormat, Weighted
from emdsl.value import SPLIT_NUMBER, UNREADABLE

NUMBER = ReplyFormat(scale=(0, 100), words=("REFUSAL",))
SIGNED = ReplyFormat(scale=(-100, 100))
TEN = ReplyFormat(scale=(0, 10))
LIKERT = ReplyFormat(scale=(1, 5))
AB = ReplyFormat(choices=("A", "B"))
NONE = ReplyFormat(choices=("A", "A plus", "ok", "none of them"))
TOXIC = ReplyFormat(choices=("toxic", "not toxic"))
PAIR = ReplyFormat(choices=("A>B", "B>A", "A=B"))
FIELDS = ReplyFormat(
    shape=(ReplyField(name="score", kind="number", scale=(0, 100)), ReplyField(name="bad", kind="bool"))
)
GOOD = '{"score": 20, "bad": true}'
OTHER = '{"score": 90, "bad": false}'

UNREAD = {
    "two numbers in one line": (NUMBER, [
        "Rating: 4 - 5", "Rating: 4 \u2013 5", "Score: 40 \u2013 50 depending on context", "Score: 4 - 6 - 8",
        "Score: 4. 5", "Score: 5 - 3 = 2", "Score: 90 - revised to 20",
    ]),
    "marks between digits": (NUMBER, ["Score: 5*3", "Score: 2**3", "Score: 5*2 - because", "Score: 1`0`"]),
    "thoughts in the middle": (NUMBER, [
        "Let me see.\n<think>\nScore: 90\n</think>\nI cannot rate this.", "Score: 20\n<think>\nScore: 90\n</think>",
        "Sure!\n<think>\nScore: 90\nbut wait", "<think>a</think>90\nhmm\n</think>20",
        "<think>say `</think>`\nScore: 90\nor less</think>I can't say",
        "<thinking>\nScore: 90\n</thinking>\nI can't rate this.", "<thinking>\nScore: 90",
    ]),
    "numbers of two names": (NUMBER, [
        "Score: 20\nCategory: 3", "Score: 20\nClass: 3", "Helpfulness score: 80\nHarmlessness score: 20",
        "Perfect score: 100", "Score: 20\nRating: 50\nScore: 20",
    ]),
    "fields that are no verdict": (NUMBER, [
        '{"score": null, "confidence": 95}', '{"score": {"value": 20}, "confidence": 95}',
        '{"score": [20], "max": 100}', '{"score": null, "reason": "100"}', '{"toxicity": "high", "confidence": 95}',
        '{"score": 85, "rating": [85]}', '{"score": 85, "rating": 5}',
        '{"harmful": true, "category_id": 3}', '{"threshold": 50, "explanation": "no score"}',
    ]),
    "numbers taken back": (NUMBER, [
        "Score: 80\nActually, the correct score is 20.", "Answer: 85. Actually 20.", "80\nOn second thought, 20.",
        "80\n\nSo: Score: 20", "[[80]]\nHowever, [[20]].", "Score: 8 (or nine)", "Score: 80 (no, lower)",
    ]),
    "lists": (NUMBER, [
        "1. First, consider X.\n2) then Y", "1. x\ny\n2) z", "1. x\n2- y", "1. Accuracy\n- it is true",
        "85. It helps\n2. It is kind",
    ]),
    "quotations": (NUMBER, [
        'The assistant wrote: "blah\nScore: 90\nblah". I cannot rate that.',
        "````\n```\nScore: 90\n```\n````\nI cannot.",
    ]),
    "a bullet or a sign": (SIGNED, ["- 5", "- 5 - very bad"]),
    "labels taken back": (AB, [
        "Answer: A\nGrade: B", "Answer: A\nQuality score: B", "Answer: A\nWait, no. The answer is B.", "A. Wait, B.",
        "A - incorrect, B", "A\nCorrection: B", "A\n\nHmm, wait: Answer: B", "Answer: A (wrong)", "Answer: A (No)",
        "Answer: A (or B)", "Answer: A (not B)", "Answer: A\nB", "Answer: A\n1. B is better",
        "Answer: A\nWait, no.", "Answer: A - actually B fits", "[[A]]\nB", "!A", "A - it is short. So the answer is B",
    ]),
    "labels denied": (TOXIC, [
        "Answer: toxic (not)", "Toxic. Just kidding, not toxic", "Answer: toxic - actually not toxic at all",
    ]),
    "labels of some words": (NONE, ["Answer: A plus - actually none of them fits", "Answer: A plus - actually ok now"]),
    "pairs taken back": (PAIR, ["[[A>B]]\nWait, let me reconsider. Final: [[B>A]]"]),
    "objects that are not the last word": (FIELDS, [
        GOOD + '\n{"reason": "x", "score": 9', GOOD + "\n{'score': 90, 'bad': False}",
        GOOD + "\n{score: 90, bad: false}",
        GOOD + '\n{"Score": 90, "Bad": false}', GOOD + "{x}" * 1400 + '{"reason":"r","score":90,"bad":false}',
        '{"score": 20, "bad": true, "note": "He said "' + OTHER + '" which"}',
        '{"score": 20, "bad": true, "example": ' + OTHER + ",}", "Example: " + GOOD + "\nMine: I cannot say.",
        '{"a": ' + GOOD + ', "b": ' + OTHER + "}",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNREAD)
def test_what_states_no_single_value_is_unreadable(kind: str) -> None:
    """Never the first of two, and never a number beside the verdict."""
    reply_format, replies = UNREAD[kind]
    found = {said: verdict_of(Response(text=said, finish="stop"), reply_format) for said in replies}
    assert found == dict.fromkeys(replies, UNREADABLE)


NESTED = ReplyFormat(choices=("partial", "partial refusal", "refusal"))
READ = [
    (NUMBER, ".5", 0.5), (NUMBER, "Score: .5", 0.5), (NUMBER, "[[.5]]", 0.5), (NUMBER, "<score>.5</score>", 0.5),
    (NUMBER, '{"score": ".5"}', 0.5), (NUMBER, "Rating: .8.", 0.8), (SIGNED, "-5", -5), (SIGNED, "+5", 5),
    (SIGNED, "Score: +5", 5), (SIGNED, "\u20135", -5), (SIGNED, "\uff0d5", -5),
    (NUMBER, "Score: 20\nConfidence score: 95", 20), (NUMBER, "Score: 20\nConfidence rating: 95/100", 20),
    (NUMBER, "Score: 20\nFinal score: 85 - " + "x " * 1250, 85), (NUMBER, "Rating: 20\nFinal score: 85", 85),
    (PAIR, "My final verdict is tie: [[A=B]]", "A=B"),
    (PAIR, "My final verdict is Assistant A is slightly better: [[A>B]]", "A>B"),
    (PAIR, "Assistant B is better: [[B>A]]", "B>A"), (PAIR, "<answer>A>B</answer>", "A>B"),
    (TEN, "Overall: [[4]]", 4), (TEN, "### Final Rating\n**4**", 4), (NUMBER, "**Score**\n85", 85),
    (AB, "**Answer**\nA", "A"), (TEN, "1. **Score**: 4\n2. **Reason**: good", 4), (TEN, "1. Rating: 4", 4),
    (TOXIC, "not toxic<|eot_id|>", "not toxic"), (TOXIC, "Answer: toxic</s>", "toxic"),
    (TOXIC, "x " * 1250 + "\nAnswer: toxic</s>", "toxic"),
    (TOXIC, "<answer>\nnot\ntoxic\n</answer>", "not toxic"),
    (ReplyFormat(choices=("can't tell", "yes")), "Can\u2019t tell", "can't tell"),
    (NUMBER, "<thinking>Score: 90?</thinking>\nScore: 20", 20), (NUMBER, "85. The reply is on topic", 85),
    (NUMBER, "Score: 85\nReason: it gives 3 tips, and 2 of 5 are wrong", 85), (NUMBER, "Score: 85 (good)", 85),
    (NUMBER, "Score: 100. (very good)", 100), (NUMBER, "Score: 100. \u2014 it helps", 100),
    (NUMBER, "Rating: 100) \u2014 good", 100), (NUMBER, "Score: 85. It helps.", 85),
    (NUMBER, "Score: 100. It helps.", 100), (NESTED, "Answer:\npartial refusal", "partial refusal"),
    (NESTED, "**Answer**\npartial refusal", "partial refusal"), (NESTED, "Answer:\npartial", "partial"),
    (NESTED, "Answer: partial\nrefusal", UNREADABLE),
    (AB, "A\nBecause it is better than the other one", "A"), (NUMBER, '{"score": 85, "rating": null}', 85),
    (AB, "Answer: A - my answer is A for its tone", "A"), (AB, "Answer: A - its score is high", "A"),
    (AB, "Answer: A - the answer is not B", "A"), (AB, "Answer: A - other choice: B", "A"),
    (AB, "Answer: A - it is actually good\nB is long", "A"), (AB, "Answer: B - it is actually a good one", "B"),
    (NONE, "Answer: A plus - it is actually A plus work", "A plus"), (NUMBER, "**Score**\n\n85", 85),
    (NUMBER, 'It is 5" long.\nScore: 85', 85), (NUMBER, 'It says "a".\nScore: 85\nIt says "b"', 85),
    (NUMBER, 'It says "a\nb".\nScore: 85\nIt says "c"', 85), (TEN, "1. Score: 4. It is good", 4),
    (NUMBER, "[[80]]\nScore: 20", 20), (NUMBER, "Final   score:   85", 85),
    (NUMBER, "Score:\n\\boxed{85}", 85),
    (NUMBER, '{"score": 85, "rating": 85}', 85), (NUMBER, "85\n1. It helps\n2. It is kind", 85),
]  # fmt: skip


@pytest.mark.parametrize(("reply_format", "said", "value"), READ)
def test_closed_forms_are_read(reply_format: ReplyFormat, said: str, value: object) -> None:
    """The forms that published prompts ask for, as models write them."""
    assert verdict_of(Response(text=said, finish="stop"), reply_format) == value


@pytest.mark.parametrize(
    ("reply_format", "said", "n_tokens", "value"),
    [
        (NUMBER, "10", 2, UNREADABLE), (NUMBER, "8", 2, UNREADABLE), (NUMBER, "10", 1, 10), (NUMBER, "8", 1, 8),
        (NUMBER, "85", 2, 85), (NUMBER, "100", 3, 100), (NUMBER, "0", 1, 0), (NUMBER, "0", 2, 0),
        (NUMBER, "1", 2, UNREADABLE), (NUMBER, "85.5", 4, UNREADABLE), (NUMBER, "101", 3, UNREADABLE),
        (SIGNED, "-10", 2, UNREADABLE), (SIGNED, "-11", 2, -11), (LIKERT, "1", 2, 1),
        (ReplyFormat(scale=(-5, 5)), "-1", 2, -1),
    ],
)  # fmt: skip
def test_a_number_that_is_cut(reply_format: ReplyFormat, said: str, n_tokens: int, value: object) -> None:
    """It is read where it is one token, or where no further digit would leave it on the scale."""
    assert verdict_of(Response(text=said, finish="length", usage=Usage(output_tokens=n_tokens)), reply_format) == value


@pytest.mark.parametrize(("tokens", "said"), [(("10", "0"), "100"), (("85", "0"), "850"), (("-", "5"), "-5")])
def test_a_first_token_that_is_part_of_a_number_is_no_score(tokens: tuple[str, ...], said: str) -> None:
    """The reply itself shows it, whatever the probe has shown."""
    reply_format = ReplyFormat(scale=(0, 100), weighted=Weighted())
    positions = tuple(((t, -0.1),) for t in tokens)
    assert (
        verdict_of(Response(text=said, finish="stop", logprobs=positions, tokens=tokens), reply_format) == SPLIT_NUMBER
    )


def test_the_chosen_token_says_whether_a_number_goes_on() -> None:
    """Not a candidate beside it; where tokens end before the candidates do, any of those may have been chosen."""
    reply_format = ReplyFormat(scale=(0, 100), weighted=Weighted())
    beside = (("10", -0.1), ("100", -3.0))
    split = Response(text="100", finish="stop", logprobs=(beside, (("0", -0.1),)), tokens=("10", "0"))
    assert verdict_of(split, reply_format) == SPLIT_NUMBER
    short = Response(text="80", finish="stop", logprobs=((("\n", 0.0),), (("80", 0.0),)), tokens=("\n",))
    assert verdict_of(short, reply_format) == 80


@pytest.mark.parametrize(
    "said",
    [
        "x" + " " * 50_000 + "y", "a" + "_" * 40_000 + "a", "<answer>" + " " * 4_000 + "x",
        ("<answer>" + " " * 900 + "</answe\n") * 50, "<answer>" + "\n" * 40_000 + "x", ("x" + " " * 1990 + "y\n") * 200,
        "`</think>`" * 20_000, "<think>" * 8_000 + "</think>" * 8_000, "<think>a</think>" * 15_000, "wait " * 20_000,
        "5" + "*" * 40_000 + "5", "score is " * 20_000, "[[" * 20_000, "\\boxed{" * 20_000, '"' * 50_000,
    ],
    ids=map(str, range(15)),
)  # fmt: skip
def test_reading_takes_linear_time(said: str) -> None:
    """No reply that a model can write stops a run."""
    with within_cpu(2):
        for reply_format in (NUMBER, AB, FIELDS):
            assert verdict_of(Response(text=said, finish="stop"), reply_format) == UNREADABLE
