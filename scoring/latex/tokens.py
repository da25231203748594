"""Splits a mathematical answer into tokens: one spelling for each symbol, words apart from names.

    tokens(r"90^{\\circ}")              # ["90", "°"]
    tokens(r"1{,}000 \\text{ apples}")   # ["1000", '"apples']: a word has a quote before it

A number is a token of digits, a name one letter or a command without its backslash (alpha), a
function its name (sin); \\{ and \\} are ⦃ and ⦄, the line break of a matrix is ⏎.
"""

import re
import unicodedata

from scoring.latex.values import FUNCTIONS

# ---- one spelling each -----------------------------------------------------------------------

SPELLINGS = {
    "-": "−–—‐‑‒", "*": "×⋅·∙∗", "/": "÷∕⁄", "≤": "≦⩽", "≥": "≧⩾", "≈": "≃≅∼", "→": "⇒⟹",
    ",": "、或和", "(": "⟨〈", ")": "⟩〉", "'": "′’‘`´", "|": "∣‖", "°": "º˚",
    " ": "$€£¥¢₹“”\"\u00a0",
    "": "\u00ad\u200b\u200c\u200d\u200e\u200f\u2061\u2062\u202a\u202b\u202c\u202d\u202e\ufeff",
}  # fmt: skip
CHARACTERS = {ord(old): new for new, many in SPELLINGS.items() for old in many}
CHARACTERS |= dict.fromkeys(range(0xD800, 0xE000), "")  # surrogates
COMMANDS = {
    "≤": "le leq leqslant leqq", "≥": "ge geq geqslant geqq", "<": "lt", ">": "gt", "≠": "ne neq",
    "≈": "approx simeq sim cong doteq", "=": "equiv", "∈": "in", "∪": "cup", "∩": "cap",
    "→": "to rightarrow Rightarrow implies longrightarrow Longrightarrow iff mapsto",
    "*": "times cdot ast", "/": "div", ":": "colon", "±": "pm", "∓": "mp", "∞": "infty",
    "π": "pi", "°": "degree circ", "%": "%", "|": "lvert rvert vert mid lVert rVert Vert |",
    "⦃": "{ lbrace", "⦄": "} rbrace", "(": "langle lparen", ")": "rangle rparen", "[": "lbrack",
    "]": "rbrack", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "∅": "emptyset varnothing", "∖": "setminus backslash", "'": "prime",
    ",": "land wedge lor vee", "⏎": "\\", "√": "sqrt",
    "frac": "frac dfrac tfrac cfrac", "binom": "binom dbinom tbinom", "log": "lg", "_": "_",
    "": "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr boxed fbox"
    " displaystyle textstyle scriptstyle limits nolimits mathbf mathit bm boldsymbol mathsf mathtt"
    " mathcal mathscr mathbb overline bar vec hat widehat tilde dot underline overrightarrow angle"
    " triangle operatorname quad qquad , ; : ! > - # & / . thinspace ensuremath hline"
    " rm bf it sf tt tiny small normalsize large Large LARGE huge Huge",
}  # fmt: skip
COMMAND = {old: new for new, many in COMMANDS.items() for old in many.split(" ")}
WORDS = {
    "or": ",", "and": ",", "pi": "π", "infinity": "∞", "infty": "∞", "inf": "∞", "sqrt": "√",
    "degrees": "°", "degree": "°", "deg": "°", "percent": "%", "union": "∪",
    "thousand": "*10^3", "million": "*10^6", "billion": "*10^9", "trillion": "*10^12",
}  # fmt: skip
# Runs of letters that are words, not products; so is any of four letters or more with a vowel.
SHORT_WORDS = set(
    """cm mm km nm kg mg ml mL lb lbs oz ft yd mi hr hrs min mins sec secs mph kph kmh Hz kHz MHz
    rad mol kJ kPa Pa eV keV MeV dm pm am PM AM in per sq cu Rs USD usd day days""".split()
)

# ---- rewriting -------------------------------------------------------------------------------

