"""Splits a mathematical answer into tokens: one spelling for each symbol, words apart from names.

    tokens(r"90^{\\circ}")              # ["90", "°"]
    tokens(r"1{,}000 \\text{ apples}")   # ["1000", '"apples']: a word has a quote before it
    without_words(["5", '"cm'])         # ["5", "@1/100@2"]: a unit, its size and dimension

A number is a token of digits, a name one letter or a command without its backslash (alpha), a
function its name (sin); \\{ and \\} are ⦃ and ⦄, the line break of a matrix is ⏎.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from scoring.latex.units import known, read_unit
from scoring.latex.values import FUNCTIONS

# ---- one spelling each -----------------------------------------------------------------------

SPELLINGS = {
    "-": "−–—‐‑‒", "*": "×⋅·∙∗•", "/": "÷∕⁄", "≤": "≦⩽", "≥": "≧⩾", "≈": "≃≅∼", "→": "⇒⟹",
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
    ",": "land wedge", "∨": "lor vee", "⏎": "\\", "√": "sqrt",
    "frac": "frac dfrac tfrac cfrac", "binom": "binom dbinom tbinom", "log": "lg", "_": "_",
    "": "@ left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr boxed"
    " fbox displaystyle textstyle scriptstyle limits nolimits mathbf mathit bm boldsymbol mathsf"
    " mathtt mathcal mathscr mathbb overline bar vec hat widehat tilde dot underline overrightarrow"
    " angle triangle operatorname quad qquad , ; : ! > - # & / . thinspace ensuremath hline"
    " rm bf it sf tt tiny small normalsize large Large LARGE huge Huge footnotesize mathrm"
    " mathnormal uline bfseries itshape scshape bold pmb",
}  # fmt: skip
COMMAND = {old: new for new, many in COMMANDS.items() for old in many.split(" ")}
WORDS = {
    "or": "∨", "and": ",", "pi": "π", "infinity": "∞", "infty": "∞", "inf": "∞", "sqrt": "√",
    "degrees": "°", "degree": "°", "deg": "°", "percent": "%", "union": "∪",
    "thousand": "*10^3", "million": "*10^6", "billion": "*10^9", "trillion": "*10^12",
    "hundred": "*10^2", "dozen": "*12", "twice": "2*", "double": "2*", "triple": "3*",
    "negative": "-", "minus": "-", "plus": "+", "squared": "^2", "cubed": "^3",
}  # fmt: skip
# Runs of letters that are words, not products; so is any of four letters or more with a vowel, and
# a unit after a number. Little words are so beside blanks, those of two letters before a word.
SHORT_WORDS = set(
    """cm mm km kg ml mL lb lbs oz ft yd mi hr hrs min mins sec secs mph kph kmh kmph Hz kHz MHz
    rad mol kJ kPa Pa eV keV MeV dm pm am PM AM in per sq cu Rs USD usd day days yrs wks mos pts
    pcs men kms cms qts""".split()
)
LITTLE_WORDS = set(
    """the is are was were has had not her his its you can all any she for non each so far ago
    mod up who how out now get yes sum but only if at by of to it no on an he we as yr pt wk
    pc""".split()
)

# ---- rewriting -------------------------------------------------------------------------------

ARGUMENT = r"\s*\*?\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
TEXT = (
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|sl|up|md|normal)?|mbox|hbox|mathrm|emph|operatorname)"
    + ARGUMENT
)
ELLIPSIS = r"\s*(?:\.{3}|\\[lc]?dots\b|…)"
REWRITES = [  # in this order
    (r"\\\\\[\s*[\d.]+\s*[a-z]{2}\s*\]", r"\\\\"),  # the height of a matrix's row
    (r"\\rm\s*(?=\{)", r"\\mathrm"), (r"\{\s*\\rm\b", r"\\mathrm{"),
    (r"\\mathrm\s*\{\s*([ei])\s*\}", r"\1"),  # the constants, upright
    (r"\\(?:text)?color\s*(?:\[\w*\]\s*)?\{[^{}]*\}|\\[hv]?(?:space|phantom)\*?\s*\{[^{}]*\}", " "),
    (r"\\(?:tag|label|pmod)\s*\{[^{}]*\}|\(?\\[bp]?mod\b[^()]*\)?", " "),
    (r"(?<=array\})\s*\{[^{}]*\}", " "),  # the columns of an array
    (r"\^\s*(?:\{\s*(?:\\circ|\\degree|°)\s*\}|\\circ|\\degree|°)|\\degree\b|\\circ\b", "°"),
    (r"\b([aApP])\.\s?[mM]\b\.?", r' "\1m" '),
    (r"\\mathbb\s*\{?\s*R\b\s*\}?|\\(?:R|reals)\b", "ℝ"), (r"\\\{\s*\\\}", r"\\emptyset "),
    (TEXT, r' "\1" '), (TEXT, r' "\1" '),  # one may be inside another
    (r'\\[dt]?frac\s*\{(\s*"[^"]*"[^{}"]*)\}\s*\{(\s*"[^"]*"[^{}"]*)\}', r" \1/\2 "),  # m over s
    (r'(?:\\mu|μ)[\s{}]*"\s*', '"μ'), (r'°[\s"]*([CF])\b', r' "deg\1" '),
    (r'(?<=\d)(?:R|[\s"]+(?:R|r|rem|remainder)[\s"]*)(?=\d)', "+ϱ*"),  # 136 R 2
    (r"(?<=\d)[\s\"]+times[\s\"]+(?=\d)", "*"),
    (r"(?<=[a-zA-Z]{2})'s\b", ""), (r"(?<![a-zA-Z\\])([a-zA-Z])[\s\"]+is[\s\"]+", r"\1="),
    (r"(?<![a-zA-Z\\])([a-zA-Z])[\s\"]+in[\s\"]+(?=[(\[]|\\\{)", r"\1∈"),  # x in (0, 9)
    (r"(?<=\d)\s*\^?\s*\{?[\s\"]*(?:st|nd|rd|th)\b[\s\"]*\}?", " "),
    (r"(?<=\d)[\s\"]+to[\s\"]+(?=\d)", ":"),  # 2 to 3
    (r"[Aa]ll\s+real\s+numbers\s+except(?:\s+for)?\b(?:[\s\"]*x\s*=)?", r'ℝ\\setminus "'),
    (r"\b(?:[Aa]ll|[Aa]ny)\s+real(?:s|\s+numbers?)\b(?:\s*x\b)?", "ℝ"),
    (r"ℝ\s*-\s*(?=\\\{)", r"ℝ\\setminus "),
    (r"(\.\d*?)(\d)\2{2,}" + ELLIPSIS, r"\1\\overline{\2}"),  # 0.333... is periodic
    (r"(?<=\d)" + ELLIPSIS, " "),
    (r"(?<![a-zA-Z\\])([a-zA-Z])0(?![\d.])", r"\1_0"),  # v0
    (r"\*\*", "^"), (r"<=", "≤"), (r">=", "≥"), (r"!=", "≠"),
    (r"(?<=\d)(?:\s|~|\\[,;:! ]|\{,\}|,(?=\s*\\!)|(?<=\\!),)+(?=\d{3}(?!\d))", ""),  # 1\,000
    (r"(\.(?:\d{3})+)(?:[\s~]|\\[,; ])(?=\d{1,4}(?!\d|\s*[/^]))", r"\1"),  # 0.000\,0672
    (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", "*"),  # 1.2 x 10^5
    (r"(?<=\d)[\s\"(]*(?:in\s+)?[bB]ase[\s\"-]*(\d+)[\s\")]*$", r"_\1"),  # 52 in base 8
]  # fmt: skip
REWRITES = [(re.compile(pattern), to) for pattern, to in REWRITES]
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
SCRIPT = {"<super>": "^", "<sub>": "_"}


@lru_cache(maxsize=1_000)
def respell(text: str, thousands: bool = True) -> str:
    """Returns `text` in one spelling: ASCII and symbols, words in double quotes, digits ungrouped.

    thousands: 1,000 outside brackets is one number, not two.
    """
    text = re.sub(r"\s\s+", " ", text.translate(CHARACTERS))  # no pattern below meets a long run
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


# ---- dress -----------------------------------------------------------------------------------

WRAPPER = re.compile(
    r"\s*(?:\\(?:text(?!color|style)[a-z]*|math[a-z]+|mbox|emph|underline|uline|boxed|fbox|bold)\s*"
    r"|\\(?:text)?color\s*\{\w*\}\s*)?\{(.*)\}[\s.]*",
    re.DOTALL,
)
AMOUNT = r"(\d+(?:\s?(?:,\s?\\!|\\,|\{,\}|,)\d{3})*(?:\.\d+)?|\.\d+)"
MATHEMATICAL = re.compile(r"[\d=\\^<>≤≥≠+*/(−–-]")
MONEY = re.compile(rf"(?:\\\$|(?<![\\$])\$(?=[^$]*$))\s*{AMOUNT}")


def undressed(answer: str) -> str:
    """The answer without dollars and wrappers around all of it; words alone keep the last one."""
    for _ in range(10):
        answer = answer.strip().strip("*` ")
        if len(answer) > 1 and answer[0] == answer[-1] == "$" and answer.strip("$"):
            answer = answer.strip("$")
        match = WRAPPER.fullmatch(answer)
        is_words = match and match[0].lstrip()[:5] in (r"\text", r"\mbox", r"\math", r"\emph")
        if not match or is_words and not MATHEMATICAL.search(match[1]) or not is_whole(match[1]):
            break
        answer = match[1]
    return re.sub(r"(?<!\.)\.$", "", answer)


def is_whole(text: str) -> bool:
    """Whether every brace of `text` has its partner in it."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


