"""The habits of other languages in programs that parse, as rules by the code of the error that they end in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emdsl.compiler import habit_calls as calls
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.settings import EFFORTS, PARAMS
from emdsl.lang.habit_rules import EXPR, OPERAND, PATH, ROUND, SQUARE, SUM, TEXT
from emdsl.lang.habits import Found, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

_PARAMETERS = "|".join(PARAMS)
MAX_LISTED = 20  # numbers of a list that replaces a `range` with a step
_NONE = "(?:None|none|null|NULL|nil|NaN|undefined)"
_OWNER = rf"(?:{TEXT}|{ROUND}|{SQUARE}|[A-Za-z_]\w*(?:\.\w+(?!\w)|{ROUND}|{SQUARE})*?)"
_ARG = rf"\s*({EXPR})\s*"
_RENAMED = {  # functions by their names elsewhere
    "trim": "strip|Trim|TRIM", "lower": "lowercase|tolower|toLower|to_lower|casefold|LOWER",
    "upper": "uppercase|toupper|toUpper|to_upper|UPPER", "join": "concat|concatenate|paste|implode|JOIN",
    "pick": "choose|choice|random_choice|pick_one", "len": "length|size|nchar|count_items|LEN|LENGTH",
    "replace": "substitute|gsub|REPLACE", "min": "minimum|least|MIN", "max": "maximum|greatest|MAX",
    "draw": "take|sample_rows|choose_rows", "starts": "startswith|startsWith|starts_with",
    "ends": "endswith|endsWith|ends_with", "words": "word_count|wordcount|n_words|count_words",
}  # fmt: skip
_METHODS = {
    "lower": "lower|casefold|toLowerCase", "upper": "upper|toUpperCase", "trim": "strip|trim",
    "replace": "replace|replaceAll", "len": "length|len|size|__len__", "starts": "startswith|startsWith|starts_with",
    "ends": "endswith|endsWith|ends_with",
}  # fmt: skip
_MEASURES = {  # measures by their names elsewhere
    "mean": r"avg|average|AVG|Avg|Average|MEAN|Mean|np\.mean|mean_score|expected",
    "sd": r"std|stddev|stdev|STDDEV|std_dev|np\.std|standard_deviation",
    "correlation": "corr|pearson|cor|pearsonr|CORR", "shares": "value_counts|distribution|proportions|histogram|counts",
    "agreement": "cohen_kappa|kappa|cohens_kappa|krippendorff|alpha|krippendorff_alpha|cohen_kappa_score",
}  # fmt: skip
_RATES = "P|Pr|proportion|percent|percentage|pct|share|fraction|freq|frequency|prob|probability|prop|accuracy|RATE"
_LIKE_MEASURES = {  # those whose arguments can differ
    "rate": _RATES, "count": "sum|SUM|COUNT|total|n_hits", "slope": "regression|trend|linreg|regress|lm",
    "contrast": "difference|diff|delta|effect|uplift|compare",
}  # fmt: skip


def _range(found: Found) -> str | None:
    """Return a `range` of Python as a range, or a list if it has steps."""
    numbers = [int(n) for n in re.findall(r"-?\d+", found[1])]
    values = range(*numbers) if len(numbers) < 3 or numbers[2] else range(0)
    if not values:
        return None
    if values.step == 1:
        return f"{values[0]}..{values[-1]}"
    return f"[{', '.join(map(str, values))}]" if len(values) <= MAX_LISTED else None


def _formatted(found: Found) -> str | None:
    """Return a text with `.format(...)` as one with placeholders, if its values are names."""
    text, names = found[1], [n.strip() for n in found[2].split(",")]
    if text.count("{}") != len(names) or not all(re.fullmatch(PATH, n) for n in names):
        return None
    for name in names:
        text = text.replace("{}", f"{{{name}}}", 1)
    return text


def _joined(found: Found) -> str:
    """Return texts joined by `+` with `str(...)` between as one text with a placeholder."""
    return f"{found[1][:-1]}{{{found[2]}}}{found[3][1:]}" if found[3] else f'{found[1][:-1]}{{{found[2]}}}"'


def _method(name: str) -> Callable[[Found], str]:
    def called(found: Found) -> str:
        args = found[2][1:-1].strip() if found[2] else ""
        return f"{name}({found[1]}{', ' if args else ''}{args})"

    return called


def _percentile(found: Found) -> str:
    share = float(found[2])
    return f"quantile({found[1]}, {share / 100 if share > 1 else share:g})"


def _built_in(found: Found) -> str | None:
    """Return a call of a method as that of the function of this name."""
    name = found[2]
    args = found[3][1:-1].strip()
    enough = name in BUILTINS and BUILTINS[name].required <= 1 + (args.count(",") + 1 if args else 0)
    return f"{name}({found[1]}{', ' if args else ''}{args})" if enough else None


def _averaged(found: Found) -> str:
    """Return the mean of some values as their sum over their number."""
    values = [x.strip() for x in found[1].split(",")]
    return f"({' + '.join(values)}) / {len(values)}"


def _among(found: Found) -> str:
    """Return `x == "a" or "b"` as a test in a list."""
    values = re.split(r"\s+or\s+", found[2])
    return f"{found[1]} in [{', '.join(values)}]"


UNKNOWN = (
    Rule("", r"(?:\blist\(\s*)?\brange\(\s*(-?\d+(?:\s*,\s*-?\d+){0,2})\s*\)\)?",
         "`range` is not a function: a range includes both ends", put=_range),
    *(Rule("", rf"\b({old})\(", f"`\\1` is not a function: use `{new}`", put=f"{new}(", help=f"write `{new}(...)`")
      for new, old in _RENAMED.items()),
    Rule("", rf"(?<==)(\s*)(?:coalesce|ifnull|nvl|IFNULL|COALESCE|fillna)\({_ARG},{_ARG}\)(?=\s*$)",
         "a missing value is replaced by `else`", put="\\1\\2 else \\3"),
    Rule("", rf"\b(?:coalesce|ifnull|nvl|IFNULL|COALESCE|fillna)\({_ARG},{_ARG}\)",
         "a missing value is replaced by `else`", put="(\\1 else \\2)"),
    Rule("", rf"\b(?:contains|includes|has|str_contains|CONTAINS)\({_ARG},{_ARG}\)",
         "a part of a text is found by `in`", put="\\2 in \\1"),
    Rule("", rf"\b(?:(?:pd|np|math|numpy|pandas)\.)?(?:isna|isnull|isnan|is_na|is_null|is_missing|ISNULL)\({_ARG}\)",
         "a missing value is tested by `is missing`", put="\\1 is missing"),
    Rule("", rf"\b(?:ifelse|iif|IIF|IF|if_else|ternary|cond)\({_ARG},{_ARG},{_ARG}\)",
         "a value by condition is written with `if`", put="if \\1 then \\2 else \\3"),
    Rule("",
         r"\b(?:load|read|open|read_csv|read_json|load_dataset|load_csv|load_json|pd\.read_csv|json\.load)\(\s*"
         r"(\"[^\"\n]*\")", "a file is read by a declaration", plain=True,
         help="write `dataset NAME { file = \\1 }` at the top, and `NAME` here"),
    Rule("", r"\bfor (\w+)\s*,\s*(\w+)\s+in\s+(?P<at>enumerate)\((.*)\)", "an axis has no number of its own",
         help="write `for \\2 in ...`; a row of a dataset has its place as `\\2.position`"),
    Rule("", r"\benumerate\(", "a list has no numbers of its own",
         help="write `for NAME in ...`; a row of a dataset has its place as `NAME.position`"),
    Rule("", r"\bzip\(", "lists are joined as pairs", help="write `for a, b in [(1, 2), (3, 4)]`"),
    Rule("", r"\brandom\.(?:choice|choices)\(\s*([^()\n]*)\)", "a random choice has a seed",
         put="pick(\\1, seed: sample)"),
    Rule("", r"\brandom\.sample\(\s*([^(),\n]*),\s*([^(),\n]*)\)", "a random choice has a seed",
         put="draw(\\1, \\2, seed: sample)"),
    Rule("", rf"({TEXT})\s*\+\s*str\(\s*({PATH})\s*\)(?:\s*\+\s*({TEXT}))?",
         "a value is inserted into a text by a placeholder", put=_joined),
    Rule("", rf"\bstr\(\s*({PATH})\s*\)", "a value is inserted into a text by a placeholder", put='"{\\1}"'),
    Rule("", r"(?<=key)(\s*=\s*)([A-Z][A-Z0-9_]+)\b", "a variable of the environment is written `env.\\2`",
         put="\\1env.\\2", help="write `env.\\2`"),
    Rule("", r"(?<=url)(\s*=\s*)([A-Z][A-Z0-9_]+)\b", "a variable of the environment is written `env.\\2`",
         put="\\1env.\\2", help="write `env.\\2`"),
    Rule("E218", r"\b((?:refusal|other|stop|revision|obtain)\s*=\s*)([\w-]+)",
         "unknown name `\\2`: a text is in quotes", put='\\1"\\2"', help='write `"\\2"`'),
    Rule("E218", r"\b((?:use|file)\s*=\s*)([\w-]+(?:[./-][\w-]+)+)", "unknown name `\\2`: a text is in quotes",
         put='\\1"\\2"', help='write `"\\2"`'),
    Rule("E218", rf"\b(reasoning_effort\s*=\s*)({'|'.join(EFFORTS)})\b", "unknown name `\\2`: a text is in quotes",
         put='\\1"\\2"', help='write `"\\2"`'),
    Rule("", r"(?<=[:{,] )(?:int|integer|float|double|num|Number|numeric)(?=\s*[,}])",
         "a field of a `shape` is a `number`", put="number"),
    Rule("", r"(?<=[:{,] )(?:str|string|String|varchar)(?=\s*[,}])", "a field of a `shape` is a `text`", put="text"),
    Rule("", r"(?<=[:{,] )(?:boolean|Boolean|bit|logical)(?=\s*[,}])", "a field of a `shape` is a `bool`", put="bool"),
    Rule("", rf"({OPERAND})\s*==\s*(?P<at>([A-Za-z_]\w*))(?![\w(.])", "unknown name `\\3`: labels are tested by `is`",
         put="\\1 is \\3", sure=False),
    Rule("", rf"({OPERAND})\s*!=\s*(?P<at>([A-Za-z_]\w*))(?![\w(.])", "unknown name `\\3`: labels are tested by `is`",
         put="\\1 is not \\3", sure=False),
    Rule("", rf"({_OWNER})\[(?P<at>([A-Za-z_]\w*))\]", "a field is read with a dot", put="\\1.\\3",
         help="write `\\1.\\3`"),
    Rule("", r"\b(abs|sum|sorted|any|all|float|bool|dict|set|tuple|type|isinstance|reversed|pow|divmod|eval|hash)\(",
         "`\\1` is not a function of the language", help='declare one in Python: `python \\1(x) from "hooks.py"`'),
    Rule("", r"\bfilter\(", "a list is chosen with `for` and `if`", help="write `[x for x in list if CONDITION]`"),
    Rule("", r"\bmap\(", "a list is made with `for`", help="write `[x.field for x in list]`"),
    Rule("", r"\bmodel\(\s*(\"[^\"\n]*\")\s*\)", "a model is a declaration", plain=True,
         help="write `model NAME { use = \\1 }` at the top of the file"),
)  # fmt: skip
NONE = (
    Rule("",
         rf"\b(revision|use|url|key|headers|context|price|timeout|parallel|rpm|tpm|batch|file|columns|delimiter|sha256|obtain)"
         rf"\s*=\s*{_NONE}\b", "`\\1` cannot be `none`", help="leave `\\1` out"),
    Rule("", rf"({OPERAND})\s*==\s*{_NONE}\b", "a missing value is tested by `is missing`", put="\\1 is missing"),
    Rule("", rf"({OPERAND})\s*!=\s*{_NONE}\b", "a missing value is tested by `is missing`", put="\\1 is not missing"),
)  # fmt: skip
LABELS = (
    Rule("", rf"\bis\s+{_NONE}\b", "a missing value is tested by `is missing`", put="is missing"),
    Rule("", rf"\bis\s+not\s+{_NONE}\b", "a missing value is tested by `is missing`", put="is not missing"),
)  # fmt: skip
FIELDS = (
    Rule("",
         rf"({_OWNER})\.(?:text|content|message|completion|output|response|choices\[0\](?:\.message)?(?:\.content|"
         r"\.text)?)\b", "an answer is its text, without a field", put="\\1", said="an answer has no"),
    Rule("", rf"({_OWNER})\.(?:text|content|value|str|message)\b(?!\()", "`\\1` is the text, without a field",
         put="\\1", said="a text has no"),
    Rule("", rf"({_OWNER})\.(?:score|value|label|verdict|result|rating|number)\b(?!\()",
         "`\\1` is the verdict, without a field", put="\\1", said="a (?:score|label) has no"),
    Rule("", rf"({TEXT})\.join\(\s*([^\n]*)\)(?=\s*(?:$|[,)]))", "a text has no methods: `join` is a function",
         put="join(\\2, \\1)"),
    Rule("", rf"({TEXT})\.format\(([^()\n]*)\)", "a text has no methods: it has placeholders", put=_formatted),
    Rule("", rf"({_OWNER})\.(?:contains|includes|has|__contains__|find)\({_ARG}\)", "a part of a text is found by `in`",
         put="\\2 in \\1"),
    Rule("", rf"({_OWNER})\.(?:sample|choices)\(\s*(?:n\s*=\s*)?(\w+)[^()\n]*\)", "rows are drawn by `draw`",
         put="draw(\\1, \\2, seed: sample)"),
    Rule("", rf"({_OWNER})\.(?:head|limit|take|first)\(\s*(\w+)\s*\)", "rows are chosen by their position",
         put="[x for x in \\1 if x.position < \\2]"),
    *(Rule("", rf"({_OWNER})\.(?:{old})(?:({ROUND})|\b)", f"`{new}` is a function, not a field", put=_method(new))
      for new, old in _METHODS.items()),
    Rule("", rf"({_OWNER})\.split\(\s*\)", "a text has no methods",
         help='`words(\\1)` is the number of words, and `split(\\1, ",")` the list of the parts between commas'),
    Rule("", rf"({_OWNER})\.(\w+)({ROUND})", "`\\2` is a function, not a field", put=_built_in),
    Rule("", rf"({_OWNER})\.(\w+)\b(?!\()", "a list of rows has no columns: its rows have", put="[x.\\2 for x in \\1]",
         sure=False, said="^a (?:dataset|list) has no"),
)  # fmt: skip
MEASURE = (
    Rule("", r"\bmedian\(([^(),\n]+)\)", "the median is a `quantile`", put="quantile(\\1, 0.5)"),
    Rule("", r"\b(?:percentile|quantiles)\(([^(),\n]+),\s*(\d+(?:\.\d+)?)\)", "a percentile is a `quantile`",
         put=_percentile),
    Rule("", r"\bpass_at_k\(([^(),\n]+),\s*(\d+)\)", "the chance of a hit in k draws is `at_least`",
         put="at_least(\\1, 1, of: \\2)"),
    Rule("", r"\bpass_at_k\(", "the chance of a hit in k draws is `at_least`",
         help="write `at_least(CONDITION, 1, of: 10)`"),
    Rule("", r"\b(?:variance|var|VAR)\(", "the spread of a number is its standard deviation, `sd`",
         help="write `sd(NUMBER)`"),
    *(Rule("", rf"(?<![\w.])(?P<at>({old}))\(", f"`\\1` is not a measure function: use `{new}`", put=f"{new}(",
           help=f"write `{new}(...)`") for new, old in _MEASURES.items()),
    Rule("", rf"(?<![\w.])(?P<at>({_RATES}))\((?=[^()\n]*(?:[<>=]|\bis\b|\bin\b))",
         "`\\1` is not a measure function: use `rate`", put="rate(", help="write `rate(...)`"),
    *(Rule("", rf"(?<![\w.])(?P<at>({old}))\(", f"`\\1` is not a measure function: use `{new}`", put=f"{new}(",
           help=f"write `{new}(...)`", sure=False) for new, old in _LIKE_MEASURES.items()),
    Rule("", rf"(\w+\()([^,\n]+)\)\s+given\s+({EXPR})(?=\s+by\b|\s*$)", "`given` is inside the brackets of a measure",
         put="\\1\\2 given \\3)"),
    Rule("", r"(rate|mean)\(([^,\n]+?)\s+given\s+([^,\n]+?)\)\s*-\s*\1\(\2\s+given\s+([^,\n]+?)\)",
         "a difference of two figures is a `contrast`", put="contrast(\\1(\\2), \\3, \\4)", sure=False),
    Rule("", rf"({PATH}{ROUND})\s*-\s*({PATH}{ROUND})", "a difference of two figures is a `contrast`",
         help="write `contrast(rate(CONDITION), AXIS is A, AXIS is B)`"),
    Rule("", r"(?<==)(\s*)1\s*-\s*rate\(([^\n,]*)\)(?=\s+by\b|\s*$)",
         "the share of the other rows is a `rate` of `not`", put="\\1rate(not (\\2))", unless=r"\bgiven\b"),
    Rule("", rf"(?<==)\s*(?:[\d.]+\s*[-+*/]\s*{PATH}{ROUND}|{PATH}{ROUND}\s*[-+*/])",
         "a measure is one function, not a computation",
         help="write `measure NAME = rate(CONDITION)`, and compute with its column in `emdsl query`"),
    Rule("", rf"({PATH}{ROUND})\.group_?by\(\s*\[?([\w., \"~]+?)\]?\s*\)", "the groups of a measure come after `by`",
         put="\\1 by \\2"),
    Rule("", rf"(?<==)(\s*)({SUM}\s*(?:==|!=|<=|>=|<|>)\s*{SUM})(?=\s+by\b|\s*$)",
         "a measure is a function: the share of a condition is its `rate`", put="\\1rate(\\2)",
         help="write `rate(\\2)`"),
    Rule("", rf"(?<==)(\s*)({PATH})(?=\s+by\b|\s*$)", "a measure is a function of a value", put="\\1mean(\\2)",
         sure=False, help="write `mean(\\2)` for a number, `rate(\\2)` for a condition"),
)  # fmt: skip
SETTINGS = (
    Rule("", r"^[ \t]*(?:model|subject)\s*=", "the model of a request comes after `from`", said="an `experiment` has",
         help="write `ask NAME from MODEL with PROMPT`"),
    Rule("", r"^[ \t]*(?:prompt|message|messages)\s*=", "the prompt of a request comes after `with`",
         help="write `ask NAME from MODEL with PROMPT`", said="an `experiment` has"),
    Rule("", rf"^[ \t]*({_PARAMETERS})\s*=", "an `experiment` has no setting `\\1`: a model or a step has it",
         help="write it in braces: `ask NAME from MODEL with PROMPT { \\1 = ... }`", said="an `experiment` has"),
    Rule("", r"^([ \t]*)(\w+)\s*=\s*(?=\[|\{|\d+\.\.\d)",
         "an `experiment` has no setting `\\2`: an axis is written with `for`", put="\\1for \\2 in ",
         help="write `for \\2 in ...`", said="an `experiment` has"),
    Rule("", r"^([ \t]*)(\w+)\s*=\s*(?=\S)", "an `experiment` has no setting `\\2`: a value is defined by `let`",
         put="\\1let \\2 = ", help="write `let \\2 = ...`", said="an `experiment` has"),
)  # fmt: skip
VALUES = (
    Rule("", r"\b(budget\s*=\s*)\"?\$?([\d_]+(?:\.\d+)?)\"?", "", put="\\1$\\2", plain=True, help="write `$\\2`"),
    Rule("", r"\b(scale\s*=\s*|\w+\s*:\s*)[\[(]?\s*\"?(\d+)\s*(?:-|,|to)\s*(\d+)\"?\s*[\])]?", "", put="\\1\\2..\\3",
         plain=True, help="write `\\2..\\3`, both ends included"),
    Rule("", r"\b(\w+\s*[=:]\s*)\"(\d[\d_]*(?:\.\d+)?)\"", "", put="\\1\\2", plain=True,
         help="write `\\2`, without quotes"),
    Rule("", rf"\b(?!choices\b)(\w+)\s*=\s*({SQUARE})", "",
         help="for an axis write `for \\1 in \\2`, and `\\1 = \\1` here"),
)  # fmt: skip
RULES: dict[str, tuple[Rule, ...]] = {
    "E143": NONE, "E845": NONE, "E505": NONE, "E210": LABELS, "E520": VALUES, "E415": calls.PROMPTS,
    "E201": (*UNKNOWN, *calls.NAMES, *calls.WORDS), "E215": (*calls.FIELDS, *FIELDS),
    "E841": (*calls.FIGURES, *MEASURE),
    "E202": (*SETTINGS, *calls.SETTINGS),
    "E120": (
        Rule("", r"(\"[^\"\n]*\{\}[^\"\n]*\")\.format\(([^()\n]*)\)", "a text has no methods: it has placeholders",
             put=_formatted, plain=True),
        Rule("", r"\{([\w.]+)!\w\}", "a placeholder is a name alone", put="{\\1}", plain=True),
        Rule("", r"\{([\w.]+):([^{}\n]*)\}", "a placeholder has no format", plain=True,
             help="round it in a `let`: `let text = round(\\1, 2)`, and write `{text}`"),
        Rule("", r"\{\s*([^{}\n]+?)\s*\}", "", plain=True,
             help="compute it in a `let`: `let value = \\1`, and write `{value}`"),
    ),
    "E207": (
        Rule("E218", r"\b((?:file|use|url|path)\s*=\s*)([\w-]+(?:[./-][\w-]+)+)", "a text is in quotes", put='\\1"\\2"',
             help='write `"\\2"`'),
    ),
    "E213": (
        *calls.INTERVALS,
        Rule("", r",\s*by:\s*\[?([\w., ]+?)\]?\s*\)", "the groups of a measure come after `by`, behind its brackets",
             put=") by \\1", help="write `by \\1` after the brackets"),
        Rule("", r"^([^,\n]*\([^,\n]*),\s*(?:where|filter|when|if|condition|only)\s*:\s*",
             "the rows of a measure are chosen by `given`", put="\\1 given ",
             help="write `given CONDITION`, without a comma"),
        Rule("", r"\b(?:ci|conf|confidence|error|intervals|level)\s*:", "the interval of a measure is `interval:`",
             put="interval:", sure=False, help="write `interval: wald(0.95)`"),
        Rule("", r"\b(?:ndigits|decimals|places)\s*:", "`round` calls it `digits`", put="digits:",
             help="write `digits:`"),
    ),
    "E217": (
        Rule("", rf"\bfrom\s+({SQUARE})", "expected a model after `from`, got a list",
             help="add the axis `for model in \\1`, and write `from model`"),
    ),
    "E412": (
        Rule("", r"^([ \t]*)(\w+)\s*=\s*(?=\[|\{|\d+\.\.\d)", "a `grid` has no settings: an axis is written with `for`",
             put="\\1for \\2 in ", help="write `for \\2 in ...`"),
    ),
    "E414": (
        Rule("", rf"\bwith\s+(?P<at>{TEXT})", "expected a rubric after `with`, got a text",
             help='declare `rubric NAME(answer) { scale = 0..100, user "..." }`, and write `with NAME(answer)`'),
    ),
    "E416": (
        Rule("", rf"^[ \t]*set\s+({_PARAMETERS})\s*=", "`set` needs the step of `\\1`",
             help="write `set STEP.\\1 = ...`"),
        Rule("", r"^([ \t]*)set(\s+(\w+)\s*=)", "`set` changes a parameter of a step: a value is defined by `let`",
             put="\\1let\\2", help="write `let \\3 = ...`"),
    ),
    "E506": (
        Rule("", rf"({PATH})(\s*[-+]\s*)(?P<at>({PATH}))", "", put="(if \\1 then 1 else 0)\\2(if \\4 then 1 else 0)",
             help="a condition is not a number: write `(if \\1 then 1 else 0)`", said="with a boolean and a boolean"),
        Rule("", rf"([-+]\s*)(?P<at>({PATH}))", "", put="\\1(if \\3 then 1 else 0)",
             help="a condition is not a number: write `(if \\3 then 1 else 0)`",
             said="with a (?:number|score) and a boolean"),
    ),
    "E509": (
        Rule("", rf"^([ \t]*)let\s+(\w+)\s*=\s*({PATH})\((.*)\)\s*$",
             "a model is not a function: an `ask` sends a request", put="\\1ask \\2 from \\3 with \\4",
             said="a model cannot", help="write `ask \\2 from \\3 with ...`"),
        Rule("", r"\bsample\(\s*([^(),\n]+),\s*([^(),\n]+)\)",
             "`sample` is the number of the draw: rows are drawn by `draw`", put="draw(\\1, \\2, seed: sample)"),
    ),
    "E511": (
        Rule("", rf"({OPERAND})\s*==\s*({OPERAND}(?:\s+or\s+(?:{TEXT}|\d+))+)", "`or` joins conditions, not values",
             put=_among),
        Rule("", r"(?P<at>(\w+))\s*,\s*\2\s+is\s+(\w+)(?=\s*[,)])",
             "the level that all others are compared with is `versus:`", put="\\2, versus: \\3"),
    ),
    "E840": (
        Rule("", rf"\bmean\(\s*\[?\s*({PATH}(?:\s*,\s*{PATH})+)\s*\]?\s*\)",
             "`mean` is a measure over rows, not a function of a list", put=_averaged),
        Rule("", r"\bmean\(\s*\[", "`mean` is a measure over rows, not a function of a list",
             help="write `(a + b) / 2`"),
    ),
    "E848": (
        Rule("", r"\bversus:\s*\"([A-Za-z_]\w*)\"", "no cell is on this side of the contrast: a label has no quotes",
             plain=True, put="versus: \\1", sure=False, help="write `versus: \\1`"),
    ),
    "E512": (
        Rule("", r"\bfor\s+(\w+)\s+in\s+(\"[^\"\n]*\")", "a file is read by a declaration", plain=True,
             help="write `dataset rows { file = \\2 }` at the top, and `for \\1 in rows`"),
    ),
    "E604": (
        Rule("", r"\"([\w.]+)\[(\d+)\]([\w.]*)\"", "", put='"\\1.\\2\\3"', plain=True,
             help='write the path with dots: `"\\1.\\2\\3"`'),
    ),
    "E701": (
        Rule("", r"(?:\bos\.)?(?:environ(?:\.get)?|getenv|env)\s*[\[(]\s*\"(\w+)\"[^\])\n]*[\])]", "", put="env.\\1",
             plain=True),
        Rule("", r"\bprocess\.env\.(\w+)", "", put="env.\\1"),
    ),
}  # fmt: skip
