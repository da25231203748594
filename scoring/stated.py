r"""Finds where a model's output states its answer, and reads it as words or as mathematics.

    words(r"<think>...</think> **Answer:**\nDenver Broncos")     # ("Denver Broncos", "phrase")
    mathematics(r"So it is $\boxed{\frac12}$.")                  # (r"\frac12", "boxed")
    mathematics("Final Answer: The total is 18, not 16.")        # ("18", "phrase")

statements() says where; words() and mathematics() read the first statement, choice.py the first one
that names an option. Thinking, Markdown, wrappers and line ends are dress: they change nothing.
"""

import re
from collections.abc import Iterator

LONGEST = 4_000  # characters of a statement; the longest gold has under 500
TAIL = 20_000  # characters at a text's end in which a statement is looked for
PHRASES = 5  # the last ones are tried

CONTROL = re.compile(r"<\|(?:im_end|im_start|endoftext|eot_id)\|>")
BRACE = re.compile(
    r"\\(?:boxed|fbox)\s*(?:\{|(-?\d[\d.,/]*(?<![.,])|[A-Z](?![A-Za-z])))|\\[\s\S]|[{}]"
)
BETWEEN = re.compile(r"[\s${}()\[\]\\*]|text|quad|\b[a-z]\s*=")
JOINING = {"and", "or", ",", ";", ",and", ",or"}
OPENING = (
    r"(?<![A-Za-z0-9)\]}\\*])(?:\*{1,3}|__)(?=[^\s*])"  # of Markdown's emphasis; 2**3 has none
)
CLOSING = r"(?<=[^\s*])(?:\*{1,3}|__)(?![A-Za-z0-9({\[\\$*+-])"
MARKDOWN = re.compile(rf"{OPENING}|{CLOSING}|^[ \t]*(?:#+|>|[-*•])[ \t]+|`", re.MULTILINE)
FENCE = re.compile(r"^[ \t]*(?:```|~~~)\w*[ \t]*\n?", re.MULTILINE)
BOLD = re.compile(rf"{OPENING}([^*\n]+){CLOSING}")
DISPLAYED = re.compile(r"(?s)(?<!\\)\\([(\[])(.{1,2000}?)\\[)\]]|\$\$([^$]{1,2000})\$\$")
HASHES = re.compile(r"####[ \t]*((?!\d+\. )[^\sA-Za-z#*][^\n]*)")  # no heading of Markdown's
FORMULA = re.compile(  # $400 + $60 and 5*$2=10$ are money
    r"(?<![\w*/+×\\])\$(?!\d[^$\n]*?(?<![\\A-Za-z])[A-Za-z]{2,} )(?=\S)((?:\\\$|[^$\n])+)(?<=\S)"
    r"\$(?!\d)"
    r"|\$ ([^$\n]+) \$(?!\d)"
)
PHRASE = re.compile(
    r"(?im)\b(?:ans\.?|answers?|(?:correct|right|best) (?:option|choice|statement)s?"
    r"|(?:option|choice) that \w+)\b[^\n.:=$]{0,60}?"
    r"(?:\b(?:is|are|was|(?<!not )be)\b|:|=|\s[-–—]\s)[\s:]*(?:(?<=\n)-\s+)?(?=\S)"
    r"|^[ \t]*(?:the )?(?:(?:final|correct) )?answer[ \t]*\n\s*(?=\S)"
    r"|<answer>\s*|(?:答案|选项|[以故应可]选)\s*(?:是|为)?\s*:?\s*"
)
END = re.compile(r"\n|</(?:answer|s)>")  # of the line that a phrase begins
CLAUSE = re.compile(  # where the words that state an answer end
    r"(?<![ap]\.m)[.?](?=\s|$)|!(?=\s+[A-Z])|\s(?:because|since|which|when|where|I hope)\b"
    r"|(?:,\s|\s\()not\b|,?\s\(?(?:rather than|instead of)\b|,\s+(?:so|as|while|but)\b"
)
COPULA = re.compile(r"\s(?:is|are|was|were|be|equals)\b:?|(?<=[\w)]):(?=\s)")
NUMBER = re.compile(r"-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+|%)?")
INSIDE = re.compile(  # follows what is no number yet
    r"\s*[\^*/×·!]|[\w{°]|\.\d|\s*[+-]\s*[\w$\\]|\s(?:squared|cubed|dozen|hundred|\w+illion|thousand)"
)
CHANGED = re.compile(
    r"\b(?:not|than|of|least|most|negative|minus|half|twice|under|over|below|above|or)\s+$"
)
CUT_OFF = re.compile(r"[-=+/,(<>^_{\\*]$")
WRAPPER = re.compile(
    r"\\(?:text(?!color)\w*|math\w+|emph|underline|[mhf]box|boxed|operatorname)\s*\{([^{}]*)\}"
    r"|\\textcolor\s*\{[^{}]*\}\s*\{([^{}]*)\}|\\color\s*\{[^{}]*\}|\\(?:bf|it|rm|sf|tt|large)\b"
)
LABEL = re.compile(
    r"(?i)^((?:\\text\w*\s*\{)*)\s*(?:(?:so|thus|hence|therefore|then),?\s+)?(?:the\s+)?"
    r"(?:(?:final|correct)\s+)?answer\s*(?:is|was|would be|:)\s*:?\s*"
)
CONTRAST = re.compile(r"(?:,\s|\s\()(?:not|rather than|instead of)\b(?:[^.]|\.\d)*\.?$")
PLEASANTRY = re.compile(r"\.?\s+I hope\b.*|\\end\s*\{(?:align|equation|gather)[^{}]*\}")
VERDICT = re.compile(r"(?i)(?:so|thus|hence|therefore|overall)?[,:\s]*(yes|no)\W*")
FIRST = re.compile(  # No matter how, no one: no verdict
    r"(?i)\W*(yes\b|no\b(?!\s+(?!because|since|as|it|you|the|there|they|we|this|that|users?)\w))"
)

