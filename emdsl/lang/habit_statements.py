"""The habits of other languages and tools in whole statements: their words, order, blocks and declarations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emdsl.lang.habit_rules import DECL, EXPR, EXPRESSIONS, OPERAND, PATH, STMT, SUM, TEXT
from emdsl.lang.habit_steps import AXES, FIGURES, NAMES, STEPS, VALUES
from emdsl.lang.habits import Rule

if TYPE_CHECKING:
    from emdsl.lang.habits import Found

_ITEM = ("rubric_item",)
_SETTINGS = "samples|seed|parallel|budget|cluster|scale|choices|shape|read|strict|refusal|other"
_FIGURES = "rate|mean|avg|average|sd|count|contrast|shares|slope|agreement|at_least|quantile|median|correlation|sum"
_PARAMETERS = r"(?:temperature|max_tokens|top_p|top_k|min_p|stop|reasoning_\w+|\w+_penalty|extra|sim|model|use)\b"
_ROLES = "system|user|assistant"
_LIST = rf"(?:\[[^\n]*\]|\{{[^\n]*\}}|\d+\.\.\d+|{SUM})"
_WORDS: dict[str, dict[str, str]] = {  # by the rule of the grammar: a word, and others for it
    "stmt": {
        "measure": "metric|measurement|report|outcome|statistic|result|aggregate|plot",
        "ask": "generate|query|call|request|complete|sample|prompt|answer|chat",
        "judge": "score|grade|evaluate|eval|assess|rate|classify|verdict",
        "let": "var|const|val|def|define|local|auto",
        "skip when": "exclude when|drop when|remove when|omit when",
        "skip": "exclude|drop|omit|remove",
        "when": "if",
        "for": "foreach|for each|forall|for all|each|loop|vary|axis|sweep|param|parameter|factor|variable|over",
    },
    "decl": {
        "model": "llm|provider|engine|client",
        "dataset": "data|table|csv|source",
        "prompt": "template|messages|message|conversation",
        "rubric": "grader|judge|scorer|evaluator|metric",
        "let": "var|const|val|define|local|auto|constant|set",
        "experiment": "study|task|eval|evaluation|benchmark|test|suite|run|sweep",
        "import": "include|require|use|using|load",
    },
    "rubric_item": {
        "user": "human|person|customer|input",
        "assistant": "ai|bot|model|agent|gpt|response|output|completion",
        "system": "developer|instructions|instruction|sys",
        "each": "for each|foreach|for|loop",
        "when": "if",
    },
}
_CAPITALS = {
    "stmt": "for|grid|skip|set|let|ask|judge|annotate|when|measure",
    "decl": "import|model|dataset|prompt|rubric|let|python|experiment",
    "rubric_item": "system|user|assistant|tool|each|when",
}


def _words() -> tuple[Rule, ...]:
    rules = []
    for place, words in _WORDS.items():
        capitals = rf"^[ \t]*(?P<at>(?!(?:{_CAPITALS[place]})\b)(?i:{_CAPITALS[place]}))\b"
        lower = "words of the language are in lower case: `\\1`"
        rules.append(Rule("E105", capitals, lower, put=_lower, places=(place,)))
        for word, others in words.items():
            find = rf"^([ \t]*)(?P<at>{others})\b(?!\s*=(?!=))"
            message = f"`\\2` is not a statement: use `{word.split()[0]}`"
            rules.append(Rule("E105", find, message, put=f"\\1{word}", places=(place,)))
    return tuple(rules)


def _lower(found: Found) -> str:
    return found[0].lower()


def _two_axes(found: Found) -> str:
    return f"{found[1]}\n{found[2]}for {found[3]}"


def _unblocked(found: Found) -> str:
    """Return an axis, and the statements of its block after it."""
    return f"{found[1].rstrip()}\n" + found[2].strip("\n")


def _list(found: Found) -> str:
    return f"{found[1]}[{found[2].rstrip()}]"


def _underscores(found: Found) -> str:
    return found[0].replace("-", "_")


def _unquoted(found: Found) -> str | None:
    name = found[2].strip('"')
    return f"{found[1]}{name}" if re.fullmatch(r"[A-Za-z_]\w*", name) else None


BLOCKS = (
    Rule("E150", rf"^([ \t]*for\s+\w+(?:\s*,\s*\w+)*\s+in\s+{_LIST})\s*\{{((?:.|\n)*)\}}\s*$",
         "an axis has no block: the statements follow it", put=_unblocked, places=STMT,
         help="remove the braces: every statement of the experiment is done for each level"),
    Rule("E150", rf"^([ \t]*for\s+\w+(?:\s*,\s*\w+)*\s+in\s+{_LIST})(?P<at>\s*\{{)",
         "an axis has no block: the statements follow it", places=STMT,
         help="remove the braces: every statement of the experiment is done for each level"),
    Rule("E150", r"\}\s*(?P<at>else)\b", "`when` has no `else`", places=("stmt", "rubric_item"),
         help="write a second block: `when not CONDITION { ... }`"),
    Rule("E150", rf"^([ \t]*when\s+{EXPR})\s+(?P<at>then)\s*(?=\{{|$)", "a block has no `then`", put="\\1 ",
         places=("stmt", "rubric_item")),
    Rule("E150", rf"^([ \t]*(?:if|when)\s+{EXPR})\s*(?P<at>:)[ \t]*$", "a block is in braces", put="\\1 {", sure=False,
         places=("stmt", "rubric_item"), help="write `when CONDITION { ... }`"),
    Rule("E150", rf"^([ \t]*)(?P<at>unless)\s+({EXPR})(?=\s*(?:\{{|$))", "`unless` is written `when not`",
         put="\\1when not (\\3)", places=("stmt", "rubric_item")),
    Rule("E140", r"^([ \t]*for\s+\w+(?:\s*,\s*\w+)*\s+in\s+[^\n]*?)\s*(?P<at>:)[ \t]*$",
         "a statement does not end with `:`", put="\\1", places=STMT, help="write the line without `:`"),
)  # fmt: skip
JINJA = (
    Rule("E146", r"\{%-?\s*for\s+(\w+)\s+in\s+(.+?)\s*-?%\}", "messages are repeated by `each`",
         put="each \\1 in \\2 {", places=_ITEM),
    Rule("E146", r"\{%-?\s*if\s+(.+?)\s*-?%\}", "messages are chosen by `when`", put="when \\1 {",
         places=("stmt", "rubric_item"), help="write `when \\1 {`, and a `}` after the messages"),
    Rule("E146", r"\{%-?\s*(?:else|elif)\b.*?-?%\}", "`when` has no `else`", places=("stmt", "rubric_item"),
         help="write a second block: `when not CONDITION { ... }`"),
    Rule("E146", r"\{%-?\s*end\w*\s*-?%\}", "a block ends with `}`", put="}", places=("stmt", "rubric_item")),
    Rule("E146", r"\{%-?\s*end", "a block ends with `}`", places=("stmt", "rubric_item"), help="write `}`"),
    Rule("E146", r"\{%-?\s*set\s+(\w+)\s*=\s*(.+?)\s*-?%\}", "a name is defined by `let`", put="let \\1 = \\2",
         places=("stmt", "decl")),
    Rule("E146", r"\{%-?\s*(?:from|import)\s+(\"~*\")\s+import\s+(.+?)\s*-?%\}",
         "names come from another file by `import`", put="import \\2 from \\1", places=DECL),
    Rule("E146", r"\{%-?\s*(?:include|import|extends)\s+(\"~*\").*?-?%\}", "names come from another file by `import`",
         help="write `import NAME from \\1`", places=DECL),
    Rule("E146", r"\{#[ \t]*(.*?)[ \t]*#\}", "a comment starts with `#`, and ends with its line", plain=True,
         help="write `# \\1`"),
    Rule("E146", r"\{%", "the language has no `{% %}`: it is not Jinja",
         help="write `each x in list { ... }` or `when CONDITION { ... }`"),
    Rule("E146", r"^[ \t]*\{\{-?\s*(.+?)\s*-?\}\}\s*$", "a statement is written without braces", put="\\1"),
    Rule("E146", rf"\{{\{{-?\s*({EXPR})\s*-?\}}\}}", "a value is written without braces outside of a text", put="\\1"),
    Rule("E146", rf"(?<=[\w=(,] )\{{\s*({PATH})\s*\}}", "a value is written without braces outside of a text",
         put="\\1"),
    Rule("E146", rf"^([ \t]*(?:{_ROLES})\s+)\{{\s*({PATH})\s*\}}",
         "a value is written without braces outside of a text", put="\\1\\2", places=_ITEM,
         help="write the name without braces"),
    Rule("E146", r"((?:key|url)\s*=\s*)\$\{?(\w+)\}?", "a variable of the environment is written `env.\\2`",
         put="\\1env.\\2", help="write `env.\\2`"),
    Rule("E146", r"\$\{?([A-Za-z_]\w*)\}?", "a name has no `$`", put="\\1", help="write `\\1`"),
)  # fmt: skip
YAML = (
    Rule("E155", r"([{,]\s*)\"(\w+)\"\s*:", "a setting is written with `=`, without quotes", put="\\1\\2 =", plain=True,
         help="write `\\2 = ...`"),
    Rule("E155", rf"^([ \t]*)({_SETTINGS})\s*:\s*([^\n]*)", "a setting is written with `=`", put="\\1\\2 = \\3"),
    Rule("E155", rf"^([ \t]*)\"({_SETTINGS})\"\s*:\s*([^\n]*)", "a setting is written with `=`, without quotes",
         put="\\1\\2 = \\3", plain=True),
    Rule("E155", rf"^([ \t]*)({_SETTINGS})\s*\(([^()\n]*)\)\s*$", "a setting is written with `=`", put="\\1\\2 = \\3"),
    Rule("E155", rf"^([ \t]*)({_SETTINGS})[ \t]+([\d$\"\[][^\n]*)", "a setting is written with `=`",
         put="\\1\\2 = \\3"),
    Rule("E155", rf"^([ \t]*)(?!{_PARAMETERS})(\w+)\s*:\s*(?=\[|\{{|\d+\.\.\d)", "an axis is written with `for`",
         put="\\1for \\2 in ", places=STMT),
    Rule("E155", rf"^([ \t]*)-?\s*({_ROLES}|tool)\s*[:=]\s*([^\n]*)",
         "a message is its role and its text, without `:` or `=`", put="\\1\\2 \\3", places=_ITEM),
    Rule("E155", rf"^([ \t]*)[\[]?\{{\s*\"role\"\s*:\s*\"({_ROLES})\"\s*,\s*\"content\"\s*:\s*(.+?)\s*\}}[\],]*\s*$",
         "a message is its role and its text", put="\\1\\2 \\3", places=_ITEM, plain=True),
    Rule("E155", rf"^([ \t]*)({_ROLES})\s*\|[-+]?[ \t]*$", 'a long text is in `"""`', places=_ITEM,
         help='write `\\2 """`, the text on lines of its own, and `"""` after it'),
    Rule("E155", rf"^([ \t]*for\s+\w+\s+in\s+)({OPERAND}(?:\s*,\s*{OPERAND})+)[ \t]*$", "levels are in square brackets",
         put=_list, places=STMT),
    Rule("E155", r"^[ \t]*for\s+(\w+)\s+in\s*$", "levels are in square brackets", places=STMT,
         help="write `for \\1 in [..., ...]`"),
    Rule("E155", r"(?<!\w)([A-Za-z_][\w.]*(?:-[A-Za-z_]\w*)+)(?=\s*=(?!=))", "a name has no `-`", put=_underscores),
    Rule("E155", r"(?<=experiment )(\w+(?:-\w+)+)", "a name has no `-`", put=_underscores, places=DECL),
    Rule("E155", r"(?<=measure )(\w+(?:-\w+)+)", "a name has no `-`", put=_underscores, places=STMT),
    Rule("E155", r"^([ \t]*)(\w+)\s*:\s*(?=\S)", "a name gets its value by `=`", put="\\1let \\2 = ", places=STMT,
         sure=False, help="write `let \\2 = ...` for a value, `for \\2 in [...]` for an axis"),
)  # fmt: skip
STATEMENTS = (
    Rule("E105", rf"^([ \t]*)(filter|keep|only|where)\s+(?:when\s+|if\s+)?({EXPR})[ \t]*$",
         "`\\2` is not a statement: `skip` removes cells", put="\\1skip when not (\\3)", places=STMT, sure=False),
    Rule("E151", rf"^([ \t]*ask\s+\w+)\s+with\s+(.+?)\s+from\s+({OPERAND})", "the model comes before the prompt",
         put="\\1 from \\3 with \\2", places=STMT),
    Rule("E151", rf"^([ \t]*judge\s+\w+)\s+from\s+({OPERAND})\s+with\s+({OPERAND})",
         "the rubric comes before the judge", put="\\1 with \\3 from \\2", places=STMT),
    Rule("E151", rf"^([ \t]*ask\s+\w+)\s*(?:\b(?:of|to|in|using|by|on|at|via)\b|[=:])\s*({OPERAND}\s+with\b)",
         "the model of an `ask` comes after `from`", put="\\1 from \\2", places=STMT),
    Rule("E151", rf"^([ \t]*ask\s+\w+)\s*=\s*({PATH})\(((?:.|\n)*)\)(\s*(?:\{{.*)?)$",
         "the model of an `ask` comes after `from`", put="\\1 from \\2 with \\3\\4", places=STMT),
    Rule("E151", r"^([ \t]*ask\s+\w+)\s*=\s*", "the model of an `ask` comes after `from`, and the prompt after `with`",
         places=STMT, help="write `ask NAME from MODEL with PROMPT`"),
    Rule("E151",
         rf"^([ \t]*ask\s+\w+\s+from\s+{OPERAND})\s*(?:\b(?:using|on|for|about|of|by)\b|[:=,])?\s*(?=[\w\"(\[])",
         "the prompt of an `ask` comes after `with`", put="\\1 with ", places=STMT,
         help="write `ask NAME from MODEL with PROMPT`"),
    Rule("E151", rf"^([ \t]*ask)\s+({OPERAND})\s+with\b", "an `ask` has a name for its answer",
         put="\\1 answer from \\2 with", places=STMT, sure=False, help="write `ask NAME from \\2 with ...`"),
    Rule("E151", r"^([ \t]*judge\s+\w+)\s*(?:\b(?:using|by|via|on|as)\b|[=:])\s*(\w+)(?=\()",
         "the rubric of a `judge` comes after `with`", put="\\1 with \\2", places=STMT),
    Rule("E151", r"^([ \t]*judge)\s+(\w+\()", "a `judge` has a name for its verdict", put="\\1 verdict with \\2",
         places=STMT, sure=False, help="write `judge NAME with \\2...)`"),
    Rule("E151", r"^([ \t]*for\s+)(?:each|all|every)\s+(\w+)(?=\s+in\b)", "an axis is written `for NAME in`",
         put="\\1\\2", places=STMT, help="write `for \\2 in`"),
    Rule("E151", r"^([ \t]*)(for\s+\w+)\s*(?:\b(?:of|over|from|within|through)\b|[=:])\s*(?=\S)",
         "the levels of an axis come after `in`", put="\\1\\2 in ", places=STMT, help="write `\\2 in ...`"),
    Rule("E151", r"^([ \t]*for)\s*\(\s*(\w+\s+(?:in|of)\s+.*)\)\s*$", "an axis has no parentheses", put="\\1 \\2",
         places=STMT),
    Rule("E151", rf"^(([ \t]*)for\s+\w+\s+in\s+{_LIST})\s*[,;]?\s*(?:\bfor\s+)?(\w+\s+in\s+{_LIST})",
         "each axis has a `for` of its own", put=_two_axes, places=STMT, help="write `for \\3` on a line of its own"),
    Rule("E151", r"^([ \t]*for)\s*\(\s*(\w+(?:\s*,\s*\w+)+)\s*\)(?=\s+in\b)",
         "the names of an axis have no parentheses", put="\\1 \\2", places=STMT),
    Rule("E151", r"^([ \t]*for\s+\w+)\s+(\w+)(?=\s+in\b)", "the names of an axis are separated by commas",
         put="\\1, \\2", places=STMT, sure=False),
    Rule("E151", rf"^([ \t]*judge\s+\w+\s+with\s+{OPERAND})\s+(?:by|using|via|of|on)\s+(?=[\w\"])",
         "the model of a `judge` comes after `from`", put="\\1 from ", places=STMT, help="write `from MODEL`"),
    Rule("E151",
         rf"^([ \t]*(?:ask|judge)\s[^\n{{]*?)(?P<at>[\s,]*\(?)\s*({_PARAMETERS})\s*[=:]\s*({OPERAND})\s*\)?[ \t]*$",
         "the settings of a step are in braces", put="\\1 { \\3 = \\4 }", places=STMT, help="write `{ \\3 = \\4 }`"),
    Rule("E151", rf"^([ \t]*set\s+{PATH})\s+(?:to|as)\s+", "a `set` gives its value by `=`", put="\\1 = ", places=STMT,
         help="write `=`"),
    Rule("E151", r"^([ \t]*set\s+\w+)\s+(\w+)(?=\s*=)", "a `set` names a step and its parameter", put="\\1.\\2",
         places=STMT),
    Rule("E151", r"^([ \t]*measure\s+\w+)\s+(\w+\()", "a measure gets its value by `=`", put="\\1 = \\2", places=STMT,
         help="write `measure NAME = \\2...)`"),
    Rule("E106", r"^[ \t]*(import|model|dataset|prompt|rubric|python|experiment)\b",
         "`\\1` is only allowed outside an experiment", places=STMT, help="move it to the top of the file"),
    Rule("E105", r"^[ \t]*(while|repeat|loop)\b",
         "`\\1` is not a statement: `samples` repeats the requests of an experiment", places=STMT,
         help="write `samples = 10`, or an axis `for NAME in 1..10`"),
    Rule("E105", r"^[ \t]*(print|show|display|log)\b", "`\\1` is not a statement: `emdsl show` prints results",
         help="write `let NAME = ...` to keep a value as a column"),
    Rule("E105", r"^[ \t]*(return|yield)\b", "`\\1` is not a statement: a value is a `let`",
         help="write `let NAME = ...`"),
    Rule("E151", r"^([ \t]*skip)[ \t]+(?:(?:if|where|for|unless not)\b[ \t]*)?(?=\S)(?!when\b)",
         "a `skip` has its condition after `when`", put="\\1 when ", places=STMT),
    Rule("E151", rf"^([ \t]*set\s+{PATH}\s*=\s*{SUM})\s+(?P<at>if|where|for)\b",
         "a `set` has its condition after `when`", put="\\1 when", places=STMT),
    Rule("E151", r"^([ \t]*measure\s+\w+)\s*:\s*", "a measure gets its value by `=`", put="\\1 = ", places=STMT),
    Rule("E151", r"^([ \t]*measure)\s+(\w+\()", "a measure has a name", put="\\1 result = \\2", places=STMT, sure=False,
         help="write `measure NAME = \\2...)`"),
    Rule("E151", r"(?<==)\s*python\s+(?=\w+\()", "`python` declares a function; a call has its name alone", put=" "),
    Rule("E626", r"^([ \t]*let\s+\w+\s*=[^\n]*\bover\s+)[(\[]([\w, ]+)[)\]]", "the axes after `over` need no brackets",
         put="\\1\\2", places=STMT),
    Rule("E626", r"^([ \t]*let\s+\w+\s*=[^\n]*\bover\s+\w+)\s+and\s+(\w+)", "the axes after `over` need commas",
         put="\\1, \\2", places=STMT),
    Rule("E626", r"^[ \t]*let\s+\w+\([^)\n]*\)\s*=[^\n]*(?P<at>\bover\b)", "a `let` with parameters has no `over`",
         help="write `let NAME = f(x) over AXIS`, without parameters", places=STMT),
    Rule("E626", r"^[ \t]*let\b[^\n]*(?P<at>\bover\b)", "`over` is only allowed in an experiment", places=DECL,
         help="move this `let` into the experiment that has the axis"),
    Rule("E151", rf"^([ \t]*)let(\s+\w+\s*=\s*(?:{_FIGURES})\([^\n]*\)\s+by\b)",
         "a figure over the results is a `measure`", put="\\1measure\\2", places=STMT),
    Rule("E626", r"^([ \t]*let\s+\w+\s*=\s*\w+\([^\n]*\)\s+)(?P<at>by\b)",
         "a value of many rows has the axes in which they differ after `over`", put="\\1over", places=STMT, sure=False,
         help="write `measure NAME = ...` for a figure, `let NAME = f(x) over AXIS` for a function in Python"),
    Rule("E151", rf"^([ \t]*)({_SETTINGS})\s*:=\s*", "a setting is written with `=`", put="\\1\\2 = ",
         help="write `\\2 = ...`"),
    Rule("E151", r"^([ \t]*)([A-Za-z_]\w*)\s*:=\s*", "a name is defined by `let`", put="\\1let \\2 = "),
)  # fmt: skip
DECLARATIONS = (
    Rule("E152", rf"^([ \t]*experiment\s+)({TEXT})", "a name has no quotes", put=_unquoted, places=DECL),
    Rule("E152", r"^([ \t]*experiment)\s*(?=\{)", "an experiment has a name", put="\\1 main ", places=DECL,
         help="write `experiment NAME {`", sure=False),
    Rule("E152", r"^([ \t]*(?:prompt|rubric)\s+\w+)\s*(?=\{|from\b)", "a prompt lists its parameters", put="\\1() ",
         places=DECL, sure=False, help="write the names that its messages need: `\\1(question) {`"),
    Rule("E152", rf"^([ \t]*model\s+\w+)\s*(?:=|:|\bfrom\b|\()?\s*(?:(?:use|name|model)\s*=\s*)?({TEXT})\s*\)?[ \t]*$",
         "a model has settings in braces", put="\\1 { use = \\2 }", places=DECL),
    Rule("E152", r"^([ \t]*model\s+\w+)\s*(?:=\s*)?(?:dict|model|Model)?\s*\(((?:\w+\s*=\s*[^,()\n]+,?\s*)+)\)",
         "a model has settings in braces", put="\\1 { \\2 }", places=DECL),
    Rule("E152", rf"^([ \t]*dataset\s+\w+)\s*(?:=|:|\bfrom\b|\()?\s*(?:(?:file|path)\s*=\s*)?({TEXT})\s*\)?[ \t]*$",
         "a dataset has its file in braces", put="\\1 { file = \\2 }", places=DECL),
    Rule("E152", r"^([ \t]*import\s+)\{\s*([\w, ]+?)\s*\}(\s*from\b)", "an `import` has no braces", put="\\1\\2\\3",
         places=DECL),
    Rule("E152", r"^([ \t]*import\s+)\(\s*([\w, ]+?)\s*\)(\s*from\b)", "an `import` has no brackets", put="\\1\\2\\3",
         places=DECL),
    Rule("E152", rf"^[ \t]*from\s+({TEXT})\s+import\s+([\w, ]+)", "the names come before the file",
         put="import \\2 from \\1", places=DECL),
    Rule("E152", rf"\n[ \t]*(?P<at>from)\s+({TEXT})\s+import\s+([\w, ]+)", "the names come before the file",
         put="\nimport \\3 from \\2", places=DECL),
    Rule("E152", r"^[ \t]*from\s+([\w.]+)\s+import\s+([\w, ]+)",
         "the names come before the file, and the file is in quotes",
         help='write `import \\2 from "\\1.em"`, or a file of the standard library such as `"std:judges@1"`',
         places=DECL),
    Rule("E152", r"^[ \t]*import\s+\*", "an `import` lists its names", help='write `import NAME, NAME from "file.em"`',
         places=DECL),
    Rule("E152", rf"^[ \t]*import\s+({TEXT})", "an `import` lists its names", help="write `import NAME from \\1`",
         places=DECL),
    Rule("E152", r"^[ \t]*import\s+(\w+)\s*$", "an `import` names its file", help='write `import NAME from "\\1.em"`',
         places=DECL),
    Rule("E152", r"^([ \t]*import\s+[\w, ]+\sfrom\s+)([\w:./@-]+)", "the file of an `import` is in quotes",
         put='\\1"\\2"', places=DECL, plain=True),
    Rule("E152", rf"^[ \t]*(?:include|require|use|using|load)\s*\(?\s*({TEXT})\)?",
         "names come from another file by `import`", help="write `import NAME from \\1`", places=DECL),
)  # fmt: skip
UNQUOTED = (
    Rule("E155", r"(?<=[=\[,] )((?:[A-Za-z]\w*[-./])+[\w.-]*\w)(?=\s*(?:[,}\]\n]|$))", "a text is in quotes",
         put='"\\1"', plain=True),
)  # fmt: skip
RULES = (
    *BLOCKS, *JINJA, *DECLARATIONS, *YAML, *STEPS, *FIGURES, *AXES, *NAMES, *STATEMENTS, *VALUES, *EXPRESSIONS,
         *UNQUOTED,
    *_words(),
)  # fmt: skip