ARGUMENT = r"\s*\*?\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|mathrm|emph|operatorname)" + ARGUMENT
ELLIPSIS = r"\s*(?:\.{3}|\\[lc]?dots\b|…)"
REWRITES = [  # in this order
    (r"\\\\\[\s*[\d.]+\s*[a-z]{2}\s*\]", r"\\\\"),  # the height of a matrix's row
    (r"\\rm\s*(?=\{)", r"\\mathrm"), (r"\{\s*\\rm\b", r"\\mathrm{"),
    (r"\\mathrm\s*\{\s*([ei])\s*\}", r"\1"),  # the constants, upright
    (r"\\(?:text)?color\s*\{[^{}]*\}|\\[hv]?(?:space|phantom)\*?\s*\{[^{}]*\}", " "),
    (r"\\(?:tag|label|pmod)\s*\{[^{}]*\}|\(?\\[bp]?mod\b[^()]*\)?", " "),
    (r"(?<=array\})\s*\{[^{}]*\}", " "),  # the columns of an array
    (r"\^\s*(?:\{\s*(?:\\circ|\\degree|°)\s*\}|\\circ|\\degree|°)|\\degree\b|\\circ\b", "°"),
    (r"\b([aApP])\.\s?[mM]\b\.?", r' "\1m" '),
    (r"\\mathbb\s*\{?\s*R\b\s*\}?|\\(?:R|reals)\b", "ℝ"), (r"\\\{\s*\\\}", r"\\emptyset "),
    (TEXT, r' "\1" '), (TEXT, r' "\1" '),  # one may be inside another
    (r'\\[dt]?frac\s*\{\s*"[^"]*"[^{}"]*\}\s*\{\s*"[^"]*"[^{}"]*\}', " "),  # a unit: m over s
    (r"(?<=\d)\s*\^?\s*\{?[\s\"]*(?:st|nd|rd|th)\b[\s\"]*\}?", " "),
    (r"(?<=\d)[\s\"]+to[\s\"]+(?=\d)", ":"),  # 2 to 3
    (r"[Aa]ll\s+real\s+numbers\s+except(?:\s+for)?\b(?:[\s\"]*x\s*=)?", r'ℝ\\setminus "'),
    (r"\b(?:[Aa]ll|[Aa]ny)\s+real(?:s|\s+numbers?)\b(?:\s*x\b)?", "ℝ"),
    (r"ℝ\s*-\s*(?=\\\{)", r"ℝ\\setminus "),
    (r"(\.\d*?)(\d)\2{2,}" + ELLIPSIS, r"\1\\overline{\2}"),  # 0.333... is periodic
    (r"(?<=\d)" + ELLIPSIS, " "),
    (r"\*\*", "^"), (r"<=", "≤"), (r">=", "≥"), (r"!=", "≠"),
    (r"(?<=\d)(?:\s|~|\\[,;:! ]|\{,\}|,(?=\s*\\!)|(?<=\\!),)+(?=\d{3}(?!\d))", ""),  # 1\,000
    (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", "*"),  # 1.2 x 10^5
    (r"(?<=\d)[\s\"(]*(?:in\s+)?[bB]ase[\s\"-]*(\d+)[\s\")]*$", r"_\1"),  # 52 in base 8
]  # fmt: skip
REWRITES = [(re.compile(pattern), to) for pattern, to in REWRITES]
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
SCRIPT = {"<super>": "^", "<sub>": "_"}


def respell(text: str, thousands: bool = True) -> str:
    """Returns `text` in one spelling: ASCII and symbols, words in double quotes, digits ungrouped.

    thousands: 1,000 outside brackets is one number, not two.
    """
    text = text.translate(CHARACTERS)
    if not text.isascii():
        text = re.sub("\0(}[_^]{)?", "", "".join(map(in_ascii, text)))  # x¹² is x^{12}
    for pattern, to in REWRITES:
        text = pattern.sub(to, text)
    return THOUSANDS.sub(ungrouped, text) if thousands else text


def in_ascii(character: str) -> str:
    """½ as \\frac{1}{2}, ² as ^{2}, full-width and mathematical letters as plain ones."""
    style, _, _ = unicodedata.decomposition(character).partition(" ")
    plain = unicodedata.normalize("NFKC", character)
    if style == "<fraction>":
        top, bottom = plain.split("\u2044")
        return f"\\frac{{{top}}}{{{bottom}}}"
    if character == "ℝ" or len(plain) > 3:
        return character
    plain = plain.translate(CHARACTERS)
    return f"{SCRIPT[style]}{{{plain}\0}}" if style in SCRIPT else plain


def ungrouped(match: re.Match) -> str:
    """1,000 as 1000, but (10,100) has two parts."""
    before = match.string[: match.start()]
    opened, closed = ("(", "[", r"\{"), (")", "]", r"\}")
    is_inside = sum(map(before.count, opened)) > sum(map(before.count, closed))
    return match[0] if is_inside else match[0].replace(",", "")


# ---- tokens ----------------------------------------------------------------------------------

TOKEN = re.compile(
    r'"(?P<text>[^"]*)"'
    r"|(?P<repeating>\d*\.\d*)\\(?:overline|bar|dot)\s*\{?(?P<period>\d+)\}?"
    r"|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<environment>\\(?:begin|end)\s*\{\s*[a-zA-Z]*\*?\s*\})"
    r"|\\(?P<command>[a-zA-Z]+|\S|(?=\s))|(?P<letters>[a-zA-Z]+)|(?P<han>[一-鿿]+)|(?P<symbol>\S)"
)
FUNCTION = "|".join(sorted(FUNCTIONS, key=len, reverse=True))
CALLS = re.compile(rf"(?:(?:{FUNCTION})[a-zA-Z]?)+")
POWER = r"(?:\^ (?:- )?(?:\d+ |\{ (?:- )?\d+ \} ))?"
UNIT_REST = re.compile(rf"{POWER}(?:[/*] [a-zA-Z] {POWER})*")
EMPTY = ["(", ")"], ["[", "]"], ["{", "}"]


def tokens(text: str, thousands: bool = True) -> list[str]:
    return list(scan(respell(text, thousands)))


def scan(text: str, quoted: bool = False):
    for match in TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "text":
            yield from scan(match["text"], quoted=True)
        elif kind == "period":
            yield f"{match['repeating']}r{match['period']}"
        elif kind == "environment":
            yield match[0][:4]  # \beg or \end; all kinds of matrices are alike
        elif kind == "command":
            token = COMMAND.get(match["command"], match["command"])
            yield from [token] if token else []
        elif kind == "han":
            yield '"' + match[0]
        elif kind == "letters":
            yield from letters(match[0], quoted)
        elif match[0] not in ".~":
            yield match[0]


def letters(run: str, quoted: bool) -> list[str]:
    """The tokens of a run of letters: a word, functions with their arguments, or single names."""
    if run.lower() in WORDS:
        return re.findall(r"\d+|.", WORDS[run.lower()])
    if CALLS.fullmatch(run):
        return re.findall(FUNCTION + "|.", run)
    is_word = len(run) >= 4 and re.search("[aeiouyAEIOUY]", run)
    if run in SHORT_WORDS or is_word or quoted and (len(run) > 1 or run.islower()):
        return ['"' + run.lower()]
    return list(run)


def without_words(answer: list[str]) -> list[str]:
    """The tokens without words and units, their powers, and the brackets that this leaves empty.

    A word between two numbers (3 feet 4 inches) separates them as a comma does.
    """
    kept, i = [], 0
    while i < len(answer):
        if answer[i][0] != '"':
            kept.append(answer[i])
            i += 1
            while kept[-2:] in EMPTY:
                del kept[-2 - (kept[-3:-2] in (["^"], ["_"])) :]
            continue
        while kept and kept[-1] in "/*":
            kept.pop()
        unit = UNIT_REST.match(" ".join(answer[i + 1 : i + 9]) + " ")
        i += 1 + len(unit[0].split())
        if kept and kept[-1][0].isdigit() and i < len(answer) and answer[i][0].isdigit():
            kept.append(",")
    return kept