# ---- tokens ----------------------------------------------------------------------------------

TOKEN = re.compile(
    r'"(?P<text>[^"]*)"'
    r"|(?P<repeating>\d*\.\d*)\\(?:overline|bar|dot)\s*\{?(?P<period>\d+)\}?"
    r"|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<environment>\\(?:begin|end)\s*\{\s*[a-zA-Z]*\*?\s*\})"
    r"|\\(?P<command>[a-zA-Z]+|\S|(?=\s))|(?P<letters>μ?[a-zA-Z]+)|(?P<han>[一-鿿]+)|(?P<symbol>\S)"
)
FUNCTION = "|".join(sorted(FUNCTIONS, key=len, reverse=True))
CALLS = re.compile(rf"(?:(?:{FUNCTION})[a-zA-Z]?)+")
ARTICLE = re.compile(r'[\s"]+(?!and\b)[a-zA-Z]{3}')  # not the numeral of I and II
SYLLABLE = re.compile("[b-df-hj-np-tv-z][aeiou][b-df-hj-np-tv-z]")
POWER = r"(?:\^ (?:- )?(?:\d+ |\{ (?:- )?\d+ \} ))?"
UNIT_REST = re.compile(rf"{POWER}(?:[/*] [a-zA-Z] {POWER})*")
EMPTY = ["(", ")"], ["[", "]"], ["{", "}"]
OPENINGS = "([{⦃,;∨=<>≤≥≈≠+-"  # after these, a unit measures nothing


