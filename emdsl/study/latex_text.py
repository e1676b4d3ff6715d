"""Texts of models in LaTeX. Any engine prints every character unchanged, in any class, without a package."""

from __future__ import annotations

import re
import unicodedata

# Prints a character that plain LaTeX does not know: by its glyph if the engine and the font have one, else by its code.
CHARACTER = (
    r"\providecommand{\emdslchar}[1]{\ifdefined\Umathchar\iffontchar\font"
    '"#1 \\char"#1 '
    r"\else{\footnotesize[U+#1]}\fi\else{\footnotesize[U+#1]}\fi\allowbreak}"
)
INDENT_EM = 0.5  # of a blank at the beginning of a line
_PLAIN = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "\t": r"\ \ \ \ ",
}  # fmt: skip
_LIGATURES = re.compile(r"(?<=-)-|(?<=')'|(?<=`)`|(?<=,),|(?<=[?!])`")  # two characters that LaTeX prints as one
_TEXT = {
    "\u00a0": "~", "\u00a7": r"\S{}", "\u00b6": r"\P{}", "\u00a3": r"\pounds{}", "\u00a9": r"\copyright{}",
    "\u00df": r"\ss{}", "\u00c6": r"\AE{}", "\u00e6": r"\ae{}", "\u00d8": r"\O{}", "\u00f8": r"\o{}",
    "\u0141": r"\L{}", "\u0142": r"\l{}", "\u0152": r"\OE{}", "\u0153": r"\oe{}", "\u0131": r"\i{}",
    "\u00bf": "?`", "\u00a1": "!`", "\u2010": "-{}", "\u2011": "-{}", "\u2013": r"\textendash{}",
    "\u2014": r"\textemdash{}", "\u2018": r"\textquoteleft{}", "\u2019": r"\textquoteright{}",
    "\u201c": r"\textquotedblleft{}", "\u201d": r"\textquotedblright{}", "\u2020": r"\dag{}", "\u2021": r"\ddag{}",
    "\u2026": r"\dots{}", "\u2022": r"\textbullet{}", "\u202f": r"\,", "\u2009": r"\,",
}  # fmt: skip
_MATH = {
    "\u00ac": r"\neg", "\u00b0": r"{}^\circ", "\u00b1": r"\pm", "\u00b2": "{}^2", "\u00b3": "{}^3", "\u00b5": r"\mu",
    "\u00b7": r"\cdot",
    "\u00d7": r"\times", "\u00f7": r"\div", "\u2190": r"\leftarrow", "\u2191": r"\uparrow", "\u2192": r"\rightarrow",
    "\u2193": r"\downarrow", "\u2194": r"\leftrightarrow", "\u21d2": r"\Rightarrow", "\u21d4": r"\Leftrightarrow",
    "\u2200": r"\forall", "\u2202": r"\partial", "\u2203": r"\exists", "\u2208": r"\in", "\u2211": r"\sum",
    "\u2212": "-", "\u221a": r"\surd", "\u221e": r"\infty", "\u222b": r"\int", "\u2248": r"\approx", "\u2260": r"\neq",
    "\u2261": r"\equiv", "\u2264": r"\leq", "\u2265": r"\geq",
}  # fmt: skip
_GREEK = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "", "pi", "rho", "", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
]  # fmt: skip  # from U+03B1 on; LaTeX has no omicron and no final sigma
_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def latex_text(text: str) -> str:
    r"""Return a text as LaTeX prints it, line by line.

    >>> latex_text("5 % of a_b\n  caf\u00e9")
    "5 \\% of a\\_b\\par\n\\hspace*{1em}caf\\'{e}"
    """
    lines = [_line(line) for line in re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text)]
    return "\\par\n".join(line or r"\vspace{0.5\baselineskip}" for line in lines)


def latex_word(text: str) -> str:
    """Return a text in one line as LaTeX prints it."""
    return _characters(" ".join(text.split()))


def _line(line: str) -> str:
    indented = line.rstrip().expandtabs(4)
    rest = indented.lstrip(" ")
    indent = len(indented) - len(rest)
    begin = rf"\hspace*{{{indent * INDENT_EM:g}em}}" if indent and rest else ""
    return begin + _characters(rest)


def _characters(text: str) -> str:
    """Return a line with each character written out; blanks after the first keep their width."""
    apart = {match.start() for match in _LIGATURES.finditer(text)}
    spaced = "".join(("{}" if i in apart else "") + _character(char) for i, char in enumerate(text))
    return re.sub("  +", lambda blanks: " " + r"\ " * (len(blanks[0]) - 1), spaced)


def _character(char: str) -> str:
    if char in _PLAIN:
        return _PLAIN[char]
    if " " <= char <= "~":
        return char
    if char in _TEXT:
        return _TEXT[char]
    if math := _MATH.get(char) or _greek(char):
        return f"${math}$"
    parts = unicodedata.normalize("NFD", char)
    base, mark = parts[0], parts[1:]
    if mark in _ACCENTS and base.isascii() and base.isalpha():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base) if mark != "\u0327" else base
        return rf"\{_ACCENTS[mark]}{{{dotless}}}"
    return rf"\emdslchar{{{ord(char):04X}}}"


def _greek(char: str) -> str:
    at = ord(char) - 0x3B1
    if 0 <= at < len(_GREEK) and _GREEK[at]:
        return rf"\{_GREEK[at]}"
    capital = unicodedata.name(char, "").removeprefix("GREEK CAPITAL LETTER ").capitalize()
    return rf"\{capital}" if char.isupper() and capital in _CAPITALS else ""
