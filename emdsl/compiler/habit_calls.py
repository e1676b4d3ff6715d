"""The habits of other tools in names and functions of programs that parse: promptfoo, lm-eval, pandas, JavaScript."""

from __future__ import annotations

from emdsl.lang.habit_rules import EXPR, PATH
from emdsl.lang.habits import Rule

_ARG = rf"\s*({EXPR})\s*"
_LIKE = {  # functions by their names elsewhere, where the arguments can have another order
    "matches": "regex|regexp|rlike|grepl|str_detect|regex_match|match|test_regex|REGEXP_LIKE",
    "find": "extract|regexp_extract|str_extract|regex_find|search|regex_search|capture",
    "exact": "equals|exact_match|is_equal|equal", "includes": "icontains|contains_any|includes_any",
    "close": "isclose|almost_equal|approx|allclose", "shuffle": "shuffled|permute|permutation|randomize",
}  # fmt: skip
_PYTHON = (
    "log|log10|log2|sqrt|exp|floor|ceil|ceiling|similarity|cosine|cosine_similarity|embed"
    "|embedding|levenshtein|edit_distance|bleu|rouge|f1|bertscore|sentiment|detect_language|readability"
)
_OUTPUT = "outputs?|responses?|completions?|generations?|replies|reply|predictions?|model_output|llm_output"
_ITEM = "vars|item|row|record|doc|example|inputs?|datum|test_case|metadata"
_JUDGE = "classify|judge|score|grade|evaluate|llm_judge|llm|g_eval|model_graded|rubric"
_TEST = "t_?test|ttest_ind|p_?value|anova|mannwhitneyu?|chi2|chisq|wilcoxon|significance|cohens_d|z_?test"
_DRAWS = "n|samples|repeats?|epochs|num_samples|n_samples|times"
_MESSAGES = 'declare `prompt NAME(question) { system "..." user question }`, and write `with NAME(...)`'
NAMES = (
    Rule("", rf"\b(?:int|float|parseInt|parseFloat|Number|to_number|as_number|Decimal)\({_ARG}\)",
         "a number in a text is read by `number`", put="number(\\1)", sure=False),
    Rule("", r"\b(?:json\.loads|json|JSON\.parse|parse_json|from_json|fromjson|json_extract)\(",
         "fields of an answer are read by its `shape`",
         help="write `ask NAME from MODEL with PROMPT { shape = { score: 0..10 } }`, and `NAME.score`"),
    Rule("", rf"\b(?:string|text|String|to_string|toString|as_text|as_string|repr)\(\s*({PATH})\s*\)",
         "a value is inserted into a text by a placeholder", put='"{\\1}"'),
    Rule("", rf"(?<![\w.])(?P<at>({_PYTHON}))\(", "`\\1` is not a function of the language",
         help='declare one in Python: `python \\1(x) from "hooks.py"`'),
    Rule("", r"\b(?:np\.)?(?:linspace|arange|seq|logspace)\(", "the numbers of an axis are listed",
         help="write `[0, 0.25, 0.5]`, or `0..10` for whole numbers"),
    Rule("", r"(?<![\w.])(?P<at>(?:datetime\.\w+|date|now|today|time|uuid\w*|timestamp))\(",
         "nothing in a study depends on the clock", help="write the value itself; the results have `answered_at`"),
    Rule("", r"(?<![\w.])(?P<at>((?:math|np|numpy|scipy|statistics|datetime|time|nltk)(?:\.\w+)*\.(\w+)))\(",
         "`\\1` is not a function of the language", help='declare one in Python: `python \\3(x) from "hooks.py"`'),
    Rule("", rf"(?<![\w.])(?:this|self|cell|context|ctx|locals|globals)\.({PATH})", "a name stands alone", put="\\1"),
    Rule("", r"(?:\bos\.)?(?:environ(?:\.get)?|getenv)\s*[\[(]\s*\"(\w+)\"[^\])\n]*[\])]",
         "a variable of the environment is written `env.\\1`", plain=True,
         help="write `env.\\1` in the `key`, `url` or `headers` of a model"),
    Rule("",
         r"\b(?:file|include|readFile|read_text|load_file|from_file|read_lines|load_jsonl|read_parquet|pd\.read_\w+)\(\s*"
         r"(\"[^\"\n]*\")", "a file is read by a declaration", plain=True,
         help="write `dataset NAME { file = \\1 }` at the top, and `NAME` here"),
    Rule("", rf"\b(?:first|head)\(\s*({PATH})\s*\)", "an item of a list is read with `[]`", put="\\1[0]", sure=False),
    Rule("", rf"\b(?:lines|splitlines|split_lines)\(\s*({PATH})\s*\)", "a text is cut into a list by `split`",
         help='write `split(\\1, "\\n")`'),
    Rule("", r"\b(?P<at>(substring|substr|slice|left|right|mid|SUBSTR|truncate))\(",
         "`\\1` is not a function: a text has no slices", help='find a part of a text with `find(text, "pattern")`'),
    Rule("", r"\b(?:is_?refus\w+|refused|refusal|isRefusal)\(", "a refusal is read by a judge",
         help='write `refusal = "REFUSAL"` in its rubric, and `NAME is REFUSAL` here'),
    Rule("", rf"(?<![\w.])(?P<at>({_JUDGE}))\(", "`\\1` is not a function: a judge is a statement",
         help="write `judge NAME with RUBRIC(question, answer) from MODEL`"),
    Rule("", rf"\b(?:isNaN|is_nan|is_none|isNone|missing|is_empty)\({_ARG}\)",
         "a missing value is tested by `is missing`", put="\\1 is missing"),
    Rule("", rf"\b(?:exists|defined|notna|notnull|is_defined|has_value)\({_ARG}\)",
         "a missing value is tested by `is missing`", put="\\1 is not missing"),
    Rule("", r"\bseed\s*=\s*(?P<at>(?:random|auto|now|time)\b)", "a `seed` is a number", help="write `seed = 1`"),
    *(Rule("", rf"(?<![\w.])(?P<at>({old}))\(", f"`\\1` is not a function: use `{new}`", put=f"{new}(", sure=False,
           help=f"write `{new}(...)`") for new, old in _LIKE.items()),
)  # fmt: skip
WORDS = (  # only where no name of the program is near
    Rule("", rf"(?<![\w.])(?P<at>({_OUTPUT}))\b(?!\s*\()", "unknown name `\\1`: an answer has the name of its `ask`",
         help="write the name after `ask`, such as `answer`"),
    Rule("", rf"(?<![\w.])(?P<at>({_ITEM}))\.(\w+)", "unknown name `\\1`: a row has the name after `for`",
         help="write `q.\\3` if the axis is `for q in DATASET`"),
    Rule("", r"(?<![\w.])(?P<at>(yes|Yes|on|On))\b(?!\s*[(:=])", "unknown name `\\1`: a truth value is `true`",
         help='write `true`, or `"\\1"` for a text'),
    Rule("", r"(?<![\w.])(?P<at>(no|No|off|Off))\b(?!\s*[(:=])", "unknown name `\\1`: a truth value is `false`",
         help='write `false`, or `"\\1"` for a text'),
)  # fmt: skip
FIELDS = (
    Rule("", rf"({PATH})\.get\(\s*\"(\w+)\"[^()\n]*\)", "a column is read with a dot", put="\\1.\\2", plain=True),
    Rule("", rf"(?<= in )({PATH})\.(?:items|keys|values|rows|iterrows|to_dict|tolist|all)\b(?:\(\))?",
         "a dataset is the list of its rows", put="\\1", said="a (?:dataset|list)"),
    Rule("", rf"({PATH})\.(?:shuffle|sort_values|sort|sorted|order_by|orderBy|sort_by)\b",
         "levels have the order of their list", said="a (?:dataset|list)",
         help="write `\\1`: the order has no effect on results; `draw(\\1, k, seed: sample)` draws rows"),
    Rule("", rf"({PATH})\.(?:ask|generate|complete|chat|call|predict|invoke|query)\b",
         "a model is not called: an `ask` sends a request", said="a model has no",
         help="write `ask NAME from \\1 with PROMPT`"),
    Rule("", r"\.(?P<at>json)\b(?:\.(\w+))?", "fields of an answer are read by its `shape`", said="an answer has no",
         help="write `ask NAME from MODEL with PROMPT { shape = { \\2: 0..10 } }`, and `NAME.\\2`"),
    Rule("", rf"({PATH})\.(?:value|str|string|completion_text)\b(?!\()", "an answer is its text, without a field",
         put="\\1", said="an answer has no"),
)  # fmt: skip
FIGURES = (
    Rule("", rf"\b(?:exact_match|em|accuracy|is_correct|correct|match)\(\s*({PATH})\s*,\s*({PATH})\s*\)",
         "an answer is scored in a `let`", help="write `let correct = exact(\\1, \\2)`, and `rate(correct)` here"),
    Rule("", rf"\b(?:{_TEST})\(", "two groups are compared by `contrast`, with a p-value",
         help="write `contrast(mean(SCORE), AXIS is A, AXIS is B)`"),
    Rule("", r"(?<==)\s*(?P<at>(max|min|maximum|minimum|MAX|MIN))\(", "`\\1` is not a measure: use `quantile`",
         help="write `quantile(NUMBER, 0.95)`, or `max` and `min` of columns in `emdsl query`"),
    Rule("", r"\b(?:ci|confidence_interval|bootstrap|sem|stderr|std_err|conf_int)\(", "every figure has its interval",
         help="write `mean(NUMBER)`; `interval:` chooses another method"),
    Rule("", r"(?<==)\s*(?:n|N|size|len|length|nrow|n_rows)\(", "every figure has its number of draws, `n`",
         help="write `rate(CONDITION)` or `count(CONDITION)`"),
    Rule("", rf"(?<==)\s*(?P<at>({_PYTHON}))\(", "`\\1` is not a measure: a score is computed in a `let`",
         help='declare `python \\1(text, target) -> number from "hooks.py"`, and write `mean(value)` for its `let`'),
    Rule("", rf"(?<==)(\s*)({PATH})\.(mean|sd|count|rate)\(\s*\)", "a measure is a function, not a field",
         put="\\1\\3(\\2)"),
)  # fmt: skip
SETTINGS = (
    Rule("", rf"(?P<at>\b(?:{_DRAWS}))\s*=", "the number of draws is a setting of the experiment", said="an `ask` has",
         help="write `samples = 5` in the experiment"),
    Rule("", r"(?P<at>\b(?:system|system_prompt|instructions?|messages|developer))\s*=",
         "messages with roles are a `prompt`", said="an `ask` has", help=_MESSAGES),
    Rule("", r"(?P<at>\bmodel)\s*=", "the model comes after `from`", said="an? `(?:ask|judge)` has",
         help="write `ask NAME from MODEL with PROMPT`"),
    Rule("", r"(?P<at>\b(?:response_format|json_schema|format|schema|output_format|structured_output))\s*=",
         "the form of an answer is its `shape`", said="an `ask` has",
         help="write `shape = { score: 0..10, note: text }`"),
    Rule("", r"(?P<at>\b(timeout|retries|max_retries|parallel|url|key|api_key|base_url|rpm|tpm))\s*=",
         "an `ask` has no setting `\\1`: its model has such settings", said="an `ask` has",
         help='write it in `model NAME { use = "provider/model" ... }`'),
)  # fmt: skip
PROMPTS = (Rule("", r"\bwith\s*(?P<at>[\[{])", "messages with roles are a `prompt`", help=_MESSAGES),)
INTERVALS = (
    Rule("", r",\s*(?P<at>(0?\.\d+))\s*\)", "an interval has a name and a method", help="write `interval: wald(\\1)`"),
)  # fmt: skip