@lru_cache(maxsize=1_000)
def tokens(text: str, thousands: bool = True) -> list[str]:
    """Returns the tokens of an answer, words among them; the list is shared, not to be changed."""
    found = []
    scan(respell(MONEY.sub(r"\1 dollars ", text), thousands), found)
    return found


def scan(text: str, found: list[str], quoted: bool = False) -> None:
    for match in TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "text":
            scan(match["text"], found, quoted=True)
        elif kind == "period":
            found.append(f"{match['repeating']}r{match['period']}")
        elif kind == "environment":
            found.append(match[0][:4])  # \beg or \end; all kinds of matrices are alike
        elif kind == "command":
            token = COMMAND.get(match["command"], match["command"])
            found += [token] if token else []
        elif kind == "han":
            found.append('"' + match[0])
        elif kind == "letters":
            found += letters(match, found[-1] if found else "", quoted)
        elif match[0] not in ".~@":
            found.append(match[0])


def letters(match: re.Match, last: str, quoted: bool) -> list[str]:
    """The tokens of a run of letters: a word, functions with their arguments, or single names."""
    run, lower = match[0], match[0].lower()
    if lower in WORDS:
        return re.findall(r"\d+|.", WORDS[lower])
    if CALLS.fullmatch(run) and not (last[:1] == '"' and len(run) == 4):  # the cost
        return re.findall(FUNCTION + "|.", run)
    is_long = len(run) >= 4 and re.search("[aeiouyAEIOUY]", run)
    is_quoted = quoted and (len(run) > 1 or run.islower()) and not re.fullmatch("[IVX]+", run)
    is_plural = last[-1:].isdigit() and re.fullmatch("[A-Z]{2,}s", run)  # 7 DVDs
    if (
        is_long
        or is_quoted
        or is_plural
        or run in SHORT_WORDS
        or is_short_word(match, last, quoted)
    ):
        return ['"' + run]
    return list(run)


