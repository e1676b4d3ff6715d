"""The habits of other languages in statements that do not parse, as rules: Python, SQL, Jinja, YAML and JSON.

Rules are tried in their order: the special ones first.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from emdsl.lang.habits import Rule

if TYPE_CHECKING:
    from emdsl.lang.habits import Found

_WORDS = "if|else|elif|then|and|or|not|given|by|with|from|in|is|for|when|where|as|end|filter|having|between|like|limit"
TEXT = r'(?:"""~*"""|"~*")'
ROUND = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
SQUARE = r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]"
OPERAND = rf"(?:{TEXT}|-?\$?(?!(?:{_WORDS})\b)[\w.]+(?:{ROUND}|{SQUARE})*|{ROUND}|{SQUARE})"  # an operand
SUM = rf"{OPERAND}(?:\s*(?:[-+*/]|\.\.)\s*{OPERAND})*"
TEST = rf"(?:not\s+)?{SUM}(?:\s*(?:==|!=|<=|>=|<|>|\bin\b|\bnot\s+in\b|\bis\b(?:\s+not\b)?)\s*{SUM})?"
EXPR = rf"{TEST}(?:\s+(?:and|or)\s+{TEST})*"  # an expression without `if`
STMT, DECL = ("stmt",), ("decl",)
PATH = r"[A-Za-z_][\w.]*"


def _formatted(found: Found) -> str | None:
    """Return a text formatted by `%` as one with placeholders, if its values are names."""
    text, values = found[1], found[2].strip("()").split(",")
    names = [v.strip() for v in values if v.strip()]
    signs = re.findall(r"%[-+.\d]*[a-z]", text)
    if len(signs) != len(names) or not all(re.fullmatch(PATH, n) for n in names):
        return None
    for sign, name in zip(signs, names, strict=True):
        text = text.replace(sign, f"{{{name}}}", 1)
    return text


def _thousands(found: Found) -> str:
    return str(int(Decimal(found[1].replace("_", "")) * {"k": 1000, "m": 1_000_000}[found[2].lower()]))


def _share(found: Found) -> str:
    return f"{Decimal(found[1]) / 100:f}"


def _power(found: Found) -> str:
    return " * ".join([found[1]] * int(found[2]))


def _chain(found: Found) -> str:
    low, first, middle, second, high = (found[i] for i in range(2, 7))
    both = f"{low} {first} {middle} and {middle} {second} {high}"
    return f"not ({both})" if found[1] else both


def _chosen(found: Found) -> str:
    """Return levels chosen by a condition; the axis itself cannot be the name within the brackets."""
    axis, name = found[2], "r" if found[2] == "x" else "x"
    condition = re.sub(rf"(?<![.\w]){axis}(?!\w)", name, found[4])
    return f"{found[1]}[{name} for {name} in {found[3]} if {condition}]"


def _first_rows(found: Found) -> str:
    name = "r" if found[2] == "x" else "x"
    return f"{found[1]}[{name} for {name} in {found[3]} if {name}.position < {found[4]}]"


def _function(found: Found) -> str | None:
    """Return a function without a name as a `let`; without the word it must use its parameter."""
    name, word, params, body = (found[i] for i in range(1, 5))
    if not word.strip(" (") and not all(re.search(rf"\b{p.strip()}\b", body) for p in params.split(",")):
        return None
    return f"let {name}({params}) = {body}"


def _lower(found: Found) -> str:
    return found[0].lower()


_ARGUMENTS = (
    "interval|equal|effect|of|seed|scale|versus|correct|equivalent|cluster|metric|family|resamples|digits|between|share"
    "|top|mass"
)
TEXTS = (
    Rule("E144", rf"\b([fF])({TEXT})", "a text has no prefix `\\1`: every text fills in its placeholders", put="\\2",
         unless=r"\{[ \w.]*[^ \w.}]"),
    Rule("E144", rf"\b([uUbB])({TEXT})", "a text has no prefix `\\1`", put="\\2", unless=r"\{"),
    Rule("E144", rf"\b[rR]({TEXT})", "a text has no prefix `r`: write a backslash twice, or a `raw` text", put="\\1",
         unless=r"[\\{]"),
    Rule("E144", rf"({TEXT})\s*%\s*({ROUND}|{PATH})", "a text is not formatted with `%`: it has placeholders",
         put=_formatted, unless=r"\{"),
    Rule("E144", rf"({TEXT})\s*%(?=\s*\S)", "a text is not formatted with `%`: it has placeholders",
         help='insert a value with a placeholder: `"... {name} ..."`'),
    Rule("E215", r'\{(\w+)\["(\w+)"\]', "a placeholder has no brackets", put="{\\1.\\2", plain=True,
         help="write `{\\1.\\2}`"),
)  # fmt: skip
COMMENTS = (
    Rule("E140", r"^[ \t]*(?:/\*+|//+|--+)[ \t]*([^\n]*?)[ \t]*(?:\*/)?[ \t]*$", "a comment starts with `#`",
         put="# \\1", help="write `# \\1`"),
    Rule("E140", r"(?<=\S)[ \t]+(?:/\*+|//|--)[ \t]+([a-zA-Z]\w*[ \t]+\w[^\n]*?)(?:\*/)?$", "a comment starts with `#`",
         put="  # \\1", help="write `# \\1`"),
)  # fmt: skip
CONDITIONALS = (
    Rule("E148", rf"\b1\s+if\s+({EXPR})\s+else\s+0\b(?=\s*[,)]|\s+given\b)",
         "a condition counts by itself, without `if`", put="\\1", places=STMT),
    Rule("E148", rf"\bcase\s+when\s+({EXPR})\s+then\s+({EXPR})\s+else\s+({EXPR})\s+end\b",
         "`case` is not an expression: use `if`", put="if \\1 then \\2 else \\3"),
    Rule("E148", rf"({EXPR})\s+if\s+({EXPR})\s+else\s+({EXPR})", "a condition comes first: `if C then A else B`",
         put="if \\2 then \\1 else \\3", whole=True),
    Rule("E148", rf"\bif\s+({EXPR})\s*:\s*({EXPR})\s*;?\s*else\s*:\s*({EXPR})",
         "the value after a condition needs `then`, not `:`", put="if \\1 then \\2 else \\3"),
    Rule("E148", rf"\bif\s*({ROUND})\s*({EXPR})\s+else\s+({EXPR})", "the value after a condition needs `then`",
         put="if \\1 then \\2 else \\3"),
    Rule("E148", r"\b(?:elif|elsif|elseif)\b", "`elif` is written `else if`", put="else if"),
    Rule("E140", rf"(?<![\w)\]] )({EXPR})\s*\?\s*({EXPR})\s*:\s*({EXPR})",
         "`?` is not an operator: use `if a then b else c`", put="if \\1 then \\2 else \\3", whole=True),
)  # fmt: skip
SQL = (
    Rule("E147", r"\b(?:group(?:ed)?[ _]by|split by|per|over|across|for each|BY|GROUP BY|Group By)\b(?=\s*[\w(\[])",
         "the groups of a measure come after `by`", put="by", places=STMT,
         help="write `by`, then the names of the axes"),
    Rule("E147", r"\bby\s*(?:\(([\w., ]+)\)|\[([\w., ]+)\])", "the axes after `by` need no brackets", put="by \\1\\2",
         places=STMT),
    Rule("E147", r"\bby\s+(\w[\w.]*(?:\s*,\s*\w[\w.]*)*)\s+(?:and|&)\s+(\w[\w.]*)", "the axes after `by` need commas",
         put="by \\1, \\2", places=STMT),
    Rule("E147", r"(?<=measure )(\w+)\s+by\s+([\w., ]+?)\s*=\s*([^\n]*?)[ \t]*$", "`by` comes after the measure",
         put="\\1 = \\3 by \\2", places=STMT, help="write `measure \\0`"),
    Rule("E147", rf"\b(for\s+(\w+)\s+in\s+)({SUM})\s+(?:where|WHERE|if|when|filter|such that)\s+({EXPR})",
         "levels are chosen in brackets, by `if`", put=_chosen, places=STMT),
    Rule("E147", rf"\b(for\s+(\w+)\s+in\s+)({SUM})\s+(?:limit|LIMIT|top|first)\s+(\d+)",
         "`limit` does not exist: choose rows by their position", put=_first_rows, places=STMT, sure=False),
    Rule("E147", rf"\b(for\s+\w+\s+in\s+{SUM})\s+(?:order|sort|sorted|ORDER)\s*(?:by|BY)?\b[^\n]*",
         "levels have the order of their list: `order by` has no effect on results", put="\\1", places=STMT),
    Rule("E147",
         rf"(measure\s+\w+\s*=\s*\w+\()([^,\n]+)\)\s*(?:where|WHERE|having|HAVING|filter|if|when)\s+"
         rf"({EXPR})(\s+by\b[^\n]*)?$", "the rows of a measure are chosen by `given`, inside its brackets",
         put="\\1\\2 given \\3)\\4", places=STMT),
    Rule("E140", r"^[ \t]*measure\b[^\n]*[^|](?P<at>\|)(?!\|)", "`|` is not an operator: use `or`", places=STMT,
         help="write `or` between conditions, or `given` before a condition on the rows"),
    Rule("E147", r"\bby\s+([\w., ]+?)\s+(?:desc|asc|DESC|ASC)\b", "rows of results have the order of the levels",
         put="by \\1", places=STMT),
    Rule("E147",
         r"^([ \t]*measure\b[^\n]*?)(?P<at>,?[ \t]*\b(?:where|WHERE|having|HAVING|filter|FILTER|if|when|GIVEN|given)\b"
         r"[ \t]*:?)(?=[ \t])", "the rows of a measure are chosen by `given`", put="\\1 given", places=STMT,
         help="write `given CONDITION`"),
    Rule("E148", rf"({EXPR})\s+if\s+({EXPR})(?=\s*(?:$|[,)\]}}]))",
         "a value by condition needs both: `then` and `else`", put="if \\2 then \\1 else none", sure=False,
         help="write `if \\2 then \\1 else ...`", whole=True),
    Rule("E147", rf"\b(?:not\s+)?({OPERAND})\s+between\s+({SUM})\s+and\s+({SUM})",
         "`between` is written as two comparisons", put="\\1 >= \\2 and \\1 <= \\3", unless=r"^not\b", whole=True),
    Rule("E147", rf"({OPERAND})\s+(?:contains|includes|has|like|LIKE|ILIKE|matches)\s+({OPERAND})",
         "a part of a text is found by `in`", put="\\2 in \\1", unless=r"like|LIKE|matches", whole=True),
    Rule("E147", r"\b(?:is|IS)[ ]+(?:null|NULL)\b", "a missing value is tested by `is missing`", put="is missing"),
    Rule("E147", r"\b(?:is|IS)[ ]+(?:not|NOT)[ ]+(?:null|NULL)\b", "a missing value is tested by `is missing`",
         put="is not missing"),
    Rule("E147", r"\((?:select|SELECT)\s+\*\s+(?:from|FROM)\s+(\w+)\)",
         "rows need no `select`: write the name of the dataset", put="\\1"),
    Rule("E147", r"(?<=measure )(\w+\([^\n]*\)|\w+) as (\w+)", "a name comes before its value", put="\\2 = \\1",
         places=STMT, help="write `measure \\0`"),
    Rule("E147", rf"(?<=let )({EXPR}) as (\w+)", "a name comes before its value", put="\\2 = \\1",
         help="write `let \\0`"),
    Rule("E147", r"^[ \t]*(?:select|SELECT)\s+(.+?)\s+(?:as|AS)\s+(\w+)", "a result is a `measure`, not a `select`",
         put="measure \\2 = \\1", places=STMT),
    Rule("E147", r"\b(?:select|SELECT)\s+(\w+\([^\n]*)", "a measure needs no `select`", put="\\1", places=STMT),
    Rule("E147", r"\bcount\(\s*\*\s*\)", "`count` needs a condition", put="count(CONDITION)", places=STMT, sure=False,
         help="write `count(CONDITION)`; the column `n` of every measure has the number of draws"),
    Rule("E147", r"\b(AND|OR|NOT|IN|IS|IF|THEN|ELSE|BY|FOR|WHEN|WITH|FROM)\b",
         "words of the language are in lower case", put=_lower),
)  # fmt: skip
OPERATORS = (
    Rule("E149", rf"\b(not\s+)?({SUM})\s*(<=|<|>=|>|==)\s*({SUM})\s*(<=|<|>=|>|==)\s*({SUM})",
         "comparisons do not chain: join two by `and`", put=_chain, whole=True),
    Rule("E140", r"===", "`===` is not an operator: use `==`", put="=="),
    Rule("E140", r"!==", "`!==` is not an operator: use `!=`", put="!="),
    Rule("E140", r"<>", "`<>` is not an operator: use `!=`", put="!="),
    Rule("E140", r"=>", "`=>` is not an operator: use `>=`", put=">="),
    Rule("E140", r"=<", "`=<` is not an operator: use `<=`", put="<="),
    Rule("E140", "\u2265", "`\u2265` is not an operator: use `>=`", put=">="),
    Rule("E140", "\u2264", "`\u2264` is not an operator: use `<=`", put="<="),
    Rule("E140", "\u2260", "`\u2260` is not an operator: use `!=`", put="!="),
    Rule("E140", "[\u00d7\u2217]", "this sign is not an operator: use `*`", put="*"),
    Rule("E140", "[\u2212\u2013]", "this sign is not an operator: use `-`", put="-"),
    Rule("E140", rf"({SUM})\s*//\s*({OPERAND})", "`//` is not an operator: `/` is exact, and `round` makes it whole",
         help="write `\\1 / \\2`, or `round(\\1 / \\2)` for the nearest whole number", whole=True),
    Rule("E140", rf"({OPERAND})\s*\*\*\s*([2-4])\b", "`**` is not an operator: multiply", put=_power, unless=r"\)",
         whole=True),
    Rule("E140", r"\*\*|\^", "a power is not an operator: multiply by `*`",
         help="write `x * x`, or use a `python` function"),
    Rule("E140", r"\?\?|\?:", "a missing value is replaced by `else`", put="else"),
    Rule("E140", r"\s*:=\s*", "`:=` is not a sign: a name gets its value by `=`", put=" = "),
    Rule("E142", rf"\b({_ARGUMENTS})\s*=(?!=)\s*", "an argument is written `name: value`, not with `=`", put="\\1: ",
         help="write `\\1:`"),
    Rule("E142", rf"^([ \t]*measure\b[^\n]*\((?:[^\n]*\b(?:and|or|not|given)\s+)?)({PATH})\s*=(?!=)\s*(?={OPERAND})",
         "`=` is not a comparison", put="\\1\\2 == ", places=STMT, help="write `==`"),
    Rule("E142", r"^([ \t]*(?:skip[ \t]+when|when)\b[^\n=]*?\w)(?P<at>\s*=(?!=)\s*)(?=\S)", "`=` is not a comparison",
         put="\\1 == ", help="write `==`"),
    Rule("E142", r"(\{[^{}()]*?)([A-Za-z_]\w*|\"~*\")\s*=(?!=)\s*", "an entry is written `label: value`, not with `=`",
         put="\\1\\2: ", help="write `\\2:`"),
    Rule("E142", r"\bndigits\s*=\s*", "an argument is written `name: value`, not with `=`", put="digits: ",
         help="write `digits:`"),
    Rule("E142", r"(?<=[(,])(\s*)(\w+)\s*=(?!=)\s*", "an argument is written `name: value`, not with `=`",
         put="\\1\\2: ", sure=False, help="write `\\2:`, or `==` to compare"),
    Rule("E142", r"(?<=\w) *==(?= )", "`==` compares values: use `=` to define a name", put=" =", help="write `=`"),
)  # fmt: skip
NUMBERS = (
    Rule("E140", rf"({PATH})->(\w+)", "a field is read with a dot", put="\\1.\\2", help="write `\\1.\\2`"),
    Rule("E155", rf"\{{(\s*{OPERAND}(?:\s*,\s*{OPERAND})+)\s*\}}", "a list has square brackets", put="[\\1]"),
    Rule("E155", r"([{,]\s*)(\w+|\"~*\")\s*(?:=>|->)\s*", "an entry is written `label: value`", put="\\1\\2: ",
         help="write `\\2:`"),
    Rule("E153", r"(?<![\w.)\]])\.(\d+)", "a number starts with a digit", put="0.\\1"),
    Rule("E153", r"\b(\d[\d_]*(?:\.\d+)?)([kKmM])\b", "a number has no `\\2`", put=_thousands),
    Rule("E153", r"(?<==)(\s*\d{1,3}),(\d{3})(?=\s*(?:$|[}#\n]))", "a number has no commas", put="\\1_\\2"),
    Rule("E153", r"(?<![\w.])(\d+(?:\.\d+)?)\s*%(?=\s*(?:[,)\]}]|$))", "a share is a number from 0 to 1", put=_share),
    Rule("E153", r"(?<![\w$.])(\d[\d_]*(?:\.\d+)?)\s*(?:USD|usd|dollars?|Dollars?|US\$|\$)",
         "an amount of money starts with `$`", put="$\\1"),
    Rule("E153", r"(?:USD|usd|US\$)\s*(\d[\d_]*(?:\.\d+)?)", "an amount of money starts with `$`", put="$\\1"),
    Rule("E153", "[\u20ac\u00a3\u00a5]\\s*(\\d[\\d_]*(?:\\.\\d+)?)", "amounts of money are in US dollars", put="$\\1",
         sure=False),
    Rule("E154", rf"({PATH})\s*\[\s*(?:0\s*)?:\s*(\w+)\s*\]", "a list has no slices",
         help="choose rows by position: `[x for x in \\1 if x.position < \\2]`, or `draw(\\1, \\2, seed: sample)`"),
    Rule("E154", rf"({PATH})\s*\[[^\[\]]*:[^\[\]]*\]", "a list has no slices",
         help="choose rows by position: `[x for x in \\1 if x.position >= 3]`"),
    Rule("E154", r"\b(\d+)\s*(?:\.\.\.|\bto\b|\bthrough\b|:|\u2013)\s*(\d+)\b",
         "a range is written with `..`, both ends included", put="\\1..\\2"),
)  # fmt: skip
LISTS = (
    Rule("E140", rf"({PATH})\.map\(\s*(?:lambda\s+)?\(?(\w+)\)?\s*(?:=>|->|:)\s*({EXPR})\s*\)",
         "a list is made with `for`", put="[\\3 for \\2 in \\1]"),
    Rule("E140", rf"({PATH})\.filter\(\s*(?:lambda\s+)?\(?(\w+)\)?\s*(?:=>|->|:)\s*({EXPR})\s*\)",
         "a list is chosen with `for` and `if`", put="[\\2 for \\2 in \\1 if \\3]"),
    Rule("E140", rf"\bmap\(\s*({PATH})\s*,\s*\(?(\w+)\)?\s*(?:=>|->)\s*({EXPR})\s*\)", "a list is made with `for`",
         put="[\\3 for \\2 in \\1]"),
    Rule("E140", rf"\bmap\(\s*lambda\s+(\w+)\s*:\s*({EXPR})\s*,\s*({PATH})\s*\)", "a list is made with `for`",
         put="[\\2 for \\1 in \\3]"),
    Rule("E140", rf"\((\(?)({EXPR})\s+(for\s+\w+\s+in\s+{SUM}(?:\s+if\s+{EXPR})?)\)?(?=\s*[,)])",
         "a list has square brackets", put=lambda f: f"([{f[2]} {f[3]}]"),
    Rule("E140", rf"({PATH})\.(\d+)\b", "an item of a list is read with `[]`", put="\\1[\\2]"),
)  # fmt: skip
FUNCTIONS = (
    Rule("E152", rf"(?:let\s+)?\b(\w+)\s*=\s*(lambda\s+|function\s*\(?|\(?)([\w, ]+?)\)?\s*(?::|=>|->)\s*({EXPR})",
         "a function is a `let` with parameters", put=_function),
    Rule("E152",
         r"^[ \t]*(?:def|function|fn|func|fun)\s+(\w+\([\w, ]*\))\s*(?::|=|\{|->[^{:\n]*:)?\s*(?:return\s+)?(.+?)"
         r"\s*;?\s*\}?\s*$", "a function is a `let` with parameters", put="let \\1 = \\2"),
    Rule("E152", r"^[ \t]*def\s+(\w+\([\w, ]*\))\s*:\s*$", "a function is a `let`, and messages are a `prompt`",
         help='write `prompt \\1 { user "..." }` for messages, `let \\1 = ...` for a value', places=DECL),
    Rule("E152", rf"(?<=let )(\w+)\s*:\s*{PATH}(\s*=)", "a value has no declared type", put="\\1\\2",
         help="write `let \\1 = ...`"),
)  # fmt: skip
EXPRESSIONS = (
    *COMMENTS, *TEXTS, *FUNCTIONS, *CONDITIONALS, *LISTS, *SQL, *OPERATORS, *NUMBERS,
)  # fmt: skip
