"""The habits of other languages in steps, measures and axes that do not parse: conditions after them, roles, steps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emdsl.lang.habit_rules import EXPR, OPERAND, PATH, STMT, SUM, TEXT
from emdsl.lang.habits import Rule

if TYPE_CHECKING:
    from emdsl.lang.habits import Found

_STEP = r"(?:ask|judge)\s[^\n]*?"
_DRAWS = "n|samples|repeat|times|num_samples|epochs"
_NO_AXIS = "and|given|where|when|if|with|order|limit|desc|asc"
_ERRORS = "ci|CI|se|SE|sd|error|errors|interval|intervals|confidence"
_STATEMENTS = "for|skip|grid|set|let|ask|judge|when|measure"
_TYPES = "int|float|str|string|number|bool|double|text|def|char|final|static"
_ROLE = "system|user|assistant|messages"
_FIGURES = "rate|mean|sd|count|shares|slope|agreement|correlation|quantile|at_least|contrast"
_FUNCTIONS = f"trim|lower|upper|len|words|sentences|number|choice|round|{_FIGURES}"


def _block(found: Found) -> str:
    """Return a step with a condition behind it as a block."""
    indent, step, word, condition = (found[i] for i in range(1, 5))
    condition = f"not ({condition})" if word == "unless" else condition
    return f"{indent}when {condition} {{\n{indent}  {step}\n{indent}}}"


def _block_before(found: Found) -> str:
    """Return a step with a condition before it as a block."""
    return f"{found[1]}when {found[2]} {{\n{found[1]}  {found[3].rstrip(' }')}\n{found[1]}}}"


def _set_each(found: Found) -> str | None:
    """Return a `set` of several parameters as one statement for each."""
    lines: list[str] = []
    for part in filter(str.strip, found[3].split(",")):
        name, _, value = part.partition("=" if "=" in part else ":")
        name = name.strip(' "')
        lines.append(f"{found[1]}set {found[2]}.{name} = {value.strip()}")
    return "\n".join(lines)


def _lets(found: Found) -> str | None:
    """Return a `let` of several names as one for each."""
    names, values = found[2].split(","), found[3].split(",")
    if len(names) != len(values):
        return None
    return "\n".join(f"{found[1]}let {n.strip()} = {v.strip()}" for n, v in zip(names, values, strict=True))


def _steps(found: Found) -> str | None:
    """Return a range with a step as a list."""
    low, high, step = int(found[1]), int(found[2]), int(found[3])
    numbers = range(low, high + 1, step) if step else ()
    return f"[{', '.join(map(str, numbers))}]" if 0 < len(numbers) <= 20 else None


def _unquoted(found: Found) -> str:
    return f"{found[1]}{found[2][1:-1]}"


def _underscored(found: Found) -> str:
    return f"{found[1]}{found[2].replace('.', '_')}"


def _piped(found: Found) -> str:
    """Return a pipe of functions as calls."""
    value = found[1]
    for name in re.findall(r"\w+", found[2]):
        value = f"{name}({value})"
    return value


STEPS = (
    Rule("E150", rf"^([ \t]*)({_STEP})\s+(when|if|unless)\s+({EXPR})[ \t]*$",
         "a condition of a step is a block around it",
         put=_block, places=STMT, help="write `when CONDITION { ... }` around the step"),
    Rule("E150", rf"^([ \t]*)(?:when|if)\s+({EXPR})\s*(?::|then\b)?\s*({_STEP}\S)[ \t]*$",
         "a condition of a step is a block around it", put=_block_before, places=STMT,
         help="write `when CONDITION { ... }` around the step"),
    Rule("E151", rf"\bwith\s+user\s*:?\s*({TEXT})\s*$", "a text alone is the message of the user", put="with \\1",
         places=STMT),
    Rule("E151", rf"\bwith\s+[{{(\[]?\s*\"?(?:{_ROLE})\"?\s*[:=]?\s*[\"\[{{\w]", "messages with roles are a `prompt`",
         help='declare `prompt NAME(question) { system "..." user question }`, and write `with NAME(...)`',
         places=STMT),
    Rule("E151", rf"^[ \t]*(?:ask|judge)\s[^\n{{]*?(?P<at>[\s,]+\{{?\s*(?:{_DRAWS})\s*[=:])",
         "the number of draws is a setting of the experiment", places=STMT,
         help="write `samples = 5` on a line of its own"),
    Rule("E151", r"^[ \t]*(ask|judge)\s+\w+\s*(?P<at>,)\s*\w+", "each step has one name", places=STMT,
         help="write a second `\\1` for the other name"),
    Rule("E151", rf"^[ \t]*(?:ask|judge)\s[^\n]*?\s(?P<at>for\s+\w+\s+in\s+{SUM})[ \t]*$",
         "an axis is a statement of its own", places=STMT,
         help="write the `for` on a line of its own, before the step"),
    Rule("E151", r"^([ \t]*ask)\s+\w+(\s+from\s[^\n]*?)\s+as\s+(\w+)[ \t]*$", "the name comes after `ask`",
         put="\\1 \\3\\2", places=STMT),
    Rule("E151", r"^[ \t]*judge\s+\w+\s+(?P<at>from)\b(?![^\n]*\bwith\b)[^\n]*$",
         "the rubric of a judge comes after `with`", places=STMT,
         help="write `judge NAME with RUBRIC(question, answer) from MODEL`"),
    Rule("E155", r"\bfrom\s+(?P<at>([A-Za-z]\w*(?:[-/:.]\w+)+))(?=\s+with\b|\s*$|\s*\{)",
         "the name of a model is in quotes",
         put='from "\\2"', places=STMT, sure=False, plain=True, help='write `"\\2"`, with its provider before a `/`'),
    Rule("E151", r"^[ \t]*let\s+(\w+)\s*=\s*(?P<at>(?:ask|await|query|generate|call)\b)",
         "a request is a statement, not a value", places=STMT, help="write `ask \\1 from MODEL with PROMPT`"),
    Rule("E151", r"^([ \t]*)set\s+(\w+)\s*\{([^{}\n]*)\}[ \t]*$", "a `set` changes one parameter of a step",
         put=_set_each, places=STMT, help="write `set \\2.PARAMETER = value`, one for each parameter"),
)  # fmt: skip
FIGURES = (
    Rule("E147", rf"\bby\s+({PATH}(?:\s*,\s*{PATH})*)[ \t]+(?!(?:{_NO_AXIS})\b)({PATH})[ \t]*$",
         "the axes after `by` need commas", put="by \\1, \\2", places=STMT),
    Rule("E147", r"\b(by\s+)(\"\w+\")", "an axis after `by` is a name, without quotes", put=_unquoted, places=STMT,
         plain=True),
    Rule("E147", r"\bby\s+(\w+)\[\"(\w+)\"\]", "a column of an axis is read with a dot", put="by \\1.\\2", plain=True,
         places=STMT),
    Rule("E147", r"\s+by\s+(?:\*|\(\s*\))[ \t]*$", "without `by` a measure has one figure for all rows", put="",
         places=STMT, help="leave `by` out"),
    Rule("E147", rf"^([ \t]*measure\s+\w+\s*=\s*\w+\()([^,\n]+)\)(\s+by\s+[\w., ]+?)\s*,?\s*"
         rf"(?P<at>given|where|WHERE|if|when|having)\s+({EXPR})[ \t]*$",
         "the rows of a measure are chosen by `given`, inside its brackets", put="\\1\\2 given \\5)\\3", places=STMT),
    Rule("E147", rf"\s*,?\s*(?:\u00b1|\+/-|\+-|with)\s*(?:{_ERRORS})\b[^\n]*$",
         "every figure has its interval", put="", places=STMT, unless=r"\d",
         help="leave it out, or write `interval: wald(0.95)` inside"),
    Rule("E147",
         r"^([ \t]*measure\b[^\n]*?)\s+(?P<at>(?:order|sort|ORDER|limit|LIMIT|top)\s+(?:(?:by|BY)\s+)?[\w. ]+)$",
         "rows of results have the order of the levels", put="\\1", places=STMT,
         help="leave it out; `emdsl query` can sort"),
    Rule("E147", r"\s+as\s+(?:percent|percentage|pct|%|number|float|int|text|string|str)\b", "a value is not converted",
         put="", help="leave it out", sure=False),
    Rule("E151", r"^([ \t]*measure\s+\w+)\s*\(([\w., ]+)\)\s*=\s*([^\n]+?)[ \t]*$",
         "the groups of a measure come after `by`",
         put="\\1 = \\3 by \\2", places=STMT),
    Rule("E151", r"^([ \t]*measure\s+\w+\s*=\s*)\{\s*([^{}\n]*)\}", "a measure has no braces", put="\\1\\2",
         places=STMT),
    Rule("E151", r"^[ \t]*(?P<at>(?:metrics|measures|outputs|results|asserts?|tests?))\s*[:{\[]",
         "each figure is a `measure` of its own", places=STMT, help="write `measure NAME = rate(CONDITION)`"),
    Rule("E151", r"^[ \t]*(?P<at>(?:axes|params|parameters|variables|vars|matrix|factors|levels))\s*[:{\[]",
         "each axis is a `for` of its own", places=STMT, help="write `for NAME in [1, 2]`"),
    Rule("E105", rf"^([ \t]*)(?P<at>(?:assert|expect|check|require|ensure))\b\s*\(?\s*({EXPR})\)?[ \t]*$",
         "`\\2` is not a statement: a condition on answers is counted by a `measure`",
         put="\\1measure passed = rate(\\3)",
         places=STMT, sure=False, help="write `measure NAME = rate(CONDITION)`"),
)  # fmt: skip
AXES = (
    Rule("E154", r"\b(\d+)\s*\.\.\s*(\d+)\s+(?:step|by|steps?\s+of|stride)\s+(\d+)\b",
         "a range has no step: list its numbers",
         put=_steps, places=STMT),
    Rule("E154", r"\.\.\s*[\d.]+\s+(?P<at>step|by|stride)\b", "a range has no step", places=STMT,
         help="list the numbers: `[0, 0.25, 0.5]`"),
    Rule("E151", rf"^([ \t]*)(?:grid\s+)?(?!(?:{_STATEMENTS})\b)(\w+)\s+in\s+({SUM})[ \t]*$",
         "an axis starts with `for`", put="\\1for \\2 in \\3", places=STMT),
    Rule("E151", r"^([ \t]*for\s+)(\w+)(\s+in\s+[^\n]+?)\s+as\s+(\w+)[ \t]*$", "the name of an axis comes after `for`",
         put="\\1\\4\\3", places=STMT, sure=False),
    Rule("E151", r"^([ \t]*for\s+\w+\s+in\s+[^\n]+?)\s+do[ \t]*$", "an axis has no `do`", put="\\1", places=STMT),
    Rule("E151", rf"^([ \t]*skip)\s+unless\s+({EXPR})[ \t]*$", "`unless` is written `when not`",
         put="\\1 when not (\\2)",
         places=STMT),
    Rule("E151", rf"^([ \t]*skip\s+when\s+{EXPR})\s*,\s*({EXPR})[ \t]*$", "conditions are joined by `and`",
         put="\\1 and \\2", places=STMT),
    Rule("E151", r"^([ \t]*samples\s*=\s*\d+)\s+(?:per|for|x|times|each|samples)\b[^\n]*$",
         "`samples` is for each cell",
         put="\\1", places=STMT),
)  # fmt: skip
NAMES = (
    Rule("E151", r"^([ \t]*)let\s+(\w+(?:\s*,\s*\w+)+)\s*=\s*([^\n\[\](){}\"]+)$", "each `let` has one name",
         put=_lets),
    Rule("E140", r"^[ \t]*(?:let\s+)?(\w+)\s*(?P<at>[-+*/])=", "a name keeps its value",
         help="define another name: `let more = \\1 \\2 1`"),
    Rule("E151", rf"^([ \t]*let\s+\w+)\s+(?:is|be|as|to|equals)\s+(?={OPERAND})", "a name gets its value by `=`",
         put="\\1 = "),
    Rule("E151", r"^([ \t]*let\s+\w+)[ \t]+(?=[\d\"\[{-])", "a name gets its value by `=`", put="\\1 = "),
    Rule("E155", r"^([ \t]*let\s+)(\w+(?:\.\w+)+)(?=\s*=)", "a name has no `.`", put=_underscored),
    Rule("E152", r"^([ \t]*(?:let|measure|ask|judge|model|dataset|prompt|rubric)\s+)(\"[A-Za-z_]\w*\")",
         "a name has no quotes",
         put=_unquoted, plain=True),
    Rule("E105", rf"^([ \t]*)(?P<at>(?:{_TYPES}))\s+(\w+\s*=(?!=))",
         "a value is defined by `let`, without a type", put="\\1let \\3"),
    Rule("E152", r"^([ \t]*let\s+\w+)[ \t]+(\w+)\s*=\s*(?=\S)", "the parameters of a function are in brackets",
         put="\\1(\\2) = "),
    Rule("E105", r"^[ \t]*(?P<at>(pass|break|continue))\b[ \t]*$", "`\\1` is not a statement", help="remove the line"),
    Rule("E105", r"^[ \t]*(?P<at>(try|catch|except|finally|throw|raise))\b",
         "`\\1` is not a statement: a value that cannot be computed is missing",
         help="test it with `x is missing`, replace it with `x else v`"),
    Rule("E106", r"^[ \t]*(?P<at>from)\s+[\w.]+\s+import\b", "an `import` is only allowed outside an experiment",
         places=STMT,
         help='write `import NAME from "file.em"` at the top of the file'),
)  # fmt: skip
VALUES = (
    Rule("E140", rf"({OPERAND})\s*(?:=~|~=|~\*?|\bRLIKE\b|\brlike\b|\bregexp\b|\bREGEXP\b|\bmatches\b)\s*({TEXT})",
         "a pattern is searched by `matches`", put="matches(\\1, \\2)", whole=True),
    Rule("E140", rf"({OPERAND})\s*!~\s*({TEXT})", "a pattern is searched by `matches`", put="not matches(\\1, \\2)",
         whole=True),
    Rule("E140", rf"({PATH})\.(?:match|search|test)\(\s*/([^/\n\"]+)/[a-z]*\s*\)", "a pattern is a text in quotes",
         put='matches(\\1, "\\2")', plain=True, unless=r"\\"),
    Rule("E155", rf"\{{\s*{OPERAND}\s*:\s*({EXPR}\s+for\s+\w+\s+in\s+[^{{}}\n]*?)\s*\}}", "a map has fixed labels",
         put="[\\1]", sure=False, help="write a list: `[\\1]`"),
    Rule("E155", rf"\{{\s*({EXPR}\s+for\s+\w+\s+in\s+[^{{}}\n]*?)\s*\}}", "a list has square brackets", put="[\\1]"),
    Rule("E148", rf"\bif\s*\(?({EXPR})\)?\s*\{{\s*({EXPR})\s*\}}\s*else\s*\{{\s*({EXPR})\s*\}}",
         "a value by condition has `then`, without braces", put="if \\1 then \\2 else \\3"),
    Rule("E148", rf"\b(?:if|when)\s+({EXPR})\s*(?::|then\b)\s*({EXPR})\s+(?:else|otherwise)\s*:?\s*({EXPR})",
         "a value by condition is `if C then A else B`", put="if \\1 then \\2 else \\3"),
    Rule("E148", rf"\b(?P<at>(switch|match|case|cond))\b\s*\(?\s*{OPERAND}\s*\)?\s*\{{",
         "`\\1` is not an expression: use `if`",
         help="write `if x == 1 then A else if x == 2 then B else C`"),
    Rule("E140", rf"({PATH})(?:::|!\.|\?\.)(\w+)", "a field is read with a dot", put="\\1.\\2", help="write `\\1.\\2`"),
    Rule("E140", r"\bnot\s+is\b", "`not` comes after `is`", put="is not"),
    Rule("E140", r"\bis\s+not\s+in\b", "`is` tests labels, `not in` a list", put="not in"),
    Rule("E140", r"\bis\s+in\b", "`is` tests labels, `in` a list", put="in"),
    Rule("E140", r"\b(?:is\s+)?(?:less|smaller|lower)\s+than\b", "a comparison is a sign: `<`", put="<"),
    Rule("E140", r"\b(?:is\s+)?(?:greater|larger|more|higher)\s+than\b", "a comparison is a sign: `>`", put=">"),
    Rule("E140", r"\b(?:is\s+)?at\s+least\b", "a comparison is a sign: `>=`", put=">="),
    Rule("E140", r"\b(?:is\s+)?at\s+most\b", "a comparison is a sign: `<=`", put="<="),
    Rule("E140", r"\b(?:is\s+)?(?:equals?(?:\s+to)?|eq)\b(?=\s)", "a comparison is a sign: `==`", put="=="),
    Rule("E140", rf"({OPERAND})\s+(?:mod|MOD|rem|div)\s+({OPERAND})", "a remainder needs a `python` function",
         help='declare `python mod(a, b) from "hooks.py"`, and write `mod(\\1, \\2)`', whole=True),
    Rule("E145", rf"({EXPR})\s+(?:vs\.?|versus|against)\s+(?={OPERAND})",
         "the sides of a `contrast` are separated by `,`",
         put="\\1, "),
    Rule("E140", rf"({PATH})((?:\s*\|>?\s*(?:trim|lower|upper|len|words|sentences))+)(?=\s*(?:$|[,)]))",
         "a function is called with brackets",
         put=_piped),
    Rule("E142", rf"(?<==)(\s*)({_FUNCTIONS})\s+({PATH})(?=\s*$|\s+by\b)",
         "the arguments of a function are in brackets",
         put="\\1\\2(\\3)"),
    Rule("E144", rf"({TEXT})[ \t]+({TEXT})(?=\s*(?:$|\{{))", "texts are joined by `+`", put="\\1 + \\2"),
    Rule("E140", r"\benv\[\"(\w+)\"\]", "a variable of the environment is written `env.\\1`", put="env.\\1", plain=True,
         sure=False),
    Rule("E153", r"(\$[\d_.]+)\s*(?:USD|usd|dollars?)", "an amount of money starts with `$`", put="\\1"),
    Rule("E140", r"^([ \t]*(?:let|for|samples|seed|budget|measure|ask|judge)\b[^\n]*?),[ \t]*$",
         "a statement has no `,` at its end",
         put="\\1"),
    Rule("E140", r"^([ \t]*)<!--[ \t]*([^\n]*?)[ \t]*(?:-->)?[ \t]*$", "a comment starts with `#`", put="\\1# \\2",
         help="write `# \\2`"),
    Rule("E140", r'^([ \t]*)"{1,3}([^"\n]*)"{1,3}[ \t]*$', "a comment starts with `#`", put="\\1# \\2", plain=True,
         help="write `# \\2`"),
)  # fmt: skip