def is_short_word(match: re.Match, last: str, quoted: bool) -> bool:
    """Whether one to three letters are a unit after a number, or a little word beside blanks."""
    run, (start, end), text = match[0], match.span(), match.string
    follows = last[-1:].isdigit() or last[:1] == '"' or last[-1:] in tuple("})°")
    is_apart = quoted or len(run) > 1 and (last[-1:] not in tuple("})") or text[start - 1] == " ")
    if follows and is_apart and known(run):
        return True
    before, after = text[max(0, start - 2) : start], text[end : end + 12]
    if last[:1] == '"' and len(run) > 1 and before[-1:] == " " and after[:1].strip(" .,;:)") == "":
        return True  # 4 years old
    if before[-1:].strip(' "([{') or after[:1].strip(' "\n.,:=$)]}\\'):
        return False
    if len(run) == 1:
        return run in "aAI" and bool(ARTICLE.match(after)) and not last[-1:].isdigit()
    if before[:1] in tuple("+-*/^_=") or len(run) == 3 and run.lower() not in LITTLE_WORDS:
        return last[-1:].isdigit() and bool(SYLLABLE.fullmatch(run)) and before[-1:] == " "
    is_led = len(run) > 2 or run.lower() == "is" or re.match(r'[\s"$\\]+(?:\d|[a-zA-Z]{2})', after)
    return run.lower() in LITTLE_WORDS and bool(is_led or last[:1] == '"' and not after.strip())


def without_words(answer: list[str]) -> list[str]:
    """The tokens without words and the brackets that this leaves empty; a unit is one token.

    A word between two numbers separates them as a comma does, but 3 feet 4 inches is a sum.
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
        length, unit = read_unit(answer[i : i + 24])
        is_noun = answer[i] == '"in' and answer[i + 1 : i + 2] and answer[i + 1][0] == '"'
        is_noun = is_noun or i and answer[i - 1][0] == '"'  # every day
        if length and kept and kept[-1] not in OPENINGS and not is_noun:
            add_unit(kept, unit)
            i += length
        else:
            i += 1 + len(UNIT_REST.match(" ".join(answer[i + 1 : i + 9]) + " ")[0].split())
        is_number = kept and kept[-1][0] in "@0123456789"
        if is_number and i < len(answer) and answer[i][0].isdigit():
            kept.append(",")
    return kept


def add_unit(kept: list[str], unit: str) -> None:
    """Appends a unit; a smaller one of the same kind makes a sum of 2 hours, 40 minutes."""
    if len(kept) > 2 and kept[-2] == "," and kept[-3][0] == "@" and kept[-1][0].isdigit():
        (_, size, kind), (_, smaller, other) = kept[-3].split("@"), unit.split("@")
        if kind == other and Fraction(smaller) < Fraction(size):
            kept[-2] = "+"
    kept.append(unit)
