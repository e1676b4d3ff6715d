"""Words and functions of other languages, and what to write here."""

WORDS = {"True": "true", "False": "false", "None": "none", "null": "none", "nil": "none"}
NAMES = {
    "range": "write a range as `0..9`, both ends included",
    "str": 'insert the value into a text: `"{x}"`',
    "print": "results are shown by `emdsl show` and `emdsl query`",
    "format": 'insert the value into a text: `"{x}"`',
    "int": "all numbers are exact: no conversion is needed",
    "avg": "use `mean`",
    "sum": "use `mean` or `count`",
    "median": "write `quantile(x, 0.5)`",
    "random": "write `draw(..., seed: ...)` or `pick(..., seed: ...)`",
    "re": 'write `matches(text, "pattern")` or `find(text, "pattern")`',
}