# ---- what is judged --------------------------------------------------------------------------


def after_thinking(text: str) -> str:
    """Returns what an answer without thinking would be; "" if a <think> is left open.

    That is the text before the first control token's name and after the last </think>, its lines
    ended by LF alone, without white space around it.
    """
    answer = CONTROL.split(text, 1)[0].rpartition("</think>")[2]
    return "" if "<think>" in answer else re.sub(r"\r\n?", "\n", answer).strip()


# ---- where the answer is ---------------------------------------------------------------------


def statements(text: str) -> Iterator[tuple[str, str]]:
    r"""Yields (statement, how it was found) from a model's output, the most explicit first. How:

    boxed       the last \boxed{}, and those before it that only "and", "or" or a comma separates
    open box    a \boxed{ that math mode ends before its brace does
    cut-off box the text ends in a \boxed{: the statement is ""
    ####        what follows #### on its line (GSM8K)
    phrase      the line that follows "answer is", "Answer:", <answer> or a heading; the last first
    bold        the last bold words of the last line
    last line   the last paragraph; "only line" where that is all of the text

    A box decides alone. Statements without a box have no Markdown, and $ around every formula.
    """
    text = after_thinking(text)
    boxed, how = in_box(text)
    if how:
        yield LABEL.sub(r"\1", boxed or ""), how
        return
    text = FENCE.sub("", text[-TAIL:]).strip()
    if hashes := HASHES.findall(text):
        yield hashes[-1].strip(), "####"
    bold = BOLD.findall(text.rpartition("\n")[2])
    text = plain(text)
    for match in reversed(list(PHRASE.finditer(text))[-PHRASES:]):
        yield END.split(text[match.end() : match.end() + LONGEST])[0].strip(), "phrase"
    last = text.rpartition("\n")[2]
    if bold:
        yield bold[-1].strip(), "bold" if bold[-1].strip(" .") != last.strip(" .") else "bold line"
    if text:
        paragraph = text.rpartition("\n\n")[2][-LONGEST:]
        yield paragraph, "last line" if "\n" in text else "only line"


def plain(text: str) -> str:
    """The text without Markdown, its displayed formulas on one line as $...$."""
    text = FENCE.sub("", text)
    if "\\" in text or "$$" in text:
        text = DISPLAYED.sub(lambda m: f"${' '.join((m[2] or m[3]).split())}$", text)
    return MARKDOWN.sub("", text).strip()


def boxes(text: str) -> tuple[list[tuple[int, int, str]], int | None]:
    r"""Returns (start, end, content) of each outermost \boxed or \fbox, and where the content of an
    unclosed one begins, or None."""
    closed, open_at = [], []  # a brace that opens no box is None
    for token in BRACE.finditer(text):
        if token[1]:
            closed.append((token.start(), token.end(), token[1]))
        elif token[0] == "{":
            open_at.append(None)
        elif token[0].endswith("{") and token[0] != r"\{":
            open_at.append(token.span())
        elif token[0] == "}" and open_at and (box := open_at.pop()):
            while closed and closed[-1][0] > box[0]:
                closed.pop()
            if content := text[box[1] : token.start()].strip():
                closed.append((box[0], token.end(), content))
    return closed, next((box[1] for box in reversed(open_at) if box), None)


def extract_boxed(text: str) -> str | None:
    r"""Returns the content of the last \boxed{} after the thinking; None if there is none."""
    closed, _ = boxes(after_thinking(text))
    return closed[-1][2] if closed else None


def in_box(text: str) -> tuple[str | None, str]:
    """The first three cases of statements, for text after the thinking; (None, "") without one."""
    closed, unclosed = boxes(text)
    if unclosed is not None and not (closed and unclosed < closed[-1][0]):
        rest = text[unclosed : unclosed + LONGEST]
        if meant := re.match(r"([^{}\n\\]+)\\\}", rest):  # \boxed{yes\} was meant to end
            return meant[1].strip(), "boxed"
        content = re.match(r"([^\n$]*?)\s*(?:\$|\\\)|\\\])", rest)
        return (content[1], "open box") if content and content[1] else (None, "cut-off box")
    if not closed:
        return None, ""
    answers = [closed[-1]]
    for box in reversed(closed[:-1]):
        if BETWEEN.sub("", text[box[1] : answers[0][0]][:80]) not in JOINING:
            break
        answers.insert(0, box)
    return ", ".join(content for _, _, content in answers), "boxed"


