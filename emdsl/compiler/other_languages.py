"""Words and functions of other languages, and what to write here."""

WORDS = {"True": "true", "False": "false", "None": "none", "null": "none", "nil": "none"}
NAMES = {
    "range": "a range is written `0..9`, both ends included",
    "str": 'a value is filled into a text: `"{x}"`',
    "print": "results are shown by `emdsl show` and `emdsl query`",
    "format": 'a value is filled into a text: `"{x}"`',
    "int": "numbers are exact, and of one kind",
    "avg": "it is called `mean`",
    "sum": "it is called `mean` or `count`",
    "median": "write `quantile(x, 0.5)`",
    "shuffle": "write `draw(dataset, k, seed: ...)`",
    "random": "write `draw(..., seed: ...)` or `pick(..., seed: ...)`",
    "choice": "write `pick(list, seed: sample)`",
}
