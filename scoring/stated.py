"""Finds where a model's output states its answer: after its thinking, in a box, after a phrase.

    extract(r"<think>...</think> So it is $\\boxed{\\frac12}$.")   # ("\\\\frac12", "boxed")
    extract("She makes $18 per day.")                             # ("$18", "number")
    extract_words("The answer is Denver Broncos.")                # ("Denver Broncos", "answer is")

extract serves mathematics and numbers, extract_words spans and words; choice.py looks for letters
with the same parts.
"""

import re

LONGEST = 2_000  # characters of a mathematical answer without a box
LONGEST_WORDS = 4_000  # characters of an answer in words; the longest gold has under 500
TAIL = 20_000  # characters at a text's end in which one is looked for

BRACE = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\.,]+))|\\[\s\S]|[{}]")
BETWEEN = re.compile(r"[\s${}()\[\]\\]|text|quad|\b[a-z]\s*=")
JOINING = {"and", "or", ",", ";", ",and", ",or"}
PHRASE = re.compile(  # before mathematics; choice.PHRASE has more of them, WORDS_PHRASE fewer
    r"(?i)\bans(?:\.|wers?)?\b[^\n.:=$]{0,40}?(?:\bis\b|\bare\b|:|=)[\s*:]*(?=\S)|<answer>\s*"
)
WORDS_PHRASE = re.compile(r"(?i)\banswer(?:\s+(?:is|was|would be)|\s*:)\s*:?\s*([^\n]+)")
STOP = re.compile(r"\n|\.(?:\s|$)|<[|/]")
CLAUSE = re.compile(STOP.pattern + r"|\s(?:because|since|which|when|where|I hope)\b|\*\*")
MATH = re.compile(  # $400 + $60 is money
    r"(?s)\$\$([^$]+)\$\$|\$(?=\S)([^$\n]+)(?<=\S)\$(?!\d)|\$ ([^$\n]+) \$(?!\d)"
    r"|\\\(([^\n]+?)\\\)|\\\[(.+?)\\\]"
)
NUMBER = re.compile(r"-?\$?(?:\d[\d,]*\.?\d*|\.\d+)(?:/\d+|%)?")
BOLD = re.compile(r"\*\*([^*\n]*\d[^*\n]*)\*\*")
WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|tt|sf)?|emph|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}")
CUT_OFF = re.compile(r"[-=+/,(<>^_{\\]$|(?<!\*)\*$")


def after_thinking(text: str) -> str:
    """Returns what follows the last </think>; "" if a <think> is left open."""
    answer = text.rpartition("</think>")[2]
    return "" if "<think>" in answer else answer


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
    """The first three cases of extract, for text after the thinking; (None, "") without a box."""
    closed, unclosed = boxes(text)
    if unclosed is not None and not (closed and unclosed < closed[-1][0]):
        content = re.match(r"([^\n$]*?)\s*(?:\$|\\\)|\\\])", text[unclosed : unclosed + LONGEST])
        return (content[1], "open box") if content and content[1] else (None, "cut-off box")
    if not closed:
        return None, ""
    answers = [closed[-1]]
    for box in reversed(closed[:-1]):
        if BETWEEN.sub("", text[box[1] : answers[0][0]][:80]) not in JOINING:
            break
        answers.insert(0, box)
    return ", ".join(content for _, _, content in answers), "boxed"


def extract(text: str) -> tuple[str | None, str]:
    r"""Returns (answer or None, how it was found) for a model's output. How:

    boxed       the last \boxed{}, and those before it that only "and", "or" or a comma separates
    open box    a \boxed{ that math mode ends before its brace does
    cut-off box the text ends in a \boxed{: no answer
    ####        what follows #### (GSM8K)
    phrase      what follows "answer is" or "Answer:"
    math        the last formula of the last paragraph
    number      the last number of the last line's last bold words, or else of the line; where an =
                is there, the first one after the last
    none
    """
    text = after_thinking(text)
    answer, how = in_box(text)
    if how:
        return answer, how
    text = text[-TAIL:]
    if hashes := re.findall(r"####[ \t]*(\S[^\n]*)", text):
        return hashes[-1].strip(), "####"
    for rest in after_phrases(PHRASE, text, 1, LONGEST):
        formula = MATH.match(rest)
        answer = "".join(filter(None, formula.groups())) if formula else CLAUSE.split(rest)[0]
        if answer.strip():
            return answer.strip(), "phrase"
    paragraph = text.rstrip().rpartition("\n\n")[2][-LONGEST:]
    if formulas := MATH.findall(paragraph):
        return "".join(formulas[-1]).strip(), "math"
    line = paragraph.rpartition("\n")[2]
    _, equals, after = (BOLD.findall(line) or [line])[-1].rpartition("=")
    numbers = NUMBER.findall(after)
    if numbers and not CUT_OFF.search(paragraph):
        return numbers[0 if equals else -1].strip(",."), "number"
    return None, "none"


def after_phrases(phrase: re.Pattern, text: str, limit: int, longest: int):
    """Yields what follows each of the last `limit` matches of `phrase`, from the last one back."""
    for match in reversed(list(phrase.finditer(text))[-limit:]):
        yield text[match.end() : match.end() + longest]


def extract_words(text: str) -> tuple[str | None, str]:
    """Returns (answer or None, how it was found) for what follows the thinking. How:

    boxed       the last box
    answer is   what follows "answer is" or "answer:"
    only line
    none        also where a box never ends
    """
    boxed = extract_boxed(text)
    if boxed is None and "\\boxed" in text:  # \\boxed{yes\\} was meant to end
        boxed = extract_boxed(text.replace("\\}", "}"))
    if boxed is not None:
        return unwrapped(boxed), "boxed"
    text = text.strip()[-LONGEST_WORDS:]
    if "\\boxed" in text:  # cut off inside
        return None, "none"
    if answers := WORDS_PHRASE.findall(text):
        return unwrapped(answers[-1]).strip(" .*_\"'`"), "answer is"
    return (unwrapped(text), "only line") if text and "\n" not in text else (None, "none")


def unwrapped(text: str) -> str:
    r"""The words of a LaTeX string, without \text{...}, escapes and repeated spaces."""
    text = text[:LONGEST_WORDS]
    for _ in range(5):  # nested wrappers
        text = WRAPPER.sub(r"\1", text)
    text = re.sub(r"\\[,;: ]|~", " ", text)
    text = re.sub(r"\\([$%&#_{}])", r"\1", text)
    return " ".join(re.sub(r"^\s*\$(.*)\$\s*$", r"\1", text, flags=re.DOTALL).split())