# ---- how it is read --------------------------------------------------------------------------


def mathematics(text: str) -> tuple[str | None, str]:
    """Returns (formula or number or None, how it was found) for a model's output."""
    for statement, how in statements(text):
        if how.endswith("box") or how in ("boxed", "####"):
            return statement or None, how
        if how in ("phrase", "bold line"):
            found = announced(statement)
        else:
            found = None if CUT_OFF.search(statement) else concluded(statement)
        if found and not (how == "bold" and not re.search(r"\d", found)):
            return found, how
    return None, "none"


def parts(sentence: str) -> list[str]:
    """What its copulas separate, the last part first; those with a digit, else with a formula."""
    hidden = FORMULA.sub(lambda m: "\0" * len(m[0]), sentence)  # no copula inside a formula
    edges = [0, *(edge for match in COPULA.finditer(hidden) for edge in match.span()), None]
    found = [sentence[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)][::-1]
    in_digits = [part for part in found if re.search(r"\d", part)]
    if FORMULA.fullmatch(found[0].strip(" .,;")):
        return found
    return in_digits or [part for part in found if FORMULA.search(part) or "\\" in part]


def announced(statement: str) -> str | None:
    """What follows "answer is", up to its reasons: of "the largest $n$ is 34" 34."""
    clause = CLAUSE.split(statement)[0].strip() or statement
    part = next(iter(parts(clause)), COPULA.split(clause)[-1])
    return FORMULA.sub(lambda m: m[1] or m[2], part).strip(" ,;\"“”'") or None


def concluded(paragraph: str) -> str | None:
    """What prose ends with: its last formula, or the number after its last = or copula.

    Reads the last line that has either. A number that is part of a formula without $ is none.
    """
    for line in reversed(paragraph.split("\n")):
        if said := parts(CONTRAST.sub("", PLEASANTRY.sub("", line))):
            if formulas := FORMULA.findall(said[0]):
                return "".join(formulas[-1]).strip()
            if said[0] == paragraph and not re.search(r"[A-Za-z]{2}", paragraph):
                return paragraph.strip(" ,;").rstrip(".")  # an equation alone
            _, equals, after = said[0].rpartition("=")
            numbers = list(NUMBER.finditer(after))
            number = numbers[0 if equals else -1] if numbers else None
            is_short = not equals and len(after.split()) <= 4
            if not number or is_short or "\\" in after or INSIDE.match(after, number.end()):
                return after.strip(" ,;").rstrip(".")
            is_changed = CHANGED.search(after, 0, number.start())
            return after.strip(" ,;").rstrip(".") if is_changed else number[0].rstrip(",")
    return None


def words(text: str) -> tuple[str | None, str]:
    """Returns (answer in words or None, how it was found) for a model's output.

    A text of several lines without a box or phrase states no words, unless its last line is bold.
    """
    for statement, how in statements(text):
        if how == "open box":
            break
        if how not in ("bold", "last line"):
            found = PLEASANTRY.sub("", unwrapped(statement))
            found = CONTRAST.sub("", found) if how == "phrase" else found
            found = found if how == "boxed" else found.strip(" .*_\"'`")
            return (found or None), (how if found else "none")
    return None, "none"


def yes_or_no(text: str) -> tuple[str | None, str]:
    """Returns ("yes", "no" or None, how it was found) for a model's output.

    Without a box or phrase, a last sentence that is the word alone decides, else the first word of
    the text or of its last sentence. Both words in a box, or side by side, are neither.
    """
    found, how = words(text)
    said = re.findall(r"[a-z]+", (found or "").lower())
    if {"yes", "no"} <= set(said if how == "boxed" else said[:3]):
        return None, "none"
    if how not in ("none", "only line", "bold line"):
        return (said[0], how) if said and said[0] in ("yes", "no") else (None, "none")
    text = plain(after_thinking(text)[-TAIL:])
    last = re.split(r"[.!?:]\s+|\n", text.strip(" .\n"))[-1]
    if verdict := VERDICT.fullmatch(last):
        return verdict[1].lower(), "last line"
    for sentence, where in ((text, "first word"), (last, "last line")):
        if first := FIRST.match(sentence):
            return first[1].lower(), where
    return None, "none"


def unwrapped(text: str) -> str:
    r"""The words of a LaTeX string: without \text{...}, escapes and repeated spaces."""
    text = text[:LONGEST]
    for _ in range(5):  # nested wrappers
        text = WRAPPER.sub(lambda m: m[1] or m[2] or "", text)
    text = re.sub(r"\\[,;: ]|~", " ", text)
    text = re.sub(r"\\([$%&#_{}])", r"\1", text)
    text = MARKDOWN.sub("", re.sub(r"(?s)^\s*\$(.*)\$\s*$", r"\1", text))
    return " ".join(text.split())
